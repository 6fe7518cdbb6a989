"""The task's own weighting of a biLM's layers (Peters et al. 2018, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polyseme.errors import OptionError


class ScalarMix(nn.Module):
    """ELMo_k = gamma * sum_j s_j h_kj with s = softmax(w).

    `initial` are the weights BEFORE the softmax (zeros: an even mix). With `layer_norm` each layer is first
    normalised over all unmasked elements of the batch, as AllenNLP's `ScalarMix(do_layer_norm=True)` does; the result
    then depends on the batch.
    """

    def __init__(
        self, n_layers: int, *, layer_norm: bool = False, initial: Sequence[float] | None = None, trainable: bool = True
    ) -> None:
        super().__init__()
        if initial is not None and len(initial) != n_layers:
            raise OptionError(f"a mix of {n_layers} layers needs {n_layers} initial weights, was given {len(initial)}")
        start = [0.0] * n_layers if initial is None else initial
        # One parameter a layer, so that AllenNLP's state dicts load by their own names.
        self.scalar_parameters = nn.ParameterList(
            nn.Parameter(torch.tensor([float(value)]), requires_grad=trainable) for value in start
        )
        self.gamma = nn.Parameter(torch.ones(1), requires_grad=trainable)
        self.layer_norm = layer_norm

    def weights(self) -> Tensor:
        """s, the weights after the softmax. *Shape:* (layers,)."""
        return torch.softmax(torch.cat(list(self.scalar_parameters)), dim=0)

    def forward(self, layers: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """*Shape:* layers x (B, T, size), mask (B, T) -> (B, T, size). Raises `OptionError` for another layer count."""
        if len(layers) != len(self.scalar_parameters):
            raise OptionError(f"a mix of {len(self.scalar_parameters)} layers was given {len(layers)}")
        if self.layer_norm:
            if mask is None:
                raise OptionError("a mix with layer_norm needs the mask; pass mask=")
            layers = [_normalise(layer, mask) for layer in layers]
        mixed = torch.stack([weight * layer for weight, layer in zip(self.weights(), layers, strict=True)]).sum(dim=0)
        return self.gamma * mixed


def _normalise(layer: Tensor, mask: Tensor) -> Tensor:
    """Zero mean and unit variance over the unmasked elements (allennlp `modules/scalar_mix.py`)."""
    keep = mask.unsqueeze(-1).to(layer.dtype)  # Shape: (B, T, 1)
    count = keep.sum() * layer.size(-1)
    mean = (layer * keep).sum() / count
    variance = (((layer * keep - mean) * keep) ** 2).sum() / count
    return (layer - mean) / torch.sqrt(variance + 1e-13)
