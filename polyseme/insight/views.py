"""Everything that a page shows about one word of a text: groups of its contexts, a map, the nearest contexts.

Legend: `n` contexts, `D` width of a vector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from polyseme.errors import OptionError
from polyseme.insight.contexts import Context, FloatArray, Found
from polyseme.insight.neighbours import DoubleArray, Neighbour, cosines, nearest
from polyseme.insight.plots import Plane, principal_plane
from polyseme.insight.senses import Groups, differences, group
from polyseme.text.stopwords import stop_words

NEAREST = 5
KEYWORDS = 6
AROUND = 10  # words to either side in which keywords are looked for
SURE = 3.84  # G^2 at p = 0.05 with one degree of freedom


@dataclass(frozen=True)
class WordView:
    """One word. `count`: its places in the text; `contexts`: those shown, n of them.

    `plane`, `groups`: of the contexts; `keywords`: a tuple of words a group; `order`: the contexts of each group, the
    most central first; `nearest`: for each context the others that are nearest; `similarity`: mean cosine over pairs.
    """

    word: str
    count: int
    contexts: tuple[Context, ...]
    plane: Plane
    groups: Groups
    keywords: tuple[tuple[str, ...], ...]
    order: tuple[tuple[int, ...], ...]
    nearest: tuple[tuple[Neighbour, ...], ...]
    similarity: float | None


def view(word: str, found: Found, vectors: FloatArray, language: str) -> WordView:
    """`vectors`: of `found.contexts`, *shape* (n, D), n at least 1."""
    similarities = cosines(vectors)
    n = len(similarities)
    apart = differences(vectors)
    groups = group(1.0 - cosines(apart))
    itself = np.eye(n, dtype=bool)
    return WordView(
        word,
        found.count,
        found.contexts,
        principal_plane(apart),
        groups,
        keywords(found.contexts, groups, language),
        tuple(central(similarities, np.flatnonzero(groups.labels == each).tolist()) for each in range(groups.n)),
        tuple(tuple(nearest(similarities[place], NEAREST, itself[place])) for place in range(n)),
        float(similarities[~itself].mean()) if n > 1 else None,
    )


def central(similarities: DoubleArray, members: Sequence[int]) -> tuple[int, ...]:
    """The members by their mean cosine with the others, greatest first."""
    places = np.asarray(members, dtype=np.int64)
    mean = similarities[np.ix_(places, places)].sum(axis=1)  # each with itself is 1 for all
    return tuple(int(place) for place in places[np.argsort(-mean.round(12), kind="stable")])


def keywords(contexts: Sequence[Context], groups: Groups, language: str) -> tuple[tuple[str, ...], ...]:
    """The words around the contexts of each group that are surely more frequent there than in the other groups.

    By Dunning's log-likelihood ratio G^2 (1993) over contexts that hold the word; stop words and marks are left out.
    """
    dropped: frozenset[str] = frozenset()
    with suppress(OptionError):
        dropped = stop_words(language)
    around = [_around(context) - dropped for context in contexts]
    found = []
    for each in range(groups.n):
        inside = [words for words, label in zip(around, groups.labels, strict=True) if label == each]
        outside = [words for words, label in zip(around, groups.labels, strict=True) if label != each]
        here, there = Counter(w for words in inside for w in words), Counter(w for words in outside for w in words)
        scores = {
            word: log_likelihood_ratio(count, len(inside), there[word], len(outside))
            for word, count in here.items()
            if count > 1 and count * len(outside) > there[word] * len(inside)
        }
        sure = sorted((word for word in scores if scores[word] >= SURE), key=lambda word: (-scores[word], word))
        found.append(tuple(sure[:KEYWORDS]))
    return tuple(found)


def _around(context: Context) -> set[str]:
    before = context.sentence[max(0, context.begin - AROUND) : context.begin]
    behind = context.sentence[context.end : context.end + AROUND]
    own = {token.casefold() for token in context.word}
    return {word for token in (*before, *behind) if (word := token.casefold()).isalpha()} - own


def log_likelihood_ratio(a: int, of_a: int, b: int, of_b: int) -> float:
    """G^2 of a table: `a` of `of_a` contexts here hold a word, `b` of `of_b` elsewhere."""
    if not of_a or not of_b:
        return 0.0
    table = np.asarray([[a, of_a - a], [b, of_b - b]], dtype=np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    held = table > 0
    return float(2.0 * (table[held] * np.log(table[held] / expected[held])).sum())
