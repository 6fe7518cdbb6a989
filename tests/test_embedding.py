"""One sentence's vectors: means, mixes and pooling against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from polyseme import Embedding
from polyseme.errors import OptionError

LAYERS = np.random.default_rng(1).standard_normal((3, 4, 6)).astype(np.float32)
EMBEDDING = Embedding(("The", "bank", "raised", "rates"), LAYERS)


def test_a_sentence_knows_its_length_and_width_and_its_layers() -> None:
    assert len(EMBEDDING) == 4
    assert EMBEDDING.width == 6
    assert EMBEDDING.offsets is None
    assert np.array_equal(EMBEDDING.top(), LAYERS[2])
    np.testing.assert_allclose(EMBEDDING.average(), (LAYERS[0] + LAYERS[1] + LAYERS[2]) / 3, atol=1e-6)


def test_a_mix_is_the_weighted_sum_times_gamma() -> None:
    expected = 2 * (0.2 * LAYERS[0] + 0.5 * LAYERS[1] + 0.3 * LAYERS[2])
    np.testing.assert_allclose(EMBEDDING.mix([0.2, 0.5, 0.3], gamma=2.0), expected, atol=1e-6)
    assert np.array_equal(EMBEDDING.mix([0, 0, 1]), LAYERS[2])
    with pytest.raises(OptionError, match="2 weights for 3 layers"):
        EMBEDDING.mix([0.5, 0.5])


def test_pooling_takes_the_mean_or_the_maximum_of_the_average_layer() -> None:
    average = LAYERS.mean(axis=0)
    np.testing.assert_allclose(EMBEDDING.sentence(), average.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(EMBEDDING.sentence("max"), average.max(axis=0), atol=1e-6)
    with pytest.raises(OptionError, match="'mean' or 'max', was: 'sum'"):
        EMBEDDING.sentence("sum")


def test_a_sentence_without_words_pools_to_zeros() -> None:
    empty = Embedding((), np.zeros((3, 0, 6), dtype=np.float32))
    assert len(empty) == 0
    for pool in ("mean", "max"):
        assert np.array_equal(empty.sentence(pool), np.zeros(6, dtype=np.float32))


def test_float16_layers_are_averaged_and_mixed_in_float32() -> None:
    """65,504 is the largest float16: a mean in float16 would overflow."""
    half = Embedding(("a",), np.full((3, 1, 2), 60000, dtype=np.float16))
    for found in (half.average(), half.mix([1 / 3, 1 / 3, 1 / 3]), half.sentence()):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.ravel(), 60000, rtol=1e-3)
