"""The arguments and options of `polyseme static ...`, declared once each; see `cli/options.py` for the others."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from polyseme.cli.options import _flag, _value

Kind = StrEnum("Kind", ["word2vec", "fasttext", "glove", "bow"])


class VectorFormat(StrEnum):
    """The formats of `polyseme.static.files`, one of which has a name that is no Python word."""

    FOLDER = "folder"
    WORD2VEC = "word2vec"
    WORD2VEC_BINARY = "word2vec-binary"
    GLOVE = "glove"


# --- fit

KindArgument = Annotated[
    Kind,
    typer.Argument(
        metavar="KIND",
        help="word2vec, fasttext, glove, or bow: a bag of words, and latent semantic vectors of them.",
    ),
]
VectorsOut = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        metavar="VECTORS",
        help="A folder, or a file by its ending: .txt or .vec (word2vec's text), .bin (its binary).",
    ),
]
OutFormat = Annotated[
    VectorFormat | None,
    typer.Option("--format", help="By default what the ending says; n-grams and text options need a folder."),
]
Width = Annotated[int | None, _value("--width", "W", "Of a vector, by default 200.", min=1)]
Window = Annotated[
    int | None, _value("--window", "N", "Neighbours on either side, by default 5, of GloVe 10. Not of bow.", min=1)
]
MinCount = Annotated[
    int | None, _value("--min-count", "N", "Leave rarer words out; 5 by default. (bow: documents that hold it.)", min=1)
]
Epochs = Annotated[
    int | None,
    _value(
        "--epochs",
        "N",
        "Passes. GloVe: 25 by default; word2vec and fasttext: 5 to 30, so that 100 million words are read.",
        min=1,
    ),
]
Cbow = Annotated[bool, _flag("--cbow", "word2vec, fasttext: predict a word from its neighbours; faster.")]
Negative = Annotated[
    int | None,
    _value("--negative", "N", "word2vec, fasttext: words drawn against a true one, 10 by default.", min=1),
]
LearningRate = Annotated[
    float | None, _value("--learning-rate", "X", "By default 0.025, of GloVe 0.05, as published. Not of bow.")
]
XMax = Annotated[
    float | None,
    _value("--x-max", "X", "glove: counts from this one on weigh 1; 100 by default, 10 suits little text."),
]
Buckets = Annotated[
    int | None, _value("--buckets", "N", "fasttext: rows that n-grams are hashed into, 200,000 by default.", min=1)
]
MinN = Annotated[int | None, _value("--min-n", "N", "fasttext: length of the shortest n-gram, 3 by default.", min=1)]
MaxN = Annotated[int | None, _value("--max-n", "N", "fasttext: length of the longest n-gram, 6 by default.", min=1)]
Workers = Annotated[
    int | None,
    _value(
        "--workers", "N", "word2vec, fasttext: threads, by default 1. With more, vectors differ from run to run.", min=1
    ),
]

# --- neighbours, analogy, evaluate

VectorsArgument = Annotated[
    str,
    typer.Argument(
        metavar="VECTORS", help="A file of word2vec or GloVe (also .gz .xz .zst), or a folder of `static fit`."
    ),
]
Words = Annotated[list[str], typer.Argument(metavar="WORD", help="Words to look up, spelled as in the text.")]
WordA = Annotated[str, typer.Argument(metavar="A", help="A is to B ...")]
WordB = Annotated[str, typer.Argument(metavar="B", help="... B ...")]
WordC = Annotated[str, typer.Argument(metavar="C", help="... as C is to what?")]
Multiply = Annotated[
    bool, _flag("--multiply", "3CosMul instead of the vector offset: no single similarity can rule the others.")
]
Limit = Annotated[
    int | None, _value("--first", "N", "Read only the first N words of the file, the most frequent ones.", min=1)
]
QuestionFiles = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        help="Pairs with a rating (word, word, number), or analogies (': section', then four words a line).",
    ),
]
IgnoreCase = Annotated[
    bool, _flag("--ignore-case", "Words that differ in case only are one; the most frequent gives the vector.")
]

# --- average

Layer = Annotated[str, _value("--layer", "LAYER", "average, top, or a number (0: without context).")]
AverageMinCount = Annotated[int, _value("--min-count", "N", "Leave rarer words out.", min=1)]
