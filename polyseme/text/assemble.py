"""Finished blocks -> the files of a corpus: types ranked by falling count, rows of characters, ids of both parts."""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError
from polyseme.text.alphabet import choose_characters, unknown_share
from polyseme.text.blocks import BlockFile
from polyseme.text.chars import Characters
from polyseme.text.config import TextConfig
from polyseme.text.heldout import HeldOut
from polyseme.text.merge import Merged, TypeList, merge_types
from polyseme.text.shards import (
    COUNTS,
    DESCRIPTION,
    FORMAT,
    PARTS,
    ROWS,
    UNKNOWN_ID,
    VERSION,
    WORDS,
    PrepareReport,
    WordList,
    encode_rows,
    row_dtype,
    special_rows,
    usual_size,
)  # fmt: skip
from polyseme.text.vocab import SPECIAL

# Counted for the choice of an alphabet: rarer types decide nothing, and a Python dictionary of all would be large.
_TYPES_FOR_ALPHABET = 1_000_000
_TYPES_AT_ONCE = 1 << 14

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Placed:
    """A block and where it belongs: `held` None: all of it is held out. `first_word`: its place in the text."""

    block: BlockFile
    first_word: int
    held: HeldOut | None

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which sentences are held out. *Shape:* (n_sentences,)."""
        if self.held is None:
            return np.ones(self.block.size.sentences, dtype=bool)
        return self.held.mask(self.block, self.first_word)

    def training_counts(self) -> npt.NDArray[np.int64]:
        """Of each word of the block, how often the training part has it."""
        training = np.repeat(~self.mask(), np.diff(self.block.starts))
        return np.bincount(self.block.ids[training], minlength=self.block.words.count(b"\n"))


@dataclass(frozen=True)
class Assembled:
    """What the counting found; the report is made of it."""

    sentences: tuple[int, int]
    words: tuple[int, int]
    empty_sentences: int
    types: int
    heldout_types: int
    vocab_size: int
    unknown: tuple[int, int]
    reserved_words: int
    cut_words: int
    characters: Characters
    alphabet: str
    files: dict[str, dict[str, Any]]


class Assembler:
    """Writes the files of a corpus into `folder`, what it needs meanwhile into `scratch`."""

    def __init__(self, blocks: Sequence[Placed], scratch: Path, folder: Path, told: Told) -> None:
        self.blocks, self.scratch, self.folder, self.told = blocks, scratch, folder, told
        self.files: dict[str, dict[str, Any]] = {}

    def run(
        self,
        max_characters: int,
        kind: Literal["auto", "bytes", "learned"],
        vocab_size: int | None,
        given: Characters | None = None,
    ) -> Assembled:
        """All files but the description; `given`: an alphabet that is chosen already.

        Raises `OSError`, and `InputError` where no words are left to train on.
        """
        sentences, words, empty = self._sizes()
        if not words[0]:
            raise InputError("no words are left to train on; give more text, or a smaller --heldout")
        self.told("merging word types", 0, 0)
        merged = merge_types(
            [TypeList(partial(_word_lines, each.block), each.training_counts) for each in self.blocks], self.scratch
        )
        types = WordList(np.memmap(merged.words, dtype=np.uint8, mode="r"))
        reserved = [line for word in SPECIAL if (line := bisect_left(types, word)) < len(types) and types[line] == word]
        order = np.argsort(-merged.counts, kind="stable")
        order = order[~np.isin(order, reserved)]
        counts = np.concatenate([np.zeros(len(SPECIAL), dtype=np.int64), merged.counts[order]])
        characters, alphabet = self._characters(types, order, counts, max_characters, kind, given)
        cut = self._write_types(types, order, counts, characters)
        n_seen = int(np.count_nonzero(counts))
        size = usual_size(counts) if vocab_size is None else min(len(SPECIAL) + n_seen, vocab_size)
        global_ids = np.full(len(types), UNKNOWN_ID, dtype=np.uint32)
        global_ids[order] = np.arange(len(SPECIAL), len(SPECIAL) + len(order), dtype=np.uint32)
        unknown, n_reserved = self._write_parts(merged, global_ids, sentences, words, size)
        return Assembled(
            sentences, words, empty, len(order), len(order) - n_seen, size, unknown, n_reserved, cut, characters,
            alphabet, self.files,
        )  # fmt: skip

    def _sizes(self) -> tuple[tuple[int, int], tuple[int, int], int]:
        """(sentences, words) of both parts, and sentences without words."""
        sentences, words, empty = [0, 0], [0, 0], 0
        for each in self.blocks:
            lengths, held = np.diff(each.block.starts), each.mask()
            empty += int(np.count_nonzero(lengths == 0))
            for part, mask in enumerate((~held, held)):
                sentences[part] += int(np.count_nonzero(mask))
                words[part] += int(lengths[mask].sum())
        return (sentences[0], sentences[1]), (words[0], words[1]), empty

    def _characters(
        self,
        types: WordList,
        order: npt.NDArray[np.int64],
        counts: npt.NDArray[np.int64],
        max_characters: int,
        kind: Literal["auto", "bytes", "learned"],
        given: Characters | None,
    ) -> tuple[Characters, str]:
        most = min(len(order), _TYPES_FOR_ALPHABET)
        ranked = counts[len(SPECIAL) :][:most].tolist()
        known = {types[line]: count for line, count in zip(order[:most].tolist(), ranked, strict=True) if count}
        if not known:
            raise InputError("no words are left to train on: the text spells <S>, </S> and <UNK> only")
        if given is not None:
            what = f"an alphabet of {len(given.alphabet)} characters" if given.alphabet else "UTF-8 bytes"
            said = f"the model's own, {what}, {given.max_characters} a word"
            return given, f"{said}; {unknown_share(given, known):.2%} of the characters are unknown to it"
        characters, report = choose_characters(known, max_characters, kind=kind)
        return characters, str(report)

    def _write_types(
        self,
        types: WordList,
        order: npt.NDArray[np.int64],
        counts: npt.NDArray[np.int64],
        characters: Characters,
    ) -> int:
        """Words, counts and rows; how many training words are longer than a row."""
        n_types, cut = len(counts), 0
        with (
            _Output(self, WORDS) as words,
            _Output(self, ROWS, row_dtype(characters), (n_types, characters.max_characters)) as rows,
            _Output(self, COUNTS, np.int64, (n_types,)) as totals,
        ):
            totals.write(counts)
            words.write("".join(f"{word}\n" for word in SPECIAL).encode())
            rows.write(special_rows(characters))
            for first in range(0, len(order), _TYPES_AT_ONCE):
                some = [types[line] for line in order[first : first + _TYPES_AT_ONCE].tolist()]
                words.write("".join(f"{word}\n" for word in some).encode("utf-8", "surrogatepass"))
                rows.write(encode_rows(characters, some))
                longer = np.fromiter(map(characters.is_cut, some), dtype=bool, count=len(some))
                cut += int(counts[len(SPECIAL) + first :][: len(some)][longer].sum())
                self.told("writing types", first + len(some), len(order))
        return cut

    def _write_parts(
        self,
        merged: Merged,
        global_ids: npt.NDArray[np.uint32],
        sentences: tuple[int, int],
        words: tuple[int, int],
        vocab_size: int,
    ) -> tuple[tuple[int, int], int]:
        """Ids and starts; (unknown words of both parts, words read as <UNK> for their spelling)."""
        unknown, reserved, positions, done = [0, 0], 0, [0, 0], 0
        outputs = [
            (
                _Output(self, f"{name}.ids.npy", np.uint32, (words[part],)),
                _Output(self, f"{name}.starts.npy", np.int64, (sentences[part] + 1,)),
            )
            for part, name in enumerate(PARTS)
        ]
        for _, starts_file in outputs:
            starts_file.write(np.zeros(1, dtype=np.int64))
        for number, each in enumerate(self.blocks):
            ids = global_ids[merged.index(number)][each.block.ids]
            lengths, held = np.diff(each.block.starts), each.mask()
            for part, mask in enumerate((~held, held)):
                if mask.any():
                    own, own_lengths = ids[np.repeat(mask, lengths)], lengths[mask]
                    outputs[part][0].write(own)
                    outputs[part][1].write(np.cumsum(own_lengths) + positions[part])
                    positions[part] += len(own)
                    unknown[part] += int(np.count_nonzero((own >= vocab_size) | (own == UNKNOWN_ID)))
            reserved += int(np.count_nonzero(ids == UNKNOWN_ID))
            done += len(ids)
            self.told("writing words", done, sum(words))
        for pair in outputs:
            for output in pair:
                output.close()
        return (unknown[0], unknown[1]), reserved


def write_description(folder: Path, assembled: Assembled, text: TextConfig, report: PrepareReport, source: str) -> None:
    """`corpus.json`, which makes the folder a corpus. `source`: a digest of text and options, for a later resume."""
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "text": asdict(text),
        "characters": asdict(assembled.characters),
        "files": assembled.files,
    }
    identity = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    about |= {"identity": identity, "source": source, "report": asdict(report)}
    with (folder / DESCRIPTION).open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(about, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _word_lines(block: BlockFile) -> Iterator[bytes]:
    return iter(BytesIO(block.words))


class _Output:
    """A file of the corpus, written from front to back: text, or an array of a known shape.

    Not through a memory map: a full disk must raise, and not kill the process.
    """

    def __init__(
        self, owner: Assembler, name: str, dtype: npt.DTypeLike | None = None, shape: tuple[int, ...] | None = None
    ) -> None:
        self._owner, self._name = owner, name
        self._digest = hashlib.sha256()
        self._size = 0
        self._dtype = np.dtype(dtype) if shape is not None else None
        self._file = (owner.folder / name).open("wb")
        if shape is not None and self._dtype is not None:
            head = BytesIO()
            layout = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(head, layout)
            self.write(head.getvalue())

    def write(self, data: bytes | npt.NDArray[Any]) -> None:
        raw = data if isinstance(data, bytes) else np.ascontiguousarray(data, dtype=self._dtype).tobytes()
        self._file.write(raw)
        self._digest.update(raw)
        self._size += len(raw)

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._owner.files[self._name] = {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def __enter__(self) -> _Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._file.close()
