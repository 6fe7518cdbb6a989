"""Hard-wrapped text is noticed, and joined where asked for."""

from __future__ import annotations

import lzma
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from universal_dependencies import shared_file

from polyseme.text.read import read_documents
from polyseme.text.unwrap import WrapSample, unwrap

DICKENS = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
    "it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, "
    "it was the season of Darkness."
)


def join(*lines: str) -> list[str]:
    return [text for _, text in unwrap(enumerate(lines, 1))]


def test_end_of_line_hyphens() -> None:
    assert join("for exam-", "ple this") == ["for example this"]
    assert join("the Anglo-", "Saxon") == ["the Anglo-Saxon"]
    assert join("in 1914-", "1918 the") == ["in 1914-1918 the"]
    assert join("pre-", "and post-war") == ["pre- and post-war"]
    assert join("a dash --", "here") == ["a dash -- here"]
    assert join("soft\u00ad", "ware") == ["software"]


def test_paragraphs() -> None:
    assert join("one", "two", "", "three") == ["one two", "three"]
    assert join("one", "  Two", "three") == ["one", "Two three"]
    # Verse: every line is indented.
    assert join("  one", "  two") == ["one two"]
    # A short line that ends a sentence ends the paragraph.
    assert join("x" * 60, "It ended.", "Next one") == ["x" * 60 + " It ended.", "Next one"]
    assert join("y" * 500, "z" * 500) == ["y" * 500, "z" * 500]
    assert join("中文没有空", "格。") == ["中文没有空格。"]
    assert list(unwrap([(3, "a"), (4, ""), (7, "b")])) == [(3, "a"), (7, "b")]


@settings(max_examples=40, deadline=None)
@given(st.integers(40, 100), st.integers(1, 4))
def test_wrapping_and_joining_gives_the_text_back(width: int, paragraphs: int) -> None:
    wrapped = "\n\n".join([textwrap.fill(DICKENS, width)] * paragraphs)
    assert join(*wrapped.split("\n")) == [DICKENS] * paragraphs


def test_real_prose_is_noticed_when_wrapped_and_not_before(tmp_path: Path) -> None:
    with lzma.open(shared_file("pretrain/en/fiction.heldout.txt.xz"), "rt", encoding="utf-8") as file:
        paragraphs = [line for line in file.read(150_000).split("\n")[:-1] if line]
    plain, wrapped = tmp_path / "plain.txt", tmp_path / "wrapped.txt"
    plain.write_text("\n".join(paragraphs), encoding="utf-8")
    wrapped.write_text("\n\n".join(textwrap.fill(text, 70) for text in paragraphs), encoding="utf-8")
    reader = read_documents([plain])
    assert list(reader)
    assert reader.report.hard_wrapped_files == ()
    assert reader.report.hard_wrapped_share < 0.1
    reader = read_documents([wrapped])
    assert list(reader)
    assert reader.report.hard_wrapped_files == (str(wrapped),)
    assert reader.report.hard_wrapped_share > 0.5
    assert "--unwrap" in reader.report.warnings()[0]
    joined = [document.text for document in read_documents([wrapped], unwrap=True)]
    same = len(set(joined) & {" ".join(text.split()) for text in paragraphs}) / len(paragraphs)
    # What differs: compounds that textwrap broke at their own hyphen.
    assert same > 0.85


@pytest.mark.parametrize("name", ["tasks/pos/ud_english_ewt/dev.conllu.xz", "pretrain/zh/zh_law.heldout.txt.xz"])
def test_what_is_not_wrapped_prose_is_left_alone(name: str) -> None:
    with lzma.open(shared_file(name), "rt", encoding="utf-8") as file:
        sample = WrapSample()
        for line in file.read(100_000).split("\n"):
            sample.add(line)
    assert sample.share() < 0.3


def test_titles_of_one_width_are_no_wrapped_prose() -> None:
    sample = WrapSample()
    for number in range(200):
        sample.add(f"A Title Of Nearly Always The Same Width {number % 7}")
    assert sample.share() == 0.0
