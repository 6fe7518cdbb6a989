"""Measure each format of `polyseme.store`: size, writing, reading, and memory for one giant sentence.

    python benchmarks/store.py [--folder DIR] [--out benchmarks/results/store.json]

Every measurement runs in a process of its own, so that memory peaks do not add up. Vectors are random: they compress no
better than real ones (float16 mantissas are noise). Times include fsync; reading is from the system's file cache.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from polyseme.store import FORMATS, EmbeddingWriter, read_embeddings

SENTENCES, WIDTH, RANDOM_READS = 2000, 1024, 300
GIANT_TOKENS, GIANT_BLOCK = 200_000, 2048


def memory_peak(work: Callable[[], None]) -> dict[str, float]:
    """Seconds and the largest memory of this process above its start, MB: its own, and with mapped pages of files."""

    def now() -> tuple[int, int]:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if line.endswith("kB")}
        return kilobytes["RssAnon"], kilobytes["VmRSS"]

    base, peak, done = now(), [0, 0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            for i, value in enumerate(now()):
                peak[i] = max(peak[i], value)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return {
        "seconds": round(seconds, 2),
        "own_memory_mb": round(max(0, peak[0] - base[0]) / 1024, 1),
        "with_mapped_pages_mb": round(max(0, peak[1] - base[1]) / 1024, 1),
    }


def corpus_of(format: str, folder: Path) -> dict[str, Any]:
    """2,000 sentences of 10 to 44 words, 1,024 float16 values a word."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(10, 45, SENTENCES)
    vectors = generator.standard_normal((1, 45, WIDTH)).astype(np.float16)
    path = folder / "corpus"

    def write() -> None:
        with EmbeddingWriter(path, format=format, n_layers=1, width=WIDTH) as writer:
            for i, length in enumerate(lengths):
                writer.append(vectors[:, :length], ["word"] * int(length))
                if i % 500 == 499:
                    writer.commit({"line": i})

    written = memory_peak(write)
    raw = int(lengths.sum()) * WIDTH * 2
    places = random.Random(0).sample(range(SENTENCES), RANDOM_READS)
    start = time.perf_counter()
    with read_embeddings(path) as stored:
        opened = time.perf_counter()
        for place in places:
            float(stored[place].layers.sum(dtype=np.float32))
        accessed = time.perf_counter()
    with read_embeddings(path) as stored:
        everything = sum(float(embedding.layers[0, 0, 0]) for embedding in stored)
        values = stored.numpy()[0]
        everything += float(values[::7].sum(dtype=np.float32))
    read = time.perf_counter()
    return {
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "overhead_percent": round(100 * (path.stat().st_size / raw - 1), 2),
        "write_mb_per_second": round(raw / 1e6 / written["seconds"], 1),
        "open_ms": round(1000 * (opened - start), 2),
        f"{RANDOM_READS}_random_sentences_ms": round(1000 * (accessed - opened), 1),
        "read_all_mb_per_second": round(raw / 1e6 / (read - accessed), 1),
        "write_own_memory_mb": written["own_memory_mb"],
    }


def giant_of(format: str, folder: Path) -> dict[str, Any]:
    """One sentence of 200,000 words (400 MB of float16), given in blocks."""
    block = np.random.default_rng(0).standard_normal((1, GIANT_BLOCK, WIDTH)).astype(np.float16)
    path = folder / "giant"
    words = ["word"] * GIANT_TOKENS

    def write() -> None:
        with EmbeddingWriter(path, format=format, n_layers=1, width=WIDTH) as writer:
            writer.begin_sentence(words)
            for start in range(0, GIANT_TOKENS, GIANT_BLOCK):
                writer.append_values(block[:, : min(GIANT_BLOCK, GIANT_TOKENS - start)])
            writer.end_sentence()

    return memory_peak(write)


def measure(work: Callable[[str, Path], dict[str, Any]], format: str, folder: Path, queue: Any) -> None:
    queue.put(work(format, folder))


def in_own_process(work: Callable[[str, Path], dict[str, Any]], format: str, parent: Path) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        process = context.Process(target=measure, args=(work, format, Path(folder), queue))
        process.start()
        result: dict[str, Any] = queue.get()
        process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "store.json")
    parser.add_argument("--skip-giant", nargs="*", default=["tsv"], help="formats whose giant sentence is left out")
    options = parser.parse_args()
    if not Path("/proc/self/status").exists():
        parser.error("memory is read from /proc: run this on Linux")
    results: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "arch": platform.machine(), "python": platform.python_version()},
        "corpus": {"sentences": SENTENCES, "width": WIDTH, "layers": 1, "dtype": "float16"},
        "giant": {"tokens": GIANT_TOKENS, "width": WIDTH, "layers": 1, "dtype": "float16"},
        "disk_free_gb": round(shutil.disk_usage(options.folder).free / 1e9),
        "formats": {},
    }
    for format in FORMATS:
        results["formats"][format] = {"corpus": in_own_process(corpus_of, format, options.folder)}
        if format not in options.skip_giant:
            results["formats"][format]["giant"] = in_own_process(giant_of, format, options.folder)
        print(format, json.dumps(results["formats"][format]), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
