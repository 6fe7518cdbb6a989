"""The vectors that a task learns from: any of a biLM's layers and static vectors, side by side, computed once.

    features = open_features("elmo+glove", model="en-small", vectors={"glove": "glove.folder"}, cache=Path("cache"))
    vectors = features.vectors([[("A", "fine", "film"), ("See", "it")], ...])     # a text is a list of sentences
    vectors.batch([0, 5, 7])                                                     # padded tensors

A biLM's layers are computed once and kept on disk in float16, whose rounding (one part in two thousand) a network
behind dropout does not see; the file's name is a digest of the model, its options and the words. Static vectors are
looked up, once a distinct word. Both are read by row, so that texts that do not fit into memory can be learned from.

Legend: `N` words of the distinct sentences, `R` rows, `L` layers, `W` width; `B` texts of a batch, `T` words of the
longest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polyseme.embedder import Embedder, load
from polyseme.embedding import FloatArray, TokenEmbedder
from polyseme.errors import OptionError, OutputError
from polyseme.static.files import read_vectors
from polyseme.static.vectors import StaticVectors
from polyseme.text.config import TextConfig
from polyseme.text.processing import apply
from polyseme.text.tokenize import Sentence

Words = tuple[str, ...]
Array = npt.NDArray[Any]
Progress = Callable[[int, int, str], None]  # done, total, unit

CONTEXTUAL = "elmo"
BLOCK_WORDS = 16_384
FILES = 1  # goes up when what lies in a cached file changes its meaning
SAMPLE_ROWS = 10_000


@dataclass(frozen=True)
class Source:
    """One kind of vectors. `name`: as in `elmo+glove`; `path`: as asked for; `identity`: of every number in it."""

    name: str
    path: str
    identity: str
    embedder: TokenEmbedder
    n_layers: int

    @classmethod
    def of_model(cls, name: str, path: str, embedder: Embedder) -> Source:
        """A biLM's, whose vectors depend on its weights, on where sentences start, and on how products are rounded."""
        identity = f"{embedder.model_hash} {embedder.state} {embedder.precision}"
        return cls(name, path, identity, embedder, embedder.n_layers)

    @property
    def width(self) -> int:
        """W, of one layer."""
        return self.embedder.width

    @property
    def contextual(self) -> bool:
        """Whether a word's vectors depend on its sentence."""
        return isinstance(self.embedder, Embedder)

    @property
    def state(self) -> str | None:
        """What a biLM's sentences start from; None where there is no state."""
        state = self.embedder.state if isinstance(self.embedder, Embedder) else "none"
        return None if state == "none" else state

    def text(self) -> TextConfig:
        """What the text went through before the vectors were trained."""
        if isinstance(self.embedder, Embedder):
            return self.embedder.model.text
        return self.embedder.text if isinstance(self.embedder, StaticVectors) else TextConfig()


@dataclass(frozen=True)
class Inputs:
    """Some texts, padded. `vectors`: one tensor a source, (B, T, L, W) float32. `mask`: (B, T), true for words."""

    vectors: tuple[Tensor, ...]
    mask: Tensor

    @property
    def lengths(self) -> Tensor:
        """Words of each text. *Shape:* (B,)."""
        return self.mask.sum(dim=1)

    def to(self, device: torch.device) -> Inputs:
        """The same on another device."""
        return Inputs(tuple(each.to(device) for each in self.vectors), self.mask.to(device))


@dataclass(frozen=True)
class _Table:
    """Vectors of one source. `rows`: (R, L, W). `index`: (N,), the row of each word."""

    rows: Array
    index: npt.NDArray[np.int64]


class Batches(Protocol):
    """What a network reads its batches from."""

    @property
    def lengths(self) -> list[int]:
        """Words of each text."""

    def batch(self, texts: Sequence[int]) -> Inputs:
        """The texts of these numbers, padded with zeros."""


class Vectors:
    """The vectors of some texts. `places`: of each text, where its words stand among those of distinct sentences."""

    def __init__(self, tables: Sequence[_Table], places: Sequence[npt.NDArray[np.int64]]) -> None:
        self._tables, self._places = tables, places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def lengths(self) -> list[int]:
        """Words of each text."""
        return [len(places) for places in self._places]

    def batch(self, texts: Sequence[int]) -> Inputs:
        """The texts of these numbers, padded with zeros."""
        lengths = [len(self._places[text]) for text in texts]
        mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
        words = np.concatenate([self._places[text] for text in texts])
        filled = []
        for table in self._tables:
            padded = torch.zeros(*mask.shape, *table.rows.shape[1:])
            padded[mask] = torch.from_numpy(np.asarray(table.rows[table.index[words]], dtype=np.float32))
            filled.append(padded)
        return Inputs(tuple(filled), mask)

    def some(self, texts: Sequence[int]) -> Vectors:
        """Those of the texts of these numbers."""
        return Vectors(self._tables, [self._places[text] for text in texts])

    def part(self, chosen: slice) -> Vectors:
        """Those of some of the texts."""
        return Vectors(self._tables, self._places[chosen])

    def scales(self) -> list[Tensor]:
        """The root mean square of each layer's numbers, of 10,000 rows at most: (L,) a source; 1 for zeros."""
        found = []
        for table in self._tables:
            some = np.asarray(table.rows[:: max(1, len(table.rows) // SAMPLE_ROWS)], dtype=np.float32)
            scale = np.sqrt((some**2).mean(axis=(0, 2)))
            found.append(torch.from_numpy(np.where(scale > 0, scale, 1).astype(np.float32)))
        return found


class Features:
    """One or more sources. `cache`: the folder where layers of biLMs are kept; None: they stay in memory."""

    def __init__(self, sources: Sequence[Source], cache: Path | None = None, progress: Progress | None = None) -> None:
        self.sources, self.cache = tuple(sources), cache
        self._progress = progress or _silently

    @property
    def name(self) -> str:
        """As it is asked for: `elmo+glove`."""
        return "+".join(source.name for source in self.sources)

    def vectors(self, texts: Sequence[Sequence[Words]], max_words: int | None = None) -> Vectors:
        """The vectors of texts, each a list of sentences; of each text the first `max_words` words.

        Raises `OutputError` where the layers do not fit on the disk.
        """
        distinct = list(dict.fromkeys(sentence for text in texts for sentence in text if sentence))
        starts = np.concatenate([[0], np.cumsum([len(sentence) for sentence in distinct])]).astype(np.int64)
        at = {sentence: np.arange(starts[n], starts[n + 1]) for n, sentence in enumerate(distinct)}
        nothing = np.zeros(0, dtype=np.int64)
        places = [np.concatenate([nothing, *(at[s] for s in text if s)])[:max_words] for text in texts]
        tables = [
            self._layers(source, distinct) if source.contextual else _looked_up(source, distinct)
            for source in self.sources
        ]
        return Vectors(tables, places)

    # --- contextual vectors, on disk

    def _layers(self, source: Source, sentences: Sequence[Words]) -> _Table:
        n_words = sum(map(len, sentences))
        shape = (n_words, source.n_layers, source.width)
        index = np.arange(n_words, dtype=np.int64)
        if self.cache is None:
            blocks = list(self._computed(source, sentences))
            return _Table(np.concatenate(blocks) if blocks else np.zeros(shape, dtype=np.float16), index)
        path = self.cache / f"{source.name}-{_digest(source.identity, sentences)}.npy"
        found = _opened(path, shape)
        if found is None:
            _write(path, shape, self._computed(source, sentences))
            found = _opened(path, shape)
            if found is None:
                raise OutputError(f"{path}: was written and cannot be read back; remove it and run again")
        return _Table(found, index)

    def _computed(self, source: Source, sentences: Sequence[Words]) -> Iterator[Array]:
        """(words of a block, L, W) float16, in order."""
        words = spelled(sentences, source.text())
        total, done = sum(map(len, sentences)), 0
        block: list[Words] = []
        waiting = 0
        for number, sentence in enumerate(words):
            block.append(sentence)
            waiting += len(sentence)
            if waiting >= BLOCK_WORDS or number + 1 == len(words):
                rows = [each.layers.transpose(1, 0, 2) for each in source.embedder.embed(block)]
                yield np.concatenate(rows).astype(np.float16)
                done, block, waiting = done + waiting, [], 0
                self._progress(done, total, "words")


def open_features(
    names: str,
    *,
    model: str | Path | None = None,
    vectors: Mapping[str, str | Path] | None = None,
    state: str | None = None,
    threads: int | None = None,
    device: str = "cpu",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Features:
    """The sources that `names` joins by "+": `elmo` is the biLM of `model`, every other name a key of `vectors`.

    Raises `OptionError` for a name without a file or a file without a name, and what opening the files raises.
    """
    paths = dict(vectors or {})
    wanted = [name.strip() for name in names.split("+")]
    if not all(wanted) or len(set(wanted)) < len(wanted):
        raise OptionError(f"features should be different names joined by +, such as elmo+glove; was: {names!r}")
    if unused := sorted(paths.keys() - set(wanted)):
        raise OptionError(
            f"vectors were given for {unused[0]!r}, which the features {names!r} do not name; add it there"
        )
    if model is not None and CONTEXTUAL not in wanted:
        raise OptionError(f"a model was given, but the features {names!r} do not name {CONTEXTUAL}; add it there")
    sources = []
    for name in wanted:
        if name == CONTEXTUAL:
            if state == "carry":
                raise OptionError('state="carry" gives a word other vectors each time; tasks need "settled" or "zero"')
            if model is None:
                raise OptionError(f"the feature {CONTEXTUAL} needs a model; give one with --model")
            embedder = load(model, state=state, threads=threads, device=device)
            sources.append(Source.of_model(name, str(model), embedder))
        elif name in paths:
            static = read_vectors(paths[name])
            sources.append(Source(name, str(paths[name]), static_identity(static), static, 1))
        else:
            raise OptionError(f"the feature {name!r} needs a file of vectors; give --vectors {name}=PATH")
    return Features(sources, cache, progress)


def _silently(_done: int, _total: int, _unit: str) -> None:
    """Progress that nobody watches."""


def static_identity(vectors: StaticVectors) -> str:
    """SHA-256 over the words and all numbers, also those of n-grams."""
    digest = hashlib.sha256("\n".join(vectors.words).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(vectors.matrix).data)
    if vectors.subwords is not None:
        digest.update(np.ascontiguousarray(vectors.subwords.matrix).data)
    digest.update(f"{vectors.text.lowercase} {vectors.text.stem}".encode())
    return digest.hexdigest()


def _looked_up(source: Source, sentences: Sequence[Words]) -> _Table:
    """One row a distinct word."""
    row_of: dict[str, int] = {}
    index = [row_of.setdefault(word, len(row_of)) for sentence in sentences for word in sentence]
    (found,) = source.embedder.embed([tuple(row_of)])
    return _Table(found.layers.transpose(1, 0, 2), np.asarray(index, dtype=np.int64))


def spelled(sentences: Sequence[Words], own: TextConfig) -> list[Words]:
    """The words as a biLM's text had them: normalized, lower-cased, stemmed. Stop words stay: they have tags, too."""
    if own.normalize != "none":
        form: Literal["NFC", "NFKC"] = "NFC" if own.normalize == "nfc" else "NFKC"
        sentences = [tuple(unicodedata.normalize(form, word) for word in sentence) for sentence in sentences]
    if not (own.lowercase or own.stem):
        return list(sentences)
    config = TextConfig(lowercase=own.lowercase, stem=own.stem)
    language = own.languages[0] if own.languages else "und"
    return [apply(Sentence(words, ((0, 0),) * len(words)), config, language).tokens for words in sentences]


# --- files


def _digest(identity: str, sentences: Sequence[Words]) -> str:
    digest = hashlib.sha256(f"{FILES} {identity}\n".encode())
    for words in sentences:
        digest.update(("\1".join(words) + "\2").encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:24]


def _opened(path: Path, shape: tuple[int, ...]) -> FloatArray | None:
    """The file, memory-mapped; None where it is not there or is not whole."""
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float16 else None


def _write(path: Path, shape: tuple[int, ...], blocks: Iterator[Array]) -> None:
    """Written in order (a full disk is an error then, not a signal) under another name, and renamed when whole."""
    needed = 2 * int(np.prod(shape))
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise OutputError(
                f"{path.parent}: the vectors of {shape[0]:,} words take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
                "are free; free some room, or keep them elsewhere with --cache"
            )
        with partial.open("wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype="<f2").data)
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: the vectors cannot be kept ({error}); choose another place with --cache") from error
    finally:
        partial.unlink(missing_ok=True)
