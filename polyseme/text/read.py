"""Streamed reading of text: files, directories, globs and standard input, plain or compressed, in constant memory.

    reader = read_documents(["books/", "reviews.jsonl.gz"], text_column="review")
    for document in reader:
        document.text, document.source, document.line
    reader.report     # what was read, what was lost, what looked odd

Constant memory means: one document at a time (the longest one must fit). Formats: plain text (.txt and every unknown
ending), .jsonl, .csv, .tsv, .parquet, each also as .gz .xz .zst (but Parquet, which compresses by itself).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Literal

from polyseme.errors import InputError, OptionError
from polyseme.text.decode import LineReader, Losses, check_encoding
from polyseme.text.records import RecordOptions, csv_records, jsonl_records, parquet_records
from polyseme.text.sources import STDIN, Source, find_sources, open_source
from polyseme.text.unwrap import WrapSample, unwrap

# Above this share of cut lines a file counts as hard-wrapped.
_WRAPPED = 0.4


@dataclass(frozen=True)
class Document:
    """A piece of text and where it came from; `line` is the number of its first line (of its row, for Parquet)."""

    text: str
    source: str
    line: int
    id: str | None = None


@dataclass(frozen=True)
class ReadReport:
    """What a reading met so far.

    `lines`: lines of text files, rows of Parquet. `empty_lines`: blank lines and records without text.
    `bytes_replaced`, `lines_replaced`, `lines_skipped`: what `encoding_errors` cost. `passed_over`: files in
    directories left out for their ending. `hard_wrapped_share`: of the sampled lines of plain-text files (0..1).
    """

    files: int = 0
    documents: int = 0
    lines: int = 0
    empty_lines: int = 0
    characters: int = 0
    bytes_replaced: int = 0
    lines_replaced: int = 0
    lines_skipped: int = 0
    byte_order_marks: int = 0
    passed_over: int = 0
    empty_files: tuple[str, ...] = ()
    hard_wrapped_share: float = 0.0
    hard_wrapped_files: tuple[str, ...] = ()
    empty_records: int = 0

    def warnings(self) -> list[str]:
        """One sentence for everything that a user should know before trusting the text."""
        found = []
        if self.lines_replaced:
            found.append(f"{self.bytes_replaced} undecodable bytes in {self.lines_replaced} lines became U+FFFD")
        if self.lines_skipped:
            found.append(f"{self.lines_skipped} of {self.lines} lines were left out for undecodable bytes")
        if self.empty_records:
            found.append(
                f"{self.empty_records} records hold no text and give no output; --id-column keeps the others apart"
            )
        if self.passed_over:
            found.append(
                f"{self.passed_over} files in directories were passed over for their ending; name them to read them"
            )
        if self.empty_files:
            found.append(f"{len(self.empty_files)} files hold no text: {_few(self.empty_files)}")
        if self.hard_wrapped_files:
            found.append(
                f"{len(self.hard_wrapped_files)} files look hard-wrapped (sentences cut at line ends): "
                f"{_few(self.hard_wrapped_files)}; --unwrap joins their lines"
            )
        return found


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@dataclass
class _Counts:
    """The report while it is being filled."""

    files: int = 0
    documents: int = 0
    rows: int = 0
    empty_lines: int = 0
    empty_records: int = 0
    characters: int = 0
    wrap_weight: float = 0.0
    wrap_lines: int = 0
    losses: Losses = field(default_factory=Losses)
    empty_files: list[str] = field(default_factory=list)
    hard_wrapped_files: list[str] = field(default_factory=list)


class Reader:
    """An iterable of `Document`; `report` says what was read so far. Iterating again starts again (not with "-")."""

    def __init__(
        self,
        sources: list[Source],
        passed_over: int,
        records: RecordOptions,
        unit: str,
        unwrap: bool,
        normalize: Callable[[str], str] | None,
    ) -> None:
        self.sources = tuple(sources)
        self._passed_over = passed_over
        self._records = records
        self._unit = unit
        self._unwrap = unwrap
        self._normalize = normalize
        self._counts = _Counts()

    @property
    def report(self) -> ReadReport:
        """A snapshot; complete once the iteration has ended."""
        counts, losses = self._counts, self._counts.losses
        return ReadReport(
            counts.files,
            counts.documents,
            counts.rows + losses.lines,
            counts.empty_lines,
            counts.characters,
            losses.bytes_replaced,
            losses.lines_replaced,
            losses.lines_skipped,
            losses.byte_order_marks,
            self._passed_over,
            tuple(counts.empty_files),
            counts.wrap_weight / counts.wrap_lines if counts.wrap_lines else 0.0,
            tuple(counts.hard_wrapped_files),
            counts.empty_records,
        )

    def __iter__(self) -> Iterator[Document]:
        """Documents in order. Raises `InputError` (`DecodeError`) for bad text, and when there was none at all."""
        self._counts = counts = _Counts()
        for source in self.sources:
            before = counts.documents
            counts.files += 1
            for document in self._documents(source):
                text = self._normalize(document.text) if self._normalize else document.text
                counts.documents += 1
                counts.characters += len(text)
                yield document if text is document.text else Document(text, document.source, document.line, document.id)
            if counts.documents == before:
                counts.empty_files.append(source.path)
        if not counts.documents:
            names = _few([source.path for source in self.sources])
            raise InputError(f"no text in {names}: {self.report.lines} lines, all of them blank or left out")

    def _documents(self, source: Source) -> Iterator[Document]:
        if source.format == "parquet":
            for line, text, key in parquet_records(source, self._records):
                self._counts.rows += 1
                if text.strip():
                    yield Document(text, source.path, line, key)
                else:
                    self._counts.empty_lines += 1
                    self._counts.empty_records += 1
            return
        with open_source(source) as stream:
            lines = self._lines(source, stream)
            if source.format == "text":
                yield from self._plain(source, lines)
                return
            read = jsonl_records if source.format == "jsonl" else csv_records
            options = replace(self._records, losses=self._counts.losses)
            for line, text, key in read(source, lines, options):
                if text.strip():
                    yield Document(text, source.path, line, key)
                else:
                    self._counts.empty_lines += 1
                    self._counts.empty_records += 1

    def _lines(self, source: Source, stream: IO[bytes]) -> Iterator[tuple[int, str]]:
        options = self._records
        reader = LineReader(
            source.path, options.encoding, options.encoding_errors, self._counts.losses, options.command
        )
        return reader.lines(stream)

    def _plain(self, source: Source, lines: Iterator[tuple[int, str]]) -> Iterator[Document]:
        sample = WrapSample()
        watched = self._watched(lines, sample)
        try:
            pieces = unwrap(watched) if self._unwrap else _paragraphs(watched) if self._unit == "document" else watched
            for number, text in pieces:
                if text and not text.isspace():
                    yield Document(text, source.path, number)
        finally:
            share = sample.share()
            self._counts.wrap_weight += share * len(sample)
            self._counts.wrap_lines += len(sample)
            if share >= _WRAPPED:
                self._counts.hard_wrapped_files.append(source.path)

    def _watched(self, lines: Iterator[tuple[int, str]], sample: WrapSample) -> Iterator[tuple[int, str]]:
        for number, line in lines:
            if not line or line.isspace():
                self._counts.empty_lines += 1
            sample.add(line)
            yield number, line


def _paragraphs(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Lines up to the next blank line as one text, with their line ends."""
    first = 0
    parts: list[str] = []
    for number, line in lines:
        if line and not line.isspace():
            first = first if parts else number
            parts.append(line)
        elif parts:
            yield first, "\n".join(parts)
            parts = []
    if parts:
        yield first, "\n".join(parts)


def read_documents(
    paths: Sequence[str | Path],
    *,
    encoding: str = "utf-8",
    encoding_errors: Literal["strict", "replace", "skip"] = "strict",
    text_column: str | None = None,
    id_column: str | None = None,
    unit: Literal["line", "document"] = "line",
    unwrap: bool = False,
    normalize: Literal["none", "nfc", "nfkc"] = "none",
    command: str | None = None,
) -> Reader:
    """Opens files, directories, globs or "-" (standard input) for reading, document by document.

    A document is a line of plain text, or with `unit="document"` the lines up to a blank one, or with `unwrap` a
    paragraph of hard-wrapped lines; of the other formats always a record. Blank ones are counted, not given.
    A byte-order mark wins over `encoding`. `encoding_errors`: "replace" puts U+FFFD, "skip" leaves the line out.
    `text_column` may be left out where a column is called "text" or only one holds text; where it is given, standard
    input is read as JSON lines. `command` is repeated in the message about undecodable bytes, with the encoding that
    seems right.
    Raises `OptionError` and, for missing files, `InputError` at once; `InputError` and `DecodeError` while reading.
    """
    _check("encoding_errors", encoding_errors, ("strict", "replace", "skip"))
    _check("unit", unit, ("line", "document"))
    _check("normalize", normalize, ("none", "nfc", "nfkc"))
    sources, passed_over = find_sources(paths)
    if sum(source.path == STDIN for source in sources) > 1:
        raise OptionError('standard input ("-") can be read only once')
    if text_column is not None:
        # Standard input has no ending: records from there are JSON lines.
        sources = [Source(STDIN, "jsonl") if source.path == STDIN else source for source in sources]
        if all(source.format == "text" for source in sources):
            raise OptionError(f"text_column={text_column!r} was given, but none of the inputs has columns")
    records = RecordOptions(check_encoding(encoding), encoding_errors, text_column, id_column, command)
    return Reader(sources, passed_over, records, unit, unwrap, _normalizer(normalize))


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name} must be one of {', '.join(allowed)}, was: {value!r}")


def _normalizer(form: str) -> Callable[[str], str] | None:
    if form == "none":
        return None
    name: Literal["NFC", "NFKC"] = "NFC" if form == "nfc" else "NFKC"
    return lambda text: unicodedata.normalize(name, text)
