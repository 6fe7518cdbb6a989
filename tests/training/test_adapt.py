"""Going on with a trained model: what it starts from, what it gains, and what that costs the text it knew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import alice
import numpy as np
import pytest
import torch
from tiny import DATA

from polyseme.errors import OptionError, ResumeError, UnsupportedModelError
from polyseme.formats.folder import open_model
from polyseme.formats.model import Model, ModelCard
from polyseme.lm.network import LanguageModel
from polyseme.lm.perplexity import evaluate
from polyseme.text.prepare import PrepareOptions, prepare
from polyseme.text.shards import Corpus
from polyseme.text.vocab import Vocabulary
from polyseme.train import train
from polyseme.training import new_rows
from polyseme.training.adapt import Start, adapt, gentle, heldout_losses, started
from polyseme.training.config import TrainConfig
from polyseme.training.new_rows import Contexts, joined, moved_biases, new_softmax

SIZES = replace(alice.LSTM, projection_size=16, cell_size=32)
COMMON = ("The", "bank", "raised", "its", "rates", ".", "river", "of", "the", "We", "sat", "on")
PUBLISHED = (
    "tensorflow/highway",  # LSTMs with a softmax, as bilm-tf left them
    "transformer/lstm",  # AllenNLP's language model; <UNK> comes first among its words
    "transformer/after_highway",
    "allennlp-char/highway2",  # HDF5: no softmax
    "many_langs/chars",  # no softmax; its boundaries are spelt otherwise
)


def parts(first: int, last: int, heldout: int = 20) -> tuple[list[Sequence[str]], list[Sequence[str]]]:
    """A stretch of the text, and the sentences behind it."""
    words = alice.sentences()
    return list(words[first : last - heldout]), list(words[last - heldout : last])


def domain(model: Model, first: int = 180, last: int = 350, heldout: int = 30) -> Corpus:
    """Another stretch than the base model was trained on, as the model reads it."""
    return Corpus.from_sentences(*parts(first, last, heldout), characters=model.characters)


def common(model: Model) -> Corpus:
    """A little text that shares words with the published fixtures."""
    train_, heldout = parts(180, 240)
    return Corpus.from_sentences([*train_, *([COMMON] * 4)], [*heldout, COMMON], characters=model.characters)


def brief(**changes: object) -> TrainConfig:
    return replace(alice.brief(epochs=1, lanes=16, learning_rate=2e-3, checkpoint_every=1000), **changes)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of the first half of the text, which predicts its 300 most frequent words."""
    folder = tmp_path_factory.mktemp("base") / "model"
    config = alice.brief(epochs=4, lanes=24, learning_rate=2e-2, validate_every=1000, checkpoint_every=1000)
    train(Corpus.from_sentences(*parts(0, 180)), folder, SIZES, config, vocabulary=300)
    return open_model(folder)


def with_softmax(start: Start, rows: torch.Tensor, biases: torch.Tensor) -> Model:
    """The start with other rows and biases for the words that are not shared."""
    assert start.model.bilm.softmax is not None
    bilm = start.model.bilm
    with torch.no_grad():
        bilm.softmax.weight.copy_(rows)
        bilm.softmax.bias.copy_(biases)
    return start.model


# --- what a model starts from


def test_rows_of_shared_words_are_kept_to_the_bit(base: Model) -> None:
    start = started(base, domain(base), new_vocabulary=True)
    new, old = start.model.vocabulary, base.vocabulary
    assert new is not None
    assert old is not None
    shared = [word for word in new.words if word in old]
    assert (start.kept, start.made) == (len(shared), len(new) - len(shared))
    assert min(start.kept, start.made) > 100
    for name in ("weight", "bias"):
        now, before = (getattr(model.bilm.softmax, name) for model in (start.model, base))
        assert torch.equal(now[new.ids(shared).astype(np.int64)], before[old.ids(shared).astype(np.int64)])


def test_made_rows_predict_better_than_random_or_mean_rows_before_any_update(base: Model) -> None:
    corpus = domain(base)
    start = started(base, corpus, new_vocabulary=True)
    assert start.model.vocabulary is not None
    assert base.vocabulary is not None
    made = torch.tensor([word not in base.vocabulary for word in start.model.vocabulary.words])
    rows, biases = (tensor.clone() for tensor in start.model.bilm.softmax.parameters())  # type: ignore[union-attr]
    found = heldout_losses(start.model, corpus).perplexity.mean
    others = {}
    generator = torch.Generator().manual_seed(1)
    for name, row, bias in (
        ("random", torch.randn(rows.shape, generator=generator) * rows.size(1) ** -0.5, torch.zeros(len(rows))),
        ("mean", rows[~made].mean(0).expand_as(rows), biases[~made].mean().expand(len(rows))),
    ):
        model = with_softmax(start, torch.where(made[:, None], row, rows), torch.where(made, bias, biases))
        others[name] = heldout_losses(model, corpus).perplexity.mean
    assert found < 0.97 * min(others.values()), (found, others)


def test_biases_moved_to_the_frequencies_of_another_text_predict_better_still() -> None:
    model = open_model(DATA / "transformer/lstm")
    corpus = common(model)
    start = started(model, corpus, new_vocabulary=True)
    assert start.biases is not None
    before = heldout_losses(start.model, corpus).perplexity.mean
    rows = start.model.bilm.softmax.weight.clone()  # type: ignore[union-attr]
    assert heldout_losses(with_softmax(start, rows, start.biases), corpus).perplexity.mean < before


def test_a_new_softmax_predicts_better_than_frequencies_before_any_update(base: Model) -> None:
    bare = Model(started(base, domain(base)).model.bilm, characters=base.characters)
    bare.bilm.softmax = None
    corpus = domain(base)
    start = started(bare, corpus)
    assert (start.softmax, start.kept, start.biases) == ("new", 0, None)
    found = heldout_losses(start.model, corpus).perplexity.mean
    biases = torch.from_numpy(np.log(corpus.counts[: start.made] + 0.5)).float()
    biases[:2] = math.log(corpus.train.n_sentences / 2)
    frequencies = with_softmax(start, torch.zeros(start.made, 16), biases)
    assert found < 0.5 * heldout_losses(frequencies, corpus).perplexity.mean


def test_words_that_are_all_shared_need_no_rows(base: Model) -> None:
    corpus = Corpus.from_sentences(*parts(0, 180), characters=base.characters)
    start = started(base, corpus, new_vocabulary=True, vocabulary=200)
    assert (start.kept, start.made) == (200, 0)


def test_the_model_that_was_given_stays_as_it_is(base: Model, tmp_path: Path) -> None:
    before = base.hash()
    adapt(base, domain(base, 180, 240), tmp_path / "out", brief(epochs=1), new_vocabulary=True)
    assert base.hash() == before


# --- closed forms, by themselves


def drawn(n: int = 30_000) -> tuple[Contexts, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Contexts of three words that are normal around known means; also shares, means and the covariance."""
    generator = torch.Generator().manual_seed(3)
    shares, means = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([[0.0, 0.0], [1.0, 0.5], [-0.5, 1.0]])
    spread = torch.tensor([[0.8, 0.0], [0.3, 0.5]])
    rows = torch.multinomial(shares, n, replacement=True, generator=generator)
    hidden = means[rows] + torch.randn(n, 2, generator=generator) @ spread.t()
    sums = torch.zeros(3, 2).index_add_(0, rows, hidden)
    second = (hidden.t() @ hidden).double()
    contexts = Contexts(torch.bincount(rows).float(), sums, second, hidden[:3000], rows[:3000])
    return contexts, shares, means, spread @ spread.t()


def test_a_new_softmax_is_bayes_rule_where_contexts_are_normal() -> None:
    contexts, shares, means, covariance = drawn()
    rows, biases = new_softmax(contexts, contexts.counts)
    normal = torch.distributions.MultivariateNormal
    exact = torch.stack(
        [shares[word].log() + normal(means[word], covariance).log_prob(contexts.hidden) for word in range(3)], dim=1
    ).log_softmax(1)
    found = (contexts.hidden @ rows.t() + biases).log_softmax(1)
    assert float((found - exact).abs().max()) < 0.3
    assert float((found - exact).abs().mean()) < 0.03


def test_new_words_join_the_others_as_bayes_rule_has_it() -> None:
    contexts, *_ = drawn()
    rows, biases = new_softmax(contexts, contexts.counts)
    # The first two words are known, with scores that any amount common to both may be added to.
    kept = rows[:2] + torch.tensor([0.4, -0.7]), biases[:2] + 1.5
    made = joined(contexts, contexts.counts, torch.tensor([2]), kept)
    found = torch.cat([contexts.hidden @ kept[0].t() + kept[1], contexts.hidden @ made[0].t() + made[1]], dim=1)
    exact = contexts.hidden @ rows.t() + biases
    assert float((found.softmax(1) - exact.softmax(1)).abs().mean()) < 0.02


def test_biases_move_half_of_the_way() -> None:
    contexts = Contexts(torch.ones(2), torch.zeros(2, 3), torch.zeros(3, 3), torch.randn(10, 3), torch.zeros(10).long())
    counts = torch.tensor([7.5, 1.5])  # with the half that every word is given: shares 0.8 and 0.2
    moved = moved_biases((torch.zeros(2, 3), torch.zeros(2)), contexts, counts)
    assert moved.tolist() == pytest.approx([0.5 * math.log(0.8 / 0.5), 0.5 * math.log(0.2 / 0.5)], abs=1e-6)


def test_without_a_tried_target_among_new_words_their_frequency_decides() -> None:
    contexts, *_ = drawn()
    known = contexts.rows < 2
    contexts = replace(contexts, hidden=contexts.hidden[known][:40], rows=contexts.rows[known][:40])
    kept = tuple(tensor[:2] for tensor in new_softmax(contexts, contexts.counts))
    made = joined(contexts, contexts.counts, torch.tensor([2]), kept)  # type: ignore[arg-type]
    scores = torch.cat([contexts.hidden @ kept[0].t() + kept[1], contexts.hidden @ made[0].t() + made[1]], dim=1)
    assert 0.001 < float(scores.softmax(1)[:, 2].mean()) < 0.2


def test_what_is_read_is_what_training_reads(base: Model) -> None:
    corpus = domain(base)
    rows = np.arange(len(corpus))
    contexts = new_rows.read_contexts(base.bilm, corpus, rows, len(corpus))
    counts = contexts.counts + torch.bincount(contexts.rows, minlength=len(corpus))
    assert counts[3:].int().tolist() == (2 * corpus.counts[3:]).tolist()
    assert counts[:3].int().tolist() == [corpus.train.n_sentences, corpus.train.n_sentences, 0]
    assert 0 < len(contexts.rows) < 0.2 * contexts.counts.sum()


# --- from end to end


def test_a_model_gains_on_the_new_text_and_the_guard_says_what_it_cost(base: Model, tmp_path: Path) -> None:
    corpus, guard = domain(base), parts(0, 180)[1]
    report = adapt(base, corpus, tmp_path / "out", brief(), guard=lambda: guard, guard_limit=1e-3)
    assert report.before is not None
    assert report.after is not None
    assert report.after.perplexity.mean < 0.97 * report.before.perplexity.mean
    assert report.softmax == "kept"
    measured = [evaluate(LanguageModel(model), guard) for model in (base, open_model(tmp_path / "out"))]
    assert report.guard_before is not None
    assert report.guard_before.perplexity.mean == pytest.approx(measured[0].perplexity.mean, rel=1e-5)
    assert report.guard_factor == pytest.approx(measured[1].perplexity.mean / measured[0].perplexity.mean, rel=1e-5)
    assert "the model has forgotten" in report.warnings()[0]
    assert not any("forgotten" in text for text in replace(report, guard_limit=1e3).warnings())
    assert any("gained nothing" in text for text in replace(report, after=report.before).warnings())


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("new_vocabulary", [False, True])
def test_published_models_go_on(name: str, new_vocabulary: bool, tmp_path: Path) -> None:
    model = open_model(DATA / name)
    corpus, heldout = common(model), [*parts(180, 240)[1], COMMON]
    report = adapt(model, corpus, tmp_path / "out", brief(), new_vocabulary=new_vocabulary)
    assert report.softmax == ("new" if model.bilm.softmax is None else "new vocabulary" if new_vocabulary else "kept")
    assert report.before is not None
    assert report.after is not None
    if model.bilm.softmax is not None:  # a few updates cannot better a new one
        assert report.after.perplexity.mean < report.before.perplexity.mean
    # The same figures by another road: sentences of words through `evaluate`, not ids of a corpus.
    again = evaluate(LanguageModel(open_model(tmp_path / "out")), heldout)
    assert again.perplexity.mean == pytest.approx(report.after.perplexity.mean, rel=1e-4)
    if report.softmax == "kept":
        first = evaluate(LanguageModel(model), heldout)
        assert first.perplexity.mean == pytest.approx(report.before.perplexity.mean, rel=1e-4)


def test_a_stopped_run_goes_on_to_the_same_end(base: Model, tmp_path: Path) -> None:
    corpus, asked = domain(base, 180, 260), iter(range(1000))
    whole = adapt(base, corpus, tmp_path / "whole", brief(), new_vocabulary=True)
    stopped = adapt(
        base, corpus, tmp_path / "out", brief(), new_vocabulary=True, should_stop=lambda: next(asked) == 3
    )  # fmt: skip
    assert stopped.training.stopped
    assert (stopped.after, stopped.guard_factor) == (None, None)
    resumed = adapt(base, corpus, tmp_path / "out", brief(), new_vocabulary=True, resume=True)
    assert resumed.after == whole.after
    with pytest.raises(ResumeError):
        adapt(base, corpus, tmp_path / "out", brief(learning_rate=0.5), new_vocabulary=True, resume=True)


def test_the_card_and_the_text_are_those_of_the_new_model(base: Model, tmp_path: Path) -> None:
    corpus = domain(base, 180, 260)
    adapt(base, corpus, tmp_path / "out", brief(), card=ModelCard(name="out", data="a; then b"))
    model = open_model(tmp_path / "out")
    assert (model.card.name, model.card.data, model.text) == ("out", "a; then b", corpus.text)
    assert model.settled is not None


def test_a_vocabulary_in_another_order_scores_as_it_did() -> None:
    model = open_model(DATA / "transformer/after_cnn")
    corpus = Corpus.from_sentences([["The", "bank"], ["sat"]] * 9, [["The", "bank", "raised", "zzz"]])
    found = heldout_losses(started(model, corpus).model, corpus)
    measured = evaluate(LanguageModel(model), [["The", "bank", "raised", "zzz"]])
    assert found.perplexity.mean == pytest.approx(measured.perplexity.mean, rel=1e-5)
    assert found.targets == 5


def test_gentle_means_a_tenth_of_the_rate_and_lanes_by_the_length_of_the_text() -> None:
    def lanes(targets: int) -> int:
        return gentle(SimpleNamespace(train=SimpleNamespace(n_targets=targets))).lanes  # type: ignore[arg-type]

    assert [lanes(targets) for targets in (1000, 100_000, 10_000_000)] == [8, 25, 128]
    corpus = SimpleNamespace(train=SimpleNamespace(n_targets=1000))
    assert gentle(corpus).learning_rate == TrainConfig().learning_rate / 10  # type: ignore[arg-type]


# --- refusals


@pytest.mark.parametrize("name", ["allennlp-token/trained", "many_langs/words", "many_langs/words_and_chars"])
def test_a_table_of_words_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedModelError, match="looks words up in a table"):
        started(open_model(DATA / name), alice.corpus())


def test_a_corpus_of_other_characters_is_refused(base: Model) -> None:
    with pytest.raises(OptionError, match="UTF-8 bytes, 16 a word, the model reads UTF-8 bytes, 50 a word"):
        started(base, alice.corpus())


def test_a_size_without_a_new_vocabulary_is_refused(base: Model) -> None:
    with pytest.raises(OptionError, match="keeps its own words"):
        started(base, domain(base), vocabulary=100)


def test_a_vocabulary_without_unknown_is_refused_unless_it_is_replaced(base: Model) -> None:
    assert base.vocabulary is not None
    words = tuple("<ELSE>" if word == "<UNK>" else word for word in base.vocabulary.words)
    model = replace(base, vocabulary=Vocabulary(words))
    with pytest.raises(UnsupportedModelError, match="--new-vocabulary"):
        started(model, domain(base))
    assert started(model, domain(base), new_vocabulary=True).made


def test_a_text_in_another_language_shares_no_words(base: Model) -> None:
    corpus = Corpus.from_sentences([["我们", "去", "银行"]] * 9, [["我们"]])
    with pytest.raises(UnsupportedModelError, match="in the model's language"):
        started(base, corpus, new_vocabulary=True)


def test_a_limit_must_be_a_factor(base: Model, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="guard"):
        adapt(base, domain(base), tmp_path / "out", guard_limit=0)


# --- prepare, for a given model


@pytest.mark.parametrize("name", ["many_langs/chars", "tensorflow/plain"])
def test_text_is_prepared_with_the_characters_of_a_model(name: str, tmp_path: Path) -> None:
    characters = open_model(DATA / name).characters
    assert characters is not None
    (tmp_path / "text.txt").write_text("The bank raised its rates. We sat on the bank.\n" * 9, encoding="utf-8")
    options = PrepareOptions(language="en", heldout=0.2)
    report = prepare([tmp_path / "text.txt"], tmp_path / "corpus", options, characters=characters)
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.characters == characters
    assert np.array_equal(corpus.character_rows[:2], characters.encode(characters.boundaries))
    assert np.array_equal(corpus.character_rows[3:], characters.encode(list(corpus.words)[3:]))
    assert report.alphabet.startswith("the model's own")
    with pytest.raises(ResumeError):
        prepare([tmp_path / "text.txt"], tmp_path / "corpus", options, resume=True)


def test_words_that_a_models_rows_cut_are_told_of(tmp_path: Path) -> None:
    characters = open_model(DATA / "tensorflow/plain").characters
    (tmp_path / "text.txt").write_text("a counterrevolutionarily b\n" * 9, encoding="utf-8")
    report = prepare(
        [tmp_path / "text.txt"], tmp_path / "corpus", PrepareOptions(tokenized=True, heldout=0.2), characters=characters
    )
    assert any("the 20 characters of a row" in text and "train one" in text for text in report.warnings)
