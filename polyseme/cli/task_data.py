"""What the verbs of `polyseme task` share: which columns are read, and where vectors are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.errors import OptionError

if TYPE_CHECKING:
    from polyseme.tasks.conll import TagColumns, TaggedData
    from polyseme.tasks.data import Text, TextColumns
    from polyseme.tasks.metrics import LabelScores, TagScores

TEXT_OPTIONS = ("text", "second", "label", "multi_label", "separator")
TAG_OPTIONS = ("word", "tag")
SAMPLE_TEXTS, SAMPLE_WORDS = 50, 1000


def refuse_foreign(kind: str, given: Mapping[str, object]) -> None:
    """Raises `OptionError` for an option (by its name on the command line) that another kind has."""
    for name, value in given.items():
        if value is not None and value is not False:
            raise OptionError(f"{name} is no option of {kind}; leave it out")


def text_columns(kind: str, values: Mapping[str, Any], *, labelled: bool = True) -> TextColumns:
    """The columns that `values` (None: as usual for the kind) name."""
    from polyseme.tasks.data import TextColumns
    from polyseme.tasks.nli import HYPOTHESIS, PREMISE

    usual = {"text": PREMISE, "second": HYPOTHESIS} if kind == "nli" else {}
    chosen = usual | {name: value for name, value in values.items() if value is not None}
    if not labelled:
        chosen |= {"label": None, "multi_label": False}
    return TextColumns(**chosen)


@dataclass(frozen=True)
class Labelled:
    """Files with labels, and how they are read. Without `dev`, the share `dev_share` of `train` is split off."""

    train: Sequence[str]
    dev: Sequence[str] | None
    dev_share: float
    seed: int
    encoding: str
    errors: str

    @property
    def split(self) -> str:
        """How dev came about, for people."""
        return "" if self.dev else f", split off with seed {self.seed}"

    def texts(self, columns: TextColumns) -> tuple[list[Text], list[Text]]:
        """For training and for dev; of a split, each label alike, and texts that are the same on one side."""
        from polyseme.tasks.labels import label_set, split_off

        train = self.read_texts(self.train, columns)
        label_set(train)  # there are two labels at least, or nothing is to be learned
        if self.dev:
            return train, self.read_texts(self.dev, columns)
        return split_off(
            train, self.dev_share, self.seed, stratum=lambda text: text.labels, content=lambda text: text.texts
        )

    def tags(self, columns: TagColumns, *, repair: bool) -> tuple[TaggedData, TaggedData]:
        """For training and for dev; of a split, sentences with the rarest tags in their proportion."""
        from polyseme.tasks.conll import TaggedData
        from polyseme.tasks.labels import split_off, tag_counts

        train = self.read_tags(self.train, columns, repair=repair)
        if self.dev:
            return train, self.read_tags(self.dev, columns, repair=repair)
        often = tag_counts(train.sentences)
        parts = split_off(
            train.sentences, self.dev_share, self.seed,
            stratum=lambda s: min(set(s.tags), key=lambda tag: (often[tag], tag)), content=lambda s: s.words,
        )  # fmt: skip
        learn, dev = (TaggedData(tuple(part), train.scheme, train.repaired) for part in parts)
        return learn, dev

    def read_texts(self, paths: Sequence[str], columns: TextColumns) -> list[Text]:
        """Of other files, read alike."""
        from polyseme.tasks.data import read_texts

        return read_texts(paths, columns, encoding=self.encoding, encoding_errors=self.errors)

    def read_tags(self, paths: Sequence[str], columns: TagColumns, *, repair: bool) -> TaggedData:
        """Of other files, read alike."""
        from polyseme.tasks.conll import read_tagged

        return read_tagged(paths, columns, repair=repair, encoding=self.encoding, encoding_errors=self.errors)


def model_for(features: str, model: str | None, lang: str | None, words: Iterable[str]) -> str | None:
    """The model that `features` read: as asked, or the one in the package for the language; None: they read none.

    Raises `OptionError` where no model ships for the language.
    """
    from polyseme.fetch import shipped_for
    from polyseme.text.languages import suggest_language

    if model is not None or "elmo" not in features.split("+"):
        return model
    return shipped_for(lang or suggest_language(" ".join(islice(words, SAMPLE_WORDS))))


def vector_files(given: Sequence[str] | None) -> dict[str, str]:
    """`NAME=PATH` ... -> the path of each name. Raises `OptionError`."""
    found: dict[str, str] = {}
    for each in given or ():
        name, equals, path = each.partition("=")
        if not (name and equals and path):
            raise OptionError(f"--vectors should be NAME=PATH, such as glove=vectors.txt; was: {each!r}")
        if name in found:
            raise OptionError(f"--vectors names {name!r} twice; give each name once")
        found[name] = path
    return found


def cache_folder(given: str | None, wanted: bool) -> Path | None:
    """Where layers are kept: as asked, in Polyseme's own folder, or nowhere."""
    from polyseme.fetch import home

    if given is not None and not wanted:
        raise OptionError("--cache and --no-cache contradict each other; give one of them")
    return (Path(given) if given else home() / "features") if wanted else None


def tokenizer_name(lang: str | None, tokenized: bool, own: Sequence[str], texts: Sequence[Text]) -> str:
    """The tokenizer for raw text. `own`: those of the models, of which the first that there is counts."""
    from polyseme.text.languages import suggest_language
    from polyseme.text.tokenize import tokenizer_for

    if tokenized:
        if lang is not None:
            raise OptionError("--lang and --tokenized contradict each other; give one of them")
        return "whitespace"
    return tokenizer_for(lang or next(filter(None, own), "") or suggest_language(" ".join(some(texts)))).name


def some(texts: Sequence[Text]) -> list[str]:
    """Enough to tell a script."""
    return [text.texts[0][:200] for text in texts[:SAMPLE_TEXTS]]


def label_facts(scores: LabelScores) -> dict[str, Any]:
    """For --json."""
    facts: dict[str, Any] = {"n": scores.n, "accuracy": scores.accuracy, "macro_f1": scores.macro_f1}
    facts |= {"micro_f1": scores.micro_f1, "labels": {name: vars(each) for name, each in scores.labels.items()}}
    return facts


def tag_facts(scores: TagScores) -> dict[str, Any]:
    """For --json; without spans there is no F1."""
    facts: dict[str, Any] = {"sentences": scores.sentences, "words": scores.words, "accuracy": scores.accuracy}
    if scores.f1 is not None:
        facts |= {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
        facts["spans"] = {name: vars(each) for name, each in scores.spans.items()}
    return facts


def score_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """For people: the figures, then one line a label or kind of span."""
    rows = [(name.replace("_", " "), f"{facts[name]:.4f}") for name in ("f1", "precision", "recall") if name in facts]
    rows += [
        (name.replace("_", " "), f"{facts[name]:.4f}") for name in ("accuracy", "macro_f1", "micro_f1") if name in facts
    ]
    each: Mapping[str, Any] = facts.get("labels") or facts.get("spans") or {}
    rows += [
        (
            f"  {name}",
            f"F1 {one['f1']:.4f}  precision {one['precision']:.4f}  recall {one['recall']:.4f}  n {one['support']:,}",
        )
        for name, one in each.items()
    ]
    return rows
