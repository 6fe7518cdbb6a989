"""The folder `OUT.partial` in which a run works: append-only raw files and a journal that says how much of them counts.

A commit flushes every file to the disk, then replaces `journal.json` in one step. Whatever was appended after the last
commit is cut off when the folder is opened again, so that a run may be killed at any moment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from polyseme.errors import OutputError, ResumeError
from polyseme.store.layout import free_bytes

JOURNAL = "journal.json"
LOCK = "lock"
SUFFIX = ".bin"
_BUFFER_BYTES = 1 << 20


def partial_folder(path: Path) -> Path:
    """Where a run that writes `path` keeps its unfinished work."""
    return path.with_name(path.name + ".partial")


class PartialFolder:
    """Append-only files by name; `commit` makes them durable, opening again cuts them back to the last commit."""

    def __init__(self, target: Path, names: tuple[str, ...], *, resume: bool, expected_bytes: int = 0) -> None:
        """Create the folder, or continue in it. Raises `OutputError` or `ResumeError`; see `EmbeddingWriter`."""
        self.target = target
        self.folder = partial_folder(target)
        self.expected_bytes = expected_bytes
        self._files: dict[str, BinaryIO] = {}
        self._lock: BinaryIO | None = None
        self.sizes = dict.fromkeys(names, 0)
        with self.disk_errors():
            self._refuse_foreign(resume)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
        try:
            self.journal = self._read_journal() if resume else None
            if self.journal is None:
                self._remove_files()
        except BaseException:
            self.release()
            raise

    def open(self) -> None:
        """Open every file at its last committed length. Raises `ResumeError` when one is shorter than that."""
        if self.journal is not None:
            self.sizes = self._recorded_sizes(self.journal)
        with self.disk_errors():
            for name, size in self.sizes.items():
                file = self.file(name).open("r+b" if self.journal is not None else "w+b", buffering=_BUFFER_BYTES)
                self._files[name] = file
                file.truncate(size)
                file.seek(size)

    def file(self, name: str) -> Path:
        """The raw file of a column."""
        return self.folder / (name + SUFFIX)

    def append(self, name: str, data: Any) -> None:
        """Add bytes (anything with a contiguous buffer) to a file."""
        view = memoryview(data).cast("B") if len(data) else b""
        with self.disk_errors():
            self._files[name].write(view)
        self.sizes[name] += len(view)

    def commit(self, record: Mapping[str, Any]) -> None:
        """Make everything appended so far durable, together with `record`, all or nothing."""
        with self.disk_errors():
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            replace_text(self.folder / JOURNAL, json.dumps({**record, "sizes": self.sizes}, sort_keys=True))
        self.journal = {**record, "sizes": dict(self.sizes)}

    def flush(self) -> None:
        """Hand buffered bytes to the operating system, so that the files can be read."""
        with self.disk_errors():
            for file in self._files.values():
                file.flush()

    def release(self) -> None:
        """Close every file and leave the folder as it is."""
        for file in self._files.values():
            # A full disk makes the last flush fail; those bytes are uncommitted, so nothing is lost with them.
            with suppress(OSError):
                file.close()
        self._files = {}
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove(self) -> None:
        """Delete the folder with all that is ours in it."""
        self.release()
        with suppress(OSError):
            self._remove_files()
            (self.folder / LOCK).unlink(missing_ok=True)
            self.folder.rmdir()

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Turn an `OSError` into an `OutputError` that says how much room there is and how to go on."""
        try:
            yield
        except OSError as error:
            raise OutputError(self._disk_message(error)) from error
        except UnicodeEncodeError as error:
            name = ascii(str(self.target))
            raise OutputError(
                f"this locale cannot spell the file name {name}: use plain letters, or a UTF-8 locale"
            ) from error

    def _disk_message(self, error: OSError) -> str:
        written = sum(self.sizes.values())
        try:
            free = f"{free_bytes(self.target):,} bytes are free there"
        except OSError:
            free = "the free space there is unknown"
        if self.expected_bytes > written:
            free += f", about {self.expected_bytes - written:,} more are needed"
        return (
            f"{self.target}: cannot be written ({error.strerror or error}); {free}; {written:,} are written. "
            f"Everything committed is safe in {self.folder.name}: make room and run again with --resume"
        )

    def _refuse_foreign(self, resume: bool) -> None:
        """An unfinished run is never thrown away unasked, and a folder that is not ours is never touched."""
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise OutputError(f"{self.folder} is in the way: it is not a folder; move it")
        names = {entry.name for entry in self.folder.iterdir()}
        if not resume and JOURNAL in names:
            raise OutputError(
                f"{self.folder} holds an unfinished run: run again with --resume to continue it, or delete that folder"
            )
        foreign = sorted(name for name in names if not _is_ours(name))
        if foreign:
            raise OutputError(f"{self.folder} is in the way: it holds {foreign[0]!r}, which Polyseme did not write")

    def _remove_files(self) -> None:
        for entry in self.folder.iterdir():
            if _is_ours(entry.name) and entry.name != LOCK:
                entry.unlink()

    def _read_journal(self) -> dict[str, Any] | None:
        path = self.folder / JOURNAL
        try:
            journal = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ResumeError(f"{path} cannot be read ({error}); delete {self.folder} and start again") from error
        if not isinstance(journal, dict):
            raise ResumeError(f"{path} is not a journal of this Polyseme; delete {self.folder} and start again")
        return journal

    def _recorded_sizes(self, journal: Mapping[str, Any]) -> dict[str, int]:
        recorded = journal.get("sizes")
        if not isinstance(recorded, dict) or set(recorded) != set(self.sizes):
            raise ResumeError(f"{self.folder / JOURNAL} lists other files; delete {self.folder} and start again")
        for name, size in recorded.items():
            path = self.file(name)
            found = path.stat().st_size if path.is_file() else 0
            if type(size) is not int or not 0 <= size <= found:
                raise ResumeError(
                    f"{path} has {found:,} bytes, {size!r} were committed; delete {self.folder} and start again"
                )
        return dict(recorded)

    def _take_lock(self) -> None:
        """Keep a second run out; the lock goes with the process, so that a killed one leaves none behind."""
        try:
            import fcntl
        except ImportError:  # not a POSIX system: there an open file cannot be replaced by a second run anyway
            return
        self._lock = (self.folder / LOCK).open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise OutputError(
                f"{self.folder} is in use by another run; wait for it, or choose another output"
            ) from None
        except OSError:
            pass  # some network file systems have no locks


def _is_ours(name: str) -> bool:
    return name in (JOURNAL, JOURNAL + ".new", LOCK, "assembled") or name.endswith(SUFFIX)


def replace_text(path: Path, text: str) -> None:
    """Write a small file in one step: readers see the old text or the new one, also after a crash."""
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a rename in `folder` is on the disk; systems that cannot open a folder do it by themselves."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
