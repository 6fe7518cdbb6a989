"""From words to layers: the engine against the plain biLM, the cache of words, the plan of batches, the workers."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import difference, plain, published_model, random_model

from polyseme.batching import plan, rows_in_order
from polyseme.encoder import WordEncoder
from polyseme.engine import Batch, Engine, Packing, States, with_boundaries
from polyseme.errors import OptionError, TooLongError
from polyseme.formats.model import Model
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.lstm import LSTMStack, LSTMState
from polyseme.nn.packed import CONVOLUTION_TILE, HIGHWAY_TILE, KERNELS, Arithmetic
from polyseme.nn.transformer import TransformerConfig
from polyseme.nn.workers import Workers

VOCABULARY = ["a", "bank", "The", "rates", "naïve", "语言", "🙂", "x" * 10, "y" * 30, "z" * 47, "z" * 48, "z" * 60]
words = st.one_of(st.sampled_from(VOCABULARY), st.text(st.characters(codec="utf-8"), max_size=8))
sentences_of_words = st.lists(st.lists(words, max_size=9), min_size=1, max_size=6)


def states_of(model: Model, rows: int, seed: int) -> States:
    config, generator = model.bilm.config, torch.Generator().manual_seed(seed)

    def random(size: int) -> torch.Tensor:
        return torch.randn(config.n_layers, rows, size, generator=generator)

    left, right = (LSTMState(random(config.projection_size), random(config.cell_size)) for _ in range(2))
    return left, right


# --- the engine


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_layers=st.integers(1, 3),
    residual=st.booleans(),
    cell_clip=st.sampled_from([None, 0.5]),
    projection_clip=st.sampled_from([None, 0.4]),
    encoder=st.sampled_from(["char_cnn", "word", "char_cnn+word"]),
    n_highway=st.integers(0, 2),
    activation=st.sampled_from(["relu", "tanh"]),
    location=st.sampled_from(["after_highway", "after_cnn", "none"]),
    threads=st.integers(1, 3),
    kernel=st.sampled_from(KERNELS),
    batches=st.lists(sentences_of_words, min_size=1, max_size=3),
)
def test_every_layer_and_every_end_state_equals_the_plain_bilm(
    seed: int, n_layers: int, residual: bool, cell_clip: float | None, projection_clip: float | None, encoder: str,
    n_highway: int, activation: str, location: str, threads: int, kernel: str, batches: list[list[list[str]]],
) -> None:  # fmt: skip
    cnn = CharCNNConfig(
        char_size=3, filters=((1, 3), (2, 2), (4, 3)), n_highway=n_highway, activation=activation,
        projection_location="none" if encoder == "char_cnn+word" else location,
    )  # fmt: skip
    model = random_model(
        seed, n_layers=n_layers, residual=residual, cell_clip=cell_clip, projection_clip=projection_clip,
        encoder=encoder, char_cnn=cnn if "char" in encoder else None, n_words=12, word_size=4,
    )  # fmt: skip
    engine = Engine(model, Arithmetic(kernel), threads, cache_words=20)
    jobs = [
        Batch([with_boundaries(s, model) for s in b], states_of(model, len(b), seed + at))
        for at, b in enumerate(batches)
    ]
    for batch, job, (found, end) in zip(batches, jobs, engine.run(jobs), strict=True):
        expected, expected_end = plain(model, batch, job.states)
        scale = max(1.0, *(float(np.abs(layers).max()) for layers in expected if layers.size), 0.0)
        assert difference([layers.numpy() for layers in found], expected) <= 1e-5 * scale
        assert end is not None
        assert expected_end is not None
        for state, plain_state in zip(end, expected_end, strict=True):
            for tensor, plain_tensor in zip(state, plain_state, strict=True):
                torch.testing.assert_close(tensor, plain_tensor, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize("direction", [0, 1])
def test_a_sentence_in_chunks_is_the_sentence_in_one(direction: int) -> None:
    model = random_model()
    engine = Engine(model, Arithmetic("torch"), 1, 100)
    text = with_boundaries(VOCABULARY, model)
    start = states_of(model, 1, 3)
    (expected,), ends = plain(model, [VOCABULARY], start)
    state, found = start[direction], []
    reading = text[::-1] if direction else text
    for at in range(0, len(text), 5):
        layers, state = engine.read_chunk(direction, reading[at : at + 5], state)
        found.append(layers)
    layers = torch.cat(found, dim=1)
    layers = layers.flip(1) if direction else layers
    size = model.bilm.config.projection_size
    half = expected[..., direction * size : (direction + 1) * size]
    assert difference([layers[:, 1:-1].numpy()], [half]) <= 1e-5
    assert ends is not None
    torch.testing.assert_close(state.cell, ends[direction].cell, atol=1e-5, rtol=0)


def test_a_transformer_takes_the_plain_path_and_refuses_more_than_its_context() -> None:
    transformer = TransformerConfig(inner_size=4, n_heads=2, context=8)
    model = random_model(layers="transformer", transformer=transformer, projection_size=6)
    engine = Engine(model, Arithmetic("torch"), 2, 10)
    texts: list[list[str]] = [["a", "bank"], [], ["The"] * 6]
    ((found, states),) = engine.run([Batch([with_boundaries(text, model) for text in texts], None)])
    assert states is None
    assert difference([layers.numpy() for layers in found], plain(model, texts)[0]) <= 1e-5
    with pytest.raises(TooLongError, match=r"a sentence of 7 tokens is beyond .* context of 8"):
        engine.run([Batch([with_boundaries(["a"] * 7, model)], None)])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_packing_lists_each_sentences_tokens_once_in_both_reading_orders(lengths: list[int]) -> None:
    lengths = sorted(lengths, reverse=True)
    packing = Packing.of(np.asarray(lengths, dtype=np.int64), torch.device("cpu"))
    tokens = [(sentence, at) for sentence, length in enumerate(lengths) for at in range(length)]
    steps = range(lengths[0])
    assert packing.rows == [sum(length > step for length in lengths) for step in steps]
    assert [tokens[i] for i in packing.forward] == [
        (s, step) for step in steps for s, length in enumerate(lengths) if length > step
    ]
    assert [tokens[i] for i in packing.backward] == [
        (s, length - 1 - step) for step in steps for s, length in enumerate(lengths) if length > step
    ]


# --- words and their cache


def fresh(model: Model, cache_words: int, kernel: str = "torch", threads: int = 1) -> WordEncoder:
    return WordEncoder(model, Workers(threads), Arithmetic(kernel), cache_words)


def vectors(encoder: WordEncoder, asked: Sequence[str]) -> dict[str, bytes]:
    with torch.inference_mode():
        found, index = encoder.lookup(asked)
    return {word: found[row].numpy().tobytes() for word, row in zip(asked, index, strict=True)}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_word_has_the_same_bits_alone_in_full_tiles_cached_and_after_it_was_dropped(kernel: str) -> None:
    model = random_model(projection_size=32, char_cnn=CharCNNConfig(char_size=4, filters=((1, 8), (3, 24), (5, 32))))
    many = VOCABULARY + [f"word{n}" for n in range(3 * HIGHWAY_TILE + CONVOLUTION_TILE + 1)]
    alone = {word: vectors(fresh(model, 0, kernel), [word])[word] for word in many}
    assert vectors(fresh(model, 0, kernel), many) == alone
    assert vectors(fresh(model, 0, kernel, threads=3), many[::-1]) == alone
    cached = fresh(model, 1000, kernel)
    assert vectors(cached, many) == vectors(cached, many) == alone
    small = fresh(model, 3, kernel)
    for at in range(0, len(many), 2):
        assert vectors(small, many[at : at + 2]) == {word: alone[word] for word in many[at : at + 2]}
    assert vectors(small, many) == alone


@settings(max_examples=40, deadline=None)
@given(cache_words=st.integers(0, 5), calls=st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=8), max_size=10))
def test_any_sequence_of_calls_finds_each_words_own_vector_and_keeps_no_more_than_it_may(
    cache_words: int, calls: list[list[str]]
) -> None:
    encoder = fresh(LETTERS, cache_words)
    for call in calls:
        if call:
            found = vectors(encoder, call)
            assert found == {word: OWN[word] for word in call}
        assert len(encoder._row) <= cache_words
        assert len(encoder._store) <= cache_words


# MKL's products of fewer than 12 columns round by the place of a row; no published model is so narrow.
LETTERS = random_model(5, projection_size=16, char_cnn=CharCNNConfig(char_size=4, filters=((1, 6), (3, 10))))
OWN = {letter: vectors(fresh(LETTERS, 0), [letter])[letter] for letter in "abcdefgh"}


def test_a_cached_word_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = fresh(random_model(), 10)
    asked: list[list[str]] = []
    compute = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda words: asked.append(list(words)) or compute(words))
    vectors(encoder, ["a", "b", "a"])
    vectors(encoder, ["b", "c"])
    vectors(encoder, ["a", "b", "c"])
    assert asked == [["a", "b"], ["c"]]


def test_a_negative_cache_is_refused() -> None:
    with pytest.raises(OptionError, match="cache_words must not be negative, was: -1"):
        fresh(random_model(), -1)


# --- the plan of batches


@given(
    lengths=st.lists(st.integers(1, 30), max_size=40),
    max_tokens=st.integers(1, 60),
    max_rows=st.none() | st.integers(1, 5),
    padded=st.booleans(),
)
def test_a_plan_holds_every_sentence_once_and_keeps_its_bounds(
    lengths: list[int], max_tokens: int, max_rows: int | None, padded: bool
) -> None:
    batches = plan(lengths, max_tokens, max_rows, padded=padded)
    order = [place for batch in batches for place in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[place] for place in order] == sorted(lengths, reverse=True)
    for batch in batches:
        longest = lengths[batch[0]]
        tokens = longest * len(batch) if padded else sum(lengths[place] for place in batch)
        assert tokens <= max_tokens or len(batch) == 1
        assert max_rows is None or len(batch) <= max_rows
    for length in set(lengths):  # equal lengths stay in input order
        assert [p for p in order if lengths[p] == length] == [p for p, n in enumerate(lengths) if n == length]


def test_rows_in_order_cuts_the_input_as_it_stands() -> None:
    assert rows_in_order(7, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert rows_in_order(0, 3) == []


# --- workers


def test_workers_have_one_torch_thread_each_whatever_the_caller_sets_later() -> None:
    before = torch.get_num_threads()
    try:
        for number in (2, 1, 2):
            torch.set_num_threads(number)
            workers = Workers(3)
            assert torch.get_num_threads() == number
            later: list[int] = []  # a thread that the caller starts afterwards
            thread = threading.Thread(target=lambda later=later: later.append(torch.get_num_threads()))
            thread.start()
            thread.join()
            assert later == [number]
            torch.set_num_threads(number + 1)
            gate = threading.Barrier(3, timeout=20)  # so that each of the three takes one task

            def threads(_: object, gate: threading.Barrier = gate) -> tuple[str, int]:
                gate.wait()
                return threading.current_thread().name, torch.get_num_threads()

            found = workers.map(threads, range(3))
            assert len({name for name, _ in found}) == 3
            assert {count for _, count in found} == {1}
            assert torch.get_num_threads() == number + 1
    finally:
        torch.set_num_threads(before)


def test_results_come_in_order_and_the_first_failure_reaches_the_caller() -> None:
    workers = Workers(2)
    assert workers.map(lambda n: n * n, range(20)) == [n * n for n in range(20)]
    with pytest.raises(ZeroDivisionError):
        workers.map(lambda n: 1 // (n - 3), range(6))
    assert workers.map(lambda n: n + 1, [1]) == [2]  # and the pool goes on
    assert workers.map(lambda _: torch.is_inference_mode_enabled(), [0, 1]) == [True, True]
    with pytest.raises(OptionError, match="threads must be at least 1, was: 0"):
        Workers(0)


def test_an_engine_leaves_the_callers_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    model = published_model()
    engine = Engine(model, Arithmetic("torch"), 3, 10)
    stack = model.bilm.forward_layers
    assert isinstance(stack, LSTMStack)
    engine.run([Batch([with_boundaries(["a"], model)], (stack.zero_state(1), stack.zero_state(1)))])
    assert torch.get_num_threads() == before
