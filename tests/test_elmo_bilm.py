"""The biLM inside `Elmo`: gradients and state dicts against AllenNLP's, and the models it takes."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from elmo_oracle import ABOUT, DATA, EQUAL, EXPECTED, TINY, TUNED, furthest, ids, open_tiny, run
from torch import Tensor

from polyseme import Elmo, ElmoEmbedder, batch_to_ids, fetch
from polyseme.bilm import BiLM, BiLMConfig
from polyseme.elmo_bilm import ElmoBiLM, allennlp_name
from polyseme.errors import FetchError, NotConvergedError, OptionError, UnsupportedModelError
from polyseme.formats import allennlp
from polyseme.formats.allennlp_names import ELMO_NAMES, renamed
from polyseme.formats.folder import write_model
from polyseme.formats.model import Model
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.transformer import TransformerConfig
from polyseme.settle import settled_states
from polyseme.text.chars import Characters
from polyseme.text.word_table import WordTable

CNN = CharCNNConfig(char_size=3, filters=((1, 4), (2, 4)), n_highway=1)


# --- training


def test_two_steps_of_training_are_allennlps() -> None:
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
        assert furthest(tensor, EXPECTED[f"state/{name}"]) <= EQUAL, name
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
    assert furthest(run(elmo.train(), [0]), run(open_tiny(), [0])) == 0


# --- state dicts


def test_the_names_are_allennlps_and_every_tensor_has_its_shape() -> None:
    elmo = open_tiny(2, vocab_to_cache=ABOUT["vocabulary"])
    assert {name: list(tensor.shape) for name, tensor in elmo.state_dict().items()} == ABOUT["names_with_cache"]
    table = elmo.state_dict()["_elmo_lstm._word_embedding.weight"]
    assert [bool(row.any()) for row in table] == [False] + [True] * 6  # row 0 is padding


def test_the_names_agree_with_those_that_archives_are_read_by() -> None:
    bilm = open_tiny()._elmo_lstm.bilm.state_dict()
    theirs = {allennlp_name(name): tensor for name, tensor in bilm.items()}
    assert renamed(theirs, ELMO_NAMES, Path()).keys() == bilm.keys()


def test_allennlps_state_dict_loads_strictly_and_gives_its_vectors() -> None:
    elmo = open_tiny(2)
    elmo.load_state_dict(TUNED, strict=True)
    for k, representation in enumerate(elmo(ids([0, 1, 2]))["elmo_representations"]):
        assert furthest(representation, EXPECTED[f"tuned_{k}"]) <= 2 * EQUAL
    exported = elmo.state_dict()
    assert exported.keys() == TUNED.keys()
    assert all(torch.equal(exported[name], tensor) for name, tensor in TUNED.items())  # forget biases, too


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
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*_elmo_lstm\.forward_layer_0\.state_l.*Unexp.*char_conv_9"):
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
