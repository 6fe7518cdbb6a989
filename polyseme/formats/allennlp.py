"""The published ELMo layout: `options.json` beside an HDF5 file of weights; read and write.

Written by bilm-tf (`bilm/training.py`, `dump_weights`), read by AllenNLP (`modules/elmo.py`, `modules/elmo_lstm.py`);
SeqVec and many user-trained models share it. The tables are bilm-tf's (see `bilm_tf.py`); beside that:

* a model without `char_cnn` reads whole words: `embedding`, in the same file or in another HDF5 beside it.
* the softmax is not in the file.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from polyseme.bilm import BiLMConfig
from polyseme.errors import DamagedModelError, InputError, UnknownFormatError, UnsupportedModelError
from polyseme.formats.bilm_tf import (
    DIRECTIONS,
    Array,
    Take,
    char_arrays,
    char_cnn_config,
    gates_to_tensorflow,
    layer_arrays,
    lstm_config,
    word_table,
)
from polyseme.formats.model import REFETCH, Model, ModelCard, assemble, damage_named
from polyseme.text.chars import Characters
from polyseme.text.vocab import Vocabulary


def find(path: Path) -> tuple[Path, Path] | None:
    """The options file and the weight file at `path`: a folder, an options file or an HDF5 file; None where not both.

    Raises `UnknownFormatError` where a folder holds several pairs.
    """
    folder = path if path.is_dir() else path.parent
    options = [path] if path.suffix == ".json" else sorted(folder.glob("*options*.json"))
    hdf5 = (".hdf5", ".h5")
    weights = [path] if path.suffix in hdf5 else [f for f in sorted(folder.iterdir()) if f.suffix in hdf5]
    if len(options) > 1 and len(weights) == 1:
        options = _same_stem(options, weights[0], "options") or options
    if len(weights) > 1:
        weights = _same_stem(weights, options[0], "weights") if len(options) == 1 else weights
        weights = [f for f in weights if _holds(f, "RNN_0")] or weights
    if not options or not weights:
        return None
    if len(options) > 1 or len(weights) > 1:
        names = ", ".join(f.name for f in [*options, *weights])
        raise UnknownFormatError(f"{folder} holds several models ({names}); give the path of one .hdf5 file")
    return options[0], weights[0]


def looks_like(path: Path) -> bool:
    """Whether options and HDF5 weights lie at `path`."""
    return find(path) is not None


def read(path: Path) -> Model:
    """The model at `path` (see `find`). Raises `DamagedModelError`, `UnknownFormatError`."""
    pair = find(path)
    if pair is None:
        raise UnknownFormatError(f"{path}: needs options.json and one .hdf5 file of weights beside it")
    return read_files(*pair)


def read_files(options_file: Path, weights_file: Path) -> Model:
    """The model of these two files, wherever they lie. Raises `DamagedModelError`, `UnsupportedModelError`."""
    with damage_named(options_file, "reading the options"):
        options = json.loads(options_file.read_text(encoding="utf-8"))
        if not isinstance(options, dict) or "lstm" not in options:
            raise DamagedModelError(f"{options_file}: has no 'lstm' section, so these are not the options of an ELMo")
    with damage_named(weights_file, "reading the weights"), h5py.File(weights_file, "r") as weights:
        vocabulary = _vocabulary(weights_file.parent, required=not options.get("char_cnn"))
        words, arrays = None, {}
        if section := options.get("char_cnn"):
            shape = _shape(weights, "char_embed", weights_file)
            cnn = char_cnn_config(section, shape, projected="CNN_proj" in weights, source=weights_file)
            config = lstm_config(options, cnn, ())
            arrays = char_arrays(cnn, config.projection_size, shape[0], _taker(weights, weights_file))
        else:
            table = _word_vectors(weights, weights_file)
            words = word_table(vocabulary, weights_file.parent)
            config = lstm_config(options, None, table.shape)
            arrays = {"encoder.words.weight": table}
        config, layers = _layers(weights, config, weights_file)
        tensors = {name: torch.from_numpy(array) for name, array in (arrays | layers).items()}
        bilm = assemble(config, tensors, weights_file)
    if words is not None and len(words.words) != config.n_words:
        raise DamagedModelError(
            f"{weights_file}: has vectors for {config.n_words:,} words, but vocab.txt lists {len(words.words):,}"
        )
    characters = Characters(max_characters=config.char_cnn.max_characters) if config.char_cnn else None
    card = ModelCard(name=weights_file.parent.name, source_format="allennlp-hdf5")
    return Model(bilm, characters=characters, words=words, vocabulary=vocabulary, card=card)


def write(model: Model, folder: Path) -> list[str]:
    """Writes `options.json` and `weights.hdf5` into an existing `folder`; returns what the format cannot hold.

    Raises `UnsupportedModelError` before writing anything where the network itself cannot be expressed.
    """
    config = model.bilm.config
    _refuse_inexpressible(model)
    (folder / "options.json").write_text(json.dumps(_options(config), indent=1), encoding="utf-8")
    state = {name: tensor.detach().cpu().numpy() for name, tensor in model.bilm.state_dict().items()}
    with h5py.File(folder / "weights.hdf5", "w") as file:
        for name, value in _datasets(state, config):
            file.create_dataset(name, data=value, track_times=False)
    lost = ["the model card", "the text pipeline's settings"]
    if model.vocabulary is not None:
        model.vocabulary.save(folder / "vocab.txt")
    if model.bilm.softmax is not None:
        lost.append(f"the softmax ({config.softmax_size:,} words): score, generate and substitutes need it")
    if model.settled is not None:
        lost.append("the stored settled state (it is computed again when the model is opened)")
    if config.forget_bias != 1.0:
        lost.append(f"the last bit of the forget biases (stored for {config.forget_bias:+}, written for +1)")
    return lost


# --- options <-> configuration


def _options(config: BiLMConfig) -> dict[str, Any]:
    """The options an AllenNLP reader expects: 262 characters is what it demands at inference."""
    options: dict[str, Any] = {
        "lstm": {
            "use_skip_connections": config.residual,
            "projection_dim": config.projection_size,
            "cell_clip": config.cell_clip,
            "proj_clip": config.projection_clip,
            "dim": config.cell_size,
            "n_layers": config.n_layers,
        },
        "dropout": config.dropout,
        "bidirectional": True,
    }
    if cnn := config.char_cnn:
        options["char_cnn"] = {
            "activation": cnn.activation,
            "embedding": {"dim": cnn.char_size},
            "filters": [list(pair) for pair in cnn.filters],
            "max_characters_per_token": cnn.max_characters,
            "n_characters": cnn.n_rows,
            "n_highway": cnn.n_highway,
        }
    return options


def _refuse_inexpressible(model: Model) -> None:
    config = model.bilm.config
    reasons = [
        (config.layers != "lstm", "it is a Transformer"),
        (config.encoder == "char_cnn+word", "it reads words and characters together"),
        (bool(model.characters and model.characters.alphabet), "it reads a learned alphabet, not UTF-8 bytes"),
        (
            bool(config.char_cnn and config.char_cnn.projection_location != "after_highway"),
            "its projection stands elsewhere",
        ),
        (bool(config.char_cnn and config.char_cnn.layer_norm), "its character network ends in a layer norm"),
        (config.encoder == "word" and config.word_size != config.projection_size, "its word table is projected"),
    ]
    for holds, reason in reasons:
        if holds:
            raise UnsupportedModelError(
                f"AllenNLP's HDF5 layout cannot express this model: {reason}; convert --to native"
            )


# --- HDF5 -> tensors


def _layers(weights: h5py.File, config: BiLMConfig, source: Path) -> tuple[BiLMConfig, dict[str, Array]]:
    """The LSTM layers of both directions. Without a projection there is none to clip."""
    take = _taker(weights, source)
    arrays: dict[str, Array] = {}
    for direction in range(2):
        for layer in range(config.n_layers):
            group = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            projected = config.cell_size != config.projection_size or f"{group}/W_P_0" in weights
            names = (f"{group}/W_0", f"{group}/B", f"{group}/W_P_0" if projected else None)
            arrays |= layer_arrays(config, direction, layer, names, take)
            if not projected:
                config = dataclasses.replace(config, projection_clip=None)
    return config, arrays


def _word_vectors(weights: h5py.File, weights_file: Path) -> Array:
    """The table of a model that reads whole words, from the same file or from one beside it. *Shape:* (words, P)."""
    if "embedding" in weights:
        return np.asarray(weights["embedding"], dtype=np.float32)
    for other in sorted(weights_file.parent.iterdir()):
        if other != weights_file and other.suffix in (".hdf5", ".h5") and _holds(other, "embedding"):
            with h5py.File(other, "r") as file:
                return np.asarray(file["embedding"], dtype=np.float32)
    raise DamagedModelError(f"{weights_file}: has neither characters nor an 'embedding' table; {REFETCH}")


def _shape(weights: h5py.File, name: str, source: Path) -> tuple[int, ...]:
    if not isinstance(weights.get(name), h5py.Dataset):
        raise DamagedModelError(f"{source}: lacks the dataset {name}; {REFETCH}")
    return tuple(weights[name].shape)


def _taker(weights: h5py.File, source: Path) -> Take:
    """Reads one dataset as float32, its shape checked before anything is read."""

    def take(name: str, shape: tuple[int, ...]) -> Array:
        found = _shape(weights, name, source)
        if found != shape:
            raise DamagedModelError(f"{source}: {name} has shape {found}, the options say {shape}; {REFETCH}")
        value = np.asarray(weights[name][...], dtype=np.float32)
        if not np.isfinite(value).all():
            raise DamagedModelError(f"{source}: {name} holds values that are not finite numbers; {REFETCH}")
        return value

    return take


# --- tensors -> HDF5


def _datasets(state: dict[str, Array], config: BiLMConfig) -> list[tuple[str, Array]]:
    """Every dataset of the file, in bilm-tf's names and layouts."""
    out: list[tuple[str, Array]] = []
    if config.char_cnn:
        own = {name.removeprefix("encoder.char_cnn."): value for name, value in state.items()}
        out.append(("char_embed", own["table.weight"][1:]))
        for index in range(len(config.char_cnn.filters)):
            kernel = own[f"convolutions.{index}.weight"].transpose(2, 1, 0)[np.newaxis]
            out += [(f"CNN/W_cnn_{index}", kernel), (f"CNN/b_cnn_{index}", own[f"convolutions.{index}.bias"])]
        for index in range(config.char_cnn.n_highway):
            transform, carry = np.split(own[f"highways.{index}.linear.weight"], 2)
            transform_bias, carry_bias = np.split(own[f"highways.{index}.linear.bias"], 2)
            group = f"CNN_high_{index}"
            out += [(f"{group}/W_carry", -carry.T), (f"{group}/b_carry", -carry_bias)]
            out += [(f"{group}/W_transform", transform.T), (f"{group}/b_transform", transform_bias)]
        if "projection.weight" in own:
            out += [("CNN_proj/W_proj", own["projection.weight"].T), ("CNN_proj/b_proj", own["projection.bias"])]
    else:
        out.append(("embedding", state["encoder.words.weight"]))
    for direction, name in enumerate(DIRECTIONS):
        for layer in range(config.n_layers):
            at = f"{name}.layers.{layer}"
            bias = state[f"{at}.bias"].copy()
            bias[config.cell_size : 2 * config.cell_size] += config.forget_bias - 1.0
            group = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            rows = np.concatenate([state[f"{at}.input_weight"], state[f"{at}.state_weight"]], axis=1)
            out += [(f"{group}/W_0", gates_to_tensorflow(rows)), (f"{group}/W_P_0", state[f"{at}.projection_weight"].T)]
            out.append((f"{group}/B", gates_to_tensorflow(bias[:, np.newaxis])[0]))
    return out


# --- files


def _holds(file: Path, name: str) -> bool:
    try:
        with h5py.File(file, "r") as opened:
            return name in opened
    except (OSError, RuntimeError, ValueError):
        return False


def _same_stem(files: list[Path], partner: Path, word: str) -> list[Path]:
    """Of `files`, the one whose name is the partner's with `options` and `weights` exchanged (published names)."""
    stem = partner.stem.replace("options", "").replace("weights", "")
    return [
        f for f in files if f.stem.replace("options", "").replace("weights", "") == stem and word in f.stem
    ] or files


def _vocabulary(folder: Path, *, required: bool) -> Vocabulary | None:
    """The word list beside the weights. A model that reads characters works without one, or with a broken one."""
    files = sorted(folder.glob("*vocab*.txt"))
    if len(files) != 1:
        return None
    try:
        return Vocabulary.load(files[0])
    except InputError:
        if required:
            raise
        return None
