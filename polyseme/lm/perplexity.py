"""The exact, comparable perplexity of a text: `evaluate`.

Counted targets of a sentence of n words: the words and one boundary, </S> forward and <S> backward. The boundary that
follows for certain (<S> behind </S>) is read as input and never scored. So the Penn Treebank's test set has 82,430
targets and WikiText-2's 245,569, its empty lines being sentences of no words. The directions are never added.

A perplexity can be compared with another of the same text, the same targets and the same vocabulary: words outside it
are scored as <UNK>, which is easier to guess than they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from polyseme.engine import States
from polyseme.errors import InputError, OptionError
from polyseme.lm.losses import LossSums, Perplexity
from polyseme.lm.network import BLOCK_TOKENS, UNKNOWN_SHARE, Block, LanguageModel, Words, blocks

STATES = ("carry", "settled", "zero")


@dataclass(frozen=True)
class PerplexityReport:
    """What a model makes of a text.

    `losses`: sums in nats and the number of targets. `unknown_words`: running words that were scored as <UNK>.
    `cut_words`: those of which the model saw only the beginning. `state`: "carry", "settled", "zero" or "none".
    `vocabulary`: words of the softmax, the special ones included.
    """

    losses: LossSums
    sentences: int
    tokens: int
    unknown_words: int
    cut_words: int
    vocabulary: int
    state: str
    lanes: int

    @property
    def perplexity(self) -> Perplexity:
        """Forward, backward, and exp of the mean of the two cross-entropies."""
        return self.losses.perplexity

    @property
    def targets(self) -> int:
        """Targets a direction: words, and one boundary a sentence."""
        return self.losses.targets

    @property
    def unknown_share(self) -> float:
        """The share (0..1) of running words that were scored as <UNK>; 0 for no words."""
        return self.unknown_words / self.tokens if self.tokens else 0.0

    def warnings(self) -> list[str]:
        """One sentence for everything that a user should know before quoting the perplexity."""
        found = []
        if self.unknown_share > UNKNOWN_SHARE:
            found.append(
                f"{self.unknown_share:.0%} of the words are outside the model's vocabulary and were scored as <UNK>: "
                f"compare this perplexity only with models of the same vocabulary"
            )
        if self.tokens and self.cut_words > 0.05 * self.tokens:
            found.append(
                f"{self.cut_words / self.tokens:.0%} of the words are longer than the model reads, which saw only "
                f"their beginning; use a model with an alphabet of the text's script"
            )
        return found


def evaluate(
    lm: LanguageModel,
    sentences: Iterable[Words],
    *,
    state: str | None = None,
    lanes: int = 1,
    block_tokens: int = BLOCK_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> PerplexityReport:
    """Exact perplexity of sentences in order, in memory that does not grow with the text.

    `state`: "carry" (an LSTM's default) reads the text as one stream from zeros, the state going on from sentence to
    sentence, as language models are trained and evaluated; "settled" and "zero" read each sentence by itself, as a
    Transformer always does. `lanes`: with "carry", how many pieces of the text are read side by side, each from zeros:
    faster, but then the ids of the whole text are held. `progress` is told the words read so far.

    Raises `InputError` for no sentences at all, `OptionError`, `TooLongError` (Transformers only).
    """
    chosen = _check(lm, state, lanes)
    reader = _Counter(lm, progress)
    parts = blocks(sentences, block_tokens) if lanes == 1 else iter([list(sentences)])
    total = reader.carried(parts, lanes) if chosen == "carry" else reader.alone(parts, state)
    if not total.targets:
        raise InputError("there is no sentence to evaluate; give a text with at least one line")
    return PerplexityReport(
        total, reader.sentences, reader.tokens, reader.unknown, reader.cut, len(lm.vocabulary), chosen, lanes
    )


def _check(lm: LanguageModel, state: str | None, lanes: int) -> str:
    """The state to use."""
    if lanes < 1:
        raise OptionError(f"lanes must be at least 1, was: {lanes}")
    if state is not None and state not in STATES:
        raise OptionError(f"state must be one of {', '.join(STATES)}, was: {state!r}")
    chosen = (state or "carry") if lm.recurrent else "none"
    if chosen != "carry":
        lm.state(state)  # refuses what it must before a text is read
    if lanes > 1 and chosen != "carry":
        raise OptionError(f"lanes={lanes} was given, but only a carried state has lanes; leave the option out")
    return chosen


class _Counter:
    """One call of `evaluate`."""

    def __init__(self, lm: LanguageModel, progress: Callable[[int], None] | None) -> None:
        self.lm, self.progress = lm, progress
        self.sentences = self.tokens = self.unknown = self.cut = 0

    def carried(self, parts: Iterator[list[Words]], lanes: int) -> LossSums:
        total, states = LossSums(), None
        for part in parts:
            if not part:
                continue
            block = Block.of(self.lm, part)
            found, states = self._carried(block, states, lanes)
            total += found
            self._count(block)
        return total

    def _carried(self, block: Block, states: States | None, lanes: int) -> tuple[LossSums, States]:
        found, end = self.lm.directions.carried(block.text, states, lanes)
        return found.sums(block.n_targets), end

    def alone(self, parts: Iterator[list[Words]], state: str | None) -> LossSums:
        total, begin = LossSums(), self.lm.state(state)
        for part in parts:
            block = Block.of(self.lm, part)
            total += self.lm.directions.alone(block.text, begin).sums(block.n_targets)
            self._count(block)
        return total

    def _count(self, block: Block) -> None:
        counts, characters = block.counts, self.lm.model.characters
        self.sentences += len(block.sentences)
        self.tokens += block.n_words
        self.unknown += int(counts[block.text.rows == self.lm.unknown_row].sum())
        if characters is not None:
            cut = np.fromiter((characters.is_cut(word) for word in block.words), dtype=bool, count=len(block.words))
            self.cut += int(counts[cut].sum())
        if self.progress is not None:
            self.progress(self.tokens)
