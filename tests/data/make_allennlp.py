"""Make tiny models in the format of bilm-tf and AllenNLP (options.json, weights.hdf5), and what AllenNLP computes.

    pip install: see benchmarks/requirements-allennlp.txt   (allennlp 2.10.1 beside torch 2.13.0)
    python tests/data/make_allennlp.py tests/data

writes OUT/allennlp-char/{highway2,highway1,tanh}/ and OUT/seqvec/. Weights are random; every number comes from SEED.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import make_common as common
import numpy as np
import torch

common.prepare_allennlp()
from allennlp.modules.elmo import Elmo, batch_to_ids  # noqa: E402

SEED = 20181802
FILTERS = [[1, 4], [2, 8], [3, 8]]

# n_characters is what people write by hand, sometimes 261 and sometimes 262; the file always has 261 rows.
# The clips differ from each other, so that swapping them shows.
VARIANTS: dict[str, dict] = {
    "highway2": {"n_highway": 2, "n_layers": 2, "n_characters": 262, "activation": "relu", "clips": (1.5, 0.7)},
    "highway1": {"n_highway": 1, "n_layers": 2, "n_characters": 261, "activation": "relu", "clips": (1.5, 0.7)},
    "tanh": {"n_highway": 0, "n_layers": 3, "n_characters": 262, "activation": "tanh", "clips": (0.8, 0.5)},
}

MIX = [0.5, -1.0, 2.0]  # before the softmax
PROTEINS = ["MKTAYIAKQR", "GAVLIPFMWSTCYNQDEKRH", "M", "SEQWENCEXUZB", "MKTAYIAKQR"]


def options(v: dict, cell: int = 16, projection: int = 8, characters: int = 4) -> dict:
    return {
        "lstm": {
            "use_skip_connections": True,
            "projection_dim": projection,
            "cell_clip": v["clips"][0],
            "proj_clip": v["clips"][1],
            "dim": cell,
            "n_layers": v["n_layers"],
        },
        "char_cnn": {
            "activation": v["activation"],
            "filters": FILTERS,
            "n_highway": v["n_highway"],
            "embedding": {"dim": characters},
            "n_characters": v["n_characters"],
            "max_characters_per_token": 50,
        },
    }


def random_weights(opts: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The datasets of a bilm-tf weight file by their names in it."""

    def normal(*shape: int, scale: float) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    cnn, lstm = opts["char_cnn"], opts["lstm"]
    dim, n_filters, p, cell = cnn["embedding"]["dim"], sum(n for _, n in FILTERS), lstm["projection_dim"], lstm["dim"]
    out = {"char_embed": normal(261, dim, scale=1.0)}
    for i, (width, n) in enumerate(FILTERS):
        out[f"CNN/W_cnn_{i}"] = normal(1, width, dim, n, scale=0.5)
        out[f"CNN/b_cnn_{i}"] = normal(n, scale=0.3)
    for i in range(cnn["n_highway"]):
        for part in ("carry", "transform"):
            out[f"CNN_high_{i}/W_{part}"] = normal(n_filters, n_filters, scale=0.3)
            out[f"CNN_high_{i}/b_{part}"] = normal(n_filters, scale=0.5)
    out["CNN_proj/W_proj"] = normal(n_filters, p, scale=0.15)
    out["CNN_proj/b_proj"] = normal(p, scale=0.3)
    for direction in range(2):
        for layer in range(lstm["n_layers"]):
            name = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            out[f"{name}/W_0"] = normal(2 * p, 4 * cell, scale=0.35)
            out[f"{name}/B"] = normal(4 * cell, scale=0.7)
            out[f"{name}/W_P_0"] = normal(cell, p, scale=0.4)
    return out


def write_model(folder: Path, opts: dict, weights: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options.json").write_text(json.dumps(opts) + "\n", encoding="utf-8")
    compact = "latest" if folder.name != "highway2" else "earliest"  # published files have the oldest layout
    with h5py.File(folder / "weights.hdf5", "w", libver=compact) as f:
        for name, value in weights.items():
            f.create_dataset(name, data=value, track_times=False)


def open_elmo(folder: Path, mix: list[float] | None = None, norm: bool = False) -> Elmo:
    files = str(folder / "options.json"), str(folder / "weights.hdf5")
    return Elmo(*files, 1, dropout=0.0, scalar_mix_parameters=mix, do_layer_norm=norm).eval()


def layers(elmo: Elmo, batch: list[list[str]]) -> list[np.ndarray]:
    """All layers of each sentence WITH its boundaries, (L + 1, T + 2, 2P), from the biLM (and the state) in `elmo`."""
    with torch.no_grad():
        out = elmo._elmo_lstm(batch_to_ids(batch))
    stacked = torch.stack(out["activations"]).numpy()
    return [stacked[:, i, : len(s) + 2] for i, s in enumerate(batch)]


def expect(folder: Path, sentences: list[list[str]], calls: list[list[int]]) -> dict[str, list[np.ndarray]]:
    together = layers(open_elmo(folder), sentences)
    alone = [layers(open_elmo(folder), [s])[0] for s in sentences]
    differences = [np.abs(a - b).max((1, 2)) for a, b in zip(alone, together, strict=True)]
    print(f"{folder.name}: alone against batch, per layer {np.max(differences, 0)}")
    carried = open_elmo(folder)
    return {
        "zero": [a[:, 1:-1] for a in together],
        "boundaries": [a[:, [0, -1]] for a in together],
        "carry": [a[:, 1:-1] for call in calls for a in layers(carried, [sentences[i] for i in call])],
    }


def expect_mix(folder: Path, sentences: list[list[str]]) -> dict[str, list[np.ndarray]]:
    """The weighted sum of `Elmo` itself, from zero, without and with do_layer_norm (over the whole padded batch!)."""
    out = {}
    for name, norm in (("mix", False), ("mix_norm", True)):
        with torch.no_grad():
            mixed = open_elmo(folder, MIX, norm)(batch_to_ids(sentences))["elmo_representations"][0].numpy()
        out[name] = [mixed[i, : len(s)] for i, s in enumerate(sentences)]
    return out


def report_clips(folder: Path, sentences: list[list[str]]) -> None:
    """Print how many memory cells and projections sit at their clip: some must, else the test proves nothing."""
    elmo = open_elmo(folder)
    layers(elmo, sentences)
    lstm = elmo._elmo_lstm._elmo_lstm
    cell = lstm.forward_layers[0]
    hidden, memory = lstm._states
    at_cell = float((memory.abs() >= cell.memory_cell_clip_value - 1e-6).float().mean())
    at_proj = float((hidden.abs() >= cell.state_projection_clip_value - 1e-6).float().mean())
    print(f"{folder.name}: at cell clip {at_cell:.1%}, at projection clip {at_proj:.1%}")


def main(out: Path) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    about = {
        "computed_by": "allennlp.modules.elmo._ElmoBiLm",
        "versions": common.versions("allennlp", "torch", "numpy", "h5py"),
        "carry_calls": common.CARRY_CALLS,
        "sentences": common.SENTENCES,
    }
    for name, variant in VARIANTS.items():
        folder = out / "allennlp-char" / name
        opts = options(variant, *((10, 6, 5) if name == "tanh" else (16, 8, 4)))
        write_model(folder, opts, random_weights(opts, rng))
        report_clips(folder, common.SENTENCES)
        arrays = expect(folder, common.SENTENCES, common.CARRY_CALLS)
        if name == "highway2":
            arrays |= expect_mix(folder, common.SENTENCES)
        else:  # small on purpose
            arrays = {"zero": arrays["zero"]}
        common.save_expected(folder, arrays, about | ({"mix": MIX} if name == "highway2" else {}))

    # SeqVec: the same format, one residue a token, so the same weights serve.
    folder = out / "seqvec"
    folder.mkdir(exist_ok=True)
    model = "allennlp-char/highway2"
    proteins = [list(p) for p in PROTEINS]
    calls = [[0], [1], [2], [3]]
    arrays = expect(out / model, proteins, calls)
    common.save_expected(folder, arrays, about | {"model": model, "carry_calls": calls, "sentences": proteins})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
