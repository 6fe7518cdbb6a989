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

    Some published dictionaries are closed to new words and have no row for the marks' own spelling:
    ELMoForManyLangs writes `<bos>`, bilm-tf `<S>`; whoever calls `rows` always writes `<S>` and `</S>`.
    """

    words: tuple[str, ...]
    sentence_start: int
    sentence_end: int
    unknown: int

    def __post_init__(self) -> None:
        for mark in (self.sentence_start, self.sentence_end, self.unknown):
            if not 0 <= mark < len(self.words):
                raise OptionError(f"a mark points at row {mark} of a table of {len(self.words)} words")

    @cached_property
    def _rows(self) -> dict[str, int]:
        marks = {SENTENCE_START: self.sentence_start, SENTENCE_END: self.sentence_end}
        return {word: row for row, word in enumerate(self.words)} | marks

    def __contains__(self, word: str) -> bool:
        return word in self._rows

    def rows(self, words: Sequence[str]) -> npt.NDArray[np.int64]:
        """The row of each word. *Shape:* (n,)."""
        rows = self._rows
        return np.asarray([rows.get(word, self.unknown) for word in words], dtype=np.int64)
