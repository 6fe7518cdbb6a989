"""How often words stand near each other, for GloVe: a word at distance d counts 1/d (Pennington et al. 2014, 4.2).

As the published `cooccur` with `-symmetric 1` counts: windows reach `window` words to either side and end where the
sentence ends; rare words were taken out before. X is symmetric, so only its cells i <= j are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.errors import MissingExtraError, OptionError
from polyseme.static.trained_words import Block, TrainedWords


@dataclass(frozen=True, eq=False)
class Cooccurrences:
    """The cells X_ij > 0 with i <= j of `n_words` words, in order: `rows`, `columns` and `values`, (n,) each."""

    n_words: int
    rows: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """How many cells are kept."""
        return len(self.values)

    @property
    def n_cells(self) -> int:
        """How many cells X has: those off the diagonal twice."""
        return 2 * len(self) - int(np.count_nonzero(self.rows == self.columns))


def count(words: TrainedWords, window: int, progress: Callable[[int, int], None] | None = None) -> Cooccurrences:
    """Counts the training part block by block; `progress` hears of the running words.

    Memory: about 16 bytes a cell of what was counted so far, twice that while two parts are merged, and 300 MB for a
    block. Raises `MissingExtraError` without scipy.
    """
    if window < 1:
        raise OptionError(f"window must be at least 1, was: {window}")
    sparse = scipy_sparse()
    parts: list[Any] = []
    done = 0
    for block in words.blocks():
        parts.append(_counted(block, len(words), window, sparse))
        # Parts of like size are merged, so that a cell is touched a logarithmic number of times.
        while len(parts) > 1 and parts[-2].nnz < 2 * parts[-1].nnz:
            parts[-2:] = [parts[-2] + parts[-1]]
        done += len(block.ids)
        if progress is not None:
            progress(done, words.running)
    while len(parts) > 1:
        parts[-2:] = [parts[-2] + parts[-1]]
    total = parts.pop()
    rows = np.repeat(np.arange(len(words), dtype=np.int32), np.diff(total.indptr))
    columns, values = total.indices.astype(np.int32, copy=False), total.data
    # A word beside itself is in the window of either.
    values[rows == columns] *= 2
    return Cooccurrences(len(words), rows, columns, values)


def _counted(block: Block, n_words: int, window: int, sparse: Any) -> Any:
    """The counts of a block as a sparse matrix, (V, V), above its diagonal and on it."""
    low, high, weights = [], [], []
    for distance in range(1, min(window, len(block.ids) - 1) + 1):
        left, right = block.ids[:-distance], block.ids[distance:]
        near = block.sentences[:-distance] == block.sentences[distance:]
        left, right = left[near], right[near]
        low.append(np.minimum(left, right))
        high.append(np.maximum(left, right))
        weights.append(np.full(len(left), 1.0 / distance))
    if not low:
        return sparse.csr_matrix((n_words, n_words), dtype=np.float64)
    cells = np.concatenate(low), np.concatenate(high)
    found = sparse.coo_matrix((np.concatenate(weights), cells), shape=(n_words, n_words)).tocsr()
    found.sum_duplicates()
    return found


def scipy_sparse() -> Any:
    """scipy's sparse matrices. Raises `MissingExtraError`."""
    if find_spec("scipy") is None:
        raise MissingExtraError("training GloVe", "static")
    return import_module("scipy.sparse")
