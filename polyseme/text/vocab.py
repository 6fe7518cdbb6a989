"""The words a language model predicts: counted, sorted, saved one a line, as bilm-tf's vocab.txt.

The first three are `<S>`, `</S>` and `<UNK>`; the others follow by falling count, equal counts by code points.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from polyseme.errors import DecodeError, InputError, OptionError, OutputError
from polyseme.text.chars import SENTENCE_END, SENTENCE_START, UNKNOWN_WORD

SPECIAL = (SENTENCE_START, SENTENCE_END, UNKNOWN_WORD)
# bilm-tf skips this entry, which the vocabulary of the 1 Billion Word corpus carries.
_NO_WORD = "!!!MAXTERMID"


def count_words(sentences: Iterable[Sequence[str]]) -> Counter[str]:
    """How often each word occurs in the token sequences."""
    counts: Counter[str] = Counter()
    for tokens in sentences:
        counts.update(tokens)
    return counts


@dataclass(frozen=True)
class Vocabulary:
    """Words in the order of their ids; `<S>` and `</S>` are among them, and `<UNK>` but in some published files.

    Raises `InputError` for a word that comes twice, is empty or holds a line end, and for a missing `<S>` or `</S>`.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self._ids) != len(self.words):
            word, count = Counter(self.words).most_common(1)[0]
            raise InputError(f"the vocabulary holds {word!r} {count} times; every word may stand in it once")
        for word in SPECIAL[:2]:
            if word not in self._ids:
                raise InputError(f"the vocabulary lacks {word}; its first three words should be {' '.join(SPECIAL)}")
        for index, word in enumerate(self.words):
            if not word or "\n" in word:
                raise InputError(f"word {index} of the vocabulary is {word!r}: it cannot stand on a line of its own")

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], size: int | None = None, min_count: int = 1) -> Vocabulary:
        """The `size` most frequent words (special ones included) that occur at least `min_count` times."""
        ranked = sorted((-count, word) for word, count in counts.items() if count >= min_count and word not in SPECIAL)
        vocabulary = cls((*SPECIAL, *(word for _, word in ranked)))
        return vocabulary if size is None else vocabulary.trim(size)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def id(self, word: str) -> int:
        """The word's id; that of `<UNK>` for a word outside (`InputError` if the vocabulary has no `<UNK>`)."""
        return int(self.ids([word])[0])

    def word(self, id: int) -> str:
        """The word of an id. Raises `OptionError` outside 0 .. len - 1."""
        if not 0 <= id < len(self.words):
            raise OptionError(f"the vocabulary has the ids 0 to {len(self.words) - 1}, asked for: {id}")
        return self.words[id]

    def ids(self, words: Sequence[str]) -> npt.NDArray[np.uint32]:
        """Ids of many words, `<UNK>` for those outside (`InputError` if there is no `<UNK>`). *Shape:* (n,)."""
        find = self._ids.get
        unknown = find(UNKNOWN_WORD, -1)
        if unknown < 0 and (outside := next((word for word in words if word not in self._ids), None)) is not None:
            raise InputError(f"{outside!r} is not in the vocabulary, and the vocabulary has no {UNKNOWN_WORD}")
        return np.fromiter((find(word, unknown) for word in words), dtype=np.uint32, count=len(words))

    def trim(self, size: int) -> Vocabulary:
        """The first `size` words; all of them if there are fewer. Raises `OptionError` if a special word would go."""
        least = max(self._ids.get(word, 0) for word in SPECIAL) + 1
        if size < least:
            raise OptionError(f"a vocabulary needs at least its {least} first words, size was: {size}")
        return Vocabulary(self.words[:size])

    def unknown_share(self, counts: Mapping[str, int]) -> float:
        """The share (0..1) of running words that are not in the vocabulary; 0 for no words."""
        total = sum(counts.values())
        return sum(count for word, count in counts.items() if word not in self._ids) / total if total else 0.0

    def save(self, path: str | Path) -> None:
        """Writes one word a line (UTF-8, "\\n"), under a temporary name first. Raises `OutputError`, `InputError`."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            data = "".join(f"{word}\n" for word in self.words).encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"the vocabulary holds {error.object[error.start]!r}, which is no character") from error
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(f"{path}: the vocabulary cannot be written ({error.strerror or error})") from error

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Reads a file with one word a line, as `save` or bilm-tf wrote it.

        Lines end at "\\n" alone: a word may hold, or be, U+3000 or U+2028. Raises `InputError` with the file and line.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DecodeError(
                f"{path}: a vocabulary must be UTF-8; byte {error.start} is not ({error.reason})"
            ) from error
        except OSError as error:
            raise InputError(f"{path}: the vocabulary cannot be read ({error.strerror or error})") from error
        lines = text.removesuffix("\n").split("\n")
        if all(line.endswith("\r") for line in lines[:-1]) and len(lines) > 1:
            lines = [line.removesuffix("\r") for line in lines]
        words = [line for line in lines if line != _NO_WORD]
        _check_lines(path, lines)
        try:
            return cls(tuple(words))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _check_lines(path: str | Path, lines: list[str]) -> None:
    first: dict[str, int] = {}
    for number, word in enumerate(lines, 1):
        if not word:
            raise InputError(f"{path}, line {number}: an empty line; a vocabulary has one word a line")
        if word in first:
            raise InputError(f"{path}, line {number}: {word!r} stands in line {first[word]} already")
        first[word] = number
