"""From the working files of a run to the finished file: which format module does it, and how it reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.store import safetensors_file
from polyseme.store.columns import blocks, cut_strings
from polyseme.store.layout import Header, StoreLayout
from polyseme.store.partial import PartialFolder, sync_file


def raw_prefix(layout: StoreLayout, metadata: Mapping[str, Any], reserve: int = 8192) -> int:
    """Bytes to leave free before the values: for safetensors the header, since its values never move again."""
    return safetensors_file.header_room(layout, metadata, reserve) if layout.format == "safetensors" else 0


def assemble(partial: PartialFolder, header: Header, prefix: int) -> Path:
    """Build the complete file inside the working folder, wait until it is on the disk, and return its path."""
    if header.layout.format == "safetensors":
        target = partial.file("values")
        safetensors_file.complete(target, header, prefix, {name: partial.file(name) for name in header.layout.columns})
    else:
        target = partial.folder / "assembled"
        with RawColumns(partial, header) as raw:
            _write(header.layout.format, raw, target)
    sync_file(target)
    return target


class RawColumns:
    """The working files of a run, as the format modules read them: small columns mapped, values block by block."""

    def __init__(self, partial: PartialFolder, header: Header) -> None:
        self.header = header
        self._columns: dict[str, npt.NDArray[Any]] = {}
        self._paths = {name: partial.file(name) for name in header.layout.columns}
        self.values_path = partial.file("values")
        self._values = self.values_path.open("rb", buffering=0)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A flat column as a memory map. *Shape:* (n,), or (n_tokens, 2) for `character_offsets`."""
        if name not in self._columns:
            self._columns[name] = self._mapped(name)
        return self._columns[name]

    def _mapped(self, name: str) -> npt.NDArray[Any]:
        path, dtype = self._paths[name], self.header.layout.columns[name]
        if not path.stat().st_size:
            column: npt.NDArray[Any] = np.empty(0, dtype=dtype)
        else:
            column = np.memmap(path, dtype=dtype, mode="r")
        return column.reshape(-1, 2) if name == "character_offsets" else column

    def strings(self, kind: str, start: int, stop: int) -> tuple[str, ...]:
        """The words (`kind` "token") or ids ("id") number `start` to `stop`."""
        return cut_strings(self.column(f"{kind}_bytes"), self.column(f"{kind}_offsets")[start : stop + 1])

    def sentences(self) -> Iterator[tuple[int, int, int]]:
        """Number, first row and end row of each sentence."""
        if self.header.layout.pooled:
            yield from ((i, i, i + 1) for i in range(self.header.n_sentences))
            return
        bounds = self.column("sentence_offsets")
        yield from ((i, int(bounds[i]), int(bounds[i + 1])) for i in range(self.header.n_sentences))

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, npt.NDArray[np.floating]]]:
        """Rows `start:stop` in blocks of bounded size, each with its first row. *Shape:* (rows, L, W)."""
        layout = self.header.layout
        for first, last in blocks(start, stop, layout.row_bytes):
            # read, not mapped: mapped pages would count as this process's memory until they are needed elsewhere
            block = np.empty((last - first, layout.n_layers, layout.width), dtype=layout.numpy_dtype)
            self._values.seek(first * layout.row_bytes)
            _read_into(self._values, block.data.cast("B"))
            yield first, block

    def __enter__(self) -> RawColumns:
        return self

    def __exit__(self, *_: object) -> None:
        self._columns = {}
        self._values.close()


def _read_into(file: FileIO, view: memoryview) -> None:
    while view:
        count = file.readinto(view)
        if not count:
            raise OSError("the working files are shorter than they were written")
        view = view[count:]


def _write(format: str, raw: RawColumns, target: Path) -> None:
    """Formats are imported when they are asked for: h5py and pyarrow take a tenth of a second each."""
    if format == "arrow":
        from polyseme.store import arrow_file

        arrow_file.write(raw, target)
    elif format == "parquet":
        from polyseme.store import parquet_file

        parquet_file.write(raw, target)
    elif format == "npz":
        from polyseme.store import npz_file

        npz_file.write(raw, target)
    elif format == "tsv":
        from polyseme.store import tsv_file

        tsv_file.write(raw, target)
    else:
        from polyseme.store import hdf5_file

        (hdf5_file.write_flat if format == "h5" else hdf5_file.write_classic)(raw, target)
