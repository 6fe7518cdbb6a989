"""Log probabilities of sentences and of their words, by each direction alone: `score`.

    forward   log p(w_k | <S> w_1 ... w_(k-1)),  and of </S> behind the last word
    backward  log p(w_k | w_(k+1) ... w_n </S>), and of <S> before the first word

Each direction is a language model by itself, whose sum over a sentence is a log probability. The two are never added:
their sum is the probability of nothing, and no pseudo-log-likelihood either, since neither sees both sides of a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polyseme.lm.network import Block, LanguageModel, Words, blocks

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SentenceScore:
    """Natural logarithms. `known[k]`: whether word k is in the vocabulary; others were scored as <UNK>.

    *Shape:* `forward` (n + 1,): w1 ... wn, </S>; `backward` (n + 1,): <S>, w1 ... wn; `known` (n,).
    """

    tokens: tuple[str, ...]
    forward: FloatArray
    backward: FloatArray
    known: npt.NDArray[np.bool_]

    @property
    def total_forward(self) -> float:
        """log p of the sentence and its end, read from left to right."""
        return float(self.forward.sum(dtype=np.float64))

    @property
    def total_backward(self) -> float:
        """log p of the sentence and its beginning, read from right to left."""
        return float(self.backward.sum(dtype=np.float64))


def score(lm: LanguageModel, sentences: Iterable[Words], *, state: str | None = None) -> Iterator[SentenceScore]:
    """The scores of each sentence, in input order, in memory that does not grow with the text.

    Every sentence stands by itself: `state` is what it starts from, "settled" (default) or "zero"; a Transformer has
    none. A score does not depend on the other sentences (within float32's rounding). Raises as `evaluate` does.
    """
    begin = lm.state(state)
    for part in blocks(sentences):
        block = Block.of(lm, part)
        stream = block.text.stream
        found = lm.directions.alone(block.text, begin)
        found.sums(block.n_targets)  # raises where a score is no number
        known = block.text.rows[stream.ids] != lm.unknown_row
        for number, words in enumerate(part):
            first = stream.position_of(number)
            places = slice(first, first + len(words) + 1)
            begin_word = int(stream.starts[number])
            yield SentenceScore(
                tuple(words),
                -found.forward[places],
                -found.backward[places][::-1],
                known[begin_word : begin_word + len(words)],
            )
