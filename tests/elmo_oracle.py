"""What the tests of `Elmo` share: the tiny model, AllenNLP's values for it, and how far two arrays are apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyseme import Elmo, batch_to_ids

DATA = Path(__file__).parent / "data"
TINY = DATA / "allennlp-char" / "highway2"
ABOUT = json.loads((DATA / "elmo-module" / "expected.json").read_text(encoding="utf-8"))
SENTENCES: list[list[str]] = ABOUT["sentences"]
EQUAL = 1e-6  # float32 sums in another order; values are below 3


def open_tiny(n: int = 1, **options: Any) -> Elmo:
    return Elmo(TINY / "options.json", TINY / "weights.hdf5", n, **({"dropout": 0.0} | options))


def ids(call: list[int]) -> Tensor:
    return batch_to_ids([SENTENCES[i] for i in call])


def run(elmo: Elmo, call: list[int]) -> Tensor:
    result: Tensor = elmo(ids(call))["elmo_representations"][0]
    return result


def furthest(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> float:
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    assert a.shape == b.shape
    return float((a.detach() - b.detach()).abs().max())


def published(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    about = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    with np.load(folder / "expected.npz", allow_pickle=False) as file:
        return about, {name: file[name] for name in file.files}


EXPECTED = published(DATA / "elmo-module")[1]
TUNED = {name[6:]: torch.from_numpy(value) for name, value in EXPECTED.items() if name.startswith("state/")}
