"""Which words of a text vary most from context to context? The measure, with its source:

    self-similarity   the mean cosine over all pairs of a word's contexts (Ethayarajh 2019, arXiv 1909.00512, section 3)
    baseline          the same over places drawn at random, of all words: how alike any two vectors are (anisotropy)
    adjusted          self-similarity - baseline
    variety           what is expected at the word's frequency - self-similarity

Frequent words vary more (Ethayarajh's section 4.1 finds stop words at the top), so the raw measure would propose those
that are merely frequent. What is expected is a least-squares line through the self-similarity of all candidates over
the logarithm of their counts. The baseline shifts all words alike: it makes figures of different models comparable and
changes no order. Candidates are words of letters that are no stop words and come at least LEAST times in the sample.

Legend: `n` contexts of a word, `D` width of a vector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from polyseme.embedding import TokenEmbedder
from polyseme.errors import InputError, OptionError
from polyseme.insight.contexts import (
    BLOCK,
    LAYER,
    Progress,
    Reservoir,
    Sentence,
    layer_vectors,
)
from polyseme.insight.neighbours import DoubleArray, unit
from polyseme.text.stopwords import stop_words

LEAST = 10  # contexts of a candidate: the mean over 45 pairs
MOST_CONTEXTS = 60  # of a candidate
CANDIDATES = 300  # the most frequent ones
BASELINE = 1_000  # places, as many as Ethayarajh drew


@dataclass(frozen=True)
class Variety:
    """A candidate. `count`: in the whole text; `contexts`: those that were compared; the rest as in the file's head."""

    word: str
    count: int
    contexts: int
    self_similarity: float
    adjusted: float
    expected: float

    @property
    def variety(self) -> float:
        return self.expected - self.self_similarity


@dataclass(frozen=True)
class Proposals:
    """The candidates, those that vary most first."""

    words: tuple[Variety, ...]
    baseline: float


def propose(
    embedder: TokenEmbedder,
    sample: Sequence[Sentence],
    counts: Mapping[str, int],
    *,
    language: str,
    layer: str = LAYER,
    seed: int = 1,
    progress: Progress | None = None,
) -> Proposals:
    """Reads the sample once. Raises `InputError` where it holds no candidate."""
    sentences = list(dict.fromkeys(sample))  # what is repeated word by word would look like one context
    chosen = candidates(sentences, language)
    if not chosen:
        raise InputError(
            f"no word of letters comes {LEAST} times in different sentences of this text; give a longer text, or "
            "a word with --word"
        )
    # The sum of unit vectors is enough: no vector is kept.
    sums = {word: np.zeros(embedder.width) for word in chosen}
    used = Counter[str]()
    drawn = _random_places(sentences, seed)
    baseline = np.zeros((len(drawn), embedder.width))
    for at in range(0, len(sentences), BLOCK):
        block = sentences[at : at + BLOCK]
        for number, embedding in enumerate(embedder.embed(block), start=at):
            vectors = unit(layer_vectors(embedding, layer))
            for place, token in enumerate(embedding.tokens):
                word = token.casefold()
                if word in sums and used[word] < MOST_CONTEXTS:
                    sums[word] += vectors[place]
                    used[word] += 1
                if (row := drawn.get((number, place))) is not None:
                    baseline[row] = vectors[place]
        if progress is not None:
            progress(min(at + BLOCK, len(sentences)), len(sentences))
    floor = mean_pairwise(baseline.sum(axis=0), len(drawn))
    similar = np.asarray([mean_pairwise(sums[word], used[word]) for word in chosen])
    expected = line_over_counts(similar, [counts[word] for word in chosen])
    found = [
        Variety(word, counts[word], used[word], float(own), float(own) - floor, float(line))
        for word, own, line in zip(chosen, similar, expected, strict=True)
    ]
    return Proposals(tuple(sorted(found, key=lambda each: (-each.variety, each.word))), floor)


def candidates(sentences: Sequence[Sentence], language: str) -> list[str]:
    """The words to compare, most frequent first; lower case."""
    dropped: frozenset[str] = frozenset()
    with suppress(OptionError):  # a language without a list keeps all its words
        dropped = stop_words(language)
    counts = Counter(token.casefold() for sentence in sentences for token in sentence)
    words = (word for word, count in counts.most_common() if count >= LEAST and word not in dropped)
    return [word for word in words if word.isalpha() and _says_something(word)][:CANDIDATES]


def _says_something(word: str) -> bool:
    """Not a single letter of an alphabet: initials, list marks. A single Han character is a word."""
    return len(word) > 1 or not word.isascii()


def _random_places(sentences: Sequence[Sentence], seed: int) -> dict[tuple[int, int], int]:
    """(sentence, word) -> row, at most BASELINE of them, each word of the sample with the same chance."""
    drawn = Reservoir[tuple[int, int]](BASELINE, f"{seed} baseline")
    for number, sentence in enumerate(sentences):
        for place in range(len(sentence)):
            drawn.add((number, place))
    return {place: row for row, place in enumerate(drawn.items())}


def mean_pairwise(sum_of_units: DoubleArray, n: int) -> float:
    """The mean cosine over the n (n - 1) / 2 pairs of unit vectors, from their sum alone."""
    return float((sum_of_units @ sum_of_units - n) / (n * (n - 1))) if n > 1 else 1.0


def line_over_counts(values: DoubleArray, counts: Sequence[int]) -> DoubleArray:
    """The least-squares line through `values` over log `counts`; their mean where all counts are equal."""
    logs = np.log(np.asarray(counts, dtype=np.float64))
    centred = logs - logs.mean()
    spread = centred @ centred
    slope = (centred @ (values - values.mean())) / spread if spread > 0 else 0.0
    return np.asarray(values.mean() + slope * centred)
