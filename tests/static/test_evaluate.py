"""Word similarity and analogies, against scipy, gensim and a worked example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from scipy.stats import spearmanr

from polyseme.errors import InputError
from polyseme.static.evaluate import Pair, Question, analogies, read_questions, similarity, spearman
from polyseme.static.subwords import Subwords
from polyseme.static.vectors import StaticVectors

CHANCE = np.random.default_rng(7)
NAMES = [f"Word{place}" for place in range(80)]
MATRIX = CHANCE.standard_normal((80, 4)).astype(np.float32)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_rank_correlation_is_scipys_also_with_ties(levels: int) -> None:
    first, second = (CHANCE.integers(0, levels, 50).astype(float) for _ in range(2))
    assert spearman(list(first), list(second)) == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    assert spearman([1.0], [2.0]) is None
    assert spearman([1.0, 1.0], [2.0, 3.0]) is None


def test_similarity_is_gensims_and_says_how_many_pairs_it_could_answer(tmp_path: Path) -> None:
    rated = [(*CHANCE.choice(NAMES, 2, replace=False), round(float(CHANCE.random()) * 10, 1)) for _ in range(40)]
    lines = [f"{a}\t{b}\t{rating}" for a, b, rating in [*rated, ("Word1", "unheard", 5.0), ("x", "y", 1.0)]]
    path = write(tmp_path / "pairs.tsv", "\n".join(lines) + "\n")
    theirs = KeyedVectors(vector_size=4)
    theirs.add_vectors(NAMES, MATRIX)
    _, expected, unknown = theirs.evaluate_word_pairs(str(path), case_insensitive=False)
    pairs = read_questions(path)
    report = similarity(StaticVectors(NAMES, MATRIX), [each for each in pairs if isinstance(each, Pair)], "pairs")
    assert report.spearman == pytest.approx(float(expected[0]), abs=1e-12)
    assert (report.pairs, report.answered, report.composed) == (42, 40, 0)
    assert 100 * (1 - report.coverage) == pytest.approx(unknown)


def test_case_is_ignored_only_when_asked_and_composed_words_are_counted() -> None:
    vectors = StaticVectors(["bank", "BANK", "river"], [[1.0, 0], [0, 1], [1, 1]])
    pairs = [Pair("Bank", "river", 1.0), Pair("bank", "River", 2.0), Pair("BANK", "unheard", 3.0)]
    assert similarity(vectors, pairs).answered == 0
    assert similarity(vectors, pairs, ignore_case=True).answered == 2
    more = StaticVectors(vectors.words, vectors.matrix, subwords=Subwords(3, 4, np.eye(50, 2, dtype=np.float32)))
    report = similarity(more, pairs)
    assert (report.answered, report.composed) == (3, 3)


@pytest.mark.parametrize(
    "text",
    [
        "word1\tword2\tsimilarity\na\tb\t1.5\nc\td\t2\n",
        "a,b,1.5\nc,d,2\n",
        "a b 1.5\n\nc d 2 extra\n",
        "Word 1;Word 2;r\na;b;1.5\nc;d;2\n",
    ],
)
def test_pairs_are_read_however_they_are_set_apart(tmp_path: Path, text: str) -> None:
    assert read_questions(write(tmp_path / "p.txt", text)) == [Pair("a", "b", 1.5), Pair("c", "d", 2.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b 1\nc d x\n", "line 2: 'c d x' is not two words and a number"),
        ("a b 1\nc d nan\n", "line 2: the rating nan is no number"),
        ("only titles here\n", "holds no pairs"),
        (": capitals\nAthens Greece Oslo\n", "line 2: 3 words where an analogy has four"),
        (": capitals\n", "no analogies"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_questions(write(tmp_path / "q.txt", text))


def questions(path: Path) -> list[Question]:
    return [each for each in read_questions(path) if isinstance(each, Question)]


@pytest.mark.parametrize("ignore_case", [False, True])
def test_analogies_are_gensims_section_by_section(tmp_path: Path, ignore_case: bool) -> None:
    # Vectors on a small grid, so that a good part of the answers is right.
    grid = np.random.default_rng(3).integers(-1, 2, (40, 3)).astype(np.float32) + MATRIX[:40, :3] / 100
    words = [*NAMES[:30], *(name.upper() for name in NAMES[:10])]
    chance = np.random.default_rng(4)
    lines = []
    for section in ("first", "second"):
        lines.append(f": {section}")
        for _ in range(150):
            a, b, c = chance.choice(30, 3, replace=False)
            d = int(np.argmin(np.linalg.norm(grid[:30] - (grid[b] - grid[a] + grid[c]), axis=1)))
            lines.append(" ".join(NAMES[each] for each in (a, b, c, d)))
        lines.append("Word1 Word2 Word3 unheard")
    path = write(tmp_path / "questions.txt", "\n".join(lines) + "\n")
    theirs = KeyedVectors(vector_size=3)
    theirs.add_vectors(words, grid)
    score, sections = theirs.evaluate_word_analogies(str(path), case_insensitive=ignore_case)
    report = analogies(StaticVectors(words, grid), questions(path), "q", ignore_case=ignore_case)
    assert [each.name for each in report.sections] == ["first", "second"]
    for ours, published in zip(report.sections, sections, strict=False):
        assert (ours.correct, ours.answered, ours.questions) == (
            len(published["correct"]), len(published["correct"]) + len(published["incorrect"]), 151,
        )  # fmt: skip
    assert report.total.accuracy == pytest.approx(score)
    assert 0.05 < score < 0.95
    assert report.total.coverage == pytest.approx(300 / 302)


def test_only_the_first_words_are_asked_about_and_answered_with() -> None:
    vectors = StaticVectors(["a", "b", "c", "d", "e"], [[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 0.6], [0, 1, 1]])
    asked = [Question("s", ("a", "b", "c", "e")), Question("s", ("a", "b", "c", "d"))]
    assert analogies(vectors, asked).total.correct == 1
    few = analogies(vectors, asked, first=4).total
    assert (few.questions, few.answered, few.correct) == (2, 1, 1)
    none = analogies(vectors, [Question("s", ("x", "b", "c", "e"))]).total
    assert (none.answered, none.accuracy, none.coverage) == (0, None, 0.0)
