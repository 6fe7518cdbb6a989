"""How good labels and tags are: scikit-learn for labels, seqeval for spans. Both come with the extra `tasks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from polyseme.errors import MissingExtraError

Labels = tuple[str, ...]
_PACKAGES = ("sklearn", "seqeval", "torchcrf")


@dataclass(frozen=True)
class LabelScore:
    """One label's, or one kind of span's: `support` is how often it is right."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class LabelScores:
    """Of texts. `accuracy`: all labels of a text right. `micro_f1` counts labels, `macro_f1` is the mean over them."""

    n: int
    accuracy: float
    macro_f1: float
    micro_f1: float
    labels: dict[str, LabelScore]


@dataclass(frozen=True)
class TagScores:
    """Of words. `f1` and the two before it are those of whole spans (conlleval); None for plain tags."""

    sentences: int
    words: int
    accuracy: float
    precision: float | None
    recall: float | None
    f1: float | None
    spans: dict[str, LabelScore]


def need_extra(feature: str) -> None:
    """Raises `MissingExtraError` before any work where a package of the extra is absent."""
    if not all(find_spec(package) for package in _PACKAGES):
        raise MissingExtraError(feature, "tasks")


def label_scores(truth: Sequence[Labels], found: Sequence[Labels], labels: Sequence[str]) -> LabelScores:
    """Scores of label sets; a label that never comes and is never found counts 0 in `macro_f1`."""
    score = _module("sklearn.metrics").precision_recall_fscore_support
    true, guessed = ([[label in each for label in labels] for each in rows] for rows in (truth, found))
    parts = zip(*score(true, guessed, average=None, zero_division=0), strict=True)
    each = {
        label: LabelScore(float(p), float(r), float(f), int(n))
        for label, (p, r, f, n) in zip(labels, parts, strict=True)
    }
    micro = float(score(true, guessed, average="micro", zero_division=0)[2])
    right = sum(set(a) == set(b) for a, b in zip(truth, found, strict=True))
    macro = sum(one.f1 for one in each.values()) / len(each)
    return LabelScores(len(truth), right / len(truth), macro, micro, each)


def tag_scores(truth: Sequence[Labels], found: Sequence[Labels], *, spans: bool) -> TagScores:
    """Scores of the tags of sentences."""
    pairs = [(a, b) for true, guessed in zip(truth, found, strict=True) for a, b in zip(true, guessed, strict=True)]
    accuracy = sum(a == b for a, b in pairs) / len(pairs)
    if not spans:
        return TagScores(len(truth), len(pairs), accuracy, None, None, None, {})
    score = _module("seqeval.metrics.sequence_labeling").precision_recall_fscore_support
    rows = [list(each) for each in truth], [list(each) for each in found]
    precision, recall, f1, _ = score(*rows, average="micro", zero_division=0)
    kinds = sorted({tag.partition("-")[2] for row in (*truth, *found) for tag in row if tag != "O"})
    parts = zip(*score(*rows, average=None, zero_division=0), strict=True)
    each = {
        kind: LabelScore(float(p), float(r), float(f), int(n)) for kind, (p, r, f, n) in zip(kinds, parts, strict=True)
    }
    return TagScores(len(truth), len(pairs), accuracy, float(precision), float(recall), float(f1), each)


def span_f1(truth: Sequence[Labels], found: Sequence[Labels]) -> float:
    """The F1 of whole spans, over all kinds together."""
    return float(
        _module("seqeval.metrics").f1_score([list(t) for t in truth], [list(f) for f in found], zero_division=0)
    )


def _module(name: str) -> Any:
    if find_spec(name.partition(".")[0]) is None:
        raise MissingExtraError("measuring a task", "tasks")
    return import_module(name)
