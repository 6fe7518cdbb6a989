"""The parts that the networks of all tasks share.

Legend: `B` texts, `T` words, `S` words of another text, `L` layers, `W` width of a source, `D` size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from polyseme.nn.mix import ScalarMix
from polyseme.tasks.features import Inputs


class TokenInput(nn.Module):
    """Each source's layers -> one vector a word: layers weighed (Peters et al. 2018, eq. 1), sources side by side.

    `scales`: (L,) a source; every layer is first divided by its own, so that no kind of vectors has an advantage of
    scale. They are kept with the weights. `chosen`: numbers of the sources that are read; by default all.
    """

    def __init__(
        self, widths: Sequence[int], scales: Sequence[Tensor], dropout: float, *, chosen: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.chosen = list(range(len(widths)) if chosen is None else chosen)
        self.size = sum(widths[at] for at in self.chosen)
        kept = [scales[at] for at in self.chosen]
        self.mixes = nn.ModuleList(ScalarMix(len(scale)) for scale in kept)
        self.scales = nn.ParameterList(nn.Parameter(scale.clone(), requires_grad=False) for scale in kept)
        self.dropout = LockedDropout(dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """*Shape:* (B, T, L, W) a source -> (B, T, sum of W)."""
        mixed = []
        for mix, scale, at in zip(self.mixes, self.scales, self.chosen, strict=True):
            layers = (inputs.vectors[at] / scale[:, None]).unbind(dim=2)
            mixed.append(mix(layers))
        found: Tensor = self.dropout(torch.cat(mixed, dim=2))
        return found

    def penalty(self) -> Tensor:
        """The sum of the squared weights of the mixes, before their softmax, of sources with several layers (3.3)."""
        found = torch.zeros((), device=self.scales[0].device)
        for mix in self._mixes():
            if len(mix.scalar_parameters) > 1:
                found = found + torch.cat(list(mix.scalar_parameters)).square().sum()
        return found

    def weights(self) -> list[list[float]]:
        """How each source's layers are weighed, after the softmax."""
        return [mix.weights().tolist() for mix in self._mixes()]

    def _mixes(self) -> Iterator[ScalarMix]:
        for mix in self.mixes:
            assert isinstance(mix, ScalarMix)
            yield mix


class LockedDropout(nn.Module):
    """Dropout with one mask for all words of a text (Gal and Ghahramani 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, words: Tensor) -> Tensor:
        """*Shape:* (B, T, D) -> (B, T, D)."""
        if not self.training or not self.rate:
            return words
        keep = torch.empty_like(words[:, :1]).bernoulli_(1 - self.rate) / (1 - self.rate)
        return words * keep


class BiLSTM(nn.Module):
    """One bidirectional layer that does not see padding."""

    def __init__(self, n_in: int, cells: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_in, cells, bidirectional=True, batch_first=True)
        self.size = 2 * cells

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """*Shape:* (B, T, n_in), (B, T) -> (B, T, 2 cells), zeros where there is no word."""
        packed = pack_padded_sequence(words, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
        found, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=words.size(1))
        return found


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension, of the places that `mask` (broadcast) keeps."""
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)


def masked_max(words: Tensor, mask: Tensor) -> Tensor:
    """*Shape:* (B, T, D), (B, T) -> (B, D), over the words."""
    return words.masked_fill(~mask[:, :, None], -torch.inf).amax(dim=1)


def masked_mean(words: Tensor, mask: Tensor) -> Tensor:
    """*Shape:* (B, T, D), (B, T) -> (B, D), over the words."""
    return (words * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


class AttentionPool(nn.Module):
    """A weighted mean of the words, whose weights are learned: softmax over words of v . x + b."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.score = nn.Linear(size, 1)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """*Shape:* (B, T, D), (B, T) -> (B, D)."""
        weights = masked_softmax(self.score(words).squeeze(2), mask)  # Shape: (B, T)
        return torch.einsum("bt,btd->bd", weights, words)


def aligned(first: Tensor, second: Tensor, first_mask: Tensor, second_mask: Tensor) -> tuple[Tensor, Tensor]:
    """For each word of one text the mean of the other's, weighted by softmax of the dot products, both ways.

    *Shape:* (B, T, D), (B, S, D), (B, T), (B, S) -> (B, T, D), (B, S, D).
    """
    scores = first @ second.transpose(1, 2)  # Shape: (B, T, S)
    of_first = masked_softmax(scores, second_mask[:, None, :]) @ second
    of_second = masked_softmax(scores.transpose(1, 2), first_mask[:, None, :]) @ first
    return of_first, of_second
