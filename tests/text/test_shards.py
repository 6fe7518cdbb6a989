"""A prepared corpus opens as what was written, and damage to any file is one typed error that names it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyseme.errors import InputError, OptionError
from polyseme.text.chars import Characters
from polyseme.text.prepare import PrepareOptions, prepare
from polyseme.text.shards import Corpus, WordList
from polyseme.text.vocab import SPECIAL, Vocabulary

TRAIN = [["b", "a", "b"], [], ["é", "<UNK>", "b"], ["Z"]]
HELDOUT = [["new", "a"], ["</S>"]]


def words_of(corpus: Corpus, part: str) -> list[list[str]]:
    chosen = getattr(corpus, part)
    return [[corpus.word(id) for id in chosen.sentence(index)] for index in range(chosen.n_sentences)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, sentences in (("train", TRAIN), ("heldout", HELDOUT)):
        text = "".join(" ".join(words) + "\n" for words in sentences)
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    options = PrepareOptions(tokenized=True, empty_lines="keep", language="en")
    prepare([tmp_path / "train.txt"], tmp_path / "corpus", options, heldout_texts=[tmp_path / "heldout.txt"])
    return tmp_path / "corpus"


def test_in_memory_and_on_disk_are_the_same_corpus(folder: Path) -> None:
    on_disk = Corpus.open(folder)
    in_memory = Corpus.from_sentences(TRAIN, HELDOUT, on_disk.characters, on_disk.text)
    for corpus in (on_disk, in_memory):
        assert list(corpus.words) == [*SPECIAL, "b", "Z", "a", "é", "new"]
        assert corpus.counts.tolist() == [0, 0, 0, 3, 1, 1, 1, 0]
        assert words_of(corpus, "train") == TRAIN
        assert words_of(corpus, "heldout") == [["new", "a"], ["<UNK>"]]
        assert (corpus.train.n_sentences, corpus.train.n_words, corpus.train.n_targets) == (4, 7, 11)
        assert (corpus.report.reserved_words > 0, corpus.report.empty_sentences) == (True, 1)
    np.testing.assert_array_equal(on_disk.character_rows, in_memory.character_rows)
    np.testing.assert_array_equal(on_disk.train.ids, in_memory.train.ids)
    np.testing.assert_array_equal(on_disk.train.starts, in_memory.train.starts)


def test_rows_are_those_of_the_published_encoding(folder: Path) -> None:
    corpus = Corpus.open(folder)
    assert corpus.character_rows.dtype == np.uint16  # ids go up to 261
    assert isinstance(corpus.character_rows, np.memmap)
    np.testing.assert_array_equal(corpus.character_rows, Characters().encode(list(corpus.words)))


def test_the_softmax_words_are_the_first_types_that_training_has(folder: Path) -> None:
    corpus = Corpus.open(folder)
    counts = Counter(word for words in TRAIN for word in words)
    assert corpus.vocabulary() == Vocabulary.from_counts(counts)
    for size in (3, 4, 5, 100):
        assert corpus.vocabulary(size) == Vocabulary.from_counts(counts, size=size)
        known = set(corpus.vocabulary(size).words) - set(SPECIAL)
        expected = sum(count for word, count in counts.items() if word not in known) / counts.total()
        assert corpus.unknown_share(size) == pytest.approx(expected)
    with pytest.raises(OptionError, match="at least its 3"):
        corpus.vocabulary(2)
    with pytest.raises(OptionError, match="0 to 7"):
        corpus.word(8)
    with pytest.raises(OptionError, match="0 to 3"):
        corpus.train.sentence(4)


@given(words=st.lists(st.text(min_size=1).filter(lambda word: "\n" not in word)))
def test_a_word_list_gives_its_words_back(words: list[str]) -> None:
    held = WordList.of(words)
    assert list(held) == words
    assert held[:2] == words[:2]
    assert [held[-1]] == words[-1:] if words else len(held) == 0


def test_words_that_cannot_stand_on_a_line_are_refused() -> None:
    for bad in ("", "a\nb"):
        with pytest.raises(InputError, match="line of its own"):
            Corpus.from_sentences([["a", bad]])
    with pytest.raises(InputError, match="no words to train on"):
        Corpus.from_sentences([[], []])


def test_the_identity_follows_the_contents() -> None:
    first = Corpus.from_sentences(TRAIN, HELDOUT)
    assert first.identity == Corpus.from_sentences(TRAIN, HELDOUT).identity
    assert first.identity != Corpus.from_sentences(TRAIN[:-1], HELDOUT).identity
    assert first.identity != Corpus.from_sentences(TRAIN, HELDOUT, Characters(max_characters=20)).identity


FILES = [
    *("words.txt", "counts.npy", "characters.npy"),
    *(f"{part}.{kind}.npy" for part in ("train", "heldout") for kind in ("ids", "starts")),
]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_short_or_missing_is_named(folder: Path, name: str) -> None:
    path = folder / name
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    with pytest.raises(InputError, match=rf"{name}: has {len(data) - 3:,} bytes where {len(data):,} were written"):
        Corpus.open(folder)
    path.unlink()
    with pytest.raises(InputError, match=f"{name}: is missing"):
        Corpus.open(folder)


def overwrite(path: Path, array: np.ndarray) -> None:
    """Another array under the same name; the description is brought up to date with its size."""
    np.save(path, array)
    description = path.parent / "corpus.json"
    about = json.loads(description.read_text(encoding="utf-8"))
    about["files"][path.name]["bytes"] = path.stat().st_size
    description.write_text(json.dumps(about), encoding="utf-8")


def test_ids_and_starts_out_of_range_are_noticed(folder: Path) -> None:
    ids, starts = np.load(folder / "train.ids.npy"), np.load(folder / "train.starts.npy")
    overwrite(folder / "train.ids.npy", np.where(ids == ids[0], np.uint32(8), ids))
    with pytest.raises(InputError, match=r"train\.ids\.npy: the id 8, but there are 8 types"):
        Corpus.open(folder)
    assert Corpus.open(folder, check=False).train.ids[0] == 8
    overwrite(folder / "train.ids.npy", ids.astype(np.int64))
    with pytest.raises(InputError, match=r"train\.ids\.npy: holds int64 .* where uint32"):
        Corpus.open(folder)
    overwrite(folder / "train.ids.npy", ids)
    overwrite(folder / "train.starts.npy", starts + 1)
    with pytest.raises(InputError, match=r"train\.starts\.npy: does not fit the 7 ids"):
        Corpus.open(folder)
    overwrite(folder / "train.starts.npy", starts[[0, 2, 1, 3, 4]] + np.asarray([0, 2, 0, 0, 0]))
    with pytest.raises(InputError, match=r"train\.starts\.npy: a sentence ends before it starts"):
        Corpus.open(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"version": 2}, "version 2; this Polyseme reads version 1"),
        ({"format": "other"}, "does not describe a prepared corpus"),
        ({"text": {"tokenizer": "ptb"}}, "damaged"),
        ({"characters": {"max_characters": 50, "unheard": 1}}, "damaged"),
        ({"files": None}, "damaged"),
    ],
)
def test_a_description_of_another_kind_is_refused(folder: Path, edit: dict[str, object], message: str) -> None:
    path = folder / "corpus.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | edit), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Corpus.open(folder)


def test_what_is_no_corpus_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no prepared corpus: it has no corpus\.json"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        Corpus.open(tmp_path)
