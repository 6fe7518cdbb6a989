"""Open a file of embeddings, whatever its format: `read_embeddings(path)`; nothing is loaded until it is asked for."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from polyseme.embedding import Embedding, FloatArray
from polyseme.errors import InputError, MissingExtraError, OptionError
from polyseme.store.columns import Source
from polyseme.store.layout import IntArray
from polyseme.store.partial import partial_folder

if TYPE_CHECKING:
    import pandas
    import torch

# What the libraries below raise on damaged files, beside their own kinds; anything else would be a mistake of ours.
_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
)

_PANDAS_COLUMNS = ("sentence", "position", "token", "start", "end", "vector")


class StoredEmbeddings(Sequence[Embedding]):
    """The sentences of one file, in input order: `len()`, `[i]`, slices and iteration give `Embedding`s.

    Values are read (or mapped) when an item is asked for. In a pooled file an item has one vector, and one "word": the
    whole sentence, joined by spaces ("" where the words were not stored). A file without words gives empty strings.
    `metadata`: what the writer was given. `n_sentences`, `n_tokens`, `n_layers`, `width`, `dtype`, `pooled`, `format`:
    the layout. Use as a context manager, or call `close()`; arrays already handed out stay valid.
    """

    def __init__(self, path: Path, source: Source) -> None:
        self.path = path
        self._source: Source | None = source
        header = source.header
        self.metadata: dict[str, Any] = header.metadata
        self.fingerprint = header.fingerprint
        self.n_sentences, self.n_tokens = header.n_sentences, header.n_tokens
        self.format, self.dtype, self.pooled = header.layout.format, header.layout.dtype, header.layout.pooled
        self.n_layers, self.width = header.layout.n_layers, header.layout.width

    def __len__(self) -> int:
        return self.n_sentences

    @overload
    def __getitem__(self, index: int) -> Embedding: ...
    @overload
    def __getitem__(self, index: slice) -> list[Embedding]: ...
    def __getitem__(self, index: int | slice) -> Embedding | list[Embedding]:
        if isinstance(index, slice):
            return [self._item(i) for i in range(*index.indices(len(self)))]
        return self._item(self._position(index))

    def __iter__(self) -> Iterator[Embedding]:
        return (self._item(i) for i in range(len(self)))

    def tokens(self, index: int) -> tuple[str, ...]:
        """The words of one sentence; empty when the file does not hold them."""
        position = self._position(index)
        with reading(self.path):
            return self._open().tokens(position) or ()

    @property
    def ids(self) -> tuple[str, ...] | None:
        """The user's id of each sentence; None when none were stored."""
        with reading(self.path):
            return self._open().ids()

    @property
    def documents(self) -> IntArray | None:
        """The source document of each sentence, (n_sentences,); None when not stored."""
        with reading(self.path):
            return self._open().documents()

    @property
    def vectors(self) -> FloatArray:
        """The pooled vectors: (n_sentences, width) for one layer, otherwise (n_sentences, n_layers, width).

        Raises `OptionError` for a file of word vectors.
        """
        if not self.pooled:
            raise OptionError(f"{self.path} holds one vector a word: use .numpy(), or write it with a pool")
        values = self.numpy()[0]
        return values[:, 0] if self.n_layers == 1 else values

    def numpy(self) -> tuple[FloatArray, IntArray]:
        """All values, (rows, n_layers, width), and the row at which each sentence begins, (n_sentences + 1,).

        A row is a word, or a sentence in a pooled file. Memory-mapped (and read-only) in safetensors, Arrow and npz;
        the other formats load everything.
        """
        with reading(self.path):
            return self._open().flat()

    def torch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`numpy()` as two tensors. Values stay mapped where they can be; do not write into them."""
        import torch

        values, sentence_offsets = self.numpy()
        if isinstance(values, np.memmap) or not values.flags.writeable:
            # torch warns about read-only memory; a private map of the same pages may be written, and shares them
            values = _writable_map(values)
        return torch.from_numpy(values), torch.from_numpy(np.array(sentence_offsets, dtype=np.int64))

    def pandas(self) -> pandas.DataFrame:
        """One row a word: sentence, position, token, start, end, vector (width,), or (n_layers, width) for several.

        `start` and `end` are absent when no offsets were stored. Loads everything. Raises `MissingExtraError` without
        pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError("A data frame of embeddings", "data") from error
        columns: dict[str, list[Any]] = {
            name: [] for name in ("sentence", "position", "token", "start", "end", "vector")
        }
        with_offsets = False
        for i, embedding in enumerate(self):
            with_offsets = with_offsets or embedding.offsets is not None
            columns["sentence"] += [i] * len(embedding)
            columns["position"] += range(len(embedding))
            columns["token"] += embedding.tokens
            spans = embedding.offsets or ()
            columns["start"] += (span[0] for span in spans)
            columns["end"] += (span[1] for span in spans)
            by_token = embedding.layers.transpose(1, 0, 2)  # (T, L, W)
            columns["vector"] += list(by_token[:, 0] if self.n_layers == 1 else by_token)
        if not with_offsets:
            del columns["start"], columns["end"]
        return pandas.DataFrame(columns)

    def close(self) -> None:
        """Give the file back. Closing twice does nothing."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def __enter__(self) -> StoredEmbeddings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = "pooled" if self.pooled else f"{self.n_tokens} tokens"
        shape = f"{self.n_layers} x {self.width} {self.dtype}"
        return f"StoredEmbeddings({str(self.path)!r}: {self.n_sentences} sentences, {what}, {shape})"

    def _open(self) -> Source:
        if self._source is None:
            raise OptionError(f"{self.path} was closed: open it again with read_embeddings()")
        return self._source

    def _position(self, index: int) -> int:
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"sentence {index} of {len(self)}")
        return position

    def _item(self, i: int) -> Embedding:
        with reading(self.path):
            source = self._open()
            layers = source.values(i).transpose(1, 0, 2)  # (T, L, W) -> (L, T, W)
            tokens, offsets = source.tokens(i), source.offsets(i)
            if self.pooled:
                return Embedding((" ".join(tokens or ()),), layers)
            words = ("",) * layers.shape[1] if tokens is None else tokens
            if len(words) != layers.shape[1]:
                raise InputError(f"sentence {i} has {len(words)} words and {layers.shape[1]} vectors")
            spans = None if offsets is None else tuple((start, end) for start, end in offsets.tolist())
            return Embedding(words, layers, spans)


def read_embeddings(path: str | Path) -> StoredEmbeddings:
    """Open a file written by `EmbeddingWriter`, or an HDF5 file of one data set a sentence (AllenNLP, bilm-tf).

    The format is recognised by the contents. Raises `InputError` when the file is missing, unfinished, damaged or of no
    known format, `MissingExtraError` when Arrow or Parquet cannot be read here.
    """
    path = Path(path)
    if path.name.endswith(".partial") and path.is_dir():
        raise InputError(f"{path} is an unfinished run: run the same command again with --resume")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file of embeddings")
    if not path.exists():
        hint = "; an unfinished run lies beside it: run again with --resume" if partial_folder(path).exists() else ""
        raise InputError(f"{path} does not exist{hint}")
    with reading(path):
        return StoredEmbeddings(path, _open_source(path))


def _open_source(path: Path) -> Source:
    """Formats are imported when they are met: h5py and pyarrow take a tenth of a second each."""
    with path.open("rb") as file:
        start = file.read(32)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        from polyseme.store import hdf5_file

        return hdf5_file.read(path)
    if start.startswith(b"ARROW1"):
        from polyseme.store import arrow_file

        return arrow_file.read(path)
    if start.startswith(b"PAR1"):
        from polyseme.store import parquet_file

        return parquet_file.read(path)
    if start.startswith(b"PK\x03\x04"):
        from polyseme.store import npz_file

        return npz_file.read(path)
    if start.startswith(b"# polyseme embeddings "):
        from polyseme.store import tsv_file

        return tsv_file.read(path)
    if start[8:9] == b"{":
        from polyseme.store import safetensors_file

        return safetensors_file.read(path)
    raise InputError(f"it begins with {start[:8]!r}: none of the formats of Polyseme, or damaged")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a library says about a damaged file into one `InputError` that names the file."""
    try:
        yield
    except (MissingExtraError, OptionError):
        raise
    except InputError as error:
        text = str(error)
        raise error if text.startswith(str(path)) else InputError(f"{path}: {text}") from error.__cause__
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: its header is damaged ({error})") from error
    except _DAMAGE as error:
        raise InputError(f"{path}: truncated or damaged ({type(error).__name__}: {error})") from error


def _writable_map(values: FloatArray) -> FloatArray:
    if isinstance(values, np.memmap) and values.filename is not None and values.size:
        dtype: np.dtype[np.floating] = values.dtype
        return np.memmap(values.filename, dtype=dtype, mode="c", offset=values.offset, shape=values.shape)
    return np.array(values)
