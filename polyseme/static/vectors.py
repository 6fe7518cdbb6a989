"""Static word vectors: one vector a word, whatever its sentence.

    vectors = read_vectors("vectors.txt")           # polyseme.static.files
    vectors.embed([["The", "bank", "raised", "rates"]])
    vectors.neighbours("bank", 5)
    vectors.analogy("man", "king", "woman")          # man is to king as woman is to ... ?

Legend: `V` words, `W` width, `T` tokens of a sentence. A question is one product with all rows at length 1, on the
first one computed and kept: exact, and 50 ms for 400,000 words of width 300.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from polyseme.embedding import Embedding, FloatArray
from polyseme.errors import InputError, OptionError
from polyseme.static.subwords import Subwords
from polyseme.text.config import TextConfig
from polyseme.text.processing import apply
from polyseme.text.tokenize import Sentence

Method = Literal["add", "multiply"]
EPSILON = 1e-3  # of 3CosMul, so that nothing is divided by zero (Levy and Goldberg 2014, 6)


@dataclass(frozen=True)
class Neighbour:
    """A word, and how alike it is: a cosine, or 3CosMul's score."""

    word: str
    similarity: float


@dataclass(frozen=True)
class Counts:
    """Running words that were embedded so far. `composed`: outside the word list, built from their n-grams.
    `unknown`: neither; their vectors are zeros."""

    tokens: int = 0
    composed: int = 0
    unknown: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True)
class About:
    """Where vectors come from; empty strings where nobody said. `kind`: word2vec, fasttext, glove, bow, average ..."""

    kind: str = ""
    recipe: str = ""
    data: str = ""


class StaticVectors:
    """Words and their vectors, by falling count where they were trained here. A `TokenEmbedder`.

    `subwords`: composes words outside the list. `text`: what the words went through before training; a token that is
    asked for is lower-cased or stemmed likewise. `notes`: what reading the file met, a sentence each.
    Raises `OptionError` for a matrix that does not fit the words, numbers that are not finite, or a word twice.
    """

    def __init__(
        self,
        words: Iterable[str],
        matrix: npt.ArrayLike,
        *,
        subwords: Subwords | None = None,
        text: TextConfig | None = None,
        about: About | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.words = tuple(words)
        self.matrix: npt.NDArray[np.float32] = np.ascontiguousarray(matrix, dtype=np.float32)
        self.subwords, self.text, self.about = subwords, text or TextConfig(), about or About()
        self.notes = tuple(notes)
        self.counts = Counts()
        self._check()

    def _check(self) -> None:
        if self.matrix.ndim != 2 or len(self.matrix) != len(self.words) or not self.matrix.size:
            raise OptionError(
                f"{len(self.words):,} words need a matrix of as many rows, and at least one; its shape was: "
                f"{self.matrix.shape}"
            )
        if self.subwords is not None and self.subwords.matrix.shape[1] != self.width:
            raise OptionError(f"n-grams of width {self.subwords.matrix.shape[1]} cannot compose words of {self.width}")
        if len(self._ids) != len(self.words):
            word, count = Counter(self.words).most_common(1)[0]
            raise OptionError(f"the word {word!r} comes {count} times; a word may have one vector")
        if not np.isfinite(self.matrix.min()) or not np.isfinite(self.matrix.max()):
            row = int(np.flatnonzero(~np.isfinite(self.matrix).all(axis=1))[0])
            raise OptionError(f"the vector of {self.words[row]!r} holds values that are not finite numbers")

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    @property
    def width(self) -> int:
        """W, the size of one word's vector."""
        return int(self.matrix.shape[1])

    def __len__(self) -> int:
        """V, how many words have a vector of their own."""
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        """Whether a word of this very spelling has a vector of its own."""
        return word in self._ids

    def __repr__(self) -> str:
        return f"StaticVectors({len(self):,} words, width {self.width}, {self.about.kind or 'of unknown making'})"

    # --- vectors of tokens

    def embed(self, sentences: Sequence[Sequence[str]]) -> list[Embedding]:
        """One `Embedding` of one layer a sentence, in input order; zeros for unknown words, counted in `counts`.

        Raises `OptionError` for a string where a list of words belongs.
        """
        for place, sentence in enumerate(sentences):
            if isinstance(sentence, str):
                raise OptionError(f"sentence {place} is a string; embed() takes lists of words")
        running = Counter(token for sentence in sentences for token in sentence)
        row_of = {token: row for row, token in enumerate(running)}
        rows = np.zeros((len(running), self.width), dtype=np.float32)
        composed = unknown = 0
        for (token, times), word in zip(running.items(), self.spelled(running), strict=True):
            vector, own = self._look_up(word)
            if vector is not None:
                rows[row_of[token]] = vector
            composed += times if vector is not None and not own else 0
            unknown += times if vector is None else 0
        self.counts += Counts(running.total(), composed, unknown)
        found = ((tuple(tokens), [row_of[token] for token in tokens]) for tokens in sentences)
        return [Embedding(tokens, rows[np.asarray(at, dtype=np.intp)][np.newaxis]) for tokens, at in found]

    def spelled(self, tokens: Iterable[str]) -> tuple[str, ...]:
        """The tokens as the word list would have them: lower-cased and stemmed where its text was."""
        tokens = tuple(tokens)
        if not (self.text.lowercase or self.text.stem):
            return tokens
        config = TextConfig(lowercase=self.text.lowercase, stem=self.text.stem)
        language = self.text.languages[0] if self.text.languages else "und"
        return apply(Sentence(tokens, ((0, 0),) * len(tokens)), config, language).tokens

    def vector(self, word: str) -> FloatArray:
        """The vector of a word, its own or composed. *Shape:* (W,). Raises `InputError` for an unknown one."""
        (spelled,) = self.spelled([word])
        vector, _ = self._look_up(spelled)
        if vector is None:
            raise InputError(self._unknown(word, spelled))
        return vector

    def _look_up(self, word: str) -> tuple[FloatArray | None, bool]:
        """(its vector, or None; whether the word is in the list)."""
        index = self._ids.get(word)
        if index is not None:
            return self.matrix[index], True
        return (self.subwords.compose(word) if self.subwords is not None else None), False

    def _unknown(self, word: str, spelled: str) -> str:
        seen = word if word == spelled else f"{word}, read as {spelled},"
        others = [other for other in (word.lower(), word.capitalize(), word.upper()) if other in self._ids]
        hint = f"; {others[0]} is" if others else "; spell it as the text that the vectors were trained on does"
        return f"{seen} is none of the {len(self):,} words{hint}"

    def find(self, word: str) -> FloatArray | None:
        """The vector of a word, its own or composed; None for an unknown one. *Shape:* (W,)."""
        (spelled,) = self.spelled([word])
        return self._look_up(spelled)[0]

    def id(self, word: str) -> int | None:
        """The row of a word of this very spelling; None for a word without one."""
        return self._ids.get(word)

    # --- questions

    @cached_property
    def unit(self) -> npt.NDArray[np.float32]:
        """The rows at length 1; zeros stay zeros. *Shape:* (V, W)."""
        norms = np.linalg.norm(self.matrix, axis=1, keepdims=True)
        return np.asarray(self.matrix / np.where(norms > 0, norms, 1), dtype=np.float32)

    def similarity(self, first: str, second: str) -> float:
        """The cosine of two words' vectors; 0 where one is zeros. Raises `InputError` for an unknown word."""
        return float(_unit(self.vector(first)) @ _unit(self.vector(second)))

    def neighbours(self, word: str, n: int = 10) -> list[Neighbour]:
        """The `n` words most like `word` by cosine, itself left out. Raises `InputError` for an unknown word."""
        return self.nearest(self.vector(word), n, leave_out=self.spelled([word]))

    def nearest(self, vector: FloatArray, n: int = 10, *, leave_out: Collection[str] = ()) -> list[Neighbour]:
        """The `n` words whose vectors are most like `vector`, (W,)."""
        return self._best(np.asarray(self.unit @ _unit(vector), dtype=np.float32), n, leave_out)

    def analogy(self, a: str, b: str, c: str, n: int = 10, *, method: Method = "add") -> list[Neighbour]:
        """The `n` words that are to `c` what `b` is to `a`; the three words themselves are left out.

        `add`: the cosine with b - a + c, all at length 1 (3CosAdd, Mikolov et al. 2013). `multiply`: 3CosMul, which one
        large term cannot rule (Levy and Goldberg 2014, eq. 4, cosines moved to 0..1).
        Raises `InputError` for an unknown word, `OptionError` for another method.
        """
        words = np.stack([_unit(self.vector(word)) for word in (a, b, c)])
        return self._best(analogy_scores(self.unit, words[np.newaxis], method)[0], n, self.spelled([a, b, c]))

    def _best(self, scores: npt.NDArray[np.float32], n: int, leave_out: Collection[str]) -> list[Neighbour]:
        if n < 1:
            raise OptionError(f"n must be at least 1, was: {n}")
        scores[[self._ids[word] for word in leave_out if word in self._ids]] = -np.inf
        n = min(n, len(scores))
        worst = np.partition(scores, len(scores) - n)[len(scores) - n]
        places = np.flatnonzero(scores >= worst)
        places = places[np.lexsort((places, -scores[places]))][:n]  # equal scores: the more frequent word first
        return [Neighbour(self.words[at], float(scores[at])) for at in places if scores[at] > -np.inf]


def _unit(vector: FloatArray) -> FloatArray:
    norm = np.linalg.norm(vector)
    return np.asarray(vector / norm if norm > 0 else vector, dtype=np.float32)


def analogy_scores(
    unit: npt.NDArray[np.float32], questions: npt.NDArray[np.float32], method: Method
) -> npt.NDArray[np.float32]:
    """How well every word completes each question a : b = c : ?. *Shape:* (V, W) and (Q, 3, W) -> (Q, V).

    All vectors have length 1. Raises `OptionError` for a method that is neither `add` nor `multiply`.
    """
    if method == "add":
        wanted = questions[:, 1] - questions[:, 0] + questions[:, 2]
        norms = np.linalg.norm(wanted, axis=1, keepdims=True)
        return np.asarray(wanted / np.where(norms > 0, norms, 1) @ unit.T)
    if method == "multiply":
        a, b, c = (questions[:, place] @ unit.T * 0.5 + 0.5 for place in range(3))
        return np.asarray(b * c / (a + np.float32(EPSILON)))
    raise OptionError(f"method must be 'add' or 'multiply', was: {method!r}")
