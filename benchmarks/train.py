"""Words trained on a second: Polyseme against simple_elmo 0.9.2's own training, interleaved in one run.

    python benchmarks/train.py --simple-elmo PYTHON [--out benchmarks/results/train.json]

PYTHON is the interpreter of an environment made from requirements-simple-elmo.txt; the wheel on PyPI holds the training
loop, and that is what runs (peers/simple_elmo_train.py). Both sides train the published `small` model (character CNN of
2,048 filters, one highway layer, LSTM 1024/128) by the published recipe (dropout 0.1, Adagrad 0.2, clip by a global
norm of 10, 8,192 log-uniform negatives, 128 lanes of 20 steps) in float32 on the same tokenised novels with the same
vocabulary. Each measurement is a process of its own: it reads the text, makes some updates to warm up, and times the
rest; making batches is part of an update, reading the text is not. They take turns: ours, theirs, ours, theirs, ...

What is counted are scored targets of one direction. A row of simple_elmo's batch is all targets; in ours, about one
position in 25 is the boundary that follows a sentence's end for certain: it is read but not scored, and not counted.
Ratios are medians over the rounds of (Polyseme / simple_elmo) within a round.

`--profile-only` leaves the peer out and prints where our own time goes.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import torch

import polyseme
from polyseme.text.tokenize import tokenizer_for
from polyseme.text.vocab import Vocabulary, count_words

sys.path.insert(0, str(Path(__file__).parent))
from embed import SHARED, cpu_name

TEXT = SHARED / "data/pretrain/en/fiction.00.txt.xz"
SHARD_WORDS = 150_000  # simple_elmo turns a whole file into lists of numbers; one holds more than it is timed on
PEERS = Path(__file__).parent / "peers"


def write_corpus(folder: Path, words: int, vocabulary_size: int) -> dict:
    """`train-*.txt`, one tokenised sentence a line, and `vocab.txt`: the first `words` words of the novels."""
    sentences: list[tuple[str, ...]] = []
    count = 0
    with lzma.open(TEXT, "rt", encoding="utf-8") as lines:
        for line in lines:
            found = [sentence.tokens for sentence in tokenizer_for("en").sentences(line)]
            sentences += found
            count += sum(map(len, found))
            if count >= words:
                break
    counts = count_words(sentences)
    vocabulary = Vocabulary.from_counts(counts, vocabulary_size)
    vocabulary.save(folder / "vocab.txt")
    rest, shards = iter(sentences), 0
    while shard := list(islice(rest, SHARD_WORDS * len(sentences) // count)):
        text = "".join(" ".join(tokens) + "\n" for tokens in shard)
        (folder / f"train-{shards:02}.txt").write_text(text, encoding="utf-8")
        shards += 1
    return {
        "text": str(TEXT.relative_to(SHARED)), "words": count, "sentences": len(sentences), "shards": shards,
        "vocabulary": len(vocabulary), "unknown_share": round(vocabulary.unknown_share(counts), 4),
    }  # fmt: skip


def run_peer(python: str, script: str, corpus: Path, threads: int, options: argparse.Namespace) -> dict:
    """One measurement in a process of its own; what it prints last is its JSON answer."""
    command = [python, str(PEERS / script), str(corpus), "--threads", str(threads)]
    command += ["--updates", str(options.updates), "--warmup", str(options.warmup)]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(threads: int, pythons: dict[str, tuple[str, str]], corpus: Path, options: argparse.Namespace) -> dict:
    """One thread count: every system once a round, in turn."""
    answers: dict[str, list[dict]] = {name: [] for name in pythons}
    for turn in range(options.rounds):
        for name, (python, script) in pythons.items():
            answers[name].append(run_peer(python, script, corpus, threads, options))
            speed = answers[name][-1]["tokens_per_second"]
            print(f"threads {threads}, round {turn + 1}, {name}: {speed:,.0f} tokens/s", file=sys.stderr, flush=True)
    speeds = {name: [answer["tokens_per_second"] for answer in found] for name, found in answers.items()}
    ratios = {
        f"polyseme / {name}": statistics.median(a / b for a, b in zip(speeds["polyseme"], speeds[name], strict=True))
        for name in speeds
        if name != "polyseme"
    }
    return {
        "threads": threads, "rounds": options.rounds, "updates": options.updates, "warmup": options.warmup,
        "median": {name: round(statistics.median(values), 1) for name, values in speeds.items()},
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
        "measurements": answers,
    }  # fmt: skip


def profile(corpus: Path, threads: int, options: argparse.Namespace) -> dict:
    """Where our own time goes, in the process that does it."""
    command = [sys.executable, str(PEERS / "polyseme_train.py"), str(corpus), "--threads", str(threads), "--profile"]
    command += ["--updates", str(options.updates), "--warmup", str(options.warmup)]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simple-elmo", help="python of an environment with simple_elmo 0.9.2")
    parser.add_argument("--threads", nargs="+", type=int, default=[2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--words", type=int, default=2_000_000, help="words of text")
    parser.add_argument("--vocabulary", type=int, default=100_000, help="words of the softmax, at most")
    parser.add_argument("--profile-only", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not (options.simple_elmo or options.profile_only):
        parser.error("--simple-elmo PYTHON is needed, or --profile-only")
    pythons = {"polyseme": (sys.executable, "polyseme_train.py")}
    if options.simple_elmo:
        pythons["simple_elmo"] = (options.simple_elmo, "simple_elmo_train.py")
    report = {
        "command": "python benchmarks/train.py --simple-elmo PYTHON",
        "cpu": cpu_name(), "cores": os.cpu_count(), "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(), "torch": torch.__version__, "polyseme": polyseme.__version__, "runs": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        corpus = Path(name)
        report["corpus"] = write_corpus(corpus, options.words, options.vocabulary)
        for threads in options.threads if not options.profile_only else []:
            report["runs"].append(compare(threads, pythons, corpus, options))
            print(json.dumps({key: report["runs"][-1][key] for key in ("threads", "median", "ratios")}), flush=True)
        report["profile"] = profile(corpus, max(options.threads), options)
    print(json.dumps(report["profile"], indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
