"""Polyseme's own folder of static vectors, which holds all that they are; no pickle, and no torch to read it.

config.json           what these are, how the text was processed, sizes of n-grams
words.txt             one word a line
vectors.safetensors   `vectors` (V, W); `ngrams` (B, W) of fastText; `idf` (V,) of a bag of words
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from polyseme.errors import DamagedModelError, OptionError, OutputError, UnknownFormatError, UnsupportedModelError
from polyseme.publish import make_public, whole_folder
from polyseme.static.subwords import Subwords
from polyseme.static.vectors import About, StaticVectors
from polyseme.text.config import TextConfig

FORMAT, VERSION = "polyseme static vectors", 1
CONFIG, WORDS, TENSORS = "config.json", "words.txt", "vectors.safetensors"

Array = npt.NDArray[Any]


def foreign(path: Path) -> str | None:
    """The name of something in an existing folder that is no part of vectors; None where it holds nothing else."""
    others = sorted({entry.name for entry in path.iterdir()} - {CONFIG, WORDS, TENSORS})
    return others[0] if others else None


def encoded(word: str) -> bytes:
    """UTF-8. Raises `UnsupportedModelError` for what is no character, half of a surrogate pair."""
    try:
        return word.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnsupportedModelError(f"the word {word!r} holds what is no character, and cannot be written") from error


def write(
    vectors: StaticVectors, path: Path, *, overwrite: bool = False, more: Mapping[str, Array] | None = None
) -> None:
    """Writes the folder whole or not at all; `more` are further tensors by name. Raises `OutputError`."""
    tensors = {"vectors": vectors.matrix, **(more or {})}
    config: dict[str, Any] = {"format": FORMAT, "version": VERSION, "about": asdict(vectors.about)}
    config |= {"text": asdict(vectors.text), "subwords": None}
    if vectors.subwords is not None:
        tensors["ngrams"] = vectors.subwords.matrix
        config["subwords"] = {"min_n": vectors.subwords.min_n, "max_n": vectors.subwords.max_n}
    for word in vectors.words:
        if not word or "\n" in word:
            raise UnsupportedModelError(f"the word {word!r} cannot stand on a line of its own")
    words = b"".join(encoded(word) + b"\n" for word in vectors.words)
    try:
        with whole_folder(path) as working:
            save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, working / TENSORS)
            (working / WORDS).write_bytes(words)
            (working / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
            make_public(working / TENSORS)
            if path.exists() and (not overwrite or (path.is_dir() and foreign(path))):
                raise OutputError(f"{path} is in the way; choose another name")
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be written ({error}); nothing was changed there") from error


def read(path: Path, *, limit: int | None = None) -> StaticVectors:
    """The vectors in the folder. Raises `UnknownFormatError`, `DamagedModelError`, `UnsupportedModelError` (newer)."""
    config, words, tensors = contents(path)
    try:
        text: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in config["text"].items()
        }
        sizes = config["subwords"]
        subwords = Subwords(sizes["min_n"], sizes["max_n"], _float32(tensors["ngrams"])) if sizes else None
        matrix = _float32(tensors["vectors"])
        about = About(**{name: str(value) for name, value in config["about"].items()})
        if len(words) != len(matrix):
            raise OptionError(f"{WORDS} lists {len(words):,} words for {len(matrix):,} vectors")
        return StaticVectors(words[:limit], matrix[:limit], subwords=subwords, text=TextConfig(**text), about=about)
    except (KeyError, TypeError, AttributeError, OptionError) as error:
        raise DamagedModelError(f"{path}: damaged ({error}); make the vectors again") from error


def contents(path: Path) -> tuple[dict[str, Any], list[str], dict[str, Array]]:
    """(config.json, the words, the tensors) as they stand there. Raises as `read` does."""
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise UnknownFormatError(f"{path}: its {CONFIG} does not describe static vectors; give a folder of them")
        if config.get("version") != VERSION:
            raise UnsupportedModelError(
                f"{path}: version {config.get('version')!r}, this Polyseme reads {VERSION}; install a newer one"
            )
        words = (path / WORDS).read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        with safe_open(path / TENSORS, framework="numpy") as opened:
            return config, words, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise UnknownFormatError(f"{path} is no folder of static vectors: it lacks {error.filename}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise DamagedModelError(f"{path}: damaged ({error}); make the vectors again") from error


def _float32(tensor: Array) -> npt.NDArray[np.float32]:
    if tensor.dtype != np.float32 or tensor.ndim != 2:
        raise OptionError(f"a table holds {tensor.dtype} of shape {tensor.shape}, not rows of float32")
    return tensor
