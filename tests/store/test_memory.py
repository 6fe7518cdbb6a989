"""Large files: opening and reading one sentence touches little; a giant sentence is written in blocks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polyseme.store import EmbeddingWriter, read_embeddings

BLOCK, BLOCKS, WIDTH = 1024, 32, 512  # 32 MB of float16
TOTAL = BLOCK * BLOCKS * WIDTH * 2


def peak_of(work: Callable[[], None]) -> int:
    """Largest memory that Python and numpy held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("format", ["safetensors", "arrow", "h5", "h5-classic", "npz", "parquet"])
def test_one_sentence_of_a_large_file(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    with EmbeddingWriter(path, format=format, n_layers=1, width=WIDTH) as writer:
        for i in range(BLOCKS * 8):
            writer.append(np.full((1, BLOCK // 8, WIDTH), i, dtype=np.float16), ["w"] * (BLOCK // 8))

    def read() -> None:
        with read_embeddings(path) as stored:
            for i in (0, 100, -1):
                assert stored[i].layers[0, 5, 5] == i % (BLOCKS * 8)

    read()  # imports are not what is measured
    limit = TOTAL / (5 if format == "parquet" else 20)  # a row group of 2 MB, and its pages
    assert peak_of(read) < limit

    def stream() -> None:
        with read_embeddings(path) as stored:
            assert sum(float(embedding.layers[0, 0, 0]) for embedding in stored) == sum(range(BLOCKS * 8))

    assert peak_of(stream) < limit


@pytest.mark.parametrize("format", ["safetensors", "arrow", "h5", "h5-classic", "npz"])
def test_a_giant_sentence(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    block = np.random.default_rng(0).standard_normal((1, BLOCK, WIDTH)).astype(np.float16)
    words = ["w"] * (BLOCK * BLOCKS)

    def write() -> None:
        with EmbeddingWriter(path, format=format, n_layers=1, width=WIDTH, overwrite=True) as writer:
            writer.begin_sentence(words)
            for _ in range(BLOCKS):
                writer.append_values(block)
            writer.end_sentence()

    assert peak_of(write) < TOTAL / 2  # two blocks of 4 MB at a time, not the sentence's 32
    with read_embeddings(path) as stored:
        np.testing.assert_array_equal(stored[0].layers[:, -BLOCK:], block)


def test_torch_shares_the_mapped_file(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "out.safetensors"
    with EmbeddingWriter(path, n_layers=1, width=WIDTH) as writer:
        for _ in range(BLOCKS):
            writer.append(np.ones((1, BLOCK, WIDTH), dtype=np.float16), ["w"] * BLOCK)
    with read_embeddings(path) as stored:
        stored[:1]

        def to_torch() -> None:
            assert float(stored.torch()[0][-1, 0, 0]) == 1

        assert peak_of(to_torch) < TOTAL / 2
