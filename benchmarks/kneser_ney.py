"""Perplexity of an interpolated Kneser-Ney 5-gram on PTB and WikiText-2: the baseline, and a check of how we count.

    python benchmarks/kneser_ney.py [--order 5]

One discount an order, D = n1 / (n1 + 2 n2); every line is a sentence of its own, empty ones too, and its end counts as
one target: 82,430 on PTB's test part, 245,569 on WikiText-2's, as the literature counts. Reads $POLYSEME_SHARED.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import os
from collections import Counter
from pathlib import Path

SHARED = Path(os.environ.get("POLYSEME_SHARED", Path(__file__).resolve().parents[2] / "shared"))
CORPORA = {"ptb": "lm/ptb/ptb.{}.txt.xz", "wikitext-2": "lm/wikitext-2/wiki.{}.tokens.xz"}
Gram = tuple[str, ...]


def grams(name: str, part: str, order: int) -> list[Gram]:
    """One for each target: the target with what stands before it in its own line."""
    found: list[Gram] = []
    with lzma.open(SHARED / "data" / CORPORA[name].format(part), "rt", encoding="utf-8") as lines:
        for line in lines:
            tokens = [*["<s>"] * (order - 1), *line.split(), "</s>"]
            found += [tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1)]
    return found


class KneserNey:
    """Counts of the highest order; below it, in how many contexts a gram was seen."""

    def __init__(self, training: list[Gram], order: int) -> None:
        counts = {order: Counter(training)}
        for n in range(order - 1, 0, -1):
            counts[n] = Counter(gram[1:] for gram in counts[n + 1])
        self.counts, self.order = counts, order
        self.words = len(counts[1])
        self.discounts, self.totals, self.types = {}, {}, {}
        for n, found in counts.items():
            once, twice = (sum(count == k for count in found.values()) for k in (1, 2))
            self.discounts[n] = once / (once + 2 * twice)
            self.totals[n], self.types[n] = Counter(), Counter(gram[:-1] for gram in found)
            for gram, count in found.items():
                self.totals[n][gram[:-1]] += count

    def probability(self, gram: Gram) -> float:
        """Of the last word after the others."""
        p = 1 / self.words
        for n in range(1, self.order + 1):
            part = gram[self.order - n :]
            if total := self.totals[n].get(part[:-1], 0):
                kept = max(self.counts[n].get(part, 0) - self.discounts[n], 0.0)
                p = (kept + self.discounts[n] * self.types[n][part[:-1]] * p) / total
        return p


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--order", type=int, default=5)
    options = parser.parse_args()
    for name in CORPORA:
        model = KneserNey(grams(name, "train", options.order), options.order)
        for part in ("valid", "test"):
            targets = grams(name, part, options.order)
            loss = -sum(math.log(model.probability(gram)) for gram in targets) / len(targets)
            found = {"corpus": name, "part": part, "targets": len(targets), "perplexity": round(math.exp(loss), 2)}
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
