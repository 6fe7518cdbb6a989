"""Write embeddings to disk, block by block; a run that is killed goes on at its last commit.

with EmbeddingWriter("out.safetensors", n_layers=1, width=1024, metadata={...}, fingerprint={...}) as writer:
    for block in blocks:
        for embedding in block:
            writer.append(embedding.layers, embedding.tokens)
        writer.commit({"line": block.last_line})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError, OptionError, OutputError, ResumeError
from polyseme.store.assemble import assemble, raw_prefix
from polyseme.store.layout import Header, StoreLayout, check_space, choose_format, digest, normalised
from polyseme.store.partial import PartialFolder, partial_folder, sync_folder

Words = Sequence[str]
Spans = Sequence[tuple[int, int]] | npt.NDArray[np.integer]


class EmbeddingWriter:
    """Streams sentences into one file at `path`, which appears only when it is complete.

    `progress`: the record given to the last `commit`, None on a fresh run. `finished`: True when `resume=True` found
    the very result already complete; then there is nothing to append. `n_sentences`, `n_tokens`: appended so far.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        n_layers: int,
        width: int,
        format: str | None = None,
        dtype: str = "float16",
        metadata: Mapping[str, Any] | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        pooled: bool = False,
        tokens: bool = True,
        offsets: bool = False,
        ids: bool = False,
        documents: bool = False,
        resume: bool = False,
        overwrite: bool = False,
        expected_bytes: int = 0,
    ) -> None:
        """Open `path` for writing.

        `format`: one of `FORMATS`; by default what the suffix of `path` says. `metadata`: plain JSON stored in it.
        `fingerprint`: plain JSON of all that the result depends on (inputs, model, options, block plan); a resumed run
        must give the same. `tokens`, `offsets`, `ids`, `documents`: which columns to store. `expected_bytes`: what
        `required_bytes` says, checked against the free space now and named when the disk fills up.

        Raises `OptionError` for options out of range; `OutputError` when `path` exists (unless `overwrite`), an
        unfinished run lies there (unless `resume`), another process writes it or space is short; `ResumeError` when the
        unfinished run differs from this one, naming the first difference.
        """
        self.path = Path(path)
        chosen = choose_format(self.path, format)
        self.layout = StoreLayout(chosen, dtype, n_layers, width, pooled, tokens, offsets, ids, documents)
        self.metadata = normalised(metadata or {}, "metadata")
        self._identity = {
            "layout": normalised(vars(self.layout), "layout"),
            "metadata": dict(self.metadata),
            **normalised(fingerprint or {}, "fingerprint"),
        }
        self._has_fingerprint = bool(fingerprint)
        self.progress: dict[str, Any] | None = None
        self.finished = False
        self.n_sentences = self.n_tokens = self._n_rows = 0
        self._open_sentence: int | None = None  # its first row
        self._expected_tokens: int | None = None
        self._failed = False
        self._partial: PartialFolder | None = None
        if self._target_is_done(resume, overwrite):
            self.finished = True
            return
        self._start(resume, expected_bytes)

    # ---------------------------------------------------------------- sentences

    def append(
        self,
        layers: npt.NDArray[np.floating],
        tokens: Words | None = None,
        offsets: Spans | None = None,
        id: str | None = None,
        document: int | None = None,
    ) -> None:
        """Add a whole sentence. `layers`: (n_layers, T, width), any float dtype; `tokens`: its T words.

        What belongs to a column that is not stored is ignored; what is missing for one that is raises `OptionError`,
        as do a wrong shape and a value too large for float16.
        """
        self.begin_sentence(tokens, offsets, id, document)
        self.append_values(layers)
        self.end_sentence()

    def append_vector(
        self,
        vector: npt.NDArray[np.floating],
        tokens: Words | None = None,
        offsets: Spans | None = None,
        id: str | None = None,
        document: int | None = None,
    ) -> None:
        """Add one pooled vector, (n_layers, width), or (width,) for a single layer; needs `pooled=True`."""
        if not self.layout.pooled:
            raise OptionError("append_vector() needs a writer with pooled=True; add words with append()")
        vector = vector[None] if vector.ndim == 1 else vector
        self._begin(tokens, offsets, id, document)
        self._write_values(vector[:, None, :] if vector.ndim == 2 else vector)
        self.end_sentence()

    def begin_sentence(
        self,
        tokens: Words | None = None,
        offsets: Spans | None = None,
        id: str | None = None,
        document: int | None = None,
    ) -> None:
        """Open a sentence whose values come in blocks: `append_values` as often as needed, then `end_sentence`."""
        if self.layout.pooled:
            raise OptionError("this writer has pooled=True: add one vector a sentence with append_vector()")
        self._begin(tokens, offsets, id, document)

    def append_values(self, block: npt.NDArray[np.floating]) -> None:
        """Add the values of the open sentence's next words. *Shape:* (n_layers, t, width)."""
        if self._open_sentence is None:
            raise OptionError("append_values() needs begin_sentence() first")
        self._write_values(block)

    def end_sentence(self) -> None:
        """Close the open sentence. Raises `OptionError` when it has more or fewer values than words."""
        if self._open_sentence is None:
            raise OptionError("end_sentence() needs begin_sentence() first")
        rows = self._n_rows - self._open_sentence
        if not self.layout.pooled:
            if self._expected_tokens is not None and rows != self._expected_tokens:
                self._failed = True  # the words are written already: only the last commit can be trusted now
                raise OptionError(f"a sentence of {self._expected_tokens} words was given values for {rows}")
            self.n_tokens += rows if self._expected_tokens is None else 0
        self._open_sentence = None
        self.n_sentences += 1
        if "sentence_offsets" in self.layout.columns:
            self._put("sentence_offsets", np.asarray([self.n_tokens], dtype="<i8"))

    # ---------------------------------------------------------------- the run

    def commit(self, progress: Mapping[str, Any]) -> None:
        """Make everything appended so far durable together with `progress` (small, plain JSON), all or nothing.

        Raises `OptionError` inside an open sentence, `OutputError` when the disk is full.
        """
        partial = self._working()
        if self._open_sentence is not None:
            raise OptionError("commit() inside a sentence: call end_sentence() first")
        record = normalised(progress, "progress")
        partial.commit(self._record(record))
        self.progress = record

    def update_metadata(self, extra: Mapping[str, Any]) -> None:
        """Add what is known only at the end (counts, times); up to a few thousand characters.

        Raises `OptionError` when it does not fit the room that was kept for it.
        """
        merged = {**self.metadata, **normalised(extra, "metadata")}
        if raw_prefix(self.layout, merged, reserve=0) > self._prefix:
            raise OptionError("the metadata added later is too large: give large metadata when the writer is made")
        self.metadata = merged

    def close(self) -> None:
        """Assemble the file, put it at `path` in one step and remove the working files. Closing twice does nothing.

        Raises `OutputError` when the disk is full; then the run can be resumed from its last commit.
        """
        if self.finished or self._partial is None:
            return
        if self._open_sentence is not None:
            raise OptionError("close() inside a sentence: call end_sentence() first")
        partial = self._working()
        try:
            partial.flush()
            header = Header(self.layout, self.n_sentences, self.n_tokens, self.metadata, self._digest())
            with partial.disk_errors():
                complete = assemble(partial, header, self._prefix)
                complete.replace(self.path)
                sync_folder(self.path.parent)
        except BaseException:
            self.abort()
            raise
        partial.remove()
        self._partial = None
        self.finished = True

    def abort(self) -> None:
        """Stop without a result; what was committed stays in `OUT.partial` for `resume=True`."""
        if self._partial is not None:
            self._partial.release()
            self._partial = None
            self._failed = True

    def __enter__(self) -> EmbeddingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    # ---------------------------------------------------------------- inside

    def _target_is_done(self, resume: bool, overwrite: bool) -> bool:
        """Whether `path` already holds this run's result. Raises `OutputError` when it holds anything else."""
        if not self.path.exists():
            return False
        if self.path.is_dir():
            raise OutputError(f"{self.path} is a folder: choose a file name inside it")
        if resume and self._has_fingerprint and self._digest() == _stored_fingerprint(self.path):
            leftover = partial_folder(self.path)
            if leftover.is_dir():  # killed between the rename and the cleaning up
                PartialFolder(self.path, (), resume=True).remove()
            return True
        if not overwrite:
            raise OutputError(f"{self.path} exists already: choose another name, delete it, or ask to overwrite it")
        return False

    def _start(self, resume: bool, expected_bytes: int) -> None:
        self._prefix = raw_prefix(self.layout, self.metadata)
        names = ("values", *self.layout.columns)
        partial = PartialFolder(self.path, names, resume=resume, expected_bytes=expected_bytes)
        self._partial = partial
        try:
            if partial.journal is not None:
                self._restore(partial.journal)
            partial.open()
            if expected_bytes:
                check_space(self.path, expected_bytes - sum(partial.sizes.values()))
            if partial.journal is None:
                self._put("values", b" " * self._prefix)
                for name in self.layout.columns:
                    if name.endswith("_offsets") and name != "character_offsets":
                        self._put(name, np.zeros(1, dtype="<i8"))
                partial.commit(self._record(None))
        except BaseException:
            self.abort()
            if partial.journal is None:
                partial.remove()  # nothing was begun, so nothing is left lying about
            raise

    def _restore(self, journal: Mapping[str, Any]) -> None:
        difference = _first_difference(journal.get("identity"), self._identity)
        if difference:
            folder = partial_folder(self.path)
            raise ResumeError(
                f"{folder} cannot be continued by this run: {difference}; "
                "give the same inputs and options as before, or delete that folder and start again"
            )
        try:
            self.progress = journal["progress"]
            self.n_sentences, self.n_tokens, self._n_rows = journal["counts"]
        except (KeyError, TypeError, ValueError) as error:
            raise ResumeError(
                f"{partial_folder(self.path)} has a damaged journal; delete it and start again"
            ) from error

    def _record(self, progress: dict[str, Any] | None) -> dict[str, Any]:
        counts = [self.n_sentences, self.n_tokens, self._n_rows]
        return {"identity": self._identity, "counts": counts, "progress": progress}

    def _digest(self) -> str:
        return digest(self._identity)

    def _working(self) -> PartialFolder:
        if self._partial is None or self._failed:
            state = "failed or was closed; open it again with resume=True"
            raise OutputError(f"{self.path}: the writer {'is finished' if self.finished else state}")
        return self._partial

    def _put(self, name: str, data: npt.NDArray[Any] | bytes) -> None:
        try:
            self._working().append(name, data)
        except OutputError:
            self._failed = True  # half a record may be in the file
            raise

    def _begin(self, tokens: Words | None, offsets: Spans | None, id: str | None, document: int | None) -> None:
        """Check everything first, then write: a refused sentence leaves no trace."""
        self._working()
        if self._open_sentence is not None:
            raise OptionError("a sentence is open: call end_sentence() first")
        columns: dict[str, npt.NDArray[Any] | bytes] = {}
        for name, given in (("tokens", tokens), ("offsets", offsets), ("ids", id), ("documents", document)):
            if getattr(self.layout, name) and given is None:
                raise OptionError(f"this writer stores {name}, but a sentence came without")
        if self.layout.tokens and tokens is not None:
            columns |= self._strings("token", tokens)
            if self.layout.offsets:
                columns["character_offsets"] = _spans(offsets, len(tokens))
        if self.layout.ids and id is not None:
            columns |= self._strings("id", [id])
        if self.layout.documents:
            columns["document_index"] = np.asarray([document], dtype="<i8")
        for name, data in columns.items():
            self._put(name, data)
        self._expected_tokens = None if tokens is None else len(tokens)
        self.n_tokens += self._expected_tokens or 0
        self._open_sentence = self._n_rows

    def _strings(self, kind: str, strings: Sequence[str]) -> dict[str, npt.NDArray[Any] | bytes]:
        try:
            encoded = [string.encode("utf-8") for string in strings]
        except UnicodeEncodeError as error:
            raise InputError(f"a {kind} is not valid Unicode text ({error})") from error
        first = self._working().sizes[f"{kind}_bytes"]
        ends = first + np.cumsum([len(text) for text in encoded], dtype="<i8")
        return {f"{kind}_bytes": b"".join(encoded), f"{kind}_offsets": ends}

    def _write_values(self, block: npt.NDArray[np.floating]) -> None:
        layout = self.layout
        if block.ndim != 3 or (block.shape[0], block.shape[2]) != (layout.n_layers, layout.width):
            wanted = f"({layout.n_layers}, words, {layout.width})"
            raise self._refused(f"values must have shape {wanted}, were: {tuple(block.shape)}")
        try:
            with np.errstate(over="raise"):
                # (L, T, W) -> (T, L, W): a sentence that grows only ever adds at the end
                rows = np.ascontiguousarray(block.transpose(1, 0, 2), dtype=layout.numpy_dtype)
        except FloatingPointError:
            raise self._refused(f"a value is too large for {layout.dtype}: choose float32") from None
        self._put("values", rows)
        self._n_rows += len(rows)

    def _refused(self, message: str) -> OptionError:
        self._failed = True  # the sentence's words are written already
        return OptionError(message)


def _spans(offsets: Spans | None, n_tokens: int) -> npt.NDArray[Any]:
    spans = np.asarray(offsets, dtype="<i8").reshape(-1, 2) if n_tokens else np.zeros((0, 2), dtype="<i8")
    if len(spans) != n_tokens:
        raise OptionError(f"a sentence of {n_tokens} words was given {len(spans)} offsets")
    return spans


def _first_difference(old: object, new: object, name: str = "") -> str:
    """The first key, in sorted order, whose values differ, with both values; empty when all agree."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{name}.{key}" if name else str(key)
            if key not in old or key not in new:
                return f"{inner} was {old.get(key, 'absent')!r}, is now {new.get(key, 'absent')!r}"
            if found := _first_difference(old[key], new[key], inner):
                return found
        return ""
    return "" if old == new and type(old) is type(new) else f"{name or 'the journal'} was {old!r}, is now {new!r}"


def _stored_fingerprint(path: Path) -> str | None:
    from polyseme.store.reader import read_embeddings  # the reader also imports formats; keep start-up light

    try:
        with read_embeddings(path) as stored:
            return stored.fingerprint
    except (InputError, OptionError, ImportError, OSError):
        return None


__all__ = ["EmbeddingWriter"]
