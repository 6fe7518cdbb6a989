"""Bytes -> lines of text: byte-order marks, bytes that fit no character, and which encoding those hint at.

Lines end at "\\n" only (a "\\r" before it is dropped): U+2028, U+0085 and form feeds may stand inside a line.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, cast

from polyseme.errors import DecodeError, InputError, OptionError
from polyseme.text.guess import guess_encoding, guess_wide

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before UTF-16, whose mark is the beginning of UTF-32's.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 1 << 16
# One line must fit in memory several times over; beyond this it is surely no text.
MAX_LINE_BYTES = 1 << 28


@dataclass
class Losses:
    """What was decoded so far and what it cost; counted over all files of one reading."""

    lines: int = 0
    # Lines beyond ASCII that were in the stated encoding: three of them vouch for it.
    lines_beyond_ascii: int = 0
    bytes_replaced: int = 0
    lines_replaced: int = 0
    lines_skipped: int = 0
    byte_order_marks: int = 0


def check_encoding(name: str) -> str:
    """The codec's own name; raises `OptionError` for a name that Python does not know or that is no text encoding."""
    try:
        "a\n".encode(name)
        return codecs.lookup(name).name
    except (LookupError, UnicodeError, TypeError, AttributeError) as error:
        raise OptionError(f"no text encoding is called {name!r}; try utf-8, utf-16, gb18030, big5 or cp1252") from error


@dataclass(frozen=True)
class LineReader:
    """Reads the lines of one binary stream.

    `errors`: strict raises `DecodeError`, replace puts U+FFFD, skip leaves the whole line out; `losses` counts.
    `command`: the command line that the error message repeats with another `--encoding`.
    """

    source: str
    encoding: str
    errors: str
    losses: Losses
    command: str | None = None

    def lines(self, stream: IO[bytes]) -> Iterator[tuple[int, str]]:
        """(line number from 1, line without its end); a line left out keeps its number.

        Raises `DecodeError`, and `InputError` for binary files and for a line of more than `MAX_LINE_BYTES`.
        """
        buffered = (
            stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream), 1 << 18)
        )
        head = buffered.peek(_SAMPLE_BYTES)[:_SAMPLE_BYTES]
        encoding = self._encoding(head, buffered)
        if b"\0" in head and "\n".encode(encoding) == b"\n":
            raise InputError(_binary(self.source, head))
        for number, raw in enumerate(_raw_lines(buffered, encoding, self.source), 1):
            self.losses.lines += 1
            try:
                line = raw.decode(encoding)
                self.losses.lines_beyond_ascii += not raw.isascii()
            except UnicodeDecodeError as error:
                kept = self._damaged(number, raw, error, encoding, buffered)
                if kept is None:
                    continue
                line = kept
            yield number, line.removesuffix("\n").removesuffix("\r")

    def _encoding(self, head: bytes, stream: io.BufferedReader) -> str:
        for mark, encoding in _MARKS:
            if head.startswith(mark):
                stream.read(len(mark))
                self.losses.byte_order_marks += 1
                return encoding
        # Without a mark "utf-16" means the byte order in which ASCII's zero bytes stand.
        if self.encoding in ("utf-16", "utf-32"):
            return f"{self.encoding}-{'be' if head[:1] == bytes(1) else 'le'}"
        return "utf-8" if self.encoding == "utf-8-sig" else self.encoding

    def _damaged(
        self, number: int, raw: bytes, error: UnicodeDecodeError, encoding: str, stream: io.BufferedReader
    ) -> str | None:
        if self.errors == "strict":
            raise self._error(number, raw, error, encoding, stream) from error
        if self.errors == "skip":
            self.losses.lines_skipped += 1
            return None
        bad, text = _replace(raw, encoding)
        self.losses.bytes_replaced += bad
        self.losses.lines_replaced += 1
        return text

    def _error(
        self, number: int, raw: bytes, error: UnicodeDecodeError, encoding: str, stream: io.BufferedReader
    ) -> DecodeError:
        seen = raw[error.start : max(error.end, error.start + 4)].rstrip(b"\r\n") or raw[error.start : error.end]
        sample = raw[max(0, error.start - 2048) :][:_SAMPLE_BYTES]
        if error.start <= 2048:
            sample += stream.read(max(0, _SAMPLE_BYTES - len(sample)))
        guess = encoding if self.losses.lines_beyond_ascii > 2 else guess_encoding(sample)
        if guess is None:
            option = "--encoding-errors replace"
            hint = "it looks like no encoding we know, or like damaged text; to go on and count what is lost"
        elif guess == encoding:
            option = "--encoding-errors replace"
            hint = f"the text before is {encoding}, so a few bytes seem damaged; to go on and count what is lost"
        else:
            option = f"--encoding {guess}"
            hint = f"it looks like {guess}"
        retry = f"{self.command} {option}" if self.command else option
        return DecodeError(
            f"{self.source}, line {number}: the bytes {seen.hex(' ')} at byte {error.start + 1} of the line are not "
            f"{encoding} ({error.reason}); {hint}. Run again with: {retry}"
        )


def _replace(raw: bytes, encoding: str) -> tuple[int, str]:
    """(bytes that were replaced, text with one U+FFFD for each damaged stretch)."""
    bad, parts, start = 0, [], 0
    while True:
        try:
            parts.append(raw[start:].decode(encoding))
            return bad, "".join(parts)
        except UnicodeDecodeError as error:
            parts += [raw[start : start + error.start].decode(encoding), "\ufffd"]
            bad += error.end - error.start
            start += error.end


def _binary(source: str, head: bytes) -> str:
    wide = guess_wide(head)
    if wide:
        return f"{source}: zero bytes as in {wide}, but no byte-order mark; run again with: --encoding {wide}"
    return f"{source}: a binary file (it holds zero bytes), not text"


def _raw_lines(stream: io.BufferedReader, encoding: str, source: str) -> Iterator[bytes]:
    end = "\n".encode(encoding)
    if end == b"\n":
        while line := stream.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{source}: a line of more than {MAX_LINE_BYTES >> 20} MB; is this text?")
            yield line
        return
    # Two or four bytes a character: the end of a line counts only at a multiple of them.
    width = len(end)
    pending = bytearray()
    searched = 0
    while block := stream.read(1 << 16):
        pending += block
        start = 0
        while (found := pending.find(end, searched)) >= 0:
            searched = found + 1
            if (found - start) % width == 0:
                yield bytes(pending[start : found + width])
                start = searched = found + width
        del pending[:start]
        searched = max(0, len(pending) - width)
        if len(pending) > MAX_LINE_BYTES:
            raise InputError(f"{source}: a line of more than {MAX_LINE_BYTES >> 20} MB; is this text?")
    if pending:
        yield bytes(pending)
