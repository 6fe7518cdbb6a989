"""The word types of all blocks: merged in the order of code points, on disk, a hundred sorted lists at a time.

    merged = merge_types(lists, folder)
    merged.counts                   # of every distinct word
    merged.words                    # its file, one word a line
    merged.index(3)                 # of list 3: which line of the merged file each of its words is

Twenty million words take no more memory than their counts and the buffers of the lists.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

FAN_IN = 100  # lists that are open at the same time; systems allow 256 files and more

Lines = Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class TypeList:
    """Distinct words in the order of code points, as lines of UTF-8 ("\\n" included), with a count for each."""

    lines: Lines
    counts: Callable[[], npt.NDArray[np.int64]]


@dataclass
class Merged:
    """What `merge_types` gives. `_steps`: of each level, the file that maps a list's words to lines of the next."""

    words: Path
    counts: npt.NDArray[np.int64]
    _steps: list[list[Path]] = field(default_factory=list)

    def index(self, number: int) -> npt.NDArray[np.uint32]:
        """The line in `words` (from 0) of each word of list `number`. *Shape:* (words of the list,)."""
        found: npt.NDArray[np.uint32] | None = None
        for paths in self._steps:
            step = np.load(paths[number], mmap_mode="r", allow_pickle=False)
            found = np.array(step) if found is None else step[found]
            number //= FAN_IN
        assert found is not None
        return found


def merge_types(lists: Sequence[TypeList], folder: Path) -> Merged:
    """Merges any number of lists; `folder` takes the words and the maps. Raises `OSError`."""
    steps: list[list[Path]] = []
    while True:
        level = len(steps)
        maps = [folder / f"merge-{level}-{number:06d}.npy" for number in range(len(lists))]
        groups = [slice(first, first + FAN_IN) for first in range(0, len(lists), FAN_IN)]
        merged = [folder / f"merge-{level}-{number:06d}.txt" for number in range(len(groups))]
        for group, words in zip(groups, merged, strict=True):
            _merge(lists[group], maps[group], words)
        steps.append(maps)
        if len(merged) == 1:
            return Merged(merged[0], np.array(_counts(merged[0])), steps)
        lists = [TypeList(partial(_lines, words), partial(_counts, words)) for words in merged]


def _counts(words: Path) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = np.load(words.with_suffix(".counts.npy"), mmap_mode="r", allow_pickle=False)
    return counts


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _numbered(number: int, each: TypeList) -> Iterator[tuple[bytes, int, int]]:
    # Without its "\n", for a word may hold a character below it.
    words = (line[:-1] for line in each.lines())
    all_counts = each.counts()
    # A few at a time: Python's numbers take five times the room.
    counts = (all_counts[first : first + 4096].tolist() for first in range(0, len(all_counts), 4096))
    return zip(words, repeat(number), chain.from_iterable(counts))  # one of them is endless


def _merge(lists: Sequence[TypeList], maps: Sequence[Path], words: Path) -> None:
    """Writes the merged words, their counts, and of each list the file of its map."""
    lines = [array("I") for _ in lists]
    counts = array("q")
    last: bytes | None = None
    with words.open("wb") as file:
        for word, number, count in heapq.merge(*(_numbered(number, each) for number, each in enumerate(lists))):
            if word != last:
                file.write(word + b"\n")
                counts.append(count)
                last = word
            else:
                counts[-1] += count
            lines[number].append(len(counts) - 1)
    for path, found in zip(maps, lines, strict=True):
        np.save(path, np.asarray(found, dtype=np.uint32))
    np.save(words.with_suffix(".counts.npy"), np.asarray(counts, dtype=np.int64))
