"""A damaged or foreign file gives an `InputError` that names it, or what it holds: never a crash or a hang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyseme.errors import InputError, PolysemeError
from polyseme.store import FORMATS, EmbeddingWriter, read_embeddings


def write(path: Path, format: str) -> None:
    random = np.random.default_rng(0)
    with EmbeddingWriter(path, format=format, n_layers=2, width=3, offsets=True, ids=True, documents=True) as writer:
        for i in range(12):
            layers = random.standard_normal((2, i % 4, 3)).astype(np.float32)
            writer.append(layers, ["wörd\0", "b", "c"][: i % 4], [(0, 1)] * (i % 4), f"id{i}", i)


def read_everything(path: Path) -> None:
    with read_embeddings(path) as stored:
        for embedding in stored:
            float(np.nansum(embedding.layers.astype(np.float64)))
        _ = stored.ids, stored.documents, stored.numpy()


def mutations(data: bytes, count: int) -> Any:
    """Truncations, single bytes, runs of zeros or ones, swapped stretches; more of them near the header and the end."""
    random = np.random.default_rng(1)
    for number in range(count):
        damaged = bytearray(data)
        near = [len(data), 400, 4096][number % 3]
        place = int(random.integers(0, min(near, len(data))))
        if number % 2:
            place = len(data) - 1 - place
        kind = number % 5
        if kind == 0:
            yield bytes(data[:place])
            continue
        if kind == 4:
            other = int(random.integers(0, len(data)))
            damaged[place : place + 8], damaged[other : other + 8] = (
                damaged[other : other + 8],
                damaged[place : place + 8],
            )
        else:
            length = [1, 4, 16][kind - 1]
            fill = [int(random.integers(0, 256)), 0, 255][kind - 1]
            damaged[place : place + length] = bytes([fill]) * len(damaged[place : place + length])
        yield bytes(damaged)


def fuzz(folder: Path, format: str, count: int) -> int:
    """How many of the damaged files were refused; any other error is raised."""
    path = folder / "whole"
    write(path, format)
    read_everything(path)
    refused = 0
    for damaged in mutations(path.read_bytes(), count):
        broken = folder / "broken"
        broken.unlink(missing_ok=True)
        broken.write_bytes(damaged)
        try:
            read_everything(broken)
        except PolysemeError as error:
            refused += str(broken) in str(error)
    return refused


@pytest.mark.parametrize("format", FORMATS)
def test_mutations(tmp_path: Path, format: str) -> None:
    """In a process of its own: a library that crashed on a damaged file would take the test run with it."""
    code = (
        "import sys, pathlib; sys.path[:0] = [sys.argv[1]]; import test_damage;"
        "print(test_damage.fuzz(pathlib.Path(sys.argv[2]), sys.argv[3], 200))"
    )
    command = [
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore::EncodingWarning",
        "-c",
        code,
        str(Path(__file__).parent),
        str(tmp_path),
        format,
    ]
    done = subprocess.run(command, capture_output=True, timeout=100)
    assert done.returncode == 0, (done.returncode, done.stderr.decode("utf-8", "replace"))
    assert int(done.stdout) >= 80  # every truncation at least; damage inside the values cannot be seen


@pytest.mark.parametrize("format", FORMATS)
def test_truncation_is_noticed(tmp_path: Path, format: str) -> None:
    path = tmp_path / "whole"
    write(path, format)
    data = path.read_bytes()
    for kept in (0, 1, 7, 8, 9, len(data) // 2, len(data) - 1):
        broken = tmp_path / f"broken{kept}"
        broken.write_bytes(data[:kept])
        with pytest.raises(InputError, match=f"broken{kept}"):
            read_everything(broken)


def test_other_things(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_embeddings(tmp_path / "none.npz")
    with pytest.raises(InputError, match="is a folder"):
        read_embeddings(tmp_path)
    text = tmp_path / "text.npz"
    text.write_text("The bank raised its rates.", encoding="utf-8")
    with pytest.raises(InputError, match="none of the formats"):
        read_embeddings(text)


def test_files_by_others(tmp_path: Path) -> None:
    """Well-formed files that hold something else."""
    h5py = pytest.importorskip("h5py")
    from safetensors.numpy import save_file

    with h5py.File(tmp_path / "by-text.h5", "w") as file:
        file["The bank"] = np.zeros((3, 2, 4), dtype=np.float32)
    save_file({"weight": np.zeros(3)}, tmp_path / "model.safetensors")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", layout=np.array([{}], dtype=object), metadata=np.zeros(1))
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": [1]})
    # Opened by Python: pyarrow cannot spell every path in the C locale.
    with (tmp_path / "table.arrow").open("wb") as file, pyarrow.ipc.new_file(file, table.schema) as out:
        out.write_table(table)
    with (tmp_path / "table.parquet").open("wb") as file:
        pytest.importorskip("pyarrow.parquet").write_table(table, file)
    names = ["by-text.h5", "model.safetensors", "arrays.npz", "pickled.npz", "table.arrow", "table.parquet"]
    for name in names:
        with pytest.raises(InputError, match=name):
            read_embeddings(tmp_path / name)
