"""Files of text in, one file of vectors out: block by block, resumable, in constant memory.

    records (sentences, lines, documents) --blocks of 32,768 tokens--> reduced layers --> EmbeddingWriter --> commit

A block depends on nothing before it (but for carried state, which is stored with the commit), so a run that was
killed goes on at its last block and writes the same bytes as one that was not. A sentence too long to hold is read in
two sweeps: the backward direction from right to left, spooled to disk, then the forward direction from left to right.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyseme._version import __version__
from polyseme.embedder import Counts, Embedder
from polyseme.embedding import FloatArray
from polyseme.engine import States
from polyseme.errors import OptionError
from polyseme.long_sentence import long_sentence
from polyseme.nn.lstm import LSTMState
from polyseme.records import BLOCK_TOKENS, FileOptions, Record, file_identity, text_bytes
from polyseme.records import blocks as make_blocks
from polyseme.records import records as read_records
from polyseme.store import EmbeddingWriter, StoreLayout, choose_format, output_bytes, required_bytes
from polyseme.text.languages import script_share
from polyseme.text.read import Reader, read_documents
from polyseme.text.tokenize import Tokenizer, tokenizer_for

__all__ = ["FileOptions", "FileReport", "Progress", "embed_file"]

LONG_TOKENS = 16_384  # longer sentences are read in two sweeps
SAMPLE_CHARACTERS = 20_000


@dataclass(frozen=True)
class Progress:
    """How far a run is. Bytes are those of the finished file, as estimated from the first block; 0 at first."""

    records: int
    sentences: int
    tokens: int
    tokens_expected: int
    output_bytes_expected: int
    tokens_per_second: float


@dataclass
class FileReport:
    """What a run did. `warnings`: one sentence for everything a user should know before trusting the vectors."""

    out: Path
    records: int
    counts: Counts
    seconds: float
    output_bytes: int
    tokenizer: str
    language: str
    finished_before: bool = False
    warnings: list[str] = field(default_factory=list)


def embed_file(
    embedder: Embedder,
    paths: Sequence[str | Path],
    out: str | Path,
    options: FileOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> FileReport:
    """Embeds the text of `paths` into the file `out`, which appears only when it is complete.

    With `resume` a run that was killed goes on at its last block. Raises what reading (`InputError`, `DecodeError`),
    embedding and writing (`OutputError`, `ResumeError`) raise; what was committed is never lost.
    """
    return _Run(embedder, paths, Path(out), options or FileOptions(), progress).run(resume, overwrite)


class _Run:
    """One call of `embed_file`."""

    def __init__(
        self,
        embedder: Embedder,
        paths: Sequence[str | Path],
        out: Path,
        options: FileOptions,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.embedder, self.paths, self.out, self.options, self.progress = embedder, paths, out, options, progress
        if embedder.state == "carry" and (options.batch_size is None or not options.single_sentences):
            raise OptionError('state="carry" needs batch_size, and records that are single sentences (unit "sentence")')
        self.chosen = chosen_layers(options.layers, embedder.n_layers)
        self.started = time.monotonic()
        self.before = embedder.counts
        self.n_records = 0
        self.tokens_expected = self.bytes_expected = 0

    def run(self, resume: bool, overwrite: bool) -> FileReport:
        options, text = self.options, self.embedder.model.text
        reader = read_documents(
            self.paths,
            encoding=options.encoding,
            encoding_errors=options.encoding_errors,
            text_column=options.text_column,
            id_column=options.id_column,
            unit="document" if options.unit == "document" else "line",
            unwrap=options.unwrap,
            normalize=options.normalize if options.normalize != "none" else text.normalize,
        )
        documents = iter(reader)
        first = next(documents)
        sample = first.text[:SAMPLE_CHARACTERS]
        tokenizer = (
            tokenizer_for("whitespace")
            if options.tokenized
            else self.embedder.tokenizer(sample, language=options.language)
        )
        records = read_records(chain([first], documents), tokenizer, options, text)
        blocks = make_blocks(records, options.batch_size if self.embedder.state == "carry" else 1)
        block = next(blocks)
        layout = self._layout()
        needed = self._estimate(layout, block, reader)
        self._tell()
        with EmbeddingWriter(
            self.out, metadata=self._metadata(tokenizer), fingerprint=self._fingerprint(tokenizer), resume=resume,
            overwrite=overwrite, expected_bytes=needed, **asdict(layout),
        ) as writer:  # fmt: skip
            if not writer.finished:
                self._go_on(writer)
                self._write(chain([block], blocks), writer)
            finished_before = writer.finished
        return self._report(reader, tokenizer, sample, finished_before)

    # --- records -> file

    def _write(self, blocks: Iterator[list[Record]], writer: EmbeddingWriter) -> None:
        skip = self.n_records
        seen = 0
        for block in blocks:
            seen += len(block)
            if seen <= skip:
                continue
            sentences = [sentence.tokens for record in block for sentence in record.sentences]
            short = [tokens for tokens in sentences if not self._is_long(tokens)]
            arrays = iter(self.embedder.reduced(short, self._reduce, batch_size=self.options.batch_size))
            for record in block:
                self._append(record, arrays, writer)
            self.n_records = seen
            writer.commit(self._position())
            self._tell()

    def _append(self, record: Record, arrays: Iterator[FloatArray], writer: EmbeddingWriter) -> None:
        tokens = [token for sentence in record.sentences for token in sentence.tokens]
        offsets = [span for sentence in record.sentences for span in sentence.offsets]
        own = {"tokens": tokens, "offsets": offsets, "id": record.id, "document": record.document}
        pieces = (piece for sentence in record.sentences for piece in self._pieces(sentence.tokens, arrays))
        if self.options.pool != "none":
            shape = (len(self.chosen) or 1, self.embedder.width)
            writer.append_vector(_pooled(pieces, self.options.pool, shape), **own)  # type: ignore[arg-type]
            return
        writer.begin_sentence(**own)  # type: ignore[arg-type]
        for piece in pieces:
            writer.append_values(piece)
        writer.end_sentence()

    def _pieces(self, tokens: tuple[str, ...], arrays: Iterator[FloatArray]) -> Iterator[FloatArray]:
        """A sentence's reduced layers, whole or in chunks. *Shape:* (kept layers, t, 2P) each."""
        if not self._is_long(tokens):
            yield next(arrays)
            return
        yield from long_sentence(self.embedder, tokens, self._select, self.out.parent)
        self.embedder.count([tokens], [tokens])

    def _is_long(self, tokens: Sequence[str]) -> bool:
        return len(tokens) > LONG_TOKENS and self.embedder.state in ("settled", "zero")

    def _select(self, layers: Tensor) -> Tensor:
        """The layers to keep, or their mean. *Shape:* (L + 1, t, size) -> (kept, t, size)."""
        return layers[self.chosen] if self.chosen else layers.mean(dim=0, keepdim=True)

    def _reduce(self, layers: Tensor) -> FloatArray:
        return np.array(self._select(layers).cpu().numpy(), dtype=np.float32, order="C")

    # --- what a resumed run must know

    def _position(self) -> dict[str, Any]:
        """Where a resumed run goes on: records written, counts, the batch plan in force, carried state."""
        position = {"records": self.n_records, "counts": asdict(self._counts()), "max_tokens": self.embedder.max_tokens}
        if self.embedder.state == "carry":
            position["carried"] = _packed_states(self.embedder.carried)
        return position

    def _go_on(self, writer: EmbeddingWriter) -> None:
        if writer.progress is None:
            if self.embedder.state == "carry":
                self.embedder.reset()
            return
        self.n_records = int(writer.progress["records"])
        self.embedder.max_tokens = int(writer.progress["max_tokens"])
        self.before = self.embedder.counts - Counts(**writer.progress["counts"])
        if self.embedder.state == "carry":
            self.embedder.carried = _unpacked_states(writer.progress["carried"], self.embedder)

    def _fingerprint(self, tokenizer: Tokenizer) -> dict[str, Any]:
        """All that the bytes depend on, beside the metadata."""
        return {
            "inputs": [file_identity(path) for path in self.paths],
            "options": asdict(self.options),
            "tokenizer": [tokenizer.name, tokenizer.version],
            "block_tokens": BLOCK_TOKENS,
            "max_tokens": self.embedder.max_tokens,
        }

    def _metadata(self, tokenizer: Tokenizer) -> dict[str, Any]:
        embedder, options = self.embedder, self.options
        return {
            "polyseme": __version__,
            "model": embedder.model.card.name,
            "model_hash": embedder.model_hash,
            "layers": options.layers,
            "n_model_layers": embedder.n_layers,
            "unit": options.unit,
            "pool": options.pool,
            "state": embedder.state,
            "tokenizer": tokenizer.name,
            "tokenizer_version": tokenizer.version,
            "kernel": embedder.kernel,
            "precision": embedder.precision,
            "torch": torch.__version__,
        }

    # --- sizes, counts, words for the user

    def _layout(self) -> StoreLayout:
        options = self.options
        return StoreLayout(
            format=choose_format(self.out, options.format),
            dtype=options.dtype,
            n_layers=len(self.chosen) or 1,
            width=self.embedder.width,
            pooled=options.pool != "none",
            offsets=True,
            ids=options.id_column is not None,
            documents=True,
        )

    def _estimate(self, layout: StoreLayout, block: list[Record], reader: Reader) -> int:
        """Bytes needed on disk, from the first block's tokens and characters and the sizes of the inputs."""
        tokens = sum(record.n_tokens for record in block)
        whole = sum(text_bytes(Path(path)) for path in self.paths)
        share = min(1.0, reader.report.characters / whole) if whole else 1.0
        self.tokens_expected = max(tokens, int(tokens / max(share, 1e-9)))
        sentences = max(1, int(len(block) * self.tokens_expected / max(tokens, 1)))
        self.bytes_expected = output_bytes(layout, n_tokens=self.tokens_expected, n_sentences=sentences)
        return required_bytes(layout, n_tokens=self.tokens_expected, n_sentences=sentences)

    def _counts(self) -> Counts:
        return self.embedder.counts - self.before

    def _tell(self) -> None:
        if self.progress is None:
            return
        counts, seconds = self._counts(), max(time.monotonic() - self.started, 1e-9)
        self.progress(
            Progress(
                self.n_records, counts.sentences, counts.tokens, self.tokens_expected, self.bytes_expected,
                counts.tokens / seconds,
            )
        )  # fmt: skip

    def _report(self, reader: Reader, tokenizer: Tokenizer, sample: str, finished_before: bool) -> FileReport:
        counts = self._counts()
        warnings = list(reader.report.warnings())
        languages = self.embedder.model.text.languages
        if languages and (outside := script_share(sample, languages)) > 0.2:
            warnings.append(
                f"{outside:.0%} of the letters lie outside the scripts of the model ({', '.join(languages)}); "
                f"use a model of the text's language"
            )
        if counts.tokens and counts.cut_words > 0.05 * counts.tokens:
            warnings.append(
                f"{counts.cut_words / counts.tokens:.0%} of the words are longer than the model reads, which saw only "
                f"their beginning; use a model with an alphabet of the text's script"
            )
        if counts.tokens and counts.unknown_words > 0.05 * counts.tokens:
            warnings.append(
                f"{counts.unknown_words / counts.tokens:.0%} of the words are not in the model's word table"
            )
        return FileReport(
            out=self.out, records=self.n_records, counts=counts, seconds=time.monotonic() - self.started,
            output_bytes=self.out.stat().st_size, tokenizer=tokenizer.name, language=tokenizer.language,
            finished_before=finished_before, warnings=warnings,
        )  # fmt: skip


def chosen_layers(layers: str, n_layers: int) -> list[int]:
    """The layer numbers to keep; [] for the average. Raises `OptionError` for anything else."""
    if layers == "average":
        return []
    if layers in ("all", "top"):
        return list(range(n_layers)) if layers == "all" else [n_layers - 1]
    parts = layers.split(",")
    if not all(part.strip().isdecimal() and int(part) < n_layers for part in parts):
        raise OptionError(f"layers must be average, all, top or numbers from 0 to {n_layers - 1}, was: {layers!r}")
    return [int(part) for part in parts]


def _pooled(pieces: Iterator[FloatArray], pool: str, shape: tuple[int, int]) -> FloatArray:
    """Mean or maximum over all words; zeros for a record without words. *Shape:* (kept layers, 2P)."""
    count, total = 0, np.zeros(shape, dtype=np.float64 if pool == "mean" else np.float32)
    for piece in pieces:
        if not piece.shape[1]:
            continue
        if pool == "mean":
            total += piece.sum(axis=1, dtype=np.float64)
        else:
            highest = piece.max(axis=1)
            total = np.maximum(total, highest) if count else highest
        count += piece.shape[1]
    return np.asarray(total / count if pool == "mean" and count else total, dtype=np.float32)


def _packed_states(states: States | None) -> list[str] | None:
    """Carried state as text for the journal, bit for bit."""
    if states is None:
        return None
    return [base64.b64encode(tensor.cpu().numpy().tobytes()).decode("ascii") for state in states for tensor in state]


def _unpacked_states(packed: list[str] | None, embedder: Embedder) -> States | None:
    """The inverse of `_packed_states`; the number of rows follows from the sizes."""
    if packed is None:
        return None
    config = embedder.model.bilm.config
    sizes = (config.projection_size, config.cell_size) * 2
    arrays = [np.frombuffer(base64.b64decode(text), dtype=np.float32).copy() for text in packed]
    hidden, cell, back_hidden, back_cell = (
        torch.from_numpy(array.reshape(config.n_layers, -1, size)).to(embedder.device)
        for array, size in zip(arrays, sizes, strict=True)
    )  # fmt: skip
    return LSTMState(hidden, cell), LSTMState(back_hidden, back_cell)
