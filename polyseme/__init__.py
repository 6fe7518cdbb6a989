"""Polyseme: contextual word vectors. The same text always gives the same vector.

    import polyseme

    embedder = polyseme.load("path/of/any/published/elmo")
    for embedding in embedder.embed_text("The bank raised its rates. We sat on the bank of the river."):
        print(embedding.tokens, embedding.average().shape)

The public names below are resolved on first use: neither `import polyseme` nor `polyseme --help` imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from polyseme._version import __version__

if TYPE_CHECKING:
    from polyseme.elmo import Elmo, ElmoEmbedder, batch_to_ids
    from polyseme.embedder import Embedder, load
    from polyseme.embedding import Embedding
    from polyseme.errors import PolysemeError
    from polyseme.store import read_embeddings

__all__ = [
    "Elmo",
    "ElmoEmbedder",
    "Embedder",
    "Embedding",
    "PolysemeError",
    "__version__",
    "batch_to_ids",
    "load",
    "read_embeddings",
]

_HOME = {
    "Elmo": "polyseme.elmo",
    "ElmoEmbedder": "polyseme.elmo",
    "Embedder": "polyseme.embedder",
    "Embedding": "polyseme.embedding",
    "PolysemeError": "polyseme.errors",
    "batch_to_ids": "polyseme.elmo",
    "load": "polyseme.embedder",
    "read_embeddings": "polyseme.store",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'polyseme' has no attribute {name!r}; it offers: {', '.join(sorted(_HOME))}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
