"""Which words vary: against all pairs one by one, and on a text in which one word is planted to vary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from polyseme.embedding import Embedding
from polyseme.errors import InputError
from polyseme.insight.contexts import Sentence
from polyseme.insight.neighbours import cosines, unit
from polyseme.insight.variety import LEAST, candidates, line_over_counts, mean_pairwise, propose

WIDTH = 32


class Planted:
    """Every word has a vector of its own and a little noise; `varied` has one of two, by the word before it."""

    width = WIDTH

    def __init__(self, varied: str) -> None:
        self.varied = varied

    def embed(self, sentences: Sequence[Sequence[str]]) -> list[Embedding]:
        return [Embedding(tuple(words), self.vectors(tuple(words))[None]) for words in sentences]

    def vectors(self, words: Sentence) -> np.ndarray:
        before = ("", *words)
        rows = []
        for word, left in zip(words, before, strict=False):
            key = f"{word} {left}" if word == self.varied else word
            own = np.random.default_rng(list(key.encode())).standard_normal(WIDTH)
            noise = np.random.default_rng(list(" ".join(words).encode())).standard_normal(WIDTH)
            rows.append(own + 0.2 * noise)
        return np.asarray(rows, dtype=np.float32)


def text() -> list[Sentence]:
    """`spring` behind one of two words; the others always alike; `common` ten times as frequent as the rest."""
    sentences: list[Sentence] = []
    for number in range(40):
        sentences.append(("early" if number % 2 else "iron", "spring", "common", f"x{number}"))
        sentences.append(("dull", "stone", "common", "wall", f"y{number}"))
        sentences += [("common", "common", f"z{number}")] * 2
    return sentences


def counts(sentences: Sequence[Sentence]) -> Counter[str]:
    return Counter(word for sentence in sentences for word in sentence)


def test_the_mean_over_pairs_comes_from_the_sum_alone() -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((7, 5)))
    pairs = [vectors[a] @ vectors[b] for a, b in combinations(range(7), 2)]
    assert mean_pairwise(vectors.sum(axis=0), 7) == pytest.approx(np.mean(pairs))
    assert mean_pairwise(vectors[0], 1) == 1.0


def test_the_line_is_numpys_least_squares_fit() -> None:
    rng = np.random.default_rng(1)
    values, frequencies = rng.random(9), rng.integers(10, 1000, 9).tolist()
    slope, offset = np.polyfit(np.log(frequencies), values, 1)
    assert line_over_counts(values, frequencies) == pytest.approx(slope * np.log(frequencies) + offset)
    assert line_over_counts(values, [5] * 9) == pytest.approx([values.mean()] * 9)


def test_the_word_that_is_planted_to_vary_is_proposed_first() -> None:
    sentences = text()
    found = propose(Planted("spring"), sentences, counts(sentences), language="en", layer="top")
    assert found.words[0].word == "spring"
    assert found.words[0].variety > 0.1
    assert propose(Planted("stone"), sentences, counts(sentences), language="en", layer="top").words[0].word != "spring"
    assert found == propose(Planted("spring"), sentences, counts(sentences), language="en", layer="top")


def test_self_similarity_is_the_mean_cosine_over_all_pairs_of_distinct_contexts() -> None:
    sentences, embedder = text(), Planted("spring")
    proposals = propose(embedder, sentences, counts(sentences), language="en", layer="top")
    (found,) = (each for each in proposals.words if each.word == "spring")
    vectors = np.stack([embedder.vectors(sentence)[1] for sentence in sentences if "spring" in sentence])
    similarities = cosines(vectors)
    expected = np.mean([similarities[a, b] for a, b in combinations(range(40), 2)])
    assert (found.contexts, found.count) == (40, 40)
    assert found.self_similarity == pytest.approx(expected, abs=1e-6)
    assert found.adjusted == pytest.approx(expected - proposals.baseline, abs=1e-6)
    # Few enough words to have drawn them all: the baseline is the mean over all pairs of them.
    every = np.concatenate([embedder.vectors(sentence) for sentence in dict.fromkeys(sentences)])
    n = len(every)
    assert n < 1000
    assert proposals.baseline == pytest.approx((cosines(every).sum() - n) / (n * (n - 1)), abs=1e-6)


def test_candidates_are_frequent_words_of_letters_that_say_something() -> None:
    sentences = [("the", "Spring", ",", "I", "x", "1990", "打", "n't", "rare" if at == 1 else "often")
                 for at in range(LEAST)]  # fmt: skip
    assert candidates(sentences, "en") == ["spring", "打"]
    assert candidates(sentences, "tlh") == ["the", "spring", "打", "n't"][:3]  # no list of stop words: all words stay


def test_a_text_without_candidates_is_refused() -> None:
    with pytest.raises(InputError, match="--word"):
        propose(Planted("a"), [("one", "two")] * 50, Counter(one=50, two=50), language="en")
