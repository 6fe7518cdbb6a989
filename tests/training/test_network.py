"""A window through the network against `BiLM`: values, carried states, characters in groups, every gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import random_model
from torch import Tensor
from torch.nn import functional as F

from polyseme.bilm import BiLM
from polyseme.errors import UnsupportedModelError
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.losses import full_softmax
from polyseme.nn.lstm import LSTMStack
from polyseme.nn.transformer import TransformerConfig
from polyseme.text.chars import Characters
from polyseme.text.shards import Corpus
from polyseme.text.streams import END, START, UNSCORED, Lanes, Window
from polyseme.training import network
from polyseme.training.batches import sentences
from polyseme.training.network import Dropout, States, TypeRows, read_window
from polyseme.training.validate import stream_of

ROOM = 12
CHARACTERS = Characters(max_characters=ROOM)
WORDS = ("a", "is", "the", "bank", "river", "raised", "né", "银行", "characters", "of-a-word-that-is-cut", "its")
FILTERS = ((1, 3), (2, 2), (4, 4))
KINDS: dict[str, dict[str, object]] = {
    "lstm": {},
    "transformer": {
        "layers": "transformer",
        "transformer": TransformerConfig(inner_size=6, n_heads=2, context=40),
        "projection_size": 6,
    },
}
TEXT = [["the", "bank", "raised", "its"], ["a"], [], ["the", "river", "is", "né", "of-a-word-that-is-cut"], ["银行"]]


def bilm(
    seed: int = 1, dtype: torch.dtype = torch.float64, cnn: dict[str, object] | None = None, **changes: object
) -> BiLM:
    """Random weights, clips that act, and padding whose characters win a good part of all maxima."""
    sizes: dict[str, object] = {"char_size": 3, "filters": FILTERS, "n_highway": 1, "max_characters": ROOM}
    made = random_model(seed, **({"char_cnn": CharCNNConfig(**(sizes | (cnn or {})))} | changes)).bilm  # type: ignore[arg-type]
    assert made.encoder.char_cnn is not None
    made.encoder.char_cnn.table.weight[CHARACTERS.padding] *= 2
    return made.to(dtype).requires_grad_(True)


def corpus(text: Sequence[Sequence[str]]) -> Corpus:
    return Corpus.from_sentences(text, characters=CHARACTERS)


def rows(of: Corpus) -> TypeRows:
    return TypeRows(of.character_rows, CHARACTERS.padding)


def vectors(model: BiLM, of: Corpus) -> Tensor:
    """x of every type, out of whole rows. *Shape:* (n_types, P)."""
    return model.encoder(torch.from_numpy(of.character_rows.astype(np.int64)), None)


def pieces(of: Corpus) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.stack([of.train.starts[:-1], of.train.starts[1:]], axis=1)


words = st.sampled_from(WORDS)
texts = st.lists(st.lists(words, max_size=5), min_size=1, max_size=6).filter(any)


# --- values


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(text=texts)
def test_sentences_side_by_side_are_those_of_the_bilm(kind: str, text: list[list[str]]) -> None:
    model, found = bilm(**KINDS[kind]), corpus(text)
    forward, backward, states = read_window(
        model, rows(found), sentences(found.train.ids, pieces(found)), None, torch.float64
    )
    assert (states is None) == (kind == "transformer")
    lengths = torch.tensor([len(sentence) + 2 for sentence in text])
    index = torch.from_numpy(sentences(found.train.ids, pieces(found)).forward)
    top = model.contextualize(vectors(model, found)[index.t()], lengths).layers[-1]  # Shape: (B, T, 2P)
    left, right = top.chunk(2, dim=-1)
    for lane, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(forward[:length, lane], left[lane, :length], atol=1e-12, rtol=0)
        torch.testing.assert_close(backward[:length, lane], right[lane, :length].flip(0), atol=1e-12, rtol=0)


def read_all(
    model: BiLM, of: Corpus, lanes: Lanes, steps: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, States]:
    """Every window of the lanes, states carried. *Shape:* (T, B, P) twice."""
    states: States | None = None
    tops: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for number in range(lanes.n_windows(steps)):
            forward, backward, states = read_window(model, rows(of), lanes.window(number, steps), states, dtype)
            tops.append((forward, backward))
    assert states is not None
    left, right = (torch.cat(each) for each in zip(*tops, strict=True))
    return left, right, states


@settings(max_examples=25, deadline=None)
@given(text=texts, n_lanes=st.integers(1, 4), steps=st.integers(1, 12), data=st.data())
def test_windows_with_carried_states_are_each_lane_read_in_one(
    text: list[list[str]], n_lanes: int, steps: int, data: st.DataObject
) -> None:
    model, of = bilm(), corpus(text)
    first = data.draw(st.integers(0, len(text) - 1))
    lanes = Lanes.cut(stream_of(of.train), n_lanes, first)
    found = read_all(model, of, lanes, steps)
    rotated = [*text[first:], *text[:first]]
    ids = {word: number for number, word in enumerate(of.words)}
    streams: list[list[int]] = [[], []]
    for sentence in rotated:
        inner = [ids[word] for word in sentence]
        streams[0] += [START, *inner, END]
        streams[1] += [END, *inner[::-1], START]
    table = vectors(model, of)
    for direction, stack in enumerate((model.forward_layers, model.backward_layers)):
        for lane in range(lanes.count):
            begin, size = int(lanes.begins[lane]), int(lanes.sizes[lane])
            x = table[torch.tensor(streams[direction][begin : begin + size])].unsqueeze(0)
            assert isinstance(stack, LSTMStack)
            layers, end = stack(x, torch.tensor([size]))
            torch.testing.assert_close(found[direction][:size, lane], layers[-1][0], atol=1e-12, rtol=0)
            if size == len(found[0]):  # no padding behind it: the states are comparable, too
                torch.testing.assert_close(found[2][direction].hidden[:, lane], end.hidden[:, 0], atol=1e-12, rtol=0)
                torch.testing.assert_close(found[2][direction].cell[:, lane], end.cell[:, 0], atol=1e-12, rtol=0)


def test_states_are_cut_off_from_their_history() -> None:
    model, of = bilm(), corpus(TEXT)
    _, _, states = read_window(model, rows(of), Lanes.cut(stream_of(of.train), 2).window(0, 5), None, torch.float64)
    assert states is not None
    assert [tensor.requires_grad for state in states for tensor in state] == [False] * 4
    assert states[0].hidden.shape == (2, 2, 5)
    assert states[0].cell.shape == (2, 2, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_within_two_hundredths_of_single(kind: str) -> None:
    model, of = bilm(dtype=torch.float32, **KINDS[kind]), corpus(TEXT * 2)
    window = sentences(of.train.ids, pieces(of))
    single, half = (read_window(model, rows(of), window, None, dtype)[:2] for dtype in (torch.float32, torch.bfloat16))
    real = torch.from_numpy(window.forward_targets != UNSCORED)
    for a, b in zip(half, single, strict=True):
        assert a.dtype == torch.float32
        assert 1e-4 < (a[real] - b[real]).norm() / b[real].norm() < 0.02


# --- characters


CNNS: dict[str, dict[str, object]] = {
    "after_highway": {},
    "tanh": {"activation": "tanh"},
    "after_cnn": {"projection_location": "after_cnn"},
    "none": {"projection_location": "none"},
    "norm": {"layer_norm": True, "n_highway": 2},
    "wide": {"filters": ((1, 2), (ROOM, 3))},
}


@pytest.mark.parametrize("name", CNNS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
def test_types_in_groups_of_like_length_are_encoded_as_whole_rows(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    model, of = bilm(dtype=dtype, cnn=CNNS[name]), corpus([WORDS])
    whole = vectors(model, of)
    for types in (np.arange(len(of)), np.arange(len(of))[::-1], np.array([12, 0, 5]), np.array([7])):
        found = rows(of).encode(model.encoder, rows(of).of(types), torch.device("cpu"), dtype)
        torch.testing.assert_close(found, whole[torch.from_numpy(types.copy())], atol=tolerance, rtol=tolerance)


def test_padding_decides_some_maxima_and_is_never_cut_off_whole() -> None:
    """The test above would prove little if windows of padding alone never won."""
    model, of = bilm(), corpus([WORDS])
    cnn = model.encoder.char_cnn
    assert cnn is not None
    whole = cnn.convolve(cnn.table(torch.from_numpy(of.character_rows.astype(np.int64))))
    short = int((of.character_rows[3] != CHARACTERS.padding).sum())
    cropped = cnn.convolve(cnn.table(torch.from_numpy(of.character_rows[3:4, : max(short, 4)].astype(np.int64))))
    assert not torch.allclose(whole[3:4], cropped)


def test_an_unknown_character_that_shares_the_number_of_padding_is_no_end() -> None:
    marks = {"sentence_start": 4, "sentence_end": 5, "word_start": 6, "word_end": 7, "padding": 8, "unknown": 8}
    characters = Characters(max_characters=ROOM, alphabet=(*"abcdefgh",), **marks)
    of = Corpus.from_sentences([["a?????bc", "a", "b", "c"]], characters=characters)
    model = bilm(cnn={"n_rows": 262})
    types, cpu = TypeRows(of.character_rows, 8), torch.device("cpu")
    found = types.encode(model.encoder, types.of(np.arange(7)), cpu, torch.float64)
    torch.testing.assert_close(found, vectors(model, of), atol=1e-12, rtol=0)


def test_a_type_is_encoded_once_however_often_it_occurs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    encode = TypeRows.encode

    def watched(self: TypeRows, encoder: object, read: np.ndarray, *rest: object) -> Tensor:  # type: ignore[type-arg]
        seen.append(read.tolist())
        return encode(self, encoder, read, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(TypeRows, "encode", watched)
    of = corpus([["the", "bank", "the", "the", "bank"]] * 3)
    read_window(bilm(), rows(of), sentences(of.train.ids, pieces(of)), None, torch.float64)
    assert seen == [rows(of).of(np.array([START, END, 3, 4])).tolist()]


def test_a_model_that_looks_words_up_cannot_be_trained() -> None:
    table = {"n_words": 12, "word_size": 4}
    cnn = CharCNNConfig(char_size=3, filters=FILTERS, max_characters=ROOM, projection_location="none")
    for changes in ({"encoder": "word", "char_cnn": None}, {"encoder": "char_cnn+word", "char_cnn": cnn}):
        model = random_model(1, **table, **changes).bilm
        with pytest.raises(UnsupportedModelError, match="characters alone"):
            rows(corpus(TEXT)).encode(
                model.encoder, rows(corpus(TEXT)).of(np.arange(3)), torch.device("cpu"), torch.float32
            )


# --- gradients


def plain_loss(model: BiLM, of: Corpus) -> Tensor:
    """Sum of both directions' cross entropies by `BiLM.forward`, sentences by themselves."""
    assert model.softmax is not None
    total = torch.zeros((), dtype=torch.float64)
    for begin, end in pieces(of).tolist():
        types = np.asarray([START, *of.train.ids[begin:end].tolist(), END])
        row = torch.from_numpy(of.character_rows[types].astype(np.int64)).unsqueeze(0)
        left, right = model(row, None, torch.tensor([len(types)])).layers[-1][0].chunk(2, dim=-1)
        wanted = torch.from_numpy(types)
        for hidden, targets in ((left[:-1], wanted[1:]), (right[1:], wanted[:-1])):
            scores = F.linear(hidden, model.softmax.weight, model.softmax.bias)
            total = total + F.cross_entropy(scores, targets, reduction="sum")
    return total


def window_loss(model: BiLM, of: Corpus, window: Window, dtype: torch.dtype = torch.float64) -> Tensor:
    assert model.softmax is not None
    forward, backward, _ = read_window(model, rows(of), window, None, dtype)
    total = torch.zeros((), dtype=torch.float64)
    for top, targets in ((forward, window.forward_targets), (backward, window.backward_targets)):
        scored = torch.from_numpy(targets != UNSCORED)
        total = total + full_softmax(model.softmax, top[scored], torch.from_numpy(targets)[scored], dtype).total
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_every_gradient_of_a_loss_in_two_directions_is_autograds(kind: str) -> None:
    of = corpus(TEXT)
    model = bilm(softmax_size=len(of), **KINDS[kind])
    found = window_loss(model, of, sentences(of.train.ids, pieces(of)))
    expected = plain_loss(model, of)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    names, parameters = zip(*model.named_parameters(), strict=True)
    for name, a, b in zip(
        names, torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        assert b.any(), f"{name} has no gradient, so nothing is compared"
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10, msg=name)


# --- dropout


def recorded_inputs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Tensor], list[Tensor | None]]]:
    """What each layer reads, and its mask of recurrent weights."""
    seen: list[tuple[list[Tensor], list[Tensor | None]]] = []
    run = network.run_layers

    def watched(layers, inputs, hiddens, cells, dtype, masks):  # type: ignore[no-untyped-def]
        seen.append(([x.detach() for x in inputs], masks))
        return run(layers, inputs, hiddens, cells, dtype, masks)

    monkeypatch.setattr(network, "run_layers", watched)
    return seen


def big() -> tuple[BiLM, Corpus, Window]:
    of = corpus([[*WORDS, *WORDS]] * 8)
    model = bilm(projection_size=40, cell_size=30, cell_clip=None, projection_clip=None).train()
    return model, of, sentences(of.train.ids, pieces(of))


def share_of_zeros(tensor: Tensor) -> float:
    return float((tensor == 0).double().mean())


def test_dropout_of_words_takes_a_word_away_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = recorded_inputs(monkeypatch)
    model, of, window = big()
    read_window(model, rows(of), window, None, torch.float64, Dropout(words=0.5))
    plain, gone = vectors(model, of).detach(), set()
    for x, types in zip(seen[0][0], (window.forward, window.backward), strict=True):
        for kind in np.unique(types).tolist():
            here = x[torch.from_numpy(types == kind)]
            if here.any():
                torch.testing.assert_close(here, 2 * plain[kind].expand_as(here), atol=1e-12, rtol=0)
            else:
                gone.add(kind)
    assert 2 <= len(gone) <= 11  # of 13 words
    assert all(
        not x[torch.from_numpy(types == kind)].any()
        for kind in gone
        for x, types in zip(seen[0][0], window, strict=False)
    )


def test_dropout_falls_on_layers_inputs_outputs_and_recurrent_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = recorded_inputs(monkeypatch)
    model, of, window = big()
    for dropout, shares in (
        (Dropout(), (0.0, 0.0)),
        (Dropout(inputs=0.3), (0.3, 0.0)),
        (Dropout(outputs=0.2), (0.0, 0.2)),
    ):
        seen.clear()
        torch.manual_seed(1)
        tops = read_window(model, rows(of), window, None, torch.float64, dropout)[:2]
        assert len(seen) == 2  # layers
        for inputs, masks in seen:
            assert [share_of_zeros(x) for x in inputs] == pytest.approx([shares[0]] * 2, abs=0.03)
            assert masks == [None, None]
        assert [share_of_zeros(x) for x in tops] == pytest.approx([shares[1]] * 2, abs=0.03)
    seen.clear()
    read_window(model, rows(of), window, None, torch.float64, Dropout(state_weights=0.4))
    drawn = [mask for _, masks in seen for mask in masks]
    for mask in drawn:
        assert mask is not None
        assert share_of_zeros(mask) == pytest.approx(0.4, abs=0.03)
        assert float(mask.max()) == pytest.approx(1 / 0.6)
    assert len({float(mask.sum()) for mask in drawn if mask is not None}) > 1


def test_dropout_falls_on_the_outputs_of_a_transformer() -> None:
    of = corpus([[*WORDS, *WORDS]] * 8)
    model = bilm(**(KINDS["transformer"] | {"projection_size": 40})).train()
    window = sentences(of.train.ids, pieces(of))
    plain = read_window(model, rows(of), window, None, torch.float64)[:2]
    found = read_window(model, rows(of), window, None, torch.float64, Dropout(outputs=0.2))[:2]
    for a, b in zip(found, plain, strict=True):
        assert share_of_zeros(a) == pytest.approx(0.2, abs=0.03)
        torch.testing.assert_close(a[a != 0], b[a != 0] / 0.8, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_dropped_but_in_training(kind: str) -> None:
    model, of = bilm(**(KINDS[kind] | {"dropout": 0.5})).eval(), corpus(TEXT)
    window = sentences(of.train.ids, pieces(of))
    everything = Dropout(0.5, 0.5, 0.5, 0.5)
    calm, again = (read_window(model, rows(of), window, None, torch.float64, d)[:2] for d in (Dropout(), everything))
    assert all(torch.equal(a, b) for a, b in zip(calm, again, strict=True))
    torch.manual_seed(1)
    wild = read_window(model.train(), rows(of), window, None, torch.float64, everything)[:2]
    assert all(not torch.allclose(a, b) for a, b in zip(calm, wild, strict=True))
