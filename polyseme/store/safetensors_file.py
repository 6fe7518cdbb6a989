"""Embeddings in one safetensors file: `values` (R, L, W), then the flat columns.

The values are written once, straight into what becomes the file: its first bytes are kept free for the header, which
the format allows to end in spaces, and the small columns follow at the end.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError
from polyseme.store.columns import FlatColumns
from polyseme.store.layout import Header, StoreLayout

MAX_HEADER_BYTES = 100_000_000
_PAGE = 4096
_NAMES = {"float16": "F16", "float32": "F32"}
_DTYPES = {"F16": "<f2", "F32": "<f4", "I64": "<i8", "U8": "u1"}


def header_room(layout: StoreLayout, metadata: Mapping[str, Any], reserve: int) -> int:
    """Bytes to keep free before the values: enough for any counts and `reserve` more, in whole pages."""
    largest = 10**15
    header = Header(layout, largest, largest, dict(metadata), "0" * 64)
    needed = 8 + len(_header_json(header, dict.fromkeys(layout.columns, largest), largest)) + reserve
    return -(-needed // _PAGE) * _PAGE


def complete(target: Path, header: Header, prefix: int, columns: Mapping[str, Path]) -> None:
    """Turn the raw values file (`prefix` free bytes, then values) into a safetensors file, in place."""
    sizes = {name: path.stat().st_size for name, path in columns.items()}
    with target.open("r+b") as file:
        file.seek(0, 2)
        value_bytes = file.tell() - prefix
        file.write(bytes(_padding(value_bytes)))
        for path in columns.values():
            with path.open("rb") as column:
                shutil.copyfileobj(column, file, 1 << 20)
        text = _header_json(header, sizes, value_bytes)
        file.seek(0)
        file.write(struct.pack("<Q", prefix - 8) + text.ljust(prefix - 8))


def _padding(value_bytes: int) -> int:
    return -value_bytes % 8


def _header_json(header: Header, sizes: Mapping[str, int], value_bytes: int) -> bytes:
    """The JSON header; tensors lie in the order in which it names them, without gaps, as the format demands."""
    layout = header.layout
    entries: dict[str, Any] = {"__metadata__": header.strings()}
    shape = [header.n_rows, layout.n_layers, layout.width]
    entries["values"] = {"dtype": _NAMES[layout.dtype], "shape": shape, "data_offsets": [0, value_bytes]}
    end = value_bytes
    if padding := _padding(value_bytes):
        # torch refuses to view an int64 tensor that does not begin at a multiple of 8
        entries["padding"] = {"dtype": "U8", "shape": [padding], "data_offsets": [end, end + padding]}
        end += padding
    for name, dtype in layout.columns.items():
        count = sizes[name] // dtype.itemsize
        column_shape = [count // 2, 2] if name == "character_offsets" else [count]
        kind = "I64" if dtype.itemsize == 8 else "U8"
        entries[name] = {"dtype": kind, "shape": column_shape, "data_offsets": [end, end + sizes[name]]}
        end += sizes[name]
    return json.dumps(entries, separators=(",", ":")).encode("ascii")


def read(path: Path) -> FlatColumns:
    """Memory-map the file. Raises `InputError` when header and size do not agree."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise InputError(f"its header would take {length} bytes of {size}: the file is truncated or damaged")
        entries = json.loads(file.read(length).decode("utf-8"))
    arrays = {name: _array(path, entry, 8 + length, size) for name, entry in entries.items() if name != "__metadata__"}
    header = Header.parse(entries.get("__metadata__", {}))
    values = arrays.pop("values")
    if values.dtype != header.layout.numpy_dtype:
        raise InputError(f"values are {values.dtype}, but its header says {header.layout.dtype}")
    return FlatColumns(header, values, arrays)


def _array(path: Path, entry: Mapping[str, Any], base: int, size: int) -> npt.NDArray[Any]:
    dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
    start, stop = entry["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (start, stop, *shape)):
        raise InputError("a tensor has a shape or position that is not a whole number")
    count = 1
    for number in shape:
        count *= number
    if stop - start != count * dtype.itemsize or base + stop > size:
        raise InputError(
            f"a tensor of shape {shape} lies at bytes {start}:{stop} of {size - base}: truncated or damaged"
        )
    if not count:  # an empty region cannot be mapped
        return np.empty(shape, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=base + start, shape=shape)
