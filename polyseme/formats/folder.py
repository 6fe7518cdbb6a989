"""Finds out which published layout a path holds, and opens it; writes a model in another layout.

The layouts are tried in the order of `LAYOUTS`; a new format is one file and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from polyseme.errors import OptionError, OutputError, UnknownFormatError
from polyseme.formats import allennlp, many_langs, native, tensorflow, transformer_elmo
from polyseme.formats.compact import WEIGHTS, Weights
from polyseme.formats.model import Model
from polyseme.publish import refuse_existing, whole_folder


class Layout(NamedTuple):
    """A published layout: what it is called, how it is recognised, and its reader."""

    name: str
    looks_like: Callable[[Path], bool]
    read: Callable[[Path], Model]
    expects: str


LAYOUTS = (
    Layout("polyseme folder", native.looks_like, native.read, "config.json, model.safetensors"),
    Layout(
        "ELMoForManyLangs", many_langs.looks_like, many_langs.read, "config.json, char.dic, encoder.pkl (folder or zip)"
    ),
    Layout(
        "AllenNLP archive",
        transformer_elmo.looks_like,
        transformer_elmo.read,
        "model.tar.gz, or config.json + weights.th",
    ),
    Layout("AllenNLP/bilm HDF5", allennlp.looks_like, allennlp.read, "options.json and one .hdf5 beside it"),
    Layout(
        "bilm-tf checkpoint", tensorflow.looks_like, tensorflow.read, "options.json, model.ckpt-*.index and .data-*"
    ),
)

WRITERS: dict[str, Callable[[Model, Path], list[str]]] = {"native": native.write, "allennlp": allennlp.write}


def layout_of(path: Path) -> Layout:
    """The first layout that `path` looks like. Raises `UnknownFormatError` with the list of layouts that were tried."""
    if not path.exists():
        raise UnknownFormatError(f"{path} does not exist; give a model's folder, archive or weight file")
    for layout in LAYOUTS:
        if layout.looks_like(path):
            return layout
    tried = "\n".join(f"  {layout.name}: {layout.expects}" for layout in LAYOUTS)
    holds = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) if path.is_dir() else "a single file"
    raise UnknownFormatError(f"{path} is no ELMo that Polyseme knows (it holds: {holds or 'nothing'}). Tried:\n{tried}")


def open_model(path: str | Path) -> Model:
    """The model at `path`, whatever its layout.

    Raises `UnknownFormatError`, `DamagedModelError`, `UnsupportedModelError`.
    """
    path = Path(path)
    return layout_of(path).read(path)


# Every file that a writer of ours puts into a folder; `overwrite` removes nothing else.
OURS = {"model.safetensors", "config.json", "vocab.txt", "words.json", "reference.safetensors"}
OURS |= {"options.json", "weights.hdf5"}


def write_model(
    model: Model,
    destination: str | Path,
    to: str = "native",
    *,
    weights: Weights = "float32",
    overwrite: bool = False,
    finish: Callable[[Path], None] | None = None,
) -> list[str]:
    """Writes `model` as a folder in the layout `to`; returns what that layout cannot hold.

    `weights`: "int8" for a native folder of a quarter of the size (`formats/compact.py`). The folder appears whole or
    not at all. `finish` is called with the complete folder before it appears: it may add files, or look at it and
    raise. Raises `OutputError` where `destination` exists (unless `overwrite`, which replaces nothing but a model),
    `UnsupportedModelError` where the layout cannot express the network.
    """
    destination = Path(destination)
    if to not in WRITERS:
        raise OptionError(f"--to must be one of {', '.join(WRITERS)}, was: {to!r}")
    if weights not in WEIGHTS:
        raise OptionError(f"--weights must be one of {', '.join(WEIGHTS)}, was: {weights!r}")
    if weights != "float32" and to != "native":
        raise OptionError(f"only a Polyseme folder holds weights of {weights}; leave --to or --weights out")
    refuse_existing(destination, OURS, "a model", overwrite=overwrite)
    try:
        with whole_folder(destination) as working:
            lost = WRITERS[to](model, working) if weights == "float32" else native.write(model, working, weights)
            if finish is not None:
                finish(working)
    except OSError as error:
        raise OutputError(f"cannot write {destination}: {error.strerror}; nothing was changed there") from error
    return lost
