"""Evaluation and scores against bilm-tf's softmax and AllenNLP's losses, and against the plain network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_oracle import KINDS, log_distributions, log_probabilities, tiny_language_model
from tiny import DATA, WORDS

from polyseme.errors import InputError, OptionError, TooLongError, UnsupportedModelError
from polyseme.formats.folder import open_model
from polyseme.lm.network import LanguageModel, load
from polyseme.lm.perplexity import evaluate
from polyseme.lm.score import score
from polyseme.settle import settled_states

READY = {kind: LanguageModel(tiny_language_model(kind), threads=2) for kind in KINDS}
SENTENCES = [["The", "bank"], [], ["raised", "never-seen", "its", "rates", "."], ["river"]]
words = st.sampled_from([*WORDS[3:], "unseen"])


def expected_of(folder: Path) -> tuple[list[list[str]], dict[str, npt.NDArray[np.float32]]]:
    about = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    with np.load(folder / "expected.npz") as arrays:
        return about["sentences"], dict(arrays)


@pytest.mark.parametrize("name", ["highway", "plain"])
def test_scores_are_those_of_the_softmax_that_bilm_tf_computed(name: str) -> None:
    folder = DATA / "tensorflow" / name
    sentences, stored = expected_of(folder)
    lm = load(folder, threads=1)
    log_p = {
        key: torch.log_softmax(torch.from_numpy(stored[f"logits_{key}"]), dim=1) for key in ("forward", "backward")
    }
    at = 0
    for sentence, found in zip(sentences, score(lm, sentences, state="zero"), strict=True):
        rows, places = lm.rows(["<S>", *sentence, "</S>"]), np.arange(at, at + len(sentence) + 1)
        forward = log_p["forward"][places, rows[1:]].numpy()
        backward = log_p["backward"][places, rows[:-1][::-1].copy()].numpy()[::-1]
        assert np.abs(found.forward - forward).max() <= 1e-5
        assert np.abs(found.backward - backward).max() <= 1e-5
        at += len(sentence) + 1


@pytest.mark.parametrize("name", ["after_cnn", "after_highway", "unprojected", "lstm"])
def test_losses_are_those_that_allennlp_reports(name: str) -> None:
    folder = DATA / "transformer" / name
    sentences, stored = expected_of(folder)
    lm = load(folder, threads=1)
    state = "zero" if name == "lstm" else None
    losses = [(-s.forward.mean(), -s.backward.mean()) for s in score(lm, sentences, state=state)]
    assert np.abs(np.asarray(losses) - stored["loss"]).max() <= 1e-5
    report = evaluate(lm, sentences, state=state)
    n = np.asarray([len(sentence) + 1 for sentence in sentences])
    assert report.perplexity.forward == pytest.approx(
        float(np.exp((stored["loss"][:, 0] * n).sum() / n.sum())), rel=1e-5
    )
    assert report.targets == n.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_the_probabilities_of_all_words_sum_to_one_and_scores_are_among_them(kind: str) -> None:
    lm = READY[kind]
    state = None if kind == "transformer" else "zero"
    for sentence, found in zip(SENTENCES, score(lm, SENTENCES, state=state), strict=True):
        expected, _ = log_distributions(lm.model, sentence)
        rows = lm.rows(["<S>", *sentence, "</S>"])
        for hidden, log_p, values, own in zip(
            lm.hidden(sentence, state), expected, (found.forward, found.backward), (rows[1:], rows[:-1]), strict=True
        ):
            whole = lm.log_probabilities(hidden).numpy()
            assert np.abs(np.exp(whole).sum(axis=1) - 1).max() < 1e-12
            assert np.abs(whole - log_p).max() < 1e-5
            assert np.abs(whole[np.arange(len(own)), own] - values).max() < 1e-5


def test_a_sentence_starts_settled_by_default() -> None:
    lm = READY["characters"]
    states, _ = settled_states(lm.model)
    for sentence, found in zip(SENTENCES, score(lm, SENTENCES), strict=True):
        (forward, backward), _ = log_probabilities(lm.model, sentence, states)
        assert np.abs(found.forward - forward).max() < 1e-5
        assert np.abs(found.backward - backward).max() < 1e-5
        assert found.total_forward == pytest.approx(forward.sum(), abs=1e-4)
        assert found.total_backward == pytest.approx(backward.sum(), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_a_direction_has_not_read_does_not_change_its_score(kind: str, data: st.DataObject) -> None:
    sentence = data.draw(st.lists(words, min_size=1, max_size=7))
    place = data.draw(st.integers(0, len(sentence) - 1))
    other = data.draw(words)
    changed = [*sentence[:place], other, *sentence[place + 1 :]]
    before, after = score(READY[kind], [sentence, changed])
    assert np.abs(before.forward[:place] - after.forward[:place]).max(initial=0) < 1e-6
    assert np.abs(before.backward[place + 2 :] - after.backward[place + 2 :]).max(initial=0) < 1e-6


@settings(max_examples=20, deadline=None)
@given(others=st.lists(st.lists(words, max_size=9), max_size=6), kind=st.sampled_from(sorted(KINDS)))
def test_a_score_does_not_depend_on_the_other_sentences(others: list[list[str]], kind: str) -> None:
    sentence = ["The", "unseen", "bank", "."]
    (alone,) = score(READY[kind], [sentence])
    *_, crowded = score(READY[kind], [*others, sentence])
    assert np.abs(alone.forward - crowded.forward).max() < 1e-5
    assert np.abs(alone.backward - crowded.backward).max() < 1e-5


def test_words_outside_the_vocabulary_are_scored_as_unknown_and_read_as_they_are() -> None:
    lm = READY["characters"]
    named, other = score(lm, [["The", "zyx", "."], ["The", "abc", "."]])
    assert named.known.tolist() == [True, False, True]
    assert named.forward[1] == pytest.approx(other.forward[1], abs=1e-6)
    assert abs(named.forward[2] - other.forward[2]) > 1e-3
    report = evaluate(lm, [["The", "zyx", "."], ["<UNK>"], ["x" * 60]])
    assert (report.tokens, report.unknown_words, report.cut_words) == (5, 3, 1)
    assert report.unknown_share == 0.6
    assert [warning.split("%")[0] for warning in report.warnings()] == ["60", "20"]


def test_progress_and_counts() -> None:
    seen: list[int] = []
    report = evaluate(READY["characters"], iter(SENTENCES), block_tokens=5, progress=seen.append)
    assert seen == [2, 7, 8]
    assert (report.sentences, report.tokens, report.targets, report.vocabulary) == (4, 8, 12, len(WORDS))
    assert (report.state, report.lanes) == ("carry", 1)
    assert evaluate(READY["transformer"], SENTENCES).state == "none"


def test_options_that_do_not_fit_are_refused() -> None:
    lstm, transformer = READY["characters"], READY["transformer"]
    for lm, options, finding in [
        (lstm, {"state": "sometimes"}, "carry, settled, zero"),
        (lstm, {"lanes": 0}, "lanes"),
        (lstm, {"lanes": 2, "state": "zero"}, "only a carried state"),
        (transformer, {"state": "carry"}, "Transformer"),
        (transformer, {"state": "zero"}, "Transformer"),
        (transformer, {"lanes": 2}, "only a carried state"),
    ]:
        with pytest.raises(OptionError, match=finding):
            evaluate(lm, SENTENCES, **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="list of words"):
        evaluate(lstm, ["a sentence"])
    with pytest.raises(InputError, match="word 2 of a sentence is empty"):
        list(score(lstm, [["a", ""]]))
    with pytest.raises(OptionError, match="settled or zero"):
        list(score(lstm, SENTENCES, state="carry"))
    with pytest.raises(TooLongError, match="reads 40 at most"):
        list(score(transformer, [["a"] * 39]))
    for lm in (lstm, transformer):
        with pytest.raises(InputError, match="no sentence"):
            evaluate(lm, [])
        assert list(score(lm, [])) == []


def test_models_that_cannot_predict_say_so() -> None:
    with pytest.raises(UnsupportedModelError, match=r"no softmax.*checkpoint"):
        load(DATA / "allennlp-char" / "highway2")
    model = open_model(DATA / "tensorflow" / "highway")
    nameless = type(model)(model.bilm, characters=model.characters)
    with pytest.raises(UnsupportedModelError, match=r"no list of words.*vocab\.txt"):
        LanguageModel(nameless)
    with pytest.raises(OptionError, match="cannot be used here"):
        LanguageModel(model, device="abacus")
