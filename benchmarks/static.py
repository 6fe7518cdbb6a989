"""Train every kind of static vectors on one text: time, memory, word similarity, analogies.

    python benchmarks/static.py TEXT.. --questions FILE.. [--width 100] [--epochs 5] [--glove-vectors FILE]
                                [--out benchmarks/results/static.json]

Each kind runs in a process of its own, so that memory peaks do not add up; one thread each. `--epochs` is for
word2vec and fastText; GloVe runs its 25. `--glove-vectors`: what another program learned from the same text, to say how
many of the ten nearest words of the 500 most frequent ones are the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from polyseme.static import bow, evaluate, fasttext, glove, word2vec
from polyseme.static.fasttext import FastTextConfig
from polyseme.static.files import read_vectors
from polyseme.static.glove import GloveConfig
from polyseme.static.vectors import StaticVectors
from polyseme.static.word2vec import Word2VecConfig
from polyseme.text.prepare import PrepareOptions, prepare
from polyseme.text.shards import Corpus

KINDS = ("word2vec", "cbow", "fasttext", "glove, x_max 10", "glove, x_max 100", "bow")
ASKED, NEAR = 500, 10


def fit(kind: str, corpus: Corpus, width: int, epochs: int) -> StaticVectors:
    if kind == "bow":
        return bow.fit(corpus, width=width)[1]
    if kind == "fasttext":
        return fasttext.fit(corpus, FastTextConfig(width=width, epochs=epochs))
    if kind.startswith("glove"):
        return glove.fit(corpus, GloveConfig(width=width, x_max=float(kind.split()[-1])))
    return word2vec.fit(
        corpus, Word2VecConfig(width=width, epochs=epochs, model="cbow" if kind == "cbow" else "skip-gram")
    )


def shared_neighbours(ours: StaticVectors, theirs: StaticVectors) -> float:
    """The share of the nearest words of the most frequent ones that both have, among words that both know."""
    words = [word for word in ours.words if word in theirs]
    units = [np.stack([each.vector(word) for word in words]) for each in (ours, theirs)]
    near = []
    for unit in units:
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        scores = unit[:ASKED] @ unit.T
        scores[np.arange(len(scores)), np.arange(len(scores))] = -np.inf
        near.append(np.argsort(-scores, axis=1)[:, :NEAR])
    return float(np.mean([len(set(a) & set(b)) / NEAR for a, b in zip(*near, strict=True)]))


def memory_peak_mb() -> int:
    """The most memory that this process has had (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024


def measured(kind: str, folder: str, given: argparse.Namespace) -> dict[str, Any]:
    corpus = Corpus.open(folder)
    before = memory_peak_mb()
    start, cpu = time.perf_counter(), time.process_time()
    vectors = fit(kind, corpus, given.width, given.epochs)
    found: dict[str, Any] = {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "memory_mb": memory_peak_mb() - before,
        "words": len(vectors),
        "recipe": vectors.about.recipe,
    }
    for file in given.questions:
        questions = evaluate.read_questions(file)
        name = Path(file).name.split(".")[0]
        pairs = [each for each in questions if isinstance(each, evaluate.Pair)]
        if pairs:
            found[name] = asdict(evaluate.similarity(vectors, pairs, ignore_case=True))
        else:
            asked = [each for each in questions if isinstance(each, evaluate.Question)]
            total = evaluate.analogies(vectors, asked, ignore_case=True).total
            found[name] = {**asdict(total), "accuracy": total.accuracy}
    if given.glove_vectors and kind.startswith("glove"):
        found["shared_neighbours"] = round(shared_neighbours(vectors, read_vectors(given.glove_vectors)), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="+")
    parser.add_argument("--questions", nargs="*", default=[])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--glove-vectors")
    parser.add_argument("--out", default="benchmarks/results/static.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = prepare(given.text, f"{folder}/corpus", PrepareOptions(language="en", heldout=0), processes=1)
        results: dict[str, Any] = {
            "text": [Path(each).name for each in given.text], "running_words": report.train_words, "width": given.width,
            "epochs": given.epochs, "machine": platform.machine(), "python": platform.python_version(),
        }  # fmt: skip
        context = multiprocessing.get_context("spawn")
        for kind in given.kinds:
            with context.Pool(1) as pool:
                results[kind] = pool.apply(measured, (kind, f"{folder}/corpus", given))
            print(kind, json.dumps(results[kind]), flush=True)
    Path(given.out).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
