"""What a run does from its beginning to its end: it learns, counts exactly, and writes down what it did."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import alice
import numpy as np
import pytest
import torch
from alice import SIZES, brief, corpus, events
from safetensors.torch import load_file

import polyseme
from polyseme.bilm import BiLMConfig
from polyseme.errors import InputError, OptionError
from polyseme.formats.folder import open_model
from polyseme.formats.model import ModelCard
from polyseme.lm.losses import evaluate_ids
from polyseme.lm.network import LanguageModel
from polyseme.lm.perplexity import evaluate
from polyseme.nn.transformer import TransformerConfig
from polyseme.text.chars import Characters
from polyseme.text.config import TextConfig
from polyseme.text.shards import Corpus
from polyseme.train import Run, train
from polyseme.training import checkpoint, plan
from polyseme.training.config import RECIPES, TrainConfig
from polyseme.training.network import Dropout, TypeRows
from polyseme.training.start import new_bilm
from polyseme.training.validate import LANES, HeldOut, encode_all, nearest_contexts

SHORT = brief(epochs=1)


def heldout_words(text: Corpus) -> list[list[str]]:
    part = text.heldout
    return [[text.word(int(id)) for id in part.sentence(index)] for index in range(part.n_sentences)]


def losses(folder: Path) -> list[float]:
    """The mean loss of each line of the log, both directions."""
    found = [e["perplexity"] for e in events(folder) if e["event"] == "train"]
    return [float(np.log([p["forward"], p["backward"]]).mean()) for p in found]


# --- it learns


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "config"),
    [
        (
            replace(alice.LSTM, cell_size=192, projection_size=64),
            brief(epochs=28, lanes=8, warm_up=10, weight_decay=0.0, log_every=500, checkpoint_every=500),
        ),
        (
            replace(alice.TRANSFORMER, projection_size=64, transformer=TransformerConfig(128, 4, 40)),
            brief(epochs=40, lanes=8, warm_up=10, learning_rate=5e-3, weight_decay=0.0, log_every=900),
        ),
    ],
    ids=["lstm", "transformer"],
)
def test_two_hundred_real_sentences_are_learned_by_heart(
    sizes: BiLMConfig, config: TrainConfig, tmp_path: Path
) -> None:
    chosen = [sentence for sentence in alice.sentences() if len(sentence) <= 24][:200]
    # What is held out is part of what is learned, so that the network at the end is the best one.
    text = Corpus.from_sentences(chosen, chosen[:20], Characters(max_characters=16))
    train(text, tmp_path, sizes, config)
    report = evaluate(LanguageModel(open_model(tmp_path)), chosen)
    assert report.targets == sum(map(len, chosen)) + 200 == text.train.n_targets
    assert 1.0 < report.perplexity.forward < 2.0
    assert 1.0 < report.perplexity.backward < 2.0


@pytest.mark.parametrize("recipe", ["lstm", "lstm, bfloat16", "transformer", "transformer, bfloat16", "published"])
def test_the_loss_falls(recipe: str, tmp_path: Path) -> None:
    kind, _, precision = recipe.partition(", ")
    config = brief(precision=precision or "float32", learning_rate=0.03)
    if kind == "published":
        same = {name: getattr(config, name) for name in ("epochs", "lanes", "steps", "log_every")}
        kind, config = "lstm", replace(RECIPES["published"], samples=60, **same)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(corpus(), tmp_path, SIZES[kind], config)
    found = losses(tmp_path)
    assert np.mean(found[-4:]) < np.mean(found[:4]) - 0.25
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.pop("vocabulary.counts").dtype == torch.int64
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


def test_bfloat16_products_come_near_to_float32(tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        train(corpus(), tmp_path / precision, alice.LSTM, replace(SHORT, precision=precision))
    exact, rounded = losses(tmp_path / "float32"), losses(tmp_path / "bfloat16")
    assert exact != rounded
    assert np.abs(np.subtract(exact, rounded)).max() < 0.02


@pytest.mark.parametrize(("samples", "parts"), [(0, 2), (60, 3)])
def test_an_update_in_parts_is_the_update_as_a_whole(samples: int, parts: int, tmp_path: Path) -> None:
    config = replace(SHORT, loss="sampled", samples=samples) if samples else SHORT
    for number in (1, parts):
        train(corpus(), tmp_path / str(number), alice.LSTM, replace(config, accumulate=number))
    assert np.abs(np.subtract(losses(tmp_path / "1"), losses(tmp_path / str(parts)))).max() <= 1e-6
    left, right = (load_file(tmp_path / str(n) / "model.safetensors") for n in (1, parts))
    apart = max(float((left[name] - right[name]).abs().max()) for name in left if not name.startswith("settled"))
    assert apart <= 1e-5


# --- it counts


@pytest.mark.parametrize("kind", SIZES)
def test_the_final_perplexity_is_what_evaluate_says(kind: str, tmp_path: Path) -> None:
    text = corpus()
    report = train(text, tmp_path, SIZES[kind], SHORT, card=ModelCard(name="alice", data="Carroll 1865"))
    model = open_model(tmp_path)
    found = evaluate(LanguageModel(model), heldout_words(text))
    assert report.losses is not None
    assert found.targets == report.losses.targets == text.heldout.n_targets
    exact = asdict(found.perplexity)
    assert asdict(report.losses.perplexity) == pytest.approx(exact, rel=1e-6)
    end = events(tmp_path)[-1]
    assert (end["event"], end["heldout_targets"]) == ("end", found.targets)
    assert end["heldout"] == pytest.approx(exact, rel=1e-6)
    assert model.card == ModelCard(
        name="alice", data="Carroll 1865", source_format="polyseme",
        perplexity="forward {forward:.2f}, backward {backward:.2f}, mean {mean:.2f} ".format(**exact)
        + f"(held-out text, {found.targets:,} targets)",
    )  # fmt: skip
    embedder = polyseme.load(tmp_path)
    (embedding,) = embedder.embed([["Alice", "was", "beginning"]])
    assert embedding.layers.shape == (3, 3, 16)
    assert np.isfinite(embedding.layers).all()


def test_an_epoch_scores_every_target_once(tmp_path: Path) -> None:
    text = corpus()
    report = train(text, tmp_path / "lstm", alice.LSTM, brief(epochs=3))
    assert report.targets == 3 * text.train.n_targets
    log = [e for e in events(tmp_path / "lstm") if e["event"] == "train"]
    assert [e["update"] for e in log] == list(range(1, report.updates + 1))
    assert {e["of"] for e in log} == {report.updates}
    epochs = [e["epoch"] for e in log]
    assert [epochs.count(epoch) for epoch in (0, 1, 2)] == [12, 12, 12] or len(set(map(epochs.count, epochs))) > 1
    assert log[-1]["rate"] < 0.01 * max(e["rate"] for e in log)  # the cosine ends where the run does


def test_runs_of_one_seed_are_equal_and_of_another_are_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(corpus(), tmp_path / name, alice.LSTM, replace(SHORT, dropout=alice.DROPOUT, seed=seed))
    assert alice.differences(tmp_path / "a", tmp_path / "b") == {}
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


def test_a_trial_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "TRIAL_SECONDS", 0.2)
    text, config = corpus(), replace(SHORT, dropout=alice.DROPOUT)
    train(text, tmp_path / "without", alice.LSTM, config)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    found = plan.plan(text, "tiny", alice.LSTM, config, text.vocabulary(text.usual_size))
    assert torch.rand(2).equal(expected)
    train(text, tmp_path / "with", alice.LSTM, config)
    assert events(tmp_path / "with") == events(tmp_path / "without")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["with", "without"]
    assert found.updates == events(tmp_path / "with")[0]["of"]
    assert (found.words, found.targets) == (text.train.n_words, text.train.n_targets)
    assert found.seconds == pytest.approx(found.targets / found.targets_per_second)
    stored = load_file(tmp_path / "with" / "model.safetensors")
    n_weights = sum(tensor.numel() for name, tensor in stored.items() if not name.startswith(("settled", "vocab")))
    assert found.parameters == n_weights


# --- it writes down


def test_the_folder_of_a_run(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    train(corpus(), tmp_path, alice.LSTM, replace(SHORT, validate_every=5), on_event=told.append)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoints", "config.json", "curve.html", "log.jsonl", "model.safetensors", "vocab.txt"]
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert logged == told
    found = [e for e in told if e["event"] == "validation"]
    assert [e["update"] for e in found] == [5, 10, 12]
    assert all(len(e["contexts"]) in (0, 2) for e in found)
    assert found[-1]["heldout_targets"] == corpus().heldout.n_targets
    train_lines = [e for e in told if e["event"] == "train"]
    assert all(e["loss"] == "full" and e["targets_per_second"] > 0 for e in train_lines)
    assert [e["seconds"] for e in train_lines] == sorted(e["seconds"] for e in train_lines)


def test_the_best_network_is_in_the_folder_not_the_last(tmp_path: Path) -> None:
    config = brief(epochs=5, lanes=3, learning_rate=0.03, validate_every=6, schedule="constant")
    text = corpus(train=10)  # so little that it is soon learned too well
    report = train(text, tmp_path, alice.LSTM, config)
    found = [e for e in events(tmp_path) if e["event"] == "validation"]
    best = min(found, key=lambda e: float(e["heldout"]["mean"]))
    assert best["update"] < found[-1]["update"]
    assert events(tmp_path)[-1]["best_update"] == best["update"]
    assert report.losses is not None
    assert report.losses.perplexity.mean == pytest.approx(best["heldout"]["mean"], rel=0.02)  # 8 lanes there, one here


def test_what_was_done_to_the_text_is_part_of_the_model(tmp_path: Path) -> None:
    plain = corpus()
    text = Corpus.from_sentences(
        alice.sentences()[:20], alice.sentences()[-5:], Characters(max_characters=16),
        TextConfig(tokenizer="ptb", languages=("en",), lowercase=True, remove_stop_words=True, stem=True),
    )  # fmt: skip
    train(text, tmp_path, alice.LSTM, SHORT)
    (embedding,) = polyseme.load(tmp_path).embed_text("The Rabbits were running.")
    assert embedding.tokens == ("rabbit", "run", ".")
    assert plain.text != text.text


# --- validation


def test_a_validation_reads_whole_sentences_from_all_over_the_held_out_text() -> None:
    text = corpus(heldout=200)
    part, rows = text.heldout, np.arange(len(text))
    sentences = [tuple(part.sentence(at)) for at in range(part.n_sentences)]
    lengths = np.diff(part.starts)
    for words in (1, 50, 400, 1500, part.n_words - 1):
        held = HeldOut.of(part, rows, words)
        read = [tuple(held.types[held.part.sentence(at)]) for at in range(held.part.n_sentences)]
        places = [at for at, sentence in enumerate(sentences) if sentence in set(read)]
        assert read == [sentences[at] for at in places]  # in the text's order; no two of Alice's are the same
        assert abs(held.part.n_words - words) <= LANES * lengths.max()
        if words >= 400:
            assert {int(part.starts[at]) * LANES // part.n_words for at in places} == set(range(LANES))
    whole = HeldOut.of(part, rows, part.n_words)
    assert (whole.part.n_targets, whole.part.n_sentences) == (part.n_targets, part.n_sentences)


def test_empty_sentences_at_the_end_are_targets_too(tmp_path: Path) -> None:
    """WikiText's empty lines are sentences of no words."""
    words = [*alice.sentences()[-3:], (), ()]
    text = Corpus.from_sentences([*alice.sentences()[:9], ()], words, Characters(max_characters=16))
    report = train(text, tmp_path, alice.LSTM, SHORT)
    found = evaluate(LanguageModel(open_model(tmp_path)), words)
    assert report.losses is not None
    assert report.losses.targets == found.targets == sum(map(len, words)) + 5
    assert asdict(report.losses.perplexity) == pytest.approx(asdict(found.perplexity), rel=1e-6)


@pytest.mark.parametrize("kind", SIZES)
def test_a_validation_is_the_exact_loss_of_the_weights_as_they_are(kind: str) -> None:
    text = corpus()
    run = Run(text, Path(), SIZES[kind], replace(SHORT, dropout=alice.DROPOUT))
    bilm = run.bilm
    before = {name: tensor.clone() for name, tensor in bilm.state_dict().items()}
    found = run.heldout.losses(bilm, run.rows, lanes=1)
    assert bilm.training
    assert all(tensor.equal(before[name]) for name, tensor in bilm.state_dict().items())
    with torch.no_grad():
        vectors = encode_all(bilm.eval(), run.rows, np.arange(len(text), dtype=np.int64))
    part = text.heldout
    again = evaluate_ids(bilm, vectors, np.asarray(part.ids), np.asarray(part.starts), run.softmax_rows)
    assert (again.forward, again.backward) == pytest.approx((found.forward, found.backward), rel=1e-6)


def test_the_nearest_contexts_are_two_places_of_one_word() -> None:
    text = corpus(train=20, heldout=60)
    bilm = new_bilm(replace(alice.LSTM, char_cnn=replace(alice.CNN, max_characters=16)), 1)
    rows = TypeRows(text.character_rows, text.characters.padding)
    found = nearest_contexts(bilm, rows, text)
    assert len(found) == 2
    assert found[0] != found[1]
    lines = [" ".join(words) for words in heldout_words(text)]
    marked = []
    for place in found:
        (word,) = [each[1:-1] for each in place.split() if each.startswith("[")]
        marked.append(word)
        assert any(place.replace(f"[{word}]", word) in line for line in lines)
        assert len(place.split()) <= 9
    assert marked[0] == marked[1]
    assert len(marked[0]) > 3


def test_no_word_twice_is_no_pair() -> None:
    bilm = new_bilm(replace(alice.LSTM, char_cnn=replace(alice.CNN, max_characters=16)), 1)
    for words in ([["rabbit", "hole"], ["a", "a", "a"]], [["mouse", "mouse"]], [["x"], []]):
        text = Corpus.from_sentences([["a", "b"]], words, Characters(max_characters=16))
        rows = TypeRows(text.character_rows, text.characters.padding)
        assert nearest_contexts(bilm, rows, text) == []  # "mouse" comes twice, but in one sentence


def test_sentences_beyond_a_transformers_context_are_read_in_pieces(tmp_path: Path) -> None:
    long = [word for sentence in alice.sentences()[:6] for word in sentence]
    assert len(long) > 150
    text = Corpus.from_sentences([long, *alice.sentences()[:12]], [long[:90], ["Alice"]], Characters(max_characters=16))
    assert plan.plan(text, "t", alice.TRANSFORMER, SHORT, text.vocabulary()).long_sentences >= 2
    report = train(text, tmp_path, alice.TRANSFORMER, SHORT)
    assert report.losses is not None
    assert report.losses.targets == 91 + 3 + 1  # three pieces of 38, 38 and 14 words, and "Alice"


# --- any size


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_more_lanes_than_sentences(kind: str, n: int, tmp_path: Path) -> None:
    text = Corpus.from_sentences(alice.sentences()[3 : 3 + n], [["Alice"]], Characters(max_characters=16))
    report = train(text, tmp_path, SIZES[kind], brief(lanes=64))
    assert report.updates >= 2
    assert report.losses is not None
    assert report.losses.targets == 2


@pytest.mark.parametrize(
    "sizes", [BiLMConfig(projection_size=8, cell_size=16, char_cnn=alice.CNN, softmax_size=7), alice.LSTM]
)
def test_an_architecture_is_fitted_to_the_text(sizes: BiLMConfig, tmp_path: Path) -> None:
    text = corpus()
    train(text, tmp_path, sizes, SHORT, vocabulary=50)
    model = open_model(tmp_path)
    assert model.bilm.config.softmax_size == 50 == len(model.vocabulary or ())
    # How often each word came; the last ones of the vocabulary are the rarest that it knows.
    assert model.counts is not None
    assert model.counts[3:].tolist() == [text.counts[text.words.index(word)] for word in model.vocabulary.words[3:]]
    assert model.counts.sum() == text.train.n_words
    assert model.characters == text.characters
    assert model.bilm.config.char_cnn is not None
    assert model.bilm.config.char_cnn.max_characters == 16


# --- what cannot be


def test_what_cannot_be_trained_is_one_error(tmp_path: Path) -> None:
    sentences = alice.sentences()[:5]
    with pytest.raises(InputError, match=r"no held-out text.*prepare it again"):
        train(Corpus.from_sentences(sentences), tmp_path, alice.LSTM, SHORT)
    with pytest.raises(OptionError, match=r"the preset must be one of tiny, small, .*, was: 'huge'"):
        train(corpus(), tmp_path, "huge", SHORT)
    table = BiLMConfig(encoder="word", char_cnn=None, n_words=9, word_size=4)
    with pytest.raises(OptionError, match="reads characters alone"):
        train(corpus(), tmp_path, table, SHORT)
    with pytest.raises(OptionError, match="more than half"):
        train(corpus(), tmp_path, alice.LSTM, replace(SHORT, loss="sampled"))
    with pytest.raises(OptionError, match="cannot be shared"):
        train(corpus(train=2), tmp_path, alice.LSTM, replace(SHORT, accumulate=3))
    with pytest.raises(OptionError, match="device"):
        train(corpus(), tmp_path, alice.LSTM, SHORT, device="abacus")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, was: 0"),
        ({"patience": -1}, "patience must be 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"learning_rate": float("inf")}, "learning_rate must be"),
        ({"weight_decay": float("nan")}, "weight_decay must be"),
        ({"clip_norm": -1.0}, "clip_norm must be above 0"),
        ({"validation_words": 0}, "validation_words must be at least 1"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"initial_accumulator": -1.0}, "initial_accumulator"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16, was: 'float16'"),
        ({"optimizer": "sgd"}, "optimizer must be one of"),
        ({"lanes": 2, "accumulate": 3}, "2 lanes cannot be computed in 3 parts"),
        ({"dropout": Dropout(inputs=1.5)}, r"share from 0 to below 1, was: 1\.5 of inputs"),
        ({"dropout": Dropout(state_weights=-0.1)}, r"was: -0\.1 of state_weights"),
    ],
)
def test_settings_out_of_range_are_refused_by_value(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TrainConfig(**setting)


def test_checkpoints_hold_all_and_nothing_is_pickled(tmp_path: Path) -> None:
    train(corpus(), tmp_path, alice.LSTM, replace(SHORT, loss="sampled", samples=60))
    names = set(load_file(checkpoint.found(tmp_path)[-1]))
    assert {name.split(".")[0] for name in names} == {"network", "optimizer"}  # at the end of an epoch no state is left
    n_weights = len([name for name in names if name.startswith("network.")])
    moments = [name for name in names if name.endswith(("exp_avg", "exp_avg_sq"))]
    assert len(moments) == 2 * n_weights
