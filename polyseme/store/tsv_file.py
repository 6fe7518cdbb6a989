r"""Embeddings as tab-separated text, one row a word (or a sentence, when pooled).

Line 1 is a comment with the layout and the metadata as JSON. Line 2 names the columns: `sentence`, then `id`,
`document`, `token`, `start`, `end` where stored, then the values `v<layer>_<dimension>`. In words and ids, backslash,
tab, line feed, carriage return and NUL are written `\\`, `\t`, `\n`, `\r` and `\0`. In a pooled file `token` holds all
words of the sentence as a JSON list, and `start`, `end` are lists too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from polyseme.embedding import FloatArray
from polyseme.errors import InputError
from polyseme.store.columns import joined
from polyseme.store.layout import Header, IntArray

if TYPE_CHECKING:
    from polyseme.store.assemble import RawColumns

MAGIC = b"# polyseme embeddings "
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}
_ESCAPE = str.maketrans(_ESCAPES)
_PLAIN = {escaped: plain for plain, escaped in _ESCAPES.items()}
# The fewest digits that give back every value of the type exactly.
_NUMBER = {"float16": "%.5g", "float32": "%.9g"}


def write(raw: RawColumns, target: Path) -> None:
    """Write the text; rows pass through memory block by block."""
    header = raw.header
    layout = header.layout
    strings = {name: json.loads(text) for name, text in header.strings().items()}
    names = [f"v{layer}_{dimension}" for layer in range(layout.n_layers) for dimension in range(layout.width)]
    number = "\t".join([_NUMBER[layout.dtype]] * len(names))
    with target.open("wb") as file:
        text = json.dumps({**strings, "empty": list(_empty_sentences(raw))}, sort_keys=True)
        file.write(MAGIC + text.encode("ascii") + b"\n")
        file.write("\t".join([*_labels(header), *names]).encode("ascii") + b"\n")
        for sentence, start, stop in raw.sentences():
            cells = _Cells(raw, sentence)
            for first, block in raw.blocks(start, stop):
                for row, values in enumerate(block.reshape(len(block), -1).tolist(), first - start):
                    file.write(f"{cells.row(row)}\t{number % tuple(values)}\n".encode())


def _labels(header: Header) -> list[str]:
    """The columns before the values."""
    layout = header.layout
    chosen = {"id": layout.ids, "document": layout.documents, "token": layout.tokens}
    chosen |= {"start": layout.offsets, "end": layout.offsets}
    return ["sentence", *(name for name, stored in chosen.items() if stored)]


def _empty_sentences(raw: RawColumns) -> Iterator[list[Any]]:
    """Number, id and document of every sentence that has no row."""
    for sentence, start, stop in raw.sentences():
        if start == stop:
            [name] = raw.strings("id", sentence, sentence + 1) if raw.header.layout.ids else [None]
            document = int(raw.column("document_index")[sentence]) if raw.header.layout.documents else None
            yield [sentence, name, document]


class _Cells:
    """The cells of one sentence's rows that come before the values."""

    def __init__(self, raw: RawColumns, sentence: int) -> None:
        layout = raw.header.layout
        self._same = [str(sentence)]
        self._by_row: list[list[str]] = []
        if layout.ids:
            self._same.append(raw.strings("id", sentence, sentence + 1)[0].translate(_ESCAPE))
        if layout.documents:
            self._same.append(str(int(raw.column("document_index")[sentence])))
        if not layout.tokens:
            return
        start, stop = raw.column("sentence_offsets")[sentence : sentence + 2].tolist()
        words = raw.strings("token", start, stop)
        spans = raw.column("character_offsets")[start:stop].T.tolist() if layout.offsets else []
        if layout.pooled:
            self._by_row = [[json.dumps(cell, ensure_ascii=False)] for cell in (list(words), *spans)]
        else:
            self._by_row = [[word.translate(_ESCAPE) for word in words], *([str(n) for n in cell] for cell in spans)]

    def row(self, row: int) -> str:
        return "\t".join([*self._same, *(cells[row] for cells in self._by_row)])


class TsvSource:
    """A `Source` over the text: the place of every sentence is looked up once, at the first access."""

    def __init__(self, path: Path, file: BinaryIO, header: Header, empty: list[tuple[int, Any, Any]]) -> None:
        self.header = header
        self._file = file
        self._body = file.tell()
        self._empty = {sentence: (name, document) for sentence, name, document in empty}
        self._labels = _labels(header)
        self._end = path.stat().st_size
        self._starts: IntArray | None = None
        self._last: tuple[int, list[list[str]]] = (-1, [])

    def _index(self) -> IntArray:
        """Where each sentence's rows begin, and the end of the file. *Shape:* (N + 1,)."""
        if self._starts is None:
            starts, place, rows = [self._body], self._body, 0
            self._file.seek(self._body)
            for line in self._file:
                sentence = int(line[: line.index(b"\t")])
                if not len(starts) - 1 <= sentence < self.header.n_sentences or not line.endswith(b"\n"):
                    raise InputError(f"the row at byte {place} is cut off or out of order")
                starts += [place] * (sentence + 1 - len(starts))
                rows += 1
                place += len(line)
            if rows != self.header.n_rows:
                raise InputError(f"it has {rows} rows, but its header says {self.header.n_rows}")
            starts += [place] * (self.header.n_sentences + 1 - len(starts))
            self._starts = np.asarray(starts, dtype=np.int64)
        return self._starts

    def _rows(self, sentence: int) -> list[list[str]]:
        """The cells of a sentence's rows, as text."""
        if self._last[0] != sentence:
            start, stop = self._index()[sentence : sentence + 2].tolist()
            self._file.seek(start)
            lines = self._file.read(stop - start).decode("utf-8").split("\n")[:-1]
            layout = self.header.layout
            rows = [line.split("\t") for line in lines]
            if any(len(row) != len(self._labels) + layout.n_layers * layout.width for row in rows):
                raise InputError(f"a row of sentence {sentence} has too many or too few cells")
            self._last = (sentence, rows)
        return self._last[1]

    def _cells(self, sentence: int, label: str) -> list[str]:
        column = self._labels.index(label)
        return [row[column] for row in self._rows(sentence)]

    def values(self, sentence: int) -> FloatArray:
        layout = self.header.layout
        rows = [[float(cell) for cell in row[len(self._labels) :]] for row in self._rows(sentence)]
        with np.errstate(over="raise"):
            numbers = np.asarray(rows, dtype=np.float64).astype(layout.numpy_dtype)
        return numbers.reshape(len(rows), layout.n_layers, layout.width)

    def tokens(self, sentence: int) -> tuple[str, ...] | None:
        if not self.header.layout.tokens:
            return None
        cells = self._cells(sentence, "token")
        if self.header.layout.pooled:
            return tuple(str(word) for word in json.loads(cells[0]))
        return tuple(_plain(cell) for cell in cells)

    def offsets(self, sentence: int) -> IntArray | None:
        if not self.header.layout.offsets:
            return None
        starts, ends = self._cells(sentence, "start"), self._cells(sentence, "end")
        if self.header.layout.pooled:
            starts, ends = json.loads(starts[0]), json.loads(ends[0])
        return np.asarray([starts, ends], dtype=np.int64).T

    def ids(self) -> tuple[str, ...] | None:
        if not self.header.layout.ids:
            return None
        return tuple(
            # the id of a sentence without rows stands in the JSON of line 1
            str(self._empty[i][0]) if i in self._empty else _plain(self._cells(i, "id")[0])
            for i in range(self.header.n_sentences)
        )

    def documents(self) -> IntArray | None:
        if not self.header.layout.documents:
            return None
        numbers = [
            int(self._empty[i][1] if i in self._empty else self._cells(i, "document")[0])
            for i in range(self.header.n_sentences)
        ]
        return np.asarray(numbers, dtype=np.int64)

    def flat(self) -> tuple[FloatArray, IntArray]:
        return joined(self)

    def close(self) -> None:
        self._file.close()


def _plain(cell: str) -> str:
    """Undo the escapes of a word or an id."""
    return re.sub(r"\\[\\tnr0]", lambda found: _PLAIN[found[0]], cell) if "\\" in cell else cell


def read(path: Path) -> TsvSource:
    """Read the header. Raises `InputError` when it is damaged."""
    file = path.open("rb")
    try:
        described = json.loads(file.readline()[len(MAGIC) :].decode("utf-8"))
        header = Header.parse({name: json.dumps(described[name]) for name in ("layout", "metadata")})
        labels = file.readline().decode("ascii").split("\t")
        if labels[: len(_labels(header))] != _labels(header):
            raise InputError("its second line does not name the columns that its header says")
        empty = [(int(sentence), name, document) for sentence, name, document in described["empty"]]
        return TsvSource(path, file, header, empty)
    except BaseException:
        file.close()
        raise
