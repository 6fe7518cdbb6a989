"""The listener for TensorBoard, with a stand-in for its writer: the package is an extra."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from polyseme.errors import MissingExtraError
from polyseme.training import board
from polyseme.training.board import Board, scalars

TRAIN = {"event": "train", "update": 100, "loss": "full", "perplexity": {"forward": 90.0, "backward": float("inf")},
         "rate": 0.001, "targets_per_second": 1234.5}  # fmt: skip
VALIDATION = {"event": "validation", "update": 120, "heldout": {"forward": 99.0, "backward": 98.0, "mean": 98.5}}


class Writer:
    """What torch's SummaryWriter is asked for."""

    def __init__(self, folder: str) -> None:
        self.folder, self.written, self.flushed, self.closed = folder, [], 0, False
        Writer.last = self

    last: Any = None

    def add_scalar(self, name: str, value: float, update: int) -> None:
        self.written.append((name, value, update))

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = ModuleType("torch.utils.tensorboard")
    stub.SummaryWriter = Writer  # type: ignore[attr-defined]
    package = ModuleType("tensorboard")
    package.__spec__ = ModuleSpec("tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard", package)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stub)


@pytest.mark.usefixtures("tensorboard")
def test_events_become_scalars_by_update(tmp_path: Path) -> None:
    with Board(tmp_path) as listener:
        listener(TRAIN)
        listener(VALIDATION)
    assert Writer.last.folder == str(tmp_path / "tensorboard")
    assert Writer.last.written == [
        ("perplexity, training/forward", 90.0, 100),
        ("learning rate", 0.001, 100),
        ("targets a second", 1234.5, 100),
        ("perplexity, held out/forward", 99.0, 120),
        ("perplexity, held out/backward", 98.0, 120),
        ("perplexity, held out/mean", 98.5, 120),
    ]
    assert (Writer.last.flushed, Writer.last.closed) == (1, True)


@pytest.mark.usefixtures("tensorboard")
def test_nothing_is_made_before_the_first_event(tmp_path: Path) -> None:
    with Board(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_sampled_loss_has_a_chart_of_its_own() -> None:
    assert next(scalars(TRAIN | {"loss": "sampled"}))[0] == "sampled perplexity, training/forward"


def test_ends_and_rollbacks_are_told_and_strange_events_passed_over() -> None:
    assert list(scalars({"event": "rollback", "update": 7, "rate_scale": 0.5})) == [("rate after rollbacks", 0.5)]
    assert list(scalars({"event": "end", "update": 9, "heldout": {"mean": 5.0}})) == [
        ("perplexity, all held-out text/mean", 5.0)
    ]
    assert list(scalars({"event": "something"})) == []


def test_without_tensorboard_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"polyseme\[train\]"):
        Board(tmp_path)
