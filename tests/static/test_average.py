"""Contextual vectors averaged into static ones: a worked example, and a model's own vectors by plain numpy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tiny import published_model

from polyseme.embedder import Embedder
from polyseme.embedding import Embedding
from polyseme.errors import InputError, OptionError
from polyseme.static.average import averaged


def embeddings() -> Iterator[Embedding]:
    """Two layers of width 2; layer 1 is layer 0 plus 10."""
    for tokens, rows in (
        (("a", "b", "a"), [[1, 2], [3, 4], [5, 6]]),
        ((), []),
        (("b", "a", "c"), [[7, 8], [9, 1], [2, 2]]),
    ):
        low = np.array(rows, dtype=np.float32).reshape(-1, 2)
        yield Embedding(tokens, np.stack([low, low + 10]))


def test_a_word_gets_the_mean_over_its_contexts_most_frequent_first() -> None:
    found = averaged(embeddings(), layer=0, min_count=2)
    assert found.words == ("a", "b")
    assert found.matrix.tolist() == [[5, 3], [5, 6]]
    assert averaged(embeddings(), layer="top", min_count=2).matrix.tolist() == [[15, 13], [15, 16]]
    assert averaged(embeddings(), min_count=2).matrix.tolist() == [[10, 8], [10, 11]]
    assert averaged(embeddings(), min_count=1).words == ("a", "b", "c")


def test_words_that_are_not_kept_take_no_part() -> None:
    found = averaged(embeddings(), layer=0, min_count=1, keep=["c", "b", "unheard"])
    assert (found.words, found.matrix.tolist()) == (("b", "c"), [[5, 6], [2, 2]])


def test_many_words_make_the_table_grow() -> None:
    names = [f"w{place:04}" for place in range(3000)]
    values = np.arange(3000, dtype=np.float32)
    found = averaged(
        (Embedding((name,), np.full((1, 1, 1), value)) for name, value in zip(names, values, strict=True)), min_count=1
    )
    assert (list(found.words), found.matrix[:, 0].tolist()) == (names, values.tolist())


def test_layer_0_of_a_model_is_its_context_free_vector_and_the_top_layer_a_mean() -> None:
    embedder = Embedder(published_model())
    sentences = [["The", "bank", "raised", "its", "rates", "."], ["We", "sat", "on", "the", "bank", "."], ["Yes", "."]]
    embedded = embedder.embed(sentences)
    low = averaged(embedded, layer=0, min_count=1)
    np.testing.assert_allclose(low.vector("bank"), embedded[0].layers[0, 1], atol=1e-6)
    top = averaged(embedded, layer="top", min_count=2)
    assert top.words == (".", "bank")
    expected = (embedded[0].top()[1] + embedded[1].top()[4]) / 2
    np.testing.assert_allclose(top.vector("bank"), expected, atol=1e-6)


def test_what_cannot_be_averaged_is_said() -> None:
    with pytest.raises(InputError, match="none of the 3 words comes 9 times"):
        averaged(embeddings(), min_count=9)
    with pytest.raises(OptionError, match="layer must be average, top or 0 to 1, was: 2"):
        averaged(embeddings(), layer=2)
    with pytest.raises(OptionError, match="min_count"):
        averaged(embeddings(), min_count=0)
