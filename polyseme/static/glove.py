"""GloVe (Pennington et al. 2014): w_i . w~_j + b_i + b~_j ~ log X_ij, least squares weighted by f(X_ij).

    vectors = fit(Corpus.open("corpus"), GloveConfig(width=200))

    J = sum f(X_ij) (w_i . w~_j + b_i + b~_j - log X_ij)^2       f(x) = min(1, (x / x_max)^0.75)         (eq. 8, 9)

over all cells X_ij > 0, by AdaGrad; a word's vector is w + w~ (4.2). There is no maintained trainer in Python: this is
ours. It follows the published `glove.c` cell by cell, in one thread, compiled by numba: squared gradients start at 1
and are counted with the learning rate in them, cells are shuffled once, and the printed cost is the mean of
f(X) diff^2 / 2 as the cells were met. X is symmetric and only half of it is kept, so (i, j) and (j, i) are visited one
after the other, where `glove.c` meets them apart. Results are the same for the same text, seed and machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError, MissingExtraError, OptionError, TrainingError
from polyseme.static.cooccurrence import Cooccurrences, count
from polyseme.static.trained_words import TrainedWords
from polyseme.static.vectors import About, StaticVectors
from polyseme.text.shards import Corpus

Progress = Callable[[str, int, int, str], None]  # stage, done, of how many, unit

_BETWEEN_NEWS = 100_000  # kept cells from one call of `progress` to the next

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class GloveConfig:
    """How to train. `window`: words on either side. `x_max`: the count from which cells weigh 1; the paper's 100 is for
    billions of words, its authors' demonstration takes 10 for 17 million. `epochs`: passes over the cells; the
    paper took 50 for widths below 300 and 100 above, its program does 25."""

    width: int = 200
    window: int = 10
    min_count: int = 5
    epochs: int = 25
    x_max: float = 100.0
    power: float = 0.75
    learning_rate: float = 0.05
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("width", "window", "min_count", "epochs"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, was: {getattr(self, name)}")
        if self.x_max <= 0 or self.learning_rate <= 0 or self.power < 0:
            raise OptionError(
                f"x_max and learning_rate must be above 0 and power not below, were: {self.x_max}, "
                f"{self.learning_rate}, {self.power}"
            )
        if self.seed < 0:
            raise OptionError(f"seed must be 0 or more, was: {self.seed}")


def fit(corpus: Corpus, config: GloveConfig | None = None, progress: Progress | None = None) -> StaticVectors:
    """Vectors of the words of the corpus's training part, by falling count.

    Raises `MissingExtraError` without numba or scipy, `InputError` for too little text.
    """
    config = config or GloveConfig()
    words = TrainedWords(corpus, config.min_count)

    def told(stage: str, unit: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(stage, done, total, unit)

    cells = count(words, config.window, told("counting co-occurrences", "words"))
    matrix, costs = train(cells, config, told("training", "cells"))
    recipe = (
        f"width {config.width}, window {config.window}, words that come {config.min_count} times, {config.epochs} "
        f"epochs, x_max {config.x_max:g}, power {config.power:g}, learning rate {config.learning_rate:g}, seed "
        f"{config.seed}, {cells.n_cells:,} cells, last cost {costs[-1]:.6f}; numpy {np.__version__}"
    )
    return StaticVectors(words.words, matrix, text=corpus.text, about=About("glove", recipe))


def train(
    cells: Cooccurrences, config: GloveConfig, progress: Callable[[int, int], None] | None = None
) -> tuple[Floats, list[float]]:
    """(w + w~, (V, W); the cost of each epoch). `progress` hears of cells visited, of all epochs.

    Raises `MissingExtraError` without numba, `InputError` where no two words stand near each other, `TrainingError`
    where the cost runs away.
    """
    if not len(cells):
        raise InputError("no two frequent words stand in one sentence; give more text, or a smaller min_count")
    visit = _compiled()
    random = np.random.default_rng(config.seed)
    words, contexts = (_Side(cells.n_words, config.width, random) for _ in range(2))
    shuffled = random.permutation(len(cells))
    rows, columns, values = cells.rows[shuffled], cells.columns[shuffled], cells.values[shuffled].astype(np.float32)
    del shuffled
    settings = tuple(np.float32(each) for each in (config.x_max, config.power, config.learning_rate))
    costs: list[float] = []
    done, total = 0, cells.n_cells * config.epochs
    for _ in range(config.epochs):
        cost = 0.0
        for start in range(0, len(cells), _BETWEEN_NEWS):
            part = slice(start, start + _BETWEEN_NEWS)
            cost += visit(rows[part], columns[part], values[part], *words.arrays(), *contexts.arrays(), *settings)
            done += len(rows[part]) + int(np.count_nonzero(rows[part] != columns[part]))
            if progress is not None:
                progress(done, total)
        costs.append(cost / cells.n_cells)
        if not np.isfinite(cost):
            raise TrainingError(f"the cost of epoch {len(costs)} is no number; give a lower learning rate")
    return np.asarray(words.vectors + contexts.vectors, dtype=np.float32), costs


class _Side:
    """Either the words' parameters or the contexts': `vectors` (V, W), `biases` (V,), and their squared gradients."""

    def __init__(self, n_words: int, width: int, random: np.random.Generator) -> None:
        start = (random.random((n_words, width + 1), dtype=np.float32) - np.float32(0.5)) / np.float32(width + 1)
        self.vectors: Floats = np.ascontiguousarray(start[:, :width], dtype=np.float32)
        self.biases: Floats = np.ascontiguousarray(start[:, width], dtype=np.float32)
        self.squares, self.bias_squares = np.ones_like(self.vectors), np.ones_like(self.biases)

    def arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.vectors, self.biases, self.squares, self.bias_squares


@cache
def _compiled() -> Any:
    """`visited`, compiled. Sums may be taken in another order than they are written in, which makes vectors of them."""
    if find_spec("numba") is None:
        raise MissingExtraError("training GloVe", "static")
    return import_module("numba").njit(fastmath={"reassoc", "contract"})(visited)


def visited(
    rows: Ids, columns: Ids, values: Floats,
    w: Floats, b: Floats, w_squares: Floats, b_squares: Floats,
    c: Floats, d: Floats, c_squares: Floats, d_squares: Floats,
    x_max: np.float32, power: np.float32, rate: np.float32,
) -> float:  # fmt: skip
    """Updates the parameters in place from the cells (i, j) and (j, i) of X_ij = x; their cost, added up.

    Words have the vectors `w` and biases `b`, contexts `c` and `d`. Plain Python until `_compiled`, and slow.
    """
    cost = 0.0
    width = w.shape[1]
    for cell in range(len(rows)):
        x = values[cell]
        weight = (x / x_max) ** power if x < x_max else np.float32(1)
        target = np.float32(log(x))
        for way in range(1 if rows[cell] == columns[cell] else 2):
            i, j = (rows[cell], columns[cell]) if way == 0 else (columns[cell], rows[cell])
            word, context, of_word, of_context = w[i], c[j], w_squares[i], c_squares[j]
            difference = b[i] + d[j] - target
            for k in range(width):
                difference += word[k] * context[k]
            weighted = weight * difference
            cost += 0.5 * weighted * difference
            slope = rate * weighted
            for k in range(width):
                to_word, to_context = slope * context[k], slope * word[k]
                word[k] -= to_word / np.sqrt(of_word[k])
                context[k] -= to_context / np.sqrt(of_context[k])
                of_word[k] += to_word * to_word
                of_context[k] += to_context * to_context
            b[i] -= slope / np.sqrt(b_squares[i])
            d[j] -= slope / np.sqrt(d_squares[j])
            b_squares[i] += slope * slope
            d_squares[j] += slope * slope
    return cost
