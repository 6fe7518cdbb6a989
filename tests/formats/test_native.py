"""Polyseme's own folder: everything that goes in comes out, and what does not fit together is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import published_model, random_model

import polyseme
from polyseme.embedder import Embedder
from polyseme.errors import DamagedModelError, PolysemeError, UnsupportedModelError
from polyseme.formats import native
from polyseme.formats.folder import open_model, write_model
from polyseme.formats.model import Model, ModelCard
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.transformer import TransformerConfig
from polyseme.settle import settled_states
from polyseme.text.chars import Characters
from polyseme.text.config import TextConfig
from polyseme.text.vocab import Vocabulary


def with_alphabet() -> Model:
    characters = Characters(20, (*"SETXPU", "é", "两", "🙂", '"'), 1, 2, 3, 4, 5, 6)
    cnn = CharCNNConfig(n_rows=11, char_size=3, filters=((1, 4), (2, 2)), n_highway=0, max_characters=20)
    return dataclasses.replace(random_model(char_cnn=cnn), characters=characters)


MODELS: dict[str, Callable[[], Model]] = {
    "characters": published_model,
    "softmax": lambda: random_model(softmax=True, dropout=0.1, residual=False, projection_clip=None),
    "words": lambda: random_model(encoder="word", char_cnn=None, n_words=12, word_size=5),
    "both": lambda: random_model(
        encoder="char_cnn+word", n_words=12, word_size=4,
        char_cnn=CharCNNConfig(char_size=3, filters=((1, 3),), projection_location="none"),
    ),
    "alphabet": with_alphabet,
    "transformer": lambda: random_model(
        layers="transformer", transformer=TransformerConfig(4, 2, context=9), projection_size=6
    ),
}  # fmt: skip


@pytest.fixture(params=list(MODELS))
def model(request: pytest.FixtureRequest) -> Model:
    made = MODELS[request.param]()
    card = ModelCard("a name 中", "random", "no data", "CC0", "12.5 over 7 targets", 'seed "1"\n')
    text = TextConfig(tokenizer="whitespace", languages=("de", "fr"), lowercase=True)
    settled, residual = settled_states(made) if made.bilm.config.layers == "lstm" else (None, None)
    size = made.bilm.config.softmax_size
    counts = np.arange(size, dtype=np.int64) * 10**10 if size else None
    return dataclasses.replace(made, card=card, text=text, settled=settled, settled_residual=residual, counts=counts)


def test_everything_that_goes_in_comes_out(model: Model, awkward_path: Path) -> None:
    folder = awkward_path / "model"
    assert write_model(model, folder) == []
    back = open_model(folder)
    assert back.bilm.config == model.bilm.config
    for field in ("characters", "words", "vocabulary", "text", "card", "settled_residual"):
        assert getattr(back, field) == getattr(model, field), field
    state = back.bilm.state_dict()
    assert set(state) == set(model.bilm.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.bilm.state_dict().items())
    assert back.hash() == model.hash()
    assert (back.settled is None) == (model.settled is None)
    if model.settled is not None and back.settled is not None:
        pairs = zip(model.settled, back.settled, strict=True)
        assert all(torch.equal(x, y) for a, b in pairs for x, y in zip(a, b, strict=True))
    assert (back.counts is None) == (model.counts is None)
    if back.counts is not None and model.counts is not None:
        assert (back.counts.dtype, back.counts.tolist()) == (np.int64, model.counts.tolist())
    assert not back.bilm.training
    words = [["The", "bank", "é两"], [], ["unheard"]]
    for a, b in zip(Embedder(model).embed(words), Embedder(back).embed(words), strict=True):
        assert np.array_equal(a.layers, b.layers)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(random_model(softmax=True), tmp_path / name)
    assert sorted(f.name for f in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors", "vocab.txt"]
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_the_stored_settled_state_is_the_one_that_sentences_start_from(tmp_path: Path) -> None:
    model = published_model()
    settled, _ = settled_states(model)
    moved = tuple(type(state)(state.hidden + 0.5, state.cell) for state in settled)
    write_model(dataclasses.replace(model, settled=moved), tmp_path / "model")  # type: ignore[arg-type]
    embedder = polyseme.load(tmp_path / "model")
    assert embedder.initial is not None
    assert torch.equal(embedder.initial[0].hidden, moved[0].hidden)
    shifted = embedder.embed([["The", "bank"]])[0].layers
    assert np.abs(shifted - Embedder(model).embed([["The", "bank"]])[0].layers).max() > 1e-3


# --- what does not fit together


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = random_model(softmax=True)
    write_model(dataclasses.replace(model, settled=settled_states(model)[0]), tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    sections = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change(sections)
    (folder / "config.json").write_text(json.dumps(sections), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda c: c.update(version=2), "has version 2, this Polyseme reads 1"),
        (lambda c: c.pop("format"), "no 'format': 'polyseme'"),
        (lambda c: c.pop("architecture"), "architecture"),
        (lambda c: c["architecture"].update(cell_size=8), r"has shape .* its configuration says|settled"),
        (lambda c: c["architecture"].update(n_layers=3), "lacks .*and 7 more|settled"),
        (lambda c: c["architecture"].update(n_layers="two"), "config.json"),
        (lambda c: c["architecture"].update(surprise=1), "surprise"),
        (lambda c: c["architecture"].update(layers="gru"), "layers must be lstm or transformer, was: 'gru'"),
        (lambda c: c["architecture"].update(projection_size=10**12), "its configuration says|not |memory"),
        (lambda c: c["architecture"].update(n_layers=True), "n_layers is True, which is no int"),
        (lambda c: c["architecture"].update(cell_clip="wide"), "cell_clip is 'wide'"),
        (lambda c: c["architecture"].update(softmax_size=9), "softmax.weight has shape"),
        (lambda c: c["architecture"]["char_cnn"].update(filters=[[1]]), "config.json"),
        (lambda c: c["architecture"]["char_cnn"].update(max_characters=30), "the alphabet does not fit the 262 rows"),
        (lambda c: c.update(characters=None), "the alphabet does not fit the 262 rows"),
        (lambda c: c["characters"].update(padding=300), "ids below 262"),
        (lambda c: c["text"].update(lowercase=[1]), "lowercase is .1.*no bool"),
    ],
)
def test_a_configuration_that_is_not_that_of_the_weights_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], finding: str
) -> None:
    edit(folder, change)
    with pytest.raises(PolysemeError, match=finding):
        polyseme.load(folder)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda t: t.pop("softmax.bias"), "lacks softmax.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "holds extra, which its configuration does not know"),
        (lambda t: t.update({"softmax.bias": torch.zeros(3)}), r"softmax.bias has shape \(3,\)"),
        (lambda t: t.update({"softmax.bias": torch.zeros(10, dtype=torch.long)}), "softmax.bias holds torch.int64"),
        (lambda t: t.pop("settled.forward.cell"), "settled.forward.cell has shape None"),
        (lambda t: t.update({"settled.backward.cell": torch.zeros(2, 2, 7)}), "settled.backward.cell has shape"),
        (lambda t: t.update({"vocabulary.counts": torch.ones(9, dtype=torch.long)}), r"hold 10 counts, but is \(9,\)"),
        (lambda t: t.update({"vocabulary.counts": torch.ones(10)}), "hold 10 counts, but is .* torch.float32"),
        (lambda t: t.update({"vocabulary.counts": -torch.ones(10, dtype=torch.long)}), "must hold 10 counts"),
    ],
)
def test_weights_that_are_missing_unknown_or_misshapen_are_named(
    folder: Path, change: Callable[[dict[str, Any]], object], finding: str
) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DamagedModelError, match=finding):
        polyseme.load(folder)


@pytest.mark.parametrize("place", ["softmax.weight", "forward_layers.layers.0.bias", "settled.forward.hidden"])
def test_weights_that_are_no_finite_numbers_are_refused(folder: Path, place: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[place].view(-1)[0] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DamagedModelError, match=f"{place}.*finite"):
        polyseme.load(folder)


def test_a_vocabulary_of_another_size_or_none_is_refused(folder: Path) -> None:
    (folder / "vocab.txt").write_text("<S>\n</S>\n<UNK>\n", encoding="utf-8")
    with pytest.raises(DamagedModelError, match=r"vocab\.txt lists 3 words for a softmax of 10"):
        open_model(folder)
    (folder / "vocab.txt").unlink()
    with pytest.raises(DamagedModelError, match=r"vocab\.txt lists 0 words for a softmax of 10"):
        open_model(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "\x00",
        '{"words": ["a"], "sentence_start": 0}',
        '{"words": ["a"], "sentence_start": 5, "sentence_end": 0, "unknown": 0}',
        '{"words": "abc", "sentence_start": 0, "sentence_end": 0, "unknown": 0}',
    ],
)
def test_a_broken_word_table_is_named(tmp_path: Path, text: str) -> None:
    write_model(MODELS["words"](), tmp_path / "model")
    (tmp_path / "model" / "words.json").write_text(text, encoding="utf-8")
    with pytest.raises(PolysemeError, match=r"words\.json"):
        open_model(tmp_path / "model")
    (tmp_path / "model" / "words.json").unlink()
    with pytest.raises(PolysemeError, match=r"words\.json"):
        open_model(tmp_path / "model")


def test_a_word_table_of_another_size_is_refused(tmp_path: Path) -> None:
    write_model(MODELS["words"](), tmp_path / "model")
    file = tmp_path / "model" / "words.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    table["words"] = table["words"][:-1]
    file.write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(DamagedModelError, match=r"words\.json lists 11 words for 12 rows"):
        open_model(tmp_path / "model")


def test_only_a_folder_with_both_files_looks_native(folder: Path, tmp_path: Path) -> None:
    assert native.looks_like(folder)
    assert not native.looks_like(folder / "model.safetensors")
    assert not native.looks_like(tmp_path)
    shutil.rmtree(folder)
    assert not native.looks_like(folder)


def test_a_newer_version_is_not_called_damage(folder: Path) -> None:
    edit(folder, lambda sections: sections.update(version=99))
    with pytest.raises(UnsupportedModelError, match="install a newer one"):
        open_model(folder)


@pytest.mark.parametrize("vocabulary", [None, Vocabulary(("<S>", "</S>", "<UNK>", "bank"))])
def test_a_softmax_without_its_words_is_not_written(tmp_path: Path, vocabulary: Vocabulary | None) -> None:
    nameless = dataclasses.replace(random_model(softmax=True), vocabulary=vocabulary)
    with pytest.raises(UnsupportedModelError, match=r"a softmax of 10 words and a vocabulary of [04],.*vocab\.txt"):
        write_model(nameless, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_every_file_gets_the_permissions_that_new_files_get(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_model(random_model(softmax=True), tmp_path / "model")
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "model").iterdir()}
    assert modes == dict.fromkeys(("config.json", "model.safetensors", "vocab.txt"), 0o666 & ~mask)
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o777 & ~mask


FULL = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from tiny import random_model
from polyseme.errors import OutputError
from polyseme.formats.folder import write_model

resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
try:
    write_model(random_model(softmax=True), sys.argv[1])
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="has no limit on the size of files")
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", FULL, str(tmp_path / "model"), tests]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert "File too large" in done.stdout
    assert "nothing was changed there" in done.stdout
    assert list(tmp_path.iterdir()) == []
