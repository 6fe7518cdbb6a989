"""What every tokenizer must keep, for any text; and gold tokens of real sentences by language."""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from polyseme.errors import MissingExtraError, OptionError
from polyseme.text.tokenize import Tokenizer, tokenizer_for

NAMES = ("en", "zh", "characters", "whitespace", "und", "ja", "th", "de", "fr", "ar", "icu:en")
PIECES = st.sampled_from(
    [
        "Mr. ",
        "don't",
        "don’t ",
        '"',
        "''",
        "``",
        "'",
        " ",
        "\n",
        "\r\n",
        "\t",
        "\u3000",
        "\u00a0",
        "\u2028",
        "\u200b",
        "😀",
        "👩‍👧",
        "e\u0301",
        "U.S.",
        "...",
        "…",
        "? ",
        "! ",
        ". ",
        ".) ",
        "你好",
        "。",
        "」",
        "「",
        "カタカナ",
        "ไทย",
        "مرحبا",
        "؟",
        "한국어",
        "cannot",
        "gonna ",
        "http://a.b/c",
        "a@b.co",
        "AT&T",
        "--",
        "-",
        "l'homme",
        "a-t-il",
        "3.5",
        "1,000",
        "$",
        "€5",
        ":-)",
        "<",
        "and/or",
        "i ",
        "\ud800",
        "\0",
        "\ufeff",
        "*",
        "_",
        "!!",
        "J. K. ",
        "\x85",
        "\x1c",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=25).map("".join)


def gold(name: str, text: str) -> list[list[str]]:
    return [list(sentence.tokens) for sentence in tokenizer_for(name).sentences(text)]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
@example(text="\"He said ``no'' and '\"so\"'\", she said.")
@example(text='😀 I can’t. 😀😀 "You\'ll" 👩‍👧 see…')
@example(text="\x1c\x1d. \u2029.")
def test_tokens_are_the_raw_text_and_cover_it_once(name: str, text: str) -> None:
    position = 0
    for sentence in tokenizer_for(name).sentences(text):
        assert sentence.tokens
        assert len(sentence.tokens) == len(sentence.offsets)
        for token, (start, end) in zip(sentence.tokens, sentence.offsets, strict=True):
            assert start < end
            assert text[start:end] == token
            between = text[position:start]
            assert not between or between.isspace(), "a character outside the tokens"
            if name != "whitespace":
                assert not any(character.isspace() for character in token)
            position = end
    assert not text[position:] or text[position:].isspace()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_the_same_text_gives_the_same_tokens_whatever_came_before(name: str, text: str) -> None:
    tokenizer = tokenizer_for(name)
    assert tokenizer.sentences(text) == tokenizer.sentences(text)
    for sentence in tokenizer.sentences(text):
        start, end = sentence.offsets[0][0], sentence.offsets[-1][1]
        assert tuple(tokenizer.tokens(text[start:end])) == sentence.tokens


@pytest.mark.parametrize("name", ["en", "de", "zh"])
@settings(max_examples=60, deadline=None)
@given(lines=st.lists(TEXTS.filter(lambda text: "\n" not in text), min_size=1, max_size=5))
def test_lines_cut_alone_and_together_give_the_same(name: str, lines: list[str]) -> None:
    tokenizer = tokenizer_for(name)
    together = [sentence.tokens for sentence in tokenizer.sentences("\n".join(lines))]
    # A trailing "\r" would join the "\n" and is no text of its own.
    assert together == [sentence.tokens for line in lines for sentence in tokenizer.sentences(line)]


def test_offsets_count_python_characters_after_emoji() -> None:
    # ICU counts UTF-16 units, of which an emoji has two.
    text = "😀😀 Hallo Welt. 🎉 Gut!"
    for name in ("de", "en", "zh", "und"):
        found = {
            token: span
            for s in tokenizer_for(name).sentences(text)
            for token, span in zip(s.tokens, s.offsets, strict=True)
        }
        assert found["Hallo"] == (3, 8)
        assert found["Gut"] == (17, 20)


def test_gold_chinese() -> None:
    assert gold("zh", "我爱北京天安门。他说：“你好吗？”然后走了……真的！") == [
        ["我", "爱", "北京", "天安门", "。"],
        ["他", "说", "：", "“", "你好", "吗", "？", "”"],
        ["然后", "走", "了", "……"],
        ["真的", "！"],
    ]  # fmt: skip
    # The worked example of jieba's own README.
    assert gold("Chinese", "他来到了网易杭研大厦") == [["他", "来到", "了", "网易", "杭研", "大厦"]]


def test_gold_chinese_characters_keep_foreign_words_whole() -> None:
    assert gold("characters", "我爱iPhone 15。don't 走！") == [
        ["我", "爱", "iPhone", "15", "。"],
        ["don't", "走", "！"],
    ]


def test_gold_japanese() -> None:
    assert gold("ja", "「はい。」彼は東京に行きます。") == [
        ["「", "はい", "。", "」"],
        ["彼", "は", "東京", "に", "行き", "ます", "。"],
    ]


def test_gold_thai() -> None:
    # From the Wikipedia article on word segmentation: Thai writes no spaces between words.
    assert gold("Thai", "ฉันกินข้าว") == [["ฉัน", "กิน", "ข้าว"]]


def test_gold_arabic() -> None:
    assert gold("ar", "هل أنت بخير؟ نعم، أنا بخير.") == [["هل", "أنت", "بخير", "؟"], ["نعم", "،", "أنا", "بخير", "."]]


def test_gold_german() -> None:
    assert gold("German", "Dr. J. Müller wohnt z. B. am 3. Mai in Bad-Oldesloe. Er sagte: „Ja!“ Gut.") == [
        ["Dr", ".", "J.", "Müller", "wohnt", "z.", "B.", "am", "3", ".", "Mai", "in", "Bad-Oldesloe", "."],
        ["Er", "sagte", ":", "„", "Ja", "!", "“"],
        ["Gut", "."],
    ]


def test_gold_french() -> None:
    assert gold("fr", "M. Dupont n'a-t-il pas dit qu’aujourd'hui l'homme va ? « Oui ! » dit-elle.") == [
        ["M.", "Dupont", "n'", "a", "-t-il", "pas", "dit", "qu’", "aujourd'hui", "l'", "homme", "va", "?"],
        ["«", "Oui", "!", "»", "dit", "-elle", "."],
    ]


def test_gold_hindi_and_italian() -> None:
    assert gold("hi", "यह है। वह है॥") == [["यह", "है", "।"], ["वह", "है", "॥"]]
    assert gold("it", "L'uomo dell'anno c'è.") == [["L'", "uomo", "dell'", "anno", "c'", "è", "."]]


def test_pretokenized_text_is_cut_at_spaces_alone() -> None:
    assert gold("whitespace", "The U.S. , 10\u00a0000\u3000!\n\n  next\tline \r\n") == [
        ["The", "U.S.", ",", "10\u00a0000\u3000!"],
        ["next", "line"],
    ]


def test_addresses_stay_whole() -> None:
    for name in ("en", "de", "zh", "characters"):
        tokens = tokenizer_for(name).tokens("see https://example.org/a-b?c=1 or me@example.org now")
        assert "https://example.org/a-b?c=1" in tokens
        assert "me@example.org" in tokens


def test_a_name_gives_the_same_tokenizer_back() -> None:
    for name in ("en", "zh", "ja", "und", "whitespace", "characters", "pt-BR", "Thai", "xx"):
        tokenizer = tokenizer_for(name)
        assert tokenizer_for(tokenizer.name) == tokenizer
        assert "rules" in tokenizer.version
    assert tokenizer_for("en").name == "ptb"
    assert tokenizer_for("zh-Hant").name == "rjieba"
    assert tokenizer_for("und").name == "icu"
    assert tokenizer_for("pt_BR").name == "icu:pt"
    assert f"nltk {version('nltk')}" in tokenizer_for("en").version
    assert f"rjieba {version('rjieba')}" in tokenizer_for("zh").version


@pytest.mark.parametrize("name", ["", "moses", "spacy", "icu:", "ptb:en", "e", "icu:nonsense", "klingonish"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    if name == "icu:":
        assert tokenizer_for(name).name == "icu"
        return
    with pytest.raises(OptionError, match="rjieba, characters, whitespace"):
        tokenizer_for(name)


def test_spacy_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyseme.text.tokenize.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"polyseme\[text\]"):
        tokenizer_for("spacy:qq")


def test_spacy_tokens_where_it_is_installed() -> None:
    pytest.importorskip("spacy")
    assert gold("spacy:en", "I  didn't. 😀 He did!") == [["I", "did", "n't", "."], ["😀", "He", "did", "!"]]


@pytest.mark.parametrize("name", ["en", "zh", "th", "de", "characters"])
def test_a_very_long_word_is_cut_in_reasonable_time(name: str) -> None:
    for text in ("x" * 1_000_000, "a.b" * 100_000, "!" * 200_000, "('" * 50_000):
        tokens = tokenizer_for(name).tokens(text)
        assert "".join(tokens) == text


def test_importing_the_tokenizers_needs_no_torch() -> None:
    assert isinstance(tokenizer_for("en"), Tokenizer)
    module = sys.modules["polyseme.text.tokenize"]
    assert "torch" not in vars(module)
