"""Embeddings as an Arrow IPC file: one record batch, one row a sentence, every column flat values + offsets.

The working files of a run are exactly Arrow's buffers, so that writing only copies bytes, and a reader that maps the
file finds every column in one piece. `record_batch` also serves Parquet.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError, MissingExtraError
from polyseme.store.columns import FlatColumns
from polyseme.store.layout import Header

if TYPE_CHECKING:
    from polyseme.store.assemble import RawColumns

try:
    import pyarrow as pa
except ImportError as error:
    raise MissingExtraError("The formats arrow and parquet", "data") from error

_CHUNK_BYTES = 8 << 20


def schema(header: Header) -> Any:
    """Column names and types; `layout` and `metadata` ride along as schema metadata."""
    layout = header.layout
    row = pa.list_(_value(pa.float16() if layout.dtype == "float16" else pa.float32()), layout.n_layers * layout.width)
    fields = []
    if layout.ids:
        fields.append(("id", pa.large_string()))
    if layout.documents:
        fields.append(("document", pa.int64()))
    if layout.tokens:
        fields.append(("tokens", pa.large_list(_value(pa.large_string()))))
    if layout.offsets:
        fields.append(("offsets", pa.large_list(_value(pa.list_(_value(pa.int64()), 2)))))
    fields.append(("values", row if layout.pooled else pa.large_list(_value(row))))
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields], metadata=header.strings())


def _value(kind: Any) -> Any:
    return pa.field("item", kind, nullable=False)


@contextmanager
def record_batch(raw: RawColumns) -> Iterator[tuple[Any, mmap.mmap | None]]:
    """All sentences as one batch over the mapped working files, and the map of the values; nothing is read yet."""
    header, kinds = raw.header, schema(raw.header)
    mapped = _map_whole(raw.values_path) if raw.values_path.stat().st_size else None
    build = {
        "id": lambda kind: _strings(raw, "id", kind, header.n_sentences),
        "document": lambda kind: pa.Array.from_buffers(
            kind, header.n_sentences, [None, _column(raw, "document_index")]
        ),
        "tokens": lambda kind: _list(raw, kind, _strings(raw, "token", kind.value_type, header.n_tokens)),
        "offsets": lambda kind: _list(raw, kind, _fixed(_column(raw, "character_offsets"), kind.value_type)),
        "values": lambda kind: _values(raw, kind, pa.py_buffer(b"" if mapped is None else mapped)),
    }
    yield pa.RecordBatch.from_arrays([build[field.name](field.type) for field in kinds], schema=kinds), mapped


def _map_whole(path: Path) -> mmap.mmap:
    """The file as memory; it is unmapped with its last user."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _values(raw: RawColumns, kind: Any, buffer: Any) -> Any:
    if raw.header.layout.pooled:
        return _fixed(buffer, kind)
    return _list(raw, kind, _fixed(buffer, kind.value_type))


def _column(raw: RawColumns, name: str) -> Any:
    return pa.py_buffer(raw.column(name).reshape(-1).view("u1"))


def _fixed(buffer: Any, kind: Any) -> Any:
    scalars = buffer.size // (kind.value_type.bit_width // 8)
    items = pa.Array.from_buffers(kind.value_type, scalars, [None, buffer])
    return pa.Array.from_buffers(kind, scalars // kind.list_size, [None], children=[items])


def _list(raw: RawColumns, kind: Any, items: Any) -> Any:
    offsets = _column(raw, "sentence_offsets")
    return pa.Array.from_buffers(kind, raw.header.n_sentences, [None, offsets], children=[items])


def _strings(raw: RawColumns, name: str, kind: Any, count: int) -> Any:
    buffers = [None, _column(raw, f"{name}_offsets"), _column(raw, f"{name}_bytes")]
    return pa.Array.from_buffers(kind, count, buffers)


class _Sink:
    """A file for Arrow to write to, which passes large buffers on in pieces.

    Each piece of a mapped working file is forgotten once it is written: the process never holds a large one whole.
    """

    def __init__(self, target: Path, source: mmap.mmap | None) -> None:
        self._file = target.open("wb")
        self._source = source
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _CHUNK_BYTES):
            self._file.write(view[start : start + _CHUNK_BYTES])
            if self._source is not None and len(view) > _CHUNK_BYTES and hasattr(mmap, "MADV_DONTNEED"):
                self._source.madvise(mmap.MADV_DONTNEED)
        return len(view)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.closed = True
        self._file.close()


def write(raw: RawColumns, target: Path) -> None:
    """Write the file; values go from the mapped working file straight to the new one."""
    with record_batch(raw) as (batch, mapped):
        sink = _Sink(target, mapped)
        with pa.ipc.new_file(pa.PythonFile(sink, "w"), batch.schema) as file:
            file.write_batch(batch)
        sink.close()


def read(path: Path) -> FlatColumns:
    """Map the file. Raises `InputError` when it is damaged or not one that `write` made."""
    try:
        # mapped by Python, since Arrow takes no path that the locale cannot spell
        with pa.ipc.open_file(pa.py_buffer(_map_whole(path))) as file:
            strings = {name: (file.schema.metadata or {})[name.encode()].decode() for name in ("layout", "metadata")}
            header = Header.parse(strings)
            if not file.schema.equals(schema(header)) or file.num_record_batches != 1:
                raise InputError("its columns are not those of its header")
            batch = file.get_batch(0)
            if batch.num_rows != header.n_sentences:
                raise InputError(f"it has {batch.num_rows} rows, but its header says {header.n_sentences}")
            buffers = {name: _data_buffers(batch.column(name)) for name in batch.schema.names}
    except pa.ArrowException as error:
        raise InputError(f"truncated or damaged ({error})") from error
    return _flat(header, buffers)


def _data_buffers(array: Any) -> list[Any]:
    """The buffers of a column from the outside in: offsets of lists, offsets of strings, data; never a mask."""
    kind, buffers = array.type, array.buffers()
    masks, data, position = [], [], 0
    while True:
        masks.append(buffers[position])
        position += 1
        if not pa.types.is_fixed_size_list(kind):
            data.append(buffers[position])
            position += 1
        if not hasattr(kind, "value_type"):
            break
        kind = kind.value_type
    data += buffers[position:]
    if any(mask is not None for mask in masks):
        raise InputError("a column has missing entries")
    return data


def _flat(header: Header, buffers: dict[str, list[Any]]) -> FlatColumns:
    """The flat columns as views of Arrow's buffers; every length is checked before it is used."""
    layout = header.layout
    shape = (header.n_rows, layout.n_layers, layout.width)
    values = _view(buffers["values"][-1], layout.numpy_dtype, shape)
    columns: dict[str, npt.NDArray[Any]] = {}
    if "sentence_offsets" in layout.columns:
        name = "tokens" if layout.tokens else "values"
        columns["sentence_offsets"] = _view(buffers[name][0], np.dtype("<i8"), (header.n_sentences + 1,))
    for name, kind, count in (("tokens", "token", header.n_tokens), ("id", "id", header.n_sentences)):
        if name in buffers:
            columns[f"{kind}_offsets"] = _view(buffers[name][-2], np.dtype("<i8"), (count + 1,))
            columns[f"{kind}_bytes"] = _view(buffers[name][-1], np.dtype("u1"), (_size(buffers[name][-1]),))
    if layout.offsets:
        columns["character_offsets"] = _view(buffers["offsets"][-1], np.dtype("<i8"), (header.n_tokens, 2))
    if layout.documents:
        columns["document_index"] = _view(buffers["document"][-1], np.dtype("<i8"), (header.n_sentences,))
    return FlatColumns(header, values, columns)


def _size(buffer: Any) -> int:
    return 0 if buffer is None else int(buffer.size)


def _view(buffer: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    count = 1
    for number in shape:
        count *= number
    if _size(buffer) < count * dtype.itemsize:
        raise InputError(f"a column of shape {shape} has only {_size(buffer)} bytes")
    if not count:
        return np.empty(shape, dtype=dtype)
    return np.frombuffer(buffer, dtype=dtype, count=count).reshape(shape)
