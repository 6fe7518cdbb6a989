"""Word types -> context-free vectors (layer 0), each computed once and kept in a bounded cache.

The character network costs as much as the LSTMs, and a text repeats its words: half of a batch's tokens are repeats,
and after some thousand sentences 19 words in 20 have been seen. The cache is open (a new word is computed, never
refused) and bounded (the oldest words go). A word's vector always comes out of tiles of one fixed size, so that a
cached word, a fresh one and one computed again after it was dropped have the same bits.

Legend: `U` distinct words, `F` filters, `P` projection width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from polyseme.errors import OptionError
from polyseme.formats.model import Model
from polyseme.nn.packed import CONVOLUTION_TILE, HIGHWAY_TILE, Arithmetic, PackedCharCNN, PackedLinear
from polyseme.nn.workers import Workers

IntArray = npt.NDArray[np.int64]


class WordEncoder:
    """The encoder of one model, with its cache. Not for use from several threads at once."""

    def __init__(self, model: Model, workers: Workers, how: Arithmetic, cache_words: int) -> None:
        if cache_words < 0:
            raise OptionError(f"cache_words must not be negative, was: {cache_words}")
        self.model, self.workers, self.cache_words = model, workers, cache_words
        encoder = model.bilm.encoder
        cnn, projection = encoder.char_cnn, encoder.projection
        self.words = encoder.words
        self.cnn = PackedCharCNN(cnn, model.characters.padding, how) if cnn and model.characters else None
        self.projection = PackedLinear(projection.weight, projection.bias, how) if projection is not None else None
        self.size = model.bilm.config.projection_size
        self.device = next(model.bilm.parameters()).device
        self._row: dict[str, int] = {}  # in the order of arrival
        self._store = torch.empty(0, self.size, device=self.device)

    def lookup(self, words: Sequence[str]) -> tuple[Tensor, IntArray]:
        """The vectors of the distinct words, and for each word the row of its vector. *Shape:* (U, P), (n,)."""
        distinct = {word: place for place, word in enumerate(dict.fromkeys(words))}
        index = np.fromiter((distinct[word] for word in words), dtype=np.int64, count=len(words))
        known = [(place, self._row[word]) for word, place in distinct.items() if word in self._row]
        fresh = [word for word in distinct if word not in self._row]
        vectors = torch.empty(len(distinct), self.size, device=self.device)
        if known:
            places, rows = torch.tensor(known, device=self.device).t()
            vectors[places] = self._store[rows]
        if fresh:
            computed = self.encode(fresh)
            vectors[torch.tensor([distinct[word] for word in fresh], device=self.device)] = computed
            self._remember(fresh, computed)
        return vectors, index

    def encode(self, words: Sequence[str]) -> Tensor:
        """The vectors of `words`, computed without the cache. *Shape:* (n,) -> (n, P)."""
        rows = self._word_rows(words)
        if self.cnn is None:
            assert rows is not None
            tiles = list(rows.split(HIGHWAY_TILE))
        else:
            convolved = self._convolve(words)
            pieces = convolved.split(HIGHWAY_TILE)
            tiles = self.workers.map(self.cnn.finish, pieces)
            if rows is not None:
                tiles = [torch.cat(pair, dim=1) for pair in zip(rows.split(HIGHWAY_TILE), tiles, strict=True)]
        if self.projection is not None:
            tiles = self.workers.map(self._project, tiles)
        return torch.cat(tiles)

    def _word_rows(self, words: Sequence[str]) -> Tensor | None:
        if self.words is None or self.model.words is None:
            return None
        rows = torch.from_numpy(self.model.words.rows(words)).to(self.device)
        return self.words.weight.detach()[rows]

    def _project(self, tile: Tensor) -> Tensor:
        assert self.projection is not None
        return self.projection(F.pad(tile, (0, 0, 0, HIGHWAY_TILE - len(tile))))[: len(tile)]

    def _convolve(self, words: Sequence[str]) -> Tensor:
        """Words of like length share a tile. *Shape:* (n,) -> (n, F)."""
        cnn, characters = self.cnn, self.model.characters
        assert cnn is not None
        assert characters is not None
        by_step: dict[int, list[int]] = defaultdict(list)
        for place, length in enumerate(characters.lengths(words).tolist()):
            by_step[cnn.step_of(length)].append(place)
        tiles = [
            (step, places[at : at + CONVOLUTION_TILE])
            for step, places in by_step.items()
            for at in range(0, len(places), CONVOLUTION_TILE)
        ]
        ids = torch.from_numpy(characters.encode(words)).to(self.device)
        out = torch.empty(len(words), cnn.cnn.config.n_filters, device=self.device)

        def tile(job: tuple[int, list[int]]) -> None:
            step, places = job
            out[places] = cnn.convolve(ids[places], step)

        self.workers.map(tile, tiles)
        return out

    def _remember(self, words: Sequence[str], vectors: Tensor) -> None:
        """Keeps the newest `cache_words` words; those that came first make room."""
        words, vectors = words[: self.cache_words], vectors[: self.cache_words]
        excess = len(self._row) + len(words) - self.cache_words
        free = [self._row.pop(word) for word in list(islice(self._row, max(excess, 0)))]
        used = len(self._row) + len(free)
        if used + len(words) - len(free) > len(self._store):
            grown = min(self.cache_words, max(2 * len(self._store), used + len(words), 1024))
            self._store = torch.cat([self._store, self._store.new_empty(grown - len(self._store), self.size)])
        rows = free + list(range(used, used + len(words) - len(free)))
        if rows:
            self._store[rows] = vectors
        self._row.update(zip(words, rows, strict=True))
