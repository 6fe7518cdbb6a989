"""Files of word vectors: word2vec's text and binary layouts, GloVe's text, and Polyseme's own folder.

| format | a file of it |
|---|---|
| `word2vec` | first line: V and W; then a word and its W numbers a line |
| `word2vec-binary` | the same first line; then a word, a space, W float32 (little-endian), maybe a line end |
| `glove` | a word and its W numbers a line, no first line |
| `folder` | `polyseme.static.folder`: also n-grams, and how the text was processed |

Reading finds the format by the contents, and decompresses .gz, .xz and .zst. Numbers are split off from the right: the
words of the published GloVe 840B hold spaces. Numbers are written as the shortest decimals that give the same float32.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt

from polyseme.errors import (
    DamagedModelError,
    InputError,
    OptionError,
    OutputError,
    UnknownFormatError,
    UnsupportedModelError,
)
from polyseme.static import folder
from polyseme.static.vectors import StaticVectors
from polyseme.text.config import TextConfig
from polyseme.text.sources import Source, find_sources, open_source

Format = Literal["folder", "word2vec", "word2vec-binary", "glove"]
FORMATS: tuple[Format, ...] = ("folder", "word2vec", "word2vec-binary", "glove")
ENDINGS: dict[str, Format] = {"": "folder", ".txt": "word2vec", ".vec": "word2vec", ".bin": "word2vec-binary"}
_COMPRESSED = (".gz", ".xz", ".zst")
_ROWS = 1000  # parsed together
_LONGEST = 1 << 20  # bytes of a word, or of a line that a format is guessed from
_SAMPLE_LINES = 100
_BLANK = b" \t\r\n"

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Layout:
    """What the first lines of a file say; `count` is None for GloVe's, which do not say it."""

    format: Format
    width: int
    count: int | None = None


@dataclass
class _Table:
    """What has been read: words that came again, or had undecodable bytes, are counted and told of in `notes`."""

    words: dict[str, None] = field(default_factory=dict)
    blocks: list[Rows] = field(default_factory=list)
    lines: int = 0
    again: int = 0
    mended: int = 0
    nameless: int = 0

    def add(self, words: list[bytes], rows: Rows) -> None:
        kept = []
        for place, raw in enumerate(words):
            word = raw.decode("utf-8", "replace")
            self.lines += 1
            self.mended += "\ufffd" in word and word.encode("utf-8") != raw
            self.again += bool(word) and word in self.words
            self.nameless += not word
            if word and word not in self.words:
                self.words[word] = None
                kept.append(place)
        self.blocks.append(rows if len(kept) == len(words) else rows[kept])

    def notes(self) -> list[str]:
        said = [
            (self.again, "came again, and the first vector counts"),
            (self.mended, "held bytes that are not UTF-8; they became U+FFFD"),
            (self.nameless, "had no letters at all, and were left out"),
        ]
        return [f"{count:,} of {self.lines:,} words {what}" for count, what in said if count]


def read_vectors(path: str | Path, *, limit: int | None = None) -> StaticVectors:
    """The vectors at `path`, a file or a folder; at most the first `limit` words.

    Raises `InputError` for a path that is not there, `UnknownFormatError` for a file of something else, and
    `DamagedModelError`, which names the line, for one that breaks off or holds a row of another width.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise OptionError(f"limit must be at least 1, was: {limit}")
    if path.is_dir():
        return folder.read(path, limit=limit)
    source = one_file(path)
    layout = _layout(source)
    table = _Table()
    with open_source(source) as stream:
        if layout.format == "word2vec-binary":
            _read_binary(stream, layout, limit, table, path)
        else:
            _read_text(stream, layout, limit, table, path)
    if not table.words:
        raise UnknownFormatError(f"{path}: holds no word vectors")
    try:
        return StaticVectors(table.words, np.concatenate(table.blocks), notes=table.notes())
    except OptionError as error:
        raise DamagedModelError(f"{path}: {error}; fetch the file again") from error


def one_file(path: str | Path) -> Source:
    """How the one file at `path` is opened. Raises `InputError` where there is none, or a folder."""
    if not Path(path).is_file():
        raise InputError(f"{path}: {'a folder' if Path(path).is_dir() else 'no such file'}; give one file")
    [source], _ = find_sources([path])
    return source


# --- which format is it?


def _layout(source: Source) -> _Layout:
    with open_source(source) as stream:
        first = stream.readline(_LONGEST).removeprefix(b"\xef\xbb\xbf")
        numbers = first.split()
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):
            count, width = map(int, numbers)
            if not width:
                raise DamagedModelError(f"{source.path}: its first line says that vectors have width 0")
            row = stream.readline(_LONGEST).strip(_BLANK).rsplit(b" ", width)
            text = not count or (len(row) == width + 1 and all(_number(each) is not None for each in row[1:]))
            return _Layout("word2vec" if text else "word2vec-binary", width, count)
        lines = [line for line in (first, *islice(stream, _SAMPLE_LINES)) if line.strip()]
    # Most words hold no space, so that most lines have one field more than there are numbers.
    sizes = Counter(len(_fields(line)) for line in lines)
    width = min(sizes, key=lambda size: (-sizes[size], size), default=1) - 1
    if width < 1 or any(_number(each) is None for each in _fields(lines[0])[-width:]):
        raise UnknownFormatError(
            f"{source.path}: is no file of word vectors: line 1 should be two whole numbers (word2vec) or a word and "
            f"its numbers (GloVe), was: {first[:60].decode('utf-8', 'replace').strip()!r}"
        )
    return _Layout("glove", width)


def _fields(line: bytes) -> list[bytes]:
    return line.strip(_BLANK).replace(b"\t", b" ").split(b" ")


def _number(field: bytes) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None


# --- text


def _read_text(stream: IO[bytes], layout: _Layout, limit: int | None, table: _Table, path: Path) -> None:
    words: list[bytes] = []
    values: list[bytes] = []
    first = 1
    for number, line in enumerate(stream, 1):
        if (number == 1 and layout.count is not None) or not line.strip(_BLANK):
            continue
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        word, numbers = _split(line.rstrip(_BLANK), layout, path, number)
        first = first if words else number
        words.append(word)
        values.append(numbers)
        if len(words) == _ROWS or len(table.words) + len(words) == limit:
            table.add(words, _parsed(values, layout.width, path, first))
            words, values = [], []
            if limit is not None and len(table.words) >= limit:
                return
    if words:
        table.add(words, _parsed(values, layout.width, path, first))
    if layout.count is not None and table.lines != layout.count:
        raise DamagedModelError(
            f"{path}: its first line says {layout.count:,} words, and it holds {table.lines:,}; fetch the file again"
        )


def _split(line: bytes, layout: _Layout, path: Path, number: int) -> tuple[bytes, bytes]:
    """(the word, its numbers as they stand). In word2vec's layout a word holds no space: more fields are an error."""
    if b"\t" in line:
        line = line.replace(b"\t", b" ")
    parts = line.rsplit(b" ", layout.width)
    if len(parts) <= layout.width or (layout.count is not None and b" " in parts[0]):
        found = line.count(b" ")
        raise DamagedModelError(
            f"{path}, line {number}: {found} numbers where {layout.width} belong; fetch the file again"
        )
    return parts[0], line[len(parts[0]) + 1 :]


def _parsed(values: list[bytes], width: int, path: Path, first: int) -> Rows:
    """The numbers of some lines. *Shape:* (n, W)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy before 2.4, of text that is no number
        try:
            rows = np.fromstring(b" ".join(values).decode("latin-1"), dtype=np.float32, sep=" ")
        except ValueError:
            rows = np.zeros(0, dtype=np.float32)
    if rows.size == len(values) * width and np.isfinite(rows).all():
        return rows.reshape(len(values), width)
    for place, line in enumerate(values):
        for each in line.split(b" "):
            value = _number(each)
            if value is None or not np.isfinite(value):
                shown = each[:40].decode("utf-8", "replace")
                raise DamagedModelError(f"{path}, near line {first + place}: {shown!r} is no number of a vector")
    raise DamagedModelError(f"{path}, near line {first}: numbers that float32 cannot hold; fetch the file again")


# --- binary


def _read_binary(stream: IO[bytes], layout: _Layout, limit: int | None, table: _Table, path: Path) -> None:
    assert layout.count is not None
    stream.readline()
    size = 4 * layout.width
    buffer, at = b"", 0
    wanted = layout.count if limit is None else min(limit, layout.count)
    words: list[bytes] = []
    rows: list[Rows] = []
    for number in range(1, layout.count + 1):
        space = buffer.find(b" ", at)
        while space < 0 or len(buffer) < space + 1 + size:
            more = stream.read(_LONGEST)
            if not more or (space < 0 and len(buffer) - at > _LONGEST):
                raise DamagedModelError(
                    f"{path}: breaks off at word {number:,} of {layout.count:,}; fetch the file again"
                )
            buffer, at = buffer[at:] + more, 0
            space = buffer.find(b" ", at)
        words.append(buffer[at:space].lstrip(b"\n"))  # word2vec.c ends a row with a line end, gensim does not
        rows.append(np.frombuffer(buffer, dtype="<f4", count=layout.width, offset=space + 1).astype(np.float32))
        at = space + 1 + size
        if len(words) == _ROWS or len(table.words) + len(words) >= wanted:
            table.add(words, np.stack(rows))
            words, rows = [], []
            if limit is not None and len(table.words) >= limit:
                return
    if words:
        table.add(words, np.stack(rows))
    if (buffer[at:] + stream.read(_LONGEST)).strip(b"\n"):
        raise DamagedModelError(f"{path}: holds more than the {layout.count:,} words that its first line says")


# --- writing


def format_for(path: str | Path, format: str | None = None) -> Format:
    """The format to write at `path`: as asked, otherwise by its ending. Raises `OptionError`."""
    ending = Path(path).suffix.lower()
    if ending in _COMPRESSED:
        raise OptionError(f"vectors are written uncompressed, so the name cannot end in {ending}")
    if format is None:
        if ending not in ENDINGS:
            raise OptionError(f"{ending!r} stands for no format of vectors; say which: {', '.join(FORMATS)}")
        return ENDINGS[ending]
    for known in FORMATS:
        if format == known:
            return known
    raise OptionError(f"format must be one of {', '.join(FORMATS)}, was: {format!r}")


def write_vectors(
    vectors: StaticVectors, path: str | Path, format: str | None = None, *, overwrite: bool = False
) -> list[str]:
    """Writes a file or folder, under a temporary name first; returns what the format cannot hold, a phrase each.

    Raises `OutputError` where something is in the way, `UnsupportedModelError` for a word that the format cannot spell.
    """
    path, chosen = Path(path), format_for(path, format)
    refuse_existing(path, overwrite)
    if chosen == "folder":
        folder.write(vectors, path, overwrite=overwrite)
        return []
    _check_words(vectors.words, chosen)
    write: Callable[[StaticVectors], Iterator[bytes]] = _binary if chosen == "word2vec-binary" else _text
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if chosen != "glove":
                file.write(f"{len(vectors)} {vectors.width}\n".encode())
            file.writelines(write(vectors))
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    lost = ["the vectors of n-grams: words outside the list will be unknown"] if vectors.subwords else []
    return lost + (["how the text was processed"] if vectors.text != TextConfig() else [])


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises `OutputError` for a path that is there already."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name, or pass --overwrite to replace it")
    if path.is_dir() and folder.foreign(path):
        raise OutputError(f"{path} holds {folder.foreign(path)!r}, which is no part of vectors; choose another name")


def _check_words(words: tuple[str, ...], format: Format) -> None:
    forbidden = "\n\r\t" if format == "glove" else "\n\r\t "
    for word in words:
        if not word or any(letter in word for letter in forbidden):
            raise UnsupportedModelError(
                f"the word {word!r} cannot stand in a file of the format {format}, which white space divides; "
                "write a folder instead"
            )
        if not word.isascii():
            folder.encoded(word)


def _text(vectors: StaticVectors) -> Iterator[bytes]:
    for word, row in zip(vectors.words, vectors.matrix, strict=True):
        yield f"{word} {' '.join(row.astype(str).tolist())}\n".encode()


def _binary(vectors: StaticVectors) -> Iterator[bytes]:
    for word, row in zip(vectors.words, vectors.matrix, strict=True):
        yield word.encode() + b" " + row.astype("<f4").tobytes() + b"\n"
