"""Sentences of any length in constant memory, with the exact result: two sweeps in chunks.

The backward direction is read from right to left and spooled to disk, then the forward direction from left to right
beside it. Each sweep passes its state from chunk to chunk, so nothing is cut.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from polyseme.embedder import Embedder
from polyseme.embedding import FloatArray
from polyseme.engine import with_boundaries

CHUNK_TOKENS = 2_048


def long_sentence(
    embedder: Embedder, tokens: Sequence[str], select: Callable[[Tensor], Tensor], folder: Path
) -> Iterator[FloatArray]:
    """The selected layers of a sentence of any length, in chunks from left to right, in constant memory.

    *Shape:* (kept layers, t, 2P) each; equal to the one-shot result. The backward half is spooled in `folder` by plain
    writes, which cost no address space.
    """
    assert embedder.initial is not None
    words = with_boundaries(tokens, embedder.model)
    starts = range(0, len(words), CHUNK_TOKENS)
    left, right = embedder.initial
    with tempfile.TemporaryFile(dir=folder, prefix=".polyseme-") as spool:
        sizes = []
        for start in reversed(starts):
            chunk = words[start : start + CHUNK_TOKENS]
            layers, right = embedder.engine.read_chunk(1, chunk[::-1], right)
            data = select(layers).flip(1).cpu().numpy().tobytes()
            spool.write(data)
            sizes.append(len(data))
        end = spool.tell()
        for start in starts:
            chunk = words[start : start + CHUNK_TOKENS]
            layers, left = embedder.engine.read_chunk(0, chunk, left)
            forward = select(layers).cpu().numpy()
            end -= sizes.pop()
            spool.seek(end)
            backward = np.frombuffer(spool.read(forward.nbytes), dtype=np.float32).reshape(forward.shape)
            both = np.concatenate([forward, backward], axis=2)
            # <S> opens the first chunk and </S> closes the last
            yield both[:, int(start == 0) : len(chunk) - int(start + len(chunk) == len(words))]
