"""GloVe (Pennington et al. 2014): w_i . w~_j + b_i + b~_j ~ log X_ij, least squares weighted by f(X_ij).

    vectors = fit(Corpus.open("corpus"), GloveConfig(width=200))

    J = sum f(X_ij) (w_i . w~_j + b_i + b~_j - log X_ij)^2       f(x) = min(1, (x / x_max)^0.75)         (eq. 8, 9)

over all cells X_ij > 0, by AdaGrad; a word's vector is w + w~ (4.2). There is no maintained trainer in Python: this is
ours, over numpy and scipy. It follows the published `glove.c`: squared gradients start at 1 and are counted with the
learning rate in them, and the printed cost is the mean of f(X) diff^2 / 2 as the cells were met.

What differs from it: `glove.c` goes on cell by cell, in threads that write to the same rows; here a batch of cells is
computed from the same vectors, their steps are added up, and their squared gradients too, one by one. A batch is small
enough that its most frequent word comes about 8 times, so a row moves about as far as it would have cell by cell; on a
small corpus the cost of each epoch is within 2 % (tests/static/test_glove.py). Cells are shuffled once, batches anew in
each epoch. Results are the same for the same text, seed and machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError, OptionError, TrainingError
from polyseme.static.cooccurrence import Cooccurrences, count, scipy_sparse
from polyseme.static.trained_words import TrainedWords
from polyseme.static.vectors import About, StaticVectors
from polyseme.text.shards import Corpus

Progress = Callable[[str, int, int, str], None]  # stage, done, of how many, unit

_TIMES_IN_A_BATCH = 8  # that the most frequent word comes
_SMALLEST_BATCH, _LARGEST_BATCH = 32, 512  # kept cells; above, a batch leaves the cache and goes half as fast

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

    Raises `MissingExtraError` without scipy, `InputError` for too little text.
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


@np.errstate(over="ignore", invalid="ignore")  # a cost that runs away is an error of ours
def train(
    cells: Cooccurrences, config: GloveConfig, progress: Callable[[int, int], None] | None = None
) -> tuple[Floats, list[float]]:
    """(w + w~, (V, W); the cost of each epoch). `progress` hears of cells visited, of all epochs.

    Raises `InputError` where no two words stand near each other, `TrainingError` where the cost runs away.
    """
    if not len(cells):
        raise InputError("no two frequent words stand in one sentence; give more text, or a smaller min_count")
    random = np.random.default_rng(config.seed)
    words, contexts = (_Side(cells.n_words, config.width, random) for _ in range(2))
    shuffled = random.permutation(len(cells))
    rows, columns, values = cells.rows[shuffled], cells.columns[shuffled], cells.values[shuffled].astype(np.float32)
    del shuffled
    size = batch_size(cells)
    starts = np.arange(0, len(cells), size)
    costs: list[float] = []
    done, total = 0, cells.n_cells * config.epochs
    for _ in range(config.epochs):
        random.shuffle(starts)
        cost = 0.0
        for start in starts.tolist():
            part = slice(start, start + size)
            i, j, x = _both_ways(rows[part], columns[part], values[part])
            cost += _step(words, contexts, i, j, x, config)
            done += len(x)
            if progress is not None:
                progress(done, total)
        costs.append(cost / cells.n_cells)
        if not np.isfinite(cost):
            raise TrainingError(f"the cost of epoch {len(costs)} is no number; give a lower learning rate")
    return np.asarray(words.vectors + contexts.vectors, dtype=np.float32), costs


def batch_size(cells: Cooccurrences) -> int:
    """How many kept cells go together, so that no word comes more than about 8 times in each half of a batch."""
    off = cells.columns[cells.rows != cells.columns]
    times = np.bincount(cells.rows, minlength=cells.n_words) + np.bincount(off, minlength=cells.n_words)
    return min(_LARGEST_BATCH, max(_SMALLEST_BATCH, _TIMES_IN_A_BATCH * len(cells) // int(times.max())))


def _both_ways(rows: Ids, columns: Ids, values: Floats) -> tuple[Ids, Ids, Floats]:
    """The cells (i, j) and (j, i) of kept ones i <= j; those of the diagonal once."""
    off = rows != columns
    return (
        np.concatenate([rows, columns[off]]),
        np.concatenate([columns, rows[off]]),
        np.concatenate([values, values[off]]),
    )


def _step(words: _Side, contexts: _Side, i: Ids, j: Ids, x: Floats, config: GloveConfig) -> float:
    """One update from the cells X_ij = x, (n,) each; their cost before it, added up."""
    w, c = words.vectors[i], contexts.vectors[j]  # (n, W)
    difference = np.einsum("nw,nw->n", w, c) + words.biases[i] + contexts.biases[j] - np.log(x)
    weighted = np.minimum(x / np.float32(config.x_max), 1) ** np.float32(config.power) * difference
    slope: Floats = np.asarray(np.float32(config.learning_rate) * weighted, dtype=np.float32)
    words.move(i, slope, c)
    contexts.move(j, slope, w)
    return 0.5 * float(np.dot(weighted, difference))


class _Side:
    """Either the words' parameters or the contexts': `vectors` (V, W), `biases` (V,), and their squared gradients."""

    def __init__(self, n_words: int, width: int, random: np.random.Generator) -> None:
        start = (random.random((n_words, width + 1), dtype=np.float32) - np.float32(0.5)) / np.float32(width + 1)
        self.vectors: Floats = np.ascontiguousarray(start[:, :width], dtype=np.float32)
        self.biases: Floats = np.ascontiguousarray(start[:, width], dtype=np.float32)
        self.squares, self.bias_squares = np.ones_like(self.vectors), np.ones_like(self.biases)
        self.sparse = scipy_sparse()

    def move(self, index: Ids, slope: Floats, others: Floats) -> None:
        """AdaGrad for the rows `index`, (n,), some of them several times; cell k's gradient is slope_k others_k."""
        order = np.argsort(index, kind="stable")
        slope, ordered = slope[order], index[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        rows = ordered[starts]
        # Row r of this matrix adds up the cells of the r-th word.
        adder = self.sparse.csr_matrix(
            (slope, order, np.append(starts, len(index))), shape=(len(rows), len(index)), copy=False
        )
        step = adder @ others
        adder.data = slope * slope
        step /= np.sqrt(self.squares[rows])
        self.vectors[rows] -= step
        self.squares[rows] += adder @ (others * others)
        self.biases[rows] -= np.add.reduceat(slope, starts) / np.sqrt(self.bias_squares[rows])
        self.bias_squares[rows] += np.add.reduceat(adder.data, starts)
