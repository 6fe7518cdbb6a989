"""Which sense has this word? The nearest mean of the contexts of each sense (Peters et al. 2018, section 5.3).

A view is a layer, by itself, averaged with the words around, or of the words beside; each of them also whitened. Two
mixes, of the views as they are and of the whitened ones, both with how often a sense comes, are learned from the
training contexts, each held against means that leave it out. Dev data choose what tables show, for all vectors alike.

Legend: `N` mentions, `C` candidates (the senses that each mention may have), `V` views, `W` width of one view.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .contexts import MIX, WHITENED, mix_of_candidates, unit, views, whitened
from .metrics import bootstrap, marks
from .readers import DATA, SenseMention, all_words, lexical_sample, limited
from .run import Floats, Result, Run, Score, chosen
from .vectors import Source

TIE = 1e-6
DEV_DOCUMENTS = 10  # every tenth document of SemCor chooses the view
BLOCK = 20_000  # candidates at a time
FREQUENCY, NATS = "frequency", 5  # logarithms of shares are divided by NATS, which makes them about as large as cosines


@dataclass(frozen=True)
class Candidates:
    """What each of `mentions` might mean. `of`: its mention, `senses`: its sense, `number`: of the sense; all (C,).

    The candidates of one mention stand together, in falling order of their training counts. `own`: the mention is one
    of the training contexts of this sense.
    """

    mentions: int
    of: npt.NDArray[np.int64]
    senses: Sequence[str]
    number: npt.NDArray[np.int64]
    own: npt.NDArray[np.bool_]

    def answers(self, scores: npt.NDArray[Any]) -> list[str | None]:
        """The best sense of each mention by scores, (C,); None where there is no candidate.

        The first of equals wins, so that vectors which cannot tell senses apart give the first sense.
        """
        said: list[str | None] = [None] * self.mentions
        begins = np.flatnonzero(np.diff(self.of, prepend=-1))
        for begin, end in zip(begins, [*begins[1:], len(scores)], strict=True):
            near = scores[begin:end]
            said[self.of[begin]] = self.senses[int(begin + np.argmax(near >= near.max() - TIE))]
        return said


class Senses:
    """The senses of each lemma, and which training contexts each has."""

    def __init__(self, training: Sequence[SenseMention]) -> None:
        self._senses = first_senses(training)
        self._number = {
            key: at for at, key in enumerate((lemma, s) for lemma, all_ in self._senses.items() for s in all_)
        }
        of_row = np.asarray([self._number[each.lemma, each.sense] for each in training])
        self._order = np.argsort(of_row, kind="stable")
        self._begins = np.searchsorted(of_row[self._order], np.arange(len(self._number)))
        self._counts = np.bincount(of_row, minlength=len(self._number))

    def candidates(self, mentions: Sequence[SenseMention], among_training: bool = False) -> Candidates:
        """The senses that each mention's lemma has. `among_training`: the mentions are the training contexts."""
        found = [(at, sense) for at, each in enumerate(mentions) for sense in self._senses.get(each.lemma, ())]
        return Candidates(
            len(mentions),
            np.asarray([at for at, _ in found], dtype=np.int64),
            [sense for _, sense in found],
            np.asarray([self._number[mentions[at].lemma, sense] for at, sense in found], dtype=np.int64),
            np.asarray([among_training and mentions[at].sense == sense for at, sense in found], dtype=np.bool_),
        )

    def frequencies(self, asked: Candidates) -> Floats:
        """The logarithm of each sense's share of its lemma's training contexts, the mention left out. *Shape:* (C,)."""
        counts = self._counts[asked.number] - asked.own + 0.5
        of_lemma = np.bincount(asked.of, weights=counts, minlength=asked.mentions)
        return np.asarray(np.log(counts / of_lemma[asked.of]) / NATS, dtype=np.float32)

    def cosines(self, asked: Candidates, learned: Floats, rows: Floats) -> Floats:
        """The cosine of each mention with the mean of each sense's training contexts, but for itself. *Shape:* (C,).

        `learned`: (N of training, W); `rows`: (N of the mentions, W).
        """
        sums = np.add.reduceat(learned[self._order], self._begins, axis=0)
        scores = np.zeros(len(asked.of), dtype=np.float32)
        for block in (slice(begin, begin + BLOCK) for begin in range(0, len(scores), BLOCK)):
            here = rows[asked.of[block]]
            means = unit(sums[asked.number[block]] - here * asked.own[block, None])
            scores[block] = (unit(here) * means).sum(axis=1)
        return scores


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
            scores += _disambiguated(run, source, parts["train"], parts["dev"], {word: parts["test"]}, again=False)
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
        scores += _disambiguated(run, source, training, dev, tests, again=True)
    return Result(scores, {"semcor": len(training) + len(dev), **{name: len(test) for name, test in tests.items()}})


def _disambiguated(
    run: Run,
    source: Source,
    training: Sequence[SenseMention],
    dev: Sequence[SenseMention],
    tests: Mapping[str, Sequence[SenseMention]],
    again: bool,
) -> list[Score]:
    """A score a view and test set. `again`: once the view is chosen, the dev contexts join the training."""
    parts = [views(run, source, [each.mention for each in part]) for part in (training, dev, *tests.values())]
    model, last = Senses(training), Senses([*training, *dev] if again else training)
    among, on_dev = model.candidates(training, among_training=True), model.candidates(dev)
    on_tests = [last.candidates(test) for test in tests.values()]
    columns: dict[str, list[Floats]] = {}  # of each view: the cosines of every part's candidates
    for name, of_parts in ((name, [part[name] for part in parts]) for name in parts[0]):
        for view, (learned, other, *asked) in ((name, of_parts), (name + WHITENED, whitened(*of_parts))):
            known = np.concatenate([learned, other]) if again else learned
            columns[view] = [
                model.cosines(among, learned, learned),
                model.cosines(on_dev, learned, other),
                *(last.cosines(each, known, rows) for each, rows in zip(on_tests, asked, strict=True)),
            ]
    shares = {view: {view: 1.0} for view in columns}
    columns[FREQUENCY] = [
        model.frequencies(among), model.frequencies(on_dev), *(last.frequencies(each) for each in on_tests)
    ]  # fmt: skip
    right = np.asarray([training[at].sense == sense for at, sense in zip(among.of, among.senses, strict=True)])
    for ending in ("", WHITENED):
        mixed = [view for view in columns if view == FREQUENCY or view.endswith(WHITENED) == bool(ending)]
        found = mix_of_candidates(np.stack([columns[view][0] for view in mixed], axis=1), among.of, right)
        shares[MIX + ending] = {view: round(float(share), 3) for view, share in zip(mixed, found, strict=True)}

    def said(view: str, part: int, candidates: Candidates) -> list[str | None]:
        return candidates.answers(np.asarray(sum(w * columns[each][part] for each, w in shares[view].items())))

    of_dev = {view: _score("", "", view, said(view, 1, on_dev), dev).value if dev else 0.0 for view in shares}
    best = chosen(of_dev)
    return [
        _score(name, source.name, view, said(view, part, on_tests[part - 2]), test, view == best,
               {"dev": of_dev[view], **({"mix": shares[view]} if view.startswith(MIX) else {})})
        for part, (name, test) in enumerate(tests.items(), 2)
        for view in shares
    ]  # fmt: skip


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

    facts = {"answered": float(answered.mean()), **({"right": marks(right)} if is_chosen else {}), **(more or {})}
    everything = np.arange(len(test))
    interval = bootstrap(f1, len(test))
    return Score(name, vectors, view, "F1", f1(everything), (), interval, len(test), is_chosen, facts)
