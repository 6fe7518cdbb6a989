"""A comparison against scipy, plain loops and worked examples: shares, intervals, pairs, pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score
from tasks_data import embedder_of_words

from polyseme.errors import OptionError
from polyseme.tasks import compare, tag
from polyseme.tasks.classify import Reading, Ready
from polyseme.tasks.compare import Cell, Comparison, Counts, Fitted, Pair
from polyseme.tasks.compare_page import markdown, page, svg
from polyseme.tasks.conll import Tagged, TaggedData
from polyseme.tasks.data import Place, Text
from polyseme.tasks.features import Features
from polyseme.tasks.heads import HeadConfig
from polyseme.tasks.learners import BagLearner, TagLearner, TextLearner, label_counts, tag_counts
from polyseme.tasks.loop import LoopConfig
from polyseme.tasks.metrics import span_f1

FEATURES = Features([embedder_of_words()])


def pair(p: float) -> Pair:
    return Pair("a", "b", 0.0, (0.0, 0.0), p, 1.0, 0.0)


def counts(right: Sequence[float]) -> Counts:
    return np.stack([np.asarray(right, dtype=np.float64), np.ones(len(right))], axis=1)


class Fixed:
    """A learner that is right with a chance that grows with its examples, whatever it is asked."""

    def __init__(self, name: str, skill: float) -> None:
        self.name, self.skill = name, skill
        self.asked: list[list[int]] = []

    def fit(self, rows: Sequence[int], seed: int) -> Fitted:
        self.asked.append(list(rows))
        chance = np.random.default_rng([seed, len(self.name)])
        return Fitted(0.5, counts(chance.uniform(size=400) < self.skill * len(rows) / 100), 3, 1.0, 0.1)


def test_small_shares_lie_within_large_ones_and_every_learner_gets_the_same() -> None:
    one, other = Fixed("one", 0.9), Fixed("other", 0.5)
    found = compare.compare([one, other], ["x", "y"] * 50, shares=(0.1, 0.5), seeds=(1, 2))
    assert one.asked == other.asked
    assert [len(rows) for rows in one.asked] == [10, 10, 50, 50, 100, 100]
    for seed in (0, 1):
        assert set(one.asked[seed]) < set(one.asked[2 + seed]) < set(one.asked[4 + seed])
    assert one.asked[0] != one.asked[1]
    assert found.shares == (0.1, 0.5, 1.0)
    assert found.cell("one", 0.5).scores == tuple(Fixed("one", 0.9).fit(range(50), seed).score for seed in (1, 2))
    with pytest.raises(OptionError, match="different names"):
        compare.compare([one, one], ["x"])
    with pytest.raises(OptionError, match="up to 1"):
        compare.compare([one], ["x"], shares=(0.1, 3))


def test_every_beginning_keeps_the_proportions_and_has_every_label() -> None:
    labels = ["often"] * 700 + ["some"] * 299 + ["once"]
    order = compare.stratified_order(labels, seed=3)
    assert sorted(order) == [*range(1000)]
    assert {labels[row] for row in order[:3]} == {"often", "some", "once"}
    for size in (10, 100, 500):
        seen = Counter(labels[row] for row in order[:size])
        assert abs(seen["often"] - 0.7 * size) <= 2
    assert order != compare.stratified_order(labels, seed=4)


@pytest.mark.parametrize("n", [2, 3, 5, 16])
def test_the_interval_of_a_mean_is_students(n: int) -> None:
    scores = np.random.default_rng(n).uniform(size=n)
    cell = Cell("a", 1.0, 10, tuple(scores), (), (), 0.0, 0.0)
    low, high = stats.t.interval(0.95, n - 1, loc=scores.mean(), scale=stats.sem(scores))
    assert cell.interval == pytest.approx((low, high), abs=2e-3)
    assert Cell("a", 1.0, 10, (0.5,), (), (), 0.0, 0.0).interval is None


def test_holms_adjustment_is_that_of_his_paper() -> None:
    # 0.01, 0.02, 0.03, 0.005: times 4, 3, 2, 1 in rising order, never falling.
    found = compare.holm([pair(0.01), pair(0.02), pair(0.03), pair(0.005)])
    assert [each.adjusted for each in found] == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert [each.p for each in found] == [0.01, 0.02, 0.03, 0.005]


def test_the_bootstrap_of_a_difference_has_its_variance() -> None:
    """Of accuracies the variance of the mean difference is known: that of the differences by n."""
    chance = np.random.default_rng(5)
    first, second = (counts(chance.uniform(size=500) < p)[None] for p in (0.8, 0.6))
    draws = compare.drawn_differences(first, second)
    each = first[0, :, 0] - second[0, :, 0]
    assert draws.mean() == pytest.approx(each.mean(), abs=2e-3)
    assert draws.std() == pytest.approx(each.std() / np.sqrt(500), rel=0.05)
    (found,) = compare.compared({"a": first, "b": second})
    assert found.difference == pytest.approx(each.mean())
    assert found.p < 0.001
    assert found.errors_saved == pytest.approx(each.mean() / (1 - second[0, :, 0].mean()))
    (same,) = compare.compared({"a": first, "b": first})
    assert (same.difference, same.p) == (0, 1)


def test_counts_add_up_to_the_scores_of_the_libraries() -> None:
    chance = np.random.default_rng(2)
    truth, found = ([(label,) for label in chance.choice(list("abc"), 50)] for _ in range(2))
    sums = label_counts(truth, found, multi_label=False).sum(axis=0)
    assert sums[0] / sums[1] == pytest.approx(accuracy_score(truth, found))
    tags = [tuple(chance.choice(["O", "B-X", "I-X", "B-Y"], 8)) for _ in range(80)]
    wanted, said = tags[:40], tags[40:]
    sums = tag_counts(wanted, said, has_spans=True).sum(axis=0)
    assert sums[0] / sums[1] == pytest.approx(span_f1(wanted, said), abs=1e-9)
    sums = tag_counts(wanted, said, has_spans=False).sum(axis=0)
    assert sums.tolist() == [
        sum(a == b for x, y in zip(wanted, said, strict=True) for a, b in zip(x, y, strict=True)),
        320,
    ]
    both = label_counts([("a", "b"), ()], [("b", "c"), ("a",)], multi_label=True)
    assert both.tolist() == [[2, 4], [0, 1]]


def texts(n: int) -> list[Text]:
    words = {"good": "yes", "bad": "no"}
    return [
        Text((f"a {word} film",), (words[word],), Place("a.csv", at)) for at, word in enumerate(["good", "bad"] * n, 1)
    ]


def test_a_bag_and_a_network_learn_what_one_word_says() -> None:
    reading = Reading("whitespace")
    bag = BagLearner(texts(10), texts(3), texts(4), reading, multi_label=False)
    learn, stop, measure = (Ready.of(texts(n), FEATURES, reading) for n in (10, 3, 4))
    loop = LoopConfig(1e-2, batch_size=4, max_epochs=20, patience=20)
    network = TextLearner("words", learn, stop, measure, FEATURES, reading, HeadConfig(cells=8), loop)
    found = compare.compare([bag, network], [text.labels for text in texts(10)], shares=(0.5,), seeds=(1,))
    assert [found.cell("bow", share).mean for share in (0.5, 1.0)] == [1, 1]
    assert found.cell("words", 1.0).mean == 1
    with pytest.raises(OptionError, match="one label a text"):
        BagLearner(texts(1), texts(1), texts(1), reading, multi_label=True)


def test_a_tagger_learns_from_some_of_the_sentences() -> None:
    sentences = tuple(
        Tagged((word, "said"), (kind, "O"), "a.conll", (1, 2)) for word, kind in [("Ann", "B-PER"), ("the", "O")] * 8
    )
    data = TaggedData(sentences, "bio")
    part = (data, tag.vectors_of(data, FEATURES))
    loop = LoopConfig(3e-2, batch_size=4, max_epochs=80, patience=80, halve_after=80)
    learner = TagLearner("words", part, part, part, FEATURES, tag.TagConfig(cells=(8,)), loop)
    found = learner.fit([0, 1, 2, 3], 1)
    assert found.counts.shape == (16, 2)
    assert found.score == 1
    assert found.dev == 1


def comparison() -> Comparison:
    learners = [Fixed("one", 0.9), Fixed("<other> & more", 0.5)]
    return compare.compare(learners, ["x"] * 100, shares=(0.1,), seeds=(1, 2, 3))


def test_the_page_is_one_well_formed_file_that_escapes_names() -> None:
    found = comparison()
    html = page(found, "a <title>")
    root = ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))
    assert root.findtext(".//h1") == "a <title>"
    assert "http" not in html
    assert [cell.text for cell in root.findall(".//tbody/tr/th")][:2] == ["one", "<other> & more"]
    picture = ElementTree.fromstring(svg(found))
    assert len(picture.findall("polyline")) == 2
    assert "<other> & more from" in (picture.findtext("desc") or "")


def test_markdown_holds_every_score_the_best_in_bold() -> None:
    found = comparison()
    table = markdown(found).split("\n\n")[0].splitlines()
    assert table[0] == "| features | 10 % (10) | 100 % (100) |"
    assert table[2].startswith("| one | ")
    assert f"**{100 * found.cell('one', 1.0).mean:.1f} ±" in table[2]
    assert "**" not in table[3]
