"""What the verbs of `polyseme task` share: which columns are read, and where vectors are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.errors import OptionError

if TYPE_CHECKING:
    from polyseme.tasks.conll import TagColumns, TaggedData
    from polyseme.tasks.data import Text, TextColumns
    from polyseme.tasks.metrics import LabelScores, TagScores

TEXT_OPTIONS = ("text", "second", "label", "multi_label", "separator")
TAG_OPTIONS = ("word", "tag")


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


def read_tags(paths: Sequence[str], columns: TagColumns, encoding: str, errors: str, *, repair: bool) -> TaggedData:
    """Tagged words of the files."""
    from polyseme.tasks.conll import read_tagged

    return read_tagged(paths, columns, repair=repair, encoding=encoding, encoding_errors=errors)


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
    sample = " ".join(text.texts[0][:200] for text in texts[:50])
    return tokenizer_for(lang or next(filter(None, own), "") or suggest_language(sample)).name


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
