"""Polyseme's own folder: `model.safetensors`, `config.json`, and `vocab.txt` where the model has a softmax.

config.json holds three sections, three frozen dataclasses: `architecture` (`BiLMConfig`), `text` (`TextConfig`) and
`card` (`ModelCard`); `characters` holds the alphabet, and `words.json` the table of a model that reads whole words.
The settled state lies beside the weights, so that every machine starts its sentences from the same numbers; so does
how often each word of vocab.txt came in the training text, where a run of ours wrote it.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import math
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polyseme.bilm import BiLMConfig
from polyseme.errors import DamagedModelError, OptionError, UnsupportedModelError
from polyseme.formats.compact import Weights, pack, unpack
from polyseme.formats.model import REFETCH, Model, ModelCard, assemble, damage_named
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.lstm import LSTMState
from polyseme.nn.transformer import TransformerConfig
from polyseme.publish import make_public
from polyseme.text.chars import Characters
from polyseme.text.config import TextConfig
from polyseme.text.vocab import Vocabulary
from polyseme.text.word_table import WordTable

T = TypeVar("T")

FORMAT = "polyseme"
VERSION = 1
COUNTS = "vocabulary.counts"
SETTLED = ("settled.forward.hidden", "settled.forward.cell", "settled.backward.hidden", "settled.backward.cell")


def looks_like(path: Path) -> bool:
    """Whether `path` is a folder with the two files that every native model has."""
    return (path / "config.json").is_file() and (path / "model.safetensors").is_file()


def read(path: Path) -> Model:
    """The model in the folder `path`. Raises `DamagedModelError`, and `UnsupportedModelError` for a newer version."""
    file = path / "config.json"
    with damage_named(file, "reading the configuration"):
        sections = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(sections, dict) or sections.get("format") != FORMAT:
            raise DamagedModelError(f"{file}: is not the configuration of a Polyseme model (no 'format': '{FORMAT}')")
        if sections.get("version") != VERSION:
            raise UnsupportedModelError(
                f"{file}: has version {sections.get('version')!r}, this Polyseme reads {VERSION}; install a newer one"
            )
        try:
            config = _config(sections["architecture"])
            text = _built(TextConfig, _tuples(sections["text"]))
            card = _built(ModelCard, sections["card"])
            characters = _built(Characters, _tuples(sections["characters"])) if sections.get("characters") else None
        except OptionError as error:
            raise DamagedModelError(f"{file}: {error}; {REFETCH}") from error
        words = _words(path / "words.json") if config.reads_words else None
    tensors = unpack(_tensors(path / "model.safetensors"), path / "model.safetensors")
    settled = _settled(tensors, config, path)
    counts = _counts(tensors, config, path)
    vocabulary = Vocabulary.load(path / "vocab.txt") if (path / "vocab.txt").is_file() else None
    bilm = assemble(config, tensors, path / "model.safetensors")
    _check_tables(path, config, characters, words, vocabulary)
    return Model(bilm, characters, words, vocabulary, text, card, settled, sections.get("settled_residual"), counts)


def write(model: Model, folder: Path, weights: Weights = "float32") -> list[str]:
    """Writes the model into an existing `folder`; returns what the format cannot hold: nothing.

    `weights`: "int8" rounds them (`formats/compact.py`). Raises `UnsupportedModelError` for a softmax without its
    words, which could not be opened again.
    """
    wanted, listed = model.bilm.config.softmax_size, len(model.vocabulary) if model.vocabulary is not None else 0
    if wanted and listed != wanted:
        raise UnsupportedModelError(
            f"the model has a softmax of {wanted} words and a vocabulary of {listed}, so nobody could tell what it "
            "predicts: give the word list that it was trained with (vocab.txt), or a biLM with softmax_size=0"
        )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.bilm.state_dict().items()}
    if model.settled is not None:
        values = [tensor for state in model.settled for tensor in state]
        tensors |= dict(zip(SETTLED, (value.detach().cpu().contiguous() for value in values), strict=True))
    if model.counts is not None:
        tensors[COUNTS] = torch.from_numpy(np.ascontiguousarray(model.counts))
    if weights == "int8":
        tensors = pack(tensors)
    sections: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    sections |= {"architecture": dataclasses.asdict(model.bilm.config), "text": dataclasses.asdict(model.text)}
    sections |= {"card": dataclasses.asdict(model.card), "settled_residual": model.settled_residual}
    sections["characters"] = dataclasses.asdict(model.characters) if model.characters else None
    write_tensors(tensors, folder / "model.safetensors", {"format": FORMAT})
    if model.words is not None:
        table = json.dumps(dataclasses.asdict(model.words), ensure_ascii=True)
        (folder / "words.json").write_text(table, encoding="utf-8")
    if model.vocabulary is not None:
        model.vocabulary.save(folder / "vocab.txt")
    (folder / "config.json").write_text(json.dumps(sections, indent=1), encoding="utf-8")
    return []


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """A .safetensors file with the permissions that other new files get: safetensors' own are private.

    Raises `OSError` where it cannot be written; nothing of that name is there then.
    """
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error
    make_public(path)


def _config(section: dict[str, Any]) -> BiLMConfig:
    values = dict(section)
    if values.get("char_cnn"):
        cnn = _tuples(values["char_cnn"])
        cnn["filters"] = tuple((int(width), int(count)) for width, count in cnn["filters"])
        values["char_cnn"] = _built(CharCNNConfig, cnn)
    if values.get("transformer"):
        values["transformer"] = _built(TransformerConfig, values["transformer"])
    return _built(BiLMConfig, values)


def _built(kind: type[T], section: dict[str, Any]) -> T:
    """The dataclass of a section. Raises `OptionError` for a value of another type than its field's."""
    hints = get_type_hints(kind)
    for name, value in section.items():
        if name in hints and not _is(value, hints[name]):
            raise OptionError(f"{name} is {value!r}, which is no {getattr(hints[name], '__name__', hints[name])}")
    return kind(**section)


def _is(value: object, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_is(value, choice) for choice in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        return isinstance(value, tuple) and (
            all(_is(item, kinds[0]) for item in value)
            if kinds[-1] is ...
            else len(value) == len(kinds) and all(map(_is, value, kinds))
        )
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _tuples(section: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where our frozen dataclasses have tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in section.items()}


def _words(file: Path) -> WordTable:
    with damage_named(file, "reading the word table"):
        section = json.loads(file.read_text(encoding="utf-8"))
        try:
            return _built(WordTable, _tuples(section))
        except OptionError as error:
            raise DamagedModelError(f"{file}: {error}; {REFETCH}") from error


def _tensors(file: Path) -> dict[str, Tensor]:
    with damage_named(file, "reading the weights"), safe_open(file, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise DamagedModelError(f"{file}: {name} holds values that are not finite numbers; {REFETCH}")
        return tensors


def _settled(tensors: dict[str, Tensor], config: BiLMConfig, path: Path) -> tuple[LSTMState, LSTMState] | None:
    """Takes the settled state out of `tensors`; None where the folder was written without one."""
    found = [tensors.pop(name, None) for name in SETTLED]
    if all(tensor is None for tensor in found):
        return None
    sizes = (config.projection_size, config.cell_size) * 2
    for name, tensor, size in zip(SETTLED, found, sizes, strict=True):
        if tensor is None or tuple(tensor.shape) != (config.n_layers, 1, size):
            shape = None if tensor is None else tuple(tensor.shape)
            raise DamagedModelError(f"{path}: {name} has shape {shape}, not {(config.n_layers, 1, size)}; {REFETCH}")
    hidden, cell, back_hidden, back_cell = (tensor.float() for tensor in found if tensor is not None)
    return LSTMState(hidden, cell), LSTMState(back_hidden, back_cell)


def _counts(tensors: dict[str, Tensor], config: BiLMConfig, path: Path) -> npt.NDArray[np.int64] | None:
    """Takes the counts of the vocabulary out of `tensors`; None where the folder was written without them."""
    counts = tensors.pop(COUNTS, None)
    if counts is None:
        return None
    if counts.dtype != torch.int64 or tuple(counts.shape) != (config.softmax_size,) or bool((counts < 0).any()):
        raise DamagedModelError(
            f"{path}: {COUNTS} must hold {config.softmax_size} counts, but is {tuple(counts.shape)} of {counts.dtype}; "
            f"{REFETCH}"
        )
    found: npt.NDArray[np.int64] = counts.numpy()
    return found


def _check_tables(
    path: Path,
    config: BiLMConfig,
    characters: Characters | None,
    words: WordTable | None,
    vocabulary: Vocabulary | None,
) -> None:
    """Raises `DamagedModelError` where an alphabet or word list does not fit its table of weights."""
    cnn = config.char_cnn
    if cnn is not None and (characters is None or (characters.n_rows, characters.max_characters) != (
        cnn.n_rows,
        cnn.max_characters,
    )):  # fmt: skip
        raise DamagedModelError(f"{path}: the alphabet does not fit the {cnn.n_rows} rows of the character table")
    if words is not None and len(words.words) != config.n_words:
        raise DamagedModelError(f"{path}: words.json lists {len(words.words)} words for {config.n_words} rows")
    if config.softmax_size and (vocabulary is None or len(vocabulary) != config.softmax_size):
        listed = 0 if vocabulary is None else len(vocabulary)
        raise DamagedModelError(f"{path}: vocab.txt lists {listed} words for a softmax of {config.softmax_size}")
