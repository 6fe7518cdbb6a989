"""Classifiers: each network against padding and order, what they learn, several labels, pairs, weights of labels."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from sklearn.utils.class_weight import compute_class_weight
from tasks_data import embedder_of_words

from polyseme.errors import InputError, OptionError
from polyseme.tasks.classify import Reading, cut, fit, label_weights, network_of
from polyseme.tasks.data import Place, Text
from polyseme.tasks.features import Features, Inputs
from polyseme.tasks.heads import HeadConfig
from polyseme.tasks.layers import aligned, masked_softmax
from polyseme.tasks.loop import LoopConfig
from polyseme.tasks.metrics import label_scores

FEATURES = Features([embedder_of_words()])
QUIET = {"input_dropout": 0.0, "dropout": 0.0}
LOOP = LoopConfig(5e-3, batch_size=6, max_epochs=60, patience=60, halve_after=60)


def texts(*rows: tuple[str, ...], n_texts: int = 1) -> list[Text]:
    return [Text(row[:n_texts], row[n_texts:], Place("a.csv", line)) for line, row in enumerate(rows, 1)]


def padded(lengths: Sequence[int], width: int, seed: int = 0) -> Inputs:
    """Random vectors, the same for the same text at any padding; garbage where there is no word."""
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    made = torch.full((len(lengths), width, 1, 15), 9.0)
    for row, n in enumerate(lengths):
        made[row, :n] = torch.randn(n, 1, 15, generator=torch.Generator().manual_seed(100 * seed + row))
    return Inputs((made,), mask)


@pytest.mark.parametrize(("head", "n_texts"), [("attention", 1), ("attention", 2), ("bcn", 1), ("bcn", 2), ("esim", 2)])
def test_a_text_has_the_same_scores_alone_and_in_any_padding(head: str, n_texts: int) -> None:
    torch.manual_seed(1)
    config = HeadConfig(head, cells=6)
    network = network_of(FEATURES, [torch.ones(1)], 3, n_texts, config).eval()
    with torch.no_grad():
        together = network([padded([3, 7, 1], 11 + at, at) for at in range(n_texts)])
        alone = network([padded([3], 3, at) for at in range(n_texts)])
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_alignment_is_that_of_a_loop_over_the_words() -> None:
    a, b = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    lengths = ([3, 2], [5, 1])
    masks = [torch.arange(n)[None] < torch.tensor(some)[:, None] for n, some in zip((3, 5), lengths, strict=True)]
    of_a, of_b = aligned(a, b, *masks)
    for row in range(2):
        for i in range(lengths[0][row]):
            scores = torch.stack([a[row, i] @ b[row, j] for j in range(lengths[1][row])]).exp()
            expected = sum(scores[j] * b[row, j] for j in range(lengths[1][row])) / scores.sum()
            torch.testing.assert_close(of_a[row, i], expected)
        for j in range(lengths[1][row]):
            scores = torch.stack([a[row, i] @ b[row, j] for i in range(lengths[0][row])]).exp()
            expected = sum(scores[i] * a[row, i] for i in range(lengths[0][row])) / scores.sum()
            torch.testing.assert_close(of_b[row, j], expected)
    weights = masked_softmax(torch.zeros(1, 4), torch.tensor([[True, False, True, False]]))
    assert weights.tolist() == [[0.5, 0, 0.5, 0]]


# "not good" is bad: a bag of vectors alone cannot tell what is negated, a recurrent network can.
NEGATED = texts(
    ("good film not bad", "positive"), ("bad film not good", "negative"), ("the film is not bad good", "positive"),
    ("the film is not good bad", "negative"), ("not bad is the good film", "positive"),
    ("not good is the bad film", "negative"),
)  # fmt: skip
PAIRS = texts(
    ("Ann met Bob", "Bob met Ann", "yes"), ("Ann met Bob", "Ann left Bob", "no"), ("Bob left", "Bob left", "yes"),
    ("Bob left", "Ann met", "no"), ("the film is good", "good film", "yes"), ("the film is good", "bad film", "no"),
    n_texts=2,
)  # fmt: skip


@pytest.mark.parametrize(("head", "data"), [("attention", PAIRS), ("bcn", NEGATED), ("bcn", PAIRS), ("esim", PAIRS)])
def test_each_network_learns_a_small_set_by_heart(head: str, data: list[Text]) -> None:
    config = HeadConfig(head, cells=24, **QUIET)
    found, (report,) = fit(data, data, FEATURES, Reading(), config, LOOP)
    assert report.best.dev == found.evaluate(data).accuracy == 1.0
    assert [each.labels for each in found.predict(data)] == [text.labels for text in data]
    assert found.kind == ("nli" if head == "esim" else "classify")


def test_probabilities_sum_to_one_and_predictions_do_not_depend_on_the_order() -> None:
    found, _ = fit(NEGATED, NEGATED, FEATURES, Reading(), HeadConfig(cells=4), LoopConfig(max_epochs=1))
    forward = found.predict(NEGATED)
    backward = found.predict(NEGATED[::-1])[::-1]
    for one, other in zip(forward, backward, strict=True):
        assert sum(one.probabilities) == pytest.approx(1, abs=1e-5)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_a_text_may_have_several_labels_or_none() -> None:
    data = texts(
        ("Ann met", "ann"), ("Bob met", "bob"), ("Ann met Bob", "ann", "bob"), ("the film",), ("Bob Ann", "ann", "bob")
    )
    config = HeadConfig(cells=24, **QUIET)
    found, _ = fit(data, data, FEATURES, Reading(), config, LOOP, multi_label=True, metric="micro_f1")
    assert [each.labels for each in found.predict(data)] == [text.labels for text in data]


def test_weights_of_labels_are_those_of_scikit_learn() -> None:
    names = ["a"] * 7 + ["b"] * 2 + ["c"]
    found = label_weights(texts(*(("good", name) for name in names)), ("a", "b", "c"))
    expected = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=np.array(names))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_scores_are_those_of_scikit_learn_over_single_labels() -> None:
    truth, found = list("aabbbcc"), list("abbbcca")
    scores = label_scores([(x,) for x in truth], [(x,) for x in found], ("a", "b", "c"))
    assert scores.accuracy == scores.micro_f1 == accuracy_score(truth, found)
    assert scores.macro_f1 == pytest.approx(f1_score(truth, found, average="macro"))


def test_long_texts_are_cut_and_told_and_texts_without_words_are_errors() -> None:
    data = texts(("good good good", "x"), ("bad", "y"))
    (warning,) = cut(data, Reading(max_words=2)).warnings
    assert re.match(r"a\.csv, line 1: of 3 words the first 2 are read; so with 1 of 2 texts", warning)
    assert cut(data, Reading()).warnings == ()
    with pytest.raises(InputError, match=r"a\.csv, line 2: no word in"):
        cut(texts(("good", "x"), (" \u3000 ", "y")), Reading("ptb"))


def test_what_a_classifier_cannot_do_is_refused() -> None:
    found, _ = fit(NEGATED, NEGATED, FEATURES, Reading(), HeadConfig(cells=4), LoopConfig(max_epochs=1))
    with pytest.raises(InputError, match=r"line 1: the label 'neutral' was not in the training data"):
        found.evaluate(texts(("good", "neutral")))
    with pytest.raises(InputError, match="reads single texts"):
        found.predict(PAIRS)
    with pytest.raises(InputError, match=r"one label \('positive'\)"):
        fit(NEGATED[:1], NEGATED, FEATURES, Reading())
    with pytest.raises(OptionError, match="esim reads pairs"):
        fit(NEGATED, NEGATED, FEATURES, Reading(), HeadConfig("esim"))
    with pytest.raises(OptionError, match="head must be one of"):
        fit(NEGATED, NEGATED, FEATURES, Reading(), HeadConfig("best"))
