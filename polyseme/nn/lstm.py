"""The LSTM of ELMo: many cells, a small projected output, both clipped, a residual between layers.

Sak et al. 2014 (projection), Peters et al. 2018 section 3.1; allennlp `modules/lstm_cell_with_projection.py` and
bilm-tf `bilm/model.py` compute the same. This is the plain, differentiable form; `packed.py` holds the fast one.

Legend: `B` sentences, `T` time steps, `L` layers, `H` cells, `P` projection width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LSTMState(NamedTuple):
    """What one direction carries from step to step: `hidden` (L, B, P) and `cell` (L, B, H)."""

    hidden: Tensor
    cell: Tensor

    def detach(self) -> LSTMState:
        """The same values without their history."""
        return LSTMState(self.hidden.detach(), self.cell.detach())


class LSTMLayer(nn.Module):
    """One layer, one direction; time runs forward.

    Gates lie in the order input, forget, memory, output in the rows of both weights. `bias` is raw: the published
    forget bias of +1 is added in the forward pass, never stored.
    """

    def __init__(
        self,
        input_size: int,
        cell_size: int,
        projection_size: int,
        cell_clip: float | None,
        projection_clip: float | None,
        forget_bias: float,
    ) -> None:
        super().__init__()
        self.cell_clip, self.projection_clip, self.forget_bias = cell_clip, projection_clip, forget_bias
        self.input_weight = nn.Parameter(torch.empty(4 * cell_size, input_size))
        self.state_weight = nn.Parameter(torch.empty(4 * cell_size, projection_size))
        self.bias = nn.Parameter(torch.zeros(4 * cell_size))
        self.projection_weight = nn.Parameter(torch.empty(projection_size, cell_size))
        for weight in (self.input_weight, self.state_weight, self.projection_weight):
            nn.init.normal_(weight, std=weight.size(1) ** -0.5)

    def full_bias(self) -> Tensor:
        """The bias as the gates see it, forget bias added. *Shape:* (4H,)."""
        shift = torch.zeros_like(self.bias)
        shift[self.bias.numel() // 4 : self.bias.numel() // 2] = self.forget_bias
        return self.bias + shift

    def forward(self, x: Tensor, lengths: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs and the state after each row's last real step; outputs beyond a row's length are zero.

        *Shape:* (B, T, input), (B,), (B, P), (B, H) -> (B, T, P), (B, P), (B, H).
        """
        gates_of_input = F.linear(x, self.input_weight, self.full_bias())  # Shape: (B, T, 4H)
        outputs = []
        for step in range(x.size(1)):
            gates = gates_of_input[:, step] + F.linear(hidden, self.state_weight)
            new_hidden, new_cell = self._advance(gates, cell)
            alive = (lengths > step).unsqueeze(1)  # Shape: (B, 1)
            hidden, cell = torch.where(alive, new_hidden, hidden), torch.where(alive, new_cell, cell)
            outputs.append(torch.where(alive, new_hidden, torch.zeros_like(new_hidden)))
        output = torch.stack(outputs, dim=1) if outputs else x.new_zeros(x.size(0), 0, hidden.size(1))
        return output, hidden, cell

    def _advance(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One step. *Shape:* (B, 4H), (B, H) -> (B, P), (B, H)."""
        take, keep, memory, give = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(take) * torch.tanh(memory) + torch.sigmoid(keep) * cell
        if self.cell_clip is not None:
            cell = cell.clamp(-self.cell_clip, self.cell_clip)
        hidden = F.linear(torch.sigmoid(give) * torch.tanh(cell), self.projection_weight)
        if self.projection_clip is not None:
            hidden = hidden.clamp(-self.projection_clip, self.projection_clip)
        return hidden, cell


class LSTMStack(nn.Module):
    """The layers of one direction. With `residual`, a layer's input is added to its output from layer 1 on."""

    def __init__(
        self,
        n_layers: int,
        input_size: int,
        cell_size: int,
        projection_size: int,
        *,
        residual: bool,
        cell_clip: float | None,
        projection_clip: float | None,
        forget_bias: float,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.residual, self.cell_size, self.projection_size = residual, cell_size, projection_size
        self.dropout = dropout
        self.layers = nn.ModuleList(
            LSTMLayer(
                input_size if index == 0 else projection_size,
                cell_size,
                projection_size,
                cell_clip,
                projection_clip,
                forget_bias,
            )
            for index in range(n_layers)
        )

    def zero_state(self, rows: int) -> LSTMState:
        """Zeros. *Shape:* (L, B, P), (L, B, H)."""
        like = next(self.parameters())
        return LSTMState(
            like.new_zeros(len(self.layers), rows, self.projection_size),
            like.new_zeros(len(self.layers), rows, self.cell_size),
        )

    def forward(self, x: Tensor, lengths: Tensor, state: LSTMState | None = None) -> tuple[list[Tensor], LSTMState]:
        """Each layer's output and the state after each row's last step.

        *Shape:* (B, T, input), (B,), state of (L, B, ·) -> L x (B, T, P), the same state.
        """
        state = self.zero_state(x.size(0)) if state is None else state
        outputs, hiddens, cells = [], [], []
        for index, layer in enumerate(self.layers):
            inputs = F.dropout(x, self.dropout, self.training)
            output, hidden, cell = layer(inputs, lengths, state.hidden[index], state.cell[index])
            x = output + x if self.residual and index > 0 else output
            outputs.append(x)
            hiddens.append(hidden)
            cells.append(cell)
        return outputs, LSTMState(torch.stack(hiddens), torch.stack(cells))
