"""Character ids against AllenNLP's, bilm-tf's own, and the cut at 50."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyseme.errors import OptionError
from polyseme.text.chars import Characters

PAD = [261]


@pytest.mark.parametrize(
    ("word", "expected"),
    [  # from AllenNLP 2.10.1, tests/data/token_indexers/elmo_indexer_test.py
        ("<S>", [259, 257, 260]),
        ("</S>", [259, 258, 260]),
        (chr(256) + "t", [259, 197, 129, 117, 260]),
        ("Second", [259, 84, 102, 100, 112, 111, 101, 260]),
        (".", [259, 47, 260]),
        ("", [259, 260]),
    ],
)
def test_ids_are_those_of_allennlps_indexer(word: str, expected: list[int]) -> None:
    assert Characters().encode([word])[0].tolist() == expected + PAD * (50 - len(expected))


def by_hand(word: str, size: int = 50) -> list[int]:
    """allennlp `ELMoCharacterMapper.convert_word_to_char_ids`, in its own order of steps."""
    ids = [260] * size
    ids[0] = 258
    encoded = word.encode("utf-8", "ignore")[: size - 2]
    for place, byte in enumerate(encoded, start=1):
        ids[place] = byte
    ids[len(encoded) + 1] = 259
    return [number + 1 for number in ids]


@given(st.text(st.characters(codec="utf-8"), max_size=70))
def test_every_word_is_encoded_as_the_published_mapper_does(word: str) -> None:
    characters = Characters()
    assert characters.encode([word])[0].tolist() == by_hand(word) or word in ("<S>", "</S>")
    assert characters.lengths([word])[0] == min(len(word.encode()), 48) + 2 or word in ("<S>", "</S>")
    assert characters.is_cut(word) == (len(word.encode()) > 48)


def test_a_word_is_cut_at_48_bytes_even_inside_a_character() -> None:
    characters = Characters()
    row = characters.encode(["a" + "é" * 30])[0].tolist()
    assert row[48] == "é".encode()[0] + 1
    assert row[49] == 260
    assert not characters.is_cut("a" * 48)
    assert characters.is_cut("a" * 49)
    assert characters.is_cut("é" * 25)


def test_half_characters_that_no_file_can_hold_are_left_out() -> None:
    assert Characters().encode(["a\ud800b"])[0].tolist() == Characters().encode(["ab"])[0].tolist()


def test_an_alphabet_counts_characters_not_bytes_and_has_an_unknown() -> None:
    marks = {"sentence_start": 4, "sentence_end": 5, "word_start": 6, "word_end": 7, "padding": 8, "unknown": 9}
    characters = Characters(6, ("é", "两", "a", *"SETXPU"), **marks)
    assert characters.n_rows == 10
    assert characters.encode(["é两q"])[0].tolist() == [6, 1, 2, 9, 7, 8]
    assert characters.encode(["<S>"])[0].tolist() == [6, 4, 7, 8, 8, 8]
    assert characters.encode(["aaaaaaa"])[0].tolist() == [6, 3, 3, 3, 3, 7]
    assert characters.is_cut("aaaaa")
    assert not characters.is_cut("ééé")


def test_many_words_give_one_row_each() -> None:
    rows = Characters().encode(["a", "b", "a"])
    assert rows.shape == (3, 50)
    assert rows.dtype == np.int32
    assert np.array_equal(rows[0], rows[2])
    assert Characters().encode([]).shape == (0, 50)
    assert Characters().n_rows == 262


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_characters": 3}, "at least 4 .*was: 3"),
        ({"alphabet": ("a", "b")}, "ids below 3, were: "),
        ({"unknown": -1}, "ids below 262"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Characters(**options)  # type: ignore[arg-type]
