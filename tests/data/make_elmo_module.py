"""What AllenNLP's `Elmo` itself does with the tiny model highway2: training, boundaries, caches, resets, state dicts.

    pip install: see benchmarks/requirements-allennlp.txt   (allennlp 2.10.1 beside torch 2.13.0)
    python tests/data/make_elmo_module.py tests/data

writes OUT/elmo-module/expected.{npz,json}; OUT/allennlp-char/highway2 (make_allennlp.py) must be there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import make_common as common
import numpy as np
import torch

common.prepare_allennlp()
from allennlp.modules.elmo import Elmo, batch_to_ids  # noqa: E402

MODEL = "allennlp-char/highway2"
SENTENCES = [
    ["The", "bank", "raised", "its", "rates", "."],
    ["We", "sat"],
    ["Übergrößenträger", "🙂", "!"],
    ["A", "</S>", "<S>"],
]
CALLS = [[0, 1, 2], [3, 1]]  # batches of a stateful run
LEARNING_RATE = 0.001
VOCABULARY = ["@@PADDING@@", "@@UNKNOWN@@", "The", "bank", "raised", "rates", "."]
CACHED = [["The", "bank", "raised", "."], ["bank"]]
RESET = [False, True, False]  # after the first call: row 1 starts from zero, the others go on


def open_elmo(out: Path, n: int = 1, **options: object) -> Elmo:
    folder = out / MODEL
    return Elmo(str(folder / "options.json"), str(folder / "weights.hdf5"), n, dropout=0.0, **options)


def ids(call: list[int]) -> torch.Tensor:
    return batch_to_ids([SENTENCES[i] for i in call])


def train(out: Path) -> tuple[Elmo, list[float]]:
    """Two steps of plain gradient descent on every weight, the state carried from the first to the second."""
    elmo = open_elmo(out, 2, requires_grad=True)
    optimizer = torch.optim.SGD(elmo.parameters(), lr=LEARNING_RATE)
    losses = []
    for call in CALLS:
        first, second = elmo(ids(call))["elmo_representations"]
        loss = first.square().sum() + second.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return elmo, losses


def expect(out: Path, tuned: Elmo) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    arrays = {f"state/{name}": tensor.numpy() for name, tensor in tuned.state_dict().items()}
    tuned._elmo_lstm._elmo_lstm.reset_states()
    for k, representation in enumerate(tuned(ids([0, 1, 2]))["elmo_representations"]):
        arrays[f"tuned_{k}"] = representation.numpy()
    kept = open_elmo(out, keep_sentence_boundaries=True, do_layer_norm=True)(ids([1, 0]))
    arrays["boundaries"] = kept["elmo_representations"][0].numpy()
    arrays["boundaries_mask"] = kept["mask"].numpy()
    deep = open_elmo(out)(torch.stack([ids([0, 1]), ids([1, 0])]))
    arrays["deep"], arrays["deep_mask"] = deep["elmo_representations"][0].numpy(), deep["mask"].numpy()
    words = torch.tensor([[VOCABULARY.index(w) for w in s] + [0] * (4 - len(s)) for s in CACHED])
    arrays["cached"] = open_elmo(out, vocab_to_cache=VOCABULARY)(batch_to_ids(CACHED), words)["elmo_representations"][
        0
    ].numpy()
    reset = open_elmo(out)
    reset(ids([0, 1, 2]))
    reset._elmo_lstm._elmo_lstm.reset_states(torch.tensor(RESET))
    arrays["reset"] = reset(ids([2, 0]))["elmo_representations"][0].numpy()
    arrays["after_reset"] = reset(ids([1, 1, 1]))["elmo_representations"][0].numpy()
    with_cache = open_elmo(out, 2, vocab_to_cache=VOCABULARY)
    names = {name: list(tensor.shape) for name, tensor in with_cache.state_dict().items()}
    return arrays, names


def main(out: Path) -> None:
    torch.set_num_threads(1)
    tuned, losses = train(out)
    with torch.no_grad():
        arrays, names = expect(out, tuned)
    folder = out / "elmo-module"
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "expected.npz", **arrays)
    about = {
        "computed_by": "allennlp.modules.elmo.Elmo",
        "versions": common.versions("allennlp", "torch", "numpy"),
        "model": MODEL,
        "sentences": SENTENCES,
        "calls": CALLS,
        "learning_rate": LEARNING_RATE,
        "vocabulary": VOCABULARY,
        "cached": CACHED,
        "reset": RESET,
        "losses": losses,
        "names_with_cache": names,
    }
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    (folder / "expected.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
