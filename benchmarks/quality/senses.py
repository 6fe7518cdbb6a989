"""Does a word's vector know its sense? Word in context, usage similarity, and disambiguation by nearest neighbour.

A biLM is asked layer by layer, and by the mean of its layers. A static vector is the same in every context, so static
vectors get two views more, in which the context speaks: the mean over five words on each side, and over the sentence.
The view that tables show is chosen on dev data, for every kind of vectors alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .metrics import bootstrap, spearman, wilson
from .readers import (
    DATA,
    Mention,
    MentionPair,
    SenseMention,
    all_words,
    lexical_sample,
    limited,
    usage_similarity,
    words_in_context,
)
from .run import Floats, Result, Run, Score, chosen, layer_views
from .vectors import Source

CONTEXT_WORDS = 5
TIE = 1e-6
DEV_DOCUMENTS = 10  # every tenth document of SemCor chooses the view


def views(run: Run, source: Source, mentions: Sequence[Mention]) -> dict[str, Floats]:
    """What is compared. *Shape:* (mentions, W) a view."""
    found = layer_views(source, run.cache.mentions(source, mentions))
    if source.kind == "static":
        near = [
            Mention(m.words, max(0, m.start - CONTEXT_WORDS), min(len(m.words), m.end + CONTEXT_WORDS))
            for m in mentions
        ]
        whole = [Mention(m.words, 0, len(m.words)) for m in mentions]
        for name, context in ((f"mean of {CONTEXT_WORDS} words a side", near), ("mean of the sentence", whole)):
            found[name] = run.cache.mentions(source, context)[:, 0]
    return found


def cosines(first: Floats, second: Floats) -> Floats:
    """The cosine of each row with its partner; 0 where a vector is zero."""
    return np.asarray((unit(first) * unit(second)).sum(axis=1))


def unit(rows: Floats) -> Floats:
    """Rows of length 1; zero rows stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length == 0, 1, length), dtype=np.float32)


# --- pairs of words in context


def word_in_context(run: Run) -> Result:
    """WiC: the same sense where the cosine exceeds a threshold, which dev chooses; chance is one half."""
    dev, test = (limited(words_in_context(split), run.sizes.quick) for split in ("dev", "test"))
    gold = np.asarray([pair.score > 0 for pair in test])
    scores = []
    for source in run.sources:
        on_dev, on_test = _pair_cosines(run, source, dev), _pair_cosines(run, source, test)
        cuts = {view: threshold(values, [pair.score > 0 for pair in dev]) for view, values in on_dev.items()}
        best = chosen({view: share for view, (_, share) in cuts.items()})
        for view, values in on_test.items():
            right = int(((values > cuts[view][0]) == gold).sum())
            interval = wilson(right, len(test))
            facts = {"dev": cuts[view][1], "above_chance": interval[0] > 0.5}
            scores.append(
                Score("wic", source.name, view, "accuracy", right / len(test), (), interval, len(test),
                      view == best, facts)
            )  # fmt: skip
    return Result(scores, {"dev_pairs": len(dev), "test_pairs": len(test)})


def similarity_of_usage(run: Run) -> Result:
    """SCWS: the cosine of two words in their contexts, against people's ratings; every second pair chooses the view."""
    pairs = limited(usage_similarity(), run.sizes.quick)
    ratings = np.asarray([pair.score for pair in pairs])
    dev = np.arange(len(pairs)) % 2 == 0
    scores = []
    for source in run.sources:
        found = _pair_cosines(run, source, pairs)
        best = chosen({view: spearman(values[dev], ratings[dev]) for view, values in found.items()})
        for view, values in found.items():
            scores.append(_correlation(source, view, values[~dev], ratings[~dev], view == best))
    return Result(scores, {"dev_pairs": int(dev.sum()), "test_pairs": int((~dev).sum())})


def _correlation(source: Source, view: str, values: Floats, ratings: npt.NDArray[np.float64], is_chosen: bool) -> Score:
    interval = bootstrap(lambda drawn: spearman(values[drawn], ratings[drawn]), len(values))
    value = spearman(values, ratings)
    return Score("scws", source.name, view, "Spearman", value, (), interval, len(values), is_chosen)


def _pair_cosines(run: Run, source: Source, pairs: Sequence[MentionPair]) -> dict[str, Floats]:
    found = views(run, source, [pair.first for pair in pairs] + [pair.second for pair in pairs])
    return {view: cosines(rows[: len(pairs)], rows[len(pairs) :]) for view, rows in found.items()}


def threshold(values: Floats, same: Sequence[bool]) -> tuple[float, float]:
    """(the cut above which to say "the same", the share of right answers with it)."""
    order = np.argsort(values, kind="stable")
    sorted_values, positive = np.asarray(values, dtype=np.float64)[order], np.asarray(same)[order]
    # Cut k says "not the same" to the first k values; only cuts between different values can be made.
    right = np.concatenate([[0], np.cumsum(~positive)]) + positive.sum() - np.concatenate([[0], np.cumsum(positive)])
    ends = np.concatenate([[sorted_values[0] - 1], sorted_values, [sorted_values[-1] + 1]])
    possible = ends[:-1] < ends[1:]
    best = int(np.argmax(np.where(possible, right, -1)))
    return float((ends[best] + ends[best + 1]) / 2), float(right[best] / len(positive))


# --- word-sense disambiguation


class SenseVectors:
    """The mean vector of each sense's training contexts; a word takes the sense of the nearest (by cosine).

    Peters et al. 2018, section 5.3, after Melamud et al. 2016. Senses of a lemma stand in falling order of their
    counts, and the first of equals wins, so that vectors which cannot tell senses apart give the first sense.
    """

    def __init__(self, training: Sequence[SenseMention], rows: Floats) -> None:
        self._senses = first_senses(training)
        number = {key: at for at, key in enumerate((lemma, s) for lemma, all_ in self._senses.items() for s in all_)}
        of_row = np.asarray([number[each.lemma, each.sense] for each in training])
        order = np.argsort(of_row, kind="stable")
        begins = np.searchsorted(of_row[order], np.arange(len(number)))
        sums = np.add.reduceat(np.asarray(rows, dtype=np.float32)[order], begins, axis=0)
        self._means, self._number = unit(sums), number

    def senses(self, mentions: Sequence[SenseMention], rows: Floats) -> list[str | None]:
        """The sense of each; None for a lemma without training contexts."""
        vectors = unit(rows)
        found: list[str | None] = []
        for each, vector in zip(mentions, vectors, strict=True):
            possible = self._senses.get(each.lemma)
            if possible is None:
                found.append(None)
                continue
            near = self._means[[self._number[each.lemma, sense] for sense in possible]] @ vector
            found.append(possible[int(np.argmax(near >= near.max() - TIE))])
        return found


def first_senses(training: Sequence[SenseMention]) -> dict[str, list[str]]:
    """Each lemma's senses in falling order of their training counts, equals by name."""
    counts: dict[str, Counter[str]] = {}
    for each in training:
        counts.setdefault(each.lemma, Counter())[each.sense] += 1
    return {lemma: sorted(found, key=lambda sense: (-found[sense], sense)) for lemma, found in counts.items()}


def lexical_samples(run: Run) -> Result:
    """Four words with many contexts each: accuracy with an interval; the dev part chooses the view."""
    scores: list[Score] = []
    data: dict[str, Any] = {}
    for word in DATA[run.language]["wsd_words"]:
        parts = {split: limited(lexical_sample(word, split), run.sizes.quick) for split in ("train", "dev", "test")}
        data[word] = {split: len(items) for split, items in parts.items()}
        scores.append(_first_sense(word, parts["train"], parts["test"]))
        for source in run.sources:
            scores += _disambiguated(run, source, word, parts["train"], parts["dev"], parts["test"], again=False)
    return Result(scores, data)


def all_word_senses(run: Run) -> Result:
    """SemCor's contexts, Senseval-2 and SemEval-2013: F1 over all tagged words.

    WordNet's first sense, which the paper falls back to, is not in the data: a lemma that SemCor lacks is left without
    an answer. The first sense is the one that is most frequent in SemCor. `answered` says how much that leaves.
    """
    documents, quick = all_words("semcor_train"), run.sizes.quick
    training = limited([m for at, (_, items) in enumerate(documents) for m in items if at % DEV_DOCUMENTS], quick)
    dev = limited([m for at, (_, items) in enumerate(documents) for m in items if not at % DEV_DOCUMENTS], quick)
    tests = {
        name: limited([each for _, items in all_words(f"{name}_test") for each in items], quick)
        for name in DATA[run.language]["wsd_all"]
    }
    scores = [_first_sense(name, training + dev, test) for name, test in tests.items()]
    for source in run.sources:
        for name, test in tests.items():
            scores += _disambiguated(run, source, name, training, dev, test, again=True)
    return Result(scores, {"semcor": len(training) + len(dev), **{name: len(test) for name, test in tests.items()}})


def _disambiguated(
    run: Run,
    source: Source,
    name: str,
    training: Sequence[SenseMention],
    dev: Sequence[SenseMention],
    test: Sequence[SenseMention],
    again: bool,
) -> list[Score]:
    """A score a view. `again`: once the view is chosen, the dev contexts join the training."""
    learned, on_dev, on_test = (views(run, source, [each.mention for each in part]) for part in (training, dev, test))
    shares, scores = {}, {}
    for view in learned:
        model = SenseVectors(training, learned[view])
        shares[view] = _score(name, source.name, view, model.senses(dev, on_dev[view]), dev).value if dev else 0.0
        if again:
            model = SenseVectors([*training, *dev], np.concatenate([learned[view], on_dev[view]]))
        scores[view] = (model.senses(test, on_test[view]), shares[view])
    best = chosen(shares)
    return [_score(name, source.name, view, said, test, view == best, share) for view, (said, share) in scores.items()]


def _first_sense(name: str, training: Sequence[SenseMention], test: Sequence[SenseMention]) -> Score:
    first = {lemma: senses[0] for lemma, senses in first_senses(training).items()}
    return _score(name, "first sense", "", [first.get(each.lemma) for each in test], test, True)


def _score(
    name: str,
    vectors: str,
    view: str,
    said: Sequence[str | None],
    test: Sequence[SenseMention],
    is_chosen: bool = False,
    dev: float | None = None,
) -> Score:
    """F1, which is the accuracy where every word got an answer."""
    right = np.asarray([answer == each.sense for answer, each in zip(said, test, strict=True)])
    answered = np.asarray([answer is not None for answer in said])

    def f1(drawn: npt.NDArray[np.int64]) -> float:
        return float(2 * right[drawn].sum() / (answered[drawn].sum() + len(drawn)))

    facts = {"answered": float(answered.mean()), **({} if dev is None else {"dev": dev})}
    everything = np.arange(len(test))
    interval = bootstrap(f1, len(test))
    return Score(name, vectors, view, "F1", f1(everything), (), interval, len(test), is_chosen, facts)
