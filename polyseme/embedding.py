"""What an embedder gives back: one `Embedding` a sentence; and the protocol that every embedder keeps.

Legend: `L` LSTM or Transformer layers, `T` tokens of the sentence, `P` projection width of one direction.
Numpy only, so that contextual and static vectors share these types without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from polyseme.errors import OptionError

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Embedding:
    """The vectors of one sentence.

    `tokens`: its words. `offsets`: (start, end) of each word in the raw text, in Python characters; None where tokens
    were given. `layers`: float array (layers, T, width); from a biLM all L + 1 layers of width 2P, layer 0 the
    context-free token vector, layer k forward ‖ backward; `<S>` and `</S>` are removed.
    """

    tokens: tuple[str, ...]
    layers: FloatArray
    offsets: tuple[tuple[int, int], ...] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def width(self) -> int:
        """Size of one word's vector in one layer."""
        return int(self.layers.shape[2])

    def top(self) -> FloatArray:
        """The last layer. *Shape:* (T, width)."""
        return np.asarray(self.layers[-1])

    def average(self) -> FloatArray:
        """The plain mean over the layers. *Shape:* (T, width)."""
        return np.asarray(self.layers.mean(axis=0, dtype=np.float32))

    def mix(self, weights: Sequence[float], gamma: float = 1.0) -> FloatArray:
        """`gamma * sum_k weights[k] * layer_k` (Peters et al. 2018, eq. 1, with weights already normalised).

        *Shape:* (T, width). Raises `OptionError` when the number of weights is not the number of layers.
        """
        if len(weights) != len(self.layers):
            raise OptionError(
                f"mix() was given {len(weights)} weights for {len(self.layers)} layers; give one weight a layer"
            )
        scale = np.asarray(weights, dtype=np.float32) * np.float32(gamma)
        return np.asarray(np.tensordot(scale, self.layers.astype(np.float32, copy=False), axes=1))

    def sentence(self, pool: str = "mean") -> FloatArray:
        """One vector for the sentence: `mean` or `max` over the tokens of the layer average; zeros for no tokens.

        *Shape:* (width,). Raises `OptionError` for another `pool`.
        """
        if pool not in ("mean", "max"):
            raise OptionError(f"pool must be 'mean' or 'max', was: {pool!r}")
        words = self.average()
        if not len(words):
            return np.zeros(self.width, dtype=np.float32)
        return np.asarray(words.mean(axis=0) if pool == "mean" else words.max(axis=0))


class TokenEmbedder(Protocol):
    """Anything that turns tokenized sentences into vectors: a biLM's `Embedder`, or static vectors."""

    @property
    def width(self) -> int:
        """Size of one word's vector in one layer."""
        ...

    def embed(self, sentences: Sequence[Sequence[str]]) -> list[Embedding]:
        """One `Embedding` a sentence, in input order."""
        ...
