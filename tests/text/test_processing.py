"""Stop words, lower-casing, stemming: off by default, and the offsets stay."""

from __future__ import annotations

import pytest

from polyseme.errors import OptionError
from polyseme.text.config import TextConfig
from polyseme.text.processing import WHY_KEEP_STOP_WORDS, apply
from polyseme.text.stopwords import stop_words
from polyseme.text.tokenize import tokenizer_for

TEXT = "The cats weren't running to the Houses."


def test_nothing_is_done_by_default() -> None:
    sentence = tokenizer_for("en").sentences(TEXT)[0]
    assert apply(sentence, TextConfig(), "en") is sentence


def test_each_step_keeps_the_offsets() -> None:
    sentence = tokenizer_for("en").sentences(TEXT)[0]
    done = apply(sentence, TextConfig(remove_stop_words=True, lowercase=True, stem=True), "en")
    # Porter's algorithm as Snowball publishes it: cats -> cat, running -> run, houses -> hous.
    assert done.tokens == ("cat", "run", "hous", ".")
    assert [TEXT[start:end] for start, end in done.offsets] == ["cats", "running", "Houses", "."]
    lower = apply(sentence, TextConfig(lowercase=True), "en")
    assert lower.tokens == tuple(token.lower() for token in sentence.tokens)
    assert lower.offsets == sentence.offsets


@pytest.mark.parametrize(
    ("language", "word", "stem"),
    [("de", "aufeinanderfolgenden", "aufeinanderfolg"), ("fr", "continuellement", "continuel"), ("ru", "вазы", "ваз")],
)
def test_stems_of_the_snowball_vocabularies(language: str, word: str, stem: str) -> None:
    sentence = tokenizer_for("whitespace").sentences(word)[0]
    assert apply(sentence, TextConfig(stem=True), language).tokens == (stem,)


def test_chinese_stop_words() -> None:
    sentence = tokenizer_for("zh").sentences("我的天气和你的问题")[0]
    assert apply(sentence, TextConfig(remove_stop_words=True), "zh").tokens == ("天气", "问题")


def test_a_sentence_of_stop_words_is_left_empty() -> None:
    sentence = tokenizer_for("en").sentences("To be or not to be")[0]
    assert len(apply(sentence, TextConfig(remove_stop_words=True), "en")) == 0


def test_the_english_list_is_short_and_clean() -> None:
    words = stop_words("en")
    assert 170 <= len([word for word in words if word.isalpha()]) <= 230
    assert {"the", "not", "n't", "'s", "don't"} <= words
    assert not words & {"computer", "system", "new", "good", "house", "two"}
    assert all(word == word.casefold() for word in words)


def test_languages_without_lists_are_refused_with_those_that_have_one() -> None:
    sentence = tokenizer_for("und").sentences("x")[0]
    with pytest.raises(OptionError, match="there are lists for: af ar"):
        apply(sentence, TextConfig(remove_stop_words=True), "xx")
    with pytest.raises(OptionError, match="there are stemmers for: ar"):
        apply(sentence, TextConfig(stem=True), "zh")


def test_the_reason_is_one_sentence() -> None:
    assert WHY_KEEP_STOP_WORDS.count(".") == 1
