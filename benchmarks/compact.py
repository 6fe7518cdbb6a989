"""What weights of eight bits lose: perplexity, the direction of vectors, and the bytes that are saved.

    python benchmarks/compact.py MODEL COMPACT --text heldout.txt.xz ... --out benchmarks/results/compact-en-small.json

MODEL and COMPACT are the same model before and after `polyseme convert --weights int8`. Texts are lines of raw text,
plain or .xz; `--sentences` of each are read. Perplexities are exact, vectors are compared word by word.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import platform
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import polyseme
from polyseme.lm.network import load
from polyseme.lm.perplexity import evaluate
from polyseme.text.tokenize import Tokenizer, tokenizer_for

FILES = ("model.safetensors", "vocab.txt", "config.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("compact", type=Path)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--sentences", type=int, default=1000, help="of each text")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    models = (options.model, options.compact)
    tokenizer = tokenizer_for(polyseme.load(options.model).model.text.tokenizer)
    texts = {path.name.partition(".")[0]: sentences(path, tokenizer, options.sentences) for path in options.text}
    found: dict[str, Any] = {
        "megabytes": [round(sum((path / name).stat().st_size for name in FILES) / 1e6, 2) for path in models],
        "texts": {name: compared(models, text) for name, text in texts.items()},
        "sentences": options.sentences, "cpu_cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "python": platform.python_version(), "torch": torch.__version__, "polyseme": polyseme.__version__,
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def compared(models: tuple[Path, Path], text: list[list[str]]) -> dict[str, Any]:
    """Perplexity of both models (mean of both directions), and the cosines of each word's vectors, layer by layer."""
    before, after = (evaluate(load(path), text).perplexity.mean for path in models)
    rows = [np.concatenate([each.layers for each in polyseme.load(path).embed(text)], axis=1) for path in models]
    products = (rows[0] * rows[1]).sum(axis=2)
    cosines = products / (np.linalg.norm(rows[0], axis=2) * np.linalg.norm(rows[1], axis=2))
    return {
        "words": rows[0].shape[1],
        "perplexity": [round(before, 3), round(after, 3)],
        "cosine": [
            {"mean": float(layer.mean()), "of one word in a thousand": float(np.quantile(layer, 1e-3)),
             "smallest": float(layer.min())}
            for layer in cosines
        ],
    }  # fmt: skip


def sentences(path: Path, tokenizer: Tokenizer, most: int) -> list[list[str]]:
    """The first sentences of a text."""

    def lines() -> Iterator[str]:
        with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as file:
            yield from file

    cut = (list(sentence.tokens) for line in lines() if line.strip() for sentence in tokenizer.sentences(line))
    return list(islice(cut, most))


if __name__ == "__main__":
    main()
