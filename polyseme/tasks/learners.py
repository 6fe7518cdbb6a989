"""What `compare` compares: a task's network over vectors, and a bag of words under a linear classifier.

All data lie ready: the vectors of training, dev and test examples are computed once, and a fit takes rows of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from polyseme.errors import MissingExtraError, OptionError
from polyseme.tasks import classify, tag
from polyseme.tasks.compare import Counts, Fitted
from polyseme.tasks.conll import TaggedData
from polyseme.tasks.data import Text
from polyseme.tasks.features import Features, Vectors
from polyseme.tasks.heads import HeadConfig
from polyseme.tasks.loop import LoopConfig
from polyseme.tasks.metrics import Labels
from polyseme.tasks.spans import spans

BAG_OF_WORDS = "bow"
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # C of the regression over a bag of words; dev chooses


def label_counts(truth: Sequence[Labels], found: Sequence[Labels], *, multi_label: bool) -> Counts:
    """Of each text (right, all); where it has several labels, twice the right ones, and those of both sides."""
    if not multi_label:
        return np.asarray([(float(a == b), 1.0) for a, b in zip(truth, found, strict=True)])
    return np.asarray([(2.0 * len({*a} & {*b}), float(len(a) + len(b))) for a, b in zip(truth, found, strict=True)])


def tag_counts(truth: Sequence[Labels], found: Sequence[Labels], *, has_spans: bool) -> Counts:
    """Of each sentence: right words and all; or twice the right spans, and those of both sides."""
    rows = []
    for wanted, said in zip(truth, found, strict=True):
        if has_spans:
            ours, theirs = set(spans(wanted)), set(spans(said))
            rows.append((2.0 * len(ours & theirs), float(len(ours) + len(theirs))))
        else:
            rows.append((float(sum(a == b for a, b in zip(wanted, said, strict=True))), float(len(wanted))))
    return np.asarray(rows)


@dataclass(frozen=True)
class TextLearner:
    """`classify` or `nli` over some features."""

    name: str
    train: classify.Ready
    dev: classify.Ready
    test: classify.Ready
    features: Features
    reading: classify.Reading
    config: HeadConfig
    loop: LoopConfig
    multi_label: bool = False

    def fit(self, rows: Sequence[int], seed: int) -> Fitted:
        """Learns from these rows of `train`."""
        begun = time.monotonic()
        classifier, (report,) = classify.fit_ready(
            self.train.some(rows), self.dev, self.features, self.reading, self.config, replace(self.loop, seed=seed),
            multi_label=self.multi_label, metric="micro_f1" if self.multi_label else "accuracy", seeds=(seed,),
        )  # fmt: skip
        learned = time.monotonic()
        found = [each.labels for each in classifier.read(self.test.vectors)]
        counts = label_counts([text.labels for text in self.test.texts], found, multi_label=self.multi_label)
        return Fitted(report.best.dev, counts, len(report.epochs), learned - begun, time.monotonic() - learned)


@dataclass(frozen=True)
class TagLearner:
    """`tag` over some features. The three parts hold sentences and their vectors."""

    name: str
    train: tuple[TaggedData, Vectors]
    dev: tuple[TaggedData, Vectors]
    test: tuple[TaggedData, Vectors]
    features: Features
    config: tag.TagConfig
    loop: LoopConfig

    def fit(self, rows: Sequence[int], seed: int) -> Fitted:
        """Learns from these rows of `train`."""
        begun = time.monotonic()
        data, vectors = self.train
        some = replace(data, sentences=tuple(data.sentences[row] for row in rows))
        tagger, (report,) = tag.fit_ready(
            (some, vectors.some(rows)),
            self.dev,
            self.features,
            self.config,
            replace(self.loop, seed=seed),
            seeds=(seed,),
        )
        learned = time.monotonic()
        sentences, vectors = self.test
        truth = [sentence.tags for sentence in sentences.sentences]
        counts = tag_counts(truth, tagger.read(vectors), has_spans=tagger.has_spans)
        return Fitted(report.best.dev, counts, len(report.epochs), learned - begun, time.monotonic() - learned)


class BagLearner:
    """TF-IDF of a text's words under logistic regression, the baseline of every textbook; of a pair both texts,
    their difference and their product. Its strength of regularisation is chosen on dev; it knows no other chance."""

    name = BAG_OF_WORDS

    def __init__(
        self,
        train: Sequence[Text],
        dev: Sequence[Text],
        test: Sequence[Text],
        reading: classify.Reading,
        *,
        multi_label: bool,
    ) -> None:
        if multi_label:
            raise OptionError(f"the features {BAG_OF_WORDS} have one label a text; leave them out with --multi-label")
        self._texts = [classify.cut(part, reading).texts for part in (train, dev, test)]
        self._labels = [[text.label for text in part] for part in (train, dev, test)]
        self._max_words = reading.max_words

    def fit(self, rows: Sequence[int], seed: int) -> Fitted:  # noqa: ARG002 (as every learner)
        """Learns words, their weights and labels from these rows of the training texts; `seed` changes nothing."""
        begun = time.monotonic()
        learned, dev, test = self._texts
        labels = [self._labels[0][row] for row in rows]
        bag = _sklearn("feature_extraction.text").TfidfVectorizer(analyzer=_as_it_is, sublinear_tf=True)
        documents = [self._words(learned[row]) for row in rows]
        bag.fit(document for pair in documents for document in pair)
        x, x_dev = self._rows(bag, documents), self._rows(bag, [self._words(text) for text in dev])
        best: tuple[float, Any] | None = None
        for strength in STRENGTHS:
            model = _sklearn("linear_model").LogisticRegression(C=strength, max_iter=1000).fit(x, labels)
            score = float(model.score(x_dev, self._labels[1]))
            if best is None or score > best[0]:
                best = score, model
        assert best is not None
        ready = time.monotonic()
        found = best[1].predict(self._rows(bag, [self._words(text) for text in test]))
        counts = np.asarray([(float(a == b), 1.0) for a, b in zip(self._labels[2], found, strict=True)])
        return Fitted(best[0], counts, 0, ready - begun, time.monotonic() - ready)

    def _words(self, texts: Sequence[Sequence[Sequence[str]]]) -> list[list[str]]:
        return [[word for sentence in text for word in sentence][: self._max_words] for text in texts]

    def _rows(self, bag: Any, documents: Sequence[Sequence[Sequence[str]]]) -> Any:
        parts = [bag.transform(list(texts)) for texts in zip(*documents, strict=True)]
        if len(parts) == 1:
            return parts[0]
        first, second = parts
        return (
            import_module("scipy.sparse").hstack([first, second, abs(first - second), first.multiply(second)]).tocsr()
        )


def _as_it_is(words: Sequence[str]) -> Sequence[str]:
    return words


def _sklearn(module: str) -> Any:
    if find_spec("sklearn") is None:
        raise MissingExtraError("comparing features", "tasks")
    return import_module(f"sklearn.{module}")
