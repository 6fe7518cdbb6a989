"""Files of vectors: to gensim and back, what published files hold, and what damaged ones say."""

from __future__ import annotations

import gzip
import lzma
import random
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from polyseme.errors import (
    DamagedModelError,
    InputError,
    OptionError,
    OutputError,
    PolysemeError,
    UnknownFormatError,
    UnsupportedModelError,
)
from polyseme.static.files import read_vectors, write_vectors
from polyseme.static.subwords import Subwords
from polyseme.static.vectors import About, StaticVectors
from polyseme.text.config import TextConfig

WORDS = ["the", "Übergröße", "银行", "🙂", "1911", "n't"]
MATRIX = np.random.default_rng(3).standard_normal((6, 7)).astype(np.float32) * np.float32(1e-3)
MATRIX[0, 0], MATRIX[1, 0], MATRIX[2, 0] = 0.1, -1.1754944e-38, 3.4e38


def vectors(**more: object) -> StaticVectors:
    return StaticVectors(WORDS, MATRIX, **more)  # type: ignore[arg-type]


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# --- to gensim and back


@pytest.mark.parametrize("ending", ["txt", "vec", "bin"])
def test_gensim_reads_what_we_write_bit_for_bit(awkward_path: Path, ending: str) -> None:
    path = awkward_path / f"v.{ending}"
    assert write_vectors(vectors(), path) == []
    theirs = KeyedVectors.load_word2vec_format(str(path), binary=ending == "bin")
    assert theirs.index_to_key == WORDS
    np.testing.assert_array_equal(theirs.vectors, MATRIX)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # gensim leaves the file open
def test_gensim_reads_our_glove_text(awkward_path: Path) -> None:
    path = awkward_path / "glove.txt"
    write_vectors(vectors(), path, "glove")
    theirs = KeyedVectors.load_word2vec_format(str(path), binary=False, no_header=True)
    assert theirs.index_to_key == WORDS
    np.testing.assert_array_equal(theirs.vectors, MATRIX)


@pytest.mark.parametrize(("binary", "header"), [(True, True), (False, True), (False, False)])
def test_we_read_what_gensim_writes_bit_for_bit(awkward_path: Path, binary: bool, header: bool) -> None:
    theirs = KeyedVectors(vector_size=7)
    theirs.add_vectors(WORDS, MATRIX)
    path = awkward_path / "theirs"
    theirs.save_word2vec_format(str(path), binary=binary, write_header=header)
    ours = read_vectors(path)
    assert (list(ours.words), ours.notes) == (WORDS, ())
    np.testing.assert_array_equal(ours.matrix, MATRIX)


@pytest.mark.parametrize("format", ["folder", "word2vec", "word2vec-binary", "glove"])
def test_every_format_comes_back_as_it_was(awkward_path: Path, format: str) -> None:
    path = awkward_path / "v"
    write_vectors(vectors(), path, format)
    back = read_vectors(path)
    assert list(back.words) == WORDS
    np.testing.assert_array_equal(back.matrix, MATRIX)
    assert [entry.name for entry in awkward_path.iterdir()] == ["v"]
    few = read_vectors(path, limit=2)
    assert list(few.words) == WORDS[:2]
    np.testing.assert_array_equal(few.matrix, MATRIX[:2])


def test_compressed_files_are_read(tmp_path: Path) -> None:
    write_vectors(vectors(), tmp_path / "v.txt")
    write_vectors(vectors(), tmp_path / "v.bin")
    for name in ("v.txt", "v.bin"):
        data = (tmp_path / name).read_bytes()
        for path in (
            write(tmp_path / f"{name}.gz", gzip.compress(data)),
            write(tmp_path / f"{name}.xz", lzma.compress(data)),
        ):
            np.testing.assert_array_equal(read_vectors(path).matrix, MATRIX)


def test_a_folder_keeps_n_grams_and_how_the_text_was_processed_and_other_formats_say_they_do_not(
    tmp_path: Path,
) -> None:
    rows = np.random.default_rng(4).standard_normal((20, 7)).astype(np.float32)
    text = TextConfig(tokenizer="ptb", tokenizer_version="nltk 3", languages=("en",), lowercase=True)
    given = vectors(subwords=Subwords(2, 4, rows), text=text, about=About("fasttext", "by hand", "none"))
    assert write_vectors(given, tmp_path / "v") == []
    back = read_vectors(tmp_path / "v")
    assert (back.text, back.about) == (text, given.about)
    np.testing.assert_array_equal(back.vector("unheard"), given.vector("unheard"))
    lost = write_vectors(given, tmp_path / "v.txt")
    assert [each.partition(":")[0] for each in lost] == ["the vectors of n-grams", "how the text was processed"]


# --- what published files hold


def test_words_of_glove_may_hold_spaces(tmp_path: Path) -> None:
    path = write(tmp_path / "glove.txt", ". . . 0.5 1\nat name@domain.com -1 2e-1\nplain 3 4\n")
    found = read_vectors(path)
    assert found.words == (". . .", "at name@domain.com", "plain")
    np.testing.assert_array_equal(found.matrix, np.array([[0.5, 1], [-1, 0.2], [3, 4]], dtype=np.float32))


def test_repeated_undecodable_and_missing_words_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "v.txt", b"5 2\nthe 1 2\nthe 3 4\n\xff\xfe 5 6\n 7 8\nend 9 10\n")
    found = read_vectors(path)
    assert found.words == ("the", "\ufffd\ufffd", "end")
    assert found.matrix.tolist() == [[1, 2], [5, 6], [9, 10]]
    assert [note.partition(" words")[0] for note in found.notes] == ["1 of 5", "1 of 5", "1 of 5"]


def test_a_mark_blank_lines_tabs_and_spaces_at_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path / "v.vec", b"\xef\xbb\xbf2 2\r\na 1 2 \r\n\r\nb\t3\t4\n\n")
    assert read_vectors(path).matrix.tolist() == [[1, 2], [3, 4]]
    assert read_vectors(path).words == ("a", "b")


# --- damage


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("2 3\na 1 2 3\nb 1 2\n", DamagedModelError, "line 3: 2 numbers where 3 belong"),
        ("2 3\na 1 2 3\nb 1 2 3 4\n", DamagedModelError, "line 3: 4 numbers where 3 belong"),
        ("2 2\na 1 2\nb 1 x\n", DamagedModelError, "near line 3: 'x' is no number"),
        ("2 2\na 1 2\nb 1 nan\n", DamagedModelError, "near line 3: 'nan' is no number"),
        ("2 2\na 1 2\nb 1 1e39\n", DamagedModelError, "float32"),
        ("3 2\na 1 2\nb 1 2\n", DamagedModelError, "says 3 words, and it holds 2"),
        ("1 2\na 1 2\nb 1 2\n", DamagedModelError, "says 1 words, and it holds 2"),
        ("a 1 2\nb 1 2\nc 1\n", DamagedModelError, "line 3: 1 numbers where 2 belong"),
        ("Call me Ishmael.\n", UnknownFormatError, "line 1 should be two whole numbers"),
        ("", UnknownFormatError, "is no file of word vectors"),
        ("0 2\n", UnknownFormatError, "holds no word vectors"),
        ("2 0\n", DamagedModelError, "width 0"),
    ],
)
def test_a_broken_file_is_one_sentence_that_names_the_line(
    tmp_path: Path, data: str, error: type[PolysemeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_vectors(write(tmp_path / "v.txt", data))


def test_a_binary_file_cut_anywhere_is_damaged(tmp_path: Path) -> None:
    write_vectors(vectors(), tmp_path / "v.bin")
    whole = (tmp_path / "v.bin").read_bytes()
    for length in range(8, len(whole) - 1):
        with pytest.raises((DamagedModelError, UnknownFormatError)):
            read_vectors(write(tmp_path / "cut.bin", whole[:length]))
    with pytest.raises(DamagedModelError, match="holds more than the 6 words"):
        read_vectors(write(tmp_path / "more.bin", whole + b"x"))


def test_flipped_bits_never_raise_anything_but_ours(tmp_path: Path) -> None:
    chance = random.Random(1)
    for ending, format in (("txt", "word2vec"), ("bin", "word2vec-binary"), ("glove", "glove")):
        write_vectors(vectors(), tmp_path / f"v.{ending}", format)
        whole = (tmp_path / f"v.{ending}").read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            try:
                found = read_vectors(write(tmp_path / "damaged", bytes(damaged)))
            except PolysemeError:
                continue
            assert found.width >= 1


@pytest.mark.parametrize("damage", ["words", "tensors", "config", "version", "other", "short"])
def test_a_damaged_folder_is_one_sentence(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "v"
    write_vectors(vectors(), folder)
    config = (folder / "config.json").read_text(encoding="utf-8")
    changes: dict[str, tuple[str, bytes]] = {
        "words": ("words.txt", b"the\n"),
        "tensors": ("vectors.safetensors", (folder / "vectors.safetensors").read_bytes()[:-5]),
        "config": ("config.json", b"{"),
        "version": ("config.json", config.replace('"version": 1', '"version": 9').encode()),
        "other": ("config.json", b'{"format": "polyseme", "version": 1}'),
        "short": ("config.json", b'{"format": "polyseme static vectors", "version": 1}'),
    }
    name, data = changes[damage]
    (folder / name).write_bytes(data)
    expected = {"version": UnsupportedModelError, "other": UnknownFormatError}.get(damage, DamagedModelError)
    with pytest.raises(expected, match="v"):
        read_vectors(folder)


def test_what_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_vectors(tmp_path / "nothing.txt")
    with pytest.raises(UnknownFormatError, match=r"lacks .*config\.json"):
        read_vectors(tmp_path)


# --- writing


def test_nothing_is_replaced_unasked_and_a_folder_of_other_things_never(tmp_path: Path) -> None:
    for name in ("v.txt", "v"):
        write_vectors(vectors(), tmp_path / name)
        with pytest.raises(OutputError, match="--overwrite"):
            write_vectors(vectors(), tmp_path / name)
        write_vectors(StaticVectors(["new"], [[1.0]]), tmp_path / name, overwrite=True)
        assert read_vectors(tmp_path / name).words == ("new",)
    write(tmp_path / "v" / "mine.txt", "mine")
    with pytest.raises(OutputError, match=r"'mine\.txt', which is no part of vectors"):
        write_vectors(vectors(), tmp_path / "v", overwrite=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["v", "v.txt"]


@pytest.mark.parametrize(
    ("word", "format"), [("New York", "word2vec"), ("New York", "word2vec-binary"), ("a\tb", "glove")]
)
def test_a_word_that_the_format_would_cut_is_refused(tmp_path: Path, word: str, format: str) -> None:
    with pytest.raises(UnsupportedModelError, match="white space divides; write a folder"):
        write_vectors(StaticVectors([word], [[1.0]]), tmp_path / "v", format)
    assert list(tmp_path.iterdir()) == []
    write_vectors(StaticVectors([word], [[1.0]]), tmp_path / "v")
    assert read_vectors(tmp_path / "v").words == (word,)


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("v.gz", None, "written uncompressed"),
        ("v.vectors", None, r"'\.vectors' stands for no format"),
        ("v.txt", "npz", "format must be one of folder, word2vec"),
    ],
)
def test_a_format_must_be_known(tmp_path: Path, name: str, format: str | None, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        write_vectors(vectors(), tmp_path / name, format)
