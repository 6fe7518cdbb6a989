"""Tags of words that mark spans: which scheme a file uses, where it breaks it, and the spans themselves.

| scheme | a span of two words, one of one, two that touch | |
|---|---|---|
| `bio` | B-X I-X, B-X, B-X B-X | IOB2: every span begins with B |
| `iob1` | I-X I-X, I-X, I-X B-X | B only where the word before ends a span of the same kind |
| `bioes` | B-X E-X, S-X, S-X S-X | also BILOU, whose L and U stand for E and S |
| `plain` | no spans: parts of speech | |

Inside Polyseme spans are always written as `bio`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["bio", "iob1", "bioes", "plain"]
Tags = tuple[str, ...]

_MARK = re.compile(r"([BIESLU])-(.+)")
_SAME = {"L": "E", "U": "S"}
OUTSIDE = ("O", "")


@dataclass(frozen=True)
class Span:
    """The words from `start` to before `end`."""

    start: int
    end: int
    label: str


def parted(tag: str) -> tuple[str, str]:
    """(B, I, E, S or O; the kind of the span)."""
    found = _MARK.fullmatch(tag)
    return (_SAME.get(found[1], found[1]), found[2]) if found else OUTSIDE


def scheme_of(sentences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme of tagged sentences, from what their tags look like; `bio` also where some tags break it."""
    marks: set[str] = set()
    begun_by_i = needless_b = 0
    for tags in sentences:
        before = OUTSIDE
        for tag in tags:
            mark, kind = parted(tag)
            if mark == "O" and tag != "O":
                return "plain"
            marks.add(mark)
            begun_by_i += mark == "I" and before[1] != kind
            needless_b += mark == "B" and before[1] != kind
            before = mark, kind
    if marks <= {"O"}:
        return "plain"
    if marks & {"E", "S"}:
        return "bioes"
    return "iob1" if begun_by_i and not needless_b else "bio"


def may_follow(before: str | None, tag: str | None, scheme: Scheme) -> bool:
    """Whether `tag` may stand after `before`; None for the sentence's two ends."""
    if scheme in ("plain", "iob1"):
        return True
    (mark, kind), (old, old_kind) = parted(tag or "O"), parted(before or "O")
    if scheme == "bio":
        return mark != "I" or (old in ("B", "I") and old_kind == kind)
    if old in ("B", "I"):
        return mark in ("I", "E") and old_kind == kind
    return mark in ("O", "B", "S")


def first_violation(tags: Sequence[str], scheme: Scheme) -> int | None:
    """The place of the first tag that may not stand there (the last word's where the end may not follow it)."""
    before: str | None = None
    for place, tag in enumerate(tags):
        if not may_follow(before, tag, scheme):
            return place
        before = tag
    return None if not tags or may_follow(before, None, scheme) else len(tags) - 1


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of one sentence's tags in any scheme; broken ones as conlleval reads them: a new kind is a new span."""
    found: list[Span] = []
    start, open_kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        mark, kind = parted(tag)
        if open_kind and (mark in ("B", "S", "O") or kind != open_kind):
            found.append(Span(start, place, open_kind))
            open_kind = ""
        if mark != "O" and not open_kind:
            start, open_kind = place, kind
        if mark in ("E", "S"):
            found.append(Span(start, place + 1, open_kind))
            open_kind = ""
    return found


def as_bio(tags: Sequence[str], scheme: Scheme) -> Tags:
    """The same spans as B and I; plain tags as they are."""
    if scheme == "plain":
        return tuple(tags)
    written = ["O"] * len(tags)
    for span in spans(tags):
        written[span.start : span.end] = [f"B-{span.label}", *[f"I-{span.label}"] * (span.end - span.start - 1)]
    return tuple(written)
