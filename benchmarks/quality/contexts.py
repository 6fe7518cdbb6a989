"""A word in its context as several vectors: by itself, with the words around, with its sentence; and their mix.

Static vectors are the same in every context, so their context speaks through the words around. A biLM may look around
in the same way, in each of its layers: whoever looks at more knows the topic better, with either kind of vectors. What
only a biLM has is what it expects at a place before it sees the word there: `beside`.

Legend: `N` mentions, `V` views, `W` width of one view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import ledoit_wolf

from .cache import BESIDE
from .readers import Mention
from .run import Floats, Run, layer_views
from .vectors import Source

CONTEXT_WORDS = 5
# what is averaged -> words taken on each side of the mention
WINDOWS: dict[str, int] = {f", {CONTEXT_WORDS} words a side": CONTEXT_WORDS, ", sentence": 1 << 30}
MIX, WHITENED = "learned mix", ", whitened"
COVARIANCE_ROWS = 20_000
STEPS, RATE = 200, 0.05


def views(run: Run, source: Source, mentions: Sequence[Mention]) -> dict[str, Floats]:
    """Every layer and the mean of all, then every layer with the words around; of a biLM also without the word.

    *Shape:* (N, W) float32 a view. Layer 0 knows nothing of the words beside, so that it has no such view.
    """
    around = WINDOWS | ({", words beside": BESIDE} if source.kind == "contextual" else {})
    rows = run.cache.mentions(source, mentions, (0, *around.values()))
    return layer_views(source, rows[:, 0]) | {
        f"{layer}{window}": np.asarray(rows[:, at, number], dtype=np.float32)
        for at, window in enumerate(around, 1)
        for number, layer in enumerate(source.layers)
        if number or around[window] != BESIDE
    }


def whitened(learned: Floats, *others: Floats) -> list[Floats]:
    """The same vectors where those of training have no mean and no correlations, each (N, W).

    Directions in which all contexts of a text differ drown the few in which senses do. The covariance of few contexts
    is shrunk towards a multiple of the identity (Ledoit and Wolf 2004).
    """
    some = np.asarray(learned[:: max(1, len(learned) // COVARIANCE_ROWS)], dtype=np.float64)
    values, directions = np.linalg.eigh(ledoit_wolf(some)[0])
    turn = np.asarray(directions / np.sqrt(np.maximum(values, 1e-12)), dtype=np.float32)
    mean = np.asarray(some.mean(axis=0), dtype=np.float32)
    return [np.asarray((rows - mean) @ turn) for rows in (learned, *others)]


def cosines(first: Floats, second: Floats) -> Floats:
    """The cosine of each row with its partner; 0 where a vector is zero."""
    return np.asarray((unit(first) * unit(second)).sum(axis=1))


def unit(rows: Floats) -> Floats:
    """Rows of length 1; zero rows stay."""
    rows = np.asarray(rows, dtype=np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length == 0, 1, length), dtype=np.float32)


def mix_of_candidates(scores: Floats, of: npt.NDArray[np.int64], right: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """The share of each view, so that the sum of its scores tells the right candidate of each question from the others.

    *Shape:* `scores` (candidates of all questions, V); `of`: the question of each candidate; `right`: is it the answer?
    -> (V,), positive, with sum 1. The paper's scalar mix (Peters et al. 2018, equation 1), over cosines: softmax of V
    weights and one scale, under cross-entropy.
    """
    values, question = torch.from_numpy(np.asarray(scores, dtype=np.float64)), torch.from_numpy(of)
    answer = torch.from_numpy(right)
    weights = torch.zeros(values.shape[1], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(np.log(10.0), requires_grad=True)
    optimizer = torch.optim.Adam([weights, scale], RATE)
    for _ in range(STEPS):
        logits = values @ weights.softmax(0) * scale.exp()
        total = torch.zeros(int(of.max()) + 1, dtype=torch.float64).index_add(0, question, logits.exp())
        loss = (total[question[answer]].log() - logits[answer]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.asarray(weights.detach().softmax(0).numpy())
