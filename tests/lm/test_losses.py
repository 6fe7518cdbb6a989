"""Streams, lanes and windows against the plain network, sentence by sentence."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_oracle import KINDS, carried, log_probabilities, tiny_language_model
from tiny import WORDS, random_model

from polyseme.errors import DamagedModelError, OptionError, UnsupportedModelError
from polyseme.lm import losses as library
from polyseme.lm.losses import Directions, LossSums, evaluate_ids
from polyseme.lm.network import LanguageModel
from polyseme.lm.perplexity import evaluate
from polyseme.nn.workers import Workers
from polyseme.text.streams import Lanes, Stream

MODELS = {kind: tiny_language_model(kind) for kind in KINDS}
READY = {kind: LanguageModel(model, threads=2) for kind, model in MODELS.items()}
SENTENCES = [["The", "bank"], [], ["river"] * 9, ["raised", "never-seen", "its", "rates", "."], ["."]]

words = st.sampled_from([*WORDS[3:], "unseen"])
texts = st.lists(st.lists(words, max_size=7), min_size=1, max_size=8)


def total(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    return -sum(float(f.sum()) for f, _ in pairs), -sum(float(b.sum()) for _, b in pairs)


@settings(max_examples=30, deadline=None)
@given(text=texts, block=st.integers(1, 30), window=st.integers(1, 12))
def test_a_carried_state_goes_on_across_blocks_and_windows_of_any_size(
    text: list[list[str]], block: int, window: int
) -> None:
    before, library.WINDOW_TOKENS = library.WINDOW_TOKENS, window
    try:
        report = evaluate(READY["characters"], text, block_tokens=block)
    finally:
        library.WINDOW_TOKENS = before
    expected = total(carried(MODELS["characters"], text))
    assert report.targets == sum(map(len, text)) + len(text)
    assert (report.losses.forward, report.losses.backward) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(text=texts, lanes=st.integers(1, 10), window=st.integers(1, 12))
def test_each_lane_is_a_text_of_its_own(text: list[list[str]], lanes: int, window: int) -> None:
    before, library.WINDOW_TOKENS = library.WINDOW_TOKENS, window
    try:
        report = evaluate(READY["characters"], text, lanes=lanes)
    finally:
        library.WINDOW_TOKENS = before
    starts = np.concatenate([[0], np.cumsum([len(sentence) for sentence in text])])
    stream = Stream(np.zeros(starts[-1], dtype=np.int64), starts)
    cuts = [*stream.sentence_at(Lanes.cut(stream, lanes).begins).tolist(), len(text)]
    pieces = [text[a:b] for a, b in pairwise(cuts)]
    expected = total([pair for piece in pieces for pair in carried(MODELS["characters"], piece)])
    assert (report.losses.forward, report.losses.backward) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [1, 5, 4096])
def test_sentences_by_themselves_equal_the_plain_network(
    kind: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "WINDOW_TOKENS", window)
    state = None if kind == "transformer" else "zero"
    report = evaluate(READY[kind], SENTENCES, state=state)
    expected = total([log_probabilities(MODELS[kind], sentence)[0] for sentence in SENTENCES])
    assert (report.losses.forward, report.losses.backward) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    report = evaluate(LanguageModel(MODELS["characters"], threads=threads), SENTENCES, state="zero")
    assert report.losses == evaluate(READY["characters"], SENTENCES, state="zero").losses


@pytest.mark.parametrize("kind", KINDS)
def test_the_trainer_evaluates_ids_to_the_same_sums(kind: str) -> None:
    model, lm = MODELS[kind], READY[kind]
    types = [*WORDS, "never-seen"]  # a corpus's types begin with <S>, </S>, <UNK>, as WORDS does
    ids = np.asarray([types.index(word) for sentence in SENTENCES for word in sentence], dtype=np.uint32)
    starts = np.concatenate([[0], np.cumsum([len(sentence) for sentence in SENTENCES])]).astype(np.int64)
    rows = np.where(np.arange(len(types)) < len(WORDS), np.arange(len(types)), 2)
    model.bilm.train()
    found = evaluate_ids(model.bilm, lm.vectors(types), ids, starts, rows, threads=2)
    assert model.bilm.training
    model.bilm.eval()
    assert found == evaluate(lm, SENTENCES).losses
    alone = evaluate_ids(model.bilm, lm.vectors(types), ids, starts, rows, carry=False)
    assert alone == evaluate(lm, SENTENCES, state=None if kind == "transformer" else "zero").losses
    if kind == "transformer":
        with pytest.raises(OptionError, match="no state"):
            evaluate_ids(model.bilm, lm.vectors(types), ids, starts, rows, carry=True)


def test_dropout_is_off_while_the_trainer_evaluates() -> None:
    model = random_model(softmax=True, dropout=0.5, **KINDS["transformer"])
    table, rows = torch.randn(10, 6), np.arange(10)
    ids, starts = np.asarray([3, 4, 5]), np.asarray([0, 3])
    model.bilm.train()
    first, again = (evaluate_ids(model.bilm, table, ids, starts, rows) for _ in range(2))
    assert first == again


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary() -> None:
    model = tiny_language_model()
    assert model.bilm.softmax is not None
    model.bilm.softmax.weight.zero_()
    model.bilm.softmax.bias.fill_(3.0)
    found = evaluate(LanguageModel(model), SENTENCES).perplexity
    assert found.forward == found.backward == found.mean == pytest.approx(len(WORDS), rel=1e-6)


def test_the_mean_is_that_of_the_cross_entropies() -> None:
    found = LossSums(forward=2 * math.log(8), backward=2 * math.log(2), targets=2).perplexity
    assert (found.forward, found.backward, found.mean) == pytest.approx((8, 2, 4))
    assert LossSums(1e9, 0.0, 1).perplexity.forward == math.inf
    with pytest.raises(OptionError, match="no targets"):
        LossSums().perplexity  # noqa: B018


def test_a_model_without_a_softmax_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="no softmax"):
        Directions(random_model().bilm, Workers(1))


def test_weights_that_are_no_numbers_are_named() -> None:
    model = tiny_language_model()
    assert model.bilm.softmax is not None
    model.bilm.softmax.bias[4] = float("nan")
    with pytest.raises(DamagedModelError, match="no finite numbers"):
        evaluate(LanguageModel(model), SENTENCES)
