"""The training form of the character convolutions: one product for all filters of all widths, and its way back.

`char_cnn.py` holds the plain form, a convolution a width. Here a window of the widest filter's characters is one row,
a narrower filter is a column that ends in zeros, and so one product scores every filter at every position; another two
are its gradients. Words of about one length lie in one group, so that little padding is read; groups are computed side
by side. Values and gradients are those of the plain form (tests/nn/test_char_training.py).

Legend: `N` words, `C` character positions, `D` character vector size, `K` widest filter, `F` filters in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from polyseme.nn.char_cnn import ACTIVATIONS, CharCNN
from polyseme.nn.packed import product
from polyseme.nn.workers import side_by_side


def convolve(cnn: CharCNN, groups: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
    """Activated maximum over all positions, as `cnn.convolve(cnn.table(characters))` of each group, one below another.

    A window of K characters must fit behind every position that counts: a row has K - 1 columns of padding at its end,
    and a position of padding alone. `dtype`: of the products' factors. *Shape:* (N, C) int each -> (sum of N, F).
    """
    widest = max(width for width, _ in cnn.config.filters)
    size = cnn.config.char_size
    convolutions = [cast(nn.Conv1d, each) for each in cnn.convolutions]
    kernels = [each.weight.transpose(1, 2).flatten(1) for each in convolutions]  # Shape: (filters, width D)
    weight = torch.cat([F.pad(kernel, (0, widest * size - kernel.size(1))) for kernel in kernels])
    bias = torch.cat([cast(Tensor, each.bias) for each in convolutions])
    maxima: Tensor = _Maxima.apply(dtype, cnn.table.weight, weight, *groups)  # type: ignore[no-untyped-call]
    return ACTIVATIONS[cnn.config.activation](maxima + bias)


class _Maxima(Function):
    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, table: Tensor, weight: Tensor, *groups: Tensor) -> Tensor:
        """Each filter's highest score, without bias. *Shape:* (rows, D), (F, K D), (N, C) each -> (sum of N, F)."""
        vectors, filters = table.to(dtype), weight.to(dtype)

        def one(characters: Tensor) -> tuple[Tensor, Tensor]:
            scores = product(_windows(vectors, characters, filters.size(1)), filters.t()).view(
                len(characters), -1, len(filters)
            )
            return scores, scores.amax(dim=1)

        found = side_by_side(one, [(group,) for group in groups], table.device)
        ctx.save_for_backward(vectors, filters, *groups, *(tensor for pair in found for tensor in pair))
        ctx.dtypes = table.dtype, weight.dtype
        return torch.cat([maxima for _, maxima in found]).to(table.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_maxima: Tensor) -> tuple[Tensor | None, ...]:
        """Positions that share a maximum share its gradient, as in `Tensor.amax`."""
        vectors, filters, *rest = ctx.saved_tensors
        n = len(rest) // 3
        groups, saved = rest[:n], rest[n:]
        slopes = of_maxima.to(vectors.dtype).split([len(group) for group in groups])

        def one(characters: Tensor, scores: Tensor, maxima: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
            highest = (scores == maxima.unsqueeze(1)).to(vectors.dtype)
            highest.mul_((slope / highest.sum(dim=1)).unsqueeze(1))
            of_scores = highest.flatten(0, 1)  # Shape: (N positions, F)
            windows = _windows(vectors, characters, filters.size(1))
            of_windows = product(of_scores, filters).to(ctx.dtypes[0]).view(*highest.shape[:2], -1, vectors.size(1))
            of_characters = of_windows.new_zeros(*characters.shape, vectors.size(1))
            for offset in range(of_windows.size(2)):
                of_characters[:, offset : offset + highest.size(1)] += of_windows[:, :, offset]
            of_table = of_characters.new_zeros(vectors.shape)
            of_table.index_add_(0, characters.flatten(), of_characters.flatten(0, 1))
            return of_table, torch.mm(of_scores.t(), windows).to(ctx.dtypes[1])

        runs = [(group, *saved[2 * i : 2 * i + 2], slopes[i]) for i, group in enumerate(groups)]
        of_tables, of_weights = zip(*side_by_side(one, runs, vectors.device), strict=True)
        of_table = torch.stack(of_tables).sum(dim=0)
        of_table[0] = 0  # the mask stays zeros
        return None, of_table, torch.stack(of_weights).sum(dim=0), *([None] * n)


def _windows(vectors: Tensor, characters: Tensor, width: int) -> Tensor:
    """The characters from each position on, as one row. *Shape:* (rows, D), (N, C) -> (N positions, width)."""
    size = vectors.size(1)
    n, columns = characters.shape
    positions = columns - width // size + 1
    rows = vectors[characters]  # Shape: (N, C, D), in one block
    return rows.as_strided((n, positions, width), (columns * size, size, 1)).reshape(n * positions, width)
