"""Several processes compute what one does, share what they must and no more, and end together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import alice
import numpy as np
import pytest
import torch
import torch.distributed as dist
from alice import SIZES, brief, corpus, events
from safetensors.torch import load_file

from polyseme.errors import TrainingError
from polyseme.text.shards import Corpus
from polyseme.train import TrainReport, train
from polyseme.training import checkpoint, processes
from polyseme.training.config import TrainConfig
from polyseme.training.processes import Processes, joined

TESTS = Path(__file__).parents[1]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="gloo between processes is tried on Linux only")

# One batch whatever the number of processes, and no dropout. Adam and Adagrad, all words and a sample.
RUNS: dict[str, tuple[str, TrainConfig]] = {
    "full, AdamW": ("lstm", brief(epochs=1)),
    "full, Adagrad": ("lstm", brief(epochs=1, optimizer="adagrad", learning_rate=0.1)),
    "sampled, AdamW": ("lstm", brief(epochs=1, loss="sampled", samples=60)),
    "sampled, Adagrad": ("lstm", brief(epochs=1, loss="sampled", samples=60, optimizer="adagrad", learning_rate=0.1)),
    "transformer": ("transformer", brief(epochs=1, loss="sampled", samples=60)),
}

TOGETHER = """
import json, sys
sys.path[:0] = sys.argv[2:4]
import torch
import torch.distributed as dist
torch.set_num_threads(1)
import alice, pytest, test_processes, test_recovery
from pathlib import Path
from polyseme.train import train
from polyseme.training.processes import joined

out = Path(sys.argv[1])
with joined("cpu") as found:
    said = {"rank": found.rank, "world": found.world}
    for name, (sizes, config) in test_processes.RUNS.items():
        events = []
        report = train(alice.corpus(), out / name, alice.SIZES[sizes], config, processes=found, on_event=events.append)
        said[name] = [report.updates, report.targets, report.losses.forward, len(events)]
    # What goes wrong in one process takes all back.
    for what in ("loss", "state", "weight"):
        with pytest.MonkeyPatch.context() as patch:
            if found.rank == 1:
                test_recovery.Poison(patch, what, {7})
            config = alice.brief(epochs=1, checkpoint_every=3)
            report = train(alice.corpus(), out / what, alice.LSTM, config, processes=found)
            said[what] = [report.updates, report.rollbacks, report.losses.forward]
    said["gathered"] = test_processes.gathered(found)
    said["traffic"] = test_processes.traffic(found)
    said["sums"] = test_processes.sums(found)
said["threads"] = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
(out / f"{found.rank}.json").write_text(json.dumps(said), encoding="utf-8")
"""


def gathered(found: Processes) -> dict[str, list[float]]:
    """Tensors of other names and shapes from each process."""
    own = {f"x{found.rank}": torch.full((found.rank + 1,), float(found.rank)), "y": torch.zeros(found.rank, 2)}
    everyone = found.gather(own, torch.device("cpu"))
    return {name: [*map(float, tensor.shape), *tensor.flatten().tolist()] for name, tensor in everyone.items()}


def gradients(rank: int, n_words: int, n_rows: int, *, sparse: bool) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    """A softmax of which each process has a gradient for some rows, and another weight."""
    generator = torch.Generator().manual_seed(rank)
    rows = torch.randperm(n_words, generator=generator)[:n_rows].sort().values
    values = torch.randn(n_rows, 8, generator=generator)
    softmax, other = (torch.nn.Parameter(torch.zeros(n, 8)) for n in (n_words, 5))
    grad = torch.sparse_coo_tensor(rows.unsqueeze(0), values, (n_words, 8), check_invariants=False)
    softmax.grad = grad if sparse else grad.to_dense()
    other.grad = torch.randn(5, 8, generator=generator)
    return softmax, other


def sums(found: Processes) -> list[float]:
    """How far the sum of sparse gradients lies from that of dense ones, and both from a sum made here."""
    apart = []
    for n_rows in (1, 50):
        kinds = [gradients(found.rank, 1000, n_rows, sparse=sparse) for sparse in (True, False)]
        here = [gradients(rank, 1000, n_rows, sparse=False) for rank in range(found.world)]
        for pair in kinds:
            found.sum_gradients(pair)
            for ours, *theirs in zip(pair, *here, strict=True):
                assert ours.grad is not None
                expected = sum(each.grad for each in theirs)  # type: ignore[misc]
                apart.append(float((ours.grad.to_dense() - expected).abs().max()))
    return apart


def traffic(found: Processes) -> dict[str, int]:
    """Bytes that this process gives to the others, by words of the softmax and rows with a gradient."""
    given = 0
    real_reduce, real_gather = dist.all_reduce, dist.all_gather

    def counted(tensor: torch.Tensor) -> None:
        nonlocal given
        given += tensor.numel() * tensor.element_size()

    def all_reduce(tensor: torch.Tensor, *args: Any, **more: Any) -> Any:
        counted(tensor)
        return real_reduce(tensor, *args, **more)

    def all_gather(into: list[torch.Tensor], tensor: torch.Tensor, *args: Any, **more: Any) -> Any:
        counted(tensor)
        return real_gather(into, tensor, *args, **more)

    amounts = {}
    dist.all_reduce, dist.all_gather = all_reduce, all_gather
    try:
        for n_words in (20_000, 800_000):
            for n_rows in (100, 1000):
                given = 0
                found.sum_gradients(gradients(found.rank, n_words, n_rows, sparse=True))
                amounts[f"{n_words} {n_rows}"] = given
    finally:
        dist.all_reduce, dist.all_gather = real_reduce, real_gather
    return amounts


def launched(n: int, *arguments: object, **more: Any) -> subprocess.Popen[str]:
    """`torchrun`, as a group of processes that a signal can reach together."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n), "--master-port", "0"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | more.pop("env", {})
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", env=environment, start_new_session=True, **more
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """All `RUNS` by two processes: their folder, and what each process said."""
    out = tmp_path_factory.mktemp("pair")
    script = out / "together.py"
    script.write_text(TOGETHER, encoding="utf-8")
    with launched(2, script, out, TESTS, TESTS / "training") as program:
        _, said = program.communicate(timeout=300)
    assert program.returncode == 0, said
    return out, [json.loads((out / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


def apart(left: Path, right: Path) -> tuple[float, float]:
    """The largest difference of the losses, and of the weights."""
    ways = ("forward", "backward")
    losses = [
        [e["perplexity"][way] for e in events(folder) if e["event"] == "train" for way in ways]
        for folder in (left, right)
    ]
    ours, theirs = (load_file(checkpoint.found(folder)[-1]) for folder in (left, right))
    weights = max(float((ours[name] - theirs[name]).abs().max()) for name in ours if name.startswith("network."))
    return float(np.abs(np.log(losses[0]) - np.log(losses[1])).max()), weights


@linux
@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_compute_what_one_does(
    name: str, pair: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    sizes, config = RUNS[name]
    # Sentences are batched for as many parts as there are; two parts of one process are those of two processes.
    alone = replace(config, accumulate=2) if sizes == "transformer" else config
    report = train(corpus(), tmp_path, SIZES[sizes], alone)
    folder, said = pair
    assert [found[name][:2] for found in said] == [[report.updates, report.targets]] * 2
    assert said[0][name][2] == said[1][name][2]
    losses, weights = apart(folder / name, tmp_path)
    assert losses <= 1e-6  # in nats; float32 sums in another order: found 8e-8
    assert weights <= 1e-5  # found 1.2e-6 (AdamW), 6e-8 (Adagrad)


@linux
@pytest.mark.slow
def test_only_the_first_process_writes_and_speaks(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, (first, second) = pair
    assert (first["rank"], second["rank"], first["world"], second["world"]) == (0, 1, 2, 2)
    for name in RUNS:
        assert first[name][3] == len(events(folder / name)) > 0
        assert second[name][3] == 0
        assert len(checkpoint.found(folder / name)) == 2


@linux
@pytest.mark.slow
@pytest.mark.parametrize("what", ["loss", "state", "weight"])
def test_what_goes_wrong_in_one_process_takes_all_back(what: str, pair: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, (first, second) = pair
    assert first[what] == second[what]
    assert first[what][:2] == [first["full, AdamW"][0], 1]
    (event,) = [e for e in events(folder / what) if e["event"] == "rollback"]
    assert (event["to"], event["rate_scale"]) == (6, 0.5)


@linux
@pytest.mark.slow
def test_states_are_gathered_whatever_their_shapes(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    expected = {"0.x0": [1, 0], "0.y": [0, 2], "1.x1": [2, 1, 1], "1.y": [1, 2, 0, 0]}
    assert [found["gathered"] for found in pair[1]] == [expected] * 2


@linux
@pytest.mark.slow
def test_a_vocabulary_costs_what_its_samples_cost(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    """Only rows with a gradient travel."""
    _, said = pair
    for found in said:
        assert max(found["sums"]) <= 1e-6
        bytes_ = found["traffic"]
        for n_rows in (100, 1000):
            assert bytes_[f"20000 {n_rows}"] == bytes_[f"800000 {n_rows}"]
        # A row of 8 float32 and its number; the other weight; two counts of rows.
        assert bytes_["800000 1000"] == 1000 * (8 * 4 + 8) + 5 * 8 * 4 + 2 * 8
        assert bytes_["800000 1000"] - bytes_["800000 100"] == 900 * (8 * 4 + 8)


@linux
@pytest.mark.slow
def test_no_thread_outlives_the_connection(pair: tuple[Path, list[dict[str, Any]]]) -> None:
    """Such a thread aborts a process that ends at the wrong moment."""
    for found in pair[1]:
        assert found["threads"]
        assert not [name for name in found["threads"] if "gloo" in name]


# --- processes that die


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A prepared corpus would do as well; this is also a test of preparing in one process only."""
    file = tmp_path / "text.txt"
    file.write_text("\n".join(" ".join(words) for words in alice.sentences()[:60]), encoding="utf-8")
    return file


def command(text: Path, out: Path, *more: object) -> list[object]:
    return [
        TESTS / "quick_polyseme.py", "train", text, "-o", out, "--tokenized", "--lang", "en", "--heldout", 0.1,
        "--preset", "tiny", "--epochs", 5, "--batch-size", 6, "--log-every", 1, "--checkpoint-every", 5,
        "--validate-every", 1000, "--threads", 1, *more,
    ]  # fmt: skip


def updates(out: Path) -> int:
    try:
        lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0
    return len(lines)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    folder = tmp_path / "pids"
    folder.mkdir()
    return folder


@linux
@pytest.mark.slow
def test_one_process_killed_ends_all_and_the_run_goes_on(text: Path, pids: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with launched(2, *command(text, out), env={"QUICK_PIDS": str(pids)}) as program:
        until(lambda: updates(out) >= 12)
        os.kill(int((pids / "1").read_text(encoding="utf-8")), signal.SIGKILL)
        printed, said = program.communicate(timeout=120)
    assert program.returncode == 1
    assert printed.count("held-out perplexity") == 0
    assert "Error: another process of this run ended, or cannot be reached" in said
    assert "go on from the last checkpoint with --resume" in said
    with launched(2, *command(text, out, "--resume", "--json")) as program:
        printed, said = program.communicate(timeout=200)
    assert program.returncode == 0, said
    (line,) = printed.splitlines()  # of one process
    found = json.loads(line)
    with launched(2, *command(text, tmp_path / "whole", "--json")) as program:
        printed, said = program.communicate(timeout=200)
    whole = json.loads(printed)
    assert (found["perplexity"], found["updates"]) == (whole["perplexity"], whole["updates"])
    assert events(out) == events(tmp_path / "whole")
    assert alice.differences(out, tmp_path / "whole") == {}


@linux
@pytest.mark.slow
def test_torchrun_starts_the_processes_again_and_the_run_goes_on_by_itself(
    text: Path, pids: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    with launched(2, "--max-restarts", 1, *command(text, out, "--resume"), env={"QUICK_PIDS": str(pids)}) as program:
        until(lambda: updates(out) >= 12)
        os.kill(int((pids / "0").read_text(encoding="utf-8")), signal.SIGKILL)
        printed, said = program.communicate(timeout=200)
    assert program.returncode == 0, said
    assert printed.count("held-out perplexity") == 1
    assert [e["update"] for e in events(out) if e["event"] == "train"] == list(range(1, events(out)[-1]["update"] + 1))


@linux
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_reaches_all_processes_and_saves_once(number: signal.Signals, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with launched(2, *command(text, out)) as program:
        until(lambda: updates(out) >= 8)
        if number == signal.SIGINT:
            os.killpg(program.pid, number)  # as a terminal does: torchrun and its processes
        else:
            program.send_signal(number)  # as a cluster does: torchrun passes it on
        printed, said = program.communicate(timeout=120)
    assert printed.count("and saved; go on with:\n  torchrun --nproc-per-node 2 -m polyseme train ") == 1, said
    assert "another process" not in said
    done = checkpoint.newest(out)
    assert done is not None
    assert done >= 8
    resume = command(text, out, "--resume")
    with launched(2, *resume) as program:
        _, said = program.communicate(timeout=200)
    assert program.returncode == 0, said


@linux
@pytest.mark.slow
def test_a_mistake_is_told_by_the_first_process_alone(text: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").write_text("years of work", encoding="utf-8")
    with launched(2, *command(text, tmp_path / "model")) as program:
        _, said = program.communicate(timeout=120)
    assert program.returncode == 1
    assert said.count("is not empty (it holds 'thesis.tex')") == 1
    assert "Traceback" not in said.partition("ChildFailedError")[0].split("Error: ")[1]


# --- one process, and a stand-in for the others


def test_one_process_needs_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as found:
        assert found == Processes() == Processes(0, 1, 0)
        assert found.first
        assert found.sum([1.5, 2], torch.device("cpu")) == found.from_first([1.5, 2], torch.device("cpu")) == [1.5, 2.0]
        found.wait()
        own = {"a": torch.ones(2)}
        assert {name: tensor.tolist() for name, tensor in found.gather(own, torch.device("cpu")).items()} == {
            "0.a": [1.0, 1.0]
        }


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Processes:
    def gone(*_: Any, **__: Any) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1234\nmore")

    for name in ("all_reduce", "all_gather", "broadcast", "barrier"):
        monkeypatch.setattr(processes.dist, name, gone)
    return Processes(1, 2, 1)


def test_a_sum_that_fails_says_that_another_process_ended(broken: Processes) -> None:
    device = torch.device("cpu")
    parameters = gradients(0, 50, 5, sparse=True)
    calls: list[Callable[[], object]] = [
        lambda: broken.sum([1.0], device),
        lambda: broken.from_first([1.0], device),
        broken.wait,
        lambda: broken.gather({"a": torch.ones(2)}, device),
        lambda: broken.sum_gradients(parameters),
        lambda: broken.sum_gradients(parameters[1:]),
    ]
    for call in calls:
        with pytest.raises(TrainingError, match=r"another process .*Connection closed by peer .*\); .*with --resume$"):
            call()


def test_each_process_draws_its_own_dropout() -> None:
    seeds = {Processes(rank, 3).seed(seed, update) for rank in range(3) for seed in (1, 2) for update in range(50)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_run_of_other_processes_is_refused(tmp_path: Path) -> None:
    """Each process has its own lanes, and its own states in a checkpoint."""
    text: Corpus = corpus()
    report: TrainReport = train(text, tmp_path, alice.LSTM, brief(epochs=1), should_stop=lambda: True)
    assert report.stopped
    with pytest.raises(checkpoint.ResumeError, match="processes = 1, this run has 2"):
        checkpoint.load(tmp_path, checkpoint.settings(tmp_path) | {"processes": 2})  # type: ignore[operator]
