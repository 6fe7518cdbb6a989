"""Text from a biLM, written in either direction: `generate`.

The forward direction continues a prompt to the right. The backward direction writes what stands to the left of it, word
by word from right to left. A word is drawn from the softmax as `Sampling` shapes it:

    temperature   p(w)^(1 / temperature), normalised; 0 takes the most probable word
    top_k         only the k most probable words (Fan et al. 2018, arXiv 1805.04833, section 5.1)
    top_p         of those only the fewest that hold a share of p together, the nucleus (Holtzman et al. 2020,
                  arXiv 1904.09751, section 3.1)

Sample i of a seed is the same text however many samples are asked for and however many cores there are: each has a
generator of its own and is computed by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polyseme.errors import OptionError, TooLongError
from polyseme.lm.network import LanguageModel, Words, checked
from polyseme.nn.lstm import LSTMState
from polyseme.nn.transformer import TransformerStack

DIRECTIONS = ("forward", "backward")

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """How words are drawn. `top_k` 0 and `top_p` 1: from all. `unknown`: <UNK> may be drawn too; <S> never is."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    unknown: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise OptionError(f"temperature must be 0 or more, was: {self.temperature}")
        if self.top_k < 0:
            raise OptionError(f"top_k must be at least 1, or 0 for all words, was: {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise OptionError(f"top_p must be above 0 and at most 1, was: {self.top_p}")

    def shape(self, log_p: Probabilities, banned: Sequence[int] = ()) -> Probabilities:
        """The probabilities to draw from; equal ones count as ordered by their rows. *Shape:* (V,) -> (V,)."""
        scores = log_p.copy()
        scores[list(banned)] = -np.inf
        if self.temperature == 0:
            only = np.zeros_like(scores)
            only[scores.argmax()] = 1.0
            return only
        scores = (scores - scores.max()) / self.temperature
        if 0 < self.top_k < len(scores):
            least = np.partition(scores, -self.top_k)[-self.top_k]
            equal = np.flatnonzero(scores == least)
            scores[equal[self.top_k - int((scores > least).sum()) :]] = -np.inf
            scores[scores < least] = -np.inf
        p: Probabilities = np.exp(scores)
        p /= p.sum()
        if self.top_p < 1:
            order = np.argsort(-p, kind="stable")
            kept = int(np.searchsorted(np.cumsum(p[order]), self.top_p)) + 1
            p[order[kept:]] = 0.0
            p /= p.sum()
        return p


class Written(NamedTuple):
    """A word that was drawn, or the boundary, and the model's own log p of it (temperature 1, all words)."""

    word: str
    log_probability: float


@dataclass(frozen=True)
class Generated:
    """One sample. `sentences`: in reading order, the prompt part of the first. `written`: in the order of writing.

    `finished`: whether the last sentence came to its boundary; the words or the Transformer's context may end first.
    """

    sentences: tuple[tuple[str, ...], ...]
    written: tuple[Written, ...]
    finished: bool

    @property
    def log_probability(self) -> float:
        """log p of all that was written, under the direction that wrote it."""
        return sum(word.log_probability for word in self.written)


def generate(
    lm: LanguageModel,
    prompt: Words = (),
    *,
    direction: str = "forward",
    before: Sequence[Words] = (),
    samples: int = 1,
    max_words: int = 50,
    sentences: int = 1,
    seed: int = 0,
    sampling: Sampling | None = None,
    state: str | None = None,
) -> Iterator[Generated]:
    """Samples, one after the other, that continue `prompt` (forward) or lead up to it (backward).

    `before`: whole sentences that the LSTM reads first, in the order of the text in both directions, as in training.
    A sample ends at its `sentences`-th boundary or after `max_words` words, whichever comes first; a next sentence
    goes on in the state that the one before left. A Transformer begins each sentence afresh; its backward direction
    counts positions from the sentence's beginning, so it has to be told where that is: it writes `max_words` words,
    no more and no fewer, of one sentence.

    Raises `OptionError` for options out of range, `TooLongError` where a Transformer's context does not suffice.
    """
    if direction not in DIRECTIONS:
        raise OptionError(f"direction must be forward or backward, was: {direction!r}")
    if min(samples, max_words, sentences) < 1:
        raise OptionError(
            f"samples, max_words and sentences must be at least 1, were: {samples}, {max_words}, {sentences}"
        )
    if seed < 0:
        raise OptionError(f"seed must not be negative, was: {seed}")
    if not lm.recurrent and before:
        raise OptionError("a Transformer reads one sentence at a time: leave out the sentences before the prompt")
    if not lm.recurrent and direction == "backward" and sentences > 1:
        raise OptionError("a Transformer writes one sentence backward, of the length it is told; leave out sentences")
    begin = lm.state(state)
    first = _Reader(lm, DIRECTIONS.index(direction), begin[DIRECTIONS.index(direction)] if begin else None)
    for words in before:
        first = first.sentence(checked(words), closed=True)
    stack = lm.model.bilm.backward_layers
    first.expected = len(prompt) + max_words + 2
    if isinstance(stack, TransformerStack) and direction == "backward" and first.expected > stack.context:
        raise TooLongError(
            f"the prompt, {max_words} words and two boundaries are {first.expected} tokens; this Transformer reads "
            f"{stack.context} at most: ask for fewer words"
        )
    opened = first.sentence(checked(prompt), closed=False)
    writer = _Writer(opened, tuple(prompt), max_words, sentences, sampling or Sampling())
    return (writer.sample(seed, number) for number in range(samples))


def uniforms(seed: int, sample: int) -> Iterator[float]:
    """Numbers in 0 .. 1 that depend on nothing but the two."""
    state = np.random.SeedSequence((seed, sample)).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0]) >> 1)
    while True:
        yield float(torch.rand((), dtype=torch.float64, generator=generator))


def draw(p: Probabilities, uniform: float) -> int:
    """The row in whose share of the unit interval `uniform` falls. *Shape:* (V,)."""
    ends = np.cumsum(p)
    row = int(np.searchsorted(ends, uniform * ends[-1], side="right"))
    return min(row, int(np.flatnonzero(p)[-1]))


@dataclass
class _Reader:
    """One direction with what it has read; reading gives a new one, so that every sample starts from the same.

    `hidden` (1, P): what the softmax sees next. `prefix`: vectors of the sentence so far (Transformers). `expected`:
    tokens of the sentence once it is finished, for a backward Transformer.
    """

    lm: LanguageModel
    direction: int
    state: LSTMState | None
    hidden: Tensor | None = None
    prefix: Tensor | None = None
    expected: int = 0

    def sentence(self, words: Words, *, closed: bool) -> _Reader:
        """After the boundary that the direction meets first, the words, and the other boundary if `closed`."""
        boundaries = self.lm.model.boundaries[:: -1 if self.direction else 1]
        given = [boundaries[0], *(words[::-1] if self.direction else words)]
        fresh = replace(self, prefix=None)
        return fresh.read([*given, boundaries[1]] if closed else given)

    def read(self, words: Words) -> _Reader:
        """After `words`, in the order of reading."""
        x = self.lm.vectors(words)
        if self.state is not None:
            return self._step(x, self.state)
        prefix = x if self.prefix is None else torch.cat([self.prefix, x])
        bilm = self.lm.model.bilm
        stack = bilm.backward_layers if self.direction else bilm.forward_layers
        length = torch.tensor([self.expected if self.direction else len(prefix)], device=x.device)
        layers = self.lm.workers.map(lambda x: stack(x, length)[0], [prefix.unsqueeze(0)])[0]
        return replace(self, prefix=prefix, hidden=layers[-1][:, -1])

    def _step(self, x: Tensor, state: LSTMState) -> _Reader:
        stacks = self.lm.directions.stacks
        assert stacks is not None
        stack, index = stacks[self.direction], torch.arange(len(x), device=x.device)
        layers, end = self.lm.workers.map(lambda x: stack.run(x, index, [1] * len(x), state), [x])[0]
        return replace(self, state=end, hidden=layers[-1][-1:])

    @property
    def full(self) -> bool:
        """Whether a Transformer's context has no room for one more word."""
        stack = self.lm.model.bilm.forward_layers
        return isinstance(stack, TransformerStack) and self.prefix is not None and len(self.prefix) >= stack.context - 1


@dataclass(frozen=True)
class _Writer:
    """One call of `generate`."""

    opened: _Reader
    prompt: tuple[str, ...]
    max_words: int
    sentences: int
    sampling: Sampling

    def sample(self, seed: int, number: int) -> Generated:
        reader, uniform = self.opened, uniforms(seed, number)
        backward = bool(reader.direction)
        current = list(self.prompt[:: -1 if backward else 1])  # in the order of reading
        done: list[tuple[str, ...]] = []
        written: list[Written] = []
        n_words, boundary = 0, self._boundary
        while True:
            row, log_p = self._draw(reader, next(uniform), last=n_words == self.max_words)
            word = reader.lm.vocabulary.words[row]
            if row != boundary and (n_words == self.max_words or reader.full):
                break
            written.append(Written(word, log_p))
            if row != boundary:
                n_words += 1
                current.append(word)
                reader = reader.read([word])
                continue
            done.append(tuple(current[:: -1 if backward else 1]))
            current = []
            if len(done) == self.sentences or n_words == self.max_words:
                return Generated(tuple(done), tuple(written), finished=True)
            if reader.state is not None:
                reader = reader.read([reader.lm.model.boundaries[0 if backward else 1]])
            reader = reader.sentence([], closed=False)
        done.append(tuple(current[:: -1 if backward else 1]))
        return Generated(tuple(done), tuple(written), finished=False)

    @property
    def _boundary(self) -> int:
        return self.opened.lm.boundary_rows[0 if self.opened.direction else 1]

    def _draw(self, reader: _Reader, uniform: float, *, last: bool) -> tuple[int, float]:
        """A softmax row and its log p under the model."""
        assert reader.hidden is not None
        lm, boundary = reader.lm, self._boundary
        log_p = lm.log_probabilities(reader.hidden)[0].numpy()
        told_length = bool(reader.direction) and not lm.recurrent
        if told_length and last:
            return boundary, float(log_p[boundary])
        allowed = {boundary} if not told_length else set()
        if self.sampling.unknown:
            allowed.add(lm.unknown_row)
        banned = [row for row in lm.never_words if row not in allowed]
        row = draw(self.sampling.shape(log_p, banned), uniform)
        return row, float(log_p[row])
