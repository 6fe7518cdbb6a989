"""Which sense has this word? The nearest mean of the contexts of each sense (Peters et al. 2018, section 5.3).

A view is a layer, by itself or averaged with the words around; the mix of all views is learned from the training
contexts, each held against means that leave it out. Dev data choose what tables show, for every kind of vectors alike.

Legend: `N` mentions, `C` candidates (the senses that each mention may have), `V` views, `W` width of one view.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .contexts import MIX, mix_of_candidates, unit, views
from .metrics import bootstrap
from .readers import DATA, SenseMention, all_words, lexical_sample, limited
from .run import Floats, Result, Run, Score, chosen
from .vectors import Source

TIE = 1e-6
DEV_DOCUMENTS = 10  # every tenth document of SemCor chooses the view
BLOCK = 20_000  # candidates at a time


@dataclass(frozen=True)
class Candidates:
    """What each mention might mean. `of`: its mention, `senses`: its sense; both (C,). `scores`: (C, V), cosines.

    The candidates of one mention stand together, in falling order of their training counts.
    """

    of: npt.NDArray[np.int64]
    senses: Sequence[str]
    scores: Floats

    def answers(self, shares: npt.NDArray[Any], mentions: int) -> list[str | None]:
        """The best sense of each mention by the sum of its scores; None where there is no candidate.

        The first of equals wins, so that vectors which cannot tell senses apart give the first sense.
        """
        said: list[str | None] = [None] * mentions
        total = self.scores @ np.asarray(shares, dtype=np.float32)
        begins = np.flatnonzero(np.diff(self.of, prepend=-1))
        for begin, end in zip(begins, [*begins[1:], len(total)], strict=True):
            near = total[begin:end]
            said[self.of[begin]] = self.senses[int(begin + np.argmax(near >= near.max() - TIE))]
        return said


class SenseVectors:
    """The mean vector of each sense's training contexts, view by view."""

    def __init__(self, training: Sequence[SenseMention], rows: Mapping[str, Floats]) -> None:
        self._senses = first_senses(training)
        self._number = {
            key: at for at, key in enumerate((lemma, s) for lemma, all_ in self._senses.items() for s in all_)
        }
        of_row = np.asarray([self._number[each.lemma, each.sense] for each in training])
        order = np.argsort(of_row, kind="stable")
        begins = np.searchsorted(of_row[order], np.arange(len(self._number)))
        self._sums = {
            view: np.add.reduceat(np.asarray(found, dtype=np.float32)[order], begins, axis=0)
            for view, found in rows.items()
        }

    def candidates(
        self, mentions: Sequence[SenseMention], rows: Mapping[str, Floats], among_training: bool = False
    ) -> Candidates:
        """The cosine of every mention with every sense of its lemma. `among_training`: with means that leave it out."""
        found = [(at, sense) for at, each in enumerate(mentions) for sense in self._senses.get(each.lemma, ())]
        of = np.asarray([at for at, _ in found], dtype=np.int64)
        number = np.asarray([self._number[mentions[at].lemma, sense] for at, sense in found], dtype=np.int64)
        own = np.asarray([among_training and mentions[at].sense == sense for at, sense in found], dtype=np.bool_)
        scores = np.zeros((len(found), len(rows)), dtype=np.float32)
        for column, view in enumerate(rows):
            for block in (slice(begin, begin + BLOCK) for begin in range(0, len(found), BLOCK)):
                here = np.asarray(rows[view][of[block]], dtype=np.float32)
                means = unit(self._sums[view][number[block]] - here * own[block, None])
                scores[block, column] = (unit(here) * means).sum(axis=1)
        return Candidates(of, [sense for _, sense in found], scores)


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
    model = SenseVectors(training, learned)
    shares = dict(zip(learned, np.eye(len(learned)), strict=True)) | {MIX: learned_mix(model, training, learned)}
    candidates = model.candidates(dev, on_dev)
    found = {
        view: _score(name, source.name, view, candidates.answers(share, len(dev)), dev).value if dev else 0.0
        for view, share in shares.items()
    }
    if again:
        both = {view: np.concatenate([learned[view], on_dev[view]]) for view in learned}
        model = SenseVectors([*training, *dev], both)
    candidates, best = model.candidates(test, on_test), chosen(found)
    mix = {view: round(float(share), 3) for view, share in zip(learned, shares[MIX], strict=True)}
    return [
        _score(name, source.name, view, candidates.answers(share, len(test)), test, view == best,
               {"dev": found[view], **({"mix": mix} if view == MIX else {})})
        for view, share in shares.items()
    ]  # fmt: skip


def learned_mix(model: SenseVectors, training: Sequence[SenseMention], rows: Mapping[str, Floats]) -> npt.NDArray[Any]:
    """The share of each view that tells the training contexts' senses apart best. *Shape:* (V,)."""
    candidates = model.candidates(training, rows, among_training=True)
    right = np.asarray([training[at].sense == s for at, s in zip(candidates.of, candidates.senses, strict=True)])
    return mix_of_candidates(candidates.scores, candidates.of, right)


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
    more: Mapping[str, Any] | None = None,
) -> Score:
    """F1, which is the accuracy where every word got an answer."""
    right = np.asarray([answer == each.sense for answer, each in zip(said, test, strict=True)])
    answered = np.asarray([answer is not None for answer in said])

    def f1(drawn: npt.NDArray[np.int64]) -> float:
        return float(2 * right[drawn].sum() / (answered[drawn].sum() + len(drawn)))

    facts = {"answered": float(answered.mean()), **(more or {})}
    everything = np.arange(len(test))
    interval = bootstrap(f1, len(test))
    return Score(name, vectors, view, "F1", f1(everything), (), interval, len(test), is_chosen, facts)
