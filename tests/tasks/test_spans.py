"""Schemes of span tags: each way of writing the same spans gives them back; broken ones are read as conlleval does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from polyseme.tasks.spans import Span, as_bio, first_violation, scheme_of, spans

TAG = st.sampled_from(["O", *(f"{mark}-{kind}" for mark in "BI" for kind in ("PER", "LOC"))])


@st.composite
def sentences(draw: st.DrawFn) -> tuple[int, list[Span]]:
    """A number of words, and spans that do not overlap."""
    at, found = 0, []
    for gap, size, label in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from("XY")))):
        found.append(Span(at + gap, at + gap + size, label))
        at += gap + size
    return at + draw(st.integers(0, 2)), found


def written(n: int, found: list[Span], scheme: str) -> list[str]:
    """The spans by the definition of a scheme, each tag for itself."""
    tags = ["O"] * n
    for number, span in enumerate(found):
        touches = number > 0 and found[number - 1].end == span.start and found[number - 1].label == span.label
        for at in range(span.start, span.end):
            first, last = at == span.start, at == span.end - 1
            if scheme == "bioes":
                mark = "S" if first and last else "B" if first else "E" if last else "I"
            elif scheme == "bilou":
                mark = "U" if first and last else "B" if first else "L" if last else "I"
            else:
                mark = "B" if first and (scheme == "bio" or touches) else "I"
            tags[at] = f"{mark}-{span.label}"
    return tags


@pytest.mark.parametrize("scheme", ["bio", "iob1", "bioes", "bilou"])
@given(sentence=sentences())
def test_every_scheme_gives_the_spans_back_and_bio_of_them(scheme: str, sentence: tuple[int, list[Span]]) -> None:
    n, found = sentence
    tags = written(n, found, scheme)
    named = "bioes" if scheme == "bilou" else scheme
    assert spans(tags) == found
    assert list(as_bio(tags, named)) == written(n, found, "bio")  # type: ignore[arg-type]
    assert first_violation(tags, named) is None  # type: ignore[arg-type]


@given(st.lists(TAG))
def test_broken_tags_are_read_as_seqeval_and_conlleval_read_them(tags: list[str]) -> None:
    assert [(span.label, span.start, span.end - 1) for span in spans(tags)] == get_entities(tags)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("B-X I-X O B-X B-X", "bio"),
        ("I-X I-X O I-X B-X", "iob1"),
        ("I-X O I-Y", "iob1"),
        ("B-X E-X O S-Y", "bioes"),
        ("B-X L-X U-X", "bioes"),
        ("B-X I-Y O B-X", "bio"),
        ("NN VB -LRB-", "plain"),
        ("PROPN X O", "plain"),
    ],
)
def test_a_scheme_is_told_by_its_tags(tags: str, scheme: str) -> None:
    assert scheme_of([tags.split()]) == scheme


@pytest.mark.parametrize(
    ("tags", "scheme", "place"),
    [
        ("O I-X", "bio", 1),
        ("I-X O", "bio", 0),
        ("B-X I-Y", "bio", 1),
        ("B-X O", "bioes", 1),
        ("O B-X", "bioes", 1),
        ("S-X E-X", "bioes", 1),
        ("I-X B-Y", "iob1", None),
    ],
)
def test_the_first_tag_that_breaks_its_scheme_is_found(tags: str, scheme: str, place: int | None) -> None:
    assert first_violation(tags.split(), scheme) == place  # type: ignore[arg-type]
