"""A model of ours in AllenNLP's own `Elmo`: converted, opened there, and compared vector by vector.

    python benchmarks/check_allennlp_export.py MODEL --allennlp PYTHON [--sentences FILE] [--random]

MODEL is a Polyseme folder with an LSTM over characters, as `polyseme train` writes it; with `--random` it is made
first: the published small shapes with random weights. PYTHON is the interpreter of an environment made from
requirements-allennlp.txt (AllenNLP 2.10.1 beside a current torch).

`polyseme convert --to allennlp` writes options.json and weights.hdf5; AllenNLP embeds the sentences as the first batch
of a fresh `Elmo`, and `polyseme.load(MODEL, state="zero")` the same ones. Prints the largest difference of any layer,
and of the mix that `Elmo` gives, as JSON. Exit code 0: the same to 1e-5; 1: not the same; 2: nothing to compare. What
the layout cannot hold is not compared: the softmax, the settled state, the text settings and the card.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import polyseme
from polyseme.bilm import BiLM, BiLMConfig
from polyseme.formats.folder import write_model
from polyseme.formats.model import Model
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.text.chars import Characters
from polyseme.text.tokenize import tokenizer_for
from polyseme.text.vocab import SPECIAL, Vocabulary

sys.path.insert(0, str(Path(__file__).parent))
from embed import real_sentences

TOLERANCE = 1e-5
PEER = Path(__file__).parent / "peers" / "allennlp_vectors.py"
# Beside real sentences: one word, one long word, words of other scripts (two of them cut), boundaries as words.
AWKWARD = [
    ["Yes"],
    ["Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz", "!"],
    ["语言", "模型", "🙂", "ĉiuĵaŭde", "a" + "é" * 30],
    ["A", "literal", "</S>", "and", "<S>", "and", "<UNK>", "in", "the", "text"],
]


def sentences_of(file: Path | None, count: int) -> list[list[str]]:
    """Sentences of as many different lengths as there are: evenly spaced among `file`'s or the held-out novels'."""
    if file is None:
        found = real_sentences(20 * count)
    else:
        text = file.read_text(encoding="utf-8")
        found = [list(sentence.tokens) for sentence in tokenizer_for("en").sentences(text)]
    found.sort(key=len)
    chosen = [found[i * (len(found) - 1) // (count - 1)] for i in range(count)]  # the shortest and the longest too
    return chosen + AWKWARD


def write_random(folder: Path) -> None:
    """The published small shapes with random weights, as a native folder."""
    torch.manual_seed(1)
    config = BiLMConfig(projection_size=128, cell_size=1024, char_cnn=CharCNNConfig(n_highway=1), softmax_size=1000)
    vocabulary = Vocabulary((*SPECIAL, *(f"word{i}" for i in range(1000 - len(SPECIAL)))))
    bilm = BiLM(config).requires_grad_(False).eval()
    write_model(Model(bilm, characters=Characters(), vocabulary=vocabulary), folder)


def output(command: list[str]) -> str:
    """What the command prints; the end of this program, with its own messages above, where it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    if done.returncode:
        print(f"failed: {' '.join(command)}", file=sys.stderr)
        sys.exit(2)
    return done.stdout


def compare(model: Path, allennlp: str, sentences: list[list[str]], kernel: str | None, folder: Path) -> dict:
    exported, texts, vectors = folder / "exported", folder / "sentences.json", folder / "vectors.npz"
    converted = [sys.executable, "-m", "polyseme", "convert", str(model), str(exported), "--to", "allennlp", "--json"]
    said = output(converted)
    texts.write_text(json.dumps(sentences), encoding="utf-8")
    command = [allennlp, "-W", "ignore", str(PEER), str(exported), str(texts), str(vectors)]
    versions = json.loads(output(command))
    embedder = polyseme.load(model, state="zero", kernel=kernel)
    embeddings = embedder.embed(sentences)
    per_layer, mix, largest = np.zeros(len(embeddings[0].layers)), 0.0, 0.0
    with np.load(vectors) as theirs:
        for row, ours in enumerate(embeddings):
            per_layer = np.maximum(per_layer, np.abs(ours.layers - theirs[f"layers_{row}"]).max(axis=(1, 2)))
            mix = max(mix, float(np.abs(ours.average() - theirs[f"mix_{row}"]).max()))
            largest = max(largest, float(np.abs(theirs[f"layers_{row}"]).max()))
    worst = max(mix, float(per_layer.max()))
    lengths = [len(tokens) for tokens in sentences]
    return {
        "model": str(model), "same": worst <= TOLERANCE, "largest_difference": worst, "tolerance": TOLERANCE,
        "per_layer": [float(value) for value in per_layer], "mix": mix, "largest_value": largest,
        "kernel": embedder.kernel,
        "sentences": len(sentences), "tokens": sum(lengths), "shortest": min(lengths), "longest": max(lengths),
        "allennlp_environment": versions, "polyseme": polyseme.__version__, "torch": torch.__version__,
        "convert": json.loads(said),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--allennlp", required=True, help="python of an environment with AllenNLP 2.10.1")
    parser.add_argument("--sentences", type=Path, help="English text, UTF-8; by default the held-out novels")
    parser.add_argument("--count", type=int, default=44)
    parser.add_argument("--kernel", help="of our side: torch or onednn; by default what suits the CPU")
    parser.add_argument("--random", action="store_true", help="make MODEL first, with random weights")
    options = parser.parse_args()
    if options.random:
        write_random(options.model)
    sentences = sentences_of(options.sentences, options.count)
    with tempfile.TemporaryDirectory() as folder:
        found = compare(options.model, options.allennlp, sentences, options.kernel, Path(folder))
    print(json.dumps(found, indent=1, ensure_ascii=False))
    sys.exit(0 if found["same"] else 1)


if __name__ == "__main__":
    main()
