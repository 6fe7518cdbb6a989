"""Which sentences are held out: whole documents, or contiguous blocks spread over a text of few documents.

What is held out is stretches of running words. A sentence belongs to the held-out part if it shares a word with one of
them; an empty one, if it stands inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError
from polyseme.text.blocks import BlockFile

FEWEST_DOCUMENTS = 20  # with fewer, one of them would be too much to hold out, or tell too little of the rest
MOST_BLOCKS = 20
_SENTENCES_A_BLOCK = 5  # so that the sentences at both ends, taken whole, do not make the part much larger

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldOut:
    """Stretches of running words, from `starts` to before `ends`, in order and apart; `documents` were seen."""

    starts: Offsets
    ends: Offsets
    by: Literal["documents", "blocks", "none"]
    documents: int

    def mask(self, block: BlockFile, first_word: int) -> npt.NDArray[np.bool_]:
        """Which sentences of a block are held out; its first word is `first_word` of the text. *Shape:* (n,)."""
        bounds = block.starts + first_word
        starts, ends = bounds[:-1], bounds[1:]
        last = np.searchsorted(self.starts, ends, side="left") - 1  # the last stretch that starts before the end
        if not len(self.starts):
            return np.zeros(len(starts), dtype=bool)
        return np.asarray((last >= 0) & (self.ends[last] > starts))


def choose(blocks: Sequence[BlockFile], share: float, seed: int) -> HeldOut:
    """About `share` of the words of `blocks`, the same ones for the same text and seed; never none and never all.

    Raises `InputError` for a text of a single sentence.
    """
    documents, n_words, n_sentences = _documents(blocks)
    nothing = np.zeros(0, dtype=np.int64)
    if not share:
        return HeldOut(nothing, nothing, "none", len(documents))
    if n_sentences < 2:
        raise InputError(
            f"the text has {n_sentences} sentence: none can be held out; give more text, or --heldout 0 to train "
            "without a held-out part"
        )
    random = np.random.default_rng(seed)
    target = max(1, round(share * n_words))
    if len(documents) < FEWEST_DOCUMENTS:
        starts, ends = _spread(n_words, n_sentences, target, random)
        return HeldOut(starts, ends, "blocks", len(documents))
    ends = np.append(documents[1:], n_words)
    chosen = _some_documents(ends - documents, target, random)
    return HeldOut(documents[chosen], ends[chosen], "documents", len(documents))


def _documents(blocks: Sequence[BlockFile]) -> tuple[Offsets, int, int]:
    """(the first word of each document that has words, words, sentences with words)."""
    found, n_words, n_sentences = [np.zeros(1, dtype=np.int64)], 0, 0
    for block in blocks:
        starts = block.starts
        found.append(starts[block.documents] + n_words)
        n_words += block.size.words
        n_sentences += int(np.count_nonzero(np.diff(starts)))
    documents = np.unique(np.concatenate(found))
    return documents[documents < n_words], n_words, n_sentences


def _some_documents(sizes: Offsets, target: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Documents drawn at random while they fit; the smallest where each alone is too much."""
    left = random.permutation(np.flatnonzero(sizes <= target))
    if not len(left):
        return np.array([int(np.argmin(sizes))])
    chosen: list[npt.NDArray[np.int64]] = []
    room = target
    while len(left) and room > target // 10:
        n_fit = int(np.searchsorted(np.cumsum(sizes[left]), room, side="right"))
        chosen.append(left[:n_fit])
        room -= int(sizes[left[:n_fit]].sum())
        left = left[n_fit:]
        left = left[sizes[left] <= room]  # passes over those that no longer fit
    return np.sort(np.concatenate(chosen))


def _spread(n_words: int, n_sentences: int, target: int, random: np.random.Generator) -> tuple[Offsets, Offsets]:
    """Stretches at random places, one in each of as many equal parts of the text."""
    mean = n_words / n_sentences
    n_blocks = int(min(MOST_BLOCKS, max(1, target // (_SENTENCES_A_BLOCK * mean)), max(1, n_sentences // 4)))
    # A stretch grows by about a sentence when those at its ends are taken whole.
    length = max(1, round(target / n_blocks - mean))
    room = n_words // n_blocks
    starts = np.arange(n_blocks, dtype=np.int64) * room + random.integers(0, max(1, room - length), n_blocks)
    return starts, np.minimum(starts + length, n_words)
