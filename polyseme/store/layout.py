"""What a file of embeddings holds: its columns, the header that every format carries, and the disk space it takes.

Legend: `N` sentences, `R` rows of values (one a token, or one a sentence when pooled), `L` layers, `W` width.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError, OptionError, OutputError

IntArray = npt.NDArray[np.int64]
ByteArray = npt.NDArray[np.uint8]

FORMATS = ("safetensors", "arrow", "h5", "h5-classic", "parquet", "npz", "tsv")
DTYPES = ("float16", "float32")
SUFFIXES = {
    ".safetensors": "safetensors",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".h5": "h5",
    ".hdf5": "h5",
    ".parquet": "parquet",
    ".npz": "npz",
    ".tsv": "tsv",
}
LAYOUT_VERSION = 1

# Rough bytes a value takes on its way out and in the finished file; only TSV differs from the dtype's own size.
_TSV_BYTES_A_VALUE = {"float16": 9.0, "float32": 13.5}
# A word in UTF-8, its offset (8) and its start and end in the text (16), with a little to spare.
_BYTES_A_TOKEN = 40
# Offsets, id and document number of a sentence; HDF5 objects and Parquet rows cost far more.
_BYTES_A_SENTENCE = {"h5-classic": 1200, "parquet": 200}


@dataclass(frozen=True)
class StoreLayout:
    """Which columns a file has, and their shapes. Raises `OptionError` for values out of range."""

    format: str  # one of FORMATS
    dtype: str  # of the values: one of DTYPES
    n_layers: int  # layers kept of each token
    width: int  # size of one vector in one layer
    pooled: bool = False  # one row of values a sentence instead of one a token
    tokens: bool = True  # the words themselves
    offsets: bool = False  # (start, end) of each word in the raw text; needs tokens
    ids: bool = False  # one string a sentence, from the user's data
    documents: bool = False  # one integer a sentence: the source document it came from

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise OptionError(f"format must be one of {', '.join(FORMATS)}, was: {self.format!r}")
        if self.dtype not in DTYPES:
            raise OptionError(f"dtype must be one of {', '.join(DTYPES)}, was: {self.dtype!r}")
        for name in ("n_layers", "width"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise OptionError(f"{name} must be a whole number of at least 1, was: {value!r}")
        if self.offsets and not self.tokens:
            raise OptionError("offsets=True needs tokens=True: an offset belongs to a word")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of values, all layers."""
        return self.n_layers * self.width * self.numpy_dtype.itemsize

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Little-endian dtype of the values, on every machine."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def columns(self) -> dict[str, np.dtype[Any]]:
        """Name and dtype of every flat column besides `values`, in the order in which files hold them."""
        whole, byte = np.dtype("<i8"), np.dtype("u1")
        chosen: dict[str, np.dtype[Any]] = {}
        if self.tokens or not self.pooled:
            chosen["sentence_offsets"] = whole
        if self.tokens:
            chosen["token_offsets"] = whole
        if self.offsets:
            chosen["character_offsets"] = whole
        if self.documents:
            chosen["document_index"] = whole
        if self.ids:
            chosen["id_offsets"] = whole
        # Bytes last, so that the eight-byte columns before them stay aligned whatever their lengths.
        if self.tokens:
            chosen["token_bytes"] = byte
        if self.ids:
            chosen["id_bytes"] = byte
        return chosen


@dataclass(frozen=True)
class Header:
    """The two JSON strings, `layout` and `metadata`, that every format stores in its own place."""

    layout: StoreLayout
    n_sentences: int
    n_tokens: int
    metadata: dict[str, Any]
    fingerprint: str = ""

    @property
    def n_rows(self) -> int:
        """Rows of values."""
        return self.n_sentences if self.layout.pooled else self.n_tokens

    def strings(self) -> dict[str, str]:
        """`{"layout": JSON, "metadata": JSON}`; ASCII, keys sorted, so that equal content gives equal bytes."""
        described = {
            "version": LAYOUT_VERSION,
            **asdict(self.layout),
            "n_sentences": self.n_sentences,
            "n_tokens": self.n_tokens,
            "fingerprint": self.fingerprint,
        }
        return {"layout": json.dumps(described, sort_keys=True), "metadata": json.dumps(self.metadata, sort_keys=True)}

    @classmethod
    def parse(cls, strings: Mapping[str, str]) -> Header:
        """The header from its two strings. Raises `InputError` for anything that `strings` does not write."""
        try:
            described, metadata = json.loads(strings["layout"]), json.loads(strings["metadata"])
            if described["version"] != LAYOUT_VERSION:
                raise InputError(f"embedding layout {described['version']} is newer than this Polyseme: update it")
            layout = StoreLayout(**{field.name: described[field.name] for field in fields(StoreLayout)})
            counts = described["n_sentences"], described["n_tokens"]
            if not isinstance(metadata, dict) or any(type(count) is not int or count < 0 for count in counts):
                raise InputError("its header has no valid counts or metadata")
            return cls(layout, *counts, metadata, str(described["fingerprint"]))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"its header cannot be understood ({type(error).__name__}: {error})") from error


def choose_format(path: str | Path, name: str | None = None) -> str:
    """The format called `name`, or else the one that the suffix of `path` stands for.

    Raises `OptionError` when neither is a known format.
    """
    if name is not None:
        if name not in FORMATS:
            raise OptionError(f"format must be one of {', '.join(FORMATS)}, was: {name!r}")
        return name
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(sorted(SUFFIXES))
        raise OptionError(f"{path}: the suffix {suffix!r} stands for no format; use one of {known}, or name the format")
    return SUFFIXES[suffix]


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def normalised(value: Mapping[str, Any], what: str) -> dict[str, Any]:
    """`value` as it looks after a trip through JSON (tuples become lists), so that it compares with a stored one.

    Raises `OptionError` when it is not JSON.
    """
    try:
        result: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise OptionError(f"{what} must be plain JSON (strings, numbers, lists, dicts): {error}") from error
    return result


def output_bytes(layout: StoreLayout, *, n_tokens: int, n_sentences: int, token_bytes: int | None = None) -> int:
    """About how large the finished file will be. `token_bytes`: UTF-8 bytes of all words, if known."""
    rows = n_sentences if layout.pooled else n_tokens
    a_value = _TSV_BYTES_A_VALUE[layout.dtype] if layout.format == "tsv" else layout.numpy_dtype.itemsize
    words = n_tokens * _BYTES_A_TOKEN if token_bytes is None else token_bytes + 24 * n_tokens
    sentences = n_sentences * _BYTES_A_SENTENCE.get(layout.format, 64)
    return int(rows * layout.n_layers * layout.width * a_value) + (words if layout.tokens else 0) + sentences + 65536


def required_bytes(layout: StoreLayout, *, n_tokens: int, n_sentences: int, token_bytes: int | None = None) -> int:
    """Free disk space that a whole run needs at its peak: the file, and the working files while it is assembled.

    Safetensors values are written straight into what becomes the file; every other format is assembled from a raw copy.
    """
    final = output_bytes(layout, n_tokens=n_tokens, n_sentences=n_sentences, token_bytes=token_bytes)
    raw = (n_sentences if layout.pooled else n_tokens) * layout.row_bytes
    sidecars = final - raw if layout.format == "safetensors" else 64 * n_sentences + _BYTES_A_TOKEN * n_tokens
    return final + max(0, sidecars) + (0 if layout.format == "safetensors" else raw)


def free_bytes(path: str | Path) -> int:
    """Bytes free where `path` is or will be: asked of the nearest folder that exists."""
    folder = Path(path).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(path: str | Path, needed: int) -> None:
    """Raise `OutputError` when fewer than `needed` bytes are free where `path` will be written."""
    free = free_bytes(path)
    if free < needed:
        raise OutputError(
            f"{path}: about {needed:,} bytes are needed and {free:,} are free; "
            "free some space, or choose another place, float16, fewer layers or pooling"
        )
