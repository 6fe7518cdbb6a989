"""The layer norm of AllenNLP's language models, in its Transformer and after its character network.

Facts: allennlp `modules/layer_norm.py`. It differs from `torch.nn.LayerNorm` in two ways: the variance is the unbiased
one, and epsilon is added to the standard deviation, not to the variance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-6


class StandardNorm(nn.Module):
    """y = weight * (x - mean) / (standard deviation + epsilon) + bias, over the last axis."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        """*Shape:* (..., size) -> (..., size)."""
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().sum(dim=-1, keepdim=True) / (x.size(-1) - 1)
        # The root has no slope at zero: a constant row (a padding word) would turn every gradient into NaN.
        deviation = variance.clamp(min=1e-30).sqrt()
        return self.weight * centred / (deviation + EPSILON) + self.bias
