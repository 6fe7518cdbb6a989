"""Fits of `compare` that are kept on disk, so that a comparison of hours which was killed goes on where it was.

    learner = KeptLearner(learner, folder, digest_of(kind, settings, examples, identities_of_features))

A fit is found again only if everything that decides about it is the same: the examples, features, network and training,
the rows and the seed, and the versions of Polyseme and torch. A file that cannot be read is fitted anew.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from polyseme._version import __version__
from polyseme.errors import OutputError
from polyseme.tasks.compare import Fitted, Learner

FITS = 1  # to be raised when the same question gets another answer: a network, a measure or the loop has changed


@dataclass(frozen=True)
class KeptLearner:
    """The same learner, whose fits lie in `folder`. `digest`: of everything but the rows and the seed."""

    learner: Learner
    folder: Path
    digest: str

    @property
    def name(self) -> str:
        """That of the learner."""
        return self.learner.name

    def fit(self, rows: Sequence[int], seed: int) -> Fitted:
        """As it was when it was fitted, also its seconds; else fitted now. Raises `OutputError` (a full disk)."""
        path = self.folder / f"fit-{digest_of(self.digest, list(rows), seed)[:24]}.npz"
        found = _read(path)
        if found is None:
            found = self.learner.fit(rows, seed)
            _write(path, found)
        return found


def digest_of(*what: object) -> str:
    """SHA-256 of values whose `repr` says all of them: texts, numbers, tuples, dataclasses of those."""
    versions = (FITS, __version__, torch.__version__)
    return hashlib.sha256(repr((versions, what)).encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> Fitted | None:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            numbers = {name: float(file[name]) for name in ("dev", "epochs", "fit_seconds", "test_seconds")}
            counts = np.asarray(file["counts"], dtype=np.float64)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    return Fitted(
        numbers["dev"], counts, int(numbers["epochs"]), numbers["fit_seconds"], numbers["test_seconds"]
    )  # fmt: skip


def _write(path: Path, fitted: Fitted) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(
                file, counts=fitted.counts, dev=fitted.dev, epochs=fitted.epochs,
                fit_seconds=fitted.fit_seconds, test_seconds=fitted.test_seconds,
            )  # fmt: skip
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: a fit cannot be kept ({error}); choose another place with --cache") from error
    finally:
        partial.unlink(missing_ok=True)
