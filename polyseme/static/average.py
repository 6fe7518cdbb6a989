"""Static vectors from contextual ones: the mean of a word's vectors over its contexts in a text.

Bommasani, Davis and Cardie (ACL 2020, 3.2): pooling over many contexts gives better static vectors than the word by
itself, and often better ones than those trained as such. ELMo reads whole words, so there are no pieces to pool first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt

from polyseme.embedding import Embedding, FloatArray
from polyseme.errors import InputError, OptionError
from polyseme.static.vectors import About, StaticVectors
from polyseme.text.config import TextConfig


def averaged(
    embeddings: Iterable[Embedding],
    *,
    layer: str | int = "average",
    min_count: int = 5,
    keep: Collection[str] | None = None,
    text: TextConfig | None = None,
    about: About | None = None,
) -> StaticVectors:
    """The mean vector of every word that comes at least `min_count` times, by falling count, then by code points.

    `layer`: "average", "top", or the number of one (0: without context, so nothing varies). `keep`: only these words;
    without it every type needs a row until the end, rare or not: 8 W bytes each. Sums are float64, so the order of
    sentences shows in the last bits only. Embeddings are looked at one by one, and not kept.
    Raises `InputError` where no word comes that often, `OptionError` for a layer that is not there.
    """
    if min_count < 1:
        raise OptionError(f"min_count must be at least 1, was: {min_count}")
    sums = _Sums(None if keep is None else frozenset(keep))
    for embedding in embeddings:
        if len(embedding):
            sums.add(embedding.tokens, chosen(embedding, layer))
    ranked = sorted((-count, word) for word, count in sums.counts().items() if count >= min_count)
    if not ranked:
        raise InputError(
            f"none of the {len(sums.row_of):,} words comes {min_count} times in the text; give more text, or a smaller "
            "min_count"
        )
    words = [word for _, word in ranked]
    return StaticVectors(words, sums.means(words), text=text, about=about)


def chosen(embedding: Embedding, layer: str | int) -> FloatArray:
    """The vectors of one layer, or of their mean. *Shape:* (T, W). Raises `OptionError`."""
    if layer == "average":
        return embedding.average()
    if layer == "top":
        return embedding.top()
    if isinstance(layer, str) or not 0 <= layer < len(embedding.layers):
        raise OptionError(f"layer must be average, top or 0 to {len(embedding.layers) - 1}, was: {layer!r}")
    return np.asarray(embedding.layers[layer])


class _Sums:
    """Sums of vectors by word, in a table that doubles when it is full."""

    def __init__(self, keep: frozenset[str] | None) -> None:
        self.keep = keep
        self.row_of: dict[str, int] = {}
        self.times = np.zeros(1024, dtype=np.int64)
        self.sums: npt.NDArray[np.float64] | None = None

    def add(self, tokens: tuple[str, ...], vectors: FloatArray) -> None:
        """Adds the vectors of one sentence, (T, W)."""
        places = [place for place, token in enumerate(tokens) if self.keep is None or token in self.keep]
        rows = [self.row_of.setdefault(tokens[place], len(self.row_of)) for place in places]
        if self.sums is None:
            self.sums = np.zeros((len(self.times), vectors.shape[1]))
        while len(self.row_of) > len(self.times):
            self.times = np.concatenate([self.times, np.zeros_like(self.times)])
            self.sums = np.concatenate([self.sums, np.zeros_like(self.sums)])
        np.add.at(self.times, rows, 1)
        np.add.at(self.sums, rows, vectors[places].astype(np.float64))

    def counts(self) -> dict[str, int]:
        """How often each word came."""
        return {word: int(self.times[row]) for word, row in self.row_of.items()}

    def means(self, words: list[str]) -> npt.NDArray[np.float32]:
        """The mean vector of each of `words`. *Shape:* (n, W)."""
        assert self.sums is not None
        rows = [self.row_of[word] for word in words]
        return np.asarray(self.sums[rows] / self.times[rows][:, np.newaxis], dtype=np.float32)
