"""Two words in their contexts: the same sense (WiC)? How similar (SCWS)?

Every view's vectors are first moved so that the training pairs' mean is zero: a biLM's vectors of one layer all point
into nearly one direction (Ethayarajh 2019), and so do means of static ones; what they share says nothing (Mu and
Viswanath 2018). The learned mix is a linear regression over the views' cosines whose weights are not negative, as
those of the paper's mix (equation 1); fitted to a few hundred pairs, free weights cancel each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LinearRegression

from .contexts import MIX, cosines, views
from .metrics import bootstrap, marks, spearman, wilson
from .readers import Mention, MentionPair, limited, usage_similarity, words_in_context
from .run import Floats, Result, Run, Score, chosen
from .vectors import Source


def word_in_context(run: Run) -> Result:
    """WiC: the same sense where the cosine exceeds a threshold; chance is one half.

    Threshold and view are chosen on the training and dev pairs together: dev has 638, too few to tell views apart.
    """
    train, dev, test = (limited(words_in_context(split), run.sizes.quick) for split in ("train", "dev", "test"))
    same = np.asarray([pair.score > 0 for pair in (*train, *dev)])
    gold = np.asarray([pair.score > 0 for pair in test])
    scores = []
    for source in run.sources:
        learned, on_dev, on_test = pair_cosines(run, source, train, dev, test)
        model = LinearRegression(positive=True).fit(_columns(learned), same[: len(train)])
        for part in (learned, on_dev, on_test):
            part[MIX] = model.predict(_columns(part))
        cuts = {view: threshold(np.concatenate([learned[view], on_dev[view]]), same) for view in on_test}
        best = chosen({view: share for view, (_, share) in cuts.items()})
        for view, values in on_test.items():
            right = (values > cuts[view][0]) == gold
            interval = wilson(int(right.sum()), len(test))
            facts = {"train_and_dev": cuts[view][1], "above_chance": interval[0] > 0.5}
            if view == best:
                facts["right"] = marks(right)
            scores.append(
                Score("wic", source.name, view, "accuracy", float(right.mean()), (), interval, len(test),
                      view == best, facts)
            )  # fmt: skip
    return Result(scores, {"train_pairs": len(train), "dev_pairs": len(dev), "test_pairs": len(test)})


def similarity_of_usage(run: Run) -> Result:
    """SCWS: the cosine of two words in their contexts, against people's ratings.

    Every second pair is a test pair. Of the others, half fit the mix and half choose the view. Most pairs are of two
    words, and ask how similar those are; the pairs of one word, which ask for its senses, are also shown by themselves.
    """
    pairs = limited(usage_similarity(), run.sizes.quick)
    parts = [pairs[0::4], pairs[2::4], pairs[1::2]]
    train, dev, test = (np.asarray([pair.score for pair in part]) for part in parts)
    alike = np.asarray([_word(pair.first) == _word(pair.second) for pair in parts[2]])
    rows = {"scws": np.ones_like(alike), "scws, two words": ~alike, "scws, one word": alike}
    scores = []
    for source in run.sources:
        learned, on_dev, on_test = pair_cosines(run, source, *parts)
        model = LinearRegression(positive=True).fit(_columns(learned), train)
        for part in (on_dev, on_test):
            part[MIX] = model.predict(_columns(part))
        best = chosen({view: spearman(values, dev) for view, values in on_dev.items()})
        scores += [
            _correlation(name, source, view, values[some], test[some], view == best)
            for name, some in rows.items()
            if some.sum() > 2
            for view, values in on_test.items()
        ]
    return Result(scores, {"train_pairs": len(train), "dev_pairs": len(dev), "test_pairs": len(test)})


def _word(mention: Mention) -> str:
    return " ".join(mention.words[mention.start : mention.end]).lower()


def _correlation(
    data: str, source: Source, view: str, values: Floats, ratings: npt.NDArray[np.float64], is_chosen: bool
) -> Score:
    interval = bootstrap(lambda drawn: spearman(values[drawn], ratings[drawn]), len(values))
    value = spearman(values, ratings)
    return Score(data, source.name, view, "Spearman", value, (), interval, len(values), is_chosen)


def pair_cosines(
    run: Run, source: Source, train: Sequence[MentionPair], *others: Sequence[MentionPair]
) -> list[dict[str, Floats]]:
    """The cosines of each part, view by view, of vectors from which the mean of `train` was taken."""
    rows = [
        views(run, source, [side for pair in part for side in (pair.first, pair.second)]) for part in (train, *others)
    ]
    means = {view: values.mean(axis=0, dtype=np.float32) for view, values in rows[0].items()}
    return [
        {view: cosines(values[0::2] - means[view], values[1::2] - means[view]) for view, values in part.items()}
        for part in rows
    ]


def _columns(found: dict[str, Floats]) -> Floats:
    """*Shape:* (pairs, views), without the mix."""
    return np.stack([values for view, values in found.items() if view != MIX], axis=1)


def threshold(values: Floats, same: Sequence[bool] | npt.NDArray[np.bool_]) -> tuple[float, float]:
    """(the cut above which to say "the same", the share of right answers with it)."""
    order = np.argsort(values, kind="stable")
    sorted_values, positive = np.asarray(values, dtype=np.float64)[order], np.asarray(same)[order]
    # Cut k says "not the same" to the first k values; only cuts between different values can be made.
    right = np.concatenate([[0], np.cumsum(~positive)]) + positive.sum() - np.concatenate([[0], np.cumsum(positive)])
    ends = np.concatenate([[sorted_values[0] - 1], sorted_values, [sorted_values[-1] + 1]])
    possible = ends[:-1] < ends[1:]
    best = int(np.argmax(np.where(possible, right, -1)))
    return float((ends[best] + ends[best + 1]) / 2), float(right[best] / len(positive))
