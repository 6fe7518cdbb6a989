"""A finished folder gets its name in one step, and its files the permissions of other new files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from polyseme.errors import OutputError


def refuse_existing(path: Path, ours: Collection[str], what: str, *, overwrite: bool) -> None:
    """Only a folder of nothing but `ours` gives way, and to `overwrite`: others could be somebody's home.

    Raises `OutputError`. `what`: such a folder, in words.
    """
    if not path.exists():
        return
    if not overwrite:
        raise OutputError(f"{path} exists already; choose another name, or pass --overwrite to replace it")
    if not path.is_dir():
        raise OutputError(f"{path} is a file, and would be replaced by {what}; choose another name")
    if others := sorted({entry.name for entry in path.iterdir()} - {*ours}):
        raise OutputError(f"{path} holds {others[0]!r}, which is no part of {what}; choose another name")


@contextmanager
def whole_folder(destination: Path) -> Iterator[Path]:
    """A folder to fill, beside `destination`, which gets its name at the end; after an error it goes.

    Raises `OSError`.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        yield working
        publish(working, destination)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def publish(working: Path, destination: Path) -> None:
    """Renames a finished folder into place; what stood there goes only when the new one is whole. Raises `OSError`."""
    working.chmod(0o777 & ~umask())  # mkdtemp makes it private
    old = destination.with_name(f".{destination.name}.old-{os.getpid()}")
    if destination.exists():
        destination.rename(old)
    try:
        working.rename(destination)
    except OSError:
        if old.exists():
            old.rename(destination)
        raise
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink(missing_ok=True)


def make_public(file: Path) -> None:
    """The permissions that other new files get: those of safetensors are private."""
    file.chmod(0o666 & ~umask())


def umask() -> int:
    """The permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
