"""Embeddings as Parquet: one row a sentence (id, document, tokens, offsets, values), in row groups of bounded size.

A row cannot be divided between row groups, and the library needs several times a row group in memory: here alone one
giant sentence is not written in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polyseme.embedding import FloatArray
from polyseme.errors import InputError, MissingExtraError
from polyseme.store.arrow_file import record_batch, schema
from polyseme.store.columns import joined
from polyseme.store.layout import Header, IntArray, StoreLayout

if TYPE_CHECKING:
    from polyseme.store.assemble import RawColumns

try:
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("The format parquet", "data") from error

# Small enough that one sentence is cheap to reach, large enough for speed.
ROW_GROUP_BYTES = 2 << 20
ROW_GROUP_SENTENCES = 8192


def write(raw: RawColumns, target: Path) -> None:
    """Write the file row group by row group; pages carry checksums, floats are neither compressed nor indexed."""
    layout, kinds = raw.header.layout, _kinds(raw.header)
    with (
        record_batch(raw) as (batch, _),
        target.open("wb") as opened,  # Arrow takes no path that the locale cannot spell
        pq.ParquetWriter(
            opened,
            kinds,
            compression="NONE",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
            store_schema=True,
        ) as file,
    ):
        for first, last in _row_groups(raw):
            rows = batch.slice(first, last - first)
            columns = [
                _plain_lists(rows.column("values"), kinds.field("values").type, layout)
                if name == "values"
                # a slice keeps offsets that do not begin at zero; a copy of these small columns does
                else rows.column(name).take(np.arange(last - first))
                for name in kinds.names
            ]
            file.write_table(pa.Table.from_arrays(columns, schema=kinds), row_group_size=last - first)


def _kinds(header: Header) -> Any:
    """Arrow's schema, but with the values of a sentence in one plain list: what data frames and SQL engines know."""
    kinds = schema(header)
    scalar = kinds.field("values").type
    while hasattr(scalar, "value_type"):
        scalar = scalar.value_type
    plain = pa.large_list(pa.field("item", scalar, nullable=False))
    return kinds.set(kinds.get_field_index("values"), pa.field("values", plain, nullable=False))


def _plain_lists(values: Any, kind: Any, layout: StoreLayout) -> Any:
    """Lists of rows as lists of numbers, without a copy of the numbers."""
    per_row = layout.n_layers * layout.width
    rows = np.arange(len(values) + 1, dtype=np.int64) if layout.pooled else values.offsets.to_numpy()
    while hasattr(values.type, "value_type"):
        values = values.flatten()
    return pa.LargeListArray.from_arrays(pa.array((rows - rows[0]) * per_row), values, type=kind)


def _row_groups(raw: RawColumns) -> Iterator[tuple[int, int]]:
    """First and end sentence of each row group: full by bytes of values or by sentences, never empty."""
    header = raw.header
    limit = max(1, ROW_GROUP_BYTES // header.layout.row_bytes)
    bounds = (
        np.arange(header.n_sentences + 1, dtype=np.int64) if header.layout.pooled else raw.column("sentence_offsets")
    )
    first = 0
    while first < header.n_sentences:
        last = int(np.searchsorted(bounds, bounds[first] + limit, side="right")) - 1
        last = min(max(last, first + 1), first + ROW_GROUP_SENTENCES, header.n_sentences)
        yield first, last
        first = last


class ParquetSource:
    """A `Source` that holds one row group of the file at a time."""

    def __init__(self, opened: BinaryIO, file: pq.ParquetFile, header: Header) -> None:
        self.header = header
        self._opened = opened
        self._file = file
        counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self._firsts = np.cumsum([0, *counts], dtype=np.int64)
        if self._firsts[-1] != header.n_sentences:
            raise InputError(f"it has {self._firsts[-1]} rows, but its header says {header.n_sentences}")
        self._group = -1
        self._rows: Any = None

    def _cell(self, sentence: int, column: str) -> Any:
        group = int(np.searchsorted(self._firsts, sentence, side="right")) - 1
        if group != self._group:
            self._rows = _checked(lambda: self._file.read_row_group(group))
            self._group = group
            _checked(lambda: self._rows.validate(full=True))
        return self._rows[column][sentence - int(self._firsts[group])]

    def values(self, sentence: int) -> FloatArray:
        cell = self._cell(sentence, "values")
        layout = self.header.layout
        return _numbers(cell.values, layout.numpy_dtype).reshape(-1, layout.n_layers, layout.width)

    def tokens(self, sentence: int) -> tuple[str, ...] | None:
        return tuple(self._cell(sentence, "tokens").as_py()) if self.header.layout.tokens else None

    def offsets(self, sentence: int) -> IntArray | None:
        if not self.header.layout.offsets:
            return None
        return _numbers(self._cell(sentence, "offsets").values, np.dtype("<i8")).reshape(-1, 2)

    def ids(self) -> tuple[str, ...] | None:
        return tuple(self._column("id").to_pylist()) if self.header.layout.ids else None

    def documents(self) -> IntArray | None:
        if not self.header.layout.documents:
            return None
        return np.asarray(self._column("document").to_numpy(), dtype=np.int64)

    def _column(self, name: str) -> Any:
        table = _checked(lambda: self._file.read(columns=[name]))
        _checked(lambda: table.validate(full=True))
        return table[name]

    def flat(self) -> tuple[FloatArray, IntArray]:
        return joined(self)

    def close(self) -> None:
        self._rows = None
        self._file.close()
        self._opened.close()


def _numbers(array: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The numbers inside nested lists, flat."""
    while hasattr(array.type, "value_type"):
        array = array.flatten()
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=dtype)


def _checked(read: Any) -> Any:
    try:
        return read()
    except pa.ArrowException as error:
        raise InputError(f"truncated or damaged ({error})") from error


def read(path: Path) -> ParquetSource:
    """Open the file. Raises `InputError` when it is damaged or not one that `write` made."""
    opened = path.open("rb")
    try:
        file = _checked(lambda: pq.ParquetFile(opened, page_checksum_verification=True))
        found = file.schema_arrow
        strings = {name: (found.metadata or {})[name.encode()].decode() for name in ("layout", "metadata")}
        header = Header.parse(strings)
        if not found.equals(_kinds(header)):
            raise InputError("its columns are not those of its header")
        return ParquetSource(opened, file, header)
    except BaseException:
        opened.close()
        raise
