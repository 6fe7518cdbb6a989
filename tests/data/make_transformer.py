"""Make tiny AllenNLP language-model archives (model.tar.gz) of random weights, and what AllenNLP computes with them.

    pip install: see benchmarks/requirements-allennlp.txt   (allennlp and allennlp-models 2.10.1, torch 2.13.0)
    python tests/data/make_transformer.py tests/data

writes OUT/transformer/{after_cnn,after_highway,unprojected,lstm}/. Every number comes from SEED. One thing differs from
what AllenNLP writes: its buffer of 5,000 positions (160 kB of sines) is cut to POSITIONS once the vectors are computed.
AllenNLP itself would refuse that shape; call with --whole to keep the buffer.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import sys
import tarfile
import tempfile
import warnings
from pathlib import Path

import make_common as common
import numpy as np
import torch

common.prepare_allennlp()
warnings.filterwarnings("ignore")
from allennlp.common import Params  # noqa: E402
from allennlp.data import Batch, Instance, Token, Vocabulary  # noqa: E402
from allennlp.data.fields import TextField  # noqa: E402
from allennlp.data.token_indexers import ELMoTokenCharactersIndexer, SingleIdTokenIndexer  # noqa: E402
from allennlp.models import Model  # noqa: E402
from allennlp.models.archival import load_archive  # noqa: E402
from allennlp_models.lm import BidirectionalLanguageModelTokenEmbedder  # noqa: E402
from allennlp_models.lm.models.language_model import LanguageModel  # noqa: E402, F401  (registers itself)

SEED = 20180831
WIDTH = 8  # AllenNLP's Transformer has 8 heads, always
POSITIONS = 64
MIX = [0.5, -1.0, 2.0, 0.25]

TRANSFORMER = {"type": "bidirectional_language_model_transformer", "hidden_dim": 6, "input_dim": WIDTH, "dropout": 0.1}
VARIANTS: dict[str, dict] = {
    "after_cnn": {
        "cnn": {"filters": [[1, 4], [2, 8], [3, 8]], "num_highway": 2, "projection_location": "after_cnn"},
        "context": TRANSFORMER | {"num_layers": 2, "input_dropout": 0.1},
        "lm": {"num_samples": 5, "sparse_embeddings": True},  # sampled: softmax_w is (words, width)
    },
    "after_highway": {
        "cnn": {
            "filters": [[1, 4], [2, 6]],
            "num_highway": 1,
            "projection_location": "after_highway",
            "do_layer_norm": True,
            "activation": "tanh",
        },
        "context": TRANSFORMER | {"num_layers": 3},
        "lm": {},  # full: softmax_w is (width, words)
    },
    "unprojected": {  # the archive still holds a _projection, never applied
        "cnn": {"filters": [[1, 3], [2, 5]], "num_highway": 1, "projection_location": None},
        "context": TRANSFORMER | {"num_layers": 1},
        "lm": {},
    },
    "lstm": {  # torch's bidirectional LSTM: with one layer, and only then, it is a language model in both directions
        "cnn": {"filters": [[1, 4], [2, 6]], "num_highway": 1, "projection_location": "after_highway"},
        "context": {"type": "lstm", "bidirectional": True, "input_size": WIDTH, "hidden_size": WIDTH, "num_layers": 1},
        "lm": {},
    },
}


def config(name: str) -> dict:
    v = VARIANTS[name]
    cnn = {"type": "cnn-highway", "embedding_dim": 4, "activation": "relu", "projection_dim": WIDTH} | v["cnn"]
    characters = {
        "type": "character_encoding",
        "embedding": {"embedding_dim": 4, "num_embeddings": 262},
        "encoder": cnn,
    }
    return {
        "dataset_reader": {
            "type": "simple_language_modeling",
            "token_indexers": {"token_characters": {"type": "elmo_characters"}, "tokens": {"type": "single_id"}},
            "start_tokens": ["<S>"],
            "end_tokens": ["</S>"],
        },
        "model": {
            "type": "language_model",
            "bidirectional": True,
            "contextualizer": v["context"],
            "dropout": 0.1,
            "text_field_embedder": {
                "token_embedders": {"token_characters": characters, "tokens": {"type": "empty"}},
            },
        }
        | v["lm"],
    }


def vocabulary() -> Vocabulary:
    vocab = Vocabulary()
    for word in ["<S>", "</S>", *(w for i in (0, 1, 3) for w in common.SENTENCES[i])]:
        vocab.add_token_to_namespace(word)
    return vocab


def fill(model: torch.nn.Module, rng: np.random.Generator) -> None:
    """Random values large enough that attention is not flat and the norms have something to do."""
    for name, p in model.named_parameters():
        values = torch.from_numpy(rng.standard_normal(p.shape).astype(np.float32))
        if name.endswith("gamma"):
            values = 1 + 0.2 * values
        elif name.endswith(("bias", "beta", "softmax_b")) or "bias_" in name:
            values = 0.3 * values
        elif "_embedding._module" not in name:
            values = values * (0.6 if "linears" in name else 0.4)
        p.data.copy_(values)


def write_archive(path: Path, settings: dict, weights: dict, vocab: Vocabulary, zipped: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        vocab.save_to_files(folder)
        files = {
            f"vocabulary/{n}": (Path(folder) / n).read_bytes() for n in ("tokens.txt", "non_padded_namespaces.txt")
        }
    buffer = io.BytesIO()
    torch.save(weights, buffer, _use_new_zipfile_serialization=zipped)
    files |= {"config.json": json.dumps(settings, indent=4).encode(), "weights.th": buffer.getvalue()}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            tar.addfile(info, io.BytesIO(files[name]))
    path.write_bytes(gzip.compress(raw.getvalue(), mtime=0))


def tensors(vocab: Vocabulary, sentences: list[list[str]], boundaries: bool, words: bool) -> dict:
    indexers: dict = {"token_characters": ELMoTokenCharactersIndexer()}
    if words:
        indexers["tokens"] = SingleIdTokenIndexer()
    wrapped = [["<S>", *s, "</S>"] if boundaries else s for s in sentences]
    batch = Batch([Instance({"source": TextField([Token(w) for w in s], indexers)}) for s in wrapped])
    batch.index_instances(vocab)
    return batch.as_tensor_dict()["source"]


def losses(model: Model, sentences: list[list[str]]) -> dict[str, np.ndarray]:
    """Mean negative log likelihood of each sentence under the full softmax, per direction, over its T + 1 targets."""
    values = []
    for s in sentences:
        with torch.no_grad():
            out = model(tensors(model.vocab, [s], boundaries=True, words=True))
        values.append([out["forward_loss"], out["backward_loss"]])
    return {"loss": np.array(values, dtype=np.float32)}


def expect_layers(archive: Path) -> dict[str, list[np.ndarray]]:
    """All layers (L + 1, T, 2 * WIDTH) and the mix, through the embedder that downstream models use."""
    embedder = BidirectionalLanguageModelTokenEmbedder(str(archive)).eval()
    lm, mix = embedder._lm, embedder._scalar_mix
    for weight, value in zip(mix.scalar_parameters, MIX, strict=False):
        weight.data.fill_(value)
    mix.gamma.data.fill_(1.5)
    source = tensors(lm.vocab, common.SENTENCES, boundaries=True, words=False)
    bare = tensors(lm.vocab, common.SENTENCES, boundaries=False, words=False)
    with torch.no_grad():
        out = lm(source)
        mixed = embedder(bare["token_characters"]["elmo_tokens"]).numpy()
    words = out["noncontextual_token_embeddings"]
    layers = torch.stack([torch.cat([words, words], -1), *out["lm_embeddings"]]).numpy()
    return {
        "layers": [layers[:, i, 1 : len(s) + 1] for i, s in enumerate(common.SENTENCES)],
        "mix": [mixed[i, : len(s)] for i, s in enumerate(common.SENTENCES)],
    }


def expect_lstm(model: Model) -> dict[str, list[np.ndarray]]:
    """`lstm` reports no layers, so AllenNLP's embedder refuses it; the model itself gives words and top."""
    source = tensors(model.vocab, common.SENTENCES, boundaries=True, words=False)
    with torch.no_grad():
        out = model(source)
    words = out["noncontextual_token_embeddings"]
    layers = torch.stack([torch.cat([words, words], -1), out["lm_embeddings"]]).numpy()
    return {"layers": [layers[:, i, 1 : len(s) + 1] for i, s in enumerate(common.SENTENCES)]}


def main(out: Path, whole: bool) -> None:
    logging.disable(logging.WARNING)
    common.spare_spacy_models()
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    vocab = vocabulary()
    about = {
        "computed_by": "allennlp_models.lm BidirectionalLanguageModelTokenEmbedder and LanguageModel",
        "versions": common.versions("allennlp", "allennlp-models", "torch", "numpy"),
        "sentences": common.SENTENCES,
        "mix": MIX,
        "gamma": 1.5,
    }
    for name in VARIANTS:
        folder = out / "transformer" / name
        folder.mkdir(parents=True, exist_ok=True)
        settings, zipped = config(name), name != "after_cnn"  # the published archives are older than the zip layout
        model = Model.from_params(Params(json.loads(json.dumps(settings["model"]))), vocab=vocab)
        fill(model, rng)
        archive = folder / "model.tar.gz"
        write_archive(archive, settings, model.state_dict(), vocab, zipped)
        opened = load_archive(str(archive)).model.eval()
        arrays = expect_lstm(opened) if name == "lstm" else expect_layers(archive)
        common.save_expected(folder, arrays | {"loss": [losses(opened, common.SENTENCES)["loss"]]}, about)
        layers = np.concatenate(arrays["layers"], 1)
        print(f"{name}: layers {layers.shape}, spread per layer {layers.std((1, 2)).round(2)}")
        weights, position = model.state_dict(), "_contextualizer._position.positional_encoding"
        if position in weights and not whole:
            weights[position] = weights[position][:, :POSITIONS].clone()
            write_archive(archive, settings, weights, vocab, zipped)


if __name__ == "__main__":
    main(Path(sys.argv[1]), whole="--whole" in sys.argv)
