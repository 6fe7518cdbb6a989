"""Text -> blocks of about 4 million characters -> files of block-local word ids, by one process or many.

A block's file is named by a digest of its text and of all that decides how it is cut into words: a run that was killed
finds its finished blocks again, and never one that was made in another way. Files appear under their names only whole.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
import zipfile
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from polyseme.errors import OutputError
from polyseme.text.config import TextConfig
from polyseme.text.processing import apply
from polyseme.text.read import Reader
from polyseme.text.tokenize import tokenizer_for

BLOCK_CHARACTERS = 1 << 22
# A text without line ends is cut here, at a blank if there is one: no rule needs to look further.
PIECE_CHARACTERS = 1 << 20
BLOCKS_VERSION = 1  # goes up when the same text and recipe would give other files

Pieces = list[str | None]


@dataclass(frozen=True)
class Recipe:
    """How text becomes words. `config` names the tokenizer; `language` is whose stop words and stems they are."""

    config: TextConfig
    language: str

    @property
    def changes_words(self) -> bool:
        """Whether anything is done to the tokens after cutting."""
        return self.config.lowercase or self.config.remove_stop_words or self.config.stem


class BlockSize(NamedTuple):
    """How much a block holds."""

    sentences: int
    words: int


# --- text -> pieces


class Cutter:
    """The documents of a reader in blocks: lists of texts, with None where a document begins and "" for an empty line.

    Blank lines (told by gaps between line numbers), files and records separate documents; with `keep_empty` each blank
    line is a piece of its own. `long_lines`: texts that had to be cut at a blank.
    """

    def __init__(self, reader: Reader, *, keep_empty: bool, paragraphs: bool) -> None:
        """`paragraphs`: the reader joins lines, so that each of its documents stands for itself."""
        self.reader, self.keep_empty, self.paragraphs = reader, keep_empty, paragraphs
        self.long_lines = 0

    def __iter__(self) -> Iterator[Pieces]:
        self.long_lines = 0
        pieces: Pieces = []
        size = 0
        for piece in self._pieces():
            pieces.append(piece)
            size += len(piece or "") + 1
            if size >= BLOCK_CHARACTERS:
                yield pieces
                pieces, size = [], 0
        if pieces:
            yield pieces

    def _pieces(self) -> Iterator[str | None]:
        lined = set() if self.paragraphs else {each.path for each in self.reader.sources if each.format == "text"}
        source, line, empty = "", 0, 0
        for document in self.reader:
            follows = document.source == source and document.line == line + 1 and source in lined
            if not follows:
                before, empty = empty, self.reader.report.empty_lines
                if self.keep_empty:
                    yield from [""] * (empty - before)
                # A gap without an empty line is an undecodable one, left out.
                if document.source != source or source not in lined or empty > before or document.line <= line:
                    yield None
            source, line = document.source, document.line
            yield from self._short(document.text)
        if self.keep_empty:
            yield from [""] * (self.reader.report.empty_lines - empty)

    def _short(self, text: str) -> Iterator[str]:
        """A line end always ends a sentence, so that cutting there changes nothing."""
        if len(text) <= PIECE_CHARACTERS and not (self.keep_empty and "\n" in text):
            yield text
            return
        for line in text.removesuffix("\n").split("\n"):
            if not line.strip():
                yield from [""] * self.keep_empty
                continue
            self.long_lines += len(line) > PIECE_CHARACTERS
            start = 0
            while len(line) - start > PIECE_CHARACTERS:
                last = start + PIECE_CHARACTERS
                end = line.rfind(" ", start + PIECE_CHARACTERS // 2, last) + 1 or last
                yield line[start:end]
                start = end
            if line[start:].strip():
                yield line[start:]


def block_key(pieces: Pieces, recipe: Recipe) -> str:
    """A digest of a block's text and of what is done to it."""
    digest = hashlib.sha256(json.dumps([BLOCKS_VERSION, asdict(recipe)], sort_keys=True).encode())
    digest.update(np.asarray([-1 if piece is None else len(piece) for piece in pieces], dtype="<i8").tobytes())
    digest.update("".join(piece or "" for piece in pieces).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


# --- pieces -> file


class BlockFile:
    """A finished block on disk; its arrays are read when asked for, and only the words are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = BlockSize(*self._load("size").tolist())

    def _load(self, name: str) -> npt.NDArray[Any]:
        with np.load(self.path, allow_pickle=False) as file:
            return np.asarray(file[name])

    @property
    def words(self) -> bytes:
        """The block's word types in the order of code points, UTF-8, one a line."""
        return self._load("words").tobytes()

    @property
    def ids(self) -> npt.NDArray[np.uint32]:
        """Of each running word, the line of `words`. *Shape:* (n_words,)."""
        return self._load("ids")

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each sentence starts in `ids`, and the number of words. *Shape:* (n_sentences + 1,)."""
        return self._load("starts").astype(np.int64)

    @property
    def documents(self) -> npt.NDArray[np.int64]:
        """The sentences (of this block, or the one after its last) with which documents begin."""
        return self._load("documents")

    @property
    def emptied(self) -> int:
        """Sentences left out because nothing remained of them."""
        return int(self._load("emptied"))


def write_block(pieces: Pieces, recipe: Recipe, path: Path) -> None:
    """Cuts a block into words and writes its file. Raises `OSError`."""
    tokenizer = tokenizer_for(recipe.config.tokenizer)
    types: defaultdict[str, int] = defaultdict()
    types.default_factory = types.__len__
    ids, starts, documents, emptied = array("I"), array("Q", [0]), array("q"), 0
    for piece in pieces:
        if piece is None:
            documents.append(len(starts) - 1)
            continue
        if not piece:
            starts.append(len(ids))
            continue
        for sentence in tokenizer.sentences(piece):
            if recipe.changes_words:
                sentence = apply(sentence, recipe.config, recipe.language)
            if sentence.tokens:
                ids.extend(map(types.__getitem__, sentence.tokens))
                starts.append(len(ids))
            else:
                emptied += 1
    words = sorted(types)
    order = np.empty(len(words), dtype=np.uint32)
    order[[types[word] for word in words]] = np.arange(len(words), dtype=np.uint32)
    blob = "".join(f"{word}\n" for word in words).encode("utf-8", "surrogatepass")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                words=np.frombuffer(blob, dtype=np.uint8),
                ids=order[np.asarray(ids)],
                starts=np.asarray(starts, dtype=np.uint32),
                documents=np.asarray(documents),
                emptied=np.asarray(emptied),
                size=np.asarray([len(starts) - 1, len(ids)]),
            )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


# --- many blocks


@dataclass(frozen=True)
class BlockWriter:
    """Writes the blocks of one part into `folder`. `told(characters)`: called as each block is done."""

    folder: Path
    name: str
    recipe: Recipe
    processes: int
    told: Callable[[int], None]

    def write(self, blocks: Iterator[Pieces]) -> list[Path]:
        """The files in order, those found included. Raises what reading raises, `OSError`, `OutputError`."""
        first = list(islice(blocks, 2))
        blocks = chain(first, blocks)
        if self.processes == 1 or len(first) < 2:
            return [self._path(number, pieces, None) for number, pieces in enumerate(blocks)]
        pool = ProcessPoolExecutor(
            self.processes, multiprocessing.get_context("spawn"), initializer=_start_worker
        )  # fmt: skip
        try:
            return self._write_with(pool, blocks)
        except BrokenProcessPool as error:
            raise OutputError(
                f"a process that cuts text into words died (killed for memory? a script without "
                f'`if __name__ == "__main__":`?); finished blocks are kept in {self.folder}: go on with --resume and '
                f"fewer than {self.processes} --processes"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _write_with(self, pool: ProcessPoolExecutor, blocks: Iterator[Pieces]) -> list[Path]:
        waiting: deque[tuple[Future[None], int]] = deque()
        paths = []
        for number, pieces in enumerate(blocks):
            paths.append(self._path(number, pieces, (pool, waiting)))
            # No more text than the processes need is held.
            while len(waiting) > self.processes + 1:
                self._finish(waiting)
        while waiting:
            self._finish(waiting)
        return paths

    def _finish(self, waiting: deque[tuple[Future[None], int]]) -> None:
        future, characters = waiting.popleft()
        future.result()
        self.told(characters)

    def _path(
        self, number: int, pieces: Pieces, pool: tuple[ProcessPoolExecutor, deque[tuple[Future[None], int]]] | None
    ) -> Path:
        path = self.folder / f"{self.name}-{number:06d}-{block_key(pieces, self.recipe)}.npz"
        characters = sum(len(piece or "") for piece in pieces)
        if not _is_finished(path):
            if pool is not None:
                pool[1].append((pool[0].submit(write_block, pieces, self.recipe, path), characters))
                return path
            write_block(pieces, self.recipe, path)
        self.told(characters)
        return path


def _is_finished(path: Path) -> bool:
    """Whether the file of a block is there and can be read."""
    try:
        return BlockFile(path).size.sentences >= 0
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def _start_worker() -> None:
    """Ctrl-C is the parent's to handle, and a parent killed outright leaves no worker behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
