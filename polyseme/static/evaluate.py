"""How good are word vectors by themselves? Word similarity against people's ratings, and analogies.

Both are read in the files' own formats: pairs with a rating (word, word, number a line, apart by tabs, commas or
spaces, maybe below a line of titles), and Google's questions (": section", then four words a line). A question with a
word that has no vector is left out, and the share of those that were not is part of the result: a figure without its
coverage says little, because leaving rare words out makes it better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError
from polyseme.static.files import one_file
from polyseme.static.vectors import Method, StaticVectors, analogy_scores
from polyseme.text.decode import LineReader, Losses
from polyseme.text.sources import open_source

_QUESTIONS = 64  # computed together


@dataclass(frozen=True)
class Pair:
    """Two words, and how alike people found them."""

    first: str
    second: str
    rating: float


@dataclass(frozen=True)
class Question:
    """a is to b as c is to d."""

    section: str
    words: tuple[str, str, str, str]


@dataclass(frozen=True)
class SimilarityReport:
    """`spearman` over the `answered` of `pairs` that have two vectors; None where it is not defined.

    `composed`: of the answered, those with a word whose vector was built from n-grams.
    """

    name: str
    pairs: int
    answered: int
    composed: int
    spearman: float | None

    @property
    def coverage(self) -> float:
        """The share (0..1) of pairs that could be answered."""
        return self.answered / self.pairs


@dataclass(frozen=True)
class SectionReport:
    """`correct` of the `answered` of `questions`, whose four words all have vectors of their own."""

    name: str
    questions: int
    answered: int
    correct: int

    @property
    def coverage(self) -> float:
        """The share (0..1) of questions that could be answered."""
        return self.answered / self.questions if self.questions else 0.0

    @property
    def accuracy(self) -> float | None:
        """The share (0..1) of the answered; None where there are none."""
        return self.correct / self.answered if self.answered else None


@dataclass(frozen=True)
class AnalogyReport:
    """The sections in the file's order, and all together."""

    name: str
    sections: tuple[SectionReport, ...]

    @property
    def total(self) -> SectionReport:
        """All questions, each counting once."""
        return SectionReport(
            "total",
            sum(section.questions for section in self.sections),
            sum(section.answered for section in self.sections),
            sum(section.correct for section in self.sections),
        )


# --- files


def read_questions(path: str | Path) -> list[Pair] | list[Question]:
    """The pairs or questions of a file, plain or compressed. Raises `InputError` with the line, `DecodeError`."""
    source = one_file(path)
    with open_source(source) as stream:
        numbered = LineReader(source.path, "utf-8", "strict", Losses()).lines(stream)
        lines = [(number, line.strip()) for number, line in numbered if line.strip()]
    if lines and lines[0][1].startswith(":"):
        return _questions(lines, path)
    return _pairs(lines, path)


def _questions(lines: Sequence[tuple[int, str]], path: str | Path) -> list[Question]:
    found, section = [], ""
    for number, line in lines:
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        words = line.split()
        if len(words) != 4:
            raise InputError(f"{path}, line {number}: {len(words)} words where an analogy has four: {line[:60]!r}")
        found.append(Question(section, (words[0], words[1], words[2], words[3])))
    if not found:
        raise InputError(f"{path}: holds section titles and no analogies")
    return found


def _pairs(lines: Sequence[tuple[int, str]], path: str | Path) -> list[Pair]:
    found = []
    for place, (number, line) in enumerate(lines):
        separator = next((mark for mark in ("\t", ",", ";") if mark in line), None)
        fields = [each.strip() for each in line.split(separator)]
        try:
            pair = Pair(fields[0], fields[1], float(fields[2]))
        except (IndexError, ValueError) as error:
            if place == 0:
                continue  # a line of titles
            raise InputError(
                f"{path}, line {number}: {line[:60]!r} is not two words and a number, nor does the file begin with "
                '": section" as analogies do'
            ) from error
        if not np.isfinite(pair.rating):
            raise InputError(f"{path}, line {number}: the rating {fields[2]} is no number")
        found.append(pair)
    if not found:
        raise InputError(f"{path}: holds no pairs of words with a rating, and no analogies")
    return found


# --- similarity


def similarity(
    vectors: StaticVectors, pairs: Sequence[Pair], name: str = "", *, ignore_case: bool = False
) -> SimilarityReport:
    """Spearman's rank correlation of cosines with ratings.

    `ignore_case`: a word that has no vector as spelled takes that of the most frequent word which differs in case only.
    """
    spell = _spelling(vectors, ignore_case)
    ratings, cosines, composed = [], [], 0
    for pair in pairs:
        words = [spell(word) for word in (pair.first, pair.second)]
        first, second = vectors.find(words[0]), vectors.find(words[1])
        if first is None or second is None:
            continue
        product = float(np.linalg.norm(first) * np.linalg.norm(second))
        cosines.append(float(first @ second) / product if product else 0.0)
        ratings.append(pair.rating)
        composed += any(vectors.id(word) is None for word in vectors.spelled(words))
    return SimilarityReport(name, len(pairs), len(ratings), composed, spearman(ratings, cosines))


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The correlation of ranks; equal values share the mean of theirs. None below two values, or where one side is
    all the same."""
    if len(first) < 2:
        return None
    ranks = [_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second)]
    x, y = (each - each.mean() for each in ranks)
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread else None


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


# --- analogies


def analogies(
    vectors: StaticVectors,
    questions: Sequence[Question],
    name: str = "",
    *,
    method: Method = "add",
    first: int | None = None,
    ignore_case: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> AnalogyReport:
    """Which questions get d as their best answer, a, b and c themselves being left out.

    `first`: only the most frequent so many words are known, asked about and answered with (the published figures of
    word2vec take 30,000, gensim 300,000). `ignore_case`: words that differ in case only count as one, whose vector is
    that of the most frequent.
    """
    known = _Known(vectors, first, ignore_case)
    rows = np.array([[known.row(word) for word in question.words] for question in questions], dtype=np.int64)
    answerable = np.flatnonzero((rows >= 0).all(axis=1))
    right = np.zeros(len(questions), dtype=bool)
    for start in range(0, len(answerable), _QUESTIONS):
        some = answerable[start : start + _QUESTIONS]
        scores = analogy_scores(known.unit, known.unit[rows[some, :3]], method)
        for line, asked in zip(scores, rows[some], strict=True):
            line[known.alike(asked[:3])] = -np.inf
        right[some] = known.first_of(scores.argmax(axis=1)) == rows[some, 3]
        if progress is not None:
            progress(min(start + _QUESTIONS, len(answerable)), len(answerable))
    sections = dict.fromkeys(question.section for question in questions)
    member = np.array([list(sections).index(question.section) for question in questions])
    answered = np.zeros(len(questions), dtype=bool)
    answered[answerable] = True
    return AnalogyReport(
        name,
        tuple(
            SectionReport(
                section, int((member == at).sum()), int(answered[member == at].sum()), int(right[member == at].sum())
            )
            for at, section in enumerate(sections)
        ),
    )


class _Known:
    """The words that analogies are asked about: their rows, and which rows stand for the same word."""

    def __init__(self, vectors: StaticVectors, first: int | None, ignore_case: bool) -> None:
        self.vectors, self.ignore_case = vectors, ignore_case
        self.unit = vectors.unit[:first]
        self._first: dict[str, int] = {}
        own = np.arange(len(self.unit))
        for row, word in enumerate(vectors.words[: len(self.unit)]):
            own[row] = self._first.setdefault(word.upper() if ignore_case else word, row)
        self._own = own

    def row(self, word: str) -> int:
        (spelled,) = self.vectors.spelled([word])
        return self._first.get(spelled.upper() if self.ignore_case else spelled, -1)

    def first_of(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """The row that stands for the word of each."""
        return np.asarray(self._own[rows])

    def alike(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """All rows of the same words."""
        return np.flatnonzero(np.isin(self._own, rows)) if self.ignore_case else rows


def _spelling(vectors: StaticVectors, ignore_case: bool) -> Callable[[str], str]:
    if not ignore_case:
        return lambda word: word
    first: dict[str, str] = {}
    for word in vectors.words:
        first.setdefault(word.upper(), word)
    return lambda word: word if word in vectors else first.get(word.upper(), word)
