"""What the quality suite makes of vectors: senses, cached arrays, files of static vectors, perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_oracle import tiny_language_model
from quality import cache, contexts, pairs, perplexity, senses
from quality.cache import Cache, Pool
from quality.readers import Mention, SenseMention, sentences_of
from quality.vectors import Source, static
from tiny import published_model

from polyseme.embedder import Embedder
from polyseme.embedding import Embedding
from polyseme.lm.network import Block, LanguageModel
from polyseme.lm.perplexity import evaluate
from polyseme.static.fasttext import FastTextConfig, fit
from polyseme.static.files import write_vectors
from polyseme.text.shards import Corpus

# --- senses


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=12))
def test_no_threshold_is_better_than_the_one_found(labelled: list[tuple[int, bool]]) -> None:
    values = np.asarray([value for value, _ in labelled], dtype=np.float32)
    same = np.asarray([label for _, label in labelled])
    cut, share = pairs.threshold(values, same.tolist())
    assert ((values > cut) == same).mean() == pytest.approx(share)
    assert share >= max(((values > cut) == same).mean() for cut in np.arange(-0.5, 7))


def sense(lemma: str, name: str) -> SenseMention:
    return SenseMention(Mention((lemma,), 0, 1), lemma, name)


def test_a_word_takes_the_sense_whose_mean_vector_is_nearest() -> None:
    training = [sense("bank", "money"), sense("bank", "money"), sense("bank", "river"), sense("play", "game")]
    rows = np.asarray([[2, 0], [2, 2], [0, 1], [5, 5]], dtype=np.float32)  # means: (2, 1), (0, 1), (5, 5)
    model = senses.Senses(training)
    asked = [sense("bank", "?")] * 3 + [sense("play", "?"), sense("never", "?")]
    where = np.asarray([[1, 0.6], [1, 3], [0, 0], [-1, 0], [1, 1]], dtype=np.float32)
    # The third vector is as near to both senses of bank: the more frequent one is taken.
    found = model.candidates(asked)
    assert found.answers(model.cosines(found, rows, where)) == ["money", "river", "money", "game", None]


def test_a_training_context_is_held_against_the_mean_of_the_others() -> None:
    training = [sense("bank", "money"), sense("bank", "money"), sense("bank", "river")]
    rows = np.asarray([[3, 0], [0, 4], [0, 1]], dtype=np.float32)
    model = senses.Senses(training)
    found = model.candidates(training, among_training=True)
    assert found.senses == ["money", "river"] * 3
    # The only context of "river" has nothing left to be near to.
    assert model.cosines(found, rows, rows) == pytest.approx([0, 0, 0, 1, 0.8, 0])


def test_the_mix_goes_to_the_view_that_knows() -> None:
    rng = np.random.default_rng(1)
    of, right = np.repeat(np.arange(200), 3), np.tile([True, False, False], 200)
    scores = np.stack([rng.uniform(size=600), right * 0.5 + rng.uniform(size=600) * 0.4, rng.uniform(size=600)], axis=1)
    shares = contexts.mix_of_candidates(scores.astype(np.float32), of, right)
    assert shares.sum() == pytest.approx(1)
    assert shares[1] > 0.8


def test_vectors_that_are_the_same_in_every_context_give_the_first_sense() -> None:
    rng = np.random.default_rng(1)
    training = [sense("w", name) for name in rng.choice(["a", "b", "c"], 60, p=[0.2, 0.5, 0.3])]
    row = rng.normal(size=(1, 40)).astype(np.float32)
    model = senses.Senses(training)
    found = model.candidates([sense("w", "?")] * 5)
    assert found.answers(model.cosines(found, row.repeat(60, axis=0), row.repeat(5, axis=0))) == ["b"] * 5
    assert found.answers(np.zeros(15)) == ["b"] * 5


def test_how_often_a_sense_comes_does_not_count_the_context_that_asks() -> None:
    training = [sense("bank", "money"), sense("bank", "money"), sense("bank", "river")]
    model = senses.Senses(training)
    # Half a context is added to each: of 2 and 1 others, then of 1 and 1 for "money", of 2 and 0 for "river".
    asked = np.exp(senses.NATS * model.frequencies(model.candidates([sense("bank", "?")])))
    assert asked == pytest.approx([2.5 / 4, 1.5 / 4])
    own = np.exp(senses.NATS * model.frequencies(model.candidates(training, among_training=True)))
    assert own == pytest.approx([1 / 2, 1 / 2, 1 / 2, 1 / 2, 2.5 / 3, 0.5 / 3], rel=1e-5)


def test_whitened_vectors_of_training_have_no_mean_and_no_correlations() -> None:
    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(4000, 6)) @ rng.normal(size=(6, 6)) + 3).astype(np.float32)
    first, second = contexts.whitened(rows, rows[:5])
    assert np.abs(first.mean(axis=0)).max() < 1e-3
    # The covariance was shrunk a little towards the identity before.
    covariance = np.cov(first.T)
    assert np.diag(covariance) == pytest.approx(np.ones(6), abs=0.2)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.02
    assert second == pytest.approx(first[:5], abs=1e-5)


def test_what_is_expected_at_a_place_does_not_depend_on_the_word_there(tiny_source: Source) -> None:
    one, other = tiny_source.embedder.embed([("The", "bank", "raised", "rates"), ("The", "river", "raised", "rates")])
    seen, instead = (cache.beside(each.layers, 1, 2)[1:] for each in (one, other))
    assert np.abs(seen - instead).max() < 1e-6 < np.abs(one.layers[1:, 1] - other.layers[1:, 1]).max()
    half = one.layers.shape[2] // 2
    last = cache.beside(one.layers, 3, 4)
    assert last[:, :half] == pytest.approx(one.layers[:, 2, :half])
    assert not last[:, half:].any()


# --- vectors and their cache


class Counting:
    """An embedder that counts what it is asked."""

    def __init__(self, inner: Embedder) -> None:
        self.inner, self.asked = inner, 0
        self.width = inner.width

    def embed(self, sentences: Sequence[Sequence[str]]) -> list[Embedding]:
        self.asked += len(sentences)
        return self.inner.embed(sentences)


SENTENCES = [("The", "bank", "raised"), ("its",), ("rates", ".", "river", "bank")]


@pytest.fixture(scope="module")
def tiny_source() -> Source:
    embedder = Counting(Embedder(published_model(), threads=1))
    return Source("tiny", "contextual", embedder, "tiny 1", ("layer 0", "layer 1", "layer 2"), True)


def test_a_data_set_is_embedded_once_and_comes_back_within_half_precision(tiny_source: Source, tmp_path: Path) -> None:
    embedder = tiny_source.embedder
    assert isinstance(embedder, Counting)
    said: list[str] = []
    store = Cache(tmp_path, said.append)
    first = store.tokens(tiny_source, SENTENCES)
    asked = embedder.asked
    again = store.tokens(tiny_source, SENTENCES)
    assert embedder.asked == asked
    assert np.array_equal(first.rows, again.rows)
    expected = np.concatenate([e.layers for e in embedder.inner.embed(SENTENCES)], axis=1).transpose(1, 0, 2)
    assert np.abs(again.rows - expected).max() < 1e-3 * np.abs(expected).max()
    assert again.starts.tolist() == [0, 3, 4, 8]
    store.tokens(tiny_source, SENTENCES[:2])  # other sentences are another entry
    assert embedder.asked == asked + 2
    assert len(said) == 2


def test_a_mention_is_the_mean_of_its_words(tiny_source: Source, tmp_path: Path) -> None:
    """The window crosses the full stop; the vectors are those of each sentence by itself."""
    found = Cache(tmp_path, lambda _: None).mentions(
        tiny_source, [Mention(SENTENCES[2], 1, 3), Mention(SENTENCES[2], 0, 1)], (0, 2)
    )
    read = tiny_source.embedder.embed([SENTENCES[2][:2], SENTENCES[2][2:]])
    layers = np.concatenate([each.layers for each in read], axis=1)
    for number, window, words in ((0, 0, layers[:, 1:3]), (0, 1, layers), (1, 0, layers[:, :1]), (1, 1, layers[:, :3])):
        expected = words.mean(axis=1)
        assert np.abs(found[number, window] - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("He left . Why ? No .", ["He left .", "Why ?", "No ."]),
        ("`` Go ! '' she said . ( It was late . ) They", ["`` Go ! ''", "she said .", "( It was late . )", "They"]),
        (". '' no end", [". ''", "no end"]),
        ("Mr. Low", ["Mr. Low"]),
    ],
)
def test_a_text_in_words_has_the_sentences_that_its_full_stops_say(text: str, sentences: list[str]) -> None:
    assert sentences_of(tuple(text.split())) == [tuple(sentence.split()) for sentence in sentences]


def test_texts_are_pooled_over_all_their_sentences(tiny_source: Source, tmp_path: Path) -> None:
    texts = [SENTENCES[:2], [], SENTENCES[2:]]
    pools = [Pool("mean"), Pool("max"), Pool("sif", {"The": 1e-3})]
    found = Cache(tmp_path, lambda _: None).texts(tiny_source, texts, pools)
    assert not found[1].any()
    words = np.concatenate([e.layers for e in tiny_source.embedder.embed(texts[0])], axis=1)
    weights = np.asarray([0.5, 1, 1, 1])  # a / (a + p), a = 1e-3
    for number, expected in enumerate(
        [words.mean(axis=1), words.max(axis=1), (words * weights[:, None]).sum(axis=1) / 4]
    ):
        assert np.abs(found[0, number] - expected).max() < 1e-3 * np.abs(words).max()


def test_a_word_without_a_vector_is_looked_up_in_lower_case(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("bank 1 2\nMay 3 4\nNEVER 5 6\n", encoding="utf-8")
    source = static("mine", path)
    (found,) = source.embedder.embed([["Bank", "May", "NEVER", "River"]])
    assert found.layers[0].tolist() == [[1, 2], [3, 4], [5, 6], [0, 0]]
    assert found.tokens == ("Bank", "May", "NEVER", "River")
    assert not source.subwords


def test_fasttext_has_vectors_for_words_never_seen(tmp_path: Path) -> None:
    corpus = Corpus.from_sentences([["the", "bank", "of", "the", "river"]] * 40)
    write_vectors(fit(corpus, FastTextConfig(width=8, epochs=1, buckets=1000)), tmp_path / "v")
    source = static("fasttext", tmp_path / "v")
    assert source.subwords
    (found,) = source.embedder.embed([["bank", "banks"]])
    assert found.layers[0].any(axis=1).all()


# --- perplexity


@pytest.mark.parametrize("kind", ["characters", "transformer"])
def test_perplexity_is_that_of_evaluate_and_documents_add_up_to_it(kind: str) -> None:
    lm = LanguageModel(tiny_language_model(kind), threads=1)
    documents = [[("The", "bank"), ("river",)]] * 7 + [[("raised", "never", "its"), ("rates", ".")]] * 5
    sentences = [words for document in documents for words in document]
    found = perplexity.of_documents(lm, documents)
    expected = evaluate(lm, sentences)
    assert found["targets"] == expected.targets
    assert found["perplexity"]["mean"] == pytest.approx(expected.perplexity.mean, rel=1e-6)
    assert found["perplexity"]["backward"] == pytest.approx(expected.perplexity.backward, rel=1e-6)
    assert found["unknown_share"] == expected.unknown_share > 0
    low, high = found["interval"]
    assert low < expected.perplexity.mean < high
    assert (found["drawn"], found["units"]) == ("documents", 12)


def test_the_losses_of_units_add_up_to_the_whole() -> None:
    lm = LanguageModel(tiny_language_model(), threads=1)
    block = Block.of(lm, [("The", "bank"), (), ("river", "rates", ".")])
    losses, _ = lm.directions.carried(block.text, None)
    sums = losses.sums(block.n_targets)
    loss, targets = perplexity.per_unit(block, losses, np.asarray([0, 0, 1]))
    assert targets.tolist() == [4, 4]
    assert loss.sum() == pytest.approx((sums.forward + sums.backward) / 2)
    alone = Block.of(lm, [("The", "bank"), ()])
    first = lm.directions.carried(alone.text, None)[0].sums(alone.n_targets)
    assert loss[0] == pytest.approx((first.forward + first.backward) / 2, rel=1e-5)
