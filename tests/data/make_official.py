"""What AllenNLP's own packages compute with the published fixtures, which stay outside this repository.

    pip install: see benchmarks/requirements-allennlp.txt   (allennlp and allennlp-models 2.10.1, torch 2.13.0)
    POLYSEME_SHARED=../shared python tests/data/make_official.py tests/data

reads $POLYSEME_SHARED/data/fixtures/elmo and writes OUT/official/*.npz, each beside a .json that names its fixture
files by their path under that folder, with their sha256, the sentences and the calls.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tarfile
import tempfile
import warnings
from pathlib import Path

import h5py
import make_common as common
import numpy as np
import torch

common.prepare_allennlp()
warnings.filterwarnings("ignore")
from allennlp.common.params import evaluate_file  # noqa: E402
from allennlp.models.archival import load_archive  # noqa: E402
from allennlp.modules.elmo import Elmo, batch_to_ids  # noqa: E402
from make_allennlp import layers as run_elmo  # noqa: E402
from make_transformer import expect_layers, losses  # noqa: E402

FIXTURES = Path(os.environ.get("POLYSEME_SHARED", "../shared")) / "data" / "fixtures" / "elmo"
ELMO = "allennlp/test_fixtures/elmo"
TAGGER = "allennlp/test_fixtures/simple_tagger_with_elmo/serialization"
ARCHIVES = [
    "allennlp-models/test_fixtures/lm/language_model/model.tar.gz",
    "allennlp-history/fixtures/bidirectional_lm/model.tar.gz",
    "allennlp-history/fixtures/language_model/model.tar.gz",
    "allennlp-history/fixtures/language_model/model.2020-01.tar.gz",
]


def about(*files: str, **more: object) -> dict:
    return {
        "files": {f: hashlib.sha256((FIXTURES / f).read_bytes()).hexdigest() for f in files},
        "versions": common.versions("allennlp", "allennlp-models", "torch", "numpy", "h5py"),
        **more,
    }


def open_elmo(options: str, weights: str, **keywords: object) -> Elmo:
    return Elmo(str(FIXTURES / options), str(FIXTURES / weights), 1, dropout=0.0, **keywords).eval()


def english(out: Path) -> None:
    """The lower layers, which the published lm_embeddings files leave out.

    `carry_layer_1`: ten calls of three rows, call t = sentence t of each file, as in upstream's test; layer 2 is in
    lm_embeddings_{0,1,2}.hdf5 (checked here) and layer 0 has no state. `zero`: all layers of the three sentences of
    call 1 on a fresh object, then those of call 8 on another.
    """
    files = f"{ELMO}/options.json", f"{ELMO}/lm_weights.hdf5"
    texts = json.loads((FIXTURES / ELMO / "sentences.json").read_text(encoding="utf-8"))
    calls = [[text[t].split() for text in texts] for t in range(len(texts[0]))]
    elmo = open_elmo(*files)
    carry = [a[:, 1:-1] for call in calls for a in run_elmo(elmo, call)]
    worst = 0.0
    for i in range(3):
        with h5py.File(FIXTURES / ELMO / f"lm_embeddings_{i}.hdf5") as published:
            tops = [np.concatenate(published[str(t)][...], -1) for t in range(len(calls))]  # (2, T, P)
        worst = max(worst, *(float(np.abs(top - a[2]).max()) for top, a in zip(tops, carry[i::3], strict=True)))
    print(f"layer 2 against the published vectors: {worst:.1e}")
    fresh = [s for t in (1, 8) for s in calls[t]]
    zero = [a[:, 1:-1] for t in (1, 8) for a in run_elmo(open_elmo(*files), calls[t])]
    notes = {"carry_calls": "sentences[t] of each of the three lists, for t in 0..9; layer 1", "sentences": fresh}
    common.save_expected(
        out, {"carry_layer_1": [a[1] for a in carry], "zero": zero}, about(*files, **notes), "elmo_english"
    )


def multilingual(out: Path) -> None:
    base, sentences = "allennlp-history/fixtures/elmo_multilingual", common.SENTENCES[:4]
    for name, weights in {
        "es": "es/weights.hdf5",
        "fr": "fr/weights.hdf5",
        "it": "it/weights.hdf5",
        "fr_zero": "fr/weights_zero.hdf5",
    }.items():
        files = f"{base}/{weights[:2]}/options.json", f"{base}/{weights}"
        arrays = {"zero": [a[:, 1:-1] for a in run_elmo(open_elmo(*files), sentences)]}
        common.save_expected(out, arrays, about(*files, sentences=sentences), f"elmo_{name}")


def language_models(out: Path) -> None:
    """Four archives of one set of weights: all layers, the mix of the embedder, and the losses."""
    results = {}
    for archive in ARCHIVES:
        with tempfile.TemporaryDirectory() as folder:
            modern = Path(folder) / "model.tar.gz"
            modernize(FIXTURES / archive, modern)
            arrays = expect_layers(modern)
            model = load_archive(str(modern)).model.eval()
        loss = losses(model, [[w for w in s if w not in ("<S>", "</S>")] for s in common.SENTENCES])["loss"]
        results[archive] = {k: np.concatenate(v, -2) for k, v in arrays.items()} | {"loss": loss}
    first = results[ARCHIVES[0]]
    if any(not np.array_equal(first[k], r[k]) for r in results.values() for k in first):
        raise SystemExit("the archives differ")
    notes = {"sentences": common.SENTENCES, "mix": [0.5, -1.0, 2.0, 0.25], "gamma": 1.5}
    notes["loss"] = "literal <S> and </S> inside a sentence were left out for the losses"
    common.save_expected(out, {k: [v] for k, v in first.items()}, about(*ARCHIVES, **notes), "language_model")


def modernize(source: Path, target: Path) -> None:
    """Names of 2018 in config.json to those of 2.10.1; the weights as they are."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(source) as tar:
            tar.extractall(folder, filter="data")
        path = Path(folder) / "config.json"
        config = json.loads(evaluate_file(str(path)))  # it is jsonnet: two of the four have trailing commas
        config["model"] |= {"type": "language_model", "bidirectional": True}
        embedder = config["model"]["text_field_embedder"]
        embedder.pop("allow_unmatched_keys", None)
        embedder["token_embedders"]["tokens"] = {"type": "empty"}
        config["dataset_reader"]["token_indexers"]["tokens"] = {"type": "single_id"}
        path.write_text(json.dumps(config), encoding="utf-8")
        with tarfile.open(target, "w:gz") as tar:
            for file in sorted(Path(folder).iterdir()):
                tar.add(file, file.name)


def tagger(out: Path) -> None:
    """The mixed output of the archive's ELMo: gamma and three scalars from weights.th, no boundaries, from zero."""
    embedder = "model.text_field_embedder.token_embedders.elmo"
    overrides = {
        f"{embedder}.options_file": str(FIXTURES / ELMO / "options.json"),
        f"{embedder}.weight_file": str(FIXTURES / ELMO / "lm_weights.hdf5"),
    }
    model = load_archive(str(FIXTURES / TAGGER / "model.tar.gz"), overrides=json.dumps(overrides)).model.eval()
    best = torch.load(FIXTURES / TAGGER / "best.th", weights_only=True)
    if any(not torch.equal(v, best[k]) for k, v in model.state_dict().items()):
        raise SystemExit("best.th differs from the archive")
    elmo = model.text_field_embedder.token_embedder_elmo
    with torch.no_grad():
        mixed = elmo(batch_to_ids(common.SENTENCES)).numpy()
    mix = elmo._elmo.scalar_mix_0
    notes = {
        "gamma": mix.gamma.item(),
        "scalars_before_softmax": [p.item() for p in mix.scalar_parameters],
        "sentences": common.SENTENCES,
    }
    arrays = {"mix": [mixed[i, : len(s)] for i, s in enumerate(common.SENTENCES)]}
    common.save_expected(out, arrays, about(f"{TAGGER}/model.tar.gz", f"{TAGGER}/best.th", **notes), "tagger")


def main(out: Path) -> None:
    logging.disable(logging.WARNING)
    common.spare_spacy_models()
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    for part in (english, multilingual, language_models, tagger):
        part(out)
        print(part.__name__)


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "official")
