"""Where sentences end, in English and elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.text import sentences as module
from polyseme.text.sentences import line_spans, sentence_spans


def cut(marked: str, language: str) -> None:
    """`marked` holds "|" where the sentences should end."""
    text = marked.replace("|", " ")
    expected = [part.strip() for part in marked.split("|")]
    assert [text[start:end] for start, end in sentence_spans(text, language)] == expected


@pytest.mark.parametrize(
    "marked",
    [
        "Mr. Smith met Dr. Jones.|They talked.",
        "J. K. Rowling wrote it.|George W. Bush did not.",
        "It was I.|Mary left.",
        "He lives in the U.S.|He likes it.",
        "The U.S. Army came.|It left.",
        "She works at Acme Inc.|The firm grows.",
        "Acme Co. Ltd. bought it.|Fine.",
        "We met at 5 p.m.|Then we left.",
        "See No. 5 and p. 12 and Fig. 3.|Thanks.",
        "On Jan. 5 it cost 3.5 dollars, i.e. too much.|We paid.",
        "Fruit, e.g. Apples, is cheap.|Buy it.",
        '"No!" he said.|"Why?" she asked.',
        "He left... and came back.|Really.",
        "They left...|Nobody came.",
        "Really?!|Yes!|No.",
        '"I saw it."|Then he slept.',
        "(He knew it.)|She did not.",
        "Go.|Then stop.",
        "I bought an app.|They left.",
        "it was fun.|i liked it.|what next?|no idea.",
        "There were approx. the same, etc. the list goes on.|End.",
        "He visited St. Louis and Mt. Everest.|He came home.",
        "Ph.D. students met Prof. Lee vs. Capt. Kirk.|It ended.",
    ],
)
def test_english(marked: str) -> None:
    cut(marked, "en")


def test_line_ends_end_sentences() -> None:
    text = "Mr.\nSmith\n\nno stop here\r\nnext"
    assert [text[a:b] for a, b in sentence_spans(text, "en")] == ["Mr.", "Smith", "no stop here", "next"]


@pytest.mark.parametrize(
    ("language", "marked"),
    [
        ("zh", "他说：“走吧！”|然后走了？|真的……|好……！"),
        ("zh", "你好！！|（再见。）|好"),
        ("ja", "「はい。」|「ええ？」|そうです！"),
        ("ar", "هل أنت بخير؟|نعم، أنا بخير."),
        ("hi", "यह है।|वह है॥|और"),
        ("de", "Das ist z. B. Berlin.|Dr. Müller kam am 3. Mai an.|„Gut!“"),
        ("fr", "M. Dupont et Mme. Petit sont là.|« Oui ! » dit-il."),
        ("es", "¿Qué tal?|¡Hola, Sr. García!|Bien."),
        ("ru", "Он живёт на ул. Ленина, т.е. там.|Да."),
        ("el", "Τι κάνεις;|Καλά."),
        ("ko", "안녕하세요.|반갑습니다!"),
        ("und", "One.|Two?|Three!"),
    ],
)
def test_other_languages(language: str, marked: str) -> None:
    joined = marked if language not in ("zh", "ja") else marked.replace("|", "")
    expected = marked.split("|")
    text = joined.replace("|", " ")
    assert [text[a:b] for a, b in sentence_spans(text, language)] == expected


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="Ab.! \n\r\"'「。 \u2028", max_size=60), st.integers(1, 12))
def test_blocks_change_nothing(text: str, size: int) -> None:
    whole = sentence_spans(text, "en")
    before = module._BLOCK_CHARACTERS
    module._BLOCK_CHARACTERS = size
    try:
        assert sentence_spans(text, "en") == whole
    finally:
        module._BLOCK_CHARACTERS = before


def test_lines_are_sentences_of_pretokenized_text() -> None:
    text = " a b . c \n\n\u3000\nd"
    assert [text[a:b] for a, b in line_spans(text)] == ["a b . c", "d"]
