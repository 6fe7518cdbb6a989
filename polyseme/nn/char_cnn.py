"""Words from characters: embedding, convolutions, max over positions, highway layers, projection.

Kim et al. 2016 (arXiv 1508.06615) as Peters et al. 2018 use it (section 3.1; bilm-tf `bilm/model.py`).

Legend: `N` words, `C` character positions, `D` character vector size, `F` filters in all, `P` projection width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from polyseme.errors import OptionError

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
# AllenNLP (`modules/layer_norm.py`) divides by the biased standard deviation + 1e-13 (1e-6 before version 1.0); torch
# adds under the root. This is as good as none wherever a row varies at all, and keeps a constant row's slope finite.
NORM_EPSILON = 1e-12


@dataclass(frozen=True)
class CharCNNConfig:
    """Sizes of the character network.

    `n_rows`: rows of the character table, row 0 the mask (zeros). `filters`: (width, count) pairs.
    `projection_location`: "after_highway" (published ELMo), "after_cnn" (some AllenNLP language models, where
    the highway is as wide as the projection) or "none" (ELMoForManyLangs projects words and characters together).
    """

    n_rows: int = 262
    char_size: int = 16
    filters: tuple[tuple[int, int], ...] = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
    n_highway: int = 2
    activation: str = "relu"
    max_characters: int = 50
    projection_location: str = "after_highway"
    layer_norm: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise OptionError(f"activation must be one of {sorted(ACTIVATIONS)}, was: {self.activation!r}")
        if self.projection_location not in ("after_highway", "after_cnn", "none"):
            raise OptionError(
                f"projection_location must be after_highway, after_cnn or none, was: {self.projection_location!r}"
            )
        widest = max((width for width, _ in self.filters), default=0)
        if not 0 < widest <= self.max_characters or min(min(pair) for pair in self.filters) < 1:
            raise OptionError(f"filters need widths from 1 to {self.max_characters} and counts, were: {self.filters}")

    @property
    def n_filters(self) -> int:
        """F, the width of the concatenated convolutions."""
        return sum(count for _, count in self.filters)


class Highway(nn.Module):
    """y = g * x + (1 - g) * relu(W x + b), g = sigmoid(W' x + b') (Srivastava et al. 2015).

    The linear layer holds W above W'. `g` carries the input, as AllenNLP stores it; bilm-tf gates the other way.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 2 * size)

    def forward(self, x: Tensor) -> Tensor:
        """*Shape:* (N, size) -> (N, size)."""
        return highway(x, self.linear(x))


def highway(x: Tensor, product: Tensor) -> Tensor:
    """The gate of a highway layer, given its product. *Shape:* (N, size), (N, 2 size) -> (N, size)."""
    transformed, gate = product.chunk(2, dim=-1)
    return torch.lerp(torch.relu(transformed), x, torch.sigmoid(gate))


class CharCNN(nn.Module):
    """Rows of character ids -> one vector a word.

    *Shape:* (N, C) -> (N, P), or (N, F) where `projection_location` is "none".
    """

    def __init__(self, config: CharCNNConfig, projection_size: int) -> None:
        super().__init__()
        self.config = config
        location = config.projection_location
        width = projection_size if location == "after_cnn" else config.n_filters
        self.table = nn.Embedding(config.n_rows, config.char_size, padding_idx=0)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.char_size, count, kernel_size=kernel) for kernel, count in config.filters
        )
        self.highways = nn.ModuleList(Highway(width) for _ in range(config.n_highway))
        self.projection = nn.Linear(config.n_filters, projection_size) if location != "none" else None
        self.norm = nn.LayerNorm(projection_size, eps=NORM_EPSILON) if config.layer_norm else None

    def forward(self, characters: Tensor) -> Tensor:
        """*Shape:* (N, C) int -> (N, P)."""
        return self.after_convolutions(self.convolve(self.table(characters)))

    def convolve(self, embedded: Tensor) -> Tensor:
        """Activated maximum over all positions, one column a filter. *Shape:* (N, C, D) -> (N, F)."""
        activate = ACTIVATIONS[self.config.activation]
        columns = embedded.transpose(1, 2)  # Shape: (N, D, C)
        return torch.cat([activate(conv(columns).amax(dim=-1)) for conv in self.convolutions], dim=-1)

    def after_convolutions(self, x: Tensor) -> Tensor:
        """Highway layers and projection, in the configured order. *Shape:* (N, F) -> (N, P)."""
        after_cnn = self.config.projection_location == "after_cnn"
        if self.projection is not None and after_cnn:
            x = self.projection(x)
        for layer in self.highways:
            x = layer(x)
        if self.projection is not None and not after_cnn:
            x = self.projection(x)
        return self.norm(x) if self.norm is not None else x
