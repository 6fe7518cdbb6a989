"""Static vectors as an embedder and as answers, against worked examples and gensim's KeyedVectors."""

from __future__ import annotations

import numpy as np
import pytest
from gensim.models import KeyedVectors

from polyseme.embedding import TokenEmbedder
from polyseme.errors import InputError, OptionError
from polyseme.static.subwords import Subwords
from polyseme.static.vectors import StaticVectors
from polyseme.text.config import TextConfig

# Dimensions: male, female, royal.
FAMILY = {
    "man": (1, 0, 0), "woman": (0, 1, 0), "king": (1, 0, 1), "queen": (0, 1, 1), "prince": (2, 0, 1),
    "stone": (-1, -1, 0),
}  # fmt: skip
RANDOM = np.random.default_rng(1).standard_normal((60, 8)).astype(np.float32)
NAMES = [f"w{place}" for place in range(60)]


def family(**more: object) -> StaticVectors:
    return StaticVectors(FAMILY, np.array(list(FAMILY.values())), **more)  # type: ignore[arg-type]


def gensim_vectors() -> KeyedVectors:
    found = KeyedVectors(vector_size=8)
    found.add_vectors(NAMES, RANDOM)
    return found


# --- an embedder


def test_a_word_has_the_same_vector_in_every_sentence_and_an_unknown_one_has_zeros_and_is_counted() -> None:
    vectors: TokenEmbedder = family()
    first, empty, second = vectors.embed([["man", "Zork", "king"], [], ["king", "Zork", "Zork"]])
    assert (first.tokens, first.layers.shape, empty.layers.shape) == (("man", "Zork", "king"), (1, 3, 3), (1, 0, 3))
    assert first.top().tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert second.top().tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert isinstance(vectors, StaticVectors)
    assert (vectors.counts.tokens, vectors.counts.unknown, vectors.counts.composed) == (6, 3, 0)
    assert vectors.width == 3


def test_words_outside_the_list_are_composed_where_there_are_n_grams() -> None:
    rows = np.random.default_rng(2).standard_normal((50, 3)).astype(np.float32)
    vectors = family(subwords=Subwords(3, 3, rows))
    (found,) = vectors.embed([["man", "mankind"]])
    assert found.top()[0].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(found.top()[1], vectors.subwords.compose("mankind"))  # type: ignore[union-attr]
    assert (vectors.counts.tokens, vectors.counts.unknown, vectors.counts.composed) == (2, 0, 1)


def test_tokens_go_through_what_the_words_went_through() -> None:
    lower = family(text=TextConfig(lowercase=True, languages=("en",)))
    assert lower.embed([["MAN", "King"]])[0].top().tolist() == [[1, 0, 0], [1, 0, 1]]
    assert lower.embed([["MAN"]])[0].tokens == ("MAN",)
    assert family().embed([["MAN"]])[0].top().tolist() == [[0, 0, 0]]
    stemmed = StaticVectors(["rais"], [[1.0]], text=TextConfig(stem=True, languages=("en",)))
    assert stemmed.embed([["raised", "raising", "rats"]])[0].top().tolist() == [[1], [1], [0]]


def test_a_string_is_no_sentence() -> None:
    with pytest.raises(OptionError, match="sentence 1 is a string"):
        family().embed([["man"], "man"])


# --- answers


def test_man_is_to_king_as_woman_is_to_queen() -> None:
    for method in ("add", "multiply"):
        assert family().analogy("man", "king", "woman", method=method)[0].word == "queen"  # type: ignore[arg-type]
    assert {each.word for each in family().analogy("man", "king", "woman")} == {"queen", "prince", "stone"}


def test_the_multiplied_score_is_that_of_levy_and_goldberg() -> None:
    """(cos(x, b) cos(x, c)) / (cos(x, a) + 0.001), cosines moved to 0..1, by hand for x = queen."""
    half = 0.5**0.5
    with_king, with_woman, with_man = (half * half + 1) / 2, (half + 1) / 2, 0.5
    expected = with_king * with_woman / (with_man + 0.001)
    assert family().analogy("man", "king", "woman", method="multiply")[0].similarity == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`")  # by gensim itself, in most_similar_cosmul
def test_neighbours_similarities_and_analogies_are_gensims() -> None:
    ours, theirs = StaticVectors(NAMES, RANDOM), gensim_vectors()
    for word in NAMES[:10]:
        expected = theirs.most_similar(word, topn=7)
        found = ours.neighbours(word, 7)
        assert [each.word for each in found] == [name for name, _ in expected]
        np.testing.assert_allclose([each.similarity for each in found], [value for _, value in expected], atol=1e-6)
        assert ours.similarity(word, "w59") == pytest.approx(float(theirs.similarity(word, "w59")), abs=1e-6)
        a, b, c = NAMES[11], word, NAMES[12]
        for method, ask in (("add", theirs.most_similar), ("multiply", theirs.most_similar_cosmul)):
            expected = ask(positive=[b, c], negative=[a], topn=7)
            answers = ours.analogy(a, b, c, 7, method=method)  # type: ignore[arg-type]
            assert [each.word for each in answers] == [name for name, _ in expected]
            # gensim's epsilon is 0.000001, the paper's and ours 0.001
            near = [each.similarity for each in answers]
            np.testing.assert_allclose(near, [value for _, value in expected], rtol=1e-5 if method == "add" else 1e-2)


def test_equal_answers_come_in_the_order_of_the_list_and_zeros_are_like_nothing() -> None:
    vectors = StaticVectors(["a", "b", "c", "d", "zero"], [[1, 0], [1, 0], [2, 0], [3, 0], [0, 0]])
    assert [each.word for each in vectors.neighbours("d", 2)] == ["a", "b"]
    assert [(each.word, each.similarity) for each in vectors.neighbours("d", 99)][-1] == ("zero", 0.0)
    assert vectors.similarity("a", "zero") == 0.0


def test_an_unknown_word_is_an_error_that_knows_other_spellings() -> None:
    with pytest.raises(InputError, match=r"Queen is none of the 6 words; queen is"):
        family().neighbours("Queen")
    with pytest.raises(InputError, match=r"emperor is none of the 6 words; spell it"):
        family().analogy("man", "emperor", "woman")


@pytest.mark.parametrize(
    ("words", "matrix", "message"),
    [
        (["a", "b"], [[1.0]], "2 words need a matrix of as many rows"),
        ([], np.zeros((0, 3)), "0 words need a matrix"),
        (["a", "a"], [[1.0], [2.0]], "'a' comes 2 times"),
        (["a", "b"], [[1.0], [float("nan")]], "the vector of 'b' holds values that are not finite"),
    ],
)
def test_words_and_matrix_must_fit(words: list[str], matrix: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        StaticVectors(words, matrix)  # type: ignore[arg-type]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(OptionError, match="n must be at least 1"):
        family().neighbours("man", 0)
    with pytest.raises(OptionError, match="'add' or 'multiply', was: 'divide'"):
        family().analogy("man", "king", "woman", method="divide")  # type: ignore[arg-type]
