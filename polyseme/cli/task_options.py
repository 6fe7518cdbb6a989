"""The arguments and options of `polyseme task ...`, declared once each; see `cli/options.py` for the others."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from polyseme.cli.options import Start, _flag, _value

Kind = StrEnum("Kind", ["classify", "tag", "nli"])
Head = StrEnum("Head", ["attention", "bcn", "esim"])
Metric = StrEnum("Metric", ["accuracy", "macro_f1", "micro_f1"])

KindArgument = Annotated[
    Kind,
    typer.Argument(
        metavar="KIND",
        help="classify: labels for texts or pairs of texts. tag: a tag for every word. nli: does a text imply another?",
    ),
]

# --- what is read

Train = Annotated[
    list[str],
    typer.Argument(
        metavar="TRAIN",
        help="Files with labels: .jsonl, .csv, .tsv; of tag: .conllu, .jsonl, or columns. Also .gz .xz .zst.",
    ),
]
Test = Annotated[list[str], typer.Argument(metavar="TEST", help="Files with labels, as those for training.")]
Input = Annotated[
    list[str], typer.Argument(metavar="INPUT", help="Files without labels, or -; also plain text, a text a line.")
]
Dev = Annotated[
    list[str] | None,
    _value("--dev", "DEV", "Files that decide when to stop. By default a share of TRAIN is split off."),
]
TestToo = Annotated[list[str] | None, _value("--test", "TEST", "Files that are measured on once, at the end.")]
DevShare = Annotated[float, _value("--dev-share", "SHARE", "Of TRAIN, where no DEV is given; of each label alike.")]
TextColumn = Annotated[str | None, _value("--text-column", "NAME", "Of the text; by default text (nli: premise).")]
SecondColumn = Annotated[
    str | None, _value("--second-column", "NAME", "Of the second text of a pair (nli: hypothesis by default).")
]
LabelColumn = Annotated[str | None, _value("--label-column", "NAME", "Of the label; by default label.")]
MultiLabel = Annotated[bool, _flag("--multi-label", "classify: any number of labels a text: a JSON list, or a|b.")]
Separator = Annotated[str, _value("--label-separator", "TEXT", "Between the labels of a text, by default |.")]
WordColumn = Annotated[int | None, _value("--word-column", "N", "tag: of the word, from 1; of the end: -1.")]
TagColumn = Annotated[
    int | None, _value("--tag-column", "N", "tag: of the tag; by default the last, of .conllu 4 (UPOS; 5 is XPOS).")
]
RepairTags = Annotated[
    bool, _flag("--repair-tags", "tag: read a tag that breaks BIO or BIOES as the beginning of a new span.")
]
Lang = Annotated[
    str | None,
    _value("--lang", "LANG", "Language or tokenizer of raw text. By default the model's own, else as the script says."),
]
Tokenized = Annotated[bool, _flag("--tokenized", "The words of a text are apart by white space already.")]
MaxWords = Annotated[int, _value("--max-words", "N", "Of a text that are read; the rest is cut off, and told.", min=1)]
MaxCharacters = Annotated[
    int, _value("--max-characters", "N", "A longer text is an error: a quote that is never closed, mostly.", min=1)
]

# --- what is learned from, and how

FeatureNames = Annotated[
    str, _value("--features", "NAMES", "elmo, a name of --vectors, or several joined by +, such as elmo+glove.")
]
VectorFiles = Annotated[
    list[str] | None,
    _value("--vectors", "NAME=PATH", "A file of word vectors and its name in --features; may be given again."),
]
StartState = Annotated[
    Start | None, typer.Option("--state", help="Where a sentence starts: settled (the default) or zero.")
]
HeadName = Annotated[
    Head | None,
    typer.Option("--head", help="classify: attention (light) or bcn (the ELMo paper's, best); of nli: esim."),
]
Cells = Annotated[
    list[int] | None,
    _value(
        "--cells", "N", "Of a BiLSTM, a direction; 300 by default. tag: once a layer, by default 200 and 100.", min=1
    ),
]
InputDropout = Annotated[float, _value("--input-dropout", "X", "Of the vectors.", min=0.0, max=0.99)]
ElmoOutput = Annotated[bool, _flag("--elmo-output", "tag, bcn: give the network the biLM's layers at its end, too.")]
FineTune = Annotated[
    int, _value("--fine-tune", "N", "Then N passes in which the biLM's layers learn, too, from the top down.", min=0)
]
FineTuneRate = Annotated[float, _value("--fine-tune-rate", "X", "Of the biLM's top layer; each below 2.6 times less.")]
Balanced = Annotated[bool, _flag("--balanced", "classify: rare labels weigh as much as frequent ones.")]
MetricName = Annotated[Metric, typer.Option("--metric", help="classify: what decides on dev.")]
Seed = Annotated[int, _value("--seed", "N", "For every random choice; the same seed gives the same task.", min=0)]
Seeds = Annotated[int, _value("--seeds", "N", "Train with N seeds, from --seed on, and keep the best on dev.", min=1)]
Epochs = Annotated[int, _value("--epochs", "N", "Passes over the training data at most.", min=1)]
Patience = Annotated[int, _value("--patience", "N", "Stop after so many passes that were no better on dev.", min=1)]
BatchSize = Annotated[int, _value("--batch-size", "N", "Examples of a batch.", min=1)]
LearningRate = Annotated[float, _value("--learning-rate", "X", "Of Adam.")]
DataName = Annotated[str | None, _value("--data", "TEXT", "What TRAIN is, to be kept with the task.")]
Licence = Annotated[str, _value("--licence", "TEXT", "Of the task, to be kept with it.")]
Half = Annotated[bool, _flag("--half", "Write the network's weights in float16: half the size.")]
CacheFolder = Annotated[
    str | None,
    _value("--cache", "DIR", "Where the biLM's vectors are kept for the next run; by default in Polyseme's cache."),
]
NoCache = Annotated[bool, _flag("--no-cache", "Keep the biLM's vectors in memory, and nothing on disk.")]

TaskOut = Annotated[str, typer.Option("--out", "-o", metavar="TASK", help="The folder to write.")]
TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="A folder of `task fit`.")]
OtherModel = Annotated[
    str | None, typer.Option("--model", "-m", metavar="MODEL", help="Where the task's model lies now, if elsewhere.")
]
OtherVectors = Annotated[
    list[str] | None, _value("--vectors", "NAME=PATH", "Where the task's vectors lie now, if elsewhere.")
]
PredictionsOut = Annotated[
    str | None, typer.Option("--out", "-o", metavar="OUT", help="The .jsonl file to write; else standard output.")
]
