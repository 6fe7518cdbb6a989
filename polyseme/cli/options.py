"""The arguments and options of the verbs, declared once each, so that a verb's signature stays readable."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from polyseme.text.processing import WHY_KEEP_STOP_WORDS

Unit = StrEnum("Unit", ["sentence", "line", "document"])
Pool = StrEnum("Pool", ["none", "mean", "max"])
Dtype = StrEnum("Dtype", ["float16", "float32"])
Precision = StrEnum("Precision", ["bfloat16", "float32"])
WeightsName = StrEnum("WeightsName", ["float32", "int8"])
State = StrEnum("State", ["settled", "zero", "carry"])
EncodingErrors = StrEnum("EncodingErrors", ["strict", "replace", "skip"])
Normalize = StrEnum("Normalize", ["none", "nfc", "nfkc"])
Target = StrEnum("Target", ["native", "allennlp"])
Start = StrEnum("Start", ["settled", "zero"])
Direction = StrEnum("Direction", ["forward", "backward"])
EmptyLines = StrEnum("EmptyLines", ["skip", "keep"])
Alphabet = StrEnum("Alphabet", ["auto", "bytes", "learned"])


class Format(StrEnum):
    """The formats of `polyseme.store`, one of which has a name that is no Python word."""

    SAFETENSORS = "safetensors"
    ARROW = "arrow"
    H5 = "h5"
    H5_CLASSIC = "h5-classic"
    PARQUET = "parquet"
    NPZ = "npz"
    TSV = "tsv"


def _value(name: str, metavar: str, text: str, **more: Any) -> Any:
    return typer.Option(name, metavar=metavar, help=text, **more)


def _flag(name: str, text: str) -> Any:
    """Without the `--no-...` twin that typer adds by itself."""
    return typer.Option(name, help=text)


# --- every verb

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Folder, file, archive, address or hub id.")]
Overwrite = Annotated[bool, _flag("--overwrite", "Replace what is there.")]
Json = Annotated[bool, _flag("--json", "Print one JSON object instead of lines for people.")]

# --- convert

Source = Annotated[str, typer.Argument(metavar="SRC", help="A model: folder, file, archive, address or hub id.")]
Destination = Annotated[str, typer.Argument(metavar="DST", help="The folder to write.")]
Weights = Annotated[
    WeightsName, typer.Option("--weights", help="int8: a quarter of the size; the vectors change a little.")
]
To = Annotated[Target, typer.Option("--to", help="Polyseme's folder, or options.json and weights.hdf5.")]

# --- embed: what is read

Text = Annotated[
    list[str],
    typer.Argument(
        metavar="TEXT",
        help="Files, directories, patterns, or - for standard input. Read as plain text, .jsonl, .csv, .tsv or "
        ".parquet by their ending, also compressed (.gz .xz .zst).",
    ),
]
Tokenized = Annotated[bool, _flag("--tokenized", "The text has one sentence a line, words apart by white space.")]
Lang = Annotated[
    str | None,
    _value(
        "--lang",
        "LANG",
        "Language or tokenizer: en, zh, und, icu:xx, whitespace ... By default the model's own, otherwise what the "
        "script of the text suggests.",
    ),
]
TextColumn = Annotated[str | None, _value("--text-column", "NAME", "The column of records that holds text.")]
IdColumn = Annotated[str | None, _value("--id-column", "NAME", "The column to store as each record's id.")]
Encoding = Annotated[str, _value("--encoding", "NAME", "Of the text; a byte-order mark wins.")]
OnBadBytes = Annotated[
    EncodingErrors,
    typer.Option("--encoding-errors", help="Bytes that fit no character: stop, put U+FFFD, or leave the line out."),
]
Unwrap = Annotated[bool, _flag("--unwrap", "Join hard-wrapped lines, and words that were cut at line ends.")]
NormalForm = Annotated[Normalize, typer.Option("--normalize", help="Unicode normalization of the text.")]
Lowercase = Annotated[bool, _flag("--lowercase", "Lower-case every word.")]
RemoveStopWords = Annotated[bool, _flag("--remove-stop-words", f"Leave stop words out. {WHY_KEEP_STOP_WORDS}")]
Stem = Annotated[bool, _flag("--stem", "Cut words down to their stems.")]

# --- embed: what is computed

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="A model's name, folder, file, archive, address or hub id; by default the one in the package for --lang.",
    ),
]
StartState = Annotated[
    State | None,
    typer.Option(
        "--state",
        help="Where a sentence starts: in one stored state (settled, the default), at zero, or as the published "
        "systems do, where the batch before ended (carry; needs --batch-size). A Transformer has none.",
    ),
]
BatchSize = Annotated[int | None, _value("--batch-size", "N", "Sentences of a batch at most.", min=1)]
MaxTokens = Annotated[
    int | None, _value("--max-tokens", "N", "Words computed together at most; fewer need less memory.", min=1)
]
Device = Annotated[str, _value("--device", "DEVICE", "auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[
    int | None, _value("--threads", "N", "Cores to use, by default all. Vectors do not depend on it.", min=1)
]
Products = Annotated[
    Precision,
    typer.Option("--precision", help="Of the products: bfloat16 is faster, and rounds to three digits."),
]

# --- embed: what is written

Out = Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="The file to write; its ending says the format.")]
Layers = Annotated[str, _value("--layers", "LAYERS", "average, all, top, or numbers such as 0,2 (0: without context).")]
RecordUnit = Annotated[Unit, typer.Option("--unit", help="What one record of OUT is.")]
Pooling = Annotated[Pool, typer.Option("--pool", help="One vector a record instead of one a word.")]
OutFormat = Annotated[Format | None, typer.Option("--format", help="By default what the ending of OUT says.")]
Numbers = Annotated[Dtype, typer.Option("--dtype", help="Of the stored numbers; they are computed in float32.")]
Resume = Annotated[bool, _flag("--resume", "Go on where an earlier run of this command stopped.")]

# --- prepare

CorpusOut = Annotated[str, typer.Option("--out", "-o", metavar="CORPUS", help="The folder to write.")]
CorpusLang = Annotated[
    str | None,
    _value(
        "--lang",
        "LANG",
        "Language or tokenizer: en, zh, und, icu:xx, whitespace ... By default what the script of the text suggests.",
    ),
]
VocabSize = Annotated[
    int | None,
    _value(
        "--vocab-size",
        "N",
        "Words that a model will predict, for the report. By default all that come twice, at most 100,000.",
    ),
]
HeldOutShare = Annotated[float, _value("--heldout", "SHARE", "Of the text, kept out of training; 0 for none.")]
HeldOutText = Annotated[
    list[str] | None,
    _value("--heldout-text", "TEXT", "Hold these files out and split nothing off TEXT; may be given again."),
]
MaxCharacters = Annotated[int, _value("--max-characters", "N", "Characters of a word that a model reads, and two.")]
WordCharacters = Annotated[
    Alphabet,
    typer.Option(
        "--characters", help="UTF-8 bytes, an alphabet learned from the text, or (auto) bytes unless they cut words."
    ),
]
OnEmptyLines = Annotated[
    EmptyLines,
    typer.Option(
        "--empty-lines", help="With --tokenized: leave them out, or count each as a sentence of no words (WikiText)."
    ),
]
Seed = Annotated[int, _value("--seed", "N", "For every random choice; the same seed gives the same result.", min=0)]
Processes = Annotated[int | None, _value("--processes", "N", "By default one a core.", min=1)]

# --- adapt

AdaptedModel = Annotated[
    str, typer.Argument(metavar="MODEL", help="The model to go on from: folder, file, archive, address or hub id.")
]
NewVocabulary = Annotated[
    bool, _flag("--new-vocabulary", "Predict the words of the text; what is known of shared words is kept.")
]
NewVocabularySize = Annotated[
    int | None,
    _value(
        "--vocab-size",
        "V",
        "Words to predict, where they are new. By default all that come twice in the text, at most 100,000.",
        min=4,
    ),
]
Guard = Annotated[
    list[str] | None,
    _value("--guard", "TEXT", "Held-out text of the old kind, measured before and after; may be given again."),
]
GuardLimit = Annotated[
    float, _value("--guard-limit", "X", "Warn where that text's perplexity grows by more than this.")
]

# --- evaluate, score, generate, substitutes

LanguageModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model with a softmax: folder, checkpoint, archive, address or hub id."),
]
StreamState = Annotated[
    State | None,
    typer.Option(
        "--state",
        help="Read the text as one stream (carry, the default), or each sentence by itself from one stored state "
        "(settled) or from zero. A Transformer has none.",
    ),
]
SentenceState = Annotated[
    Start | None,
    typer.Option("--state", help="Where a sentence starts: settled (the default) or zero. A Transformer has none."),
]
LaneCount = Annotated[
    int, _value("--lanes", "N", "Pieces of the text read side by side: faster, and each starts from zero.", min=1)
]
EachWord = Annotated[bool, _flag("--words", "One row a word instead of one a sentence.")]
ScoresOut = Annotated[
    str | None,
    typer.Option("--out", "-o", metavar="OUT", help="The file to write: .tsv or .jsonl. By default standard output."),
]
JsonLines = Annotated[bool, _flag("--json", "Print JSON: without -o one object a sentence, with -o a summary.")]
Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="The text to go on from; none: from the boundary.")]
WrittenDirection = Annotated[
    Direction, typer.Option("--direction", "-d", help="Go on to the right, or write what stands to the left.")
]
SampleCount = Annotated[int, _value("--samples", "N", "How many texts.", min=1)]
MaxWords = Annotated[int, _value("--max-words", "N", "Most words to write a sample.", min=1)]
SentenceCount = Annotated[int, _value("--sentences", "N", "End after this many sentence boundaries.", min=1)]
Temperature = Annotated[
    float, _value("--temperature", "X", "Below 1 bolder, above 1 wilder; 0: the most probable word each time.", min=0.0)
]
TopK = Annotated[int, _value("--top-k", "K", "Draw from the K most probable words only; 0: from all.", min=0)]
TopP = Annotated[float, _value("--top-p", "P", "Draw from the fewest words that hold this share, 0 to 1.")]
AllowUnknown = Annotated[bool, _flag("--unknown", "Let <UNK> be drawn too.")]
RawTokens = Annotated[bool, _flag("--tokens", "Print the words as the model has them, apart by spaces.")]
SentenceArgument = Annotated[
    str, typer.Argument(metavar="SENTENCE", help="A sentence; the word may be marked [like] this.")
]
GivenTokens = Annotated[bool, _flag("--tokenized", "The words are apart by white space already.")]
PlaceOfWord = Annotated[str | None, _value("--word", "WORD", "The word to replace, where none is marked.")]
Occurrence = Annotated[int, _value("--occurrence", "N", "Which one, where the word comes several times.", min=1)]
Top = Annotated[int, _value("--top", "N", "How many words to show.", min=1)]
CountsFile = Annotated[
    str | None,
    _value(
        "--counts",
        "FILE",
        "How often words occur (word, tab, count a line), to divide out; by default as in the training.",
    ),
]

# --- quickstart

TourLang = Annotated[
    str | None,
    _value("--lang", "LANG", "Of the bundled text, en or zh; with --text the language or tokenizer of that text."),
]
QuickModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="A model's folder, file, archive, address or hub id; by default the one that ships for the language.",
    ),
]
OwnText = Annotated[
    list[str] | None,
    _value("--text", "TEXT", "Your own text instead: a file, directory, pattern, or -; may be given again."),
]
WordsToShow = Annotated[
    list[str] | None,
    _value("--word", "WORD", "Show this word; may be given again. With --text, by default those that vary most."),
]
PageOut = Annotated[
    str | None,
    typer.Option(
        "--out", "-o", metavar="HTML", help="The page to write; with --text by default contexts.html, else none."
    ),
]
OneLayer = Annotated[str, _value("--layer", "LAYER", "Whose vectors: top, average, or a number (0: without context).")]
MostContexts = Annotated[
    int, _value("--contexts", "N", "Of a word at most; of more a random sample is drawn.", min=2, max=2000)
]
SampleSeed = Annotated[int, _value("--seed", "N", "Of the random samples; the same seed draws the same.", min=0)]
