"""Vectors for tests of tasks: one-hot words, so that what is learned is known; a tiny biLM."""

from __future__ import annotations

import numpy as np

from polyseme.static.vectors import StaticVectors
from polyseme.tasks.features import Source, static_identity

WORDS = ["Ann", "Bob", "met", "left", "New", "York", "good", "bad", "fine", "dull", "a", "the", "film", "is", "not"]


def embedder_of_words(name: str = "static") -> Source:
    """A vector for each of WORDS, zeros for all others."""
    vectors = StaticVectors(WORDS, np.eye(len(WORDS)))
    return Source(name, "words", static_identity(vectors), vectors, 1)
