"""`load` and `embed`: the same sentence gives the same vectors, whatever else happens; and what each state means."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shared_data import shared_folder
from tiny import HIGHWAY2, difference, plain, published_model, random_model

import polyseme
from polyseme.embedder import MAX_TOKENS, Counts, Embedder
from polyseme.embedding import Embedding
from polyseme.engine import Batch, Engine
from polyseme.errors import InputError, OptionError, TooLongError
from polyseme.formats.model import Model
from polyseme.nn.lstm import LSTMStack
from polyseme.nn.transformer import TransformerConfig
from polyseme.text.config import TextConfig

Array = npt.NDArray[np.float32]
Sentences = Sequence[Sequence[str]]

OFFICIAL = shared_folder() / "data" / "fixtures" / "elmo" / "allennlp" / "test_fixtures" / "elmo"
TEXTS = [
    ["The", "bank", "raised", "its", "rates", "."],
    ["We", "sat", "on", "the", "bank", "of", "the", "river", "and", "watched", "naïve", "swans", "."],
    ["Yes"],
    [],
    ["语言", "模型", "🙂", "ĉiuĵaŭde", "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz"],
    ["bank", "bank", "bank", "bank"],
    ["A", "literal", "</S>", "and", "<S>", "and", "<UNK>"],
]


@pytest.fixture(scope="module", params=["official", "tiny"])
def weights(request: pytest.FixtureRequest) -> Path:
    """AllenNLP's published fixture, whose weights were trained, and a tiny model of random ones."""
    if request.param == "official":
        request.getfixturevalue("official")
        return OFFICIAL / "lm_weights.hdf5"
    return HIGHWAY2


@pytest.fixture(scope="module")
def reference(weights: Path) -> dict[str, Callable[[Sequence[str]], Array]]:
    """Each sentence alone, on an embedder that is made for it: nothing can be left over from anything."""
    model = polyseme.load(weights).model
    known: dict[tuple[str, tuple[str, ...]], Array] = {}

    def of(state: str, sentence: Sequence[str]) -> Array:
        key = (state, tuple(sentence))
        if key not in known:
            known[key] = Embedder(model, state=state, threads=1, cache_words=0).embed([sentence])[0].layers
        return known[key]

    return {state: (lambda sentence, state=state: of(state, sentence)) for state in ("settled", "zero")}


def layers(embeddings: Sequence[Embedding]) -> list[Array]:
    return [embedding.layers for embedding in embeddings]


# --- invariance


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    state=st.sampled_from(["settled", "zero"]),
    kernel=st.sampled_from([None, "torch"]),
    threads=st.integers(1, 3),
    max_tokens=st.sampled_from([1, 9, 40, 2048]),
    cache_words=st.sampled_from([0, 3, 100_000]),
    calls=st.lists(
        st.tuples(st.lists(st.sampled_from(range(len(TEXTS))), max_size=9), st.none() | st.integers(1, 4)),
        min_size=1,
        max_size=3,
    ),
)
def test_vectors_depend_on_nothing_but_the_sentence_and_the_model(
    weights: Path, reference: dict[str, Callable[[Sequence[str]], Array]], state: str, kernel: str | None, threads: int,
    max_tokens: int, cache_words: int, calls: list[tuple[list[int], int | None]],
) -> None:  # fmt: skip
    """Order, batch size, token budget, padding, duplicates, threads, cache, kernel, earlier calls."""
    embedder = polyseme.load(
        weights, state=state, kernel=kernel, threads=threads, max_tokens=max_tokens, cache_words=cache_words
    )
    for places, batch_size in calls:
        found = embedder.embed([TEXTS[place] for place in places], batch_size=batch_size)
        expected = [reference[state](TEXTS[place]) for place in places]
        assert difference(layers(found), expected) <= 1e-5
        if kernel is None:  # context-free vectors: not one bit may differ
            assert all(np.array_equal(e.layers[0], x[0]) for e, x in zip(found, expected, strict=True))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=55), max_size=20), max_size=6))
def test_any_text_gets_the_plain_networks_vectors(weights: Path, texts: list[list[str]]) -> None:
    embedder = EMBEDDERS.setdefault(weights, polyseme.load(weights, state="zero"))
    found = embedder.embed(texts)
    assert difference(layers(found), plain(embedder.model, texts)[0] if texts else []) <= 1e-5
    assert [embedding.tokens for embedding in found] == [tuple(text) for text in texts]


EMBEDDERS: dict[Path, Embedder] = {}


def test_a_repeated_sentence_is_computed_once_and_each_answer_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(published_model(), threads=1)
    asked: list[int] = []
    run = embedder.engine.run
    monkeypatch.setattr(embedder.engine, "run", lambda b: asked.extend(len(x.sentences) for x in b) or run(b))
    found = embedder.embed([TEXTS[0], TEXTS[2], TEXTS[0]])
    assert sum(asked) == 2
    assert np.array_equal(found[0].layers, found[2].layers)
    assert embedder.counts == Counts(sentences=3, tokens=13, repeated_sentences=1)


def test_the_same_spelling_gets_other_vectors_in_another_sentence(weights: Path) -> None:
    river, money = polyseme.load(weights).embed([TEXTS[1], TEXTS[0]])
    assert np.array_equal(river.layers[0, 4], money.layers[0, 1])
    assert np.abs(river.layers[1:, 4] - money.layers[1:, 1]).max() > 1e-2


def test_shapes_types_and_order_of_what_comes_back() -> None:
    embedder = Embedder(published_model())
    found = embedder.embed([TEXTS[1], [], TEXTS[2]])
    assert [e.layers.shape for e in found] == [(3, 13, 16), (3, 0, 16), (3, 1, 16)]
    assert all(e.layers.dtype == np.float32 and e.layers.flags["C_CONTIGUOUS"] for e in found)
    assert all(e.layers.base is None for e in found)  # a view would keep its whole batch alive
    assert (embedder.width, embedder.n_layers) == (16, 3)
    assert embedder.embed([]) == []


def test_the_callers_torch_threads_stay_as_they_were() -> None:
    before = torch.get_num_threads()
    for threads in (1, 3):
        embedder = Embedder(published_model(), threads=threads)
        embedder.embed(TEXTS)
        assert torch.get_num_threads() == before


# --- state


def test_the_settled_start_is_a_fixed_point(weights: Path) -> None:
    """An empty sentence, read from it, leaves it where it is."""
    embedder = polyseme.load(weights)
    assert embedder.initial is not None
    ((_, end),) = embedder.engine.run([Batch([["<S>", "</S>"]], embedder.initial)])
    assert end is not None
    for state, after in zip(embedder.initial, end, strict=True):
        assert state.hidden.abs().max() > 0.01
        for tensor, moved in zip(state, after, strict=True):
            assert (tensor - moved).abs().max() <= 2e-6


def test_settled_is_where_carry_comes_to_after_many_empty_sentences() -> None:
    carry = Embedder(published_model(), state="carry")
    carry.embed([[]] * 200, batch_size=1)
    (late,) = carry.embed([TEXTS[0]], batch_size=1)
    (settled,) = Embedder(published_model()).embed([TEXTS[0]])
    assert difference([late.layers], [settled.layers]) <= 1e-5


def test_zero_is_the_first_batch_of_a_fresh_carry(weights: Path) -> None:
    zero = polyseme.load(weights, state="zero").embed(TEXTS)
    carry = polyseme.load(weights, state="carry").embed(TEXTS, batch_size=len(TEXTS))
    assert difference(layers(zero), layers(carry)) <= 1e-6
    settled = polyseme.load(weights).embed(TEXTS)
    assert difference(layers(zero)[:1], layers(settled)[:1]) > 1e-3


def test_carry_goes_on_from_batch_to_batch_and_call_to_call_and_reset_forgets(weights: Path) -> None:
    embedder = polyseme.load(weights, state="carry")
    model = embedder.model
    found = embedder.embed([*TEXTS[:3], *TEXTS[4:6]], batch_size=3) + embedder.embed([TEXTS[0]] * 4, batch_size=4)
    # By hand: three rows; then two, of which the third waits; then four, of which the last is new.
    first, states = plain(model, TEXTS[:3])
    assert states is not None
    second, moved = plain(model, TEXTS[4:6], tuple(_rows(s, 0, 2) for s in states))  # type: ignore[arg-type]
    assert moved is not None
    new = plain(model, [[]])[1]
    assert new is not None
    zeros = [type(s)(torch.zeros_like(s.hidden), torch.zeros_like(s.cell)) for s in new]
    joined = [
        type(a)(*(torch.cat([x, y[:, 2:], z], dim=1) for x, y, z in zip(a, b, c, strict=True)))
        for a, b, c in zip(moved, states, zeros, strict=True)
    ]
    third, _ = plain(model, [TEXTS[0]] * 4, (joined[0], joined[1]))
    assert difference(layers(found), [*first, *second, *third]) <= 1e-5
    assert np.abs(found[5].layers - found[8].layers).max() > 1e-3  # row 0 remembers, row 3 is new
    embedder.reset()
    again = embedder.embed(TEXTS[:3], batch_size=3)
    assert all(np.array_equal(a.layers, b.layers) for a, b in zip(again, found, strict=False))


def _rows(state: object, begin: int, end: int) -> object:
    return type(state)(*(tensor[:, begin:end] for tensor in state))  # type: ignore[attr-defined]


def test_carry_computes_repeated_sentences_again() -> None:
    embedder = Embedder(published_model(), state="carry")
    first, second = embedder.embed([TEXTS[0], TEXTS[0]], batch_size=1)
    assert np.abs(first.layers - second.layers).max() > 1e-3
    assert embedder.counts.repeated_sentences == 0


def transformer_model() -> Model:
    sizes = TransformerConfig(inner_size=4, n_heads=2, context=8)
    return random_model(layers="transformer", transformer=sizes, projection_size=6)


def test_a_transformer_has_no_state_and_a_limited_context() -> None:
    for state in ("settled", "zero", "carry"):
        with pytest.raises(OptionError, match=f"state='{state}' was given, but a Transformer carries no state"):
            Embedder(transformer_model(), state=state)
    embedder = Embedder(transformer_model(), threads=2)
    assert embedder.state == "none"
    texts = [["a", "b"], [], ["bank"] * 6, ["a"]]
    assert difference(layers(embedder.embed(texts)), plain(embedder.model, texts)[0]) <= 1e-5
    with pytest.raises(TooLongError, match="7 tokens is beyond this Transformer's context of 8"):
        embedder.embed([["a"], ["b"] * 7])


# --- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "warm"}, "state must be one of settled, zero, carry, was: 'warm'"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, was: 0"),
        ({"cache_words": -1}, "cache_words must not be negative, was: -1"),
        ({"threads": -2}, "threads must be at least 1, was: -2"),
        ({"kernel": "mkl"}, "kernel must be one of torch, onednn, was: 'mkl'"),
        ({"device": "teapot"}, "device 'teapot' cannot be used here"),
    ],
)
def test_options_out_of_range_are_refused_by_value(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Embedder(published_model(), **options)  # type: ignore[arg-type]


def test_raw_text_and_numbers_where_words_belong_are_refused() -> None:
    embedder = Embedder(published_model())
    with pytest.raises(OptionError, match=r"sentence 1 is a string; .*embed_text\(\) takes raw text"):
        embedder.embed([["fine"], "The bank"])
    with pytest.raises(OptionError, match="sentence 0 is a string"):
        embedder.embed("The bank")
    with pytest.raises(OptionError, match="sentence 0 holds 3, which is no word"):
        embedder.embed([[3]])  # type: ignore[list-item]
    with pytest.raises(OptionError, match="batch_size must be at least 1, was: 0"):
        embedder.embed([["a"]], batch_size=0)


def test_carry_needs_the_size_of_its_batches_and_no_raw_text() -> None:
    embedder = Embedder(published_model(), state="carry")
    with pytest.raises(OptionError, match='state="carry" needs batch_size'):
        embedder.embed([["a"]])
    with pytest.raises(OptionError, match="embed_text cannot carry state"):
        embedder.embed_text("The bank.")


# --- counts, raw text


def test_what_the_model_could_not_read_is_counted() -> None:
    embedder = Embedder(published_model())
    embedder.embed([["a", "b" * 49], ["é" * 25], ["a", "b" * 49]])
    assert embedder.counts == Counts(sentences=3, tokens=5, repeated_sentences=1, cut_words=3)
    words = Embedder(random_model(encoder="word", char_cnn=None, n_words=12, word_size=4))
    words.embed([["bank", "unheard-of"]])
    assert words.counts == Counts(sentences=1, tokens=2, unknown_words=1)


def test_raw_text_gives_sentences_with_offsets_into_it() -> None:
    embedder = Embedder(published_model())
    text = "The bank raised its rates.  We sat on the naïve bank of the river."
    first, second = embedder.embed_text(text, language="en")
    assert first.tokens == ("The", "bank", "raised", "its", "rates", ".")
    for embedding in (first, second):
        assert embedding.offsets is not None
        assert tuple(text[a:b] for a, b in embedding.offsets) == embedding.tokens
    assert difference([first.layers], layers(embedder.embed([first.tokens]))) <= 1e-6
    assert embedder.embed_text("") == []
    assert embedder.embed_text(" \n ") == []


def test_text_is_processed_as_the_models_training_text_was() -> None:
    model = published_model()
    text = TextConfig(tokenizer="en", lowercase=True, remove_stop_words=True, normalize="nfkc")
    embedder = Embedder(Model(model.bilm, characters=model.characters, text=text))
    (found,) = embedder.embed_text("The ﬁrst Bank was not there.")
    assert found.tokens == ("first", "bank", ".")
    assert found.offsets == ((4, 9), (10, 14), (28, 29))  # of "The first Bank was not there."


def test_the_tokenizer_a_model_names_is_used_unless_a_language_is_given() -> None:
    model = published_model()
    named = Model(model.bilm, characters=model.characters, text=TextConfig(tokenizer="whitespace"))
    (found,) = Embedder(named).embed_text("can't stop.")
    assert found.tokens == ("can't", "stop.")
    (found,) = Embedder(named).embed_text("can't stop.", language="en")
    assert found.tokens == ("ca", "n't", "stop", ".")


# --- memory


def out_of_memory_above(limit: int, error: Exception, sizes: list[int]) -> Callable[..., object]:
    run = Engine.run

    def limited(self: Engine, batches: Sequence[Batch]) -> object:
        tokens = sum(len(sentence) for batch in batches for sentence in batch.sentences)
        sizes.append(tokens)
        if tokens > limit:
            raise error
        return run(self, batches)

    return limited


OUT_OF_MEMORY = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("threads", [1, 3])
def test_out_of_memory_halves_the_batch_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception, threads: int
) -> None:
    texts = [[f"w{n}", "bank", "of"][: 1 + n % 3] for n in range(40)]
    expected = layers(Embedder(published_model()).embed(texts))
    sizes: list[int] = []
    monkeypatch.setattr(Engine, "run", out_of_memory_above(30, error, sizes))
    embedder = Embedder(published_model(), threads=threads)
    assert difference(layers(embedder.embed(texts)), expected) <= 1e-5
    assert max(sizes) > 30
    assert embedder.max_tokens < MAX_TOKENS
    for _ in range(8):  # it learns: what did not fit is not tried for ever
        sizes.clear()
        embedder.embed(texts)
    assert threads > 1 or max(sizes) <= 2 * 30


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_single_sentence_that_does_not_fit_is_a_typed_error_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    embedder = Embedder(published_model())
    monkeypatch.setattr(Engine, "run", out_of_memory_above(30, error, []))
    with pytest.raises(InputError, match="a sentence of 40 tokens does not fit the memory; embed_file reads"):
        embedder.embed([["a"], ["b"] * 40])


def test_other_failures_and_a_carried_state_are_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    embedder = Embedder(published_model())
    monkeypatch.setattr(Engine, "run", out_of_memory_above(0, RuntimeError("shapes cannot be multiplied"), sizes))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        embedder.embed(TEXTS)
    assert len(sizes) == 1
    carry = Embedder(published_model(), state="carry")
    monkeypatch.setattr(Engine, "run", out_of_memory_above(0, OUT_OF_MEMORY[0], sizes))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        carry.embed(TEXTS, batch_size=2)
    assert len(sizes) == 2


# --- loading


def test_options_of_load_reach_the_embedder() -> None:
    embedder = polyseme.load(HIGHWAY2, state="zero", threads=1, max_tokens=7, cache_words=2, kernel="torch")
    assert (embedder.state, embedder.threads, embedder.max_tokens, embedder.kernel) == ("zero", 1, 7, "torch")
    assert embedder.engine.encoder.cache_words == 2
    assert isinstance(embedder.model.bilm.forward_layers, LSTMStack)
    assert not any(parameter.requires_grad for parameter in embedder.model.bilm.parameters())


def test_the_model_hash_is_that_of_the_weights_wherever_they_lie(tmp_path: Path) -> None:
    one = polyseme.load(HIGHWAY2)
    for name in ("options.json", "weights.hdf5"):
        (tmp_path / name).write_bytes((HIGHWAY2 / name).read_bytes())
    assert polyseme.load(tmp_path).model_hash == one.model_hash
    assert polyseme.load(HIGHWAY2.parent / "highway1").model_hash != one.model_hash
    assert len(one.model_hash) == 64


def test_official_sentences_in_any_order_and_batch(official: Path) -> None:
    """The fixture's own 30 sentences, forwards in one batch and backwards three by three."""
    texts = json.loads((OFFICIAL / "sentences.json").read_text(encoding="utf-8"))
    sentences = [line.split() for text in texts for line in text]
    assert official.is_dir()
    one = polyseme.load(OFFICIAL / "lm_weights.hdf5").embed(sentences)
    two = polyseme.load(OFFICIAL / "lm_weights.hdf5", threads=3, max_tokens=50).embed(sentences[::-1], batch_size=3)
    assert difference(layers(one), layers(two)[::-1]) <= 1e-5
    assert all(np.array_equal(a.layers[0], b.layers[0]) for a, b in zip(one, two[::-1], strict=True))
