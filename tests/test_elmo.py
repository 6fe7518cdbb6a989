"""`Elmo` against AllenNLP's own: values, states, gradients, names in state dicts (tests/data/make_elmo_module.py)."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from polyseme import Elmo, ElmoEmbedder, batch_to_ids, fetch
from polyseme.bilm import BiLM, BiLMConfig
from polyseme.elmo_bilm import ElmoBiLM, allennlp_name
from polyseme.embedder import load
from polyseme.errors import FetchError, InputError, NotConvergedError, OptionError, UnsupportedModelError
from polyseme.formats import allennlp
from polyseme.formats.allennlp_names import ELMO_NAMES, renamed
from polyseme.formats.folder import open_model, write_model
from polyseme.formats.model import Model
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.transformer import TransformerConfig
from polyseme.settle import settled_states
from polyseme.text.chars import Characters
from polyseme.text.word_table import WordTable

DATA = Path(__file__).parent / "data"
TINY = DATA / "allennlp-char" / "highway2"
ABOUT = json.loads((DATA / "elmo-module" / "expected.json").read_text(encoding="utf-8"))
SENTENCES: list[list[str]] = ABOUT["sentences"]
EQUAL = 1e-6  # float32 sums in another order; values are below 3
CNN = CharCNNConfig(char_size=3, filters=((1, 4), (2, 4)), n_highway=1)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(DATA / "elmo-module" / "expected.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def open_tiny(n: int = 1, **options: Any) -> Elmo:
    return Elmo(TINY / "options.json", TINY / "weights.hdf5", n, **({"dropout": 0.0} | options))


def ids(call: list[int]) -> Tensor:
    return batch_to_ids([SENTENCES[i] for i in call])


def run(elmo: Elmo, call: list[int]) -> Tensor:
    result: Tensor = elmo(ids(call))["elmo_representations"][0]
    return result


def furthest(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> float:
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    assert a.shape == b.shape
    return float((a.detach() - b.detach()).abs().max())


def published(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    about = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    with np.load(folder / "expected.npz", allow_pickle=False) as file:
        return about, {name: file[name] for name in file.files}


# --- signatures and ids


def test_signatures_are_allennlps_with_keywords_behind_them() -> None:
    names = list(inspect.signature(Elmo).parameters)
    assert names[:10] == [
        *("options_file", "weight_file", "num_output_representations", "requires_grad", "do_layer_norm"),
        *("dropout", "vocab_to_cache", "keep_sentence_boundaries", "scalar_mix_parameters", "module"),
    ]
    defaults = [parameter.default for parameter in inspect.signature(Elmo).parameters.values()]
    assert defaults[3:] == [False, False, 0.5, None, False, None, None, "carry"]
    embedder = inspect.signature(ElmoEmbedder)
    assert list(embedder.parameters)[:3] == ["options_file", "weight_file", "cuda_device"]
    assert str(embedder.parameters["weight_file"].default) == (
        "https://s3-us-west-2.amazonaws.com/allennlp/models/elmo/2x4096_512_2048cnn_2xhighway/"
        "elmo_2x4096_512_2048cnn_2xhighway_weights.hdf5"
    )


def test_ids_are_bytes_and_marks_plus_one_padded_with_zeros() -> None:
    rows = batch_to_ids([["aé", "x" * 60], ["</S>"], []])
    assert rows.shape == (3, 2, 50)
    assert rows.dtype == torch.int64
    assert rows[0, 0].tolist() == [259, 98, 196, 170, 260, *[261] * 45]
    assert rows[0, 1].tolist() == [259, *[121] * 48, 260]
    assert rows[1, 0].tolist() == [259, 258, 260, *[261] * 47]
    assert rows[1, 1].sum() == rows[2].sum() == 0
    assert batch_to_ids([]).shape == (0, 0, 50)


def test_a_string_is_not_a_list_of_tokens() -> None:
    with pytest.raises(InputError, match="list of tokens, was the string 'The bank'"):
        batch_to_ids(["The bank"])


# --- values


@pytest.mark.parametrize("name", ["highway2", "highway1", "tanh"])
def test_all_layers_of_a_first_batch_are_allennlps(name: str) -> None:
    folder = DATA / "allennlp-char" / name
    about, arrays = published(folder)
    embedder = ElmoEmbedder(folder / "options.json", folder / "weights.hdf5")
    got = np.concatenate(embedder.embed_batch(about["sentences"]), axis=1)
    assert furthest(got, arrays["zero"]) <= EQUAL


def test_carried_batches_that_shrink_and_grow_are_allennlps() -> None:
    about, arrays = published(TINY)

    def embed(state: str) -> np.ndarray:
        embedder = ElmoEmbedder(TINY / "options.json", TINY / "weights.hdf5", state=state)
        batches = [[about["sentences"][i] for i in call] for call in about["carry_calls"]]
        return np.concatenate([layers for batch in batches for layers in embedder.embed_batch(batch)], axis=1)

    assert furthest(embed("carry"), arrays["carry"]) <= EQUAL
    assert furthest(embed("zero"), arrays["carry"]) > 1e-3


@pytest.mark.parametrize(("key", "norm"), [("mix", False), ("mix_norm", True)])
def test_the_mix_and_its_layer_norm_are_allennlps(key: str, norm: bool) -> None:
    about, arrays = published(TINY)
    elmo = open_tiny(do_layer_norm=norm, scalar_mix_parameters=about["mix"])
    mixed = elmo(batch_to_ids(about["sentences"]))["elmo_representations"][0]
    got = torch.cat([row[: len(s)] for row, s in zip(mixed, about["sentences"], strict=True)])
    assert furthest(got, arrays[key]) <= EQUAL
    assert not any(parameter.requires_grad for parameter in elmo.parameters())


def test_kept_boundaries_and_their_mask_are_allennlps(expected: dict[str, np.ndarray]) -> None:
    output = open_tiny(keep_sentence_boundaries=True, do_layer_norm=True)(ids([1, 0]))
    assert furthest(output["elmo_representations"][0], expected["boundaries"]) <= 2 * EQUAL  # divided by a deviation
    assert np.array_equal(output["mask"], expected["boundaries_mask"])
    assert output["mask"].dtype == torch.bool


def test_inputs_of_more_dimensions_are_allennlps(expected: dict[str, np.ndarray]) -> None:
    inputs = torch.stack([ids([0, 1]), ids([1, 0])])
    output = open_tiny()(inputs)
    assert furthest(output["elmo_representations"][0], expected["deep"]) <= EQUAL
    assert np.array_equal(output["mask"], expected["deep_mask"])
    kept = open_tiny(keep_sentence_boundaries=True)(inputs)  # AllenNLP fails here
    assert kept["elmo_representations"][0].shape == (2, 2, 8, 16)
    assert kept["mask"].shape == (2, 2, 8)
    with pytest.raises(OptionError, match=r"was of shape \(6, 50\)"):
        open_tiny()(ids([0])[0])


@pytest.mark.official
def test_the_published_vectors_of_thirty_carried_sentences(official: Path) -> None:
    """The published float32 values are themselves 1.14e-6 from those of exact arithmetic (float64), and AllenNLP 2.10.1
    is 1.19e-6 from them (both at two of 23,808 values); with AllenNLP the agreement is closer.
    """
    folder = official / "allennlp" / "test_fixtures" / "elmo"
    texts = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    embedder = ElmoEmbedder(folder / "options.json", folder / "lm_weights.hdf5")
    batches = [[text[t].split() for text in texts] for t in range(10)]
    embedded = list(embedder.embed_sentences((s for batch in batches for s in batch), batch_size=3))
    compared = 0
    for i in range(3):
        with h5py.File(folder / f"lm_embeddings_{i}.hdf5") as file:
            for t in range(10):
                top = np.concatenate(file[str(t)][...], axis=-1)  # Shape: (2, T, P) -> (T, 2P)
                assert furthest(embedded[3 * t + i][2], top) <= 1.25e-6
                compared += 1
    assert compared == 30
    with np.load(DATA / "official" / "elmo_english.npz", allow_pickle=False) as file:
        assert furthest(np.concatenate([layers[1] for layers in embedded]), file["carry_layer_1"]) <= 1e-6


# --- words computed once


def test_cached_words_are_allennlps(expected: dict[str, np.ndarray]) -> None:
    vocabulary, cached = ABOUT["vocabulary"], ABOUT["cached"]
    words = torch.tensor([[vocabulary.index(w) for w in s] + [0] * (4 - len(s)) for s in cached])
    elmo = open_tiny(vocab_to_cache=vocabulary)
    nothing = torch.zeros(2, 4, 50, dtype=torch.int64)  # the characters are not looked at
    output = elmo(nothing, words)
    assert furthest(output["elmo_representations"][0], expected["cached"]) <= EQUAL
    assert output["mask"].tolist() == [[True] * 4, [True, False, False, False]]
    elmo.reset_states()
    deep = elmo(nothing.unsqueeze(0), words.unsqueeze(0))
    assert furthest(deep["elmo_representations"][0][0], expected["cached"]) <= EQUAL


@pytest.mark.parametrize("outside", [7, 400, -1])
def test_a_word_outside_the_cache_is_read_by_its_characters(outside: int) -> None:
    elmo, plain = open_tiny(vocab_to_cache=ABOUT["vocabulary"]), open_tiny()
    words = torch.tensor([[2, outside]])
    assert furthest(elmo(ids([1]), words)["elmo_representations"][0], run(plain, [1])) == 0


def test_word_inputs_without_a_cache_are_ignored_and_said(caplog: pytest.LogCaptureFixture) -> None:
    got = open_tiny()(ids([1]), torch.tensor([[2, 3]]))["elmo_representations"][0]
    assert furthest(got, run(open_tiny(), [1])) == 0
    assert "without vocab_to_cache" in caplog.text


# --- states


def test_reset_states_by_mask_is_allennlps(expected: dict[str, np.ndarray]) -> None:
    elmo = open_tiny()
    run(elmo, [0, 1, 2])
    elmo.reset_states(torch.tensor(ABOUT["reset"]))
    assert furthest(run(elmo, [2, 0]), expected["reset"]) <= EQUAL
    assert furthest(run(elmo, [1, 1, 1]), expected["after_reset"]) <= EQUAL
    with pytest.raises(OptionError, match=r"shape \(2,\), but 3 rows are kept"):
        elmo.reset_states(torch.tensor([True, False]))


def test_reset_states_gives_the_first_vectors_again() -> None:
    elmo = open_tiny()
    first = run(elmo, [0])
    assert furthest(run(elmo, [0]), first) > 1e-3
    elmo.reset_states()
    assert furthest(run(elmo, [0]), first) == 0


def test_the_switch_that_old_code_turned_still_works() -> None:
    elmo = open_tiny()
    first = run(elmo, [0])
    elmo._elmo_lstm._elmo_lstm.stateful = False
    assert furthest(run(elmo, [0]), first) == 0


@pytest.mark.parametrize("state", ["settled", "zero"])
def test_without_carrying_the_batches_before_and_beside_do_not_matter(state: str) -> None:
    elmo = open_tiny(state=state)
    alone = run(elmo, [1])
    run(elmo, [0, 2])
    assert furthest(run(elmo, [0, 1])[1:, :2], alone) <= EQUAL
    embedded = load(TINY, state=state).embed([SENTENCES[1]])[0]
    assert furthest(alone[0], embedded.average()) <= EQUAL


def test_settled_zero_and_carry_differ() -> None:
    settled, zero = run(open_tiny(state="settled"), [1]), run(open_tiny(state="zero"), [1])
    assert furthest(settled, zero) > 1e-3
    assert furthest(zero, run(open_tiny(), [1])) == 0


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(OptionError, match="carry, settled, zero, was: 'warm'"):
        open_tiny(state="warm")


def test_the_settled_state_follows_the_weights(expected: dict[str, np.ndarray]) -> None:
    tuned = {name[6:]: torch.from_numpy(value) for name, value in expected.items() if name.startswith("state/")}
    elmo = open_tiny(2, state="settled")
    before = run(elmo, [0])
    elmo.load_state_dict(tuned)
    fresh = open_tiny(2, state="settled")
    fresh.load_state_dict(tuned)
    assert furthest(run(elmo, [0]), run(fresh, [0])) == 0
    assert furthest(run(elmo, [0]), before) > 1e-4

    trained = open_tiny(requires_grad=True, state="settled")
    run(trained, [0]).sum().backward()
    torch.optim.SGD(trained.parameters(), lr=0.003).step()
    same = open_tiny(requires_grad=True, state="settled")
    same.load_state_dict(trained.state_dict())
    assert furthest(run(trained, [0]), run(same, [0])) == 0
    assert furthest(run(trained.eval(), [0]), run(same, [0])) == 0


# --- odd batches


def test_empty_sentences_and_empty_batches() -> None:
    elmo = open_tiny()
    output = elmo(batch_to_ids([[], ["We", "sat"]]))
    assert output["mask"].tolist() == [[False, False], [True, True]]
    assert output["elmo_representations"][0][0].abs().max() == 0
    assert furthest(output["elmo_representations"][0][1], run(open_tiny(), [1])[0]) <= EQUAL
    assert elmo(batch_to_ids([[], []]))["elmo_representations"][0].shape == (2, 0, 16)
    assert elmo(batch_to_ids([]))["elmo_representations"][0].shape == (0, 0, 16)


def test_padding_inside_a_sentence_is_refused() -> None:
    holes = ids([0])
    holes[0, 2] = 0
    with pytest.raises(InputError, match="pad behind the last word"):
        open_tiny()(holes)


# --- training


def test_two_steps_of_training_are_allennlps(expected: dict[str, np.ndarray]) -> None:
    """Every weight after each step, so every gradient, with the state carried from the first step to the second."""
    elmo = open_tiny(2, requires_grad=True)
    optimizer = torch.optim.SGD(elmo.parameters(), lr=ABOUT["learning_rate"])
    before = {name: tensor.clone() for name, tensor in elmo.state_dict().items()}
    for call, loss_there in zip(ABOUT["calls"], ABOUT["losses"], strict=True):
        first, second = elmo(ids(call))["elmo_representations"]
        loss = first.square().sum() + second.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(loss_there, abs=1e-3)
    for name, tensor in elmo.state_dict().items():
        assert furthest(tensor, expected[f"state/{name}"]) <= EQUAL, name
        assert furthest(tensor, before[name]) > 1e-5, name  # everything learns


def test_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(3)
    elmo = open_tiny(requires_grad=True, state="zero").double()

    def loss() -> Tensor:
        return run(elmo, [1, 3]).sin().sum()

    loss().backward()
    for name, parameter in elmo.named_parameters():
        direction, gradient = torch.randn_like(parameter), parameter.grad
        assert gradient is not None
        values = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                parameter += step * direction
                values.append(loss().item())
        with torch.no_grad():
            parameter += 1e-6 * direction
        slope = (values[0] - values[1]) / 2e-6
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-4, abs=1e-6), name


def test_a_frozen_bilm_has_no_gradients_and_its_mix_learns() -> None:
    elmo = open_tiny(scalar_mix_parameters=None)
    names = [name for name, parameter in elmo.named_parameters() if parameter.requires_grad]
    assert names == ["scalar_mix_0.gamma", *(f"scalar_mix_0.scalar_parameters.{k}" for k in range(3))]
    with torch.no_grad():
        wanted = 1.5 * open_tiny(state="zero")._elmo_lstm(ids([0, 1, 2]))["activations"][2][:, 1:-1]
    elmo._elmo_lstm._elmo_lstm.stateful = False
    optimizer = torch.optim.Adam(elmo.parameters(), lr=0.3)
    mask = elmo(ids([0, 1, 2]))["mask"].unsqueeze(-1)
    for _ in range(60):
        loss = ((run(elmo, [0, 1, 2]) - wanted) * mask).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert elmo.scalar_mix_0.weights()[2] > 0.95  # type: ignore[union-attr, operator]
    assert elmo.scalar_mix_0.gamma.item() == pytest.approx(1.5, abs=0.1)  # type: ignore[union-attr, operator]


def test_a_second_backward_pass_over_carried_states_works() -> None:
    """allennlp#1644: "trying to backward through the graph a second time"."""
    elmo = open_tiny(requires_grad=True)
    for call in ([0, 1], [2], [0, 1, 2]):
        run(elmo, call).sum().backward()
    assert not any(tensor.requires_grad for state in elmo._elmo_lstm._elmo_lstm._states for tensor in state)


def test_dropout_falls_on_the_sums_in_training_only() -> None:
    torch.manual_seed(5)
    elmo = open_tiny(dropout=0.5, state="zero")
    plain = run(elmo.eval(), [0])
    dropped = run(elmo.train(), [0])
    kept = dropped != 0
    assert 0.3 < kept.float().mean() < 0.7
    assert furthest(dropped[kept], 2 * plain[kept]) <= EQUAL


def test_the_dropout_of_the_options_stays_outside(tmp_path: Path) -> None:
    """Published options hold the dropout of the biLM's own training; AllenNLP never applies it."""
    options = json.loads((TINY / "options.json").read_text(encoding="utf-8")) | {"dropout": 0.5}
    (tmp_path / "options.json").write_text(json.dumps(options), encoding="utf-8")
    elmo = Elmo(tmp_path / "options.json", TINY / "weights.hdf5", 1, dropout=0.0, requires_grad=True)
    assert elmo.training
    assert furthest(run(elmo, [0]), run(open_tiny(), [0])) == 0


# --- state dicts


def test_the_names_are_allennlps_and_every_tensor_has_its_shape() -> None:
    elmo = open_tiny(2, vocab_to_cache=ABOUT["vocabulary"])
    assert {name: list(tensor.shape) for name, tensor in elmo.state_dict().items()} == ABOUT["names_with_cache"]


def test_the_names_agree_with_those_that_archives_are_read_by() -> None:
    bilm = open_tiny()._elmo_lstm.bilm.state_dict()
    theirs = {allennlp_name(name): tensor for name, tensor in bilm.items()}
    assert renamed(theirs, ELMO_NAMES, Path()).keys() == bilm.keys()


def test_allennlps_state_dict_loads_strictly_and_gives_its_vectors(expected: dict[str, np.ndarray]) -> None:
    elmo = open_tiny(2)
    tuned = {name[6:]: torch.from_numpy(value) for name, value in expected.items() if name.startswith("state/")}
    elmo.load_state_dict(tuned, strict=True)
    for k, representation in enumerate(elmo(ids([0, 1, 2]))["elmo_representations"]):
        assert furthest(representation, expected[f"tuned_{k}"]) <= 2 * EQUAL
    exported = elmo.state_dict()
    assert exported.keys() == tuned.keys()
    assert all(torch.equal(exported[name], tensor) for name, tensor in tuned.items())  # forget biases, too


def test_a_state_dict_goes_through_a_larger_model_and_a_file(tmp_path: Path) -> None:
    class Tagger(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.elmo = open_tiny()
            self.top = torch.nn.Linear(16, 2)

    first, second = Tagger(), Tagger()
    with torch.no_grad():
        for parameter in first.parameters():
            parameter += 0.01
    torch.save(first.state_dict(), tmp_path / "tagger.th")
    state = torch.load(tmp_path / "tagger.th", weights_only=True)
    assert "elmo._elmo_lstm._elmo_lstm.backward_layer_1.state_linearity.bias" in state
    second.load_state_dict(state)
    assert furthest(run(first.elmo, [0]), run(second.elmo, [0])) == 0
    second.load_state_dict(state, assign=True)
    assert furthest(run(open_tiny(), [0]), run(second.elmo, [0])) > 1e-3


def test_what_is_missing_or_unknown_is_named_as_allennlp_names_it() -> None:
    elmo = open_tiny()
    state = elmo.state_dict()
    bias = "_elmo_lstm._elmo_lstm.forward_layer_0.state_linearity.bias"
    state["_elmo_lstm._token_embedder.char_conv_9.weight"] = state.pop(bias)
    with pytest.raises(
        RuntimeError, match=r"(?s)Missing.*_elmo_lstm\.forward_layer_0\.state_l.*Unexp.*char_conv_9"
    ):
        elmo.load_state_dict(state)
    report = elmo.load_state_dict(state, strict=False)
    assert report.missing_keys == [bias]
    assert report.unexpected_keys == ["_elmo_lstm._token_embedder.char_conv_9.weight"]


@pytest.mark.official
def test_the_elmo_of_a_published_tagger_loads_strictly(official: Path) -> None:
    fixtures = official / "allennlp" / "test_fixtures"
    folder = fixtures / "simple_tagger_with_elmo" / "serialization"
    with tarfile.open(folder / "model.tar.gz") as archive:
        weights = archive.extractfile("weights.th")
        assert weights is not None
        state = torch.load(io.BytesIO(weights.read()), weights_only=True)
    prefix = "text_field_embedder.token_embedder_elmo._elmo."
    state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    elmo = Elmo(fixtures / "elmo" / "options.json", fixtures / "elmo" / "lm_weights.hdf5", 1).eval()
    elmo.load_state_dict(state, strict=True)
    about = json.loads((DATA / "official" / "tagger.json").read_text(encoding="utf-8"))
    mixed = elmo(batch_to_ids(about["sentences"]))["elmo_representations"][0]
    got = torch.cat([row[: len(s)] for row, s in zip(mixed, about["sentences"], strict=True)])
    with np.load(DATA / "official" / "tagger.npz", allow_pickle=False) as file:
        assert furthest(got, file["mix"]) <= EQUAL


# --- where models come from


def test_options_and_weights_may_lie_apart_and_be_strings(awkward_path: Path) -> None:
    (awkward_path / "of mine.json").write_bytes((TINY / "options.json").read_bytes())
    elmo = Elmo(str(awkward_path / "of mine.json"), str(TINY / "weights.hdf5"), 1)
    assert elmo.get_output_dim() == 16


def test_a_known_address_is_a_file_under_home_or_an_error_that_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYSEME_HOME", str(tmp_path))
    monkeypatch.setenv("POLYSEME_OFFLINE", "1")
    with pytest.raises(FetchError) as caught:
        ElmoEmbedder()
    name = "elmo_2x4096_512_2048cnn_2xhighway_options.json"
    assert str(caught.value).endswith(f"save {fetch.BUCKETS[1]}2x4096_512_2048cnn_2xhighway/{name} as "
                                      f"{tmp_path / 'elmo-original' / name}")  # fmt: skip
    (tmp_path / "elmo-original").mkdir()
    (tmp_path / "elmo-original" / name).write_bytes((TINY / "options.json").read_bytes())
    (tmp_path / "elmo-original" / name.replace("options.json", "weights.hdf5")).write_bytes(
        (TINY / "weights.hdf5").read_bytes()
    )
    assert ElmoEmbedder().embed_sentence(["We", "sat"]).shape == (3, 2, 16)


def test_from_model_opens_other_layouts_and_copies_what_it_is_given(tmp_path: Path) -> None:
    model = allennlp.read(TINY)
    before = {name: tensor.clone() for name, tensor in model.bilm.state_dict().items()}
    write_model(model, tmp_path / "native")
    expected = run(open_tiny(), [0])
    for source in (model, TINY, str(tmp_path / "native")):
        elmo = Elmo.from_model(source, 1, requires_grad=True, dropout=0.0)
        assert furthest(run(elmo, [0]), expected) == 0
        run(elmo, [0]).sum().backward()
        torch.optim.SGD(elmo.parameters(), lr=0.1).step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.bilm.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.bilm.parameters())


def test_a_stored_settled_state_is_used() -> None:
    model = allennlp.read(TINY)
    zero = (model.bilm.forward_layers.zero_state(1), model.bilm.backward_layers.zero_state(1))  # type: ignore[union-attr]
    stored = Elmo.from_model(dataclasses.replace(model, settled=zero), 1, dropout=0.0, state="settled")
    assert furthest(run(stored, [0]), run(open_tiny(), [0])) == 0


def random_model(characters: Characters | None = None, **changes: Any) -> Model:
    torch.manual_seed(11)
    config = dataclasses.replace(BiLMConfig(char_cnn=CNN, projection_size=6, cell_size=5), **changes)
    return Model(BiLM(config).eval(), characters=characters)


def test_a_learned_alphabet_has_its_own_ids() -> None:
    characters = Characters(12, (*"语言模型", *(f"<{mark}>" for mark in range(6))), 5, 6, 7, 8, 9, 10)
    cnn = dataclasses.replace(CNN, n_rows=characters.n_rows, max_characters=12)
    elmo = Elmo.from_model(random_model(characters, char_cnn=cnn), 1, dropout=0.0)
    rows = batch_to_ids([["语言", "模型"]], characters)
    assert rows.shape == (1, 2, 12)
    assert rows[0, 0, :5].tolist() == [7, 1, 2, 8, 9]
    assert elmo(rows)["elmo_representations"][0].shape == (1, 2, 12)
    assert elmo.state_dict()["_elmo_lstm._token_embedder._char_embedding_weights"].shape == (11, 3)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"layers": "transformer", "transformer": TransformerConfig(inner_size=4, n_heads=2)}, "a Transformer"),
        ({"encoder": "word", "char_cnn": None, "n_words": 3, "word_size": 6}, "a model that reads words"),
    ],
)
def test_what_elmo_cannot_run_is_refused(changes: dict[str, Any], kind: str) -> None:
    words = WordTable(("<S>", "</S>", "<UNK>"), 0, 1, 2)
    model = dataclasses.replace(random_model(**changes), words=words)
    with pytest.raises(UnsupportedModelError, match=f"this is {kind}; use polyseme.load"):
        Elmo.from_model(model, 1)


def test_a_state_that_never_settles_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyseme.elmo_bilm.settled_states", partial(settled_states, max_passes=3))
    with pytest.raises(NotConvergedError):
        run(open_tiny(state="settled"), [0])


def test_another_module_takes_the_place_of_the_bilm() -> None:
    bilm = ElmoBiLM(allennlp.read(TINY), state="zero")
    assert furthest(run(Elmo(None, None, 1, dropout=0.0, module=bilm), [0]), run(open_tiny(), [0])) == 0
    with pytest.raises(OptionError, match="with module="):
        Elmo("options.json", None, 1, module=bilm)
    with pytest.raises(OptionError, match="needs options_file and weight_file"):
        Elmo(None, None, 1)


# --- ElmoEmbedder


def test_an_empty_sentence_has_no_words_and_leaves_the_state_alone() -> None:
    embedder = ElmoEmbedder(TINY / "options.json", TINY / "weights.hdf5")
    assert embedder.embed_sentence([]).shape == (3, 0, 16)
    assert embedder.elmo_bilm._elmo_lstm._states is None
    first, nothing = embedder.embed_batch([SENTENCES[0], []])
    assert first.shape == (3, 6, 16)
    assert nothing.shape == (3, 0, 16)
    assert first.dtype == nothing.dtype == np.float32


def test_sentences_are_embedded_lazily_in_batches_of_the_given_order() -> None:
    drawn: list[int] = []

    def source() -> Any:
        for i in (0, 1, 2, 3):
            drawn.append(i)
            yield SENTENCES[i]

    embedder, other = (ElmoEmbedder(TINY / "options.json", TINY / "weights.hdf5") for _ in range(2))
    results = embedder.embed_sentences(source(), batch_size=2)
    first = next(iter(results))
    assert drawn == [0, 1]
    wanted = other.embed_batch(SENTENCES[:2]) + other.embed_batch(SENTENCES[2:])
    for got, want in zip([first, *results], wanted, strict=True):
        assert furthest(got, want) == 0
    with pytest.raises(OptionError, match="batch_size must be at least 1"):
        next(iter(embedder.embed_sentences([], batch_size=0)))


def test_batch_to_embeddings_is_padded_and_masked() -> None:
    embedder = ElmoEmbedder(TINY / "options.json", TINY / "weights.hdf5")
    layers, mask = embedder.batch_to_embeddings([SENTENCES[0], SENTENCES[1]])
    assert layers.shape == (2, 3, 6, 16)
    assert mask.tolist() == [[True] * 6, [True, True, False, False, False, False]]
    assert layers[1, :, 2:].abs().max() == 0


def test_every_released_layout_of_an_allennlp_archive_reaches_elmo(official: Path) -> None:
    """The ELMo inside a task archive, opened by Polyseme's reader: its biLM without the task's mix."""
    folder = official / "allennlp" / "test_fixtures" / "simple_tagger_with_elmo" / "serialization"
    elmo = Elmo.from_model(open_model(folder / "model.tar.gz"), 1, dropout=0.0)
    plain = official / "allennlp" / "test_fixtures" / "elmo"
    same = Elmo(plain / "options.json", plain / "lm_weights.hdf5", 1, dropout=0.0)
    assert furthest(run(elmo, [0]), run(same, [0])) <= EQUAL
