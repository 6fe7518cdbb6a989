"""Networks that give one text, or a pair of texts, its label: a light one, and the one of the ELMo paper.

| head | what it is | for |
|---|---|---|
| `attention` | words through a linear layer, pooled by learned attention and maximum | a quick answer |
| `bcn` | the biattentive network of McCann et al. 2017, 4, as Peters et al. 2018 used it | the best one |
| `esim` | `polyseme.tasks.nli` | pairs only |

Legend: `B` texts, `T` words of the first text, `S` of the second, `D` size, `K` labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from polyseme.errors import OptionError
from polyseme.tasks.features import Inputs
from polyseme.tasks.layers import AttentionPool, BiLSTM, TokenInput, aligned, masked_max, masked_mean


@dataclass(frozen=True)
class HeadConfig:
    """Which network, and its sizes. `cells`: of one direction of a BiLSTM, and the size of linear layers.

    `mix_l2`: the lambda of Peters et al. 2018, 3.3. `elmo_output`: the biLM's layers once more, weighed anew, where the
    network has read the text (`bcn`: beside the integrated words).
    """

    head: str = "attention"
    cells: int = 300
    input_dropout: float = 0.5
    dropout: float = 0.2
    mix_l2: float = 1e-3
    elmo_output: bool = False

    def __post_init__(self) -> None:
        if self.cells < 1:
            raise OptionError(f"cells must be at least 1, was: {self.cells}")
        if not (0 <= self.input_dropout < 1 and 0 <= self.dropout < 1):
            raise OptionError(f"dropout lies from 0 to below 1, was: {self.input_dropout}, {self.dropout}")
        if self.elmo_output and self.head != "bcn":
            raise OptionError(f"elmo_output is an option of the head bcn; the head was {self.head!r}")


class AttentionHead(nn.Module):
    """Each word for itself through one layer, then attention and maximum over the words. A pair is compared at the end.

    For a pair: the two vectors, the size of their difference and their product (Conneau et al. 2017, 3.1).
    """

    def __init__(self, inputs: TokenInput, n_labels: int, n_texts: int, config: HeadConfig) -> None:
        super().__init__()
        self.inputs = inputs
        self.word = nn.Sequential(nn.Linear(inputs.size, config.cells), nn.ReLU(), nn.Dropout(config.dropout))
        self.pool = AttentionPool(config.cells)
        size = 2 * config.cells * (1 if n_texts == 1 else 4)
        self.output = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(size, n_labels))

    def forward(self, texts: Sequence[Inputs]) -> Tensor:
        """*Shape:* one or two batches of B texts -> (B, K)."""
        pooled = []
        for text in texts:
            words = self.word(self.inputs(text))
            pooled.append(torch.cat([self.pool(words, text.mask), masked_max(words, text.mask)], dim=1))
        if len(pooled) == 2:
            first, second = pooled
            pooled = [first, second, (first - second).abs(), first * second]
        found: Tensor = self.output(torch.cat(pooled, dim=1))
        return found

    def penalty(self) -> Tensor:
        """Of the mixes (`TokenInput.penalty`)."""
        return self.inputs.penalty()


class BCN(nn.Module):
    """The biattentive classification network (McCann et al. 2017, 4). A single text attends to itself.

    words --ReLU layer, BiLSTM--> x, y; c_y: for each word of x what it attends to in y, and the other way round;
    [x; x - c_y; x * c_y] --BiLSTM--> max, mean, min and self-attentive pooling --> two ReLU layers --> labels

    The end is that of Peters et al. 2018 (supplement): two ReLU layers with dropout in place of a batch-normalized
    maxout network. Here, too, maxout began more slowly (a weak biLM, 3,000 texts of SST-2: docs/log.md).
    """

    def __init__(self, inputs: TokenInput, again: TokenInput | None, n_labels: int, n_texts: int, config: HeadConfig):
        super().__init__()
        self.inputs, self.again = inputs, again
        self.project = nn.Sequential(nn.Linear(inputs.size, config.cells), nn.ReLU(), nn.Dropout(config.dropout))
        self.encode = BiLSTM(config.cells, config.cells)
        self.integrate = nn.ModuleList(BiLSTM(3 * self.encode.size, config.cells) for _ in range(n_texts))
        self.dropout = nn.Dropout(config.dropout)
        size = 2 * config.cells + (again.size if again else 0)
        self.pools = nn.ModuleList(AttentionPool(size) for _ in range(n_texts))
        self.output = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(4 * size * n_texts, 2 * config.cells),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * config.cells, config.cells),
            nn.ReLU(),
            nn.Linear(config.cells, n_labels),
        )

    def forward(self, texts: Sequence[Inputs]) -> Tensor:
        """*Shape:* one or two batches of B texts -> (B, K)."""
        encoded = [self.encode(self.project(self.inputs(text)), text.mask) for text in texts]
        first, second, first_mask, second_mask = encoded[0], encoded[-1], texts[0].mask, texts[-1].mask
        attended = aligned(first, second, first_mask, second_mask)[: len(texts)]
        pooled = []
        for at, (words, other, text) in enumerate(zip(encoded, attended, texts, strict=True)):
            joined = self.integrate[at](
                self.dropout(torch.cat([words, words - other, words * other], dim=2)), text.mask
            )
            if self.again is not None:
                joined = torch.cat([joined, self.again(text)], dim=2)
            smallest = -masked_max(-joined, text.mask)
            pooled += [masked_max(joined, text.mask), masked_mean(joined, text.mask), smallest]
            pooled.append(self.pools[at](joined, text.mask))
        found: Tensor = self.output(torch.cat(pooled, dim=1))
        return found

    def penalty(self) -> Tensor:
        """Of the mixes (`TokenInput.penalty`)."""
        return self.inputs.penalty() + (self.again.penalty() if self.again is not None else 0.0)
