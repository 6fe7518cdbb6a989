"""Labelled texts and pairs of texts from .jsonl, .csv and .tsv, plain or compressed; without labels also plain text.

    read_texts(["train.csv.gz"], TextColumns(text="review", label="stars"))

Whatever cannot be learned from (no label, an empty text, a row cut short) is an `InputError` with file and line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from polyseme.errors import InputError, OptionError
from polyseme.text.decode import LineReader, Losses, check_encoding
from polyseme.text.records import csv_rows, jsonl_rows, whole
from polyseme.text.sources import STDIN, Source, find_sources, open_source

MAX_CHARACTERS = 50_000  # of one text; a book in a field is nearly always a quote that was never closed


@dataclass(frozen=True)
class Place:
    """Where in the input something stands; printed in every message about it."""

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}"


@dataclass(frozen=True)
class Text:
    """One text, or a pair of them, with its labels: one, several where `multi_label`, none where they are wanted."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    place: Place

    @property
    def label(self) -> str:
        """The label of a text that has just one."""
        (label,) = self.labels
        return label


@dataclass(frozen=True)
class TextColumns:
    """Which columns hold what. `second`: the second text of a pair. `label` None: nothing is labelled.

    `multi_label`: any number of labels a text, as a JSON list or as one field, cut at `separator`.
    `max_characters`: a longer text is an error.
    """

    text: str = "text"
    second: str | None = None
    label: str | None = "label"
    multi_label: bool = False
    separator: str = "|"
    max_characters: int = MAX_CHARACTERS

    def __post_init__(self) -> None:
        if not self.separator:
            raise OptionError("the separator of labels cannot be empty; leave it out for '|'")
        if self.max_characters < 1:
            raise OptionError(f"max_characters must be at least 1, was: {self.max_characters}")

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that every row must have."""
        return tuple(name for name in (self.text, self.second, self.label) if name is not None)


@dataclass
class _File:
    """One input while it is read."""

    source: Source
    columns: TextColumns
    losses: Losses = field(default_factory=Losses)

    def rows(self, stream: IO[bytes], encoding: str, errors: str) -> Iterator[tuple[Place, Mapping[str, Any]]]:
        """Each row by the names of its columns; blank ones are passed over."""
        lines = LineReader(self.source.path, encoding, errors, self.losses).lines(stream)
        if self.source.format == "jsonl":
            yield from self._json(lines)
        elif self.source.format in ("csv", "tsv"):
            yield from self._table(lines)
        elif self.source.format == "text" and self.columns.label is None and self.columns.second is None:
            yield from ((Place(self.source.path, n), {self.columns.text: line}) for n, line in lines if line.strip())
        else:
            kind = "plain text" if self.source.format == "text" else self.source.format
            raise InputError(
                f"{self.source.path}: {kind} has no columns that could be read here; give .jsonl, .csv or .tsv "
                f"with the columns {', '.join(map(repr, self.columns.names))}"
            )

    def _json(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
        for number, record in jsonl_rows(self.source, lines):
            place = Place(self.source.path, number)
            if isinstance(record, str):
                record = {self.columns.text: record}
            if record is not None:
                self._need(place, record)
                yield place, record

    def _table(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
        rows = csv_rows(self.source, lines)
        number, header = next(rows, (1, []))
        if not header:
            return
        self._need(Place(self.source.path, number), dict.fromkeys(header))
        for number, row in rows:
            if row:
                yield Place(self.source.path, number), dict(zip(header, row, strict=True))

    def _need(self, place: Place, record: Mapping[str, Any]) -> None:
        for name in self.columns.names:
            if name not in record:
                raise InputError(
                    f"{place}: no column {name!r}; the columns are: {', '.join(map(repr, record)) or 'none'}. "
                    "Say which to read with --text-column, --second-column and --label-column"
                )

    def text(self, place: Place, name: str, value: object) -> str:
        """The text of a field, its white space kept. Raises `InputError` for an empty or an endless one."""
        if value is not None and not isinstance(value, str):
            raise InputError(f"{place}: {name!r} holds {value!r:.40}, which is no text")
        text = whole(value or "", self.losses)
        if not text.strip():
            raise InputError(f"{place}: the text in {name!r} is empty; remove the row, or fill it in")
        if len(text) > self.columns.max_characters:
            raise InputError(
                f"{place}: a text of {len(text):,} characters, where {self.columns.max_characters:,} are the limit; "
                "is a quote never closed? Cut the text up, or raise the limit with --max-characters"
            )
        return text

    def labels(self, place: Place, value: object) -> tuple[str, ...]:
        """The labels of a field, without white space around them."""
        wanted = self.columns.label
        if isinstance(value, list):
            if not self.columns.multi_label:
                raise InputError(f"{place}: {wanted!r} holds a list; say --multi-label where a text has several labels")
            found = [str(each).strip() for each in value]
        else:
            cell = "" if value is None else str(value).strip()
            found = (
                [each.strip() for each in cell.split(self.columns.separator)] if self.columns.multi_label else [cell]
            )
            found = [each for each in found if each] if self.columns.multi_label else found
        if not all(found):
            raise InputError(f"{place}: the label in {wanted!r} is empty; remove the row, or fill it in")
        return tuple(dict.fromkeys(found))


def read_texts(
    paths: Sequence[str | Path],
    columns: TextColumns | None = None,
    *,
    encoding: str = "utf-8",
    encoding_errors: str = "strict",
) -> list[Text]:
    """All texts of the inputs, in order. Raises `InputError` (`DecodeError`), `OptionError`, `MissingExtraError`."""
    columns, encoding = columns or TextColumns(), check_encoding(encoding)
    sources, _ = find_sources(paths)
    found = []
    for source in sources:
        # Standard input has no ending: with labels it is JSON lines, without them lines of text.
        piped = source.path == STDIN and columns.label is not None
        file = _File(Source(STDIN, "jsonl") if piped else source, columns)
        with open_source(source) as stream:
            for place, row in file.rows(stream, encoding, encoding_errors):
                names = [columns.text] if columns.second is None else [columns.text, columns.second]
                texts = tuple(file.text(place, name, row[name]) for name in names)
                found.append(Text(texts, file.labels(place, row[columns.label]) if columns.label else (), place))
    if not found:
        raise InputError(f"no text in {', '.join(source.path for source in sources[:3])}; the input has no rows")
    return found
