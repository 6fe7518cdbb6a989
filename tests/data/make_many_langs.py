"""Make tiny ELMoForManyLangs folders of random weights, and what the package `elmoformanylangs` computes with them.

    pip install: see benchmarks/requirements-elmoformanylangs.txt   (elmoformanylangs 0.0.4.post2, torch 2.13.0)
    python tests/data/make_many_langs.py tests/data

writes OUT/many_langs/{words_and_chars,chars,words}/ and OUT/many_langs/words_and_chars.zip, flat as NLPL packs them.
Values are set by SEED; the bytes of a .pkl in the old (not zip) layout differ from run to run: torch writes addresses.
"""

from __future__ import annotations

import json
import random
import sys
import zipfile
from pathlib import Path

import make_common as common
import numpy as np
import torch
from elmoformanylangs import Embedder
from elmoformanylangs.frontend import Model
from elmoformanylangs.modules.embedding_layer import EmbeddingLayer

SEED = 20181031
SPECIAL_CHARS = ["<bos>", "<eos>", "<oov>", "<pad>", "<bow>", "<eow>"]  # after the characters, as training writes them
SPECIAL_WORDS = ["<oov>", "<bos>", "<eos>", "<pad>"]  # before the words
SENTENCES = [*common.SENTENCES, ["a", "<bos>", "b", "<oov>", "<pad>", "　", "<eos>", "é　é"]]

# max_characters_per_token counts characters (not bytes) and the two word boundaries.
VARIANTS: dict[str, dict] = {
    "words_and_chars": {"word_dim": 5, "char_dim": 4, "n_highway": 2, "activation": "relu", "max_characters": 50},
    "chars": {"word_dim": 0, "char_dim": 4, "n_highway": 1, "activation": "tanh", "max_characters": 30},
    "words": {"word_dim": 6, "char_dim": 0, "n_highway": 1, "activation": "relu", "max_characters": 50},
}


def config(name: str) -> dict:
    v = VARIANTS[name]
    return {
        "encoder": {
            "name": "elmo",
            "projection_dim": 8,
            "cell_clip": 1.5,
            "proj_clip": 0.7,
            "dim": 16,
            "n_layers": 2 - (name == "words"),
        },
        "token_embedder": {
            "name": "cnn",
            "activation": v["activation"],
            "filters": [[1, 4], [2, 8], [3, 8]],
            "n_highway": v["n_highway"],
            "word_dim": v["word_dim"],
            "char_dim": v["char_dim"],
            "max_characters_per_token": v["max_characters"],
        },
        "classifier": {"name": "sampled_softmax", "n_samples": 8192},
        "dropout": 0.1,
    }


def dictionaries() -> tuple[dict[str, int], dict[str, int]]:
    """Some characters and words of the sentences, so that others are unknown; U+3000, so that a line has one field."""
    chars = sorted({c for s in SENTENCES[:5] for w in s for c in w} - set("語言ĉY"))
    chars.insert(7, "　")
    words = SPECIAL_WORDS + sorted({w for s in SENTENCES[:2] for w in s} | {"语言", "　", SENTENCES[5][0][:48]})
    return {c: i for i, c in enumerate(chars + SPECIAL_CHARS)}, {w: i for i, w in enumerate(words)}


def write_dictionary(path: Path, ids: dict[str, int]) -> None:
    path.write_text("".join(f"{token}\t{i}\n" for token, i in ids.items()), encoding="utf-8", newline="\n")


def fill(model: torch.nn.Module, rng: np.random.Generator) -> None:
    scales = {
        "embedding": 1.0,
        "convolutions": 0.5,
        "highways": 0.3,
        "projection": 0.3,
        "linearity": 0.35,
        "state_p": 0.4,
    }
    for name, parameter in model.named_parameters():
        scale = 0.5 if name.endswith("bias") else next(s for part, s in reversed(scales.items()) if part in name)
        parameter.data.copy_(torch.from_numpy(rng.standard_normal(parameter.shape).astype(np.float32) * scale))


def write_model(folder: Path, name: str, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    settings, (char_ids, word_ids) = config(name), dictionaries()
    sample = f"cnn_{VARIANTS[name]['word_dim']}_tiny_sample.json"
    # The author's path: absolute and gone (then the file lies beside config.json), or relative to the folder.
    where = f"configs/{sample}" if name == "chars" else f"/no/such/folder/elmo/configs/{sample}"
    config_file = folder / ("configs" if name == "chars" else ".") / sample
    config_file.parent.mkdir(exist_ok=True)
    config_file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    arguments = {
        "seed": 1,
        "gpu": 3,
        "train_path": "xx-20m.raw",
        "config_path": where,
        "max_sent_len": 20,
        "min_count": 3,
    }
    (folder / "config.json").write_text(json.dumps(arguments), encoding="utf-8")

    def table(key: str, ids: dict[str, int], file: str) -> EmbeddingLayer | None:
        dim = settings["token_embedder"][key]
        if dim or key == "word_dim":  # training writes word.dic always (it is the softmax vocabulary), char.dic if used
            write_dictionary(folder / file, ids)
        return EmbeddingLayer(dim, ids, fix_emb=False, embs=None) if dim else None

    words, chars = table("word_dim", word_ids, "word.dic"), table("char_dim", char_ids, "char.dic")
    model = Model(settings, words, chars)
    fill(model, rng)
    old = name == "words_and_chars"  # the published files are older than torch's zip layout, and were saved from a GPU
    for part in ("token_embedder", "encoder"):
        torch.save(getattr(model, part).state_dict(), folder / f"{part}.pkl", _use_new_zipfile_serialization=not old)


def falling(rows: list[int]) -> list[int]:
    """The row order inside a batch: longest first, ties as they came."""
    return sorted(rows, key=lambda i: -len(SENTENCES[i]))


def expect(folder: Path) -> tuple[dict[str, list[np.ndarray]], dict]:
    def embed(embedder: Embedder, rows: list[int]) -> list[np.ndarray]:
        return embedder.sents2elmo([SENTENCES[i] for i in rows], output_layer=-2)

    everything = list(range(len(SENTENCES)))
    alone = [embed(Embedder(str(folder)), [i])[0] for i in everything]
    together = embed(Embedder(str(folder)), everything)
    differences = [np.abs(a - b).max((1, 2)) for a, b in zip(alone, together, strict=True)]
    print(f"{folder.name}: alone against batch, per layer {np.max(differences, 0)}")

    # One Embedder, several calls. Each list is in falling length, so that row i of a call is row i of its batch.
    calls, carried = [falling(c) for c in common.CARRY_CALLS], Embedder(str(folder))
    carry = [a for call in calls for a in embed(carried, call)]

    # One call of several batches: sorted over the whole call, cut into threes, then the BATCHES shuffled.
    random.seed(SEED)
    shuffled = embed(Embedder(str(folder), batch_size=3), everything)
    order = falling(everything)
    batches = [order[i : i + 3] for i in range(0, len(order), 3)]
    random.seed(SEED)
    random.shuffle(batches)
    step = Embedder(str(folder))
    replayed = {i: a for batch in batches for i, a in zip(batch, embed(step, batch), strict=True)}
    if any(not np.allclose(replayed[i], shuffled[i], atol=1e-6) for i in everything):
        raise SystemExit("the recorded batch order is not what the package did")

    shares = [
        float((state.abs() >= clip - 1e-6).float().mean())
        for state, clip in zip(carried.model.encoder._states, (0.7, 1.5), strict=True)
    ]
    print(f"{folder.name}: at projection clip {shares[0]:.1%}, at cell clip {shares[1]:.1%}")
    arrays = {"zero": together, "carry": carry}
    return arrays, {"carry_calls": calls}


def main(out: Path) -> None:
    torch.set_num_threads(1)
    # No GPU here: make torch.save write the tag that the published files carry, so that a reader must map it.
    torch.serialization.register_package(0, lambda _: "cuda:0", lambda _storage, _location: None)
    about = {
        "computed_by": "elmoformanylangs.Embedder.sents2elmo(output_layer=-2)",
        "versions": common.versions("elmoformanylangs", "torch", "numpy"),
        "sentences": SENTENCES,
    }
    rng = np.random.default_rng(SEED)
    for name in VARIANTS:
        folder = out / "many_langs" / name
        write_model(folder, name, rng)
        arrays, calls = expect(folder)
        keep = ("zero", "carry") if name == "words_and_chars" else ("zero",)
        common.save_expected(folder, {k: arrays[k] for k in keep}, about | calls)

    source = out / "many_langs" / "words_and_chars"
    with zipfile.ZipFile(source.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as z:
        for file in sorted(source.iterdir()):
            if not file.name.startswith("expected"):
                z.writestr(zipfile.ZipInfo(file.name), file.read_bytes(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
