"""The fast path for reading only: the arithmetic of `char_cnn.py` and `lstm.py`, arranged for one CPU core a task.

Three ideas, each checked against the plain modules by tests:

* Sentences are packed: sorted by falling length, all first words, then all second words, ... (as torch's
  PackedSequence), so that a step computes only the rows still alive. The first layer's input product is computed once
  a distinct word, which is a third of the tokens; the other layers take input and state in one product.
* tanh(x) = 2 sigmoid(2x) - 1, so one sigmoid over all four gates replaces three sigmoids and a tanh (torch's tanh
  costs nine times its sigmoid). The factors of two are folded into the weights once.
* oneDNN multiplies float32 faster than torch's default on AMD CPUs when the weight is laid out beforehand. The choice
  rests on facts about the CPU, never on timing: results must not depend on load.

Every function here runs in a thread that has been given one torch thread (see `workers.py`): a product's bits
then do not depend on how many cores there are.

Legend: `N` packed tokens, `B` sentences, `H` cells, `P` projection width, `C` characters, `D` their size, `F` filters.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from polyseme.errors import OptionError
from polyseme.nn.char_cnn import ACTIVATIONS, CharCNN
from polyseme.nn.char_cnn import highway as highway_gate
from polyseme.nn.lstm import LSTMLayer, LSTMStack, LSTMState

KERNELS = ("torch", "onednn")
PRECISIONS = ("float32", "bfloat16")
TABLE_VALUES = 1 << 24  # distinct words times cells, above which their products are not kept: 256 MB of gates
CONVOLUTION_TILE = 16  # words
HIGHWAY_TILE = 64  # words; every word's vector comes out of a product of exactly this many rows
# Characters of a word, marks included, that share a tile; longer words take the plain path.
LENGTH_STEPS = (4, 6, 8, 10, 12, 16, 20, 24, 32)


@cache
def default_kernel() -> str:
    """The kernel for this CPU: "onednn" on AMD with AVX2 or more, otherwise "torch", which does well on Intel's."""
    fast_enough = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
    return "onednn" if fast_enough and known and "AMD" in _cpu_vendor() else "torch"


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b, by this CPU's kernel where it reads both as they lie. *Shape:* (M, K), (K, N) -> (M, N).

    For products in training, whose weights change too often to be packed. oneDNN copies a transposed `a`: no gain then.
    """
    suited = a.dtype == torch.float32 and a.device.type == "cpu" and a.stride(1) == 1 and not a.requires_grad
    if suited and default_kernel() == "onednn":
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")  # type: ignore[no-any-return]
    return torch.mm(a, b)


def _cpu_vendor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")[:4096]
    except OSError:
        return platform.processor()  # Windows names the vendor here


@dataclass(frozen=True)
class Arithmetic:
    """How products are computed: by which kernel, in which precision. Sums and gates are float32 in any case."""

    kernel: str = "torch"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise OptionError(f"kernel must be one of {', '.join(KERNELS)}, was: {self.kernel!r}")
        if self.precision not in PRECISIONS:
            raise OptionError(f"precision must be one of {', '.join(PRECISIONS)}, was: {self.precision!r}")


class PackedLinear:
    """x W^T + b with W laid out once for the kernel. *Shape:* W (out, in), b (out,).

    In bfloat16 x, W and the product are rounded to 8 bits of mantissa; the bias is added in float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, how: Arithmetic) -> None:
        self.bias = bias.detach().contiguous() if bias is not None else None
        self.dtype = torch.bfloat16 if how.precision == "bfloat16" else torch.float32
        self.onednn = how.kernel == "onednn" and weight.device.type == "cpu"
        weight = weight.detach().to(self.dtype).contiguous()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, HIGHWAY_TILE) if self.onednn else weight

    def __call__(self, x: Tensor) -> Tensor:
        """*Shape:* (N, in) -> (N, out)."""
        if self.dtype == torch.bfloat16:
            product = self._product(x.bfloat16(), None).float()
            return product if self.bias is None else product.add_(self.bias)
        return self._product(x, self.bias)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """x W^T + other, in one pass where the kernel can. *Shape:* (N, in), (N, out) -> (N, out)."""
        if self.dtype == torch.bfloat16:
            return self(x).add_(other)
        if self.onednn:
            return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, "add")  # type: ignore[no-any-return]
        return torch.addmm(other, x, self.weight.t())

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if self.onednn:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, bias, "none", [], "")  # type: ignore[no-any-return]
        return F.linear(x, self.weight, bias)


# --- LSTM


class PackedLayer:
    """One LSTM layer with gates in the order input, forget, output, memory; memory and projection doubled."""

    def __init__(self, layer: LSTMLayer, how: Arithmetic) -> None:
        """Folds the forget bias and the factors of two into the weights."""
        self.cell_clip, self.projection_clip = layer.cell_clip, layer.projection_clip
        self.projection = PackedLinear(2 * layer.projection_weight, None, how)

    def output(self, gates: Tensor, doubled_cell: Tensor) -> Tensor:
        """The next hidden state; `doubled_cell` (2c) is advanced in place, `gates` are used up.

        *Shape:* (B, 4H) before the activations, (B, H) -> (B, P).
        """
        take, keep, give, memory = torch.sigmoid_(gates).chunk(4, dim=1)
        # 2c' = f * 2c + 4 i (s - 1/2), where tanh(memory) = 2s - 1
        doubled_cell.mul_(keep).addcmul_(take, memory.sub_(0.5), value=4.0)
        if self.cell_clip is not None:
            doubled_cell.clamp_(-2 * self.cell_clip, 2 * self.cell_clip)
        # o tanh(c) W^T = (o sigmoid(2c) - o / 2) (2W)^T; in this order the sum rounds best on the official activations.
        hidden = self.projection(torch.sigmoid(doubled_cell).mul_(give).sub_(give, alpha=0.5))
        return hidden if self.projection_clip is None else hidden.clamp_(-self.projection_clip, self.projection_clip)


class FirstLayer(PackedLayer):
    """The layer that reads words: the product of a word that occurs ten times in the batch is computed once."""

    def __init__(self, layer: LSTMLayer, how: Arithmetic) -> None:
        super().__init__(layer, how)
        self.input = PackedLinear(_gates(layer.input_weight), _gates(layer.full_bias()), how)
        self.state = PackedLinear(_gates(layer.state_weight), None, how)

    def run(self, words: Tensor, index: Tensor, rows: Sequence[int], hidden: Tensor, doubled_cell: Tensor) -> Tensor:
        """*Shape:* (U, P) distinct words, (N,) their rows in packed order, states (B, ·) -> (N, P)."""
        table = self.input(words) if words.size(0) * doubled_cell.size(1) <= TABLE_VALUES else None
        output = words.new_empty(index.size(0), hidden.size(1))
        place = 0
        for alive in rows:
            here = index[place : place + alive]
            gates = self.state.plus(hidden[:alive], self.input(words[here]) if table is None else table[here])
            hidden = self.output(gates, doubled_cell[:alive])
            output[place : place + alive] = hidden
            place += alive
        return output


class UpperLayer(PackedLayer):
    """A layer that reads the one below: one product for input and state side by side."""

    def __init__(self, layer: LSTMLayer, how: Arithmetic) -> None:
        super().__init__(layer, how)
        weight = torch.cat([layer.input_weight, layer.state_weight], dim=1)
        self.joint = PackedLinear(_gates(weight), _gates(layer.full_bias()), how)

    def run(self, x: Tensor, rows: Sequence[int], hidden: Tensor, doubled_cell: Tensor) -> Tensor:
        """*Shape:* (N, P) in packed order, states (B, ·) -> (N, P)."""
        output = torch.empty_like(x)
        place = 0
        for alive in rows:
            gates = self.joint(torch.cat([x[place : place + alive], hidden[:alive]], dim=1))
            hidden = self.output(gates, doubled_cell[:alive])
            output[place : place + alive] = hidden
            place += alive
        return output


def _gates(rows: Tensor) -> Tensor:
    """Input, forget, memory, output -> input, forget, output, twice memory. *Shape:* (4H, ...)."""
    take, keep, memory, give = rows.detach().chunk(4, dim=0)
    return torch.cat([take, keep, give, 2 * memory])


class PackedLSTM:
    """All layers of one direction over packed sentences."""

    def __init__(self, stack: LSTMStack, how: Arithmetic) -> None:
        first, *upper = stack.layers
        self.first = FirstLayer(first, how)  # type: ignore[arg-type]
        self.upper = [UpperLayer(layer, how) for layer in upper]  # type: ignore[arg-type]
        self.residual = stack.residual

    def run(
        self, words: Tensor, index: Tensor, rows: Sequence[int], state: LSTMState
    ) -> tuple[list[Tensor], LSTMState]:
        """Each layer's output in packed order, and the state after each sentence's last word.

        `words` are distinct vectors, `index` says which of them each packed token is; `rows[t]` sentences are longer
        than t, and fall. *Shape:* (U, P), (N,), states of (L, B, ·) -> L x (N, P), the same.
        """
        cells = state.cell * 2
        x = self.first.run(words, index, rows, state.hidden[0], cells[0])
        outputs, hiddens = [x], [_last(x, rows, state.hidden[0])]
        for number, layer in enumerate(self.upper, start=1):
            output = layer.run(x, rows, state.hidden[number], cells[number])
            hiddens.append(_last(output, rows, state.hidden[number]))
            x = output + x if self.residual else output
            outputs.append(x)
        return outputs, LSTMState(torch.stack(hiddens), cells / 2)


def _last(output: Tensor, rows: Sequence[int], initial: Tensor) -> Tensor:
    """Each sentence's output at its last word; the initial state of a sentence without words. *Shape:* (B, P)."""
    last = initial.clone()
    at = 0
    for step, alive in enumerate(rows):
        ending = rows[step + 1] if step + 1 < len(rows) else 0
        last[ending:alive] = output[at + ending : at + alive]
        at += alive
    return last


# --- characters


class PackedCharCNN:
    """Word vectors in tiles of fixed size, so that a word's bits do not depend on its neighbours.

    A published word is padded to 50 characters and the maximum runs over all of them; windows that begin behind the
    word hold padding only and all give the same value, which is computed once. So the convolutions stop at its end.
    """

    def __init__(self, cnn: CharCNN, padding: int, how: Arithmetic) -> None:
        self.cnn, self.padding = cnn, padding
        config = cnn.config
        self.widest = max(width for width, _ in config.filters)
        self.activate = ACTIVATIONS[config.activation]
        self.steps = tuple(step for step in LENGTH_STEPS if step + self.widest <= config.max_characters)
        self.convolution = PackedLinear(*self._one_product(), how)
        self.highways = [PackedLinear(h.linear.weight, h.linear.bias, how) for h in cnn.highways]  # type: ignore[union-attr, arg-type]
        self.projection = PackedLinear(cnn.projection.weight, cnn.projection.bias, how) if cnn.projection else None
        only_padding = torch.full((1, self.widest), padding, device=cnn.table.weight.device)
        self.of_padding = self._windows_max(only_padding, 1)  # Shape: (1, F), before the activation

    def _one_product(self) -> tuple[Tensor, Tensor]:
        """All filters as one matrix over the widest's windows, zeros behind narrow ones. *Shape:* (F, w D), (F,)."""
        state = self.cnn.convolutions.state_dict()
        numbers = range(len(self.cnn.convolutions))
        weights = [state[f"{number}.weight"] for number in numbers]  # Shape: (count, D, width) each
        padded = [F.pad(weight, (0, self.widest - weight.size(2))) for weight in weights]
        return torch.cat(padded).transpose(1, 2).flatten(1), torch.cat([state[f"{number}.bias"] for number in numbers])

    def step_of(self, length: int) -> int:
        """The number of window positions computed for a word of `length` characters; 0: the plain path."""
        return next((step for step in self.steps if length <= step), 0)

    def convolve(self, characters: Tensor, step: int) -> Tensor:
        """At most one tile of words, each no longer than `step`. *Shape:* (n, C) -> (n, F)."""
        tile = F.pad(characters, (0, 0, 0, CONVOLUTION_TILE - len(characters)))
        if step == 0:
            return self.cnn.convolve(self.cnn.table(tile))[: len(characters)]
        best = self._windows_max(tile[:, : step + self.widest - 1], step)
        return self.activate(torch.maximum(best, self.of_padding))[: len(characters)]

    def _windows_max(self, characters: Tensor, count: int) -> Tensor:
        """Maximum over the first `count` windows. *Shape:* (n, count + w - 1) -> (n, F)."""
        embedded = self.cnn.table(characters)  # Shape: (n, C, D)
        windows = embedded.unfold(1, self.widest, 1).transpose(2, 3)  # Shape: (n, count, w, D)
        product = self.convolution(windows.reshape(len(characters) * count, -1))
        return product.view(len(characters), count, -1).amax(dim=1)

    def finish(self, convolved: Tensor) -> Tensor:
        """Highway layers and projection of at most one tile of words. *Shape:* (n, F) -> (n, P)."""
        x = F.pad(convolved, (0, 0, 0, HIGHWAY_TILE - len(convolved)))
        if self.projection and self.cnn.config.projection_location == "after_cnn":
            x = self.projection(x)
        for layer in self.highways:
            x = highway_gate(x, layer(x))
        if self.projection and self.cnn.config.projection_location == "after_highway":
            x = self.projection(x)
        return (self.cnn.norm(x) if self.cnn.norm is not None else x)[: len(convolved)]
