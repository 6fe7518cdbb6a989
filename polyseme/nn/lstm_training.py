"""The training form of the clipped, projected LSTM: back-propagation written out, both directions at once.

`lstm.py` holds the plain form, whose gradients autograd derives step by step. Here one product a layer serves the
inputs of all steps, one product a weight serves its gradient, and the two directions, which share nothing inside a
layer, run side by side on a thread each. Values and gradients are the same (tests/nn/test_lstm_training.py).

Time runs along the first axis, so that every step is one block of memory. Each gradient below is the derivative of

    a = W_x x_t + W_h h_(t-1) + b        i, f, o = sigmoid(a_i, a_f, a_o);  g = tanh(a_g)
    c = clip(f c_(t-1) + i g)            h = clip(W_p (o tanh c))

and a clipped value passes none. tanh(z) = 2 sigmoid(2 z) - 1 costs a ninth of torch's tanh: the rows of g are doubled
beforehand, so that one sigmoid serves all four gates.

Legend: `T` time steps, `B` lanes, `I` input size, `H` cells, `P` projection width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from polyseme.nn.lstm import LSTMLayer
from polyseme.nn.workers import side_by_side

Clips = tuple[float | None, float | None]


class Weights(NamedTuple):
    """One layer's parameters, the forget bias added; `clips` of the cell and of the projection."""

    input: Tensor
    state: Tensor
    bias: Tensor
    projection: Tensor
    clips: Clips
    dtype: torch.dtype  # of the products' factors; sums, cells and gradients of weights stay float32

    @classmethod
    def of(cls, layer: LSTMLayer, dtype: torch.dtype) -> Weights:
        """The weights of a layer as autograd should see them."""
        clips = (layer.cell_clip, layer.projection_clip)
        return cls(layer.input_weight, layer.state_weight, layer.full_bias(), layer.projection_weight, clips, dtype)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What gets a gradient."""
        return (self.input, self.state, self.bias, self.projection)


class Tape(NamedTuple):
    """What one direction of one layer keeps for its way back."""

    x: Tensor  # (T, B, I), in the products' dtype
    first: Tensor  # (B, P)
    gates: Tensor  # (T, B, 4H), activated: i, f, g, o
    cells: Tensor  # (T + 1, B, H): c before each step and after the last
    squashed: Tensor  # (T, B, H): tanh(c)
    outputs: Tensor  # (T, B, P)


def run_layers(
    layers: Sequence[LSTMLayer],
    inputs: Sequence[Tensor],
    hiddens: Sequence[Tensor],
    cells: Sequence[Tensor],
    dtype: torch.dtype = torch.float32,
    state_masks: Sequence[Tensor | None] = (None, None),
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The same layer of the given directions, all T steps: outputs, last hidden, last cell of each.

    `state_masks` multiply the recurrent weights (DropConnect, Merity et al. 2017, section 2). No gradient reaches the
    first states: they are carried, and back-propagation is cut between windows.

    *Shape:* per direction (T, B, I), (B, P), (B, H) -> (T, B, P), (B, P), (B, H).
    """
    weights = [Weights.of(layer, dtype) for layer in layers]
    weights = [
        w if mask is None else w._replace(state=w.state * mask) for w, mask in zip(weights, state_masks, strict=False)
    ]
    flat = [t for x, h, c, w in zip(inputs, hiddens, cells, weights, strict=True) for t in (x, h, c, *w.tensors)]
    results = _Layers.apply(tuple((w.clips, w.dtype) for w in weights), *flat)  # type: ignore[no-untyped-call]
    return [(results[2 * d], results[2 * d][-1], results[2 * d + 1]) for d in range(len(layers))]


class _Layers(Function):
    """One layer of one or two directions, with its own backward pass."""

    @staticmethod
    def forward(ctx: Any, options: tuple[tuple[Clips, torch.dtype], ...], *flat: Tensor) -> tuple[Tensor, ...]:
        """`flat` holds x, hidden, cell and four weights a direction; gives outputs and last cell a direction."""
        runs = [(*flat[7 * d : 7 * d + 3], _weights(flat, d, option)) for d, option in enumerate(options)]
        tapes = side_by_side(_forward, runs, flat[0].device)
        ctx.options = options
        ctx.save_for_backward(*flat, *(tensor for tape in tapes for tensor in tape))
        lasts = [tape.cells[-1].clone() for tape in tapes]
        ctx.mark_non_differentiable(*lasts)
        return tuple(tensor for tape, last in zip(tapes, lasts, strict=True) for tensor in (tape.outputs, last))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x and of the weights."""
        saved, n = ctx.saved_tensors, len(ctx.options)
        runs = []
        for d in range(n):
            tape = Tape(*saved[7 * n + 6 * d : 7 * n + 6 * d + 6])
            runs.append((tape, _weights(saved, d, ctx.options[d]), grads[2 * d]))
        found: list[Tensor | None] = [None]
        for x, *of_weights in side_by_side(_backward, runs, grads[0].device):
            found += [x, None, None, *of_weights]
        return tuple(found)


def _weights(flat: Sequence[Tensor], direction: int, options: tuple[Clips, torch.dtype]) -> Weights:
    """The four weights of a direction, behind its x, hidden and cell."""
    into, state, bias, projection = flat[7 * direction + 3 : 7 * direction + 7]
    return Weights(into, state, bias, projection, *options)


def _forward(x: Tensor, hidden: Tensor, cell: Tensor, weights: Weights) -> Tape:
    """All steps of one direction."""
    steps, lanes, _ = x.shape
    size, dtype = cell.size(1), weights.dtype
    cell_clip, projection_clip = weights.clips
    doubled = torch.ones(4 * size, dtype=x.dtype, device=x.device)
    doubled[2 * size : 3 * size] = 2.0
    x = x.to(dtype)
    into_gates = (weights.input * doubled.unsqueeze(1)).to(dtype).t()
    state_columns = (weights.state * doubled.unsqueeze(1)).to(dtype).t().contiguous()
    projection_columns = weights.projection.to(dtype).t().contiguous()
    gates = torch.mm(x.flatten(0, 1), into_gates).to(cell.dtype).add_(weights.bias * doubled).view(steps, lanes, -1)
    cells = cell.new_empty(steps + 1, lanes, size)
    squashed = cell.new_empty(steps, lanes, size)
    outputs = cell.new_empty(steps, lanes, hidden.size(1))
    cells[0] = cell
    before = hidden
    for step in range(steps):
        now = gates[step]
        if dtype == cell.dtype:
            now.addmm_(before, state_columns)
        else:
            now.add_(torch.mm(before.to(dtype), state_columns))
        now.sigmoid_()
        take, keep, memory, give = now.chunk(4, dim=1)
        memory.mul_(2).sub_(1)
        after = torch.mul(keep, cells[step], out=cells[step + 1]).addcmul_(take, memory)
        if cell_clip is not None:
            after.clamp_(-cell_clip, cell_clip)
        torch.mul(after, 2, out=squashed[step]).sigmoid_().mul_(2).sub_(1)
        outputs[step] = torch.mm((give * squashed[step]).to(dtype), projection_columns)
        if projection_clip is not None:
            outputs[step].clamp_(-projection_clip, projection_clip)
        before = outputs[step]
    return Tape(x, hidden, gates, cells, squashed, outputs)


def _backward(tape: Tape, weights: Weights, of_outputs: Tensor) -> tuple[Tensor, ...]:
    """The gradients of x, input weight, state weight, bias and projection of one direction."""
    x, first, gates, cells, squashed, outputs = tape
    steps, _, size = squashed.shape
    dtype = weights.dtype
    cell_clip, projection_clip = weights.clips
    of_projected = of_outputs.clone()  # becomes the gradient before the clip
    of_gates = torch.empty_like(gates)
    of_cell = torch.zeros_like(cells[0])
    state, projection = weights.state.to(dtype), weights.projection.to(dtype)
    for step in reversed(range(steps)):
        take, keep, memory, give = gates[step].chunk(4, dim=1)
        of_take, of_keep, of_memory, of_give = of_gates[step].chunk(4, dim=1)
        here = of_projected[step]
        if step + 1 < steps:
            here.add_(torch.mm(of_gates[step + 1].to(dtype), state))
        if projection_clip is not None:
            here.mul_(outputs[step].abs() < projection_clip)
        of_product = torch.mm(here.to(dtype), projection).to(cells.dtype)  # Shape: (B, H), of give * tanh(c)
        tanh = squashed[step]
        torch.mul(of_product, tanh, out=of_give)
        of_product.mul_(give)
        of_cell.add_(of_product).addcmul_(of_product.mul_(tanh), tanh, value=-1)
        if cell_clip is not None:
            of_cell.mul_(cells[step + 1].abs() < cell_clip)
        torch.mul(of_cell, memory, out=of_take)
        torch.mul(of_cell, cells[step], out=of_keep)
        torch.mul(of_cell, take, out=of_memory)
        of_memory.addcmul_(of_memory * memory, memory, value=-1)
        of_cell.mul_(keep)
        # sigmoid' = s (1 - s) for i, f and o, which lie beside one another but for g
        for grad, gate in ((of_gates[step][:, : 2 * size], gates[step][:, : 2 * size]), (of_give, give)):
            grad.mul_(gate).addcmul_(grad, gate, value=-1)
    flat = of_gates.flatten(0, 1).to(dtype)  # Shape: (T B, 4H)
    before = torch.cat([first.unsqueeze(0), outputs[:-1]]).flatten(0, 1).to(dtype)
    products = (gates[:, :, 3 * size :] * squashed).flatten(0, 1).to(dtype)
    full = cells.dtype
    return (
        torch.mm(flat, weights.input.to(dtype)).to(full).view(x.shape),
        torch.mm(flat.t(), x.flatten(0, 1)).to(full),
        torch.mm(flat.t(), before).to(full),
        of_gates.sum(dim=(0, 1)),
        torch.mm(of_projected.flatten(0, 1).to(dtype).t(), products).to(full),
    )
