"""Does the first text imply the second? ESIM (Chen et al. 2017): pairs read word against word.

    words --BiLSTM--> a, b --for each word what it is aligned with in the other text--> a~, b~
    [a; a~; a - a~; a * a~] --ReLU layer, BiLSTM--> mean and maximum over the words of both texts --tanh layer--> labels

Legend: `B` pairs, `T` words of the premise, `S` of the hypothesis, `K` labels. Equations are those of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polyseme.tasks.features import Inputs
from polyseme.tasks.heads import HeadConfig
from polyseme.tasks.layers import BiLSTM, LockedDropout, TokenInput, aligned, masked_max, masked_mean

PREMISE, HYPOTHESIS = "premise", "hypothesis"


class ESIM(nn.Module):
    """The sequential model of the paper, without the one over parse trees."""

    def __init__(self, inputs: TokenInput, n_labels: int, config: HeadConfig) -> None:
        super().__init__()
        cells = config.cells
        self.inputs, self.dropout = inputs, LockedDropout(config.dropout)
        self.encode = BiLSTM(inputs.size, cells)
        self.project = nn.Sequential(nn.Linear(8 * cells, cells), nn.ReLU())
        self.compose = BiLSTM(cells, cells)
        self.output = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(8 * cells, cells),
            nn.Tanh(),
            nn.Dropout(config.dropout),
            nn.Linear(cells, n_labels),
        )

    def forward(self, texts: Sequence[Inputs]) -> Tensor:
        """*Shape:* two batches of B texts -> (B, K)."""
        premise, hypothesis = texts
        a, b = (self.encode(self.inputs(text), text.mask) for text in texts)  # eq. 1, 2
        of_a, of_b = aligned(a, b, premise.mask, hypothesis.mask)  # eq. 11 to 13
        pooled = []
        for words, other, text in ((a, of_a, premise), (b, of_b, hypothesis)):
            enhanced = torch.cat([words, other, words - other, words * other], dim=2)  # eq. 14, 15
            composed = self.compose(self.dropout(self.project(enhanced)), text.mask)
            pooled += [masked_mean(composed, text.mask), masked_max(composed, text.mask)]  # eq. 18, 19
        found: Tensor = self.output(torch.cat(pooled, dim=1))  # eq. 20
        return found

    def penalty(self) -> Tensor:
        """Of the mixes (`TokenInput.penalty`)."""
        return self.inputs.penalty()
