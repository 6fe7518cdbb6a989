"""What one update reads: windows of lanes for an LSTM, whole sentences for a Transformer.

An update is cut into *parts*, `accumulate` for each process, and every process computes its own. Which tokens an update
holds depends on the corpus, the seed, the epoch and the update alone, so a run goes on at the very batch.

Legend: `B` lanes of all processes, `T` steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from polyseme.errors import OptionError
from polyseme.text.streams import END, START, UNSCORED, Ids, Lanes, Stream, Window, in_passages, sentence_batches
from polyseme.training.config import TrainConfig
from polyseme.training.processes import Processes


class Batches(Protocol):
    """One epoch after another."""

    carried: bool

    def start_epoch(self, epoch: int) -> int:
        """Makes `parts` speak of this epoch; returns its number of updates."""

    def parts(self, update: int) -> Sequence[Window]:
        """This process's parts of an update of the epoch."""


class LaneBatches:
    """Lanes of whole sentences, read side by side; every epoch begins at another sentence, drawn from the seed.

    With `passages`, every epoch also reads the passages of the text in an order of its own.
    """

    carried = True

    def __init__(self, stream: Stream, config: TrainConfig, processes: Processes) -> None:
        self.stream, self.config, self.processes = stream, config, processes
        parts = processes.world * config.accumulate
        lanes = min(config.lanes, stream.n_sentences)
        if lanes < parts:
            raise OptionError(
                f"{lanes} lanes cannot be shared by {processes.world} processes with {config.accumulate} parts each; "
                "take more lanes or fewer processes"
            )
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> int:
        """The sentence that begins the first lane is a matter of the seed and the epoch."""
        first = int(np.random.default_rng([self.config.seed, epoch]).integers(self.stream.n_sentences)) if epoch else 0
        seed, words = [self.config.seed, epoch], self.config.passages
        stream = in_passages(self.stream, words, seed) if words else self.stream
        self.lanes = Lanes.cut(stream, self.config.lanes, first)
        parts = self.processes.world * self.config.accumulate
        cuts = [self.lanes.count * part // parts for part in range(parts + 1)]
        begin = self.processes.rank * self.config.accumulate
        self.slices = [slice(cuts[at], cuts[at + 1]) for at in range(begin, begin + self.config.accumulate)]
        return self.lanes.n_windows(self.config.steps)

    def parts(self, update: int) -> Sequence[Window]:
        """Window `update` of this process's lanes."""
        return [self.lanes.window(update, self.config.steps, lanes) for lanes in self.slices]


class SentenceBatches:
    """Sentences of about one length, in an order of its own each epoch."""

    carried = False

    def __init__(self, stream: Stream, config: TrainConfig, processes: Processes, context: int) -> None:
        self.stream, self.config, self.processes, self.context = stream, config, processes, context
        self.n_parts = processes.world * config.accumulate
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> int:
        """Batches are drawn anew; the last parts that fill no update wait for another epoch."""
        tokens = max(3, self.config.lanes * self.config.steps // self.n_parts)
        seed = self.config.seed * 1_000_003 + epoch
        self.batches = list(sentence_batches(self.stream, tokens, self.context, seed))
        while len(self.batches) < self.n_parts:  # a text of a few sentences
            self.batches *= 2
        return len(self.batches) // self.n_parts

    def parts(self, update: int) -> Sequence[Window]:
        """This process's next batches of sentences."""
        begin = update * self.n_parts + self.processes.rank * self.config.accumulate
        return [sentences(self.stream.ids, pieces) for pieces in self.batches[begin : begin + self.config.accumulate]]


def sentences(ids: Ids, pieces: Ids) -> Window:
    """Pieces of a text, a lane each, with boundaries and padded at their ends. *Shape:* (B, 2) -> four of (T, B)."""
    lengths = pieces[:, 1] - pieces[:, 0]
    steps = np.arange(int(lengths.max(initial=0)) + 2)[:, None]  # Shape: (T, 1)

    def tokens(place: Ids, *, backward: bool) -> Ids:
        inner = (place > 0) & (place <= lengths)
        at = pieces[:, 0] + (lengths - place if backward else place - 1)
        words = np.asarray(ids[np.clip(at, 0, max(0, len(ids) - 1))], dtype=np.int64) if len(ids) else at * 0
        first, last = (END, START) if backward else (START, END)
        return np.where(inner, words, np.where(place <= 0, first, last))

    scored = steps <= lengths
    forward, backward = tokens(steps, backward=False), tokens(steps, backward=True)
    return Window(
        forward,
        backward,
        np.where(scored, tokens(steps + 1, backward=False), UNSCORED),
        np.where(scored, tokens(steps + 1, backward=True), UNSCORED),
    )
