"""simple_elmo 0.9.2 training, as a process: times its own `simple_elmo.training.train` and prints one JSON line.

    python simple_elmo_train.py CORPUS [--threads 2] [--updates 20] [--warmup 5] [--inter-op 2]

CORPUS holds vocab.txt and train-*.txt (one tokenised sentence a line), as `benchmarks/train.py` writes them. It runs in
an environment made from requirements-simple-elmo.txt, so it imports nothing of Polyseme.

What is measured is the package's own code, nothing rebuilt: the wheel on PyPI holds the training loop (bilm-tf's, moved
to TensorFlow 2's `compat.v1`) that the project's second repository, simple_elmo_training, starts with a script. The
loop is handed a data set that notes the clock whenever a batch is ready; from one note to the next go the update of one
batch and the making of the next one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]]


def small(vocabulary_size: int, batch: int, steps: int, negatives: int, updates: int) -> dict:
    """The published small model and the published recipe, as that script writes them into options.json."""
    return {
        "bidirectional": True,
        "char_cnn": {
            "activation": "relu", "embedding": {"dim": 16}, "filters": FILTERS, "max_characters_per_token": 50,
            "n_characters": 261, "n_highway": 1,
        },
        "dropout": 0.1,
        "lstm": {
            "cell_clip": 3, "dim": 1024, "n_layers": 2, "proj_clip": 3, "projection_dim": 128,
            "use_skip_connections": True,
        },
        "all_clip_norm_val": 10.0, "learning_rate": 0.2, "n_negative_samples_batch": negatives,
        "batch_size": batch, "unroll_steps": steps, "n_tokens_vocab": vocabulary_size,
        "n_epochs": 1, "n_train_tokens": updates * batch * steps,
    }  # fmt: skip


class Clocked:
    """The data set, with a note of the wall and CPU clocks each time that a batch is ready."""

    def __init__(self, data) -> None:
        self.data = data
        self.notes: list[tuple[float, float]] = []

    def iter_batches(self, batch: int, steps: int):
        for made in self.data.iter_batches(batch, steps):
            self.notes.append((time.perf_counter(), time.process_time()))
            yield made


def measure(options: argparse.Namespace) -> dict:
    import tensorflow as tf

    tf.compat.v1.disable_eager_execution()
    tf.compat.v1.disable_resource_variables()  # `train` adds to a variable in a way that the new kind refuses
    from simple_elmo.data import BidirectionalLMDataset
    from simple_elmo.training import load_vocab, train

    random.seed(1)
    tf.compat.v1.set_random_seed(1)
    vocabulary = load_vocab(str(options.corpus / "vocab.txt"), 50)
    data = Clocked(BidirectionalLMDataset(str(options.corpus / "train-"), vocabulary, shuffle_on_load=True))
    updates = options.warmup + options.updates + 1  # the last one also writes a checkpoint: it is not counted
    recipe = small(vocabulary.size, options.batch, options.steps, options.negatives, updates)
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, data, 1, folder, folder)
    walls, cpus = zip(*data.notes[options.warmup :], strict=True)
    seconds = [after - before for before, after in pairwise(walls)]
    tokens = options.batch * options.steps * len(seconds)
    return {
        "tokens_per_second": tokens / (walls[-1] - walls[0]),
        "tokens_per_cpu_second": tokens / (cpus[-1] - cpus[0]),
        "seconds_per_update": seconds,
        "vocabulary": vocabulary.size,
        "threads": options.threads,
        "inter_op": options.inter_op,
        "versions": {name: version(name) for name in ("tensorflow", "simple-elmo", "tf-keras", "numpy")},
        "code": "simple_elmo.training.train of the wheel on PyPI",
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--threads", type=int, default=2, help="TensorFlow's threads inside an operation")
    parser.add_argument("--inter-op", type=int, help="operations at a time; --threads if not given")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--negatives", type=int, default=8192)
    options = parser.parse_args()
    options.inter_op = options.inter_op or options.threads
    return options


def main() -> None:
    options = arguments()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the system prints goes to stderr
    # `train` makes its own session and gives it no thread counts: TensorFlow then reads these two.
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(options.threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = str(options.inter_op)
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(json.dumps(measure(options)), file=answers, flush=True)


if __name__ == "__main__":
    main()
