"""What else fits here? The words that both directions expect at one place of a sentence: `substitutes`.

    score(w) = log p(w | words before) + log p(w | words behind) - log p(w),   normalised over the vocabulary

The two contexts are taken for independent once the word is known; each direction already contains the word's own
frequency, so one of the two is divided out (a product of experts with its prior counted once). A model that Polyseme
trained knows the frequencies of its text. Where nobody knows them, the last term is left out, as in Amrami & Goldberg
2018 (arXiv 1808.08518, section 3), who multiply both directions' distributions: frequent words then rank higher. Either
way it is a ranking of words, and no probability of a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polyseme.errors import OptionError
from polyseme.lm.network import LanguageModel, Words

WITH_PRIOR = "p(w | before) p(w | behind) / p(w)"
WITHOUT_PRIOR = "p(w | before) p(w | behind)"

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Substitute:
    """A word at the place. `score`: log of its share of the formula; `forward`, `backward`: log p by each direction."""

    word: str
    rank: int
    score: float
    forward: float
    backward: float


@dataclass(frozen=True)
class Substitutes:
    """The ranking for word `place` (from 0) of `tokens`, best first, without the word itself.

    `own`: where that word ranks; None where it is outside the vocabulary.
    """

    tokens: tuple[str, ...]
    place: int
    formula: str
    candidates: tuple[Substitute, ...]
    own: Substitute | None


def substitutes(
    lm: LanguageModel,
    tokens: Words,
    place: int,
    *,
    top: int = 10,
    counts: Mapping[str, int] | None = None,
    state: str | None = None,
) -> Substitutes:
    """The `top` words that fit best instead of `tokens[place]`; the word itself is not looked at.

    `counts`: how often words occur, for the formula with the prior (one is added to each); by default what the model
    stores, if it does. `state`: as in `score`.
    Raises `OptionError` for a place outside the sentence.
    """
    if not 0 <= place < len(tokens):
        raise OptionError(f"the sentence has the words 0 to {len(tokens) - 1}, asked for: {place}")
    if top < 1:
        raise OptionError(f"top must be at least 1, was: {top}")
    forward, backward = lm.hidden(tokens, state)
    # Row `place` of forward stands before the word; of backward row `place + 1`, whose row 0 belongs to <S>.
    log_p = [lm.log_probabilities(hidden)[0].numpy() for hidden in (forward[[place]], backward[[place + 1]])]
    prior = log_prior(lm, counts)
    scores = both_sides(log_p[0], log_p[1], prior, lm.never_words)
    own_row = lm.vocabulary.id(tokens[place]) if tokens[place] in lm.vocabulary else -1
    order = np.argsort(-scores, kind="stable")

    def found(row: int, rank: int) -> Substitute:
        return Substitute(
            lm.vocabulary.words[row], rank, float(scores[row]), float(log_p[0][row]), float(log_p[1][row])
        )

    ranked = [(int(row), rank) for rank, row in enumerate(order[: top + 1], start=1) if np.isfinite(scores[row])]
    candidates = [found(row, rank) for row, rank in ranked if row != own_row][:top]
    own = None
    if own_row >= 0 and np.isfinite(scores[own_row]):
        own = found(own_row, int(np.flatnonzero(order == own_row)[0]) + 1)
    formula = WITHOUT_PRIOR if prior is None else WITH_PRIOR
    return Substitutes(tuple(tokens), place, formula, tuple(candidates), own)


def both_sides(forward: FloatArray, backward: FloatArray, prior: FloatArray | None, never: list[int]) -> FloatArray:
    """The formula above, as logs that sum to 1 over the vocabulary; rows of `never` get none. *Shape:* (V,) each."""
    scores = forward + backward if prior is None else forward + backward - prior
    scores[never] = -np.inf
    best = scores.max()
    normalised: FloatArray = scores - (best + np.log(np.exp(scores - best).sum()))
    return normalised


def log_prior(lm: LanguageModel, counts: Mapping[str, int] | None = None) -> FloatArray | None:
    """log of each word's share of the counts, by default the model's, one added to each. *Shape:* (V,).

    None where neither the caller nor the model knows them.
    """
    if counts is not None:
        known = np.asarray([counts.get(word, 0) for word in lm.vocabulary.words], dtype=np.float64)
    elif lm.model.counts is not None:
        known = lm.model.counts.astype(np.float64)
    else:
        return None
    prior: FloatArray = np.log((known + 1) / (known + 1).sum())
    return prior
