"""Softmax rows for words that a model never predicted, from closed forms: no update is spent on what a sum can tell.

Some of the text is read once with the network as it is. Take the contexts of a word (what the network knows before it)
as normally distributed around their mean, all words with one covariance: then predicting the word is a softmax, and its
rows and biases are known (linear discriminant analysis). One factor on the rows is chosen at the end of the reading.

`new_softmax`    so for all words, where there is no softmax (published HDF5 files).
`joined`         so for the words that a softmax lacks; the others keep their rows. Whether a target is one of the new
                 words is a logistic regression on the context; its solution is what all new rows have in common.
`moved_biases`   biases for words that are now more or less frequent: half of the way to the text's own frequencies.

Measured on a small model of encyclopedia text (48 wide) that meets technical manuals, a new vocabulary of 8,000 words
of which 2,709 are shared, before any update; perplexity of held-out manuals (and of held-out encyclopedia): random rows
622 (104), the mean of all rows 378 (51), ridge regression from spelling 349 (49), joined 303 (54), with biases moved
half of the way 219 (61), moved all of it 193 (86). Without its softmax: frequencies 480, a new softmax 206.

Legend: `N` targets, `V` words, `P` projection width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from polyseme.bilm import BiLM
from polyseme.text.shards import Corpus
from polyseme.text.streams import UNSCORED
from polyseme.training.batches import Batches, LaneBatches, SentenceBatches
from polyseme.training.config import TrainConfig
from polyseme.training.network import States, TypeRows, read_window
from polyseme.training.processes import Processes
from polyseme.training.validate import stream_of

IntArray = npt.NDArray[np.int64]
Softmax = tuple[Tensor, Tensor]  # rows (V, P) and biases (V,)

UPDATES_OF_EPOCH = 200  # at least, where the text is long enough
READ_TARGETS = 1_000_000  # a direction, at most
TRIED_TARGETS = 4_000  # of both directions, on which everything that is no sum is chosen
FACTORS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0)
USUAL_FACTOR = 0.3  # where there is nothing to choose by
SHRUNK = 4.0  # a word seen so often has its mean moved half way to the mean of all
PENALTY = 10.0  # on the common part of new rows
SCORES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Contexts:
    """What the network knew before each word, over one reading of some text.

    *Shape:* counts (V,), sums (V, P), second moments (P, P); of a few targets at its end, hidden (N, P) and rows (N,).
    """

    counts: Tensor
    sums: Tensor
    second: Tensor
    hidden: Tensor
    rows: Tensor

    def discriminant(self) -> tuple[Tensor, Tensor]:
        """Each word's row, and what it takes off the word's log frequency. *Shape:* (V, P), (V,)."""
        total, mean = self.counts.sum(), self.sums.sum(0) / self.counts.sum()
        centred = self.sums - self.counts[:, None] * mean
        moved = centred / (self.counts + SHRUNK)[:, None]  # from the mean of all to the word's
        between = (moved.t() @ centred).double()
        squares = (moved.t() @ (moved * self.counts[:, None])).double()
        around_all = self.second / total - torch.outer(mean, mean).double()
        within = around_all - (between + between.t() - squares) / total
        rows = moved @ torch.linalg.pinv(within, rtol=1e-4, hermitian=True).float()
        return rows, 0.5 * (rows * moved).sum(1) + rows @ mean


@torch.no_grad()
def read_contexts(bilm: BiLM, corpus: Corpus, softmax_rows: IntArray, n_words: int) -> Contexts:
    """Reads training text, READ_TARGETS at most. `softmax_rows` (n_types,): which of `n_words` each type counts as."""
    size = bilm.config.projection_size
    counts, sums = torch.zeros(n_words), torch.zeros(n_words, size)
    second = torch.zeros(size, size, dtype=torch.float64)
    batches, n_updates = _batches(bilm, corpus)
    last = max(2, n_updates // 10)  # updates to try on
    tried: list[tuple[Tensor, Tensor]] = []
    for update, hidden, types in _hidden(bilm, corpus, batches, n_updates):
        rows = torch.from_numpy(softmax_rows[types])
        if update < max(1, n_updates - last):
            counts += torch.bincount(rows, minlength=n_words)
            sums.index_add_(0, rows, hidden)
            second += (hidden.t() @ hidden).double()
        if update >= n_updates - last:
            tried.append((hidden, rows))
    hidden, rows = (torch.cat(parts) for parts in zip(*tried, strict=True))
    some = torch.arange(0, len(rows), max(1, -(-len(rows) // TRIED_TARGETS)))
    return Contexts(counts, sums, second, hidden[some], rows[some])


def lanes_for(corpus: Corpus) -> int:
    """How many stretches of a text are read together: few of a short one, so that it still makes many updates."""
    return min(TrainConfig.lanes, max(8, corpus.train.n_targets // (UPDATES_OF_EPOCH * TrainConfig.steps)))


def _batches(bilm: BiLM, corpus: Corpus) -> tuple[Batches, int]:
    """As training reads, and how many updates of it."""
    transformer, stream = bilm.config.transformer, stream_of(corpus.train)
    config = TrainConfig(lanes=lanes_for(corpus))
    batches: Batches = (
        SentenceBatches(stream, config, Processes(), transformer.context)
        if transformer is not None
        else LaneBatches(stream, config, Processes())
    )
    return batches, min(batches.start_epoch(0), max(1, READ_TARGETS // (config.lanes * config.steps)))


def _hidden(bilm: BiLM, corpus: Corpus, batches: Batches, n_updates: int) -> Iterator[tuple[int, Tensor, IntArray]]:
    """What the softmax would see, and the types it should predict, of both directions. *Shape:* (N, P), (N,)."""
    types = TypeRows(corpus.character_rows, corpus.characters.padding)
    training = bilm.training
    states: States | None = None
    bilm.eval()
    try:
        for update in range(n_updates):
            for window in batches.parts(update):
                forward, backward, states = read_window(bilm, types, window, states)
                states = states if batches.carried else None
                for top, targets in ((forward, window.forward_targets), (backward, window.backward_targets)):
                    scored = np.flatnonzero(targets != UNSCORED)
                    kept = top.flatten(0, 1)[torch.from_numpy(scored).to(top.device)]
                    yield update, kept.float().cpu(), targets.reshape(-1)[scored]
    finally:
        bilm.train(training)


# --- rows and biases


def new_softmax(contexts: Contexts, counts: Tensor) -> Softmax:
    """Of all words. `counts` (V,): how often each is to be expected."""
    every = torch.arange(len(counts))
    return _discriminating(contexts, counts, every)


@torch.no_grad()
def joined(contexts: Contexts, counts: Tensor, wanted: Tensor, kept: Softmax) -> Softmax:
    """Of the words `wanted` (m,), fit to stand beside all other words, whose softmax is `kept`.

    *Shape:* (n, P), (n,) -> (m, P), (m,).
    """
    rows, biases = _discriminating(contexts, counts, wanted)
    offset = _log_sums(contexts.hidden, (rows, biases)) - _log_sums(contexts.hidden, kept)
    is_new = torch.isin(contexts.rows, wanted).double()
    share = (counts[wanted].sum() / counts.sum()).double().clamp(1e-4, 1 - 1e-4)
    hidden = contexts.hidden.double()
    mean, spread = hidden.mean(0), hidden.std(0, correction=0).clamp_min(1e-6)
    x = torch.cat([(hidden - mean) / spread, torch.ones(len(hidden), 1)], dim=1)
    start = torch.zeros(x.size(1), dtype=torch.float64)
    start[-1] = torch.logit(share) - offset.mean()
    found = _regression(x, is_new, offset, start)
    common = found[:-1] / spread
    return rows + common.float(), biases + float(found[-1] - common @ mean)


@torch.no_grad()
def moved_biases(softmax: Softmax, contexts: Contexts, counts: Tensor) -> Tensor:
    """Half of the way, in logarithms, from how often each word is expected to how often it comes. *Shape:* (V,)."""
    expected = torch.zeros(len(counts), dtype=torch.float64)
    for hidden in contexts.hidden.split(max(1, SCORES_AT_ONCE // len(counts))):
        expected += torch.softmax(F.linear(hidden, *softmax), dim=1).double().sum(0)
    expected = (expected / len(contexts.hidden)).clamp_min(1e-12)
    return softmax[1] + 0.5 * (_log_shares(counts).double() - expected.log()).float()


def _discriminating(contexts: Contexts, counts: Tensor, words: Tensor) -> Softmax:
    """The discriminant of some words, by the factor that predicts best which of them a tried target is."""
    rows, lowered = (tensor[words] for tensor in contexts.discriminant())
    share = _log_shares(counts)[words]
    place = torch.full((len(counts),), -1)
    place[words] = torch.arange(len(words))
    targets = place[contexts.rows]
    hidden, targets = contexts.hidden[targets >= 0], targets[targets >= 0]
    factor = USUAL_FACTOR
    if len(targets):
        losses = [_loss(hidden, targets, (factor * rows, share - factor * lowered)) for factor in FACTORS]
        factor = FACTORS[int(np.argmin(losses))]
    return factor * rows, share - factor * lowered


def _log_shares(counts: Tensor) -> Tensor:
    return torch.log((counts + 0.5) / (counts.sum() + 0.5 * len(counts)))


def _loss(hidden: Tensor, targets: Tensor, softmax: Softmax) -> float:
    right = (hidden * softmax[0][targets]).sum(1) + softmax[1][targets]
    return float((_log_sums(hidden, softmax) - right.double()).mean())


def _log_sums(hidden: Tensor, softmax: Softmax) -> Tensor:
    """The log of the sum of exp of all scores. *Shape:* (N, P) -> (N,)."""
    blocks = hidden.split(max(1, SCORES_AT_ONCE // max(1, len(softmax[1]))))
    return torch.cat([torch.logsumexp(F.linear(block, *softmax), dim=1) for block in blocks]).double()


def _regression(x: Tensor, targets: Tensor, offset: Tensor, start: Tensor) -> Tensor:
    """Logistic regression with given offsets, drawn towards `start`, by Newton's method. *Shape:* (F,)."""
    penalty = torch.full_like(start, PENALTY)
    penalty[-1] = 1.0

    def loss(at: Tensor) -> float:
        fit = F.binary_cross_entropy_with_logits(offset + x @ at, targets, reduction="sum")
        return float(fit + 0.5 * (penalty * (at - start) ** 2).sum())

    found, lowest = start, loss(start)
    for _ in range(50):
        share = torch.sigmoid(offset + x @ found)
        slope = x.t() @ (share - targets) + penalty * (found - start)
        bend = x.t() @ (x * (share * (1 - share))[:, None]) + torch.diag(penalty)
        step = torch.linalg.solve(bend, slope)
        length = next((0.5**n for n in range(30) if loss(found - 0.5**n * step) < lowest), 0.0)
        found = found - length * step
        if length == 0.0 or lowest - loss(found) < 1e-6:
            break
        lowest = loss(found)
    return found
