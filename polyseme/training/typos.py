"""Typing mistakes in what a biLM reads while it trains; what it must predict stays as it was written.

To a model that has seen clean text only, a mistyped word is a rare one. Trained on text of which some words are
mistyped, it learns to read them, and to ask their neighbours (Belinkov and Bisk 2018, arXiv 1711.02173; Karpukhin et
al. 2019, arXiv 1902.01509). A mistake is a letter replaced, swapped with the next character, dropped or put in.

Legend: `n` words, `W` places of a row of characters.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from polyseme.text.chars import Characters, IntArray, row_lengths

REPLACED, SWAPPED, DROPPED, INSERTED = range(4)
FURTHER = 0.1  # chance of another mistake, for each character after the first


class Typos:
    """A `share` (0..1) of the words is mistyped. Only words of letters are, and in UTF-8 bytes only ASCII words."""

    def __init__(self, share: float, characters: Characters) -> None:
        self.share, self.padding = share, characters.padding
        marks = {
            characters.sentence_start, characters.sentence_end, characters.word_start, characters.word_end,
            characters.padding, characters.unknown,
        }  # fmt: skip
        alphabet = characters.alphabet or tuple(map(chr, range(128)))
        self._plain = np.zeros(characters.n_rows, dtype=bool)
        self._letter = np.zeros(characters.n_rows, dtype=bool)
        for number, character in enumerate(alphabet, start=1):
            self._plain[number] = number not in marks
            self._letter[number] = self._plain[number] and character.isalpha()

    def make(
        self, rows: IntArray, places: npt.NDArray[np.int64], chance: np.random.Generator
    ) -> tuple[IntArray, npt.NDArray[np.int64]]:
        """Rows of a window's distinct words and where each is read, with a row of its own for each mistyped word.

        *Shape:* (n, W), places of any shape -> (n + mistyped, W), places of that shape.
        """
        able = self._able(rows)
        chosen = np.flatnonzero((chance.random(places.size) < self.share) & able[places.reshape(-1)])
        if not len(chosen):
            return rows, places
        read = places.reshape(-1).copy()
        mistyped = self.mistype(rows[read[chosen]], chance)
        read[chosen] = len(rows) + np.arange(len(chosen))
        return np.concatenate([rows, mistyped]), read.reshape(places.shape)

    def mistype(self, rows: IntArray, chance: np.random.Generator) -> IntArray:
        """Each row with one mistake or more; letters that come in are drawn from the rows' own. *Shape:* (n, W)."""
        rows = rows.copy()
        letters = rows[self._letter[rows]]
        left = 1 + np.asarray(chance.binomial(self._lengths(rows) - 1, FURTHER))
        while (turn := np.flatnonzero(left > 0)).size:
            rows[turn] = self._one_mistake(rows[turn], letters, chance)
            left -= 1
        return rows

    def _able(self, rows: IntArray) -> npt.NDArray[np.bool_]:
        """Whether a row is a word with a letter, of which every id stands for one character."""
        return np.asarray((self._plain[rows].sum(axis=1) == self._lengths(rows)) & self._letter[rows].any(axis=1))

    def _lengths(self, rows: IntArray) -> npt.NDArray[np.int64]:
        """Characters between the two word marks."""
        return row_lengths(rows, self.padding) - 2

    def _one_mistake(self, rows: IntArray, letters: IntArray, chance: np.random.Generator) -> IntArray:
        """*Shape:* (n, W) -> (n, W)."""
        n, width = rows.shape
        lengths = self._lengths(rows)
        kind = np.asarray(chance.integers(4, size=n))
        place = 1 + (chance.random(n) * lengths).astype(np.int64)
        kind[(kind == INSERTED) & (lengths + 2 == width)] = REPLACED
        kind[np.isin(kind, (SWAPPED, DROPPED)) & (lengths == 1)] = REPLACED
        place[(kind == SWAPPED) & (place == lengths)] -= 1
        at, columns = place[:, None], np.arange(width)[None, :]
        source = np.broadcast_to(columns, rows.shape).copy()
        source += (kind == DROPPED)[:, None] & (columns >= at)
        source -= (kind == INSERTED)[:, None] & (columns > at)
        source += (kind == SWAPPED)[:, None] * ((columns == at).astype(np.int64) - (columns == at + 1))
        padded = np.concatenate([rows, np.full((n, 1), self.padding, dtype=rows.dtype)], axis=1)
        made = np.take_along_axis(padded, source, axis=1)
        written = np.flatnonzero(np.isin(kind, (REPLACED, INSERTED)))
        made[written, place[written]] = chance.choice(letters, size=len(written))
        return made
