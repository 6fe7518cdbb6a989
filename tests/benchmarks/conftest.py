"""Makes the packages of benchmarks/ importable, and a folder of shared data that a test fills itself."""

from __future__ import annotations

import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where the readers of the quality suite look for $POLYSEME_SHARED."""
    from quality import readers

    monkeypatch.setattr(readers, "SHARED", tmp_path)
    return tmp_path


@pytest.fixture
def put(shared: Path) -> Callable[[str, str], None]:
    """Writes a compressed file into the shared data."""

    def write(name: str, text: str) -> None:
        path = shared / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress(text.encode()))

    return write
