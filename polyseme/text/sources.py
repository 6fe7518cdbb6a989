"""Which files a list of inputs means, and how each one is opened: directories, globs, "-", gz, xz, zst."""

from __future__ import annotations

import glob
import gzip
import importlib
import io
import lzma
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from polyseme.errors import InputError, MissingExtraError

STDIN = "-"
_COMPRESSED = {".gz": "gz", ".xz": "xz", ".zst": "zst", ".zstd": "zst"}
_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_PLAIN = frozenset((".txt", ".text", ".md", ""))


@dataclass(frozen=True)
class Source:
    """One input: path ("-": standard input), format (text, jsonl, csv, tsv, parquet), compression ("": none)."""

    path: str
    format: str = "text"
    compression: str = ""


def find_sources(paths: Sequence[str | Path]) -> tuple[list[Source], int]:
    """(the inputs in the order given, how many files in directories were passed over for their ending).

    A directory stands for its files at any depth in the order of their paths, hidden ones and unknown endings left out;
    a pattern (`*`, `**`, `?`, `[...]`) for what it matches, sorted, unless a file of that very name exists.
    Raises `InputError` for a path that is not there, a pattern or directory without files, and for no paths at all.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    sources: list[Source] = []
    passed_over = 0
    for path in map(str, paths):
        if path == STDIN:
            sources.append(Source(STDIN))
        elif Path(path).is_dir():
            found, others = _directory(Path(path))
            sources += found
            passed_over += others
        elif Path(path).exists():
            sources.append(_source(Path(path)))
        else:
            sources += _pattern(path)
    if not sources:
        raise InputError('no input was given; give files, directories, patterns such as "texts/*.txt.gz", or -')
    return sources, passed_over


def _source(path: Path) -> Source:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = _COMPRESSED.get(suffixes[-1], "") if suffixes else ""
    if compression:
        suffixes.pop()
    return Source(str(path), _FORMATS.get(suffixes[-1], "text") if suffixes else "text", compression)


def _directory(directory: Path) -> tuple[list[Source], int]:
    found: list[Source] = []
    others = 0
    for path in sorted(directory.rglob("*"), key=lambda path: path.relative_to(directory).parts):
        if any(part.startswith(".") for part in path.relative_to(directory).parts) or not path.is_file():
            continue
        bare = path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path
        if bare.suffix.lower() in _FORMATS or bare.suffix.lower() in _PLAIN:
            found.append(_source(path))
        else:
            others += 1
    if not found:
        raise InputError(
            f"{directory}: no .txt, .jsonl, .csv, .tsv or .parquet file in this directory ({others} others)"
        )
    return found, others


def _pattern(pattern: str) -> list[Source]:
    if not glob.has_magic(pattern):
        raise InputError(f"{pattern}: no such file or directory")
    matches = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())  # noqa: PTH207
    if not matches:
        raise InputError(f"{pattern}: the pattern matches no file")
    return [_source(Path(path)) for path in matches]


@contextmanager
def open_source(source: Source) -> Iterator[IO[bytes]]:
    """The decompressed bytes of one input.

    Raises `InputError` where the file cannot be read or decompressed, `MissingExtraError` for .zst without a decoder.
    """
    if source.path == STDIN:
        yield _standard_input()
        return
    try:
        if source.compression == "zst":
            with Path(source.path).open("rb") as file, _zstandard(file) as stream:
                yield stream
        elif source.compression:
            opener = gzip.open if source.compression == "gz" else lzma.open
            with cast(IO[bytes], opener(source.path, "rb")) as stream:
                yield stream
        else:
            with Path(source.path).open("rb") as stream:
                yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise InputError(f"{source.path}: damaged or truncated {source.compression or 'file'} ({error})") from error
    except OSError as error:
        raise InputError(f"{source.path}: cannot be read ({error.strerror or error})") from error


def _standard_input() -> IO[bytes]:
    # Tests and notebooks replace sys.stdin by text streams without bytes beneath.
    stream = getattr(sys.stdin, "buffer", None)
    return stream if stream is not None else io.BytesIO(sys.stdin.read().encode("utf-8"))


@contextmanager
def _zstandard(file: IO[bytes]) -> Iterator[IO[bytes]]:
    try:
        # Python 3.14 and later bring it along.
        module = importlib.import_module("compression.zstd")
        with module.ZstdFile(file) as stream:
            yield stream
        return
    except ImportError:
        pass
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as error:
        raise MissingExtraError("reading .zst", "data") from error
    try:
        yield cast(IO[bytes], io.BufferedReader(_ZstdStream(file, zstandard), 1 << 17))
    except zstandard.ZstdError as error:
        raise EOFError(str(error)) from error


class _ZstdStream(io.RawIOBase):
    """The decompressed bytes of one or more frames; unlike `zstandard.stream_reader` it notices a missing end."""

    def __init__(self, file: IO[bytes], zstandard: Any) -> None:
        self._file = file
        self._zstandard = zstandard
        self._frame: Any = None
        self._compressed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            # Small pieces: a frame of repeated text may grow a thousandfold.
            self._compressed = self._compressed or self._file.read(1 << 12)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("it ends in the middle of a frame")
                return 0
            if self._frame is None:
                self._frame = self._zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(self._frame.decompress(self._compressed))
            self._compressed = b""
            if self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
