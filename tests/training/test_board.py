"""The listener for TensorBoard: what TensorBoard itself finds in the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from polyseme.errors import MissingExtraError, OutputError
from polyseme.training import board
from polyseme.training.board import Board, scalars

TRAIN = {"event": "train", "update": 100, "loss": "full", "perplexity": {"forward": 90.0, "backward": float("inf")},
         "rate": 0.001, "targets_per_second": 1234.5}  # fmt: skip
VALIDATION = {"event": "validation", "update": 120, "heldout": {"forward": 99.0, "backward": 98.0, "mean": 98.5}}


def charts(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads there: updates and values by chart."""
    read = EventAccumulator(str(folder))
    read.Reload()
    return {name: [(point.step, point.value) for point in read.Scalars(name)] for name in read.Tags()["scalars"]}


@pytest.fixture
def plain_path() -> Iterator[Path]:
    """A folder outside pytest's own: TensorBoard writes to no name that the locale cannot spell."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def test_tensorboard_reads_scalars_by_update(plain_path: Path) -> None:
    with Board(plain_path) as listener:
        listener(TRAIN)
        listener(VALIDATION)
        listener(VALIDATION | {"update": 240})
    assert charts(plain_path / "tensorboard") == {
        "perplexity, training/forward": [(100, 90.0)],
        "learning rate": [(100, pytest.approx(0.001))],
        "targets a second": [(100, 1234.5)],
        "perplexity, held out/forward": [(120, 99.0), (240, 99.0)],
        "perplexity, held out/backward": [(120, 98.0), (240, 98.0)],
        "perplexity, held out/mean": [(120, 98.5), (240, 98.5)],
    }


def test_a_validation_can_be_seen_while_the_run_goes_on(plain_path: Path) -> None:
    with Board(plain_path) as listener:
        listener(VALIDATION)
        assert charts(plain_path / "tensorboard")["perplexity, held out/mean"] == [(120, 98.5)]


def test_a_name_that_is_no_utf8_is_one_sentence(tmp_path: Path) -> None:
    with Board(tmp_path / "\udce4") as listener, pytest.raises(OutputError, match="this locale cannot spell the name"):
        listener(VALIDATION)


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
