"""Vectors of character n-grams, from which fastText composes words that it never saw (Bojanowski et al. 2017, 3.2).

An n-gram has no row of its own: it is hashed into one of `B` buckets. The hash, and what counts as an n-gram, are those
of fastText (`src/dictionary.cc`: `hash`, `computeSubwords`), so that vectors trained elsewhere compose alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from polyseme.embedding import FloatArray
from polyseme.errors import OptionError

_OFFSET_BASIS, _PRIME, _MASK = 2_166_136_261, 16_777_619, 0xFFFFFFFF  # FNV-1a of 32 bits


@dataclass(frozen=True, eq=False)
class Subwords:
    """`matrix`: one row a bucket, (B, W). N-grams have `min_n` to `max_n` characters, `<` and `>` of the word's ends
    among them."""

    min_n: int
    max_n: int
    matrix: FloatArray

    def __post_init__(self) -> None:
        if not 1 <= self.min_n <= self.max_n:
            raise OptionError(f"n-grams need 1 <= min_n <= max_n, were: {self.min_n} and {self.max_n}")
        if self.matrix.ndim != 2 or not len(self.matrix):
            raise OptionError(f"the n-grams need a matrix of at least one row, its shape was: {self.matrix.shape}")

    def compose(self, word: str) -> FloatArray | None:
        """The mean of the vectors of the word's n-grams, (W,); None for a word too short to have any."""
        rows = [bucket(ngram, len(self.matrix)) for ngram in ngrams(word, self.min_n, self.max_n)]
        return np.asarray(self.matrix[rows].mean(axis=0, dtype=np.float32)) if rows else None


def ngrams(word: str, min_n: int, max_n: int) -> Iterator[str]:
    """The n-grams of `<word>` by place, then length; the bare `<` and `>` are none."""
    marked = f"<{word}>"
    for start in range(len(marked)):
        for end in range(start + min_n, min(start + max_n, len(marked)) + 1):
            if end - start > 1 or 0 < start < len(marked) - 1:
                yield marked[start:end]


def bucket(ngram: str, buckets: int) -> int:
    """The row of an n-gram: FNV-1a over its UTF-8 bytes, which fastText takes as signed."""
    value = _OFFSET_BASIS
    for byte in ngram.encode("utf-8", "surrogatepass"):
        signed = byte - 256 if byte > 127 else byte
        value = ((value ^ (signed & _MASK)) * _PRIME) & _MASK
    return value % buckets
