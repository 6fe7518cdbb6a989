"""A word becomes one fixed row of character ids: UTF-8 bytes, as published ELMo reads them, or a learned alphabet.

Row 0 of a model's character table is the mask (all zeros). The published id of a byte or mark is therefore stored
plus one, as AllenNLP and bilm-tf do when they embed (bilm-tf `bilm/data.py`, `UnicodeCharsVocabulary` and `Batcher`).
A row reads: word start, the word's characters, word end, padding up to `max_characters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from polyseme.errors import OptionError

IntArray = npt.NDArray[np.int32]

SENTENCE_START, SENTENCE_END, UNKNOWN_WORD = "<S>", "</S>", "<UNK>"


def row_lengths(rows: IntArray, padding: int) -> npt.NDArray[np.int64]:
    """Ids of each row up to its last one that is not padding, both word marks included. *Shape:* (n, W) -> (n,).

    Counted from the end: an alphabet may write an unknown character as it writes padding.
    """
    return np.asarray(rows.shape[1] - (rows != padding)[:, ::-1].argmax(axis=1))


@dataclass(frozen=True)
class Characters:
    """How words become rows of character ids. `alphabet` is empty for UTF-8 bytes.

    With an alphabet, `alphabet[i]` has id i + 1; the marks (`sentence_start` ... `unknown`) are ids of the same
    table. `boundaries` are the two words that stand for sentence start and end, also where a text spells them out.
    The defaults are those of the published UTF-8 models: 256 bytes, then five marks, 262 rows with the mask.
    """

    max_characters: int = 50
    alphabet: tuple[str, ...] = ()
    sentence_start: int = 257
    sentence_end: int = 258
    word_start: int = 259
    word_end: int = 260
    padding: int = 261
    unknown: int = 0
    boundaries: tuple[str, str] = (SENTENCE_START, SENTENCE_END)

    def __post_init__(self) -> None:
        if self.max_characters < 4:
            raise OptionError(
                f"max_characters must be at least 4 (two marks, two characters), was: {self.max_characters}"
            )
        marks = (self.sentence_start, self.sentence_end, self.word_start, self.word_end, self.padding, self.unknown)
        if not all(0 <= mark < self.n_rows for mark in marks):
            raise OptionError(f"the marks of an alphabet must be ids below {self.n_rows}, were: {marks}")

    @property
    def n_rows(self) -> int:
        """Rows of the character table, the mask (row 0) included: 262 for UTF-8 bytes."""
        return len(self.alphabet) + 1 if self.alphabet else 262

    @property
    def room(self) -> int:
        """Bytes (or characters of the alphabet) of a word that fit beside the two word marks."""
        return self.max_characters - 2

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: index + 1 for index, character in enumerate(self.alphabet)}

    def is_cut(self, word: str) -> bool:
        """Whether the model sees only the beginning of `word`."""
        return len(word if self.alphabet else word.encode("utf-8", "ignore")) > self.room

    def lengths(self, words: Sequence[str]) -> IntArray:
        """Ids of each word that are not padding, both word marks included. *Shape:* (n,)."""
        return np.asarray([len(self._inner(word)) + 2 for word in words], dtype=np.int32)

    def encode(self, words: Sequence[str]) -> IntArray:
        """One row of ids a word; the two `boundaries` become the sentence marks. *Shape:* (n, max_characters)."""
        rows = np.full((len(words), self.max_characters), self.padding, dtype=np.int32)
        for row, word in zip(rows, words, strict=True):
            inner = self._inner(word)
            row[0] = self.word_start
            row[1 : 1 + len(inner)] = inner
            row[1 + len(inner)] = self.word_end
        return rows

    def _inner(self, word: str) -> Sequence[int] | IntArray:
        """The ids between the two word marks, cut to `room`."""
        if word in self.boundaries:
            return [(self.sentence_start, self.sentence_end)[self.boundaries.index(word)]]
        if self.alphabet:
            return [self._ids.get(character, self.unknown) for character in word[: self.room]]
        # A cut may fall inside a character: the published models were trained so.
        return np.frombuffer(word.encode("utf-8", "ignore")[: self.room], dtype=np.uint8).astype(np.int32) + 1
