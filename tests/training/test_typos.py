"""Typing mistakes: each is one edit of a word, clean words stay, and a run with them learns to read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.errors import OptionError
from polyseme.text.chars import Characters, IntArray
from polyseme.text.shards import Corpus
from polyseme.train import train
from polyseme.training.config import TrainConfig
from polyseme.training.typos import FURTHER, Typos

BYTES = Characters(max_characters=12)
LEARNED = Characters(
    max_characters=8, alphabet=tuple("abcdefé银行.") + tuple("!!!!!!"), sentence_start=11, sentence_end=12,
    word_start=13, word_end=14, padding=15, unknown=16, boundaries=("<bos>", "<eos>"),
)  # fmt: skip
KINDS = {"bytes": BYTES, "learned": LEARNED}


def spelled(characters: Characters, rows: IntArray) -> list[str]:
    """The words that rows stand for, which must be whole: a start, characters, an end, padding."""
    words = []
    for row in rows.tolist():
        end = row.index(characters.word_end)
        assert row[0] == characters.word_start
        assert set(row[end + 1 :]) <= {characters.padding}
        inner = [number - 1 for number in row[1:end]]
        if characters.alphabet:
            words.append("".join(characters.alphabet[number] for number in inner))
        else:
            words.append(bytes(inner).decode("ascii"))
    return words


def one_edit_apart(word: str, letters: str) -> set[str]:
    """Damerau's four edits (1964), the letters that come in among `letters`; the word itself by two equal letters."""
    cuts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    found = {a + b[1:] for a, b in cuts if b} | {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    found |= {a + letter + b[1:] for a, b in cuts if b for letter in letters}
    return found | {a + letter + b for a, b in cuts if b for letter in letters}


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    words=st.lists(st.text("abcdef", min_size=1, max_size=6), min_size=1, max_size=8),
    seed=st.integers(0, 10_000),
)
def test_a_mistake_is_one_edit_with_a_letter_of_the_text(kind: str, words: list[str], seed: int) -> None:
    characters = KINDS[kind]
    typos = Typos(1.0, characters)
    rows = characters.encode(words)
    made = typos._one_mistake(rows, rows[typos._letter[rows]], np.random.default_rng(seed))
    for word, other in zip(words, spelled(characters, made), strict=True):
        assert other in one_edit_apart(word, "".join(words))
        assert 1 <= len(other) <= characters.room


def test_every_kind_of_mistake_comes() -> None:
    rows = BYTES.encode(["abcd"] * 400)
    found = set(spelled(BYTES, Typos(1.0, BYTES).mistype(rows, np.random.default_rng(1))))
    assert {"abc", "bcd", "bacd", "abdc", "abbd", "aabcd"} <= found


def test_long_words_have_more_mistakes_about_one_and_a_tenth_of_the_other_characters() -> None:
    typos = Typos(1.0, Characters(max_characters=50))
    rows = Characters(max_characters=50).encode(["abcdefghijklmnopqrstuvwxyz" * 2] * 1000)
    rows[:, 42:] = typos.padding
    rows[:, 41] = BYTES.word_end
    turns = 0

    class Counting(Typos):
        def _one_mistake(self, rows: IntArray, letters: IntArray, chance: np.random.Generator) -> IntArray:
            nonlocal turns
            turns += len(rows)
            return super()._one_mistake(rows, letters, chance)

    Counting(1.0, Characters(max_characters=50)).mistype(rows, np.random.default_rng(1))
    assert turns / 1000 == pytest.approx(1 + 39 * FURTHER, rel=0.1)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_words_with_letters_of_one_id_each_are_mistyped(kind: str) -> None:
    characters = KINDS[kind]
    words = [*characters.boundaries, ".", "!", "é", "银行", "a.", "bad"]
    rows = characters.encode(words)
    able = Typos(1.0, characters)._able(rows)
    chinese = kind == "learned"
    assert able.tolist() == [False, False, False, False, chinese, chinese, True, True]


def test_a_word_with_an_unknown_character_stays_also_where_that_is_written_as_padding() -> None:
    marks = {"sentence_start": 4, "sentence_end": 5, "word_start": 6, "word_end": 7, "padding": 8, "unknown": 8}
    characters = Characters(max_characters=8, alphabet=tuple("abcdefgh"), **marks)
    assert Typos(1.0, characters)._able(characters.encode(["a?bc", "abc"])).tolist() == [False, True]


def test_each_mistyped_place_has_a_row_of_its_own_and_the_others_keep_theirs() -> None:
    rows = BYTES.encode(["bank", "the", "."])
    places = np.random.default_rng(2).integers(3, size=(2, 30, 40))
    read, at = Typos(0.1, BYTES).make(rows, places, np.random.default_rng(3))
    new = at >= 3
    assert (read[:3] == rows).all()
    assert (at[~new] == places[~new]).all()
    assert sorted(at[new]) == list(range(3, len(read)))
    assert not new[places == 2].any()
    assert new[places != 2].mean() == pytest.approx(0.1, abs=0.02)
    assert places.max() == 2


def test_no_share_changes_nothing() -> None:
    rows, places = BYTES.encode(["bank"]), np.zeros((2, 3, 4), dtype=np.int64)
    read, at = Typos(0.0, BYTES).make(rows, places, np.random.default_rng(1))
    assert read is rows
    assert at is places


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_from_0_to_1(share: float) -> None:
    with pytest.raises(OptionError, match="typos is a share from 0 to 1"):
        TrainConfig(typos=share)


def test_a_run_with_mistakes_is_the_same_run_twice_and_another_without(tmp_path: Path) -> None:
    text = [["the", "bank", "raised", "its", "rates"], ["we", "sat", "there"]]
    corpus = Corpus.from_sentences(text * 40, heldout=text)

    def losses(name: str, typos: float) -> float:
        config = TrainConfig(epochs=2, lanes=4, steps=8, typos=typos, warm_up=2)
        report = train(corpus, tmp_path / name, "tiny", config)
        assert report.losses is not None
        return report.losses.forward

    with_mistakes = losses("a", 0.3)
    assert losses("b", 0.3) == with_mistakes
    assert losses("c", 0.0) != with_mistakes
