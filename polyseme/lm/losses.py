"""Streams of word-type ids -> the exact loss of every target in both directions, in constant memory.

A *lane* is a stretch of the stream that is read from left to right, one token a step, in both directions at once
(`text/streams.py` says what the backward stream is). Lanes are either long runs of sentences, through which the state
is carried, or single sentences that all start alike. Some lanes are read side by side, window by window: only the ids
and two losses a token outlive a window.

Legend: `B` lanes, `T` steps of a window, `N` tokens of a window in packed order (all lanes' first, then all second
ones ...), `P` projection width, `L` layers, `H` cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polyseme.batching import plan
from polyseme.bilm import BiLM
from polyseme.engine import States
from polyseme.errors import DamagedModelError, OptionError, UnsupportedModelError
from polyseme.nn.exact import ROWS, exact_losses
from polyseme.nn.lstm import LSTMStack, LSTMState
from polyseme.nn.packed import Arithmetic, PackedLSTM, default_kernel
from polyseme.nn.workers import Workers
from polyseme.text.streams import UNSCORED, Lanes, Stream, Window

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
Lookup = Callable[[IntArray], Tensor]

WINDOW_TOKENS = 4096
NO_SOFTMAX = (
    "this model has no softmax, so it cannot predict words (options.json with HDF5 never holds one); "
    "give the bilm-tf checkpoint or the AllenNLP archive that it came from, or another language model"
)


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean loss a target. `mean`: exp of the mean of both directions' mean losses; never a sum."""

    forward: float
    backward: float
    mean: float


@dataclass(frozen=True)
class LossSums:
    """Sums of losses in nats over `targets` targets a direction: every word, and one boundary a sentence."""

    forward: float = 0.0
    backward: float = 0.0
    targets: int = 0

    def __add__(self, other: LossSums) -> LossSums:
        return LossSums(self.forward + other.forward, self.backward + other.backward, self.targets + other.targets)

    @property
    def perplexity(self) -> Perplexity:
        """Raises `OptionError` where there were no targets."""
        if not self.targets:
            raise OptionError("there are no targets, so there is no perplexity")
        forward, backward = self.forward / self.targets, self.backward / self.targets
        return Perplexity(_exp(forward), _exp(backward), _exp((forward + backward) / 2))


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf


@dataclass(frozen=True)
class TypedText:
    """Sentences as ids of word types. `vectors`: of distinct types, (U,) -> (U, P); `rows`: each type's softmax row.

    Types 0 and 1 are <S> and </S>, for input and as targets.
    """

    stream: Stream
    rows: IntArray
    vectors: Lookup


@dataclass
class LaneLosses:
    """The loss of the target that follows each position of the stream, in nats; NaN where none is scored."""

    forward: FloatArray
    backward: FloatArray

    @classmethod
    def empty(cls, n_positions: int) -> LaneLosses:
        """All NaN. *Shape:* (n_positions,) twice."""
        forward, backward = np.full((2, n_positions), np.nan, dtype=np.float32)
        return cls(forward, backward)

    def sums(self, targets: int) -> LossSums:
        """The sums, if each of the `targets` targets has a finite loss; otherwise `DamagedModelError`."""
        if min(np.isfinite(self.forward).sum(), np.isfinite(self.backward).sum()) != targets:
            raise DamagedModelError("the model's scores are no finite numbers; `polyseme verify MODEL` says more")
        forward, backward = (float(np.nansum(x, dtype=np.float64)) for x in (self.forward, self.backward))
        return LossSums(forward, backward, targets)


class Directions:
    """Both directions of a biLM, made ready to predict. Not for use from several threads at once."""

    def __init__(self, bilm: BiLM, workers: Workers, kernel: str | None = None) -> None:
        """Raises `UnsupportedModelError` for a biLM without a softmax."""
        if bilm.softmax is None:
            raise UnsupportedModelError(NO_SOFTMAX)
        self.bilm, self.workers, self.softmax = bilm, workers, bilm.softmax
        self.device = self.softmax.weight.device
        how = Arithmetic(kernel or (default_kernel() if self.device.type == "cpu" else "torch"))
        self.stacks: tuple[PackedLSTM, PackedLSTM] | None = None
        if isinstance(bilm.forward_layers, LSTMStack) and isinstance(bilm.backward_layers, LSTMStack):
            self.stacks = (PackedLSTM(bilm.forward_layers, how), PackedLSTM(bilm.backward_layers, how))

    @property
    def recurrent(self) -> bool:
        """Whether there is a state to carry."""
        return self.stacks is not None

    def zero_states(self, rows: int = 1) -> States | None:
        """Zeros for both directions; None for a Transformer. *Shape:* (L, B, P) and (L, B, H), twice."""
        forward = self.bilm.forward_layers
        return (forward.zero_state(rows), forward.zero_state(rows)) if isinstance(forward, LSTMStack) else None

    def carried(
        self, text: TypedText, states: States | None, lanes: int = 1, out: LaneLosses | None = None
    ) -> tuple[LaneLosses, States]:
        """Losses of a text that is read in order, and where its (last) lane ends.

        Cut into `lanes` lanes at most; each starts from `states` (one row), zeros by default.
        """
        begin = states or self.zero_states()
        if begin is None:
            raise OptionError("a Transformer reads sentence by sentence: it has no state to carry")
        found = out or LaneLosses.empty(text.stream.n_positions)
        cut = Lanes.cut(text.stream, lanes)
        batch = _Batch.of(cut.begins, cut.sizes, repeated(begin, cut.count))
        self._read(text, [batch], found)
        assert batch.states is not None
        return found, batch.states

    def alone(self, text: TypedText, states: States | None, max_tokens: int = WINDOW_TOKENS) -> LaneLosses:
        """Losses of sentences that know nothing of each other and start from `states` (one row), batched by length."""
        stream = text.stream
        found = LaneLosses.empty(stream.n_positions)
        begins = stream.starts[:-1] + 2 * np.arange(stream.n_sentences)
        # What an LSTM reads last predicts nothing. A Transformer needs it: its backward positions count from there.
        sizes = np.diff(stream.starts) + (1 if self.recurrent else 2)
        planned = plan(sizes.tolist(), max_tokens, padded=not self.recurrent)
        side_by_side = max(1, self.workers.threads // 2)
        for at in range(0, len(planned), side_by_side):
            batches = [
                _Batch.of(begins[rows], sizes[rows], repeated(states, len(rows)) if states else None)
                for rows in planned[at : at + side_by_side]
            ]
            self._read(text, batches, found)
        return found

    def hidden(self, text: TypedText, states: States | None) -> tuple[Tensor, Tensor]:
        """What the softmax sees before each target of ONE sentence of n words.

        *Shape:* forward (n + 1, P): before w1 ... wn, </S>; backward (n + 1, P): before <S>, w1 ... wn.
        """
        size = text.stream.n_positions - (1 if self.recurrent else 0)
        batch = _Batch.of(np.zeros(1, dtype=np.int64), np.asarray([size]), states)
        pieces: list[list[Tensor]] = [[], []]
        while not batch.done:
            for direction, (top, _) in enumerate(self._advance(text, [batch])[0].tops):
                pieces[direction].append(top)
        n_targets = text.stream.n_positions - 1
        forward, backward = (torch.cat(found)[:n_targets] for found in pieces)
        return forward, backward.flip(0)

    # --- window by window

    def _read(self, text: TypedText, batches: list[_Batch], found: LaneLosses) -> None:
        """Reads all batches to their ends, side by side, and writes their losses into `found`."""
        while waiting := [batch for batch in batches if not batch.done]:
            pieces: list[tuple[Tensor, Tensor, FloatArray, IntArray]] = []
            for window in self._advance(text, waiting):
                for (hidden, targets), into in zip(window.tops, (found.forward, found.backward), strict=True):
                    scored = np.flatnonzero(targets != UNSCORED)
                    rows = torch.from_numpy(text.rows[targets[scored]]).to(self.device)
                    kept = hidden[torch.from_numpy(scored).to(self.device)]
                    places = np.split(window.positions[scored], range(ROWS, len(scored), ROWS))
                    pieces += [
                        (h, r, into, place)
                        for h, r, place in zip(kept.split(ROWS), rows.split(ROWS), places, strict=True)
                        if len(place)
                    ]
            losses = self.workers.map(lambda piece: exact_losses(piece[0], self.softmax, piece[1]), pieces)
            for (_, _, into, place), loss in zip(pieces, losses, strict=True):
                into[place] = loss.cpu().numpy()

    def _advance(self, text: TypedText, batches: Sequence[_Batch]) -> list[_Window]:
        """The next window of each batch, in both directions; the batches go on behind it."""
        with torch.inference_mode():
            tasks: list[_Task] = []
            windows = []
            for batch in batches:
                alive, positions = batch.next(None if self.recurrent else batch.longest)
                read: Window = text.stream.read(positions)
                for direction, inputs in enumerate((read.forward, read.backward)):
                    types, index = np.unique(inputs, return_inverse=True)
                    words = text.vectors(types)
                    tasks.append(_Task(direction, batch, alive, words, torch.from_numpy(index).to(self.device)))
                windows.append(_Window(positions, (read.forward_targets, read.backward_targets), []))
            for number, (hidden, state) in enumerate(self.workers.map(self._one_direction, tasks)):
                tasks[number].batch.keep(tasks[number].direction, state)
                window = windows[number // 2]
                window.tops.append((hidden, window.targets[number % 2]))
        return windows

    def _one_direction(self, task: _Task) -> tuple[Tensor, LSTMState | None]:
        """The top layer of one direction in packed order, and the state behind the window."""
        if self.stacks is None:
            return self._transform(task), None
        rows = task.alive.sum(axis=1).tolist()
        assert task.batch.states is not None
        state = task.batch.states[task.direction]
        begin = LSTMState(state.hidden[:, : rows[0]], state.cell[:, : rows[0]])
        layers, end = self.stacks[task.direction].run(task.words, task.index, rows, begin)
        return layers[-1], end

    def _transform(self, task: _Task) -> Tensor:
        """Whole sentences, padded. *Shape:* (N, P)."""
        alive = torch.from_numpy(task.alive).to(self.device)  # Shape: (T, B)
        x = task.words.new_zeros(*alive.shape, task.words.size(1))
        x[alive] = task.words[task.index]
        stack = self.bilm.backward_layers if task.direction else self.bilm.forward_layers
        layers, _ = stack(x.transpose(0, 1), alive.sum(dim=0))
        top: Tensor = layers[-1].transpose(0, 1)[alive]
        return top


@dataclass
class _Batch:
    """Lanes that are read side by side, longest first; `at` steps of them have been read."""

    begins: IntArray
    sizes: IntArray
    states: States | None
    at: int = 0

    @classmethod
    def of(cls, begins: IntArray, sizes: IntArray, states: States | None) -> _Batch:
        """All lanes start from equal states, so their order is free."""
        order = np.argsort(-sizes, kind="stable")
        return cls(begins[order], sizes[order], states)

    @property
    def longest(self) -> int:
        return int(self.sizes[0])

    @property
    def done(self) -> bool:
        return self.at >= self.longest

    def next(self, steps: int | None) -> tuple[npt.NDArray[np.bool_], IntArray]:
        """Which lanes live at each of the next steps, (T, B), and their stream positions in packed order, (N,)."""
        lanes = int(np.searchsorted(-self.sizes, -self.at, side="left"))
        steps = steps or max(1, WINDOW_TOKENS // lanes)
        inside = np.arange(self.at, min(self.at + steps, self.longest))[:, None]
        self.at += steps
        alive = inside < self.sizes[:lanes]
        return alive, (inside + self.begins[:lanes])[alive]

    def keep(self, direction: int, state: LSTMState | None) -> None:
        """The state behind a window; lanes that ended earlier keep theirs."""
        if self.states is None or state is None:
            return
        rows = state.hidden.size(1)
        merged = LSTMState(
            *(torch.cat([new, old[:, rows:]], dim=1) for new, old in zip(state, self.states[direction], strict=True))
        )
        self.states = (merged, self.states[1]) if direction == 0 else (self.states[0], merged)


@dataclass(frozen=True)
class _Task:
    """One direction of one window. *Shape:* alive (T, B), words (U, P), index (N,)."""

    direction: int
    batch: _Batch
    alive: npt.NDArray[np.bool_]
    words: Tensor
    index: Tensor


@dataclass(frozen=True)
class _Window:
    """`positions` (N,) in the stream; `tops`: of each direction the hidden (N, P) and the target types (N,)."""

    positions: IntArray
    targets: tuple[IntArray, IntArray]
    tops: list[tuple[Tensor, IntArray]]


def repeated(states: States, rows: int) -> States:
    """One row of state for each of `rows` lanes."""
    left, right = (LSTMState(s.hidden.expand(-1, rows, -1), s.cell.expand(-1, rows, -1)) for s in states)
    return left, right


def evaluate_ids(
    bilm: BiLM,
    vectors: Tensor,
    ids: npt.NDArray[np.integer],
    starts: IntArray,
    rows: IntArray,
    *,
    carry: bool | None = None,
    lanes: int = 1,
    states: States | None = None,
    threads: int | None = None,
) -> LossSums:
    """Exact losses of a part of a corpus: how the trainer validates, with the weights as they are now.

    `ids` (n_words,) and `starts` (n_sentences + 1,) are those of a `Part`, types 0 and 1 are <S> and </S>; `vectors`
    (n_types, P) come from the encoder, `rows` (n_types,) name each type's softmax row. `carry`: through the text in
    order, in `lanes` lanes (an LSTM's default); otherwise each sentence by itself. They start from `states`, one row,
    or zeros. Dropout and TF32 are off meanwhile.
    """
    workers = Workers(threads or (torch.get_num_threads() if vectors.device.type == "cpu" else 1))
    training, precision = bilm.training, torch.get_float32_matmul_precision()
    bilm.eval()
    torch.set_float32_matmul_precision("highest")
    try:
        directions = Directions(bilm, workers)
        table = vectors.detach().float()
        stream = Stream(ids, starts)
        text = TypedText(stream, rows, lambda types: table[torch.from_numpy(types).to(table.device)])
        if directions.recurrent if carry is None else carry:
            found, _ = directions.carried(text, states, lanes)
        else:
            found = directions.alone(text, states or directions.zero_states())
        return found.sums(len(ids) + stream.n_sentences)
    finally:
        torch.set_float32_matmul_precision(precision)
        bilm.train(training)
