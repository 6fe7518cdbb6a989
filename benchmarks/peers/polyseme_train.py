"""Polyseme's side of `benchmarks/train.py`: `polyseme.train.train` for a few updates, timed; prints one JSON line.

    python polyseme_train.py CORPUS [--threads 2] [--updates 20] [--warmup 5] [--profile]

CORPUS holds vocab.txt and train-*.txt (one tokenised sentence a line), as `benchmarks/train.py` writes them. The loop
asks after every update whether it should stop: that is where the clock is read. From one reading to the next go the
making of a batch, the update, and a line in the log.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from polyseme.cli.machine import settle_in

settle_in()  # before torch, as `polyseme train` does
import numpy as np
import torch
from torch.profiler import profile as profiler
from torch.profiler import record_function

import polyseme
from polyseme.text.shards import Corpus
from polyseme.text.vocab import Vocabulary
from polyseme.training import network
from polyseme.training.batches import LaneBatches
from polyseme.training.config import RECIPES
from polyseme.training.optimizer import Optimizer

trainer = import_module("polyseme.train")
PASS_BACK = "autograd::engine::evaluate_function: "
HELDOUT = 200  # sentences at the end of the text: a run wants some, and never comes to read them here


def read(folder: Path) -> tuple[Corpus, Vocabulary]:
    """The text and the softmax words; raises where our vocabulary of this text would be another one."""
    sentences = [line.split() for file in sorted(folder.glob("train-*.txt")) for line in file.open(encoding="utf-8")]
    corpus = Corpus.from_sentences(sentences, sentences[-HELDOUT:])
    vocabulary = Vocabulary.load(folder / "vocab.txt")
    if corpus.vocabulary(len(vocabulary)) != vocabulary:
        raise SystemExit("the vocabulary of the corpus is not that of vocab.txt")
    return corpus, vocabulary


def updates_of(
    corpus: Corpus, n_words: int, after_update: Callable[[int], bool], *, batch: int, steps: int, negatives: int
) -> list[int]:
    """Trains until `after_update(number so far)` is true; the scored targets of one direction after each update."""
    config = replace(RECIPES["published"], lanes=batch, steps=steps, samples=negatives, log_every=1, epochs=1000)
    targets: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(
            corpus, folder, "small", config, vocabulary=n_words,
            on_event=lambda event: targets.append(event["targets"]) if event["event"] == "train" else None,
            should_stop=lambda: after_update(len(targets)),
        )  # fmt: skip
    return targets


def ours(
    folder: Path, *, batch: int = 128, steps: int = 20, negatives: int = 8192, threads: int = 2, updates: int = 20,
    warmup: int = 5,
) -> dict[str, Any]:  # fmt: skip
    """The published small model by the published recipe. `tokens_per_second` counts scored targets of one direction."""
    torch.set_num_threads(threads)
    corpus, vocabulary = read(folder)
    notes: list[tuple[float, float]] = []

    def note(done: int) -> bool:
        notes.append((time.perf_counter(), time.process_time()))
        return done >= warmup + updates

    targets = updates_of(corpus, len(vocabulary), note, batch=batch, steps=steps, negatives=negatives)
    walls, cpus = zip(*notes[warmup - 1 :], strict=True)
    counted = targets[-1] - targets[warmup - 1]
    return {
        "tokens_per_second": counted / (walls[-1] - walls[0]),
        "tokens_per_cpu_second": counted / (cpus[-1] - cpus[0]),
        "seconds_per_update": [after - before for before, after in pairwise(walls)],
        "targets_per_update": counted / updates,
        "vocabulary": len(vocabulary),
        "threads": threads,
        "versions": {"polyseme": polyseme.__version__, "torch": torch.__version__, "numpy": np.__version__},
        "code": "polyseme.train.train",
    }


# --- where the time goes

STAGES = {
    "batch": [(LaneBatches, "parts"), (trainer, "draw_samples")],
    "character CNN, forward": [(network.TypeRows, "encode")],
    "LSTM, forward": [(network, "run_layers")],
    "softmax, both ways": [(trainer, "sampled_softmax")],
    "optimiser": [(trainer, "clip"), (Optimizer, "step")],
}


def named(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
    @wraps(function)
    def inside(*args: Any, **keywords: Any) -> Any:
        with record_function(f"stage: {stage}"):
            return function(*args, **keywords)

    return inside


def stage_of(event: str) -> str | None:
    """The stage of an event that no other stage holds; None for what lies inside one."""
    if event.startswith("stage: "):
        return event.removeprefix("stage: ")
    if not event.startswith(PASS_BACK):
        return None
    if "_Layers" in event:
        return "LSTM, backward"
    if "Softmax" in event:
        return "softmax, both ways"
    return "character CNN, backward"  # and what is left of dropout and of placing words: under a hundredth


def profile(
    folder: Path, *, batch: int = 128, steps: int = 20, negatives: int = 8192, threads: int = 2, updates: int = 20,
    warmup: int = 5,
) -> dict[str, Any]:  # fmt: skip
    """Shares of an update's time by stage, and the dearest operations."""
    torch.set_num_threads(threads)
    corpus, vocabulary = read(folder)
    for stage, places in STAGES.items():
        for owner, name in places:
            setattr(owner, name, named(getattr(owner, name), stage))
    everywhere = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    watch = profiler(activities=[torch.profiler.ProfilerActivity.CPU], experimental_config=everywhere)
    clock: list[float] = []

    def note(done: int) -> bool:
        if done == warmup:
            watch.start()
            clock.append(time.perf_counter())
        if done == warmup + updates:
            clock.append(time.perf_counter())
            watch.stop()
        return done >= warmup + updates

    updates_of(corpus, len(vocabulary), note, batch=batch, steps=steps, negatives=negatives)
    whole = clock[1] - clock[0]
    rows = watch.key_averages()
    shares: dict[str, float] = {}
    for row in rows:
        if stage := stage_of(row.key):
            shares[stage] = shares.get(stage, 0.0) + row.cpu_time_total / 1e6 / whole
    shares["all else"] = 1 - sum(shares.values())
    dearest = sorted((row for row in rows if not stage_of(row.key)), key=lambda row: -row.self_cpu_time_total)[:20]
    return {
        "threads": threads, "updates": updates, "seconds_per_update": round(whole / updates, 4),
        "share_of_time": {name: round(share, 3) for name, share in sorted(shares.items(), key=lambda item: -item[1])},
        "operations": [
            {
                "name": row.key, "calls_per_update": round(row.count / updates, 1),
                "self_ms_per_update": round(row.self_cpu_time_total / 1e3 / updates, 2),
            }
            for row in dearest
        ],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    task = profile if options.profile else ours
    print(json.dumps(task(options.corpus, threads=options.threads, updates=options.updates, warmup=options.warmup)))


if __name__ == "__main__":
    main()
