"""The output layer of a language model: one score a vocabulary word, shared by both directions.

Peters et al. 2018, section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Softmax(nn.Module):
    """log p(word) = log softmax(W h + b). `V` words, `P` projection width."""

    def __init__(self, n_words: int, projection_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_words, projection_size))
        self.bias = nn.Parameter(torch.zeros(n_words))
        nn.init.normal_(self.weight, std=projection_size**-0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        """*Shape:* (..., P) -> (..., V), log probabilities."""
        return F.log_softmax(F.linear(hidden, self.weight, self.bias), dim=-1)
