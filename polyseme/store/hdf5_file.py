"""Embeddings in HDF5, in two layouts.

Flat: data sets `values` (R, L, W), `sentence_offsets`, `tokens` (strings) and the other flat columns.
Classic, as AllenNLP 0.9 and bilm-tf wrote it: one data set a sentence, "0", "1", ..., of shape (L, T, W), or (T, W) for
one layer, and `sentence_to_index`, a JSON object from sentence to key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np
import numpy.typing as npt

from polyseme.embedding import FloatArray
from polyseme.errors import InputError
from polyseme.store.columns import FlatColumns, Rows, joined
from polyseme.store.layout import Header, IntArray, StoreLayout

if TYPE_CHECKING:
    from polyseme.store.assemble import RawColumns

# Object headers since HDF5 1.8 carry checksums. The "global heap" where HDF5 keeps strings of varying length does not,
# and the library can loop for ever in a damaged one: what we read back ourselves is never such a string.
_VERSION = ("v108", "v108")
_TOKENS_A_BLOCK = 1 << 16
_INDEX = "sentence_to_index"
# HDF5 cannot hold a string beyond 4 GiB, and the JSON object is built in memory.
MAX_INDEX_BYTES = 1 << 30
# An HDF5 string ends at NUL: `tokens` and `ids`, which are there for other readers, show this sign in its place.
_NUL_SIGN = "\u2400"


def _create(target: Path, header: Header) -> h5py.File:
    file = h5py.File(target, "w", libver=_VERSION)
    for name, text in header.strings().items():
        file.attrs[name] = np.bytes_(text.encode("ascii"))
    return file


# -------------------------------------------------------------------- flat


def write_flat(raw: RawColumns, target: Path) -> None:
    """Write the flat layout; values pass through memory block by block."""
    header = raw.header
    layout = header.layout
    with _create(target, header) as file:
        shape = (header.n_rows, layout.n_layers, layout.width)
        values = file.create_dataset("values", shape, layout.numpy_dtype, track_times=False)
        for first, block in raw.blocks(0, header.n_rows):
            values[first : first + len(block)] = block
        for name in layout.columns:
            file.create_dataset(name, data=raw.column(name), track_times=False)
        for kind, count in (("token", header.n_tokens), ("id", header.n_sentences)):
            if f"{kind}_bytes" in layout.columns:
                _write_strings(file, raw, kind, count)


def _write_strings(file: h5py.File, raw: RawColumns, kind: str, count: int) -> None:
    """Write `tokens` or `ids` as HDF5 strings, beside the exact bytes and offsets that Polyseme itself reads."""
    strings = file.create_dataset(f"{kind}s", (count,), h5py.string_dtype("utf-8"), track_times=False)
    for first in range(0, count, _TOKENS_A_BLOCK):
        last = min(count, first + _TOKENS_A_BLOCK)
        words = [word.replace("\0", _NUL_SIGN) for word in raw.strings(kind, first, last)]
        strings[first:last] = np.array(words, dtype=object)


class _FlatFile(FlatColumns):
    """Flat columns whose values stay in the open file."""

    def __init__(self, file: h5py.File, header: Header, values: Rows, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        super().__init__(header, values, columns)
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.close()


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str):
        return value
    raise InputError(f"a string was expected, found {type(value).__name__}")


def _read_flat(path: Path, file: h5py.File, header: Header) -> _FlatFile:
    layout, size = header.layout, path.stat().st_size
    values = _dataset(file, "values", size)
    if values.dtype != layout.numpy_dtype:
        raise InputError(f"values are {values.dtype}, but its header says {layout.dtype}")
    columns: dict[str, npt.NDArray[Any]] = {}
    for name, dtype in layout.columns.items():
        column = _dataset(file, name, size)
        if column.dtype != dtype:
            raise InputError(f"{name} is {column.dtype}, but should be {dtype}")
        columns[name] = column[()]
    return _FlatFile(file, header, cast(Rows, values), columns)


def _dataset(file: h5py.File, name: str, size: int) -> h5py.Dataset:
    """A data set that can be read without surprise: no filters, nothing outside, no larger than the file."""
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise InputError(f"{name} is not a data set")
    if data.external or data.is_virtual:
        raise InputError(f"{name} points outside this file")
    if data.dtype.hasobject is False and data.chunks is None and data.nbytes > size:
        raise InputError(f"{name} would take {data.nbytes} bytes in a file of {size}")
    return data


# -------------------------------------------------------------------- classic


def write_classic(raw: RawColumns, target: Path) -> None:
    """Write one data set a sentence. A sentence's values pass through memory block by block.

    Words, offsets, id and document are attributes of its data set: another key in the root would break the many readers
    that take every key but `sentence_to_index` for a number.
    """
    header = raw.header
    layout = header.layout
    tokens_fit = layout.tokens and len(raw.column("token_bytes")) <= MAX_INDEX_BYTES
    sentence_to_index: dict[str, str] = {}
    with _create(target, header) as file:
        for i, start, stop in raw.sentences():
            data = _create_sentence(file, layout, str(i), stop - start)
            for first, block in raw.blocks(start, stop):
                _put_rows(data, layout, first - start, block)
            words = _describe(data, raw, i)
            if words is not None and tokens_fit:
                sentence_to_index[" ".join(words)] = str(i)  # a repeated sentence names its last key, as AllenNLP did
        if tokens_fit:
            index = file.create_dataset(_INDEX, (1,), h5py.string_dtype("utf-8"), track_times=False)
            index[0] = json.dumps(sentence_to_index)
        elif layout.tokens:
            file.attrs[_INDEX] = f"left out: the sentences take more than {MAX_INDEX_BYTES} bytes"


def _create_sentence(file: h5py.File, layout: StoreLayout, key: str, rows: int) -> h5py.Dataset:
    shape: tuple[int, ...] = (layout.width,) if layout.pooled else (rows, layout.width)
    if layout.n_layers > 1:
        shape = (layout.n_layers, *shape)
    return file.create_dataset(key, shape, layout.numpy_dtype, track_times=False)


def _put_rows(data: h5py.Dataset, layout: StoreLayout, first: int, block: npt.NDArray[np.floating]) -> None:
    if layout.pooled:
        data[...] = block[0, 0] if layout.n_layers == 1 else block[0]
    elif layout.n_layers == 1:
        data[first : first + len(block)] = block[:, 0]
    else:
        data[:, first : first + len(block)] = block.transpose(1, 0, 2)


def _describe(data: h5py.Dataset, raw: RawColumns, i: int) -> tuple[str, ...] | None:
    """Attach a sentence's words and the rest to its data set; gives back the words."""
    layout, words = raw.header.layout, None
    if layout.tokens:
        start, stop = raw.column("sentence_offsets")[i : i + 2].tolist()
        words = raw.strings("token", start, stop)
        data.attrs["tokens"] = np.bytes_(json.dumps(words).encode("ascii"))
        if layout.offsets:
            spans = json.dumps(raw.column("character_offsets")[start:stop].tolist())
            data.attrs["offsets"] = np.bytes_(spans.encode("ascii"))
    if layout.ids:
        [name] = raw.strings("id", i, i + 1)
        data.attrs["id"] = np.bytes_(json.dumps(name).encode("ascii"))
    if layout.documents:
        data.attrs["document"] = int(raw.column("document_index")[i])
    return words


class _ClassicFile:
    """A `Source` over one data set a sentence; also reads the files of AllenNLP 0.9 and bilm-tf."""

    def __init__(self, path: Path, file: h5py.File, header: Header, words: Mapping[int, tuple[str, ...]]) -> None:
        self.header = header
        self._file = file
        self._size = path.stat().st_size
        self._words = words  # of files by others, from `sentence_to_index`
        self._last: tuple[int, h5py.Dataset | None] = (-1, None)  # finding a data set takes longer than reading it

    def _sentence(self, sentence: int) -> h5py.Dataset:
        if self._last[0] != sentence:
            self._last = (sentence, _dataset(self._file, str(sentence), self._size))
        return self._last[1]

    def values(self, sentence: int) -> FloatArray:
        layout, data = self.header.layout, self._sentence(sentence)
        values = np.asarray(data[()], dtype=layout.numpy_dtype)
        if layout.pooled:
            return values.reshape(1, layout.n_layers, layout.width)
        by_layer = values[None] if values.ndim == 2 else values
        if by_layer.ndim != 3 or (by_layer.shape[0], by_layer.shape[2]) != (layout.n_layers, layout.width):
            raise InputError(f"sentence {sentence} has shape {values.shape}, unlike the first one")
        return by_layer.transpose(1, 0, 2)  # (L, T, W) -> (T, L, W)

    def tokens(self, sentence: int) -> tuple[str, ...] | None:
        if not self.header.layout.tokens:
            return None
        data = self._sentence(sentence)
        if "tokens" in data.attrs:
            return tuple(_text(word) for word in json.loads(_text(data.attrs["tokens"])))
        count = data.shape[-2] if data.ndim >= 2 else 0
        words = self._words.get(sentence, ())
        return words if len(words) == count else ("",) * count

    def offsets(self, sentence: int) -> IntArray | None:
        if not self.header.layout.offsets:
            return None
        spans = json.loads(_text(self._sentence(sentence).attrs["offsets"]))
        return np.asarray(spans, dtype=np.int64).reshape(-1, 2)

    def ids(self) -> tuple[str, ...] | None:
        if not self.header.layout.ids:
            return None
        everyone = range(self.header.n_sentences)
        return tuple(_text(json.loads(_text(self._sentence(i).attrs["id"]))) for i in everyone)

    def documents(self) -> IntArray | None:
        if not self.header.layout.documents:
            return None
        numbers = [int(self._sentence(i).attrs["document"]) for i in range(self.header.n_sentences)]
        return np.asarray(numbers, dtype=np.int64)

    def flat(self) -> tuple[FloatArray, IntArray]:
        return joined(self)

    def close(self) -> None:
        self._last = (-1, None)
        self._file.close()


def read(path: Path) -> FlatColumns | _ClassicFile:
    """Open either layout. Raises `InputError` for HDF5 of another kind."""
    file = h5py.File(path, "r")
    try:
        if "layout" not in file.attrs:
            return _read_foreign(path, file)
        header = Header.parse({name: _text(file.attrs[name]) for name in ("layout", "metadata")})
        if header.layout.format == "h5":
            return _read_flat(path, file, header)
        if len(file) < header.n_sentences:
            raise InputError(f"it has {len(file)} data sets for {header.n_sentences} sentences")
        return _ClassicFile(path, file, header, {})
    except BaseException:
        file.close()
        raise


def _read_foreign(path: Path, file: h5py.File) -> _ClassicFile:
    """A file that AllenNLP or bilm-tf wrote: the shapes are those of its first sentence."""
    keys = [key for key in file if key != _INDEX]
    if sorted(keys, key=lambda key: (len(key), key)) != [str(i) for i in range(len(keys))] or not keys:
        raise InputError(
            "its keys are not 0, 1, 2, ...: not a file of embeddings (files keyed by the text lose sentences)"
        )
    first = _dataset(file, "0", path.stat().st_size)
    if first.ndim not in (2, 3) or first.dtype.name not in ("float16", "float32"):
        raise InputError(f"its first data set is {first.dtype} of shape {first.shape}: not embeddings")
    n_layers, width = 1 if first.ndim == 2 else first.shape[0], first.shape[-1]
    words: dict[int, tuple[str, ...]] = {}
    if _INDEX in file:
        by_sentence = json.loads(_text(file[_INDEX][0]))
        words = {int(key): tuple(sentence.split()) for sentence, key in by_sentence.items()}
    layout = StoreLayout("h5-classic", first.dtype.name, n_layers, width)
    n_tokens = sum(file[key].shape[-2] for key in keys)
    return _ClassicFile(path, file, Header(layout, len(keys), n_tokens, {}), words)
