"""Embeddings in one `.npz`: `values.npy` and the flat columns, uncompressed, plus `layout` and `metadata` as text.

`numpy.load` reads it. Here the members are mapped where they lie in the archive: they are stored, not compressed.
"""

from __future__ import annotations

import ast
import io
import struct
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt

from polyseme.errors import InputError
from polyseme.store.columns import FlatColumns
from polyseme.store.layout import Header

if TYPE_CHECKING:
    from polyseme.store.assemble import RawColumns

_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed date: equal content gives equal bytes
_LOCAL_HEADER_BYTES = 30
_MAX_TEXT_BYTES = 100_000_000


def write(raw: RawColumns, target: Path) -> None:
    """Write the archive; values pass through memory block by block."""
    header = raw.header
    layout = header.layout
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, text in header.strings().items():
            _add(archive, name, np.array(text))
        shape = (header.n_rows, layout.n_layers, layout.width)
        with archive.open(_entry("values"), "w", force_zip64=True) as member:
            member.write(_npy_header(layout.numpy_dtype, shape))
            for _, block in raw.blocks(0, header.n_rows):
                member.write(block.data.cast("B"))
        for name in layout.columns:
            _add(archive, name, raw.column(name))


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
    entry.external_attr = 0o644 << 16  # the default depends on the system
    entry.create_system = 3
    return entry


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    npy.write_array_header_1_0(out, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return out.getvalue()


def _add(archive: zipfile.ZipFile, name: str, array: npt.NDArray[Any]) -> None:
    with archive.open(_entry(name), "w", force_zip64=True) as member:
        member.write(_npy_header(array.dtype, array.shape))
        if array.size:
            member.write(array.reshape(-1).view("u1").data)


def read(path: Path) -> FlatColumns:
    """Map every member. Raises `InputError` for a compressed or damaged one."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        strings = {name: _text(archive, entries.pop(name)) for name in ("layout", "metadata")}
        arrays = {name: _map(path, file, entry) for name, entry in entries.items()}
    header = Header.parse(strings)
    values = arrays.pop("values")
    for name, dtype in {"values": header.layout.numpy_dtype, **header.layout.columns}.items():
        found = values.dtype if name == "values" else arrays[name].dtype
        if found != dtype:
            raise InputError(f"{name} is {found}, but its header says {dtype}")
    return FlatColumns(header, values, arrays)


def _text(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    if entry.file_size > _MAX_TEXT_BYTES or entry.compress_type != zipfile.ZIP_STORED:
        raise InputError(f"{entry.filename} is damaged")
    with archive.open(entry) as member:
        shape, dtype = _read_npy_header(member)
        if shape != () or dtype.kind != "U":
            raise InputError(f"{entry.filename} is not a text")
        return str(np.frombuffer(member.read(), dtype=dtype)[0])


def _read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype, or `InputError`; numpy's own reader also tries what Python 2 wrote, and warns about it."""
    if file.read(8) != b"\x93NUMPY\x01\x00":
        raise InputError("a member is not an array of the first .npy version")
    [length] = struct.unpack("<H", file.read(2))
    try:
        described = ast.literal_eval(file.read(length).decode("latin-1"))
    except SyntaxError as error:
        raise InputError(f"the header of an array is damaged ({error})") from error
    shape, dtype = described["shape"], np.dtype(described["descr"])
    whole = isinstance(shape, tuple) and all(type(number) is int and number >= 0 for number in shape)
    if not whole or described["fortran_order"] or dtype.hasobject or not dtype.itemsize:
        raise InputError(f"an array of shape {shape} and type {dtype} is not one that Polyseme writes")
    return shape, dtype


def _map(path: Path, file: io.BufferedReader, entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise InputError(f"{entry.filename} is compressed: write it with numpy.savez, not savez_compressed")
    file.seek(entry.header_offset)
    local = file.read(_LOCAL_HEADER_BYTES)
    name_bytes, extra_bytes = struct.unpack("<HH", local[26:30])
    start = entry.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
    file.seek(start)
    shape, dtype = _read_npy_header(file)
    count = 1
    for number in shape:
        count *= number
    if file.tell() + count * dtype.itemsize != start + entry.file_size:
        raise InputError(f"{entry.filename} has shape {shape}, which is not its size")
    if start + entry.file_size > path.stat().st_size:
        raise InputError(f"{entry.filename} reaches beyond the end of the file")
    if not count:
        return np.empty(shape, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=file.tell(), shape=shape)
