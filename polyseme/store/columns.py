"""Flat columns: the one picture of stored sentences that the flat formats share, whatever file they lie in.

Sentence `i` owns tokens `sentence_offsets[i] : sentence_offsets[i + 1]`; token `t` is the UTF-8 text
`token_bytes[token_offsets[t] : token_offsets[t + 1]]`. Rows of values are tokens, or sentences when pooled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from polyseme.embedding import FloatArray
from polyseme.errors import InputError
from polyseme.store.layout import ByteArray, Header, IntArray

BLOCK_BYTES = 4 << 20


class Rows(Protocol):
    """Values that can be cut by rows: a memory map, or a data set of an open HDF5 file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice) -> FloatArray: ...


class Source(Protocol):
    """What a format's reader offers: sentence after sentence, or everything at once."""

    header: Header

    def values(self, sentence: int) -> FloatArray:
        """*Shape:* (T, L, W), or (1, L, W) when pooled."""
        ...

    def tokens(self, sentence: int) -> tuple[str, ...] | None:
        """The words of a sentence; None where the file has none."""
        ...

    def offsets(self, sentence: int) -> IntArray | None:
        """*Shape:* (T, 2). None where the file has none."""
        ...

    def ids(self) -> tuple[str, ...] | None:
        """One string a sentence; None where the file has none."""
        ...

    def documents(self) -> IntArray | None:
        """One number a sentence; None where the file has none."""
        ...

    def flat(self) -> tuple[FloatArray, IntArray]:
        """All values (R, L, W) and the rows at which sentences begin (N + 1,)."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class FlatColumns:
    """A `Source` over arrays: memory maps (safetensors, npz, Arrow), open HDF5 data sets, or a run's working files."""

    def __init__(self, header: Header, values: Rows, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Checks every shape against the header; raises `InputError` for a contradiction."""
        self.header = header
        self.rows = values
        self.columns = dict(columns)
        layout = header.layout
        expected: dict[str, tuple[int, ...]] = {"values": (header.n_rows, layout.n_layers, layout.width)}
        expected |= _fixed_shapes(header)
        for name, shape in expected.items():
            found = values.shape if name == "values" else self._column(name).shape
            if tuple(found) != shape:
                raise InputError(f"{name} has shape {tuple(found)}, but its header says {shape}")
        for name in ("sentence_offsets", "id_offsets"):
            if name in layout.columns:
                _check_offsets(name, self._column(name), self._end_of(name))

    def _column(self, name: str) -> npt.NDArray[Any]:
        if name not in self.columns:
            raise InputError(f"{name} is missing")
        return self.columns[name]

    def _end_of(self, name: str) -> int:
        return self.header.n_tokens if name == "sentence_offsets" else len(self._column("id_bytes"))

    def _span(self, sentence: int) -> tuple[int, int]:
        start, stop = self.columns["sentence_offsets"][sentence : sentence + 2].tolist()
        return start, stop

    def values(self, sentence: int) -> FloatArray:
        start, stop = (sentence, sentence + 1) if self.header.layout.pooled else self._span(sentence)
        return self.rows[start:stop]

    def tokens(self, sentence: int) -> tuple[str, ...] | None:
        if not self.header.layout.tokens:
            return None
        start, stop = self._span(sentence)
        return cut_strings(self._column("token_bytes"), self.columns["token_offsets"][start : stop + 1])

    def offsets(self, sentence: int) -> IntArray | None:
        if not self.header.layout.offsets:
            return None
        start, stop = self._span(sentence)
        return cast(IntArray, self.columns["character_offsets"][start:stop])

    def ids(self) -> tuple[str, ...] | None:
        if not self.header.layout.ids:
            return None
        return cut_strings(self._column("id_bytes"), self.columns["id_offsets"])

    def documents(self) -> IntArray | None:
        return cast(IntArray, self.columns["document_index"]) if self.header.layout.documents else None

    def flat(self) -> tuple[FloatArray, IntArray]:
        if self.header.layout.pooled:
            return self.rows[0 : self.header.n_rows], np.arange(self.header.n_sentences + 1, dtype=np.int64)
        return self.rows[0 : self.header.n_rows], cast(IntArray, self.columns["sentence_offsets"])

    def close(self) -> None:
        # A memory map lives as long as an array that looks into it; dropping ours is all that may be done.
        self.columns = {}
        self.rows = np.empty((0, 0, 0), dtype=np.float32)


def _fixed_shapes(header: Header) -> dict[str, tuple[int, ...]]:
    """Shapes of the columns that follow from the two counts."""
    shapes: dict[str, tuple[int, ...]] = {
        "sentence_offsets": (header.n_sentences + 1,),
        "token_offsets": (header.n_tokens + 1,),
        "character_offsets": (header.n_tokens, 2),
        "document_index": (header.n_sentences,),
        "id_offsets": (header.n_sentences + 1,),
    }
    return {name: shape for name, shape in shapes.items() if name in header.layout.columns}


def _check_offsets(name: str, offsets: npt.NDArray[Any], end: int) -> None:
    if offsets[0] != 0 or offsets[-1] != end or bool((np.diff(offsets) < 0).any()):
        raise InputError(f"{name} does not rise from 0 to {end}")


def cut_strings(text: ByteArray, offsets: IntArray) -> tuple[str, ...]:
    """The strings between consecutive offsets.

    Raises `InputError` when offsets fall, leave `text` or cut a character.
    """
    bounds = offsets.tolist()
    start, stop = bounds[0], bounds[-1]
    if not 0 <= start <= stop <= len(text):
        raise InputError(f"token or id offsets {start}:{stop} lie outside its {len(text)} bytes of text")
    if any(left > right for left, right in pairwise(bounds)):
        raise InputError("token or id offsets do not rise")
    data = text[start:stop].tobytes()
    try:
        return tuple(data[left - start : right - start].decode("utf-8") for left, right in pairwise(bounds))
    except UnicodeDecodeError as error:
        raise InputError(f"a token or id is not valid UTF-8 ({error})") from error


def joined(source: Source) -> tuple[FloatArray, IntArray]:
    """`Source.flat` of a format that keeps sentences apart: everything is loaded."""
    layout = source.header.layout
    parts = [source.values(sentence) for sentence in range(source.header.n_sentences)]
    nothing = np.empty((0, layout.n_layers, layout.width), dtype=layout.numpy_dtype)
    bounds = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
    return np.concatenate([nothing, *parts]), bounds


def blocks(start: int, stop: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut rows `start:stop` into spans of about `BLOCK_BYTES`."""
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    for first in range(start, stop, step):
        yield first, min(stop, first + step)
