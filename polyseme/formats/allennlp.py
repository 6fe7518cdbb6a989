"""The published ELMo layout: `options.json` beside an HDF5 file of weights; read and write.

Written by bilm-tf (`bilm/training.py`, `dump_weights`), read by AllenNLP (`modules/elmo.py`, `modules/elmo_lstm.py`);
SeqVec and many user-trained models share it. Facts that a reader must know:

* `char_embed` has 261 rows; inference adds a row of zeros for the mask. `n_characters` in the options says 261 or 262
  by its age and is never asked: the shape decides.
* gates lie in the order input, memory, forget, output in the columns of `W_0`, whose rows are [input ; state];
  the forget bias is raw, one is added at run time.
* the highway's carry gate is that of the TRANSFORMED part, ours that of the input: the sign flips.
* bilm-tf leaves out `CNN_proj` where the filters are as many as the projection is wide, and `W_P_0` where there are as many
  cells (the output is then the gated cell itself, and never clipped).
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
import numpy.typing as npt
import torch
from torch import Tensor

from polyseme.bilm import BiLMConfig
from polyseme.errors import DamagedModelError, InputError, UnknownFormatError, UnsupportedModelError
from polyseme.formats.model import REFETCH, Model, ModelCard, assemble, damage_named
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.text.chars import SENTENCE_END, SENTENCE_START, Characters
from polyseme.text.vocab import Vocabulary
from polyseme.text.word_table import WordTable

Array = npt.NDArray[np.float32]
DIRECTIONS = ("forward_layers", "backward_layers")


def gates_from_tensorflow(columns: Array) -> Array:
    """(n, 4H) in the order input, memory, forget, output -> (4H, n) in the order input, forget, memory, output."""
    take, memory, keep, give = np.split(columns, 4, axis=1)
    return np.ascontiguousarray(np.concatenate([take, keep, memory, give], axis=1).T)


def gates_to_tensorflow(rows: Array) -> Array:
    """The inverse of `gates_from_tensorflow`."""
    take, keep, memory, give = np.split(rows, 4, axis=0)
    return np.ascontiguousarray(np.concatenate([take, memory, keep, give], axis=0).T)


def highway_from_tensorflow(
    carry_weight: Array, carry_bias: Array, transform_weight: Array, transform_bias: Array
) -> tuple[Array, Array]:
    """Carry and transform products of a bilm-tf highway layer, (F, F) and (F,) -> our stacked (2F, F) and (2F,)."""
    weight = np.concatenate([transform_weight.T, -carry_weight.T])
    return weight, np.concatenate([transform_bias, -carry_bias])


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
        if options.get("char_cnn"):
            shape = _shape(weights, "char_embed", weights_file)
            config = _config(options, _char_cnn(options["char_cnn"], shape, projected="CNN_proj" in weights))
            tensors, words = _char_tensors(weights, config, weights_file), None
        else:
            table, words = _token_input(weights, weights_file, vocabulary)
            config = _config(options, None, table.shape)
            tensors = {"encoder.words.weight": torch.from_numpy(table)}
        tensors |= _lstm_tensors(weights, config, weights_file)
        if not any(name.endswith("W_P_0") for name in weights.get("RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell", ())):
            config = dataclasses.replace(config, projection_clip=None)
        bilm = assemble(config, tensors, weights_file)
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


def _config(options: dict[str, Any], char_cnn: CharCNNConfig | None, table: tuple[int, ...] = (0, 0)) -> BiLMConfig:
    lstm = options["lstm"]
    return BiLMConfig(
        encoder="char_cnn" if char_cnn else "word",
        n_layers=int(lstm["n_layers"]),
        projection_size=int(lstm["projection_dim"]),
        cell_size=int(lstm["dim"]),
        cell_clip=_clip(lstm.get("cell_clip")),
        projection_clip=_clip(lstm.get("proj_clip")),
        residual=bool(lstm.get("use_skip_connections", False)),
        char_cnn=char_cnn,
        n_words=table[0],
        word_size=table[1],
        dropout=float(options.get("dropout", 0.0)),
    )


def _clip(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value else None


def _char_cnn(options: dict[str, Any], table_shape: tuple[int, ...], *, projected: bool) -> CharCNNConfig:
    rows, size = table_shape
    if rows not in (261, 262):
        raise UnsupportedModelError(f"char_embed has {rows} rows; UTF-8 ELMo models have 261 (or 262 with the mask)")
    return CharCNNConfig(
        n_rows=262,
        char_size=size,
        filters=tuple((int(width), int(count)) for width, count in options["filters"]),
        n_highway=int(options.get("n_highway") or 0),
        activation=str(options.get("activation", "relu")),
        max_characters=int(options.get("max_characters_per_token", 50)),
        projection_location="after_highway" if projected else "none",
    )


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


def _char_tensors(weights: h5py.File, config: BiLMConfig, source: Path) -> dict[str, Tensor]:
    cnn = config.char_cnn
    assert cnn is not None
    inner = cnn.n_filters
    table = _take(weights, "char_embed", _shape(weights, "char_embed", source), source)
    if len(table) == 261:
        table = np.concatenate([np.zeros((1, cnn.char_size), dtype=np.float32), table])
    tensors: dict[str, Array] = {"table.weight": table}
    for index, (width, count) in enumerate(cnn.filters):
        # Shape: (1, width, D, count) -> (count, D, width)
        kernel = _take(weights, f"CNN/W_cnn_{index}", (1, width, cnn.char_size, count), source)
        tensors[f"convolutions.{index}.weight"] = np.ascontiguousarray(kernel[0].transpose(2, 1, 0))
        tensors[f"convolutions.{index}.bias"] = _take(weights, f"CNN/b_cnn_{index}", (count,), source)
    for index in range(cnn.n_highway):
        group = f"CNN_high_{index}"
        weight, bias = highway_from_tensorflow(
            _take(weights, f"{group}/W_carry", (inner, inner), source),
            _take(weights, f"{group}/b_carry", (inner,), source),
            _take(weights, f"{group}/W_transform", (inner, inner), source),
            _take(weights, f"{group}/b_transform", (inner,), source),
        )
        tensors[f"highways.{index}.linear.weight"], tensors[f"highways.{index}.linear.bias"] = weight, bias
    if cnn.projection_location == "after_highway":
        weight = _take(weights, "CNN_proj/W_proj", (inner, config.projection_size), source)
        tensors["projection.weight"] = np.ascontiguousarray(weight.T)
        tensors["projection.bias"] = _take(weights, "CNN_proj/b_proj", (config.projection_size,), source)
    return {f"encoder.char_cnn.{name}": torch.from_numpy(value) for name, value in tensors.items()}


def _lstm_tensors(weights: h5py.File, config: BiLMConfig, source: Path) -> dict[str, Tensor]:
    cells, size = config.cell_size, config.projection_size
    tensors = {}
    for direction, name in enumerate(DIRECTIONS):
        for layer in range(config.n_layers):
            group = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            rows = gates_from_tensorflow(_take(weights, f"{group}/W_0", (2 * size, 4 * cells), source))
            bias = gates_from_tensorflow(_take(weights, f"{group}/B", (4 * cells,), source)[np.newaxis])[:, 0]
            if config.cell_size == config.projection_size and f"{group}/W_P_0" not in weights:
                projection = np.eye(cells, dtype=np.float32)
            else:
                projection = _take(weights, f"{group}/W_P_0", (cells, size), source)
            own = {"input_weight": rows[:, :size], "state_weight": rows[:, size:], "bias": bias}
            own["projection_weight"] = projection.T
            for part, value in own.items():
                tensors[f"{name}.layers.{layer}.{part}"] = torch.from_numpy(np.ascontiguousarray(value))
    return tensors


def _token_input(weights: h5py.File, weights_file: Path, vocabulary: Vocabulary | None) -> tuple[Array, WordTable]:
    """The word table of a model that reads whole words, from the same file or from one beside it."""
    if vocabulary is None:
        raise DamagedModelError(f"{weights_file}: reads whole words, so its vocabulary must lie beside it as vocab.txt")
    table = None
    if "embedding" in weights:
        table = np.asarray(weights["embedding"], dtype=np.float32)
    for other in sorted(weights_file.parent.iterdir()):
        if table is None and other != weights_file and other.suffix in (".hdf5", ".h5") and _holds(other, "embedding"):
            with h5py.File(other, "r") as file:
                table = np.asarray(file["embedding"], dtype=np.float32)
    if table is None:
        raise DamagedModelError(f"{weights_file}: has neither characters nor an 'embedding' table; {REFETCH}")
    if table.ndim != 2 or len(table) != len(vocabulary):
        raise DamagedModelError(
            f"{weights_file}: the embedding table has shape {table.shape}, but vocab.txt lists {len(vocabulary)} words"
        )
    marks = {word: vocabulary.id(word) for word in (SENTENCE_START, SENTENCE_END, "<UNK>")}
    return table, WordTable(
        vocabulary.words,
        sentence_start=marks[SENTENCE_START],
        sentence_end=marks[SENTENCE_END],
        unknown=marks["<UNK>"],
    )


def _shape(weights: h5py.File, name: str, source: Path) -> tuple[int, ...]:
    if not isinstance(weights.get(name), h5py.Dataset):
        raise DamagedModelError(f"{source}: lacks the dataset {name}; {REFETCH}")
    return tuple(weights[name].shape)


def _take(weights: h5py.File, name: str, shape: tuple[int, ...], source: Path) -> Array:
    """One dataset as float32, its shape checked before anything is read."""
    found = _shape(weights, name, source)
    if found != shape:
        raise DamagedModelError(f"{source}: {name} has shape {found}, the options say {shape}; {REFETCH}")
    value = np.asarray(weights[name][...], dtype=np.float32)
    if not np.isfinite(value).all():
        raise DamagedModelError(f"{source}: {name} holds values that are not finite numbers; {REFETCH}")
    return value


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
