"""A text streams by: what is counted, what is drawn, where a word is found, and whose vectors are taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from polyseme.embedding import Embedding
from polyseme.errors import InputError, OptionError
from polyseme.insight.contexts import Context, Reservoir, collect, embed_contexts, layer_vectors, refuse_absent

TEXT = [("The", "bank", "failed"), ("A", "bank", "by", "the", "bank"), ("New", "York", "!"), ("the", "end")]


class Numbers:
    """An embedder whose vectors say where they come from: (layer, word, letters of the word)."""

    width = 3

    def __init__(self) -> None:
        self.read: list[tuple[str, ...]] = []

    def embed(self, sentences: Sequence[Sequence[str]]) -> list[Embedding]:
        found = []
        for sentence in sentences:
            self.read.append(tuple(sentence))
            layers = [[(layer, at, len(word)) for at, word in enumerate(sentence)] for layer in range(3)]
            found.append(Embedding(tuple(sentence), np.asarray(layers, dtype=np.float32)))
        return found


def test_upper_and_lower_case_are_one_word_and_a_word_may_be_several_tokens() -> None:
    found = collect(TEXT, {"BANK": ("BANK",), "New York": ("new", "york"), "the": ("the",), "york": ("york", "times")})
    assert found.words == Counter(
        {"the": 3, "bank": 3, "failed": 1, "a": 1, "by": 1, "new": 1, "york": 1, "!": 1, "end": 1}
    )
    assert (found.sentences, found.tokens, found.too_long, found.sample) == (4, 13, 0, tuple(TEXT))
    assert found.found["BANK"].contexts == (Context(TEXT[0], 1, 2), Context(TEXT[1], 1, 2), Context(TEXT[1], 4, 5))
    (city,) = found.found["New York"].contexts
    assert (city.begin, city.end, city.word) == (0, 2, ("New", "York"))
    assert found.found["the"].count == 3
    assert found.found["york"] == type(found.found["york"])(0, ())


def test_what_is_kept_is_bounded_and_the_counts_are_not() -> None:
    sentences = [("w", str(number)) for number in range(1000)]
    found = collect(sentences, {"w": ("w",)}, most=20, sample=30, seed=7)
    assert (found.found["w"].count, len(found.found["w"].contexts), len(found.sample)) == (1000, 20, 30)
    order = [int(context.sentence[1]) for context in found.found["w"].contexts]
    assert order == sorted(order)
    assert order[-1] > 500  # not the head of the text
    assert found == collect(iter(sentences), {"w": ("w",)}, most=20, sample=30, seed=7)
    assert found.sample != collect(sentences, {}, sample=30, seed=8).sample


def test_every_place_has_the_same_chance() -> None:
    drawn: Counter[int] = Counter()
    for seed in range(2000):
        reservoir = Reservoir[int](5, str(seed))
        for number in range(20):
            reservoir.add(number)
        drawn.update(reservoir.items())
    # 2,000 draws of 5 out of 20: each 500 times, with a standard deviation of 19.
    assert all(abs(drawn[number] - 500) < 5 * 19.4 for number in range(20))


def test_what_is_repeated_counts_and_is_shown_once() -> None:
    found = collect([("a", "b")] * 5, {"b": ("b",)}).found["b"]
    assert (found.count, len(found.contexts)) == (5, 1)


def test_very_long_sentences_are_counted_and_left_out() -> None:
    found = collect([("a",) * 11, ("a",)], {"a": ("a",)}, longest=10)
    assert (found.too_long, found.sentences, found.words["a"]) == (1, 2, 12)
    assert (len(found.sample), len(found.found["a"].contexts)) == (1, 1)


def test_an_empty_text_and_empty_words() -> None:
    assert collect([], {"a": ("a",)}).found["a"].contexts == ()
    with pytest.raises(OptionError, match="is no word"):
        collect([], {" ": ()})
    with pytest.raises(OptionError, match="at least 1, was: 0"):
        collect([], {}, most=0)


def test_a_word_that_is_not_there_is_refused_and_words_spelt_alike_are_named() -> None:
    with pytest.raises(InputError, match=r"'bnak' is not among the 13 words of the text; words spelt alike: bank"):
        refuse_absent(collect(TEXT, {"bnak": ("bnak",)}))
    with pytest.raises(InputError, match=r"words spelt alike: failed"):
        refuse_absent(collect(TEXT, {"fail": ("fail",)}))
    with pytest.raises(InputError, match="no word of it is spelt alike"):
        refuse_absent(collect(TEXT, {"意思": ("意思",)}))
    refuse_absent(collect(TEXT, {"bank": ("bank",)}))


def test_vectors_are_those_of_the_place_and_the_mean_over_several_tokens() -> None:
    embedder = Numbers()
    contexts = [Context(TEXT[1], 4, 5), Context(TEXT[2], 0, 2), Context(TEXT[1], 1, 2)]
    told: list[tuple[int, int]] = []
    vectors = embed_contexts(embedder, contexts, "top", lambda done, total: told.append((done, total)))
    assert vectors.tolist() == [[2, 4, 4], [2, 0.5, 3.5], [2, 1, 4]]
    assert embedder.read == [TEXT[1], TEXT[2]]  # each sentence once
    assert told == [(2, 2)]
    assert embed_contexts(embedder, contexts[:1], "average").tolist() == [[1, 4, 4]]
    assert embed_contexts(embedder, contexts[:1], "0").tolist() == [[0, 4, 4]]
    assert embed_contexts(embedder, [], "top").shape == (0, 3)


@pytest.mark.parametrize("layer", ["3", "-1", "bottom", "", "1.0"])
def test_a_layer_that_the_model_does_not_have_is_refused(layer: str) -> None:
    (embedding,) = Numbers().embed([["a"]])
    with pytest.raises(OptionError, match=r"top, average or a number from 0 to 2, was: "):
        layer_vectors(embedding, layer)
