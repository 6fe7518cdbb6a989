"""Records with a text column: JSON lines, comma- and tab-separated values, Parquet.

Every function yields (line of the record, its text, its id or None).
"""

from __future__ import annotations

import csv
import importlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyseme.errors import InputError, MissingExtraError, OptionError
from polyseme.text.decode import Losses
from polyseme.text.sources import STDIN, Source

Record = tuple[int, str, str | None]
# A text of any length may stand in a field; the csv module's own limit is 128 KiB. (C long is 32 bits on Windows.)
_LONGEST_FIELD = (1 << 31) - 1
_HALVES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class RecordOptions:
    """How text is decoded and which columns of records are read; `command` is repeated in error messages.

    `losses` counts what could not be read as it stands.
    """

    encoding: str = "utf-8"
    encoding_errors: str = "strict"
    text_column: str | None = None
    id_column: str | None = None
    command: str | None = None
    losses: Losses = field(default_factory=Losses)


def _text_column(source: Source, options: RecordOptions, columns: Sequence[str], textual: Sequence[str]) -> str:
    """The column to read: the one asked for, else "text", else the only one that holds text."""
    listed = ", ".join(map(repr, columns)) or "none"
    for wanted in (options.text_column, options.id_column):
        if wanted is not None and wanted not in columns:
            raise OptionError(f"{source.path}: no column {wanted!r}; its columns are: {listed}")
    if options.text_column is not None:
        return str(options.text_column)
    others = [column for column in textual if column != options.id_column]
    called_text = [column for column in others if column.casefold() == "text"]
    if called_text or len(others) == 1:
        return (called_text or others)[0]
    raise OptionError(f"{source.path}: which column holds the text? Give --text-column; the columns are: {listed}")


def jsonl_rows(source: Source, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any] | str | None]]:
    """One JSON object (or one JSON string) a line, None for a blank one. Raises `InputError` with the line."""
    for number, line in lines:
        if not line or line.isspace():
            yield number, None
            continue
        place = f"{source.path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON ({error}); JSON lines hold one object a line") from error
        if not isinstance(record, dict | str):
            raise InputError(f"{place}: a JSON {type(record).__name__} where an object with a text was expected")
        yield number, record


def jsonl_records(source: Source, lines: Iterator[tuple[int, str]], options: RecordOptions) -> Iterator[Record]:
    """One text a line. Raises `InputError` with the line for anything else."""
    column: str | None = None
    for number, record in jsonl_rows(source, lines):
        if record is None:
            yield number, "", None
            continue
        if isinstance(record, str):
            yield number, whole(record, options.losses), None
            continue
        place = f"{source.path}, line {number}"
        if column is None:
            column = _text_column(source, options, list(record), [k for k, v in record.items() if isinstance(v, str)])
        text = _field(place, record, column)
        if text is None:
            text = ""
        if not isinstance(text, str):
            raise InputError(f"{place}: {column!r} holds {_kind(text)} where text was expected")
        yield number, whole(text, options.losses), _key(place, record, options)


def whole(text: str, losses: Losses) -> str:
    """JSON can spell half a character ("\\ud800"), which no file can hold: it becomes U+FFFD and is counted."""
    mended = _HALVES.sub("\ufffd", text)
    if mended != text:
        losses.lines_replaced += 1
    return mended


def _field(place: str, record: Mapping[str, Any], column: str) -> Any:
    if column not in record:
        raise InputError(f"{place}: this record has no {column!r}; it has: {', '.join(map(repr, record)) or 'nothing'}")
    return record[column]


def _kind(value: object) -> str:
    return {"list": "a list", "dict": "an object", "bool": "true or false"}.get(type(value).__name__, "a number")


def _key(place: str, record: Mapping[str, Any], options: RecordOptions) -> str | None:
    if options.id_column is None:
        return None
    key = _field(place, record, options.id_column)
    return None if key is None else str(key)


def csv_rows(source: Source, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """The header row, then those below it, [] for a blank one; quoted fields may hold line ends in .csv, not in .tsv.

    Raises `InputError` with the line of a row that is cut short, too long, or never closes a quote.
    """
    position = _Position(lines)
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    if source.format == "tsv":
        rows = csv.reader(position, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(position, strict=True)
    columns = 0
    first = 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise InputError(f"{source.path}, line {first}: not a row of comma-separated values ({error})") from error
        if row is None:
            return
        columns = columns or len(row)
        if row and len(row) != columns:
            raise InputError(
                f"{source.path}, line {first}: {len(row)} fields where the header has {columns}; "
                "is a quote missing, or is the separator another one?"
            )
        if columns:
            yield first, row
        first = position.number + 1


def csv_records(source: Source, lines: Iterator[tuple[int, str]], options: RecordOptions) -> Iterator[Record]:
    """One text a row below the header row. Raises as `csv_rows` does."""
    rows = csv_rows(source, lines)
    _, header = next(rows, (0, []))
    if not header:
        return
    text_at = header.index(_text_column(source, options, header, header))
    key_at = header.index(options.id_column) if options.id_column is not None else -1
    for first, row in rows:
        if row:
            yield first, row[text_at], row[key_at] if key_at >= 0 else None
        else:
            yield first, "", None


class _Position:
    """Gives lines with their ends to the csv reader and remembers the number of the last one."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self.number = number
            yield line + "\n"


def parquet_records(source: Source, options: RecordOptions) -> Iterator[Record]:
    """The rows of a Parquet file, a batch at a time. Raises `MissingExtraError` without pyarrow."""
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        arrow: Any = importlib.import_module("pyarrow")
    except ImportError as error:
        raise MissingExtraError("reading Parquet", "data") from error
    if source.compression or source.path == STDIN:
        raise InputError(f"{source.path}: a Parquet file is compressed inside; unpack .{source.compression} first")
    try:
        # Opened here: Arrow cannot spell a path that the locale's encoding could not.
        with Path(source.path).open("rb") as stream, parquet.ParquetFile(stream) as file:
            schema = file.schema_arrow
            kinds = (arrow.string(), arrow.large_string())
            column = _text_column(source, options, schema.names, [f.name for f in schema if f.type in kinds])
            if schema.field(column).type not in kinds:
                raise InputError(f"{source.path}: column {column!r} holds {schema.field(column).type}, not text")
            yield from _parquet_rows(file, column, options.id_column)
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"{source.path}: not a Parquet file that can be read ({error})") from error


def _parquet_rows(file: Any, column: str, id_column: str | None) -> Iterator[Record]:
    row = 0
    wanted = [column] if id_column is None else [column, id_column]
    for batch in file.iter_batches(batch_size=1024, columns=list(dict.fromkeys(wanted))):
        texts = batch.column(column).to_pylist()
        keys = batch.column(id_column).to_pylist() if id_column is not None else [None] * len(texts)
        for text, key in zip(texts, keys, strict=True):
            row += 1
            yield row, text or "", None if key is None else str(key)
