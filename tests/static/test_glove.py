"""Our GloVe against the published programs (tests/data/glove, made by tests/data/make_glove.py), and step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyseme.errors import InputError, OptionError, TrainingError
from polyseme.static import cooccurrence, glove
from polyseme.static.cooccurrence import Cooccurrences
from polyseme.static.glove import GloveConfig
from polyseme.static.trained_words import TrainedWords
from polyseme.static.vectors import StaticVectors
from polyseme.text.shards import Corpus

DATA = Path(__file__).parents[1] / "data"
EXPECTED: dict[str, Any] = json.loads((DATA / "glove" / "expected.json").read_text(encoding="utf-8"))
TOY: dict[str, Any] = EXPECTED["toy"]
ALICE: dict[str, Any] = EXPECTED["alice"]


def alice() -> TrainedWords:
    lines = (DATA / "alice.txt").read_text(encoding="utf-8").splitlines()
    return TrainedWords(Corpus.from_sentences(line.split() for line in lines), ALICE["min_count"])


def both_ways(cells: Cooccurrences) -> dict[tuple[int, int], float]:
    """All cells, numbered from 1 as the published programs do."""
    found = {}
    for i, j, value in zip(cells.rows.tolist(), cells.columns.tolist(), cells.values.tolist(), strict=True):
        found[i + 1, j + 1] = found[j + 1, i + 1] = value
    return found


@pytest.mark.parametrize(("window", "min_count"), [(2, 1), (15, 1), (5, 2)])
def test_co_occurrences_of_a_toy_text_are_those_of_the_published_program(window: int, min_count: int) -> None:
    cells = cooccurrence.count(TrainedWords(Corpus.from_sentences(TOY["sentences"]), min_count), window)
    published = TOY["windows"][str(window)] if min_count == 1 else TOY["window_5_min_count_2"]
    expected = {(row, column): value for row, column, value in published}
    found = both_ways(cells)
    assert found.keys() == expected.keys()
    assert cells.n_cells == len(expected)
    for cell, value in expected.items():
        assert found[cell] == pytest.approx(value, rel=1e-15)  # the last bit depends on the order of addition


def test_co_occurrences_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    words = alice()
    whole = cooccurrence.count(words, ALICE["window"])
    off = whole.rows != whole.columns
    assert (len(words), whole.n_cells) == (ALICE["words"], ALICE["cells"])
    assert whole.values.sum() + whole.values[off].sum() == pytest.approx(ALICE["sum"], rel=1e-12)
    squares = (whole.values**2).sum() + (whole.values[off] ** 2).sum()
    assert squares == pytest.approx(ALICE["sum_of_squares"], rel=1e-12)
    monkeypatch.setattr("polyseme.static.trained_words._BLOCK_WORDS", 500)
    done: list[tuple[int, int]] = []
    parts = cooccurrence.count(words, ALICE["window"], lambda *each: done.append(each))
    assert len(done) > 10
    assert done[-1] == (words.running, words.running)
    np.testing.assert_array_equal(parts.rows, whole.rows)
    np.testing.assert_array_equal(parts.columns, whole.columns)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-12)


@pytest.mark.parametrize(("x_max", "overlap"), [("10", 0.6), ("100", 0.4)])
def test_costs_and_neighbours_are_those_of_the_published_program(x_max: str, overlap: float) -> None:
    """The cost of each epoch within 2 %, from other random numbers; and neighbours in common.

    With x_max 10 three seeds of ours share 73 to 76 % of the ten nearest words with the program, and 72 to 76 % with
    each other; with x_max 100 that is 49 to 54 %.
    """
    words, published = alice(), ALICE["x_max"][x_max]
    config = GloveConfig(width=ALICE["width"], window=ALICE["window"], min_count=ALICE["min_count"], x_max=float(x_max))
    matrix, costs = glove.train(cooccurrence.count(words, config.window), config)
    np.testing.assert_allclose(costs, published["costs"], rtol=0.02)
    vectors = StaticVectors(words.words, matrix)
    shared = [
        len({each.word for each in vectors.neighbours(word, 10)} & set(near)) / 10
        for word, near in published["neighbours"].items()
    ]
    assert np.mean(shared) > overlap


@pytest.mark.parametrize("visited", [glove.visited, glove._compiled()], ids=["plain", "compiled"])
def test_cells_are_visited_as_the_equations_say(visited: Any) -> None:
    """Against a loop over whole rows in float64; the third cell is of rows that the first has changed."""
    random = np.random.default_rng(5)
    words, contexts = (glove._Side(3, 4, random) for _ in range(2))
    for side in (words, contexts):
        side.squares[:] = 1 + random.random((3, 4))
    w, b, gw, gb = (each.astype(np.float64) for each in words.arrays())
    c, d, gc, gd = (each.astype(np.float64) for each in contexts.arrays())
    cost = 0.0
    for i, j, x in ((0, 2, 25.0), (2, 0, 25.0), (0, 1, 3.0), (1, 0, 3.0), (1, 1, 7.0)):
        difference = w[i] @ c[j] + b[i] + d[j] - np.log(x)
        weighted = min(1.0, x / 10) ** 0.75 * difference
        cost += 0.5 * weighted * difference
        slope = 0.05 * weighted
        step_w, step_c = slope * c[j], slope * w[i]
        w[i] -= step_w / np.sqrt(gw[i])
        c[j] -= step_c / np.sqrt(gc[j])
        gw[i] += step_w**2
        gc[j] += step_c**2
        b[i] -= slope / np.sqrt(gb[i])
        d[j] -= slope / np.sqrt(gd[j])
        gb[i] += slope**2
        gd[j] += slope**2
    kept = ([0, 0, 1], [2, 1, 1], [25, 3, 7])
    cells = [np.array(each, dtype) for each, dtype in zip(kept, (np.int32, np.int32, np.float32), strict=True)]
    settings = [np.float32(each) for each in (10, 0.75, 0.05)]
    found = visited(*cells, *words.arrays(), *contexts.arrays(), *settings)
    assert found == pytest.approx(cost, rel=1e-5)
    for ours, expected in zip((*words.arrays(), *contexts.arrays()), (w, b, gw, gb, c, d, gc, gd), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_vectors_and_progress_counts_every_cell() -> None:
    corpus = Corpus.from_sentences(TOY["sentences"])
    config = GloveConfig(width=6, min_count=1, epochs=3)
    done: list[tuple[str, int, int, str]] = []
    first = glove.fit(corpus, config, lambda *each: done.append(each))
    np.testing.assert_array_equal(glove.fit(corpus, config).matrix, first.matrix)
    other = glove.fit(corpus, GloveConfig(width=6, min_count=1, epochs=3, seed=2))
    assert np.abs(other.matrix - first.matrix).max() > 0.01
    cells = 3 * cooccurrence.count(TrainedWords(corpus, 1), 10).n_cells
    assert done[0][:1] + done[0][3:] == ("counting co-occurrences", "words")
    assert done[-1] == ("training", cells, cells, "cells")
    assert first.words[:2] == ("the", "cat")


def test_text_without_neighbours_and_a_rate_that_runs_away_are_said() -> None:
    lonely = Corpus.from_sentences([["a"], ["b"], ["a"], ["b"]])
    with pytest.raises(InputError, match="no two frequent words stand in one sentence"):
        glove.fit(lonely, GloveConfig(min_count=1))
    corpus = Corpus.from_sentences(TOY["sentences"])
    with pytest.raises(TrainingError, match="give a lower learning rate"):
        glove.fit(corpus, GloveConfig(width=6, min_count=1, learning_rate=1e30))


@pytest.mark.parametrize("values", [{"x_max": 0}, {"learning_rate": 0}, {"power": -1}, {"window": 0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(values))):
        GloveConfig(**values)
