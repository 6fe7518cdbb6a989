"""Words as rows of an input table, for biLMs that read whole words (alone or beside characters)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from polyseme.errors import OptionError
from polyseme.text.chars import SENTENCE_END, SENTENCE_START


@dataclass(frozen=True)
class WordTable:
    """`words[i]` has row i; the three marks are rows of the same table. A word not listed reads as `unknown`.

    `boundaries` are the words that stand for sentence start and end. `max_characters`: a longer word is cut before it
    is looked up, as ELMoForManyLangs does; None: never.
    """

    words: tuple[str, ...]
    sentence_start: int
    sentence_end: int
    unknown: int
    boundaries: tuple[str, str] = (SENTENCE_START, SENTENCE_END)
    max_characters: int | None = None

    def __post_init__(self) -> None:
        for mark in (self.sentence_start, self.sentence_end, self.unknown):
            if not 0 <= mark < len(self.words):
                raise OptionError(f"a mark points at row {mark} of a table of {len(self.words)} words")

    @cached_property
    def _rows(self) -> dict[str, int]:
        marks = dict(zip(self.boundaries, (self.sentence_start, self.sentence_end), strict=True))
        return {word: row for row, word in enumerate(self.words)} | marks

    def __contains__(self, word: str) -> bool:
        return word[: self.max_characters] in self._rows

    def rows(self, words: Sequence[str]) -> npt.NDArray[np.int64]:
        """The row of each word. *Shape:* (n,)."""
        rows = self._rows
        return np.asarray([rows.get(word[: self.max_characters], self.unknown) for word in words], dtype=np.int64)
