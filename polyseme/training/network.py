"""One window through the network, as training reads it: both directions, carried state, dropout.

The values are those of `BiLM.contextualize` (tests/training/test_network.py); the road differs. A word type is encoded
once however often it occurs in the window, in groups of about one length, each cut where only padding follows; layers
run time first, both directions side by side (`nn/lstm_training.py`).

Legend: `T` steps, `B` lanes, `L` layers, `P` projection width, `H` cells, `n` distinct words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from polyseme.bilm import BiLM, TokenEncoder
from polyseme.errors import UnsupportedModelError
from polyseme.nn.char_training import convolve
from polyseme.nn.lstm import LSTMLayer, LSTMStack, LSTMState
from polyseme.nn.lstm_training import run_layers
from polyseme.text.chars import IntArray, row_lengths
from polyseme.text.streams import Window

States = tuple[LSTMState, LSTMState]
Places = npt.NDArray[np.int64]
Mistyped = Callable[[IntArray, Places], tuple[IntArray, Places]]  # rows, and which of them is read where
LENGTH_GROUPS = 4


@dataclass(frozen=True)
class Dropout:
    """Shares (0..1) that are set to zero in training.

    `inputs`: of what enters each layer, by position, as the published recipe does. `outputs`: of what enters the
    softmax. `words`: whole context-free vectors, by distinct word of the window (Gal and Ghahramani 2016, arXiv
    1512.05287). `state_weights`: of the recurrent weights (DropConnect; Merity et al. 2017, arXiv 1708.02182).
    """

    inputs: float = 0.0
    outputs: float = 0.0
    words: float = 0.0
    state_weights: float = 0.0


NO_DROPOUT = Dropout()


class TypeRows:
    """What the encoder reads of each word type: its row of characters, as stored in a corpus."""

    def __init__(self, rows: npt.NDArray[np.integer], padding: int) -> None:
        self.rows, self.padding = rows, padding

    def of(self, types: npt.NDArray[np.int64]) -> IntArray:
        """*Shape:* (n,) -> (n, characters)."""
        return np.asarray(self.rows[types], dtype=np.int32)

    def encode(self, encoder: TokenEncoder, rows: IntArray, device: torch.device, dtype: torch.dtype) -> Tensor:
        """x of each row. Raises `UnsupportedModelError` for a table of words. *Shape:* (n, characters) -> (n, P)."""
        cnn = encoder.char_cnn
        if cnn is None or encoder.words is not None:
            raise UnsupportedModelError(
                "this model looks words up in a table; only one that reads characters alone can be trained: start from "
                "another model, or from a preset"
            )
        lengths = row_lengths(rows, self.padding)
        order = np.argsort(lengths, kind="stable")
        widest = max(width for width, _ in cnn.config.filters)
        # One window of padding alone stands for all of them: the maximum over positions is the same.
        n_short = int(np.searchsorted(lengths[order], rows.shape[1] - widest, side="right"))
        groups = [group for group in np.array_split(order[:n_short], LENGTH_GROUPS) if len(group)]
        short = [rows[group, : int(lengths[group[-1]]) + widest] for group in groups]
        filtered = []
        if short:
            filtered.append(convolve(cnn, [torch.from_numpy(s).to(device, non_blocking=True) for s in short], dtype))
        if n_short < len(order):  # no room for that window
            filtered.append(cnn.convolve(cnn.table(torch.from_numpy(rows[order[n_short:]]).to(device))))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            vectors = cnn.after_convolutions(torch.cat(filtered).to(dtype))
            vectors = vectors if encoder.projection is None else encoder.projection(vectors)
        return vectors.to(filtered[0].dtype)[torch.from_numpy(place).to(device)]


def read_window(
    bilm: BiLM,
    rows: TypeRows,
    window: Window,
    states: States | None,
    dtype: torch.dtype = torch.float32,
    dropout: Dropout = NO_DROPOUT,
    mistyped: Mistyped | None = None,
) -> tuple[Tensor, Tensor, States | None]:
    """What each direction knows after each step, and the states to carry on, cut off from their history.

    A Transformer has no states; each of its lanes holds one sentence, padded at its end. `mistyped` may read some
    words wrong.

    *Shape:* states as in `LSTMState` -> (T, B, P) forward, (T, B, P) backward, the same states.
    """
    device = next(bilm.parameters()).device
    both = np.stack([window.forward, window.backward])  # Shape: (2, T, B)
    types, inverse = np.unique(both, return_inverse=True)
    read, inverse = rows.of(types), inverse.reshape(both.shape)
    if mistyped is not None:
        read, inverse = mistyped(read, inverse)
    vectors = rows.encode(bilm.encoder, read, device, dtype)
    if dropout.words and bilm.training:
        vectors = vectors * F.dropout(vectors.new_ones(len(vectors), 1), dropout.words)
    places = torch.from_numpy(inverse).to(device)
    x = F.embedding(places, vectors)  # Shape: (2, T, B, P)
    stacks = (bilm.forward_layers, bilm.backward_layers)
    if isinstance(stacks[0], LSTMStack) and isinstance(stacks[1], LSTMStack):
        lanes = x.size(2)
        states = states or (stacks[0].zero_state(lanes), stacks[1].zero_state(lanes))
        return _read_lstms(bilm, (stacks[0], stacks[1]), x, states, dtype, dropout)
    lengths = torch.from_numpy((window.forward_targets >= 0).sum(axis=0) + 1).to(device)
    tops = []
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        for stack, inputs in zip(stacks, x, strict=True):
            layers, _ = stack(inputs.transpose(0, 1), lengths)
            tops.append(F.dropout(layers[-1].transpose(0, 1).to(x.dtype), dropout.outputs, bilm.training))
    return tops[0], tops[1], None


def _read_lstms(
    bilm: BiLM,
    stacks: tuple[LSTMStack, LSTMStack],
    x: Tensor,
    states: States,
    dtype: torch.dtype,
    dropout: Dropout,
) -> tuple[Tensor, Tensor, States]:
    """All layers of both directions. *Shape:* (2, T, B, P) -> as `read_window`."""
    training = bilm.training
    inputs = [x[0], x[1]]
    after: tuple[list[tuple[Tensor, Tensor]], ...] = ([], [])
    for index in range(bilm.config.n_layers):
        layers = [cast(LSTMLayer, stack.layers[index]) for stack in stacks]
        masks = [
            F.dropout(torch.ones_like(layer.state_weight), dropout.state_weights)
            if dropout.state_weights and training
            else None
            for layer in layers
        ]
        results = run_layers(
            layers,
            [F.dropout(value, dropout.inputs, training) for value in inputs],
            [state.hidden[index] for state in states],
            [state.cell[index] for state in states],
            dtype,
            masks,
        )
        for direction, (output, hidden, cell) in enumerate(results):
            residual = bilm.config.residual and index > 0
            inputs[direction] = output + inputs[direction] if residual else output
            after[direction].append((hidden.detach(), cell.detach()))
    ends = tuple(LSTMState(torch.stack([h for h, _ in a]), torch.stack([c for _, c in a])) for a in after)
    top = [F.dropout(value, dropout.outputs, training) for value in inputs]
    return top[0], top[1], (ends[0], ends[1])
