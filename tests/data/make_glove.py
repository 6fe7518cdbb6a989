"""What the published GloVe programs count and learn: tests/data/glove/expected.json, for tests/static/test_glove.py.

    python tests/data/make_glove.py PROGRAMS tests/data

PROGRAMS: a folder with `cooccur` and `glove`, compiled from the GloVe of Stanford, https://github.com/stanfordnlp/GloVe
(`gcc -O2 cooccur.c -lm`, `gcc -O2 glove.c -lm -lpthread`). The numbers in the repository came from src/cooccur.c of
commit 07d59d5 and src/glove.c of 039b9ef, without their help texts, the latter made to print the cost with nine digits.
The vocabulary and the shuffled cells are written here, words by falling count, then by code points. Needs only numpy.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

TOY = [
    ["the", "cat", "sat", "on", "the", "mat", "and", "the", "cat", "saw", "the", "dog"],
    ["a", "dog", "and", "a", "cat"],
    ["alone"],
    ["the", "the", "the", "mat"],
]
CELL = np.dtype([("row", "<i4"), ("column", "<i4"), ("value", "<f8")])
WIDTH, EPOCHS, WINDOW, MIN_COUNT = 25, 25, 10, 2
ASKED = 60  # most frequent words whose neighbours are kept
NEAR = 10


def vocabulary(sentences: list[list[str]], min_count: int) -> list[tuple[str, int]]:
    counts = Counter(word for words in sentences for word in words)
    kept = [(word, count) for word, count in counts.items() if count >= min_count]
    return sorted(kept, key=lambda each: (-each[1], each[0]))


def counted(programs: Path, folder: Path, sentences: list[list[str]], min_count: int, window: int) -> np.ndarray:
    """The cells that `cooccur` writes, sorted; words are numbered from 1."""
    lines = "".join(f"{word} {count}\n" for word, count in vocabulary(sentences, min_count))
    (folder / "vocab.txt").write_text(lines, encoding="utf-8")
    text = "".join(" ".join(words) + "\n" for words in sentences)
    # So that some cells go the way of rare words: where none does, cooccur counts its first cell twice (merge_files).
    product = str(len(lines.splitlines()))
    command = [programs / "cooccur", "-window-size", str(window), "-vocab-file", "vocab.txt", "-max-product", product]
    done = subprocess.run(command, input=text.encode(), capture_output=True, cwd=folder, check=True)
    return np.frombuffer(done.stdout, dtype=CELL)


def learned(programs: Path, folder: Path, cells: np.ndarray, x_max: float) -> tuple[list[float], np.ndarray]:
    """(the cost of each epoch, w + w~) from `glove` with one thread, after a shuffle."""
    (folder / "shuffled.bin").write_bytes(np.random.default_rng(1).permutation(cells).tobytes())
    command = [programs / "glove", "-input-file", "shuffled.bin", "-vocab-file", "vocab.txt", "-save-file", "vectors"]
    command += ["-threads", "1", "-vector-size", str(WIDTH), "-iter", str(EPOCHS), "-x-max", str(x_max)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=folder, check=True)
    costs = [float(each) for each in re.findall(r"cost: ([\d.]+)", done.stderr)]
    lines = (folder / "vectors.txt").read_text(encoding="utf-8").splitlines()
    return costs, np.array([line.split(" ")[1:] for line in lines], dtype=np.float32)


def neighbours(vectors: np.ndarray, row: int) -> list[int]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit[row]
    scores[row] = -np.inf
    return [int(each) for each in np.argsort(-scores, kind="stable")[:NEAR]]


def main(programs: Path, out: Path) -> None:
    alice = [line.split() for line in (out / "alice.txt").read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        toy = {
            str(window): [[int(c["row"]), int(c["column"]), float(c["value"])] for c in found]
            for window in (2, 15)
            for found in [counted(programs, folder, TOY, 1, window)]
        }
        toy_rare = [[int(c["row"]), int(c["column"]), float(c["value"])] for c in counted(programs, folder, TOY, 2, 5)]
        cells = counted(programs, folder, alice, MIN_COUNT, WINDOW)
        words = [word for word, _ in vocabulary(alice, MIN_COUNT)]
        runs = {}
        for x_max in (10.0, 100.0):
            costs, vectors = learned(programs, folder, cells, x_max)
            near = {words[row]: [words[each] for each in neighbours(vectors, row)] for row in range(ASKED)}
            runs[f"{x_max:g}"] = {"costs": costs, "neighbours": near}
    expected = {
        "toy": {"sentences": TOY, "windows": toy, "window_5_min_count_2": toy_rare},
        "alice": {
            "width": WIDTH, "window": WINDOW, "min_count": MIN_COUNT, "words": len(words), "cells": len(cells),
            "sum": float(cells["value"].sum()), "sum_of_squares": float((cells["value"] ** 2).sum()), "x_max": runs,
        },
    }  # fmt: skip
    (out / "glove").mkdir(exist_ok=True)
    text = json.dumps(expected, ensure_ascii=False) + "\n"
    (out / "glove" / "expected.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
