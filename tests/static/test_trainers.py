"""Word2Vec, fastText and the bag of words: what they learn from a text of two topics, and what gensim and scikit-learn
compute from the same."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from gensim.models.fasttext import FastTextKeyedVectors
from sklearn.feature_extraction.text import TfidfVectorizer

from polyseme.errors import DamagedModelError, InputError, OptionError
from polyseme.static import bow, fasttext, word2vec
from polyseme.static.bow import BagOfWords
from polyseme.static.fasttext import FastTextConfig
from polyseme.static.files import read_vectors, write_vectors
from polyseme.static.subwords import Subwords, bucket, ngrams
from polyseme.static.trained_words import TrainedWords
from polyseme.static.vectors import StaticVectors
from polyseme.static.word2vec import Word2VecConfig
from polyseme.text.config import TextConfig
from polyseme.text.shards import Corpus

TOPICS = [["cat", "dog", "mouse", "horse", "rabbit"], ["engine", "wheel", "brake", "petrol", "gear"]]
SMALL = {"width": 12, "window": 3, "epochs": 8, "min_count": 2, "negative": 5}


def sentences(n: int = 400) -> list[list[str]]:
    chance = random.Random(1)
    return [[chance.choice(TOPICS[line % 2]) for _ in range(8)] + ["."] for line in range(n)]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.from_sentences([*sentences(), ["once"]], text=TextConfig(tokenizer="whitespace"))


def shares_topics(vectors: StaticVectors) -> float:
    """Of the four words nearest to each, the share that has its topic; 4 of 9 by chance."""
    right = [
        near.word in topic
        for topic in TOPICS
        for word in topic
        for near in vectors.nearest(vectors.vector(word), 4, leave_out=[word, "."])
    ]
    return sum(right) / len(right)


# --- what is read


def test_words_are_those_that_come_often_enough_and_sentences_lose_the_others() -> None:
    corpus = Corpus.from_sentences([["b", "a", "rare", "a"], [], ["rarer"], ["b", "b", "<UNK>"]], [["held", "a"]])
    words = TrainedWords(corpus, 2)
    assert (list(words.words), words.counts.tolist()) == (["b", "a"], [3, 2])
    assert [ids.tolist() for ids in words.sentences()] == [[0, 1, 1], [0, 0]]
    assert (words.running, words.left_out) == (5, 3)
    with pytest.raises(InputError, match="1 of 4 words come 3 times or more"):
        TrainedWords(corpus, 3)


def test_blocks_hold_every_sentence_once(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [ids.tolist() for ids in TrainedWords(corpus, 2).sentences()]
    monkeypatch.setattr("polyseme.static.trained_words._BLOCK_WORDS", 25)
    assert [ids.tolist() for ids in TrainedWords(corpus, 2).sentences()] == whole
    assert len(whole) == 400


def test_long_sentences_reach_gensim_in_pieces_that_it_does_not_cut() -> None:
    words = TrainedWords(Corpus.from_sentences([["a", "b"] * 12_500]), 1)
    seen: list[tuple[int, int]] = []
    pieces = list(word2vec._Sentences(words, lambda done, total: seen.append((done, total)), 50_000))
    assert [len(piece) for piece in pieces] == [10_000, 10_000, 5_000]
    assert seen == [(25_000, 50_000)]


# --- word2vec


def test_word2vec_finds_the_topics_and_gives_the_same_vectors_for_a_seed(corpus: Corpus) -> None:
    config = Word2VecConfig(**SMALL)  # type: ignore[arg-type]
    done: list[tuple[int, int]] = []
    first = word2vec.fit(corpus, config, lambda *each: done.append(each))
    assert shares_topics(first) > 0.9
    assert set(first.words) == {*TOPICS[0], *TOPICS[1], "."}
    assert first.words[0] == "."  # the most frequent
    assert done[-1] == (400 * 9 * 8, 400 * 9 * 8)
    np.testing.assert_array_equal(word2vec.fit(corpus, config).matrix, first.matrix)
    other = word2vec.fit(corpus, Word2VecConfig(**SMALL, seed=2))  # type: ignore[arg-type]
    assert np.abs(other.matrix - first.matrix).max() > 0.01
    assert first.text == corpus.text
    assert first.about.recipe.startswith("skip-gram, gensim ")


def test_cbow_is_another_model(corpus: Corpus) -> None:
    found = word2vec.fit(corpus, Word2VecConfig(**{**SMALL, "epochs": 20}, model="cbow"))  # type: ignore[arg-type]
    assert shares_topics(found) > 0.9
    assert found.about.recipe.startswith("cbow")


def test_little_text_is_read_more_often() -> None:
    assert [word2vec.usual_epochs(n) for n in (0, 10**6, 5 * 10**6, 20 * 10**6, 10**9)] == [30, 30, 20, 5, 5]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"model": "glove"}, "'skip-gram' or 'cbow'"),
        ({"sample": 1.5}, "sample must be a share"),
        ({"seed": -1}, "seed must lie"),
        ({"min_n": 4, "max_n": 3}, "1 <= min_n <= max_n"),
        ({"buckets": 0}, "buckets must be at least 1"),
    ],
)
def test_settings_out_of_range_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        FastTextConfig(**values)  # type: ignore[arg-type]


# --- fastText


@pytest.mark.parametrize("sizes", [(3, 6), (1, 2), (2, 9)])
def test_words_are_composed_as_gensim_composes_them(sizes: tuple[int, int]) -> None:
    theirs = FastTextKeyedVectors(vector_size=5, min_n=sizes[0], max_n=sizes[1], bucket=97)
    theirs.vectors_ngrams = np.random.default_rng(1).standard_normal((97, 5)).astype(np.float32)
    ours = Subwords(*sizes, theirs.vectors_ngrams)
    for word in ("bank", "a", "Übergröße", "银行", "🙂", "naïve-ish", "<eow>", ""):
        expected = theirs.get_vector(word)
        found = ours.compose(word)
        if found is None:
            assert not expected.any()
        else:
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_n_grams_of_a_word_by_hand() -> None:
    assert list(ngrams("as", 3, 6)) == ["<as", "<as>", "as>"]
    assert list(ngrams("ab", 1, 2)) == ["<a", "a", "ab", "b", "b>"]
    assert bucket("", 1 << 32) == 2166136261  # FNV's offset basis


def test_fasttext_keeps_its_n_grams_in_a_folder(corpus: Corpus, tmp_path: Path) -> None:
    config = FastTextConfig(**SMALL, buckets=500)  # type: ignore[arg-type]
    vectors = fasttext.fit(corpus, config)
    assert shares_topics(vectors) > 0.9
    assert vectors.subwords is not None
    # a word's own vector and those of its n-grams, in equal parts, so an unseen relative is near
    assert [each.word for each in vectors.neighbours("rabbits", 1)] == ["rabbit"]
    write_vectors(vectors, tmp_path / "v")
    back = read_vectors(tmp_path / "v")
    for word in ("rabbits", "rabbit", "银行"):
        np.testing.assert_array_equal(back.vector(word), vectors.vector(word))
    np.testing.assert_array_equal(fasttext.fit(corpus, config).matrix, vectors.matrix)


# --- bag of words

DOCUMENTS = ["the cat sat on the mat", "the dog ate the cat", "a dog sat", "petrol is dear", "dear cat , dear dog"]


def test_tf_idf_and_counts_are_scikit_learns() -> None:
    theirs = TfidfVectorizer(token_pattern=r"\S+", min_df=2)
    expected = theirs.fit_transform(DOCUMENTS).toarray()
    documents = [text.split() for text in DOCUMENTS]
    bag = BagOfWords.fit(documents)
    assert list(bag.words) == theirs.get_feature_names_out().tolist()
    np.testing.assert_allclose(bag.transform(documents).toarray(), expected, atol=1e-12)
    assert bag.transform([["dear", "cat", "unheard", "dear"]], "counts").toarray().tolist() == [[1, 2, 0, 0, 0]]


def test_latent_vectors_have_the_products_of_the_columns_that_they_stand_for() -> None:
    """With as many dimensions as documents nothing is cut off: (V S)(V S)' = X' X."""
    documents = [text.split() for text in DOCUMENTS]
    bag = BagOfWords.fit(documents, min_documents=1)
    vectors = bag.latent(documents, width=5)
    x = bag.transform(documents).toarray()
    order = [bag.words.index(word) for word in vectors.words]
    np.testing.assert_allclose(vectors.matrix @ vectors.matrix.T, (x.T @ x)[np.ix_(order, order)], atol=1e-5)
    assert vectors.words[:4] == ("the", "cat", "dear", "dog")  # 4, 3, 3, 3 times
    np.testing.assert_array_equal(bag.latent(documents, width=5).matrix, vectors.matrix)


def test_a_bag_of_a_corpus_finds_the_topics_and_comes_back_from_its_folder(corpus: Corpus, tmp_path: Path) -> None:
    bag, vectors = bow.fit(corpus, width=5, min_count=2)
    assert bag.idf.min() >= 1
    bag.save(vectors, tmp_path / "bag")
    back = BagOfWords.open(tmp_path / "bag")
    documents = sentences(20)
    # the folder has the words by falling count
    order = [bag.words.index(word) for word in back.words]
    np.testing.assert_allclose(back.transform(documents).toarray(), bag.transform(documents).toarray()[:, order])
    np.testing.assert_array_equal(read_vectors(tmp_path / "bag").matrix, vectors.matrix)
    write_vectors(vectors, tmp_path / "plain")
    with pytest.raises(DamagedModelError, match="holds no bag of words"):
        BagOfWords.open(tmp_path / "plain")


def test_stretches_are_whole_sentences_of_enough_words(corpus: Corpus) -> None:
    found = list(bow.stretches(TrainedWords(corpus, 2), 20))
    assert [len(each) for each in found] == [27] * 133 + [9]
    assert [word for each in found for word in each] == [word for each in sentences() for word in each]


def test_too_little_text_for_a_bag_is_said() -> None:
    documents = [text.split() for text in DOCUMENTS]
    with pytest.raises(InputError, match="no word lies in 5 documents"):
        BagOfWords.fit(documents, min_documents=5)
    with pytest.raises(InputError, match="have no 6 latent dimensions"):
        BagOfWords.fit(documents, min_documents=1).latent(documents, width=6)
    with pytest.raises(OptionError, match="'tfidf' or 'counts', was: 'bm25'"):
        BagOfWords.fit(documents).transform(documents, "bm25")  # type: ignore[arg-type]
