"""Cosines between contexts, and the nearest ones: exact, by comparing all with all.

Legend: `n` contexts, `m` others, `D` width of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Neighbour:
    """A context by its number, and how near it is (cosine, -1 to 1)."""

    place: int
    cosine: float


def unit(vectors: AnyFloats) -> DoubleArray:
    """The same directions, of length 1; a vector of zeros stays. *Shape:* (n, D) -> (n, D)."""
    doubles = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(doubles, axis=1, keepdims=True)
    return np.asarray(np.divide(doubles, lengths, out=np.zeros_like(doubles), where=lengths > 0))


def cosines(vectors: AnyFloats, others: AnyFloats | None = None) -> DoubleArray:
    """The cosine of each vector with each other one. *Shape:* (n, D), (m, D) -> (n, m)."""
    left = unit(vectors)
    right = left if others is None else unit(others)
    return np.asarray(np.clip(left @ right.T, -1.0, 1.0))


def nearest(similarities: DoubleArray, top: int, without: npt.NDArray[np.bool_] | None = None) -> list[Neighbour]:
    """The `top` places of the greatest similarity, greatest first, ties in order. *Shape:* (m,).

    `without`: places that do not count, such as the context itself.
    """
    candidates = np.arange(len(similarities)) if without is None else np.flatnonzero(~without)
    order = candidates[np.argsort(-similarities[candidates], kind="stable")][:top]
    return [Neighbour(int(place), float(similarities[place])) for place in order]
