"""Linear probes: multinomial logistic regression over frozen vectors; here over words, for POS, NER and chunking.

Features are standard scores of the training words (mean 0, deviation 1 in every dimension), for every kind of vectors
alike. The strength of the L2 regularisation is the one of three that is best on dev. In tagging, static vectors also
get a window: the vectors of two neighbours on each side beside the word's own, so five times the dimensions of a biLM.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from .cache import TokenVectors
from .metrics import NOISE, accuracy, damaged, entity_f1
from .readers import DATA, Tagged, limited, tagged
from .run import Floats, Result, Run, Score, chosen, layer_views, seeded
from .vectors import Source

STRENGTHS = (0.001, 0.01, 0.1)  # of the loss against |w|^2 / 2, summed over examples: sklearn's C
ITERATIONS = 100  # a strength; each starts from where the one before ended
NEIGHBOURS = 2

TAG_TASKS = ("pos", "ner", "chunking")


@dataclass(frozen=True)
class Examples:
    """Rows of features with a label each."""

    rows: Any
    labels: Sequence[str]
    sparse: bool = False

    def some(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Examples:
        """A part of them."""
        return Examples(self.rows[indices], [self.labels[index] for index in indices], self.sparse)


class Probe:
    """A fitted logistic regression with the scale of its features."""

    def __init__(self, model: LogisticRegression, mean: Floats | None, deviation: Floats | None) -> None:
        self._model, self._mean, self._deviation = model, mean, deviation

    @classmethod
    def fitted(cls, train: Examples, dev: Examples, strengths: Sequence[float] = STRENGTHS) -> tuple[Probe, float]:
        """The best of the strengths on dev, and its accuracy there. The next weaker one starts from where it ended."""
        mean = deviation = None
        if not train.sparse:
            mean = train.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
            deviation = train.rows.std(axis=0, dtype=np.float64).astype(np.float32)
            deviation[deviation == 0] = 1
        best: tuple[float, Probe] | None = None
        start = cls(LogisticRegression(), mean, deviation)
        rows, labels = start._scaled(train.rows), np.asarray(train.labels)
        scaled_dev, dev_labels = start._scaled(dev.rows), np.asarray(dev.labels)
        model = LogisticRegression(solver="lbfgs", max_iter=ITERATIONS, warm_start=True, tol=1e-3)
        for strength in sorted(strengths):
            model.set_params(C=strength)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early is one more regularisation
                model.fit(rows, labels)
            share = float((model.predict(scaled_dev) == dev_labels).mean())
            if best is None or share > best[0]:
                kept = LogisticRegression()
                kept.classes_, kept.coef_, kept.intercept_ = model.classes_, model.coef_.copy(), model.intercept_.copy()
                best = share, cls(kept, mean, deviation)
        assert best is not None
        return best[1], best[0]

    def labels(self, rows: Any) -> list[str]:
        """The label of each row."""
        return [str(label) for label in self._model.predict(self._scaled(rows))]

    def accuracy(self, test: Examples) -> float:
        """The share of right labels."""
        return float((np.asarray(self.labels(test.rows)) == np.asarray(test.labels)).mean())

    def _scaled(self, rows: Any) -> Any:
        return rows if self._mean is None else (rows - self._mean) / self._deviation


def draw(n: int, seed: int) -> npt.NDArray[np.int64]:
    """A random four fifths of 0 .. n - 1, in order."""
    return np.asarray(sorted(random.Random(seed).sample(range(n), n - n // 5)), dtype=np.int64)


def tag_parts(run: Run, task: str, name: str, train: int) -> dict[str, list[Tagged]]:
    """The training sentences, `train` at most, and the dev and test sentences that are used."""
    sizes = {"train": train, "dev": run.sizes.dev(), "test": run.sizes.test()}
    return {split: limited(tagged(task, name, split), size) for split, size in sizes.items()}  # type: ignore[arg-type]


def damaged_sentences(items: Sequence[Tagged], seed: int) -> list[Tagged]:
    """The same tags over words of which a tenth of the characters is damaged."""
    words = damaged([item.words for item in items], NOISE, seed)
    return [Tagged(changed, item.tags) for changed, item in zip(words, items, strict=True)]


def metric_of(task: str) -> tuple[str, Any]:
    """The name of a tagging task's metric, and its function of (gold, predicted)."""
    return ("accuracy", accuracy) if task == "pos" else ("entity F1", entity_f1)


def tag_probes(run: Run) -> Result:
    """The per-layer table of POS, and NER and chunking in the same way."""
    scores: list[Score] = []
    data: dict[str, Any] = {}
    for task in TAG_TASKS:
        for name in DATA[run.language].get(task, ()):
            parts = tag_parts(run, task, name, run.sizes.probe())
            data[name] = {split: [len(items), sum(len(i.words) for i in items)] for split, items in parts.items()}
            run.say(f"    {name} (sentences, words): {data[name]}")
            noisy = [damaged_sentences(parts["test"], seed) for seed in range(run.sizes.seeds)]
            for source in run.sources:
                scores += _probed(run, source, task, name, parts, noisy)
    return Result(scores, data)


def word_views(source: Source, vectors: TokenVectors) -> dict[str, Floats]:
    """What a word's probe sees: a layer, the mean of the layers; static: the word, or the window around it."""
    found = layer_views(source, vectors.rows)
    if source.kind == "static":
        found[f"window of {NEIGHBOURS} a side"] = windows(vectors, NEIGHBOURS)
    return found


def windows(vectors: TokenVectors, neighbours: int) -> Floats:
    """Each word's vector between its neighbours'; zeros beyond the sentence. *Shape:* (N, (2 neighbours + 1) W)."""
    rows = vectors.layer(0)
    sentence = np.repeat(np.arange(len(vectors.starts) - 1), np.diff(vectors.starts))
    pieces = []
    for offset in range(-neighbours, neighbours + 1):
        place = np.arange(len(rows)) + offset
        inside = (place >= 0) & (place < len(rows))
        inside[inside] = sentence[place[inside]] == sentence[inside]
        piece = np.zeros_like(rows)
        piece[inside] = rows[place[inside]]
        pieces.append(piece)
    return np.concatenate(pieces, axis=1)


def _probed(
    run: Run,
    source: Source,
    task: str,
    name: str,
    parts: dict[str, list[Tagged]],
    noisy: Sequence[list[Tagged]],
) -> list[Score]:
    vectors = {split: run.cache.tokens(source, [item.words for item in items]) for split, items in parts.items()}
    found = {split: word_views(source, vectors[split]) for split in parts}
    after_noise = [word_views(source, run.cache.tokens(source, [item.words for item in items])) for items in noisy]
    flat = {split: [tag for item in items for tag in item.tags] for split, items in parts.items()}
    gold = [item.tags for item in parts["test"]]
    metric, measure = metric_of(task)
    on_dev: dict[str, float] = {}
    on_test: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    for view in found["test"]:
        train, dev = (Examples(found[split][view], flat[split]) for split in ("train", "dev"))
        shares = []
        for seed in range(run.sizes.seeds):
            probe, share = Probe.fitted(train.some(_words_of(vectors["train"], seed)), dev)
            shares.append(share)
            on_test.setdefault(view, []).append(measure(gold, _cut(probe.labels(found["test"][view]), gold)))
            after.setdefault(view, []).append(measure(gold, _cut(probe.labels(after_noise[seed][view]), gold)))
        on_dev[view] = float(np.mean(shares))
    best = chosen(on_dev)
    run.say(f"    {name}, {source.name}: " + ", ".join(f"{v} {np.mean(x):.3f}" for v, x in on_test.items()))
    about = {"data": name, "vectors": source.name, "n": len(flat["test"])}
    clean = [seeded(on_test[view], view=view, metric=metric, chosen=view == best, **about) for view in on_test]
    return [*clean, seeded(after[best], view=best, metric=f"{metric}, damaged words", chosen=True, **about)]


def _words_of(vectors: TokenVectors, seed: int) -> npt.NDArray[np.int64]:
    """The rows of the words of a random four fifths of the sentences."""
    starts = vectors.starts
    return np.concatenate([np.arange(starts[s], starts[s + 1]) for s in draw(len(starts) - 1, seed)])


def _cut(labels: Sequence[str], like: Sequence[Sequence[str]]) -> list[list[str]]:
    """A flat list of labels, sentence by sentence."""
    waiting = iter(labels)
    return [[next(waiting) for _ in sentence] for sentence in like]
