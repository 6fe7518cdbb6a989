"""A run that is killed and goes on ends where an uninterrupted one does; what does not fit is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import alice
import pytest
from alice import SIZES, brief, corpus, differences, events

from polyseme.errors import OutputError, ResumeError
from polyseme.train import TrainReport, train
from polyseme.training import checkpoint
from polyseme.training.config import RECIPES, TrainConfig

# name: (architecture, recipe); in each everything random is on
RUNS: dict[str, tuple[str, TrainConfig]] = {
    "lstm": ("lstm", brief(dropout=alice.DROPOUT)),
    "lstm, sampled": ("lstm", brief(dropout=alice.DROPOUT, loss="sampled", samples=40)),
    "lstm, published recipe": (
        "lstm",
        replace(RECIPES["published"], **{n: getattr(brief(), n) for n in ("epochs", "lanes", "steps", "log_every")},
                samples=40, checkpoint_every=5),
    ),
    "lstm, accumulating": ("lstm", brief(dropout=alice.DROPOUT, loss="sampled", samples=40, accumulate=2)),
    "transformer, sampled": ("transformer", brief(dropout=alice.DROPOUT, loss="sampled", samples=40)),
    "transformer, adagrad": ("transformer", brief(dropout=alice.DROPOUT, optimizer="adagrad", schedule="inverse_sqrt")),
}  # fmt: skip


SHORT = brief(epochs=1, checkpoint_every=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainReport]:
    """The short run, never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, train(corpus(), folder, alice.LSTM, SHORT)


def same(folder: Path, other: Path) -> bool:
    return events(folder) == events(other) and differences(folder, other) == {}


class Killed(Exception):
    pass


def killer(at: int, kind: str = "train") -> Callable[[dict[str, Any]], None]:
    """Ends the run behind the line of the log that tells of update `at`."""

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == kind and event["update"] >= at:
            raise Killed

    return listen


def begun(folder: Path, at: int, sizes: str, config: TrainConfig, **more: Any) -> None:
    """A run that was killed."""
    with pytest.raises(Killed):
        train(corpus(), folder, SIZES[sizes], config, on_event=killer(at), **more)


SLOW = {"lstm, published recipe", "lstm, accumulating", "transformer, adagrad"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RUNS])
def test_a_run_killed_three_times_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    sizes, config = RUNS[name]
    whole = train(corpus(), tmp_path / "whole", SIZES[sizes], config)
    n_updates = whole.updates
    begun(tmp_path / "killed", 3, sizes, config)  # before the first checkpoint but that of the start
    begun(tmp_path / "killed", n_updates // 2 + 2, sizes, config, resume=True)  # just behind the border of an epoch
    begun(tmp_path / "killed", n_updates - 1, sizes, config, resume=True)
    report = train(corpus(), tmp_path / "killed", SIZES[sizes], config, resume=True)
    assert same(tmp_path / "killed", tmp_path / "whole")
    assert (report.updates, report.targets, report.losses) == (whole.updates, whole.targets, whole.losses)
    assert [e["update"] for e in events(tmp_path / "whole") if e["event"] == "train"] == [*range(1, n_updates + 1)]


def test_a_run_killed_at_a_validation_validates_again(tmp_path: Path) -> None:
    config = brief(epochs=1, validate_every=4, checkpoint_every=3, log_every=5)  # none divides another
    train(corpus(), tmp_path / "whole", alice.LSTM, config)
    for at in (4, 8):
        with pytest.raises(Killed):
            train(corpus(), tmp_path / "killed", alice.LSTM, config, resume=True, on_event=killer(at, "validation"))
    train(corpus(), tmp_path / "killed", alice.LSTM, config, resume=True)
    assert same(tmp_path / "killed", tmp_path / "whole")
    log = events(tmp_path / "whole")
    of = log[-1]["update"]
    assert [e["update"] for e in log if e["event"] == "validation"] == sorted({*range(4, of + 1, 4), of})
    assert [e["update"] for e in log if e["event"] == "train"] == sorted({*range(5, of + 1, 5), of})


OPEN_END = brief(epochs=3, schedule="constant", checkpoint_every=4)
ENDED = replace(OPEN_END, updates=14, cool_down=6)


def test_a_constant_rate_may_learn_later_where_it_ends(tmp_path: Path) -> None:
    report = train(corpus(), tmp_path / "straight", alice.LSTM, ENDED)
    assert report.updates == 14
    assert events(tmp_path / "straight")[-2]["event"] == "validation"
    begun(tmp_path / "later", 9, "lstm", OPEN_END)
    assert train(corpus(), tmp_path / "later", alice.LSTM, ENDED, resume=True) == replace(report, seconds=ANY)
    assert differences(tmp_path / "later", tmp_path / "straight") == {}


def test_a_run_that_ended_at_a_constant_rate_goes_on(tmp_path: Path) -> None:
    train(corpus(), tmp_path, alice.LSTM, replace(OPEN_END, updates=5))
    assert train(corpus(), tmp_path, alice.LSTM, ENDED, resume=True).updates == 14


@pytest.mark.parametrize(
    ("at", "before", "now", "said"),
    [
        (13, ENDED, replace(ENDED, updates=20), "updates = 14, this run has 20"),  # it cools down already
        (13, ENDED, replace(ENDED, cool_down=3), "cool_down = 6, this run has 3"),
        (9, OPEN_END, replace(ENDED, updates=7), "8 updates, and this run should end, or begin to cool down, after 1;"),
        (9, OPEN_END, replace(ENDED, updates=12), "after 6; give more updates"),
        (9, OPEN_END, replace(OPEN_END, updates=7), "after 7; give more updates"),
        (9, SHORT, replace(SHORT, updates=12), "updates = 0, this run has 12"),  # a cosine has fallen from the start on
    ],
)
def test_an_end_that_comes_too_late_is_refused(
    at: int, before: TrainConfig, now: TrainConfig, said: str, tmp_path: Path
) -> None:
    begun(tmp_path, at, "lstm", before)
    with pytest.raises(ResumeError, match=said):
        train(corpus(), tmp_path, alice.LSTM, now, resume=True)


def test_a_run_that_was_asked_to_stop_goes_on(tmp_path: Path, whole: tuple[Path, TrainReport]) -> None:
    asked = iter([False] * 6 + [True])
    report = train(corpus(), tmp_path, alice.LSTM, SHORT, should_stop=lambda: next(asked))
    assert (report.stopped, report.updates, report.losses) == (True, 7, None)
    assert checkpoint.found(tmp_path)[-1].name == "000000007.safetensors"
    train(corpus(), tmp_path, alice.LSTM, SHORT, resume=True)
    assert same(tmp_path, whole[0])


def test_a_finished_run_does_nothing_more_and_reports_the_same(
    whole: tuple[Path, TrainReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, report = whole
    log, model = events(folder), (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr("polyseme.train.Run.update", lambda _: pytest.fail("an update"))
    assert train(corpus(), folder, alice.LSTM, SHORT, resume=True) == report
    assert events(folder) == log
    assert (folder / "model.safetensors").read_bytes() == model


def test_a_run_out_of_patience_does_not_go_on_unless_more_is_granted(tmp_path: Path) -> None:
    impatient = brief(epochs=6, patience=2, learning_rate=1e-9, weight_decay=0.0, schedule="constant", validate_every=3)
    # At such a rate a validation is better or worse by chance; one that is never better ends the run after the second.
    report = train(corpus(), tmp_path, alice.LSTM, replace(impatient, learning_rate=0.5, clip_norm=100.0, rollbacks=0))
    found = [e["best"] for e in events(tmp_path) if e["event"] == "validation"]
    assert found[-2:] == [False, False]
    assert report.updates == 3 * len(found) < 6 * 13
    assert report.losses is not None
    config = replace(impatient, learning_rate=0.5, clip_norm=100.0, rollbacks=0)
    assert train(corpus(), tmp_path, alice.LSTM, config, resume=True).updates == report.updates
    more = train(corpus(), tmp_path, alice.LSTM, replace(config, patience=3), resume=True)
    assert more.updates > report.updates


def test_resume_on_a_fresh_folder_simply_starts(tmp_path: Path, whole: tuple[Path, TrainReport]) -> None:
    train(corpus(), tmp_path / "fresh", alice.LSTM, SHORT, resume=True)
    assert same(tmp_path / "fresh", whole[0])


# --- damage


def damaged(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        del data[len(data) // 2 :]
    elif how == "empty":
        data.clear()
    elif how == "flipped bit":
        data[-100] ^= 4
    elif how == "nonsense":
        data[:] = os.urandom(len(data))
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "empty", "flipped bit", "nonsense"])
def test_a_damaged_checkpoint_falls_back_on_the_one_before(
    how: str, tmp_path: Path, whole: tuple[Path, TrainReport]
) -> None:
    begun(tmp_path, 8, "lstm", SHORT)
    older, newest = checkpoint.found(tmp_path)
    assert (older.stem, newest.stem) == ("000000003", "000000006")
    damaged(newest, how)
    if how == "cut":
        # With one checkpoint to keep, the damaged one must not outlive the first good one.
        begun(tmp_path, 6, "lstm", replace(SHORT, keep=1, checkpoint_every=1), resume=True)
        assert [path.stem for path in checkpoint.found(tmp_path)] == ["000000005"]
    train(corpus(), tmp_path, alice.LSTM, SHORT, resume=True)
    assert same(tmp_path, whole[0])


def test_all_checkpoints_damaged_is_an_error_and_touches_nothing(tmp_path: Path) -> None:
    begun(tmp_path, 8, "lstm", SHORT)
    for path, how in zip(checkpoint.found(tmp_path), ("flipped bit", "cut"), strict=True):
        damaged(path, how)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ResumeError, match=r"0006\.safetensors: damaged .* so is every other .* another folder"):
        train(corpus(), tmp_path, alice.LSTM, SHORT, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path, whole: tuple[Path, TrainReport]) -> None:
    begun(tmp_path, 8, "lstm", SHORT)
    (tmp_path / ".model.x1y2").mkdir()
    (tmp_path / ".model.x1y2" / "config.json").write_text("{", encoding="utf-8")
    (tmp_path / "checkpoints" / ".000000015.safetensors.77.tmp").write_bytes(b"half")
    (tmp_path / ".log.jsonl.77.tmp").write_bytes(b"half")
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"event": "train", "upd')
    train(corpus(), tmp_path, alice.LSTM, SHORT, resume=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoints", "config.json", "curve.html", "log.jsonl", "model.safetensors", "vocab.txt"]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert same(tmp_path, whole[0])


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_checkpoints_are_kept(keep: int, tmp_path: Path) -> None:
    report = train(corpus(), tmp_path, alice.LSTM, replace(SHORT, keep=keep, checkpoint_every=5))
    saved = sorted({*range(0, report.updates + 1, 5), report.updates})
    assert [int(path.stem) for path in checkpoint.found(tmp_path)] == saved[-keep:]


# --- what does not fit


def test_another_run_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    text, config = corpus(), SHORT
    begun(tmp_path, 4, "lstm", config)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def refused(what: str, text: Any = text, config: TrainConfig = config, **more: Any) -> None:
        sizes = more.pop("sizes", alice.LSTM)
        with pytest.raises(ResumeError, match=what):
            train(text, tmp_path, sizes, config, resume=True, **more)

    refused(r"training\.steps = 20, this run has 19", config=replace(config, steps=19))
    refused(r"training\.learning_rate", config=replace(config, learning_rate=0.02))
    refused(r"training\.dropout\.inputs = 0\.0, this run has 0\.1", config=replace(config, dropout=alice.DROPOUT))
    refused(r"training\.seed", config=replace(config, seed=2))
    refused(r"training\.epochs = 1, this run has 3", config=replace(config, epochs=3))  # the cosine ends elsewhere
    refused(r"architecture\.cell_size = 16, this run has 17", sizes=replace(alice.LSTM, cell_size=17))
    refused(r"architecture\.", sizes=alice.TRANSFORMER)
    refused(r"architecture\.softmax_size", vocabulary=100)
    refused("a run on another text", text=corpus(heldout=9))
    refused("a run on another text", text=corpus(train=39))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    free = {"log_every": 2, "validate_every": 3, "checkpoint_every": 2, "keep": 3, "patience": 9, "rollbacks": 1}
    train(text, tmp_path, alice.LSTM, replace(config, **free), resume=True)  # decides nothing


@pytest.mark.slow
def test_a_constant_rate_lets_more_epochs_follow(tmp_path: Path) -> None:
    constant = brief(schedule="constant", epochs=1)
    train(corpus(), tmp_path / "more", alice.LSTM, constant)
    train(corpus(), tmp_path / "more", alice.LSTM, replace(constant, epochs=2), resume=True)
    train(corpus(), tmp_path / "whole", alice.LSTM, replace(constant, epochs=2))
    losses = [
        [(e["update"], e["perplexity"]) for e in events(tmp_path / name) if e["event"] == "train"]
        for name in ("more", "whole")
    ]
    assert losses[0] == losses[1]
    assert differences(tmp_path / "more", tmp_path / "whole") == {}


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    begun(tmp_path / "used", 2, "lstm", SHORT)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"is not empty \(it holds '.*'\): pass --resume to go on"):
        train(corpus(), tmp_path / "used", alice.LSTM, brief())
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work", encoding="utf-8")
    before[tmp_path / "home" / "thesis.tex"] = b"years of work"
    for resume in (False, True):  # --resume is no licence to write into any folder
        with pytest.raises(OutputError, match=r"is not empty \(it holds 'thesis\.tex'\): give another folder"):
            train(corpus(), tmp_path / "home", alice.LSTM, brief(), resume=resume)
    with pytest.raises(OutputError, match="is no folder"):
        train(corpus(), tmp_path / "home" / "thesis.tex", alice.LSTM, brief())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_checkpoints_that_vanish_in_mid_run_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(event: dict[str, Any]) -> None:
        if event["update"] == 3:
            for path in checkpoint.found(tmp_path):
                path.unlink()
            monkeypatch.setattr("polyseme.train.rate", lambda *_: float("nan"))

    with pytest.raises(OutputError, match="checkpoints are gone"):
        train(corpus(), tmp_path, alice.LSTM, brief(), on_event=lose)


# --- SIGKILL

RUN = """
import json, sys
sys.path.insert(0, sys.argv[3])
import torch
torch.set_num_threads(1)
import alice, test_train_resume
from polyseme.train import train
sizes, config = test_train_resume.RUNS[sys.argv[2]]
train(alice.corpus(), sys.argv[1], alice.SIZES[sizes], config, resume=True,
      on_event=lambda event: print(event["update"], flush=True))
"""


def in_another_process(folder: Path, name: str, kill_at: int | None = None) -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-c", RUN, str(folder), name, str(here)]
    environment = os.environ | {"PYTHONPATH": str(here.parent), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if kill_at is not None and int(line) >= kill_at:
                process.kill()
                break
    assert process.returncode == (0 if kill_at is None else -signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="has no SIGKILL")
@pytest.mark.parametrize("name", ["lstm, sampled", "lstm, published recipe", "transformer, sampled"])
def test_sigkill_at_any_moment_loses_nothing(name: str, tmp_path: Path) -> None:
    for kill_at in (2, 9, 16, 22):  # an update is under way, or a checkpoint, or a validation
        in_another_process(tmp_path / "killed", name, kill_at)
    in_another_process(tmp_path / "killed", name)
    in_another_process(tmp_path / "whole", name)
    assert same(tmp_path / "killed", tmp_path / "whole")
