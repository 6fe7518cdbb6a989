"""Vectors of a data set, computed once a source and kept in memory-mapped files: many seeds, one embedding.

A biLM's vectors lie on disk in float16 (their rounding, one part in two thousand, is far below what a probe sees).
Static vectors are looked up again each time, which costs less than reading them.

Legend: `N` rows, `L` layers, `W` width of one layer.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.embedding import Embedding

from .readers import Mention, Words, sentences_of
from .vectors import Source

Array = npt.NDArray[Any]
BLOCK_WORDS = 50_000
BESIDE = -1  # a "window" of the two words beside a mention, and not the mention itself


@dataclass(frozen=True)
class TokenVectors:
    """Every word of some sentences. *Shape:* `rows` (N, L, W); sentence k has the rows starts[k] to starts[k + 1]."""

    rows: Array
    starts: npt.NDArray[np.int64]

    def layer(self, number: int) -> Array:
        """*Shape:* (N, W) float32."""
        return np.asarray(self.rows[:, number], dtype=np.float32)

    def average(self) -> Array:
        """The mean over the layers. *Shape:* (N, W) float32."""
        return np.asarray(self.rows.mean(axis=1, dtype=np.float32))


class Cache:
    """A folder of `.npy` files; the name of each is a digest of the source and of what was read."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._say = folder, say

    def tokens(self, source: Source, sentences: Sequence[Words]) -> TokenVectors:
        """The vectors of every word."""
        starts = np.concatenate([[0], np.cumsum([len(words) for words in sentences])]).astype(np.int64)

        def compute(out: Array) -> None:
            for index, found in self._embedded(source, sentences):
                out[starts[index] : starts[index + 1]] = found.layers.transpose(1, 0, 2)

        shape = (int(starts[-1]), len(source.layers), source.width)
        return TokenVectors(self._made(source, "tokens", shape, compute, (), sentences), starts)

    def mentions(self, source: Source, mentions: Sequence[Mention], windows: Sequence[int] = (0,)) -> Array:
        """The mean vector of each mention's words and of so many on each side, for every window; or `beside` it.

        Words around may stand in other sentences, but a biLM reads every sentence by itself, as it does in any text.
        *Shape:* (N, windows, L, W). Mentions in the same text that follow each other cost one.
        """
        groups = [list(group) for _, group in itertools.groupby(mentions, key=lambda mention: mention.words)]
        shape = (len(mentions), len(windows), len(source.layers), source.width)

        def compute(out: Array) -> None:
            at = 0
            for group, layers in zip(groups, self._texts(source, [group[0].words for group in groups]), strict=True):
                for mention in group:
                    for column, side in enumerate(windows):
                        if side == BESIDE:
                            out[at, column] = beside(layers, mention.start, mention.end)
                            continue
                        words = layers[:, max(0, mention.start - side) : mention.end + side]
                        out[at, column] = words.mean(axis=1, dtype=np.float32)
                    at += 1

        also = ["by sentence", *map(str, windows), *(f"{mention.start} {mention.end}" for mention in mentions)]
        return self._made(source, "mentions", shape, compute, also, [mention.words for mention in mentions])

    def texts(self, source: Source, texts: Sequence[Sequence[Words]], pools: Sequence[Pool]) -> Array:
        """One vector a text and pool. *Shape:* (N, pools, L, W); zeros for a text without words."""
        sentences = [words for text in texts for words in text]
        counts = [len(text) for text in texts]
        last_of = {int(end) - 1: number for number, end in enumerate(np.cumsum(counts)) if counts[number]}
        shape = (len(texts), len(pools), len(source.layers), source.width)

        def compute(out: Array) -> None:
            waiting: list[Embedding] = []
            for index, found in self._embedded(source, sentences):
                waiting.append(found)
                if index in last_of:
                    words = [word for each in waiting for word in each.tokens]
                    layers = np.concatenate([each.layers for each in waiting], axis=1)
                    out[last_of[index]] = np.stack([pool(words, layers) for pool in pools])
                    waiting = []

        also = [*(pool.identity for pool in pools), *map(str, counts)]
        return self._made(source, "texts", shape, compute, also, sentences)

    def _texts(self, source: Source, texts: Sequence[Words]) -> Iterator[Array]:
        """The vectors of each text's words, (L, T, W), every sentence read by itself."""
        sentences = [sentences_of(text) for text in texts]
        read = self._embedded(source, list(itertools.chain.from_iterable(sentences)))
        for parts in sentences:
            yield np.concatenate([next(read)[1].layers for _ in parts], axis=1)

    # --- files

    def _made(
        self,
        source: Source,
        kind: str,
        shape: tuple[int, ...],
        compute: Callable[[Array], None],
        also: Iterable[str],
        sentences: Sequence[Words],
    ) -> Array:
        """What `compute` fills in: from the disk where it was done before, in memory for static vectors."""
        if source.kind == "static":
            found = np.zeros(shape, dtype=np.float32)
            compute(found)
            return found
        path = self.folder / f"{kind}-{_digest(source.identity, kind, also, *sentences)}.npy"
        if not path.exists():
            partial = path.with_suffix(".partial")
            rows = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
            compute(rows)
            rows.flush()
            del rows
            partial.replace(path)
        return np.asarray(np.load(path, mmap_mode="r"))

    def _embedded(self, source: Source, sentences: Sequence[Words]) -> Iterator[tuple[int, Embedding]]:
        """Every sentence's vectors, in order, in blocks that fit into memory; says how fast it goes."""
        begun, done = time.monotonic(), 0
        block: list[int] = []
        words = 0
        for index, sentence in enumerate(sentences):
            block.append(index)
            words += len(sentence)
            if words >= BLOCK_WORDS or index + 1 == len(sentences):
                yield from zip(block, source.embedder.embed([sentences[i] for i in block]), strict=True)
                done, block, words = done + words, [], 0
        seconds = time.monotonic() - begun
        if source.kind == "contextual":
            self._say(f"    {source.name}: {done:,} words read, {done / max(seconds, 1e-9):,.0f} a second")


def beside(layers: Array, start: int, end: int) -> Array:
    """What a biLM expects between its words `start` and `end`, from the words before and those after alone.

    The forward half of the word before and the backward half of the word after, which are what the model predicts the
    word there from (the context vectors of Melamud et al. 2016, section 3); zeros beyond the ends of the sentence.
    *Shape:* (L, T, W) -> (L, W).
    """
    out = np.zeros((layers.shape[0], layers.shape[2]), dtype=np.float32)
    half = layers.shape[2] // 2
    if start > 0:
        out[:, :half] = layers[:, start - 1, :half]
    if end < layers.shape[1]:
        out[:, half:] = layers[:, end, half:]
    return out


class Pool:
    """One vector for a text's words: `mean`, `max`, or `sif`, which weights a word by a / (a + p(word)).

    The weight is that of Arora et al. 2017 (a = 1e-3); `frequencies`: p of each word, of the training part.
    """

    A = 1e-3

    def __init__(self, name: str, frequencies: dict[str, float] | None = None) -> None:
        self.name, self._frequencies = name, frequencies or {}
        weights = sorted(f"{word} {p:.9g}" for word, p in self._frequencies.items()) if name == "sif" else []
        self.identity = f"{name} {_digest('', '', weights)}"

    def __call__(self, words: Sequence[str], layers: Array) -> Array:
        """*Shape:* (L, T, W) -> (L, W)."""
        if not words:
            return np.zeros((layers.shape[0], layers.shape[2]), dtype=np.float32)
        if self.name == "max":
            return np.asarray(layers.max(axis=1))
        if self.name == "mean":
            return np.asarray(layers.mean(axis=1, dtype=np.float32))
        weights = np.asarray([self.A / (self.A + self._frequencies.get(word, 0.0)) for word in words], dtype=np.float32)
        return np.asarray(np.einsum("t,ltw->lw", weights, layers) / len(words))


def _digest(identity: str, kind: str, also: Iterable[str], *sentences: Words) -> str:
    digest = hashlib.sha256(f"{identity}\0{kind}\0".encode())
    for text in also:
        digest.update(f"{text}\0".encode())
    for words in sentences:
        digest.update("\1".join((*words, "\2")).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]
