"""What goes in comes out: every format and dtype, words of any Unicode, pooled or not, by position or streamed."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyseme.errors import InputError, OptionError, OutputError
from polyseme.store import FORMATS, EmbeddingWriter, read_embeddings

WORDS = st.one_of(
    st.sampled_from(
        ["", "The", "中文", "\u3000", "a b", "a/b", "\n", "\r", "\t", "\\", "\\n", "\0", "#", '"', "\x85\u2028"]
    ),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=5),
)


@dataclass
class Sentence:
    layers: Any
    tokens: tuple[str, ...]
    offsets: list[tuple[int, int]]
    id: str
    document: int


@st.composite
def corpora(draw: st.DrawFn) -> tuple[int, int, list[Sentence]]:
    n_layers, width = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 9)))
    sentences = []
    for words in draw(st.lists(st.lists(WORDS, max_size=4), max_size=5)):
        layers = random.standard_normal((n_layers, len(words), width)).astype(np.float32)
        spans = [(i, i + len(word)) for i, word in enumerate(words)]
        sentences.append(Sentence(layers, tuple(words), spans, draw(WORDS), draw(st.integers(-1, 2**40))))
    return n_layers, width, sentences


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(corpus=corpora(), dtype=st.sampled_from(["float16", "float32"]), chosen=st.booleans())
@pytest.mark.parametrize("format", FORMATS)
def test_words_come_back(format: str, corpus: Any, dtype: str, chosen: bool) -> None:
    n_layers, width, sentences = corpus
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out"
        columns = {"offsets": chosen, "ids": chosen, "documents": chosen}
        metadata = {"model": "é", "layers": [0, 1], "nested": {"a": None}}
        shape: Any = {"n_layers": n_layers, "width": width, "dtype": dtype, "format": format}
        with EmbeddingWriter(path, metadata=metadata, **shape, **columns) as writer:
            for s in sentences:
                writer.append(s.layers, s.tokens, s.offsets, s.id, s.document)
        with read_embeddings(path) as stored:
            assert len(stored) == len(sentences)
            assert stored.metadata == metadata
            assert (stored.format, stored.dtype, stored.pooled) == (format, dtype, False)
            assert stored.n_tokens == sum(len(s.tokens) for s in sentences)
            assert stored.ids == (tuple(s.id for s in sentences) if chosen else None)
            documents = stored.documents
            assert (None if documents is None else documents.tolist()) == (
                [s.document for s in sentences] if chosen else None
            )
            for i, (s, found) in enumerate(zip(sentences, stored, strict=True)):
                assert found.tokens == s.tokens == stored.tokens(i) == stored[i - len(sentences)].tokens
                assert found.layers.dtype == np.dtype(dtype)
                np.testing.assert_array_equal(found.layers, s.layers.astype(dtype))
                assert found.offsets == (tuple(s.offsets) if chosen else None)
            values, bounds = stored.numpy()
            assert bounds.tolist() == np.cumsum([0, *(len(s.tokens) for s in sentences)]).tolist()
            assert values.shape == (stored.n_tokens, n_layers, width)
            if sentences:
                rows = np.concatenate([s.layers.transpose(1, 0, 2) for s in sentences]).astype(dtype)
                np.testing.assert_array_equal(values, rows)
            del values


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(corpus=corpora(), dtype=st.sampled_from(["float16", "float32"]), tokens=st.booleans())
@pytest.mark.parametrize("format", FORMATS)
def test_pooled_vectors_come_back(format: str, corpus: Any, dtype: str, tokens: bool) -> None:
    n_layers, width, sentences = corpus
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out"
        shape: Any = {"n_layers": n_layers, "width": width, "dtype": dtype, "format": format}
        vectors = [np.full((n_layers, width), i, dtype=np.float32) for i in range(len(sentences))]
        with EmbeddingWriter(path, pooled=True, tokens=tokens, offsets=tokens, ids=True, **shape) as writer:
            for s, vector in zip(sentences, vectors, strict=True):
                writer.append_vector(vector, s.tokens if tokens else None, s.offsets, s.id)
        with read_embeddings(path) as stored:
            assert stored.pooled
            assert stored.ids == tuple(s.id for s in sentences)
            assert stored.vectors.shape == ((len(vectors), width) if n_layers == 1 else (len(vectors), n_layers, width))
            for i, (s, found) in enumerate(zip(sentences, stored, strict=True)):
                assert stored.tokens(i) == (s.tokens if tokens else ())
                assert found.tokens == (" ".join(s.tokens) if tokens else "",)
                np.testing.assert_array_equal(found.layers, vectors[i][:, None])


@pytest.mark.parametrize("format", FORMATS)
def test_without_words(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    with EmbeddingWriter(path, format=format, n_layers=1, width=2, tokens=False) as writer:
        writer.append(np.ones((1, 3, 2), dtype=np.float32))
        writer.append(np.zeros((1, 0, 2), dtype=np.float32))
    with read_embeddings(path) as stored:
        assert [e.tokens for e in stored] == [("", "", ""), ()]
        assert stored.tokens(0) == ()


@pytest.mark.parametrize("format", FORMATS)
def test_a_sentence_in_blocks_equals_one_in_one_piece(tmp_path: Path, format: str) -> None:
    random = np.random.default_rng(0)
    layers = random.standard_normal((2, 50, 4)).astype(np.float32)
    words = [f"w{i}" for i in range(50)]
    shape: Any = {"n_layers": 2, "width": 4, "format": format}
    with EmbeddingWriter(tmp_path / "whole", **shape) as writer:
        writer.append(layers, words)
    with EmbeddingWriter(tmp_path / "blocks", **shape) as writer:
        writer.begin_sentence(words)
        for start in range(0, 50, 7):
            writer.append_values(layers[:, start : start + 7])
        writer.end_sentence()
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "blocks").read_bytes()


@pytest.mark.parametrize("format", FORMATS)
def test_python_like_indexing(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    with EmbeddingWriter(path, format=format, n_layers=1, width=2) as writer:
        for i in range(5):
            writer.append(np.full((1, i, 2), i, dtype=np.float32), ["w"] * i)
    stored = read_embeddings(path)
    assert [len(e) for e in stored[1::2]] == [1, 3]
    assert [len(e) for e in stored[::-1]] == [4, 3, 2, 1, 0]
    assert len(stored[-1]) == 4
    with pytest.raises(IndexError, match="sentence 5 of 5"):
        stored[5]
    with pytest.raises(OptionError, match="one vector a word"):
        _ = stored.vectors
    last = stored[-1]
    stored.close()
    stored.close()
    assert last.layers[0, 3, 1] == 4  # what was handed out outlives the file
    with pytest.raises(OptionError, match="was closed"):
        stored[0]


@pytest.mark.parametrize("format", FORMATS)
def test_torch_and_pandas(tmp_path: Path, format: str) -> None:
    torch, _ = pytest.importorskip("torch"), pytest.importorskip("pandas")
    path = tmp_path / "out"
    layers = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    with EmbeddingWriter(path, format=format, n_layers=1, width=3, dtype="float32", offsets=True) as writer:
        writer.append(layers[:, :3], ["a", "b", "c"], [(0, 1), (2, 3), (4, 5)])
        writer.append(layers[:, :0], [], [])
        writer.append(layers[:, 3:], ["d"], [(0, 1)])
    with read_embeddings(path) as stored:
        values, bounds = stored.torch()
        frame = stored.pandas()
    assert torch.equal(values[:, 0], torch.arange(12.0).reshape(4, 3))
    assert bounds.tolist() == [0, 3, 3, 4]
    assert list(frame.columns) == ["sentence", "position", "token", "start", "end", "vector"]
    assert frame["sentence"].tolist() == [0, 0, 0, 2]
    assert frame["vector"][3].tolist() == [9, 10, 11]
    del values


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for format in FORMATS:
        for name in ("one", "two"):
            with EmbeddingWriter(
                tmp_path / name, format=format, n_layers=2, width=3, ids=True, overwrite=True
            ) as writer:
                for i in range(20):
                    writer.append(
                        np.full((2, i, 3), i, dtype=np.float32), ["w\0", "中"][i % 2 : i % 2 + 1] * i, id=str(i)
                    )
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes(), format


def test_awkward_paths_and_suffixes(awkward_path: Path) -> None:
    chinese = os.fsdecode("中".encode())  # also where the locale cannot spell it
    for suffix in ("safetensors", "arrow", "h5", "hdf5", "parquet", "npz", "tsv"):
        path = awkward_path / f"deeper {chinese}" / f"vectors {chinese}.{suffix}"
        with EmbeddingWriter(path, n_layers=1, width=2) as writer:
            writer.append(np.ones((1, 1, 2), dtype=np.float32), ["中"])
        with read_embeddings(path) as stored:
            assert stored[0].tokens == ("中",)
    assert sorted(entry.suffix for entry in path.parent.iterdir()) == sorted(
        [".safetensors", ".arrow", ".h5", ".hdf5", ".parquet", ".npz", ".tsv"]
    )


def test_allennlp_and_bilm_files(tmp_path: Path) -> None:
    """As `allennlp elmo --all` wrote them: float32, a repeated sentence is indexed once, by its last key."""
    path = tmp_path / "elmo.hdf5"
    with h5py.File(path, "w") as file:
        for key, count in (("0", 2), ("1", 3), ("2", 2)):
            file.create_dataset(key, (3, count, 4), dtype="float32", data=np.full((3, count, 4), int(key)))
        index = file.create_dataset("sentence_to_index", (1,), dtype=h5py.special_dtype(vlen=str))
        index[0] = '{"a b": "2", "c d e": "1"}'
    with read_embeddings(path) as stored:
        assert [e.tokens for e in stored] == [("", ""), ("c", "d", "e"), ("a", "b")]
        assert stored[1].layers.shape == (3, 3, 4)
        assert (stored.n_layers, stored.width, stored.dtype) == (3, 4, "float32")


def test_classic_has_no_key_that_old_readers_do_not_expect(tmp_path: Path) -> None:
    path = tmp_path / "classic.h5"
    with EmbeddingWriter(path, format="h5-classic", n_layers=2, width=4, dtype="float32", ids=True) as writer:
        writer.append(np.zeros((2, 2, 4), dtype=np.float32), ["a", "b"], id="x")
        writer.append(np.ones((2, 2, 4), dtype=np.float32), ["a", "b"], id="y")
    with h5py.File(path) as file:
        assert set(file) == {"0", "1", "sentence_to_index"}
        assert file["sentence_to_index"].shape == (1,)
        assert file["sentence_to_index"][0] == b'{"a b": "1"}'
        assert file["1"].shape == (2, 2, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "pickle"}, "format must be one of"),
        ({"format": None}, "stands for no format"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"width": 0}, "width must be a whole number"),
        ({"offsets": True, "tokens": False}, "needs tokens=True"),
        ({"metadata": {"a": {1, 2}}}, "metadata must be plain JSON"),
    ],
)
def test_refused_options(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        EmbeddingWriter(tmp_path / "out.xyz", **{"n_layers": 1, "width": 2, "format": "npz", **options})
    assert not list(tmp_path.iterdir())


def test_refused_sentences(tmp_path: Path) -> None:
    vector = np.zeros((1, 2, 3), dtype=np.float32)

    def writer(**options: Any) -> EmbeddingWriter:
        return EmbeddingWriter(tmp_path / "out.npz", n_layers=1, width=3, resume=True, **options)

    cases: list[tuple[Any, str]] = [
        (lambda w: w.append(vector, ["a"]), "1 words was given values for 2"),
        (lambda w: w.append(vector), "came without"),
        (lambda w: w.append(vector[:, :, :2], ["a", "b"]), r"must have shape \(1, words, 3\)"),
        (lambda w: w.append(vector + 1e5, ["a", "b"]), "too large for float16"),
        (lambda w: w.append_values(vector), "begin_sentence"),
        (lambda w: w.end_sentence(), "begin_sentence"),
        (lambda w: w.append_vector(vector[0, 0]), "needs a writer with pooled=True"),
        (lambda w: (w.begin_sentence(["a"]), w.commit({})), "inside a sentence"),
        (lambda w: (w.begin_sentence(["a"]), w.close()), "inside a sentence"),
        (lambda w: (w.begin_sentence(["a"]), w.begin_sentence(["a"])), "a sentence is open"),
        (lambda w: w.commit({"a": object()}), "progress must be plain JSON"),
        (lambda w: w.update_metadata({"a": "x" * 20000}) or w.close(), ""),
    ]
    for act, message in cases[:-1]:
        opened = writer()
        with pytest.raises(OptionError, match=message):
            act(opened)
        opened.abort()
    opened = writer()
    with pytest.raises(InputError, match="not valid Unicode"):
        opened.append(vector, ["a", "\ud800"])
    opened.append(vector, ["a", "b"])  # the refused one left no trace
    cases[-1][0](opened)
    with read_embeddings(tmp_path / "out.npz") as stored:
        assert [e.tokens for e in stored] == [("a", "b")]
        assert len(stored.metadata["a"]) == 20000
    with pytest.raises(OutputError, match="finished"):
        opened.append(vector, ["a", "b"])


def test_late_metadata(tmp_path: Path) -> None:
    path = tmp_path / "out.safetensors"
    with EmbeddingWriter(path, n_layers=1, width=2, metadata={"a": 1}) as writer:
        writer.update_metadata({"unknown_share": 0.25, "seconds": "1.5"})
        with pytest.raises(OptionError, match="too large"):
            writer.update_metadata({"log": "x" * 50000})
    with read_embeddings(path) as stored:
        assert stored.metadata == {"a": 1, "unknown_share": 0.25, "seconds": "1.5"}
