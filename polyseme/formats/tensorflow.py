"""The folder that bilm-tf's training leaves: `options.json`, `vocab.txt` and TensorFlow checkpoints; read only.

Written by bilm-tf (`bilm/training.py`, `LanguageModel` and `train`) and ltgoslo/simple_elmo_training. Unlike the HDF5
file that `dump_weights` makes of it, a checkpoint holds the softmax. Beside the facts that `allennlp.py` lists:

* variables lie under `lm/`; the optimiser's slots (`.../Adagrad`), `global_step` and `train_perplexity` are ignored.
* bilm-tf drops the LSTM's projection where `projection_dim` equals `dim` (and TensorFlow then ignores `proj_clip`), and
  that of the character network where it equals the number of filters.
* the residual, sampling and unrolling options leave no trace in the names: options.json is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polyseme.bilm import BiLMConfig
from polyseme.errors import (
    DamagedModelError,
    InputError,
    OptionError,
    PolysemeError,
    UnknownFormatError,
    UnsupportedModelError,
)
from polyseme.formats.allennlp import DIRECTIONS, gates_from_tensorflow, highway_from_tensorflow
from polyseme.formats.model import REFETCH, Model, ModelCard, assemble, damage_named
from polyseme.formats.tf_checkpoint import Checkpoint, find_prefix, index_of, read_checkpoint
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.text.chars import SENTENCE_END, SENTENCE_START, UNKNOWN_WORD, Characters
from polyseme.text.vocab import Vocabulary
from polyseme.text.word_table import WordTable

Array = npt.NDArray[np.float32]
Take = Callable[[str, tuple[int, ...]], Array]  # a variable's name and the shape it must have -> its values

# How the LSTM's variables are called under lm/RNN_{direction}/: cell, then kernel, bias and projection.
CELL_NAMES = (
    ("rnn/multi_rnn_cell/cell_{layer}/lstm_cell", "kernel", "bias", "projection/kernel"),
    ("rnn/lstm_cell", "kernel", "bias", "projection/kernel"),  # a single layer needs no MultiRNNCell
    ("rnn/multi_rnn_cell/cell_{layer}/lstm_cell", "weights", "biases", "projection/weights"),  # TensorFlow 1.0, 1.1
    ("RNN/MultiRNNCell/Cell{layer}/LSTMCell", "W_0", "B", "W_P_0"),  # before 1.0, and in the HDF5 files
)


def looks_like(path: Path) -> bool:
    """Whether a TensorFlow checkpoint lies at `path` (a folder, a prefix or an .index file) with an options.json."""
    try:
        prefix = find_prefix(path)
    except (OSError, PolysemeError):
        return False
    return prefix is not None and (prefix.parent / "options.json").is_file()


def read(path: Path) -> Model:
    """The model at `path`, softmax included.

    A folder may hold several checkpoints: see `tf_checkpoint.find_prefix`. Raises `UnknownFormatError`,
    `DamagedModelError`, `UnsupportedModelError` (one direction only, V1 checkpoints, other alphabets).
    """
    checkpoint = read_checkpoint(path)
    folder, index = checkpoint.prefix.parent, index_of(checkpoint.prefix)
    options_file = folder / "options.json"
    if not options_file.is_file():
        raise UnknownFormatError(f"{folder}: has a checkpoint but no options.json; copy the one of its training there")
    with damage_named(options_file, "reading the options"):
        options = json.loads(options_file.read_text(encoding="utf-8"))
        if not isinstance(options, dict) or not isinstance(options.get("lstm"), dict):
            raise DamagedModelError(f"{options_file}: has no 'lstm' section, so these are not the options of an ELMo")
        try:
            config = _config(options, checkpoint, options_file)
        except OptionError as error:
            raise DamagedModelError(f"{options_file}: {error}; {REFETCH}") from error
        characters = Characters(max_characters=config.char_cnn.max_characters) if config.char_cnn else None
    vocabulary = _vocabulary(folder, checkpoint)
    words = _word_table(vocabulary, folder) if config.reads_words else None
    with damage_named(index, "reading the variables"):
        bilm = assemble(config, _tensors(config, checkpoint), index)
    card = ModelCard(name=folder.name, source_format="bilm-tf-checkpoint", recipe=checkpoint.prefix.name)
    return Model(bilm, characters=characters, words=words, vocabulary=vocabulary, card=card)


# --- options -> configuration


def _config(options: dict[str, Any], checkpoint: Checkpoint, source: Path) -> BiLMConfig:
    if not options.get("bidirectional", False):
        raise UnsupportedModelError(f"{source}: this language model reads in one direction only, so it is no ELMo")
    lstm = options["lstm"]
    size, cells = int(lstm["projection_dim"]), int(lstm["dim"])
    word_table = () if options.get("char_cnn") else _shape(checkpoint, "lm/embedding")
    return BiLMConfig(
        encoder="word" if word_table else "char_cnn",
        n_layers=int(lstm.get("n_layers", 1)),
        projection_size=size,
        cell_size=cells,
        cell_clip=_clip(lstm.get("cell_clip")),
        projection_clip=_clip(lstm.get("proj_clip")) if size < cells else None,
        residual=bool(lstm.get("use_skip_connections", False)),
        char_cnn=None if word_table else _char_cnn(options["char_cnn"], checkpoint, size),
        n_words=word_table[0] if word_table else 0,
        word_size=size if word_table else 0,
        softmax_size=_shape(checkpoint, "lm/softmax/b")[0] if "lm/softmax/b" in checkpoint else 0,
        dropout=float(options.get("dropout", 0.0)),
    )


def _char_cnn(options: dict[str, Any], checkpoint: Checkpoint, projection_size: int) -> CharCNNConfig:
    filters = tuple((int(width), int(count)) for width, count in options["filters"])
    rows, char_size = _shape(checkpoint, "lm/char_embed")
    if rows not in (261, 262):
        raise UnsupportedModelError(
            f"{index_of(checkpoint.prefix)}: lm/char_embed has {rows} rows; UTF-8 models have 261 (or 262, one unused)"
        )
    return CharCNNConfig(
        n_rows=262,
        char_size=char_size,
        filters=filters,
        n_highway=int(options.get("n_highway") or 0),
        activation=str(options.get("activation", "relu")),
        max_characters=int(options.get("max_characters_per_token", 50)),
        projection_location="none" if sum(count for _, count in filters) == projection_size else "after_highway",
    )


def _clip(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value else None


# --- variables -> tensors


def _tensors(config: BiLMConfig, checkpoint: Checkpoint) -> dict[str, Tensor]:
    def take(name: str, shape: tuple[int, ...]) -> Array:
        source, found = index_of(checkpoint.prefix), _shape(checkpoint, name)
        if found != shape:
            raise DamagedModelError(f"{source}: {name} has shape {found}, the options say {shape}; {REFETCH}")
        value = np.asarray(checkpoint[name], dtype=np.float32)
        # The extremes carry a NaN or an infinity; a mask of the whole softmax would cost 400 MB.
        if value.size and not np.isfinite([value.min(), value.max()]).all():
            raise DamagedModelError(
                f"{source}: {name} holds values that are not finite numbers (did the training diverge?); {REFETCH}"
            )
        return value

    size, n_words = config.projection_size, config.softmax_size
    arrays: dict[str, Array] = {}
    if config.char_cnn:
        arrays |= _char_arrays(config.char_cnn, size, _shape(checkpoint, "lm/char_embed")[0], take)
    if config.reads_words:
        arrays["encoder.words.weight"] = take("lm/embedding", (config.n_words, size))
    for direction in range(2):
        for layer in range(config.n_layers):
            arrays |= _layer_arrays(config, direction, layer, _cell_names(checkpoint, direction, layer), take)
    if n_words:
        # With `share_embedding_softmax` the input table is the softmax too; copied, since the two may part in training.
        shared = "lm/softmax/W" not in checkpoint and config.reads_words
        weight = arrays["encoder.words.weight"].copy() if shared else take("lm/softmax/W", (n_words, size))
        arrays |= {"softmax.weight": weight, "softmax.bias": take("lm/softmax/b", (n_words,))}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _char_arrays(cnn: CharCNNConfig, size: int, rows: int, take: Take) -> dict[str, Array]:
    """The character network, in the names of our state dict. `rows`: those of the stored table, 261 or 262."""
    inner = cnn.n_filters
    # Training has no mask and ids 0 to 260 whatever the number of rows: the mask comes in front, row 261 is unused.
    table = take("lm/char_embed", (rows, cnn.char_size))[:261]
    arrays = {"table.weight": np.concatenate([np.zeros((1, cnn.char_size), dtype=np.float32), table])}
    for index, (width, count) in enumerate(cnn.filters):
        kernel = take(f"lm/CNN/W_cnn_{index}", (1, width, cnn.char_size, count))
        arrays[f"convolutions.{index}.weight"] = kernel[0].transpose(2, 1, 0)  # Shape: (count, D, width)
        arrays[f"convolutions.{index}.bias"] = take(f"lm/CNN/b_cnn_{index}", (count,))
    for index in range(cnn.n_highway):
        weight, bias = highway_from_tensorflow(
            take(f"lm/CNN_high_{index}/W_carry", (inner, inner)),
            take(f"lm/CNN_high_{index}/b_carry", (inner,)),
            take(f"lm/CNN_high_{index}/W_transform", (inner, inner)),
            take(f"lm/CNN_high_{index}/b_transform", (inner,)),
        )
        arrays |= {f"highways.{index}.linear.weight": weight, f"highways.{index}.linear.bias": bias}
    if cnn.projection_location != "none":
        arrays["projection.weight"] = take("lm/CNN_proj/W_proj", (inner, size)).T
        arrays["projection.bias"] = take("lm/CNN_proj/b_proj", (size,))
    return {f"encoder.char_cnn.{name}": array for name, array in arrays.items()}


def _layer_arrays(
    config: BiLMConfig, direction: int, layer: int, names: tuple[str, str, str], take: Take
) -> dict[str, Array]:
    """One LSTM layer of one direction, in the names of our state dict."""
    size, cells = config.projection_size, config.cell_size
    kernel, bias, projection = names
    rows = gates_from_tensorflow(take(kernel, (2 * size, 4 * cells)))  # Shape: (4H, [input ; state])
    arrays = {
        "input_weight": rows[:, :size],
        "state_weight": rows[:, size:],
        "bias": gates_from_tensorflow(take(bias, (4 * cells,))[np.newaxis])[:, 0],
        # No projection is the identity.
        "projection_weight": take(projection, (cells, size)).T if size < cells else np.eye(size, dtype=np.float32),
    }
    # Contiguous here, layer by layer: together at the end, views and copies would hold every kernel twice.
    prefix = f"{DIRECTIONS[direction]}.layers.{layer}"
    return {f"{prefix}.{name}": np.ascontiguousarray(array) for name, array in arrays.items()}


def _cell_names(checkpoint: Checkpoint, direction: int, layer: int) -> tuple[str, str, str]:
    """Kernel, bias and projection of one layer, as the TensorFlow that trained it called them."""
    choices = []
    for cell, *parts in CELL_NAMES:
        kernel, bias, projection = (f"lm/RNN_{direction}/{cell.format(layer=layer)}/{part}" for part in parts)
        choices.append((kernel, bias, projection))
    return next((names for names in choices if names[0] in checkpoint), choices[0])


def _shape(checkpoint: Checkpoint, name: str) -> tuple[int, ...]:
    if name not in checkpoint:
        raise DamagedModelError(
            f"{index_of(checkpoint.prefix)}: lacks the variable {name}, though options.json asks for it; {REFETCH}"
        )
    return checkpoint.shape(name)


# --- words


def _vocabulary(folder: Path, checkpoint: Checkpoint) -> Vocabulary | None:
    """The words of the softmax, whose number must be that of its rows; None where no vocab.txt was published."""
    file = folder / "vocab.txt"
    if not file.is_file():
        return None
    try:
        vocabulary = Vocabulary.load(file)
    except InputError as error:
        raise DamagedModelError(f"{error}; put the training's own vocab.txt there, or none") from error
    for name in ("lm/softmax/b", "lm/embedding"):
        if name in checkpoint and checkpoint.shape(name)[:1] != (len(vocabulary),):
            raise DamagedModelError(
                f"{file}: lists {len(vocabulary):,} words, but {name} has shape {checkpoint.shape(name)}; "
                "put the training's own vocab.txt there, or none"
            )
    return vocabulary


def _word_table(vocabulary: Vocabulary | None, folder: Path) -> WordTable:
    if vocabulary is None:
        raise UnknownFormatError(f"{folder}: this model reads whole words, so its vocab.txt must lie beside it")
    if UNKNOWN_WORD not in vocabulary:
        raise DamagedModelError(f"{folder}: its vocab.txt lacks {UNKNOWN_WORD}, which the model reads for other words")
    marks = [vocabulary.id(word) for word in (SENTENCE_START, SENTENCE_END, UNKNOWN_WORD)]
    return WordTable(vocabulary.words, sentence_start=marks[0], sentence_end=marks[1], unknown=marks[2])
