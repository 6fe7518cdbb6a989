"""Tokens embedded a second: Polyseme against AllenNLP 2.10.1's `Elmo` and simple_elmo, interleaved in one run.

    python benchmarks/embed.py --allennlp PYTHON --simple-elmo PYTHON [--out benchmarks/results/embed.json]

PYTHON are interpreters of environments made from requirements-{allennlp,simple-elmo}.txt. All systems read the same
random weights (HDF5) of the published sizes and the same real sentences (English novels of the shared data), in
float32. Peers get batches of 32 sentences. Polyseme runs four ways:

    batch32   embed() with 32 sentences a call, no word cache: distinct words per batch
    bulk      embed() with all sentences, no word cache: distinct words per batch of 8,192 tokens
    cached    embed() with all sentences, every word seen before
    cached32  embed() with 32 sentences a call, every word seen before

One thread is timed in CPU seconds, which another program on the machine disturbs less; more threads in wall seconds.
Ratios are medians over the rounds of (Polyseme / peer) within a round.
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
import time
from pathlib import Path

import torch

import polyseme
from polyseme.bilm import BiLM, BiLMConfig
from polyseme.embedder import Embedder
from polyseme.formats import allennlp
from polyseme.formats.model import Model
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.text.chars import Characters
from polyseme.text.tokenize import tokenizer_for

CONFIGS = {
    "small": BiLMConfig(projection_size=128, cell_size=1024, char_cnn=CharCNNConfig(n_highway=1)),
    "original": BiLMConfig(),
}
SENTENCES = {"small": 512, "original": 128}
WAYS = ("batch32", "bulk", "cached", "cached32")
SHARED = Path(os.environ.get("POLYSEME_SHARED", Path(__file__).resolve().parents[2] / "shared"))


class Peer:
    """A `peers/worker.py` in its own environment."""

    def __init__(self, python: str, system: str, folder: Path, threads: int) -> None:
        worker = Path(__file__).parent / "peers" / "worker.py"
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        command = [python, str(worker), system, str(folder), str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, encoding="utf-8"
        )
        self._answer()

    def seconds(self, sentences: list[list[str]]) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"sentences": sentences, "batch": 32}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _answer(self) -> dict:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer ended early: {' '.join(map(str, self.process.args))}")
        return json.loads(line)


def real_sentences(count: int) -> list[list[str]]:
    """`count` distinct sentences, evenly spaced over the held-out novels."""
    with lzma.open(SHARED / "data/pretrain/en/fiction.heldout.txt.xz", "rt", encoding="utf-8") as file:
        paragraphs = file.read().split("\n")
    sentences: dict[tuple[str, ...], None] = {}
    for paragraph in paragraphs[:: max(1, len(paragraphs) // (2 * count))]:
        sentences |= dict.fromkeys(sentence.tokens for sentence in tokenizer_for("en").sentences(paragraph))
    if len(sentences) < count:
        raise SystemExit(f"only {len(sentences)} sentences in the novels")
    return [list(tokens) for tokens in list(sentences)[:: len(sentences) // count][:count]]


def random_model(config: BiLMConfig) -> Model:
    torch.manual_seed(1)
    bilm = BiLM(config).requires_grad_(False).eval()
    return Model(bilm, characters=Characters())


def ours(embedders: dict[str, Embedder], way: str, sentences: list[list[str]]) -> dict[str, float]:
    embedder = embedders["cached" if way.startswith("cached") else "fresh"]
    size = 32 if way.endswith("32") else len(sentences)
    wall, cpu = time.perf_counter(), time.process_time()
    for at in range(0, len(sentences), size):
        embedder.embed(sentences[at : at + size])
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def compare(size: str, threads: int, rounds: int, pythons: dict[str, str], folder: Path) -> dict:
    """One model size and thread count: every system once a round, in turn."""
    model = random_model(CONFIGS[size])
    folder = folder / size
    if not folder.exists():
        folder.mkdir()
        allennlp.write(model, folder)
    sentences = real_sentences(SENTENCES[size])
    tokens = sum(map(len, sentences))
    clock = "cpu" if threads == 1 else "wall"
    peers = {name: Peer(python, name, folder, threads) for name, python in pythons.items()}
    embedders = {
        "fresh": Embedder(model, state="zero", threads=threads, cache_words=0),
        "cached": Embedder(model, state="zero", threads=threads),
    }
    for embedder in embedders.values():
        embedder.embed(sentences)
    speeds: dict[str, list[float]] = {name: [] for name in (*peers, *WAYS)}
    for _ in range(rounds):
        for name, peer in peers.items():
            speeds[name].append(tokens / peer.seconds(sentences)[clock])
        for way in WAYS:
            speeds[way].append(tokens / ours(embedders, way, sentences)[clock])
    for peer in peers.values():
        peer.close()
    ratios = {
        f"{way} / {name}": statistics.median(a / b for a, b in zip(speeds[way], speeds[name], strict=True))
        for way in WAYS
        for name in peers
    }
    distinct = len({word for sentence in sentences for word in sentence}) / tokens
    return {
        "size": size, "threads": threads, "clock": clock, "sentences": len(sentences), "tokens": tokens,
        "distinct_share": round(distinct, 3), "kernel": embedders["fresh"].kernel,
        "tokens_per_second": {name: [round(value, 1) for value in values] for name, values in speeds.items()},
        "median": {name: round(statistics.median(values), 1) for name, values in speeds.items()},
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
    }  # fmt: skip


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--allennlp", help="python of an environment with AllenNLP 2.10.1")
    parser.add_argument("--simple-elmo", help="python of an environment with simple_elmo 0.9.2")
    parser.add_argument("--sizes", nargs="+", default=list(CONFIGS), choices=CONFIGS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    pythons = {
        name: python
        for name, python in (("allennlp", options.allennlp), ("simple_elmo", options.simple_elmo))
        if python
    }
    report = {
        "command": "python benchmarks/embed.py --allennlp PYTHON --simple-elmo PYTHON",
        "cpu": cpu_name(), "cores": os.cpu_count(), "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(), "torch": torch.__version__, "polyseme": polyseme.__version__, "runs": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            for threads in options.threads:
                run = compare(size, threads, options.rounds, pythons, Path(folder))
                report["runs"].append(run)
                print(json.dumps({key: run[key] for key in ("size", "threads", "median", "ratios")}), flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
