"""Which vectors learn most from least? One task's data, several learners, the same examples, seeds and test set.

    comparison = compare([bow, word2vec, elmo], strata, shares=(0.01, 0.1, 1.0), seeds=(1, 2, 3))

Each learner is fitted on growing shares of the training examples: for one seed the smaller share lies within the larger
one, and every learner gets the same. What a fit gave is kept for each test example, so that two learners are compared
on the very same ones: a paired bootstrap over test examples (Efron and Tibshirani 1993; Berg-Kirkpatrick et al. 2012),
and p-values adjusted for the number of pairs (Holm 1979).

Legend: `N` test examples, `S` seeds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from polyseme.errors import OptionError

Counts = npt.NDArray[np.float64]
DRAWS, BLOCK = 4000, 100
# Two-sided 95 % quantiles of Student's t by degrees of freedom; above, that of the normal distribution is near enough.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
NORMAL = 1.96


@dataclass(frozen=True)
class Fitted:
    """What one fit gave. `counts`: (N, 2), a numerator and a denominator of each test example.

    The ratio of their sums is the score: right and all (accuracy), or twice the right spans and those of both (F1).
    """

    dev: float
    counts: Counts
    epochs: int
    fit_seconds: float
    test_seconds: float

    @property
    def score(self) -> float:
        """On the whole test set."""
        return float(ratio(self.counts.sum(axis=0)))


class Learner(Protocol):
    """Features with a network, and all data behind them."""

    @property
    def name(self) -> str:
        """How its features are called."""

    def fit(self, rows: Sequence[int], seed: int) -> Fitted:
        """Learns from these training examples, stops by dev, and is measured on test."""


@dataclass(frozen=True)
class Cell:
    """A learner at one share. `interval`: 95 % of the mean over seeds (Student's t), None for a single seed.

    `examples`: training examples at this share; `scores`: one a seed.
    """

    features: str
    share: float
    examples: int
    scores: tuple[float, ...]
    dev: tuple[float, ...]
    epochs: tuple[int, ...]
    fit_seconds: float
    test_seconds: float

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.scores))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Around the mean."""
        n = len(self.scores)
        if n < 2:
            return None
        quantile = STUDENT[n - 2] if n - 2 < len(STUDENT) else NORMAL
        half = quantile * float(np.std(self.scores, ddof=1)) / math.sqrt(n)
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Pair:
    """`first` minus `second` with all training examples: the difference of their mean scores over the seeds.

    `interval`: 95 %, and `p`: two-sided, both of the paired bootstrap over test examples; `adjusted`: Holm's.
    `errors_saved`: the share of the second one's errors that the first avoids.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    p: float
    adjusted: float
    errors_saved: float


@dataclass(frozen=True)
class Comparison:
    """Everything that was measured."""

    cells: tuple[Cell, ...]
    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]
    shares: tuple[float, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def cell(self, features: str, share: float) -> Cell:
        """The figures of one learner at one share."""
        (found,) = (each for each in self.cells if (each.features, each.share) == (features, share))
        return found

    @property
    def features(self) -> tuple[str, ...]:
        """The learners in the order in which they were given."""
        return tuple(dict.fromkeys(cell.features for cell in self.cells))


def compare(
    learners: Sequence[Learner],
    strata: Sequence[Hashable],
    *,
    shares: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1.0),
    seeds: Sequence[int] = (1, 2, 3),
    progress: Callable[[str, float, int, Fitted], None] | None = None,
) -> Comparison:
    """Every learner at every share with every seed. `strata`: of each training example, what a share keeps.

    Raises `OptionError` for shares outside 0 to 1 and learners of one name; whatever fitting raises.
    """
    if not learners or len({learner.name for learner in learners}) < len(learners):
        raise OptionError("compare needs features of different names, at least one")
    if not seeds or not shares or not all(0 < share <= 1 for share in shares):
        raise OptionError(f"shares lie above 0 and up to 1, and there is at least one seed; were: {shares}, {seeds}")
    chosen = tuple(sorted(set(shares) | {1.0}))
    orders = {seed: stratified_order(strata, seed) for seed in seeds}
    cells, whole = [], {}
    for learner in learners:
        for share in chosen:
            size = max(1, round(share * len(strata)))
            fits = []
            for seed in seeds:
                fits.append(learner.fit(sorted(orders[seed][:size]), seed))
                if progress is not None:
                    progress(learner.name, share, seed, fits[-1])
            cells.append(
                Cell(
                    learner.name,
                    share,
                    size,
                    tuple(each.score for each in fits),
                    tuple(each.dev for each in fits),
                    tuple(each.epochs for each in fits),
                    float(np.mean([each.fit_seconds for each in fits])),
                    float(np.mean([each.test_seconds for each in fits])),
                )
            )
        whole[learner.name] = np.stack([each.counts for each in fits])
    return Comparison(tuple(cells), tuple(compared(whole)), tuple(seeds), chosen)


def stratified_order(strata: Sequence[Hashable], seed: int) -> list[int]:
    """All examples in an order of which every beginning holds each stratum in its proportion, as far as it can.

    The first examples of all strata come first of all, so that a small share still has every label.
    """
    rng = np.random.default_rng(seed)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, stratum in enumerate(strata):
        members[stratum].append(row)
    turn = np.empty(len(strata))
    for rows in members.values():
        turn[rng.permutation(rows)] = (np.arange(len(rows)) + rng.uniform(size=len(rows))) / len(rows)
    first = {rows[int(np.argmin(turn[rows]))] for rows in members.values()}
    return sorted(range(len(strata)), key=lambda row: (row not in first, turn[row]))


def ratio(sums: Counts) -> Counts:
    """*Shape:* (..., 2) -> (...): 0 where there is nothing to count."""
    return np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=sums[..., 1] > 0)


def compared(whole: dict[str, Counts]) -> list[Pair]:
    """Every pair of learners, from their counts (S, N, 2) with all training examples."""
    found = []
    for first, second in combinations(whole, 2):
        ours, theirs = (float(ratio(whole[name].sum(axis=1)).mean()) for name in (first, second))
        draws = drawn_differences(whole[first], whole[second])
        low, high = np.quantile(draws, [0.025, 0.975])
        p = min(1.0, 2 * min(float((draws <= 0).mean()), float((draws >= 0).mean())))
        p = max(p, 1 / DRAWS)  # no draw on the other side is no proof
        saved = (ours - theirs) / (1 - theirs) if theirs < 1 else 0.0
        found.append(Pair(first, second, ours - theirs, (float(low), float(high)), p, 1.0, saved))
    return holm(found)


def drawn_differences(first: Counts, second: Counts) -> Counts:
    """The difference of both mean scores in each draw of N test examples. *Shape:* (S, N, 2) twice -> (DRAWS,)."""
    rng = np.random.default_rng(0)
    n = first.shape[1]
    found = []
    for _ in range(DRAWS // BLOCK):
        times = rng.multinomial(n, np.full(n, 1 / n), size=BLOCK).astype(np.float64)
        ours, theirs = (ratio(np.einsum("dn,snc->dsc", times, each)).mean(axis=1) for each in (first, second))
        found.append(ours - theirs)
    return np.concatenate(found)


def holm(pairs: Sequence[Pair]) -> list[Pair]:
    """The same with adjusted p-values: the smallest times the number of pairs, and so on, never falling."""
    order = sorted(range(len(pairs)), key=lambda at: pairs[at].p)
    adjusted: dict[int, float] = {}
    largest = 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, pairs[at].p * (len(pairs) - rank)))
        adjusted[at] = largest
    return [
        Pair(each.first, each.second, each.difference, each.interval, each.p, adjusted[at], each.errors_saved)
        for at, each in enumerate(pairs)
    ]
