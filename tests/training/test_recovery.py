"""A loss that is no number, a rate that is too high, a disk that is full: a run goes back, or ends with all it had."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import alice
import pytest
import torch
from alice import brief, corpus, differences, events
from safetensors.torch import load_file

from polyseme.errors import OutputError, TrainingError
from polyseme.formats.folder import open_model
from polyseme.formats.model import ModelCard
from polyseme.train import Run, train
from polyseme.training import checkpoint, outcome
from polyseme.training.checkpoint import Position

SHORT = brief(epochs=1, checkpoint_every=3)


def rollbacks(folder: Path) -> list[tuple[int, int, float]]:
    return [(e["update"], e["to"], e["rate_scale"]) for e in events(folder) if e["event"] == "rollback"]


def all_finite(folder: Path) -> bool:
    files = [*checkpoint.found(folder), folder / "model.safetensors"]
    return all(bool(t.isfinite().all()) for file in files for t in load_file(file).values())


class Poison:
    """Makes something of the network no number, in the updates numbered `at`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, what: str, at: set[int], times: int = 1) -> None:
        self.what, self.at, self.times, self.done = what, at, times, 0
        self.update = Run.update
        monkeypatch.setattr(Run, "update", lambda run: self(run))

    def __call__(self, run: Run) -> bool:
        hit = run.position.update in self.at and self.done < self.times
        self.done += hit
        if hit and self.what == "loss":
            assert run.bilm.softmax is not None
            # Only for this update: no weight is touched for good.
            handle = run.bilm.softmax.bias
            kept = handle.detach().clone()
            handle.data[0] = torch.nan
            good = self.update(run)
            if not good:
                handle.data.copy_(kept)
            return good
        good = self.update(run)
        if hit and self.what == "weight":  # an update that was fine by its loss leaves a weight that is not
            run.bilm.encoder.char_cnn.table.weight.data[200] = torch.inf  # type: ignore[union-attr]
        elif hit and self.what == "large":
            run.bilm.softmax.weight.data.fill_(3e38)  # type: ignore[union-attr]
        elif hit and self.what == "state":
            run.states[0][0].hidden[0, 0] = torch.nan  # type: ignore[index]
        elif hit and self.what == "moment":
            run.optimizer.parts[0].state_dict()["state"][0]["exp_avg_sq"].fill_(torch.inf)
        return good


@pytest.mark.parametrize("what", ["loss", "weight", "state", "moment"])
@pytest.mark.parametrize("times", [1, 2])
def test_what_is_no_number_takes_the_run_back_at_half_the_rate(
    what: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, what, {7}, times)
    report = train(corpus(), tmp_path, alice.LSTM, replace(SHORT, schedule="constant", warm_up=0))
    assert report.rollbacks == times
    # The second time the state itself is suspected.
    assert [(to, scale) for _, to, scale in rollbacks(tmp_path)] == [(6, 0.5), (3, 0.25)][:times]
    assert report.losses is not None
    assert all_finite(tmp_path)
    rates = {e["update"]: e["rate"] for e in events(tmp_path) if e["event"] == "train"}
    assert rates[9] == rates[1] * 0.5**times
    assert len(rates) == report.updates


def test_weights_that_are_no_numbers_are_neither_saved_nor_validated_nor_kept_as_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of a character that the text never holds: no loss will ever tell."""
    for at, config in ((2, SHORT), (10, SHORT), (5, replace(SHORT, validate_every=6)), (0, SHORT)):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with monkeypatch.context() as patch:
            Poison(patch, "weight", {at})
            report = train(corpus(), folder, alice.LSTM, config)
        assert report.rollbacks == 1
        assert all_finite(folder)
        open_model(folder)


def test_scores_beyond_all_numbers_at_a_validation_take_the_run_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, "large", {5})
    report = train(corpus(), tmp_path, alice.LSTM, replace(SHORT, validate_every=6))
    assert (report.rollbacks, rollbacks(tmp_path)) == (1, [(6, 3, 0.5)])
    assert all_finite(tmp_path)


def test_nan_for_ever_ends_the_run_and_leaves_the_best_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Poison(monkeypatch, "loss", {8}, times=1000)
    config = replace(SHORT, validate_every=4, rollbacks=3)
    with pytest.raises(TrainingError, match=r"at update 8, also at 0\.125 of the learning rate.* is in the folder"):
        train(corpus(), tmp_path, alice.LSTM, config)
    assert rollbacks(tmp_path) == [(8, 6, 0.5), (8, 3, 0.25), (8, 6, 0.125)]
    assert all_finite(tmp_path)
    model = open_model(tmp_path)
    assert "validation" in model.card.perplexity


def test_without_a_validation_the_error_does_not_promise_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, "loss", {1}, times=1000)
    with pytest.raises(TrainingError, match="no network was validated"):
        train(corpus(), tmp_path, alice.LSTM, replace(SHORT, rollbacks=1))


def test_a_rate_that_is_far_too_high_is_halved_until_it_is_not(tmp_path: Path) -> None:
    config = brief(
        epochs=2, learning_rate=20.0, warm_up=0, schedule="constant", clip_norm=1e9, weight_decay=0.0, rollbacks=12
    )
    report = train(corpus(), tmp_path, alice.LSTM, config)
    assert report.rollbacks >= 3
    scales = [scale for _, _, scale in rollbacks(tmp_path)]
    assert scales == [0.5**n for n in range(1, len(scales) + 1)]
    assert report.losses is not None
    assert all_finite(tmp_path)
    with pytest.raises(TrainingError, match="has run away"):
        train(corpus(), tmp_path / "few", alice.LSTM, replace(config, rollbacks=1))


def test_divergence_is_a_smoothed_loss_far_above_its_lowest() -> None:
    position = Position()
    assert not any(position.diverged(loss) for loss in (6.0, 5.0, 9.0, 5.0, 60.0))  # noise, and one outlier
    lowest = position.lowest
    assert [position.diverged(loss) for loss in (40.0, 40.0, 40.0)][-1]
    assert position.lowest == lowest


def test_a_rollback_keeps_the_best_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model in the folder was validated behind the checkpoint that the run goes back to."""
    Poison(monkeypatch, "loss", {9})
    config = replace(SHORT, checkpoint_every=100, validate_every=4, learning_rate=0.03)
    report = train(corpus(), tmp_path, alice.LSTM, config)
    assert rollbacks(tmp_path) == [(9, 0, 0.5)]
    found = [e for e in events(tmp_path) if e["event"] == "validation"]
    assert [e["update"] for e in found] == [4, 8, 4, 8, 12]
    best = min(e["heldout"]["mean"] for e in found)
    assert [e["best"] for e in found] == [
        e["heldout"]["mean"] < min([m["heldout"]["mean"] for m in found[:n]], default=1e9) for n, e in enumerate(found)
    ]
    assert report.losses is not None
    assert report.losses.perplexity.mean == pytest.approx(best, rel=0.06)  # 8 lanes there, one here


def test_a_killed_run_that_had_gone_back_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Poison(monkeypatch, "loss", {7}, times=1)
    train(corpus(), tmp_path / "whole", alice.LSTM, SHORT)

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "train" and event["update"] == 10:
            raise KeyboardInterrupt

    Poison(monkeypatch, "loss", {7}, times=1)
    with pytest.raises(KeyboardInterrupt):
        train(corpus(), tmp_path / "killed", alice.LSTM, SHORT, on_event=stop)
    train(corpus(), tmp_path / "killed", alice.LSTM, SHORT, resume=True)
    assert events(tmp_path / "killed") == events(tmp_path / "whole")
    assert differences(tmp_path / "killed", tmp_path / "whole") == {}


def test_numbers_that_json_does_not_know_are_null_in_the_log(tmp_path: Path) -> None:
    writer = outcome.Outcome(tmp_path, None, None, ModelCard(), writes=True)  # type: ignore[arg-type]
    writer.log({"event": "train", "update": 1, "heldout": {"mean": float("inf"), "forward": 2.0}, "rate": float("nan")})
    (line,) = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "event": "train", "update": 1, "heldout": {"mean": None, "forward": 2.0}, "rate": None,
    }  # fmt: skip


# --- a full disk


class Full:
    """The disk is full whenever a file of a certain name is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, after: int) -> None:
        self.left = after
        real_replace, real_open = Path.replace, Path.open

        def refuse(path: Path) -> None:
            if name in str(path):
                self.left -= 1
                if self.left < 0:
                    raise OSError(errno.ENOSPC, "No space left on device", str(path))

        def replace_(path: Path, target: Path) -> Path:
            refuse(Path(target))
            return real_replace(path, target)

        def open_(path: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
            if mode[0] in "wa" and path.name == name:
                refuse(path)
            return real_open(path, mode, *args, **more)

        monkeypatch.setattr(Path, "replace", replace_)
        monkeypatch.setattr(Path, "open", open_)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(corpus(), folder, alice.LSTM, SHORT)
    return folder


@pytest.mark.parametrize(
    ("name", "after", "message"),
    [
        ("000000006.safetensors", 0, r"checkpoint cannot be written .No space left on device.*make room"),
        ("000000000.safetensors", 0, "checkpoint cannot be written"),
        ("vocab.txt", 0, "the model cannot be written .No space left"),
        ("model.safetensors", 0, "the model cannot be written .No space left"),
        ("model.safetensors", 1, "the model cannot be written .No space left"),  # the last one, with its final card
        ("log.jsonl", 4, r"log\.jsonl: cannot be written .No space left"),
        ("curve.html", 0, "the curve cannot be written .No space left"),
    ],
)
def test_a_full_disk_is_one_error_and_the_run_goes_on_afterwards(
    name: str, after: int, message: str, tmp_path: Path, whole: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Full(patch, name, after)
        with pytest.raises(OutputError, match=message):
            train(corpus(), tmp_path, alice.LSTM, SHORT)
    # Half-written files are gone, and what was there is whole.
    assert [path.name for path in tmp_path.rglob(".*")] == []
    for path in checkpoint.found(tmp_path):
        load_file(path)
    train(corpus(), tmp_path, alice.LSTM, SHORT, resume=True)
    assert events(tmp_path) == events(whole)
    assert differences(tmp_path, whole) == {}


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
import alice
from polyseme.errors import OutputError
from polyseme.train import train

def listen(event):
    if event["update"] == 4:  # the checkpoint of update 3 is there; the next one finds no room
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))

try:
    train(alice.corpus(), sys.argv[1], alice.LSTM, alice.brief(epochs=1, checkpoint_every=3), on_event=listen)
except OutputError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="has no limit on the size of files")
@pytest.mark.parametrize(("limit", "message"), [(20_000, "checkpoint cannot be written"), (1_100, "cannot be written")])
def test_a_file_that_may_not_grow_is_one_error_too(limit: int, message: str, tmp_path: Path, whole: Path) -> None:
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", LIMITED, str(tmp_path), tests, str(limit)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert message in done.stdout
    assert "File too large" in done.stdout
    for path in checkpoint.found(tmp_path):
        load_file(path)
    train(corpus(), tmp_path, alice.LSTM, SHORT, resume=True)
    assert events(tmp_path) == events(whole)
    assert differences(tmp_path, whole) == {}


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=r"cannot be made .Not a directory"):
        train(corpus(), tmp_path / "file" / "model", alice.LSTM, SHORT)


def test_the_callers_random_numbers_stay_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(corpus(), tmp_path, alice.LSTM, replace(SHORT, dropout=alice.DROPOUT))
    assert torch.rand(3).equal(expected)
