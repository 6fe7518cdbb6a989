"""Runs batches of sentences through a biLM: the stretch between words and layers.

Within a batch the sentences are sorted by falling length and packed (all first words, then all second words, ...).
The two directions never meet before the output, so they are two independent tasks. A Transformer takes the plain path.

Legend: `B` sentences, `N` tokens of the batch with <S> and </S>, `L` layers, `P` projection width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polyseme.encoder import WordEncoder
from polyseme.errors import TooLongError
from polyseme.formats.model import Model
from polyseme.nn.lstm import LSTMStack, LSTMState
from polyseme.nn.packed import Arithmetic, PackedLSTM
from polyseme.nn.workers import Workers

States = tuple[LSTMState, LSTMState]
Words = Sequence[str]


@dataclass(frozen=True)
class Packing:
    """Where the tokens of sentences of falling length lie in packed order.

    `rows[t]`: sentences longer than t. `forward[i]`: the place, in the sentences laid end to end, of packed token i;
    `backward` the same with each sentence reversed.
    """

    rows: list[int]
    forward: Tensor
    backward: Tensor

    @classmethod
    def of(cls, lengths: npt.NDArray[np.int64], device: torch.device) -> Packing:
        """*Shape:* lengths (B,), falling, at least 1 each."""
        starts = np.cumsum(lengths) - lengths
        rows = [int(np.searchsorted(-lengths, -step, side="left")) for step in range(int(lengths[0]))]
        forward = np.concatenate([starts[:alive] + step for step, alive in enumerate(rows)])
        backward = np.concatenate([(starts + lengths - 1)[:alive] - step for step, alive in enumerate(rows)])
        return cls(rows, torch.from_numpy(forward).to(device), torch.from_numpy(backward).to(device))


@dataclass(frozen=True)
class Batch:
    """Sentences and the state that each direction starts from.

    `bounded`: the sentences hold <S> and </S>, and `states` are those before the first of them. Otherwise they hold
    their words only, at least one, and `states` are those after it: where every sentence starts alike, the boundary
    that opens it is read once for all, and the one that closes it by nobody.
    """

    sentences: Sequence[Words]
    states: States | None
    bounded: bool = True


class Engine:
    """A model made ready to read: packed weights, workers, cached words."""

    def __init__(self, model: Model, how: Arithmetic, threads: int, cache_words: int) -> None:
        self.model = model
        self.workers = Workers(threads)
        self.encoder = WordEncoder(model, self.workers, how, cache_words)
        self.device = self.encoder.device
        bilm = model.bilm
        self.directions: tuple[PackedLSTM, PackedLSTM] | None = None
        if isinstance(bilm.forward_layers, LSTMStack) and isinstance(bilm.backward_layers, LSTMStack):
            self.directions = (PackedLSTM(bilm.forward_layers, how), PackedLSTM(bilm.backward_layers, how))

    def run(self, batches: Sequence[Batch]) -> list[tuple[list[Tensor], States | None]]:
        """For each batch the layers of each sentence, (L + 1, T, 2P) without <S> and </S>, and end states if bounded.

        All batches are computed side by side: give no more at once than memory allows.
        """
        words = [word for batch in batches for sentence in batch.sentences for word in sentence]
        with torch.inference_mode():
            vectors, index = self.encoder.lookup(words)
            sizes = [sum(map(len, batch.sentences)) for batch in batches]
            tokens = torch.from_numpy(index).to(self.device).split(sizes)
            if self.directions is None:
                jobs = [(batch, vectors[rows]) for batch, rows in zip(batches, tokens, strict=True)]
                return [(layers, None) for layers in self.workers.map(self._transform, jobs)]
            pairs = list(zip(batches, tokens, strict=True))
            plans = self.workers.map(lambda pair: _Plan.of(pair[0], vectors, pair[1]), pairs)
            tasks = [(plan, direction) for plan in plans for direction in (0, 1)]
            ends = self.workers.map(self._read, tasks)
            return [plan.finish(ends[2 * at], ends[2 * at + 1]) for at, plan in enumerate(plans)]

    def read_chunk(self, direction: int, words: Words, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One direction over one piece of one sentence, in reading order; for sentences that do not fit memory.

        *Shape:* -> (L + 1, n, P), the state after the piece.
        """
        assert self.directions is not None
        with torch.inference_mode():
            vectors, index = self.encoder.lookup(words)
            rows = torch.from_numpy(index).to(self.device)
            stack = self.directions[direction]
            layers, state = self.workers.map(lambda _: stack.run(vectors, rows, [1] * len(words), state), [None])[0]
            return torch.stack([vectors[rows], *layers]), state

    def _read(self, task: tuple[_Plan, int]) -> LSTMState:
        """One direction of one batch, written into its half of the plan's output; the state it ends with."""
        plan, direction = task
        assert self.directions is not None
        order = plan.packing.backward if direction else plan.packing.forward
        index = plan.index[order]
        layers, end = self.directions[direction].run(plan.words, index, plan.packing.rows, plan.states[direction])
        size = plan.words.size(1)
        for number, layer in enumerate(layers):
            plan.output[number + 1, :, direction * size : (direction + 1) * size].index_copy_(0, order, layer)
        return end

    def _transform(self, job: tuple[Batch, Tensor]) -> list[Tensor]:
        """A batch through the plain Transformer, padded to its longest sentence."""
        batch, x = job
        lengths = [len(sentence) for sentence in batch.sentences]
        config = self.model.bilm.config.transformer
        if config is not None and max(lengths) > config.context:
            raise TooLongError(
                f"a sentence of {max(lengths) - 2:,} tokens is beyond this Transformer's context of {config.context:,} "
                f"(with <S> and </S>); split the sentence, or use an LSTM model, which reads any length"
            )
        padded = torch.nn.utils.rnn.pad_sequence(list(x.split(lengths)), batch_first=True)
        layers = torch.stack(self.model.bilm.contextualize(padded, torch.tensor(lengths, device=x.device)).layers)
        return [layers[:, row, 1 : length - 1] for row, length in enumerate(lengths)]


@dataclass(frozen=True)
class _Plan:
    """A batch in packed order.

    `words` (U, P): its distinct words; `index` (N,) and `output` (L + 1, N, 2P) lie sentence by sentence, longest
    first.
    """

    order: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    packing: Packing
    words: Tensor
    index: Tensor
    states: States
    output: Tensor
    bounded: bool

    @classmethod
    def of(cls, batch: Batch, vectors: Tensor, rows: Tensor) -> _Plan:
        assert batch.states is not None
        lengths = np.asarray([len(sentence) for sentence in batch.sentences], dtype=np.int64)
        order = np.argsort(-lengths, kind="stable")
        pieces = rows.split(lengths.tolist())
        distinct, index = torch.unique(torch.cat([pieces[place] for place in order]), return_inverse=True)
        words = vectors[distinct]
        sorted_rows = torch.from_numpy(order).to(words.device)
        left, right = (LSTMState(s.hidden[:, sorted_rows], s.cell[:, sorted_rows]) for s in batch.states)
        size = words.size(1)
        output = words.new_empty(len(left.hidden) + 1, len(index), 2 * size)
        output[0, :, :size] = output[0, :, size:] = words[index]
        packing = Packing.of(lengths[order], words.device)
        return cls(order, lengths[order], packing, words, index, (left, right), output, batch.bounded)

    def finish(self, left: LSTMState, right: LSTMState) -> tuple[list[Tensor], States | None]:
        """Layers in the order in which the sentences were given, without <S> and </S>; end states where they matter."""
        back = np.argsort(self.order, kind="stable")
        ends, edge = np.cumsum(self.lengths), int(self.bounded)
        layers = [self.output[:, ends[place] - self.lengths[place] + edge : ends[place] - edge] for place in back]
        if not self.bounded:
            return layers, None
        rows = torch.from_numpy(back).to(self.words.device)
        states = [LSTMState(state.hidden[:, rows], state.cell[:, rows]) for state in (left, right)]
        return layers, (states[0], states[1])


def with_boundaries(tokens: Words, model: Model) -> list[str]:
    """<S>, the words, </S>."""
    start, end = model.boundaries
    return [start, *tokens, end]
