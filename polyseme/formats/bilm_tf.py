"""bilm-tf's tables of weights, as its checkpoints and the HDF5 files made of them both hold them.

* gates lie in the order input, memory, forget, output in the columns of a kernel, whose rows are [input ; state];
  the forget bias is raw, one is added at run time.
* the highway's carry gate is that of the TRANSFORMED part, ours that of the input: the sign flips.
* bilm-tf leaves out the LSTM's projection where `projection_dim` equals `dim` (`proj_clip` is then ignored), and that
  of the character network where it equals the number of filters.
* the character table has 261 rows and no mask; `n_characters` says 261 or 262 by its age and is never asked.

(`bilm/training.py`, `dump_weights`; `bilm/model.py`.)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.bilm import BiLMConfig
from polyseme.errors import DamagedModelError, UnknownFormatError, UnsupportedModelError
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.text.chars import SENTENCE_END, SENTENCE_START, UNKNOWN_WORD
from polyseme.text.vocab import Vocabulary
from polyseme.text.word_table import WordTable

Array = npt.NDArray[np.float32]
Take = Callable[[str, tuple[int, ...]], Array]  # a tensor's name and the shape it must have -> its values

DIRECTIONS = ("forward_layers", "backward_layers")


# --- transforms


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
    """Carry and transform products of a highway layer, (F, F) and (F,) -> our stacked (2F, F) and (2F,)."""
    weight = np.concatenate([transform_weight.T, -carry_weight.T])
    return weight, np.concatenate([transform_bias, -carry_bias])


# --- options -> configuration


def lstm_config(
    options: dict[str, Any], char_cnn: CharCNNConfig | None, word_table: tuple[int, ...], softmax_size: int = 0
) -> BiLMConfig:
    """The architecture that options.json names. `word_table`: the shape of the table of a model that reads words."""
    lstm = options["lstm"]
    size, cells = int(lstm["projection_dim"]), int(lstm["dim"])
    return BiLMConfig(
        encoder="char_cnn" if char_cnn else "word",
        n_layers=int(lstm.get("n_layers", 1)),
        projection_size=size,
        cell_size=cells,
        cell_clip=clip(lstm.get("cell_clip")),
        projection_clip=clip(lstm.get("proj_clip")),
        residual=bool(lstm.get("use_skip_connections", False)),
        char_cnn=char_cnn,
        n_words=0 if char_cnn else word_table[0],
        word_size=0 if char_cnn else word_table[1],
        softmax_size=softmax_size,
        dropout=float(options.get("dropout", 0.0)),
    )


def char_cnn_config(options: dict[str, Any], table: tuple[int, ...], *, projected: bool, source: Path) -> CharCNNConfig:
    """The character network of options["char_cnn"] whose table has the shape `table`."""
    if len(table) != 2 or table[0] not in (261, 262):
        raise UnsupportedModelError(f"{source}: char_embed has shape {table}; UTF-8 models have 261 rows (or 262)")
    return CharCNNConfig(
        n_rows=262,
        char_size=table[1],
        filters=tuple((int(width), int(count)) for width, count in options["filters"]),
        n_highway=int(options.get("n_highway") or 0),
        activation=str(options.get("activation", "relu")),
        max_characters=int(options.get("max_characters_per_token", 50)),
        projection_location="after_highway" if projected else "none",
    )


def clip(value: object) -> float | None:
    """A clip as options spell it: null, false and 0 mean none."""
    return float(value) if isinstance(value, int | float) and value else None


# --- tensors


def char_arrays(cnn: CharCNNConfig, size: int, rows: int, take: Take) -> dict[str, Array]:
    """The character network, in the names of our state dict. `rows`: those of the stored table, 261 or 262."""
    inner = cnn.n_filters
    # Ids are 0 to 260 whatever the number of rows: the mask comes in front, row 261 is unused.
    table = take("char_embed", (rows, cnn.char_size))[:261]
    arrays = {"table.weight": np.concatenate([np.zeros((1, cnn.char_size), dtype=np.float32), table])}
    for index, (width, count) in enumerate(cnn.filters):
        kernel = take(f"CNN/W_cnn_{index}", (1, width, cnn.char_size, count))
        arrays[f"convolutions.{index}.weight"] = kernel[0].transpose(2, 1, 0)  # Shape: (count, D, width)
        arrays[f"convolutions.{index}.bias"] = take(f"CNN/b_cnn_{index}", (count,))
    for index in range(cnn.n_highway):
        weight, bias = highway_from_tensorflow(
            take(f"CNN_high_{index}/W_carry", (inner, inner)),
            take(f"CNN_high_{index}/b_carry", (inner,)),
            take(f"CNN_high_{index}/W_transform", (inner, inner)),
            take(f"CNN_high_{index}/b_transform", (inner,)),
        )
        arrays |= {f"highways.{index}.linear.weight": weight, f"highways.{index}.linear.bias": bias}
    if cnn.projection_location != "none":
        arrays["projection.weight"] = take("CNN_proj/W_proj", (inner, size)).T
        arrays["projection.bias"] = take("CNN_proj/b_proj", (size,))
    return {f"encoder.char_cnn.{name}": np.ascontiguousarray(array) for name, array in arrays.items()}


def layer_arrays(
    config: BiLMConfig, direction: int, layer: int, names: tuple[str, str, str | None], take: Take
) -> dict[str, Array]:
    """One LSTM layer of one direction, in the names of our state dict.

    `names`: kernel, bias and projection; None for a projection that is left out, which is the identity.
    """
    size, cells = config.projection_size, config.cell_size
    kernel, bias, projection = names
    rows = gates_from_tensorflow(take(kernel, (2 * size, 4 * cells)))  # Shape: (4H, [input ; state])
    arrays = {
        "input_weight": rows[:, :size],
        "state_weight": rows[:, size:],
        "bias": gates_from_tensorflow(take(bias, (4 * cells,))[np.newaxis])[:, 0],
        "projection_weight": take(projection, (cells, size)).T if projection else np.eye(size, dtype=np.float32),
    }
    # Contiguous here, layer by layer: together at the end, views and copies would hold every kernel twice.
    prefix = f"{DIRECTIONS[direction]}.layers.{layer}"
    return {f"{prefix}.{name}": np.ascontiguousarray(array) for name, array in arrays.items()}


def word_table(vocabulary: Vocabulary | None, folder: Path) -> WordTable:
    """The rows of a model that reads whole words: those of its vocabulary."""
    if vocabulary is None:
        raise UnknownFormatError(f"{folder}: this model reads whole words, so its vocab.txt must lie beside it")
    if UNKNOWN_WORD not in vocabulary:
        raise DamagedModelError(f"{folder}: its vocab.txt lacks {UNKNOWN_WORD}, which the model reads for other words")
    marks = [vocabulary.id(word) for word in (SENTENCE_START, SENTENCE_END, UNKNOWN_WORD)]
    return WordTable(vocabulary.words, sentence_start=marks[0], sentence_end=marks[1], unknown=marks[2])
