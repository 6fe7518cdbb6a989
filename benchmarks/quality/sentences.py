"""Sentence similarity by pooling word vectors, and linear probes for sentiment and topic.

Beside the vectors under test stand a bag of words (TF-IDF) and, where its environment is given, a small sentence
transformer as the upper mark.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

from .cache import Pool
from .contexts import cosines
from .metrics import NOISE, bootstrap, damaged, spearman
from .probes import Examples, Probe, draw
from .readers import DATA, Text, TextPair, Words, labelled_texts, similar_sentences
from .run import Floats, Result, Run, Score, chosen, layer_views, seeded
from .vectors import Source, spoken

BAG = "bag of words"
BAG_STRENGTHS = (1.0, 10.0, 100.0)  # TF-IDF rows have length 1: they need less regularisation than standard scores
Views = dict[str, Floats]


# --- similarity


def sentence_similarity(run: Run) -> Result:
    """STS benchmark: the cosine of two pooled sentences against people's ratings; dev chooses layer and pooling."""
    scores: list[Score] = []
    data: dict[str, Any] = {}
    for name in DATA[run.language]["sts"]:
        train = similar_sentences(name, "train", run.tokenizer, run.sizes.quick)
        frequencies = _frequencies([text for pair in train for text in (pair.first, pair.second)])
        dev, test = (similar_sentences(name, s, run.tokenizer, run.sizes.quick) for s in ("dev", "test"))
        data[name] = {"dev": len(dev), "test": len(test)}
        for source in run.sources:
            on_dev, on_test = (_pooled_cosines(run, source, part, frequencies) for part in (dev, test))
            best = chosen({view: spearman(values, _ratings(dev)) for view, values in on_dev.items()})
            scores += [_correlation(name, source.name, view, on_test[view], test, view == best) for view in on_test]
        if run.upper:
            rows = [_upper(run, [text.raw for text in side]) for side in _sides(test)]
            scores.append(_correlation(name, run.upper.name, "", cosines(*rows), test, True))
    return Result(scores, data)


def _pooled_cosines(run: Run, source: Source, pairs: Sequence[TextPair], frequencies: dict[str, float]) -> Views:
    pools = [Pool("mean"), Pool("max"), Pool("sif", frequencies)]
    texts = [text.sentences for side in _sides(pairs) for text in side]
    rows = run.cache.texts(source, texts, pools)  # Shape: (2 pairs, pools, L, W)
    found = {}
    for number, pool in enumerate(pools):
        for view, values in layer_views(source, rows[:, number]).items():
            if pool.name == "sif":
                values = _without_common_part(values)
            found[f"{view}, {pool.name}"] = cosines(values[: len(pairs)], values[len(pairs) :])
    return found


def _without_common_part(rows: Floats) -> Floats:
    """The second step of SIF: the first singular direction of the sentences that are compared is taken out."""
    _, _, directions = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(rows - np.outer(rows @ directions[0], directions[0]), dtype=np.float32)


def _frequencies(texts: Sequence[Text]) -> dict[str, float]:
    counts = Counter(word for text in texts for words in text.sentences for word in words)
    return {word: count / counts.total() for word, count in counts.items()}


def _sides(pairs: Sequence[TextPair]) -> tuple[list[Text], list[Text]]:
    return [pair.first for pair in pairs], [pair.second for pair in pairs]


def _ratings(pairs: Sequence[TextPair]) -> list[float]:
    return [pair.score for pair in pairs]


def _correlation(
    name: str, vectors: str, view: str, values: Floats, pairs: Sequence[TextPair], is_chosen: bool
) -> Score:
    ratings = np.asarray(_ratings(pairs))
    interval = bootstrap(lambda drawn: spearman(values[drawn], ratings[drawn]), len(pairs))
    value = spearman(values, ratings)
    return Score(name, vectors, view, "Spearman", value, (), interval, len(pairs), is_chosen)


def _upper(run: Run, texts: Sequence[str]) -> Floats:
    """The sentence transformer's vectors, kept beside the others."""
    assert run.upper is not None
    key = hashlib.sha256("\0".join([run.upper.identity, *texts]).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    path = run.cache.folder / f"upper-{key}.npy"
    return np.load(path) if path.exists() else run.upper.embed(texts, path)


# --- sentiment and topic


def text_probes(run: Run) -> Result:
    """Logistic regression over the mean of a text's word vectors; then once more with damaged test words."""
    scores: list[Score] = []
    data: dict[str, Any] = {}
    for task in ("sentiment", "topic"):
        for name in DATA[run.language][task]:
            parts = {
                split: labelled_texts(task, name, split, run.tokenizer, size)  # type: ignore[arg-type]
                for split, size in (
                    ("train", run.sizes.train(texts=True)), ("dev", run.sizes.dev()), ("test", run.sizes.test())
                )
            }  # fmt: skip
            data[name] = {split: len(texts) for split, texts in parts.items()}
            run.say(f"    {name}: {data[name]}")
            scores += _classified(run, name, parts)
    return Result(scores, data)


def _classified(run: Run, name: str, parts: dict[str, list[Text]]) -> list[Score]:
    seeds = range(run.sizes.seeds)
    labels = {split: [text.label for text in texts] for split, texts in parts.items()}
    noisy = [_damaged(parts["test"], seed) for seed in seeds]
    scores = _bag_of_words(run, name, parts, noisy)
    for source in run.sources:
        found = {split: _means(run, source, texts) for split, texts in parts.items()}
        damaged_rows = [_means(run, source, texts) for texts in noisy]
        scores += probed(name, source.name, found, labels, damaged_rows)
    if run.upper:
        found = {split: {"": _upper(run, [text.raw for text in texts])} for split, texts in parts.items()}
        damaged_rows = [{"": _upper(run, [" ".join(map(spoken, text.sentences)) for text in texts])} for texts in noisy]
        scores += probed(name, run.upper.name, found, labels, damaged_rows)
    return scores


def probed(
    name: str, vectors: str, found: dict[str, Views], labels: dict[str, list[str]], noisy: Sequence[Views]
) -> list[Score]:
    """A score a view, and one more for damaged words with the view that dev chose. One seed for each of `noisy`."""
    on_test: dict[str, list[float]] = {}
    on_dev: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    for view in found["test"]:
        train, dev, test = (Examples(found[split][view], labels[split]) for split in ("train", "dev", "test"))
        for seed, rows in enumerate(noisy):
            probe, share = Probe.fitted(train.some(draw(len(labels["train"]), seed)), dev)
            on_dev.setdefault(view, []).append(share)
            on_test.setdefault(view, []).append(probe.accuracy(test))
            after.setdefault(view, []).append(probe.accuracy(Examples(rows[view], labels["test"])))
    best = chosen({view: float(np.mean(values)) for view, values in on_dev.items()})
    n = len(labels["test"])
    about = {"data": name, "vectors": vectors, "n": n}
    clean = [seeded(on_test[view], view=view, metric="accuracy", chosen=view == best, **about) for view in on_test]
    return [*clean, seeded(after[best], view=best, metric="accuracy, damaged words", chosen=True, **about)]


def _means(run: Run, source: Source, texts: Sequence[Text]) -> Views:
    rows = run.cache.texts(source, [text.sentences for text in texts], [Pool("mean")])
    return layer_views(source, rows[:, 0])


def _bag_of_words(run: Run, name: str, parts: dict[str, list[Text]], noisy: Sequence[list[Text]]) -> list[Score]:
    """TF-IDF over lower-cased words, sublinear counts, all words of the training part."""
    on_test, after = [], []
    for seed in range(run.sizes.seeds):
        train = [parts["train"][index] for index in draw(len(parts["train"]), seed)]
        weigh = TfidfVectorizer(analyzer=_lowered, sublinear_tf=True)
        weigh.fit(train)
        rows = {key: Examples(weigh.transform(texts), [text.label for text in texts], sparse=True)
                for key, texts in {**parts, "train": train, "noisy": noisy[seed]}.items()}  # fmt: skip
        probe, _ = Probe.fitted(rows["train"], rows["dev"], BAG_STRENGTHS)
        on_test.append(probe.accuracy(rows["test"]))
        after.append(probe.accuracy(rows["noisy"]))
    about = {"data": name, "vectors": BAG, "view": "TF-IDF", "n": len(parts["test"]), "chosen": True}
    return [seeded(on_test, metric="accuracy", **about), seeded(after, metric="accuracy, damaged words", **about)]


def _lowered(text: Text) -> list[str]:
    return [word.lower() for words in text.sentences for word in words]


def _damaged(texts: Sequence[Text], seed: int) -> list[Text]:
    """The texts with a tenth of their words' characters damaged."""
    flat: list[Words] = damaged([words for text in texts for words in text.sentences], NOISE, seed)
    waiting = iter(flat)
    return [Text(text.raw, tuple(next(waiting) for _ in text.sentences), text.label) for text in texts]
