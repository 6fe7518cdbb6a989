"""Words and ids: deterministic order, files that survive odd white space, published files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.errors import DecodeError, InputError, OptionError, OutputError
from polyseme.text.vocab import SPECIAL, Vocabulary, count_words

WORDS = st.text(min_size=1, max_size=4).filter(
    lambda word: "\n" not in word and not any("\ud800" <= c <= "\udfff" for c in word)
)


def test_falling_count_then_code_points() -> None:
    counts = count_words([["b", "a", "é"], ["b", "<UNK>"], ("Z",)])
    vocabulary = Vocabulary.from_counts(counts)
    assert vocabulary.words == ("<S>", "</S>", "<UNK>", "b", "Z", "a", "é")
    assert Vocabulary.from_counts(counts, min_count=2).words == (*SPECIAL, "b")
    assert Vocabulary.from_counts(counts, size=5).words == vocabulary.trim(5).words == vocabulary.words[:5]


def test_ids() -> None:
    vocabulary = Vocabulary((*SPECIAL, "a", "b"))
    ids = vocabulary.ids(["b", "</S>", "nowhere"])
    assert ids.dtype == np.uint32
    assert ids.tolist() == [4, 1, 2]
    assert (vocabulary.id("a"), vocabulary.word(3), len(vocabulary)) == (3, "a", 5)
    assert "a" in vocabulary
    assert "c" not in vocabulary
    assert vocabulary.unknown_share({"a": 3, "c": 1}) == 0.25
    assert vocabulary.unknown_share({}) == 0.0
    for outside in (-1, 5):
        with pytest.raises(OptionError, match="0 to 4"):
            vocabulary.word(outside)
    with pytest.raises(OptionError, match="at least its 3"):
        vocabulary.trim(2)


@settings(max_examples=100, deadline=None)
@given(words=st.lists(WORDS, unique=True, max_size=12))
def test_a_file_gives_the_same_words_back(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    vocabulary = Vocabulary((*SPECIAL, *(word for word in words if word not in (*SPECIAL, "!!!MAXTERMID"))))
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary


def test_words_of_odd_white_space_survive(awkward_path: Path) -> None:
    words = (*SPECIAL, "\u3000", "\x85", "\u2028", " ", "a\u00a0b", "\ufeff", "\x1c", "x\r")
    path = awkward_path / "vocab.txt"
    Vocabulary(words).save(path)
    assert Vocabulary.load(path).words == words
    assert [path.name for path in awkward_path.iterdir()] == ["vocab.txt"]


def test_published_files_load(tmp_path: Path, official: Path) -> None:
    path = official / "bilm-tf" / "tests" / "fixtures" / "model" / "vocab_test.txt"
    vocabulary = Vocabulary.load(path)
    # It has no <UNK>, as bilm-tf allows.
    assert vocabulary.ids(["the", "<S>"]).max() < len(vocabulary)
    with pytest.raises(InputError, match="'nowhere' is not in the vocabulary"):
        vocabulary.id("nowhere")
    # As many as the lines that `wc -l` counts.
    assert len(vocabulary) == path.read_bytes().count(b"\n")
    other = tmp_path / "windows.txt"
    other.write_bytes(b"\xef\xbb\xbf</S>\r\n<S>\r\n<UNK>\r\n!!!MAXTERMID\r\nthe\r\n")
    assert Vocabulary.load(other).words == ("</S>", "<S>", "<UNK>", "the")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<S>\n</S>\n<UNK>\na\nb\na\n", r"line 6: 'a' stands in line 4 already"),
        (b"<S>\n</S>\n<UNK>\n\nb\n", r"line 4: an empty line"),
        (b"the\na\n", r"lacks <S>"),
        (b"", r"empty line"),
    ],
)
def test_files_that_are_no_vocabulary(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "v.txt").write_bytes(data)
    with pytest.raises(InputError, match=f"v.txt.*{message}"):
        Vocabulary.load(tmp_path / "v.txt")


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(b"\xff\n")
    with pytest.raises(DecodeError, match="byte 0"):
        Vocabulary.load(tmp_path / "v.txt")
    with pytest.raises(InputError, match="cannot be read"):
        Vocabulary.load(tmp_path / "absent.txt")
    with pytest.raises(OutputError, match="cannot be written"):
        Vocabulary(SPECIAL).save(tmp_path / "no folder" / "v.txt")
    with pytest.raises(InputError, match="no character"):
        Vocabulary((*SPECIAL, "\ud800")).save(tmp_path / "w.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["v.txt"]


@pytest.mark.parametrize("words", [(*SPECIAL, "a", "a"), (*SPECIAL, ""), (*SPECIAL, "a\nb"), ("a",)])
def test_words_that_cannot_be_a_vocabulary(words: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        Vocabulary(words)
