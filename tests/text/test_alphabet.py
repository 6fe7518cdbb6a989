"""Bytes or a learned alphabet, by the measured share of cut words."""

from __future__ import annotations

import pytest

from polyseme.errors import InputError, OptionError
from polyseme.text.alphabet import MARKS, choose_characters
from polyseme.text.chars import Characters

# 17 Chinese characters are 51 bytes: cut at 48. The same word is 17 characters long.
LONG = "中华人民共和国全国人民代表大会常务"


def test_english_keeps_bytes() -> None:
    characters, report = choose_characters({"the": 900, "cat": 100, "x" * 60: 2})
    assert characters == Characters()
    assert report.kind == "bytes"
    assert report.cut_share_bytes == report.cut_share_characters == pytest.approx(2 / 1002)
    assert (report.words, report.alphabet_size, report.unknown_share, report.longest) == (1002, 0, 0.0, "x" * 60)


def test_long_chinese_words_bring_an_alphabet() -> None:
    counts = {"中国": 900, LONG: 90, "罕": 2, "的": 8}
    characters, report = choose_characters(counts)
    assert report.kind == "learned"
    assert report.cut_share_bytes == pytest.approx(0.09)
    assert report.cut_share_characters == 0.0
    assert report.longest == ""
    # By falling count: 国 stands in the first word and twice in the second, 中 once in each.
    assert characters.alphabet[: len(MARKS)] == MARKS
    assert characters.alphabet[len(MARKS) : len(MARKS) + 2] == ("国", "中")
    assert "罕" not in characters.alphabet
    assert report.alphabet_size == len(characters.alphabet) - len(MARKS)
    running = 900 * 2 + 90 * 17 + 2 + 8
    assert report.unknown_share == pytest.approx(2 / running)
    assert "learned alphabet" in str(report)
    assert "9.00%" in str(report)


def test_marks_and_characters_have_different_ids() -> None:
    characters, _ = choose_characters({LONG: 5}, kind="learned", min_count=1)
    row = characters.encode(["中罕", "<S>"]).tolist()
    marks = [characters.sentence_start, characters.sentence_end, characters.word_start, characters.word_end]
    assert len({*marks, characters.padding, characters.unknown}) == 6
    known = characters.alphabet.index("中") + 1
    assert row[0][:5] == [characters.word_start, known, characters.unknown, characters.word_end, characters.padding]
    assert row[1][:3] == [characters.word_start, characters.sentence_start, characters.word_end]
    assert max(max(r) for r in row) < characters.n_rows


def test_the_choice_can_be_made_by_hand_and_is_capped() -> None:
    counts = {LONG: 10}
    assert choose_characters(counts, kind="bytes")[1].kind == "bytes"
    characters, report = choose_characters(counts, kind="learned", max_alphabet=3, min_count=1)
    assert report.alphabet_size == 3
    assert len(characters.alphabet) == 3 + len(MARKS)
    assert report.unknown_share > 0.5


def test_an_alphabet_that_cuts_no_fewer_words_is_not_chosen() -> None:
    assert choose_characters({"x" * 100: 1, "a": 1})[1].kind == "bytes"


def test_the_same_words_in_another_order_give_the_same_alphabet() -> None:
    counts = {"乙甲": 3, "甲丙": 3, "丁丙乙": 3}
    turned = dict(reversed(counts.items()))
    assert choose_characters(counts, kind="learned") == choose_characters(turned, kind="learned")


def test_no_words_and_bad_values() -> None:
    with pytest.raises(InputError, match="no words"):
        choose_characters({})
    with pytest.raises(OptionError, match="kind"):
        choose_characters({"a": 1}, kind="words")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="min_count"):
        choose_characters({"a": 1}, min_count=0)
