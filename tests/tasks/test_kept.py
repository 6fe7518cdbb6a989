"""Fits kept on disk: found again for the same question only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from polyseme.tasks.compare import Fitted
from polyseme.tasks.kept import KeptLearner, digest_of


class Counting:
    """A learner whose fits tell which one they are."""

    name = "counting"

    def __init__(self) -> None:
        self.fits = 0

    def fit(self, rows: Sequence[int], seed: int) -> Fitted:
        self.fits += 1
        return Fitted(0.1 * self.fits, np.asarray([[float(len(rows)), float(seed)]]), self.fits, 1.5, 2.5)


def test_a_fit_is_found_again_by_everything_that_decides_about_it(tmp_path: Path) -> None:
    learner = Counting()
    first = KeptLearner(learner, tmp_path / "new", digest_of("data", 1))
    fitted = first.fit([0, 3], 1)
    again = KeptLearner(Counting(), tmp_path / "new", digest_of("data", 1)).fit([0, 3], 1)
    assert (again.dev, again.epochs, again.fit_seconds, again.test_seconds) == (fitted.dev, 1, 1.5, 2.5)
    np.testing.assert_array_equal(again.counts, fitted.counts)
    assert first.fit([0, 3], 2).epochs == 2
    assert first.fit([0, 4], 1).epochs == 3
    assert KeptLearner(learner, tmp_path / "new", digest_of("data", 2)).fit([0, 3], 1).epochs == 4
    assert learner.fits == 4


def test_a_file_that_is_not_whole_is_fitted_anew(tmp_path: Path) -> None:
    learner = KeptLearner(Counting(), tmp_path, digest_of())
    learner.fit([1], 1)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"nothing of the kind"):
        file.write_bytes(damaged)
        before = learner.learner.fits  # type: ignore[attr-defined]
        assert learner.fit([1], 1).epochs == before + 1
        assert learner.fit([1], 1).epochs == before + 1
