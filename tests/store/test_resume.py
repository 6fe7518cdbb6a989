"""A run may end at any moment: what was committed goes on, and the file is the one that an uninterrupted run writes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyseme.errors import InputError, OptionError, OutputError, ResumeError
from polyseme.store import (
    FORMATS,
    EmbeddingWriter,
    StoreLayout,
    check_space,
    output_bytes,
    partial,
    read_embeddings,
    required_bytes,
)

SHAPE: Any = {"n_layers": 2, "width": 8, "ids": True, "offsets": True}
FINGERPRINT = {"input": {"sha256": "abc", "bytes": 10}, "model": "m1", "blocks": 4}
SENTENCES = 60

# What a subprocess runs until it is killed: blocks of four sentences, a line on stdout after every step.
SCRIPT = """
import sys
sys.path[:0] = [sys.argv[1]]
from test_resume import write_all
write_all(sys.argv[2], sys.argv[3], lambda step: print(step, flush=True))
"""


def sentence(i: int) -> tuple[Any, list[str], list[tuple[int, int]], str]:
    random = np.random.default_rng(i)
    count = int(random.integers(0, 12))
    words = [f"w{j}中"[: 1 + j] for j in range(count)]
    return random.standard_normal((2, count, 8)).astype(np.float32), words, [(j, j + 1) for j in range(count)], f"id{i}"


def write_all(path: str | Path, format: str, told: Any = str, until: int = SENTENCES) -> None:
    with EmbeddingWriter(path, format=format, fingerprint=FINGERPRINT, resume=True, **SHAPE) as writer:
        told("opened")
        if writer.finished:
            return
        first = (writer.progress or {"next": 0})["next"]
        for i in range(first, until):
            if i % 4 == 0 and i > first:
                writer.commit({"next": i})
                told("committed")
            writer.append(*sentence(i))
            told("appended")
        told("closing")
    told("closed")


def run_until_killed(path: Path, format: str, steps: int) -> bool:
    """Run in another process, SIGKILL it after so many steps; False when it was done before that."""
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(path), format]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(steps):
            process.stdout.readline()
        process.kill()
    assert process.returncode in (-signal.SIGKILL, 0), "the run failed by itself"
    return process.returncode != 0


@pytest.mark.parametrize("format", FORMATS)
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, format: str) -> None:
    expected, path = tmp_path / "unbroken", tmp_path / "killed"
    write_all(expected, format)
    assert run_until_killed(path, format, 30 + 3 * FORMATS.index(format))
    assert not path.exists()
    write_all(path, format)
    assert path.read_bytes() == expected.read_bytes()
    assert not path.with_name("killed.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_killed_again_and_again(tmp_path: Path, format: str) -> None:
    """Also while the file is assembled: the last steps are "closing" and, too late to matter, "closed"."""
    expected, path = tmp_path / "unbroken", tmp_path / "killed"
    write_all(expected, format)
    for steps in (1, 2, 7, 20, 23, 31, 17, 9, 12, 13, 14):
        if not run_until_killed(path, format, steps):
            break
    write_all(path, format)
    assert path.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("format", FORMATS)
def test_killed_while_the_file_is_assembled(tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the rename nothing is at OUT; after it, a resumed run sees that it is done and cleans up."""
    write_all(tmp_path / "unbroken", format)
    path = tmp_path / "out"
    partial_folder = tmp_path / "out.partial"
    for function in ("sync_folder", "remove"):
        with monkeypatch.context() as patch:

            def killed(*arguments: Any) -> None:
                if isinstance(arguments[0], partial.PartialFolder):
                    arguments[0].release()
                raise KeyboardInterrupt

            if function == "remove":
                patch.setattr(partial.PartialFolder, "remove", killed)
            else:
                patch.setattr("polyseme.store.writer.assemble", killed)
            with pytest.raises(KeyboardInterrupt):
                write_all(path, format)
        assert partial_folder.exists()
        assert path.exists() == (function == "remove")
    write_all(path, format)
    assert path.read_bytes() == (tmp_path / "unbroken").read_bytes()
    assert not partial_folder.exists()


def test_resuming_a_finished_run_does_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    write_all(path, "npz")
    before = path.stat().st_mtime_ns
    write_all(path, "npz")
    assert path.stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="exists already"):
        EmbeddingWriter(path, format="npz", fingerprint={"other": 1}, resume=True, **SHAPE)


def interrupted(path: Path, **options: Any) -> None:
    writer = EmbeddingWriter(path, **{"fingerprint": FINGERPRINT, **SHAPE, **options})
    writer.append(*sentence(1))
    writer.commit({"line": 1})
    writer.append(*sentence(2))
    writer.abort()


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"fingerprint": {**FINGERPRINT, "model": "m2"}}, "model was 'm1', is now 'm2'"),
        (
            {"fingerprint": {**FINGERPRINT, "input": {"sha256": "x", "bytes": 10}}},
            r"input\.sha256 was 'abc', is now 'x'",
        ),
        ({"fingerprint": {**FINGERPRINT, "threads": 2}}, "threads was 'absent', is now 2"),
        ({"dtype": "float32"}, r"layout\.dtype was 'float16', is now 'float32'"),
        ({"metadata": {"v": "2"}}, r"metadata\.v was 'absent', is now '2'"),
        ({"width": 9}, r"layout\.width was 8, is now 9"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, options: Any, difference: str) -> None:
    path = tmp_path / "out.safetensors"
    interrupted(path)
    with pytest.raises(ResumeError, match=difference):
        EmbeddingWriter(path, resume=True, **{"fingerprint": FINGERPRINT, **SHAPE, **options})
    with EmbeddingWriter(path, resume=True, fingerprint=FINGERPRINT, **SHAPE) as writer:
        assert writer.progress == {"line": 1}
        assert writer.n_sentences == 1
    with read_embeddings(path) as stored:
        assert len(stored) == 1


def test_an_unfinished_run_is_not_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    interrupted(path)
    with pytest.raises(OutputError, match="holds an unfinished run: run again with --resume"):
        EmbeddingWriter(path, **SHAPE)
    with pytest.raises(InputError, match="unfinished run: run the same command again with --resume"):
        read_embeddings(tmp_path / "out.npz.partial")
    with pytest.raises(InputError, match="unfinished run lies beside it"):
        read_embeddings(path)


def test_two_runs_at_once(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    writer = EmbeddingWriter(tmp_path / "out.npz", **SHAPE)
    with pytest.raises(OutputError, match="in use by another run"):
        EmbeddingWriter(tmp_path / "out.npz", resume=True, **SHAPE)
    writer.abort()


@pytest.mark.parametrize("journal", ["", "{", "[]", "{}", '{"identity": 1}', None])
def test_a_damaged_journal(tmp_path: Path, journal: str | None) -> None:
    path = tmp_path / "out.npz"
    interrupted(path)
    file = tmp_path / "out.npz.partial" / "journal.json"
    if journal is None:  # the values are shorter than the journal says
        (tmp_path / "out.npz.partial" / "values.bin").write_bytes(b"")
    else:
        file.write_text(journal, encoding="utf-8")
    with pytest.raises(ResumeError, match=r"out\.npz\.partial"):
        EmbeddingWriter(path, fingerprint=FINGERPRINT, resume=True, **SHAPE)


def test_a_folder_of_the_user_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "out.npz.partial"
    folder.mkdir()
    (folder / "thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match=r"in the way: it holds 'thesis\.txt'"):
        EmbeddingWriter(tmp_path / "out.npz", resume=True, **SHAPE)
    assert (folder / "thesis.txt").exists()


def test_an_existing_file_survives_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        EmbeddingWriter(path, **SHAPE)
    with pytest.raises(OptionError), EmbeddingWriter(path, overwrite=True, **SHAPE) as writer:
        writer.end_sentence()
    assert path.read_bytes() == b"precious"
    with EmbeddingWriter(path, overwrite=True, resume=True, **SHAPE) as writer:
        writer.append(*sentence(5))
    assert len(read_embeddings(path)) == 1
    with pytest.raises(OutputError, match="is a folder"):
        EmbeddingWriter(tmp_path, format="npz", **SHAPE)


class FullDisk:
    """A file whose disk has room for `room` more bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: Any) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def append_all(writer: EmbeddingWriter, numbers: range) -> None:
    for i in numbers:
        writer.append(*sentence(i))


@pytest.mark.parametrize("format", FORMATS)
def test_disk_full_while_writing(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    write_all(tmp_path / "unbroken", format)
    writer = EmbeddingWriter(path, format=format, fingerprint=FINGERPRINT, expected_bytes=10**6, **SHAPE)
    for i in range(8):
        writer.append(*sentence(i))
    writer.commit({"next": 8})
    assert writer._partial is not None
    writer._partial._files["values"] = FullDisk(writer._partial._files["values"], 100)  # type: ignore[assignment]
    full = r"out: cannot be written \(No space left on device\).* more are needed.*--resume"
    with pytest.raises(OutputError, match=full):
        append_all(writer, range(8, SENTENCES))
    with pytest.raises(OutputError, match="failed or was closed"):
        writer.append(*sentence(0))
    with pytest.raises(OutputError, match="failed or was closed"):
        writer.commit({"next": 9})  # half a sentence must never be committed
    writer.abort()
    write_all(path, format)
    assert path.read_bytes() == (tmp_path / "unbroken").read_bytes()


@pytest.mark.parametrize("format", FORMATS)
def test_disk_full_while_assembling(tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("polyseme.store.assemble.sync_file", full)
        with pytest.raises(OutputError, match="No space left on device"):
            write_all(path, format)
    assert not path.exists()
    journal = json.loads((tmp_path / "out.partial" / "journal.json").read_text(encoding="utf-8"))
    assert journal["progress"] == {"next": 56}
    write_all(path, format)
    write_all(tmp_path / "unbroken", format)
    assert path.read_bytes() == (tmp_path / "unbroken").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    writer = EmbeddingWriter(tmp_path / "out.npz", **SHAPE)
    assert writer._partial is not None
    writer._partial._files["values"].close()
    writer._partial._files["values"] = Path("/dev/full").open("wb")  # noqa: SIM115
    writer.append(*sentence(1))
    with pytest.raises(OutputError, match="No space left on device"):
        writer.commit({"next": 1})
    writer.abort()


def test_space_is_asked_for_before_work_starts(tmp_path: Path) -> None:
    check_space(tmp_path / "not" / "yet" / "there.npz", 1)
    with pytest.raises(OutputError, match="bytes are needed and"):
        check_space(tmp_path / "out.npz", 10**18)
    with pytest.raises(OutputError, match="bytes are needed and"):
        EmbeddingWriter(tmp_path / "out.npz", expected_bytes=10**18, **SHAPE)


@pytest.mark.parametrize("format", FORMATS)
def test_estimates_hold(tmp_path: Path, format: str) -> None:
    """The estimate is never below what is used, and not far above."""
    path = tmp_path / "out"
    layout = StoreLayout(format, "float16", 1, 256)
    random = np.random.default_rng(0)
    with EmbeddingWriter(path, format=format, n_layers=1, width=256) as writer:
        for _ in range(100):
            writer.append(random.standard_normal((1, 20, 256)).astype(np.float32), ["word"] * 20)
    size = path.stat().st_size
    counts: Any = {"n_tokens": 2000, "n_sentences": 100}
    assert size <= output_bytes(layout, **counts) <= 1.6 * size
    assert output_bytes(layout, **counts) <= required_bytes(layout, **counts)
