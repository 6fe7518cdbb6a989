"""Pictures: principal components, and the map of a word's contexts as SVG.

The map is a principal component analysis: exact, deterministic, and the share of the variance that it shows is known.
(t-SNE and UMAP show groups more clearly, also where there are none.)

Legend: `n` contexts, `D` width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from polyseme.insight.neighbours import DoubleArray

WIDTH, HEIGHT, MARGIN = 720, 460, 26
RADIUS = 6.0
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "down", "plus", "bar")  # one a group; colours: page.css


@dataclass(frozen=True)
class Plane:
    """Contexts on two principal components. `points` (n, 2); `shares` (2,): of the variance, 0 to 1."""

    points: DoubleArray
    shares: DoubleArray


def principal_plane(vectors: DoubleArray) -> Plane:
    """The two directions in which the vectors vary most, by a singular value decomposition. *Shape:* (n, D).

    Each axis points to where its farthest context lies, so that the same vectors always give the same picture. Without
    variance (one context, or all alike) everything lies at the origin.
    """
    centred = np.asarray(vectors, dtype=np.float64) - np.mean(vectors, axis=0, keepdims=True)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    # Below the rounding of the products there is no direction, only noise.
    values = np.where(values > 1e-9 * max(1.0, float(np.abs(vectors).max(initial=0.0))), values, 0.0)
    points = np.zeros((len(centred), 2))
    shares = np.zeros(2)
    total = float((values**2).sum())
    for axis in range(min(2, len(values)) if total > 0 else 0):
        column = left[:, axis] * values[axis]
        farthest = int(np.argmax(np.abs(column).round(12)))
        points[:, axis] = column if column[farthest] >= 0 else -column
        shares[axis] = values[axis] ** 2 / total
    return Plane(points, shares)


def places_in_picture(points: DoubleArray) -> DoubleArray:
    """Points -> pixels, one scale for both axes, so that distances can be compared. *Shape:* (n, 2) -> (n, 2)."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.asarray([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN], dtype=np.float64)
    spread = high - low
    scale = min((room[axis] / spread[axis] for axis in range(2) if spread[axis] > 0), default=1.0)
    middle = np.asarray([WIDTH / 2, HEIGHT / 2])
    return np.asarray(middle + (points - (low + high) / 2) * scale * np.asarray([1.0, -1.0]))


def context_map(prefix: str, plane: Plane, labels: Sequence[int], texts: Sequence[str], title: str) -> str:
    """The map: a mark a context, its colour and shape the group, its text on touch. Ids: `prefix`-p-NUMBER."""
    parts = [
        f'<svg class="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{prefix}-map-title">',
        f'<title id="{prefix}-map-title">{escape(title)}</title>',
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="6"/>',
    ]
    places = places_in_picture(plane.points) if len(texts) else plane.points
    for number, ((x, y), group, text) in enumerate(zip(places, labels, texts, strict=True)):
        parts.append(
            f'<g id="{prefix}-p-{number}" class="mark g{group % len(SHAPES)}" data-context="{number}" '
            f'transform="translate({x:.1f} {y:.1f})"><title>{escape(text)}</title>{shape(group)}</g>'
        )
    return "\n".join([*parts, "</svg>"])


def shape(group: int) -> str:
    """The mark of a group around the origin; the shape tells groups apart where colours do not."""
    r = RADIUS
    name = SHAPES[group % len(SHAPES)]
    if name == "circle":
        return f'<circle r="{r}"/>'
    corners = {
        "square": [(-r, -r), (r, -r), (r, r), (-r, r)],
        "triangle": [(0, -r * 1.2), (r * 1.15, r * 0.9), (-r * 1.15, r * 0.9)],
        "down": [(0, r * 1.2), (r * 1.15, -r * 0.9), (-r * 1.15, -r * 0.9)],
        "diamond": [(0, -r * 1.3), (r * 1.3, 0), (0, r * 1.3), (-r * 1.3, 0)],
        "bar": [(-r * 1.4, -r * 0.5), (r * 1.4, -r * 0.5), (r * 1.4, r * 0.5), (-r * 1.4, r * 0.5)],
        "plus": _plus(r, 0.0),
        "cross": _plus(r, 45.0),
    }[name]
    return f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in corners)}"/>'


def _plus(r: float, degrees: float) -> list[tuple[float, float]]:
    """A plus sign, turned."""
    a, b = r * 1.3, r * 0.42
    corners = [
        (-b, -a),
        (b, -a),
        (b, -b),
        (a, -b),
        (a, b),
        (b, b),
        (b, a),
        (-b, a),
        (-b, b),
        (-a, b),
        (-a, -b),
        (-b, -b),
    ]
    turn = np.deg2rad(degrees)
    c, s = float(np.cos(turn)), float(np.sin(turn))
    return [(c * x - s * y, s * x + c * y) for x, y in corners]
