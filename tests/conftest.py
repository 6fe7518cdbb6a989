"""Fixtures for every test: where the official files are, and paths that a careless programmer would trip over."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings
from shared_data import shared_folder

# The same examples in every run: a failure is the change's, never the day's.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

# A shell that starts tests in the background has them ignore Ctrl-C, and every program that they start, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def official() -> Path:
    """The folder of official ELMo fixtures (AllenNLP, bilm-tf, ELMoForManyLangs), which stay outside the repository.

    Where they are absent an ordinary run skips and says so; under CI that is a failure: no parity claim goes untested.
    """
    folder = shared_folder() / "data" / "fixtures" / "elmo"
    if not folder.is_dir():
        reason = f"the official fixtures are not at {folder}; set POLYSEME_SHARED"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return folder


@pytest.fixture
def awkward_path(tmp_path: Path) -> Path:
    """An empty folder with spaces and 中文 in its name, also where the locale cannot spell it (LC_ALL=C)."""
    folder = tmp_path / os.fsdecode("a folder 中文".encode())
    folder.mkdir()
    return folder
