"""What the tests of published formats share: expected vectors, the plain path through a model, damaged copies."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from polyseme.errors import PolysemeError
from polyseme.formats.model import Model
from polyseme.nn.lstm import LSTMState

Array = npt.NDArray[np.float32]
DATA = Path(__file__).resolve().parent.parent / "data"


class Expected:
    """`expected.json` and `expected.npz` of a folder under tests/data: see make_common.py."""

    def __init__(self, folder: Path) -> None:
        self.about = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        self.sentences: list[list[str]] = self.about["sentences"]
        with np.load(folder / "expected.npz") as arrays:
            self._arrays = dict(arrays)

    def vectors(self, name: str, order: list[int] | None = None, extra: int = 0) -> list[Array]:
        """One array (..., T + extra, width) a sentence; `order` is that of the stored sentences."""
        rows = range(len(self.sentences)) if order is None else order
        ends = np.cumsum([len(self.sentences[i]) + extra for i in rows])
        return np.split(self._arrays[name], ends[:-1], axis=-2)


class Plain:
    """BiLM.forward on batches of sentences, states carried from call to call row by row, as published readers do."""

    def __init__(self, model: Model) -> None:
        self.model, self.rows = model, 0
        self.states: tuple[LSTMState, LSTMState] | None = None

    def __call__(self, sentences: list[list[str]]) -> list[Array]:
        """(L + 1, T + 2, 2P) a sentence, both boundaries included."""
        lengths = torch.tensor([len(sentence) + 2 for sentence in sentences])
        width = int(lengths.max())
        start, end = self.model.boundaries
        padded = [[start, *s, end, *[""] * (width - len(s) - 2)] for s in sentences]
        characters, words = self.model.characters, self.model.words
        out = self.model.bilm(
            torch.stack([torch.from_numpy(characters.encode(row)) for row in padded]) if characters else None,
            torch.stack([torch.from_numpy(words.rows(row)) for row in padded]) if words else None,
            lengths,
            self._starting(len(sentences)),
        )
        self._keep(out.states)
        layers = torch.stack(out.layers)  # Shape: (L + 1, B, T, 2P)
        return [layers[:, row, :length].numpy() for row, length in enumerate(lengths.tolist())]

    def reset(self) -> None:
        self.states = None

    def _starting(self, rows: int) -> tuple[LSTMState, LSTMState]:
        if self.states is None:
            directions = self.model.bilm.forward_layers, self.model.bilm.backward_layers
            self.states = tuple(direction.zero_state(16) for direction in directions)
        return tuple(LSTMState(state.hidden[:, :rows], state.cell[:, :rows]) for state in self.states)

    def _keep(self, new: tuple[LSTMState, LSTMState]) -> None:
        for kept, state in zip(self.states, new, strict=True):
            kept.hidden[:, : state.hidden.size(1)] = state.hidden
            kept.cell[:, : state.cell.size(1)] = state.cell


def difference(found: list[Array], expected: list[Array]) -> float:
    """The largest difference; shapes must agree."""
    assert [a.shape for a in found] == [b.shape for b in expected]
    return max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))


def copy(source: Path, tmp_path: Path) -> Path:
    """A copy of a tiny model, without its expected vectors, to be damaged."""
    return Path(shutil.copytree(source, tmp_path / "model", ignore=shutil.ignore_patterns("expected*")))


def edit(file: Path, change: dict[str, object]) -> None:
    """Puts values into a JSON file by path: {"lstm.dim": 3}."""
    value = json.loads(file.read_text(encoding="utf-8"))
    for path, new in change.items():
        *outer, last = path.split(".")
        section = value
        for name in outer:
            section = section[name]
        section[last] = new
    file.write_text(json.dumps(value), encoding="utf-8")


def damaged(source: Path, scratch: Path, count: int, seed: int) -> Iterator[tuple[str, Path]]:
    """`count` copies of a folder or file, each with one of its files truncated, bit-flipped or overwritten in part."""
    chance = random.Random(seed)
    for number in range(count):
        copy = scratch / f"{number}{source.suffix}"
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("expected*"))
            victim = chance.choice(sorted(file for file in copy.rglob("*") if file.is_file()))
        else:
            shutil.copyfile(source, copy)
            victim = copy
        data = bytearray(victim.read_bytes())
        kind, at = chance.choice(["truncated", "flipped", "flipped often", "overwritten"]), chance.randrange(len(data))
        if kind == "truncated":
            del data[at:]
        elif kind == "overwritten":
            data[at : at + 16] = chance.randbytes(len(data[at : at + 16]))
        else:
            for _ in range(1 if kind == "flipped" else 20):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        victim.write_bytes(data)
        yield f"{number}: {victim.name} {kind}", copy
        shutil.rmtree(copy) if copy.is_dir() else copy.unlink()


def survive(
    source: Path,
    scratch: Path,
    read: Callable[[Path], Model],
    looks_like: Callable[[Path], bool],
    count: int,
    seed: int,
) -> tuple[int, int]:
    """Reads damaged copies: each must open and run, or be refused by a `PolysemeError`. How many of either."""
    opened = refused = 0
    for name, path in damaged(source, scratch, count, seed):
        start = time.monotonic()
        looks_like(path)
        try:
            model = read(path)
        except PolysemeError:
            refused += 1
        else:
            Plain(model)([["one", "两"]])
            opened += 1
        assert time.monotonic() - start < 10, name
    return opened, refused
