"""Polyseme's side of `benchmarks/train.py`: the published small model, a few updates, timed; prints one JSON line.

    python polyseme_train.py CORPUS [--threads 2] [--updates 20] [--warmup 5] [--profile]

STUB: `ours` waits for the trainer (polyseme.training.step).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def ours(
    corpus: Path, *, batch: int = 128, steps: int = 20, negatives: int = 8192, threads: int = 2, updates: int = 20,
    warmup: int = 5,
) -> dict:  # fmt: skip
    """Updates of the small model on CORPUS (train-*.txt, vocab.txt). `tokens_per_second` counts scored targets."""
    raise NotImplementedError("waits for the trainer")


def profile(corpus: Path, *, threads: int = 2, updates: int = 20, warmup: int = 5) -> dict:
    """Shares of an update's time: character CNN, LSTM, softmax, optimiser; and the dearest operations."""
    raise NotImplementedError("waits for the trainer")


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
