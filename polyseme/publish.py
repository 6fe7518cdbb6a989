"""A finished folder gets its name in one step, and its files the permissions of other new files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


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
