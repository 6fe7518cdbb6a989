"""Hard-wrapped text (a paragraph broken into lines of about 70 columns): noticed, and joined where asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_FINAL = re.compile(r"""[.!?…。！？؟।:;：；][)"'\]”’»」』）*_]*$""")
_HYPHEN = re.compile(r"[^\W_][-‐]$")
# "pre-" + "and post-war": the hyphen stands for the rest of the next word.
_BETWEEN = frozenset(["and", "or", "to", "und", "oder", "bis", "et", "ou", "y", "e", "o"])
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff60]")
_SAMPLE_LINES = 2000
_FEWEST_LINES = 20
# A longer line was not wrapped by anybody: it is a paragraph of its own.
_WIDEST = 160
_LONGEST_PARAGRAPH = 1 << 20


class WrapSample:
    """Looks at the first lines of a file and tells whether they were wrapped at a fixed width."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Counts a line; blank lines matter, for what stands before one ended by itself."""
        if len(self._lines) < _SAMPLE_LINES:
            self._lines.append(line.strip()[: _WIDEST + 1])

    def __len__(self) -> int:
        return len(self._lines)

    def share(self) -> float:
        """The share (0..1) of the lines that stop short of a sentence's end at nearly the same width and go on below.

        0 for fewer than 20 lines. In wrapped prose it is about 0.6 to 0.9, elsewhere close to 0.
        """
        filled = sorted(len(line) for line in self._lines if line)
        if len(filled) < _FEWEST_LINES:
            return 0.0
        # Of 100 lines the five longest may stick out.
        width = filled[int(0.95 * (len(filled) - 1))]
        if not 20 <= width <= 120:
            return 0.0
        pairs = list(zip(self._lines, self._lines[1:], strict=False))
        going_on = sum(_goes_on(line, following, width) for line, following in pairs)
        cut = sum(bool(line and following) for line, following in pairs)
        return going_on / cut if cut and cut >= len(filled) / 3 else 0.0


def _goes_on(line: str, following: str, width: int) -> bool:
    if not line or not following or _FINAL.search(line[-20:]):
        return False
    if _UNSPACED.match(line[-1]):
        return len(line) >= 0.9 * width
    # A heading or a list item starts with a capital; a wrapped sentence mostly goes on in lower case.
    return len(line) >= 0.7 * width and not (following[0].isupper() and line[-1] != ",") and following[0] not in "-*•"


def unwrap(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """(number of the first line, paragraph) for each paragraph of numbered lines.

    A paragraph ends at a blank line, before an indented line that follows one at the margin, after a line that ends a
    sentence well short of the width of the others, and at a line too long to have been wrapped. "exam-" + "ple" gives
    "example"; the hyphen stays where the next part starts with a capital letter or a digit ("Anglo-" + "Saxon").
    """
    first, size, width = 0, 0, 0
    parts: list[str] = []
    was_indented = True
    for number, line in lines:
        text = line.strip()
        indented = line[:1].isspace()
        if parts and (not text or (indented and not was_indented) or _ended(parts[-1], text, size, width)):
            yield first, _join(parts)
            parts, size, width = [], 0, 0
        was_indented = indented
        if text:
            first = first if parts else number
            parts.append(text)
            size += len(text)
            width = max(width, len(text))
    if parts:
        yield first, _join(parts)


def _ended(last: str, following: str, size: int, width: int) -> bool:
    if len(last) > _WIDEST or len(following) > _WIDEST:
        return True
    is_final = _FINAL.search(last[-20:]) is not None
    return is_final and (len(last) < 0.7 * width or size > _LONGEST_PARAGRAPH)


def _join(parts: list[str]) -> str:
    pieces = [parts[0]]
    for part in parts[1:]:
        last = pieces[-1]
        if last.endswith("\u00ad"):
            pieces[-1] = last[:-1]
        elif _HYPHEN.search(last):
            if part.split(" ", 1)[0] in _BETWEEN:
                pieces.append(" ")
            elif part[0].islower() and not last[-2].isdigit():
                pieces[-1] = last[:-1]
        elif not (_UNSPACED.match(last[-1]) and _UNSPACED.match(part[0])):
            pieces.append(" ")
        pieces.append(part)
    return "".join(pieces)
