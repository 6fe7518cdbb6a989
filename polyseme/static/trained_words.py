"""What every trainer of static vectors reads of a prepared corpus: its frequent words, sentence by sentence.

Rare words are taken out before windows are laid, as word2vec and GloVe do: the words around them move together.
`Corpus` numbers words by falling count after its three special ones, so those that stay are the first V of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError, OptionError
from polyseme.text.shards import Corpus
from polyseme.text.vocab import SPECIAL

_BLOCK_WORDS = 1 << 20

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Block:
    """Some sentences end to end: `ids` of words from 0 to V - 1, and the number of the `sentence` of each. (n,)"""

    ids: Ids
    sentences: npt.NDArray[np.int64]


class TrainedWords:
    """The words of a corpus that come at least `min_count` times in its training part, by falling count.

    `words`: V of them; `counts`: (V,). `running`: how many of the running words they are; `left_out`: the others.
    Raises `InputError` where fewer than two words stay.
    """

    def __init__(self, corpus: Corpus, min_count: int) -> None:
        if min_count < 1:
            raise OptionError(f"min_count must be at least 1, was: {min_count}")
        own = corpus.counts[len(SPECIAL) :]
        size = int(np.count_nonzero(own >= min_count))
        if size < 2:
            raise InputError(
                f"{size} of {int(np.count_nonzero(own)):,} words come {min_count} times or more in the text; "
                "give more text, or a smaller min_count"
            )
        self.corpus = corpus
        self.words = corpus.words[len(SPECIAL) : len(SPECIAL) + size]
        self.counts = own[:size]
        self.running = int(self.counts.sum())
        self.left_out = corpus.train.n_words - self.running

    def __len__(self) -> int:
        return len(self.words)

    def blocks(self) -> Iterator[Block]:
        """The training part in blocks of whole sentences, of about a million words each, in order."""
        part = self.corpus.train
        first = 0
        while first < part.n_sentences:
            end = int(np.searchsorted(part.starts, part.starts[first] + _BLOCK_WORDS, side="right")) - 1
            end = min(max(end, first + 1), part.n_sentences)
            bounds = part.starts[first : end + 1]
            ids = part.ids[bounds[0] : bounds[-1]].astype(np.int64) - len(SPECIAL)
            sentences = np.repeat(np.arange(first, end), np.diff(bounds))
            kept = (ids >= 0) & (ids < len(self))
            yield Block(ids[kept].astype(np.int32), sentences[kept])
            first = end

    def sentences(self) -> Iterator[Ids]:
        """The ids of each sentence that has any, in order. *Shape:* (T,) each."""
        for block in self.blocks():
            if len(block.ids):
                yield from np.split(block.ids, np.flatnonzero(np.diff(block.sentences)) + 1)
