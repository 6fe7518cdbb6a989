"""Entity F1 as conlleval counts it, rank correlation, intervals, and the noise of the robustness test."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .readers import Words

Floats = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[np.floating]
BOOTSTRAP_SAMPLES = 1000
NOISE = 0.1  # the share of characters that the robustness test damages


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(type, first word, word behind the last) of BIO tags, by conlleval's rules.

    An entity begins at a B-, and at an I- that follows another type or O.
    """
    found, start, kind = set(), 0, ""
    for place, tag in enumerate([*tags, "O"]):
        mark, _, of = tag.partition("-")
        if kind and (mark != "I" or of != kind):
            found.add((kind, start, place))
            kind = ""
        if mark in ("B", "I") and not kind:
            start, kind = place, of
    return found


def entity_f1(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """Micro-averaged F1 over whole entities, 0..1; 0 where none was found."""
    right = asked = given = 0
    for expected, said in zip(gold, predicted, strict=True):
        wanted, have = entities(expected), entities(said)
        right, asked, given = right + len(wanted & have), asked + len(wanted), given + len(have)
    return 2 * right / (asked + given) if asked + given else 0.0


def accuracy(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """The share of words with the right tag."""
    right = [a == b for pair in zip(gold, predicted, strict=True) for a, b in zip(*pair, strict=True)]
    return sum(right) / len(right)


def ranks(values: Values) -> Floats:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[inverse], dtype=np.float64)


def spearman(first: Values, second: Values) -> float:
    """Rank correlation; 0 where one side is constant."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else 0.0


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z, p = 1.959964, right / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def bootstrap(statistic: Callable[[npt.NDArray[np.int64]], float], n: int, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of `statistic(indices)` when `n` units are drawn again with replacement."""
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(0, n, n)) for _ in range(BOOTSTRAP_SAMPLES)]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def marks(right: npt.NDArray[np.bool_]) -> str:
    """A 1 for each test item that was answered rightly, otherwise a 0: what `paired_difference` compares."""
    return "".join("01"[answer] for answer in right.astype(int))


def paired_difference(first: str, second: str) -> tuple[float, float, float]:
    """How much larger the share of 1 is in `first`, over the same items, and the 95 % interval (bootstrap)."""
    difference = np.frombuffer(first.encode(), np.uint8).astype(float) - np.frombuffer(second.encode(), np.uint8)
    return float(difference.mean()), *bootstrap(lambda drawn: float(difference[drawn].mean()), len(difference))


def damaged(sentences: Sequence[Words], rate: float, seed: int) -> list[Words]:
    """The sentences with a share `rate` of the characters of their words replaced, swapped or dropped.

    Only words that hold a letter are touched. `round(rate * characters)` places are drawn without replacement; each is,
    with equal chances, replaced by a letter of the text (of the same case), swapped with the character behind it
    (before it, at a word's end), or dropped. Where a swap would change nothing, or a drop would leave no word, the
    character is replaced. The number of words stays.
    """
    rng = random.Random(seed)
    letters = sorted({c.lower() for words in sentences for word in words for c in word if c.isalpha()})
    places = [
        (sentence, place, index)
        for sentence, words in enumerate(sentences)
        for place, word in enumerate(words)
        if any(c.isalpha() for c in word)
        for index in range(len(word))
    ]
    chosen: dict[tuple[int, int], list[int]] = {}
    for sentence, place, index in rng.sample(places, round(rate * len(places))):
        chosen.setdefault((sentence, place), []).append(index)
    return [
        tuple(
            _damaged(word, sorted(chosen.get((sentence, place), ()), reverse=True), letters, rng)
            for place, word in enumerate(words)
        )
        for sentence, words in enumerate(sentences)
    ]


def _damaged(word: str, places: Sequence[int], letters: Sequence[str], rng: random.Random) -> str:
    """One word; `places` from the last to the first, so that a drop moves none of those to come."""
    characters = list(word)
    for place in places:
        how = rng.choice(("replace", "swap", "drop"))
        other = place + 1 if place + 1 < len(characters) else place - 1
        if how == "drop" and len(characters) > 1:
            del characters[place]
        elif how == "swap" and other >= 0 and characters[other] != characters[place]:
            characters[place], characters[other] = characters[other], characters[place]
        else:
            old = characters[place]
            new = rng.choice([letter for letter in letters if letter != old.lower()] or [old])
            characters[place] = new.upper() if old.isupper() else new
    return "".join(characters)
