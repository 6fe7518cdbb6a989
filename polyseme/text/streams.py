"""Lanes and windows: how a corpus is read by a language model that carries its state from one window to the next.

A *stream* is the corpus with its boundaries, sentence after sentence; the backward stream has the same sentences in the
same order, each reversed:

    forward   <S> w1 w2 w3 </S>  <S> v1 v2 </S> ...
    backward  </S> w3 w2 w1 <S>  </S> v2 v1 <S> ...

Both are cut into B *lanes* of whole sentences and then, at the same positions, into *windows* of T steps. Flipping a
forward window instead would let a carried state see its own targets. What a position predicts is the next token of its
stream; the boundary that follows a sentence's last one follows for certain and is never scored, so a sentence of n
words has n + 1 targets in each direction.

Nothing is stored but the place: window k of a lane is computed from k alone, so a run can be resumed anywhere.

Legend: `B` lanes, `T` steps of a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError, OptionError

Ids = npt.NDArray[np.int64]
START, END, UNKNOWN = 0, 1, 2  # the type ids of <S>, </S> and <UNK> in every corpus
UNSCORED = -1


class Window(NamedTuple):
    """What both directions read and predict in one window. *Shape:* each (T, B), word-type ids.

    Targets are `UNSCORED` where the next token follows for certain, and past a lane's end (where the input is </S>).
    """

    forward: Ids
    backward: Ids
    forward_targets: Ids
    backward_targets: Ids


@dataclass(frozen=True)
class Stream:
    """The sentences of one part of a corpus with their boundaries. See `Part` for `ids` and `starts`.

    Positions count tokens of the stream: sentence s begins at `starts[s] + 2 s`. `places`: where each sentence's words
    begin in `ids`; by default they stand there in the stream's own order, so that this is `starts`.
    """

    ids: npt.NDArray[Any]
    starts: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if len(self.starts) < 2:
            raise InputError("there is no sentence to read; give more text")

    @property
    def n_sentences(self) -> int:
        """Sentences of the part."""
        return len(self.starts) - 1

    @property
    def n_positions(self) -> int:
        """Tokens of the stream: words and two boundaries a sentence."""
        return int(self.starts[-1]) + 2 * self.n_sentences

    def position_of(self, sentence: int) -> int:
        """Where a sentence begins."""
        return int(self.starts[sentence]) + 2 * sentence

    def sentence_at(self, positions: Ids) -> Ids:
        """The sentence that each position lies in: a binary search over the starts, in any order of positions."""
        low, high = np.zeros_like(positions), np.full_like(positions, self.n_sentences)
        while np.any(high - low > 1):
            middle = (low + high) // 2
            reached = self.starts[middle] + 2 * middle <= positions
            low, high = np.where(reached, middle, low), np.where(reached, high, middle)
        return low

    def read(self, positions: Ids) -> Window:
        """Inputs and targets at any positions of the stream. *Shape:* (...) -> four of (...)."""
        sentence = self.sentence_at(positions)
        first = self.starts[sentence].astype(np.int64)
        length = self.starts[sentence + 1] - first
        place = positions - first - 2 * sentence  # 0 ... length + 1
        last = place == length + 1
        words = first if self.places is None else self.places[sentence].astype(np.int64)
        forward, backward = self._tokens(words, length, place)
        next_forward, next_backward = self._tokens(words, length, np.minimum(place + 1, length + 1))
        return Window(
            forward, backward, np.where(last, UNSCORED, next_forward), np.where(last, UNSCORED, next_backward)
        )

    def _tokens(self, first: Ids, length: Ids, place: Ids) -> tuple[Ids, Ids]:
        """The tokens at `place` of sentences in both streams."""
        inner = (place > 0) & (place <= length)
        most = max(0, len(self.ids) - 1)
        if not len(self.ids):
            return np.where(place == 0, START, END), np.where(place == 0, END, START)
        left = self.ids[np.clip(first + place - 1, 0, most)].astype(np.int64)
        right = self.ids[np.clip(first + length - place, 0, most)].astype(np.int64)
        return (
            np.where(inner, left, np.where(place == 0, START, END)),
            np.where(inner, right, np.where(place == 0, END, START)),
        )


def in_passages(stream: Stream, words: int, seed: Sequence[int]) -> Stream:
    """The same sentences in another order: passages of about `words` words, whole sentences each, drawn from `seed`.

    Within a passage the order stays. Raises `OptionError` for passages of less than one word.
    """
    if words < 1:
        raise OptionError(f"a passage has at least 1 word, was: {words}")
    begins = np.asarray(stream.starts[:-1], dtype=np.int64)
    passage = begins // words
    turn = np.random.default_rng(seed).permutation(int(passage[-1]) + 1)[passage]
    order = np.argsort(turn, kind="stable")
    lengths = np.diff(stream.starts)[order]
    return Stream(stream.ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), begins[order])


@dataclass(frozen=True)
class Lanes:
    """A stream cut into lanes of whole sentences, about equally long, beginning at sentence `first`.

    *Shape:* `begins` and `sizes` (B,): positions counted from sentence `first`, around the end of the stream.
    """

    stream: Stream
    first: int
    begins: Ids
    sizes: Ids

    @classmethod
    def cut(cls, stream: Stream, lanes: int, first: int = 0) -> Lanes:
        """As many lanes as asked for, or one a sentence where there are fewer. Raises `OptionError` below one."""
        if lanes < 1:
            raise OptionError(f"a batch needs at least one lane, was: {lanes}")
        if not 0 <= first < stream.n_sentences:
            raise OptionError(f"the first sentence must be 0 to {stream.n_sentences - 1}, was: {first}")
        total, shift = stream.n_positions, stream.position_of(first)
        lanes = min(lanes, stream.n_sentences)
        number = np.arange(lanes, dtype=np.int64)
        # Sentences from `first` on. A lane begins with the sentence that lies where it should begin; a sentence so long
        # that several lanes should begin in it begins one, and the others begin with those behind it.
        wished = (stream.sentence_at((number * total // lanes + shift) % total) - first) % stream.n_sentences
        apart = np.maximum.accumulate(wished - number) + number
        at = (np.minimum(apart, stream.n_sentences - lanes + number) + first) % stream.n_sentences
        begins = (stream.starts[at] + 2 * at - shift) % total
        return cls(stream, first, begins, np.diff(begins, append=total))

    @property
    def count(self) -> int:
        """B."""
        return len(self.begins)

    def n_windows(self, steps: int) -> int:
        """Windows until the longest lane is read."""
        return -(-int(self.sizes.max()) // steps)

    def window(self, index: int, steps: int, lanes: slice = slice(None)) -> Window:
        """Window `index` of the given lanes. *Shape:* four of (T, B)."""
        begins, sizes = self.begins[lanes], self.sizes[lanes]
        inside = index * steps + np.arange(steps, dtype=np.int64)[:, None]  # Shape: (T, 1)
        alive = inside < sizes  # Shape: (T, B)
        shift = self.stream.position_of(self.first)
        read = self.stream.read((np.minimum(inside, sizes - 1) + begins + shift) % self.stream.n_positions)
        return Window(
            np.where(alive, read.forward, END),
            np.where(alive, read.backward, END),
            np.where(alive, read.forward_targets, UNSCORED),
            np.where(alive, read.backward_targets, UNSCORED),
        )


def sentence_batches(stream: Stream, max_tokens: int, context: int, seed: int) -> Iterator[Ids]:
    """Sentences of about equal length, for a Transformer, which reads each by itself. *Shape:* (b, 2): begin, end.

    A row is a range of places in `stream.ids`; sentences longer than `context` - 2 words are cut into pieces. A batch
    holds at most `max_tokens` tokens, padding and boundaries counted, but always a sentence. `seed` orders the batches.
    """
    if max_tokens < 3 or context < 3:
        raise OptionError(f"max_tokens and context must be at least 3, were: {max_tokens}, {context}")
    pieces = _pieces(stream, context - 2)
    generator = np.random.default_rng(seed)
    # Equal lengths in random order, so that every epoch batches other sentences together.
    order = np.lexsort((generator.random(len(pieces)), pieces[:, 1] - pieces[:, 0]))
    lengths = (pieces[order, 1] - pieces[order, 0]) + 2
    cuts, at = [0], 0
    while at < len(order):
        # Rows are sorted by rising length: the last row of a batch is its widest.
        most = min(len(order) - at, max(1, max_tokens // int(lengths[at])))
        while most > 1 and most * int(lengths[at + most - 1]) > max_tokens:
            most -= 1
        at += most
        cuts.append(at)
    for batch in generator.permutation(len(cuts) - 1):
        yield pieces[order[cuts[batch] : cuts[batch + 1]]]


def _pieces(stream: Stream, most: int) -> Ids:
    """Each sentence's (begin, end) in `ids`, long ones cut into pieces of `most` words. *Shape:* (n, 2)."""
    begins, ends = stream.starts[:-1].astype(np.int64), stream.starts[1:].astype(np.int64)
    counts = np.maximum(1, -(-(ends - begins) // most))
    owner = np.repeat(np.arange(len(begins)), counts)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = begins[owner] + rank * most
    return np.stack([first, np.minimum(first + most, ends[owner])], axis=1)
