"""TensorFlow's V2 checkpoints ("tensor bundles"), read without TensorFlow.

A checkpoint PREFIX is several files (tensorflow `core/util/tensor_bundle/tensor_bundle.h`):

    PREFIX.index                a sorted table in LevelDB's layout (`core/lib/io/format.cc`, `block.cc`) of messages of
                                `core/protobuf/tensor_bundle.proto`: "" -> BundleHeaderProto, name -> BundleEntryProto
    PREFIX.data-00000-of-00001  the numbers themselves, one tensor after the other

The older V1 layout (one file PREFIX, before TensorFlow 0.12) is refused by name.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.errors import DamagedModelError, UnknownFormatError, UnsupportedModelError
from polyseme.formats.crc32c import crc32c, unmask
from polyseme.formats.model import REFETCH, damage_named

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
FOOTER = 48  # bytes: two block handles, padding, magic
TRAILER = 5  # bytes after every block: compression type, masked checksum
LARGEST_INDEX = 64 << 20  # a biLM's index has a few kB

# TensorFlow's DataType numbers (`core/framework/types.proto`) of the tensors that a checkpoint of numbers can hold.
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 9: "<i8", 10: "?", 19: "<f2"}


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: `size` bytes at `offset` of shard `shard`. `checksum` is CRC-32C, unmasked."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    is_sliced: bool


class Checkpoint(Mapping[str, npt.NDArray[Any]]):
    """Tensor name -> array, read from disk at each access, its checksum verified.

    Access raises `DamagedModelError` (sizes that contradict each other or the file, a wrong checksum) and
    `UnsupportedModelError` (strings, partitioned variables).
    """

    def __init__(self, prefix: Path, entries: dict[str, Entry], n_shards: int) -> None:
        self.prefix, self._entries, self._n_shards = prefix, entries, n_shards

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it. Raises `KeyError`."""
        return self._entries[name].shape

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        entry = self._entries[name]
        if entry.is_sliced or entry.dtype not in DTYPES:
            kind = "partitioned into slices" if entry.is_sliced else f"of TensorFlow's type {entry.dtype}"
            raise UnsupportedModelError(
                f"{self.prefix}.index: {name} is {kind}; only whole tensors of numbers can be read: "
                "save the checkpoint again with TensorFlow, without a partitioner"
            )
        dtype = np.dtype(DTYPES[entry.dtype])
        shard = self.prefix.with_name(f"{self.prefix.name}.data-{entry.shard:05d}-of-{self._n_shards:05d}")
        needed = math.prod(entry.shape) * dtype.itemsize
        held = shard.stat().st_size if shard.is_file() else None
        # Compared before anything is allocated: a flipped bit must not ask for 100 GB.
        if held is None or needed != entry.size or entry.offset + entry.size > held:
            found = "is missing" if held is None else f"has {held:,} bytes"
            raise DamagedModelError(
                f"{shard}: {found}, but {name} {entry.shape} takes {needed:,} bytes, "
                f"stored as {entry.size:,} from byte {entry.offset:,} on; {REFETCH}"
            )
        with damage_named(shard, f"reading {name}"), shard.open("rb") as file:
            array = np.empty(entry.shape, dtype=dtype)
            raw = array.reshape(-1).view(np.uint8)
            file.seek(entry.offset)
            filled = file.readinto(raw.data)
        if filled != entry.size or crc32c(raw) != entry.checksum:
            raise DamagedModelError(f"{shard}: the checksum of {name} does not match its contents; {REFETCH}")
        return array


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`: a folder (see `find_prefix`), a prefix, or an .index file.

    Raises `UnknownFormatError` (none there), `DamagedModelError`, `UnsupportedModelError` (V1, compressed, big-endian).
    """
    prefix = find_prefix(path)
    if prefix is None:
        raise UnknownFormatError(f"{path}: no TensorFlow checkpoint here (model.ckpt-N.index and model.ckpt-N.data-*)")
    index = index_of(prefix)
    if not index.is_file():
        raise UnsupportedModelError(
            f"{prefix}: is a checkpoint in TensorFlow's V1 layout (one file, no .index); load it with TensorFlow and "
            "save it again, or dump it to HDF5 with bilm-tf's bin/dump_weights.py"
        )
    with damage_named(index, "reading the table of tensors"):
        if index.stat().st_size > LARGEST_INDEX:
            raise DamagedModelError(f"{index}: has {index.stat().st_size:,} bytes, too many for a table of tensors")
        pairs = dict(_table(index.read_bytes(), index))
        n_shards = _header(pairs.pop(b"", b""), index)
        entries = {name.decode("utf-8"): _entry(value) for name, value in pairs.items()}
    return Checkpoint(prefix, entries, n_shards)


# --- which checkpoint


def find_prefix(path: Path) -> Path | None:
    """The prefix of the checkpoint at `path`, or None.

    In a folder: the one that the file `checkpoint` names (its author's folder is ignored), otherwise the highest step.
    """
    if path.is_dir():
        named = _named_by_state_file(path)
        if named is not None and (index_of(named).is_file() or _is_table(named)):
            return named
        indexes = [file for file in path.glob("*.index") if _is_table(file)]
        prefixes = [file.with_name(file.name.removesuffix(".index")) for file in indexes]
        return max(prefixes, key=lambda prefix: (_step(prefix), prefix.name), default=None)
    if path.suffix == ".index":
        return path.with_name(path.name.removesuffix(".index")) if path.is_file() else None
    return path if index_of(path).is_file() or ("ckpt" in path.name and _is_table(path)) else None


def index_of(prefix: Path) -> Path:
    """PREFIX.index."""
    return prefix.with_name(f"{prefix.name}.index")


def _named_by_state_file(folder: Path) -> Path | None:
    """What the text file `checkpoint` names (CheckpointState, `python/training/checkpoint_state.proto`)."""
    file = folder / "checkpoint"
    if not file.is_file() or file.stat().st_size > LARGEST_INDEX:
        return None
    found = re.search(r'^\s*model_checkpoint_path\s*:\s*"([^"]+)"', file.read_text("utf-8", "replace"), re.MULTILINE)
    # The path is often absolute and of another machine, whose separator may be another too.
    name = re.split(r"[/\\]", found[1])[-1] if found else ""
    return folder / name if name.strip(". \0") and "\0" not in name else None


def _step(prefix: Path) -> int:
    found = re.search(r"-(\d+)$", prefix.name)
    return int(found[1]) if found else -1


def _is_table(file: Path) -> bool:
    """Whether a file ends as LevelDB tables do."""
    if not file.is_file() or file.stat().st_size < FOOTER:
        return False
    with file.open("rb") as opened:
        opened.seek(-len(MAGIC), 2)
        return opened.read() == MAGIC


# --- the table: LevelDB's layout


def _table(raw: bytes, source: Path) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table, in order: the index block lists the data blocks."""
    if len(raw) < FOOTER or not raw.endswith(MAGIC):
        raise DamagedModelError(f"{source}: does not end as an index of tensors does (is it complete?); {REFETCH}")
    footer = raw[-FOOTER:]
    _, _, at = _handle(footer, 0)  # the metaindex block, which TensorFlow leaves empty
    offset, size, _ = _handle(footer, at)
    end = 0
    for _, value in _block(raw, offset, size, source):
        offset, size, _ = _handle(value, 0)
        if offset < end:  # blocks follow each other; otherwise a small file could pretend to hold endless entries
            raise DamagedModelError(f"{source}: its blocks overlap; {REFETCH}")
        end = offset + size
        yield from _block(raw, offset, size, source)


def _block(raw: bytes, offset: int, size: int, source: Path) -> Iterator[tuple[bytes, bytes]]:
    """Entries of one block: shared prefix length, rest length, value length, rest of the key, value."""
    data, trailer = raw[offset : offset + size], raw[offset + size : offset + size + TRAILER]
    if len(data) != size or len(trailer) != TRAILER:
        raise DamagedModelError(f"{source}: a block of {size:,} bytes at {offset:,} lies outside the file; {REFETCH}")
    checked = np.frombuffer(raw, dtype=np.uint8, count=size + 1, offset=offset)
    if crc32c(checked) != unmask(int.from_bytes(trailer[1:], "little")):
        raise DamagedModelError(f"{source}: the checksum of the block at {offset:,} does not match; {REFETCH}")
    if trailer[0] != 0:
        raise UnsupportedModelError(
            f"{source}: is compressed (type {trailer[0]}), which only TensorFlow before 1.2 did; load the checkpoint "
            "with TensorFlow and save it again"
        )
    n_restarts = int.from_bytes(data[-4:], "little")
    end, at, key = len(data) - 4 * (n_restarts + 1), 0, b""
    while at < end:
        shared, at = _varint(data, at)
        rest, at = _varint(data, at)
        length, at = _varint(data, at)
        if shared > len(key) or at + rest + length > end:
            raise DamagedModelError(f"{source}: an entry of the block at {offset:,} reaches beyond it; {REFETCH}")
        key = key[:shared] + data[at : at + rest]
        at += rest + length
        yield key, data[at - length : at]


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """A block handle: offset and size, and where it ends."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


# --- the values: protocol buffers


def _header(value: bytes, source: Path) -> int:
    """The number of shards (BundleHeaderProto: 1 num_shards, 2 endianness)."""
    fields = dict(_fields(value))
    if fields.get(2, 0) != 0:
        raise UnsupportedModelError(f"{source}: was written on a big-endian machine, which Polyseme does not read")
    return _integer(fields.get(1, 0))


def _entry(value: bytes) -> Entry:
    """BundleEntryProto: 1 dtype, 2 shape, 3 shard_id, 4 offset, 5 size, 6 crc32c, 7 slices."""
    fields = dict(_fields(value))
    # TensorShapeProto: 2 dim (repeated) { 1 size }
    dims = [_bytes(dim) for number, dim in _fields(_bytes(fields.get(2, b""))) if number == 2]
    return Entry(
        dtype=_integer(fields.get(1, 0)),
        shape=tuple(_integer(dict(_fields(dim)).get(1, 0)) for dim in dims),
        shard=_integer(fields.get(3, 0)),
        offset=_integer(fields.get(4, 0)),
        size=_integer(fields.get(5, 0)),
        checksum=unmask(_integer(fields.get(6, 0))),
        is_sliced=7 in fields,
    )


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field number and value of a serialized message: an integer, or bytes where the length is written."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if size is None:
            if wire != 2:
                raise ValueError(f"wire type {wire} in a message")
            size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError("a message ends inside a field")
        piece = data[at : at + size]
        yield number, piece if wire == 2 else int.from_bytes(piece, "little")
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where a message holds a number")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where a message holds bytes")
    return value
