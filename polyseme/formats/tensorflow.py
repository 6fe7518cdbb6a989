"""The folder that bilm-tf's training leaves: `options.json`, `vocab.txt` and TensorFlow checkpoints; read only.

Written by bilm-tf (`bilm/training.py`, `LanguageModel` and `train`) and ltgoslo/simple_elmo_training. Unlike the HDF5
file that `dump_weights` makes of it, a checkpoint holds the softmax. Beside the facts that `bilm_tf.py` lists:

* variables lie under `lm/`; the optimiser's slots (`.../Adagrad`), `global_step` and `train_perplexity` are ignored.
* the residual, sampling and unrolling options leave no trace in the names: options.json is needed.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
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
from polyseme.formats.bilm_tf import Array, char_arrays, char_cnn_config, layer_arrays, lstm_config, word_table
from polyseme.formats.model import REFETCH, Model, ModelCard, assemble, damage_named
from polyseme.formats.tf_checkpoint import Checkpoint, find_prefix, index_of, read_checkpoint
from polyseme.text.chars import Characters
from polyseme.text.vocab import Vocabulary

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
    words = word_table(vocabulary, folder) if config.reads_words else None
    with damage_named(index, "reading the variables"):
        if _cell_names(checkpoint, 0, 0)[2] is None:
            config = dataclasses.replace(config, projection_clip=None)
        bilm = assemble(config, _tensors(config, checkpoint), index)
    card = ModelCard(name=folder.name, source_format="bilm-tf-checkpoint", recipe=checkpoint.prefix.name)
    return Model(bilm, characters=characters, words=words, vocabulary=vocabulary, card=card)


# --- options -> configuration


def _config(options: dict[str, Any], checkpoint: Checkpoint, source: Path) -> BiLMConfig:
    if not options.get("bidirectional", False):
        raise UnsupportedModelError(f"{source}: this language model reads in one direction only, so it is no ELMo")
    softmax_size = _shape(checkpoint, "lm/softmax/b")[0] if "lm/softmax/b" in checkpoint else 0
    if not options.get("char_cnn"):
        return lstm_config(options, None, _shape(checkpoint, "lm/embedding"), softmax_size)
    table = _shape(checkpoint, "lm/char_embed")
    projected = "lm/CNN_proj/W_proj" in checkpoint
    cnn = char_cnn_config(options["char_cnn"], table, projected=projected, source=index_of(checkpoint.prefix))
    return lstm_config(options, cnn, (), softmax_size)


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
        rows = _shape(checkpoint, "lm/char_embed")[0]
        arrays |= char_arrays(config.char_cnn, size, rows, lambda name, shape: take(f"lm/{name}", shape))
    if config.reads_words:
        arrays["encoder.words.weight"] = take("lm/embedding", (config.n_words, size))
    for direction in range(2):
        for layer in range(config.n_layers):
            arrays |= layer_arrays(config, direction, layer, _cell_names(checkpoint, direction, layer), take)
    if n_words:
        # With `share_embedding_softmax` the input table is the softmax too; copied, since the two may part in training.
        shared = "lm/softmax/W" not in checkpoint and config.reads_words
        weight = arrays["encoder.words.weight"].copy() if shared else take("lm/softmax/W", (n_words, size))
        arrays |= {"softmax.weight": weight, "softmax.bias": take("lm/softmax/b", (n_words,))}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _cell_names(checkpoint: Checkpoint, direction: int, layer: int) -> tuple[str, str, str | None]:
    """Kernel, bias and projection (if any) of one layer, as the TensorFlow that trained it called them."""
    choices = []
    for cell, *parts in CELL_NAMES:
        kernel, bias, projection = (f"lm/RNN_{direction}/{cell.format(layer=layer)}/{part}" for part in parts)
        choices.append((kernel, bias, projection))
    kernel, bias, projection = next((names for names in choices if names[0] in checkpoint), choices[0])
    return kernel, bias, projection if projection in checkpoint else None


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
