"""Files -> sentences, counted as the published figures count them; words found again in a raw text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from lm_oracle import tiny_language_model
from shared_data import shared_folder

from polyseme.errors import InputError, OptionError
from polyseme.lm.text import TextFiles, place_of, prompt_sentences
from polyseme.records import FileOptions
from polyseme.text.config import TextConfig

MODEL = tiny_language_model()
TOKENIZED = FileOptions(tokenized=True)


def sentences(path: Path, options: FileOptions = TOKENIZED, **more: bool) -> list[tuple[str, ...]]:
    return list(TextFiles(MODEL, [path], options, **more))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a b\nc\n", [2, 1]),
        ("a b\nc", [2, 1]),
        ("\na\n \n\nb\n\n", [0, 1, 0, 0, 1, 0]),
        ("a\r\n\r\nb\r\n", [1, 0, 1]),
    ],
)
def test_an_empty_line_of_tokenized_text_is_a_sentence_of_no_words(
    content: str, expected: list[int], awkward_path: Path
) -> None:
    file = awkward_path / "a.txt"
    file.write_bytes(content.encode())
    assert [len(words) for words in sentences(file)] == expected
    assert [len(words) for words in sentences(file, keep_empty=False)] == [n for n in expected if n]
    assert all(sentences(file, FileOptions()))


def test_empty_lines_of_several_files_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\nb b\n", encoding="utf-8")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert list(TextFiles(MODEL, files, TOKENIZED)) == [("a",), (), (), ("b", "b")]


def test_records_without_text_are_no_sentences(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a b"}\n{"text": ""}\n{"text": "c"}\n', encoding="utf-8")
    assert sentences(file) == [("a", "b"), ("c",)]


def test_text_goes_through_what_the_models_text_went_through(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("The Bank. It did.\n", encoding="utf-8")
    lower = replace(MODEL, text=TextConfig(tokenizer="ptb", lowercase=True))
    assert list(TextFiles(lower, [file], FileOptions())) == [("the", "bank", "."), ("it", "did", ".")]
    assert prompt_sentences(lower, "The Bank. It") == [("the", "bank", "."), ("it",)]
    assert place_of(lower, "The [Bank] is it.") == (("the", "bank", "is", "it", "."), 1)
    assert place_of(lower, "The Bank is it.", word="bank")[1] == 1


@pytest.mark.parametrize(
    ("name", "targets"), [("ptb/ptb.test.txt.xz", 82_430), ("wikitext-2/wiki.test.tokens.xz", 245_569)]
)
def test_the_field_counts_as_many_targets(name: str, targets: int) -> None:
    file = shared_folder() / "data" / "lm" / name
    if not file.is_file():
        pytest.skip(f"{file} is not there; set POLYSEME_SHARED")
    assert sum(len(words) + 1 for words in sentences(file)) == targets


def test_how_much_there_will_be_is_estimated(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a b c d\n" * 100, encoding="utf-8")
    files = TextFiles(MODEL, [file], TOKENIZED)
    read = iter(files)
    assert files.expected(0) == 0
    for _ in range(50):
        next(read)
    assert 350 < files.expected(200) < 500


# --- prompts and places


def test_the_last_sentence_of_a_prompt_is_the_one_to_go_on_from() -> None:
    assert prompt_sentences(MODEL, "He left. The bank") == [("He", "left", "."), ("The", "bank")]
    assert prompt_sentences(MODEL, "") == [()]
    assert prompt_sentences(MODEL, "He left . The", tokenized=True) == [("He", "left", ".", "The")]


def test_a_marked_word_is_found_at_its_place() -> None:
    text = "The bank. The river [bank] is wet."
    assert place_of(MODEL, text) == (("The", "river", "bank", "is", "wet", "."), 2)
    assert place_of(MODEL, "a [b] c .", tokenized=True) == (("a", "b", "c", "."), 1)
    assert place_of(MODEL, "The bank. The bank is wet.", word="bank", occurrence=2)[1] == 1
    assert place_of(MODEL, "It [is] [sic] .", word="sic")[0][-3:-1] != ()


@pytest.mark.parametrize(
    ("call", "error", "finding"),
    [
        (lambda: place_of(MODEL, "The bank."), OptionError, "0 words are marked"),
        (lambda: place_of(MODEL, "[The] [bank]."), OptionError, "2 words are marked"),
        (lambda: place_of(MODEL, "The b[an]k."), InputError, "'an' is not among the words"),
        (lambda: place_of(MODEL, "The [bank.]"), InputError, "'bank.' is not among the words"),
        (lambda: place_of(MODEL, "The bank.", word="river"), InputError, "which are: The bank ."),
        (lambda: place_of(MODEL, "The bank.", word="bank", occurrence=2), InputError, "only once among"),
    ],
)
def test_a_word_that_is_not_there_is_named(call: Callable[[], object], error: type[Exception], finding: str) -> None:
    with pytest.raises(error, match=finding):
        call()
