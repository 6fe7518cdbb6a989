"""The exact held-out perplexity while training, and what the network thinks alike: words in like contexts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polyseme.bilm import BiLM
from polyseme.errors import InputError
from polyseme.lm.losses import LossSums, evaluate_ids
from polyseme.text.shards import Corpus, Part
from polyseme.text.streams import Stream
from polyseme.training.batches import sentences
from polyseme.training.network import TypeRows, read_window

IntArray = npt.NDArray[np.int64]

LANES = 8  # of a validation
# The final report reads in one lane, as results are published; a longer text in several, where that changes nothing.
WORDS_IN_ONE_LANE, REPORT_LANES = 300_000, 16
ENCODED_AT_ONCE = 4096


@dataclass(frozen=True)
class HeldOut:
    """Held-out text with its own short list of types.

    `types`: (n,) their ids in the corpus, boundaries first. `targets`: (n,) the softmax row that scores each.
    """

    part: Part
    types: IntArray
    targets: IntArray

    @classmethod
    def of(cls, part: Part, softmax_rows: IntArray, words: int) -> HeldOut:
        """About `words` words in stretches from all over the part, or all of it. Raises `InputError` without any."""
        if not part.n_sentences:
            raise InputError("the corpus has no held-out text, so nothing says how well a model does; prepare it again")
        part = _stretches(part, words)
        seen = np.unique(part.ids)
        types = np.concatenate([[0, 1], seen[seen > 1]]).astype(np.int64)
        ids = np.searchsorted(types, part.ids).astype(np.uint32)
        return cls(Part(ids, part.starts), types, softmax_rows[types])

    @torch.no_grad()
    def losses(self, bilm: BiLM, rows: TypeRows, lanes: int = LANES) -> LossSums:
        """Exact losses of both directions, over the whole vocabulary of the softmax, in float32.

        Raises `DamagedModelError` where one is no finite number.
        """
        training = bilm.training
        bilm.eval()
        try:
            vectors, starts = encode_all(bilm, rows, self.types), readable(bilm, self.part.starts)
            lanes = min(lanes, self.part.n_sentences) if bilm.config.layers == "lstm" else 1
            return evaluate_ids(bilm, vectors, self.part.ids, starts, self.targets, lanes=lanes)
        finally:
            bilm.train(training)


def readable(bilm: BiLM, starts: IntArray) -> IntArray:
    """Where sentences start if those beyond a Transformer's context are read in pieces, as training reads them."""
    if bilm.config.transformer is None:
        return starts
    most = bilm.config.transformer.context - 2
    long = np.flatnonzero(np.diff(starts) > most)
    cuts = [np.arange(starts[at] + most, starts[at + 1], most) for at in long]
    return np.sort(np.concatenate([starts, *cuts]))


def _stretches(part: Part, words: int) -> Part:
    """Stretches of sentences that begin at even distances, `LANES` of them: held-out files may differ in genre."""
    if words >= part.n_words:
        return part
    begins = np.arange(LANES) * part.n_words // LANES
    first = np.searchsorted(part.starts[:-1], begins, side="left")
    last = np.searchsorted(part.starts[:-1], begins + max(1, words // LANES), side="left")
    chosen = np.unique(np.concatenate([np.arange(*ends) for ends in zip(first, last, strict=True)]))
    lengths = part.starts[chosen + 1] - part.starts[chosen]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.concatenate([part.ids[part.starts[at] : part.starts[at + 1]] for at in chosen])
    return Part(ids, starts)


def _sentences(part: Part, words: int) -> int:
    """How many sentences begin within the first `words` words: at least one, and all where that is all words."""
    if words >= part.n_words:
        return part.n_sentences
    return max(1, int(np.searchsorted(part.starts, words, side="left")))


def encode_all(bilm: BiLM, rows: TypeRows, types: IntArray) -> Tensor:
    """x of many types, a few thousand at a time. *Shape:* (n,) -> (n, P)."""
    device = next(bilm.parameters()).device
    found = [
        rows.encode(bilm.encoder, rows.of(types[at : at + ENCODED_AT_ONCE]), device, torch.float32)
        for at in range(0, len(types), ENCODED_AT_ONCE)
    ]
    return torch.cat(found)


@torch.no_grad()
def nearest_contexts(bilm: BiLM, rows: TypeRows, corpus: Corpus, n_words: int = 4000, around: int = 4) -> list[str]:
    """A word twice in held-out text, where the top layers are most alike: does the network tell senses apart?

    Looks at the sentences of the first `n_words` held-out words, each read by itself, and takes the most frequent word
    of letters alone with at least four bytes: four Latin letters, two Chinese characters. Returns two stretches of
    text, or nothing where no such word comes twice.
    """
    starts = readable(bilm, np.asarray(corpus.heldout.starts[: _sentences(corpus.heldout, n_words) + 1]))
    ids = np.asarray(corpus.heldout.ids[: starts[-1]], dtype=np.int64)
    types, counts = np.unique(ids, return_counts=True)
    often = [(int(count), int(type)) for type, count in zip(types, counts, strict=True) if count > 1]
    candidates = [(count, type) for count, type in often if _worth_showing(corpus.word(type))]
    if not candidates:
        return []
    wanted = max(candidates)[1]
    places = np.flatnonzero(ids == wanted)[:64]
    owners = np.searchsorted(starts, places, side="right") - 1
    pieces = np.stack([starts[owners], starts[owners + 1]], axis=1)
    training = bilm.training
    bilm.eval()
    forward, backward, _ = read_window(bilm, rows, sentences(ids, pieces), None)
    bilm.train(training)
    at = torch.from_numpy(places - pieces[:, 0])
    lengths = torch.from_numpy(pieces[:, 1] - pieces[:, 0])
    lane = torch.arange(len(places))
    # The word is read at step at + 1 forward, and length - at backward. Shape: (n, 2P)
    vectors = torch.cat([forward[at + 1, lane], backward[lengths - at, lane]], dim=1)
    vectors = torch.nn.functional.normalize(vectors.float(), dim=1)
    alike = (vectors @ vectors.t()).cpu().numpy()
    np.fill_diagonal(alike, -2)
    alike[owners[:, None] == owners[None, :]] = -2
    if len(alike) < 2 or alike.max() <= -2:
        return []
    pair = np.unravel_index(int(alike.argmax()), alike.shape)
    return [_around(corpus, ids, int(places[i]), pieces[i], around) for i in pair]


def _worth_showing(word: str) -> bool:
    return word.isalpha() and len(word.encode()) > 3


def _around(corpus: Corpus, ids: IntArray, place: int, piece: IntArray, around: int) -> str:
    begin, end = max(int(piece[0]), place - around), min(int(piece[1]), place + around + 1)
    words = [corpus.word(int(ids[at])) for at in range(begin, end)]
    words[place - begin] = f"[{words[place - begin]}]"
    return " ".join(words)


def stream_of(part: Part) -> Stream:
    """A part of a corpus as lanes read it."""
    return Stream(part.ids, part.starts)
