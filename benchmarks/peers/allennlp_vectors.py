"""What AllenNLP 2.10.1's own `Elmo` makes of sentences: the first batch of a fresh object, all of them in one batch.

    python allennlp_vectors.py FOLDER SENTENCES.json OUT.npz      # FOLDER holds options.json and weights.hdf5

Runs in an environment made from requirements-allennlp.txt, so it imports nothing of Polyseme. OUT holds, of sentence i,
`layers_i` (L + 1, T, 2P) and `mix_i` (T, 2P): the layers of the biLM inside, and what `Elmo` itself gives while its
weights are as it starts with them (equal, gamma 1).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "data"))
from make_common import prepare_allennlp, versions

prepare_allennlp()
from allennlp.modules.elmo import Elmo, batch_to_ids  # noqa: E402


def main(folder: Path, sentences_file: Path, out: Path) -> None:
    sentences = json.loads(sentences_file.read_text(encoding="utf-8"))
    files = str(folder / "options.json"), str(folder / "weights.hdf5")
    ids = batch_to_ids(sentences)
    with torch.no_grad():
        # Two fresh objects: each carries its state from one call to the next.
        layers = torch.stack(Elmo(*files, 1, dropout=0.0).eval()._elmo_lstm(ids)["activations"]).numpy()
        mix = Elmo(*files, 1, dropout=0.0).eval()(ids)["elmo_representations"][0].numpy()
    arrays = {}
    for row, tokens in enumerate(sentences):
        arrays[f"layers_{row}"] = layers[:, row, 1 : len(tokens) + 1]  # without the boundaries
        arrays[f"mix_{row}"] = mix[row, : len(tokens)]
    np.savez(out, **arrays)
    print(json.dumps(versions("allennlp", "torch", "numpy", "h5py")))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
