"""Vectors of tasks: those of the embedder, by row, from memory and from the disk; and when the disk is not believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tasks_data import embedder_of_words
from tiny import HIGHWAY2

from polyseme.embedder import load
from polyseme.errors import OptionError, OutputError
from polyseme.static.files import write_vectors
from polyseme.static.vectors import StaticVectors
from polyseme.tasks import features as library
from polyseme.tasks.features import Features, open_features

TEXTS = [
    [("The", "bank", "raised"), ("its", "rates")],
    [("its", "rates")],
    [("We", "sat", "on", "the", "bank"), (), ("The", "bank", "raised")],
]


def opened(cache: Path | None = None) -> Features:
    return open_features("elmo", model=HIGHWAY2, cache=cache)


@pytest.mark.parametrize("cached", [True, False])
def test_a_batch_holds_the_embedders_vectors_of_each_text_and_zeros(tmp_path: Path, cached: bool) -> None:
    embedder = load(HIGHWAY2)
    batch = opened(tmp_path if cached else None).vectors(TEXTS).batch([2, 0, 1])
    for row, text in enumerate([TEXTS[2], TEXTS[0], TEXTS[1]]):
        layers = np.concatenate([each.layers for each in embedder.embed([s for s in text if s])], axis=1)
        found = batch.vectors[0][row].transpose(0, 1).numpy()  # Shape: (L, T, W)
        n = layers.shape[1]
        np.testing.assert_allclose(found[:, :n], layers, rtol=2**-10, atol=1e-6)
        assert not found[:, n:].any()
        assert batch.mask[row].tolist() == [True] * n + [False] * (found.shape[1] - n)
    assert opened().vectors(TEXTS, max_words=4).lengths == [4, 2, 4]


def test_sources_stand_side_by_side_and_each_distinct_word_is_looked_up_once(tmp_path: Path) -> None:
    write_vectors(StaticVectors(["bank", "rates"], [[1.0, 2.0], [3.0, 4.0]]), tmp_path / "static")
    features = open_features("elmo+glove", model=HIGHWAY2, vectors={"glove": tmp_path / "static"})
    (layers, words) = features.vectors(TEXTS).batch([0]).vectors
    assert features.name == "elmo+glove"
    assert layers.shape[:2] == words.shape[:2] == (1, 5)
    assert words[0, :, 0].tolist() == [[0, 0], [1, 2], [0, 0], [0, 0], [3, 4]]
    assert features.sources[1].embedder.counts.tokens == 9  # type: ignore[attr-defined]


def test_layers_are_computed_once_and_damage_or_another_model_means_again(
    awkward_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(awkward_path).vectors(TEXTS).batch([0, 1, 2]).vectors[0]
    (file,) = awkward_path.iterdir()
    monkeypatch.setattr(Features, "_computed", lambda *_: pytest.fail("computed again"))
    assert torch.equal(opened(awkward_path).vectors(TEXTS).batch([0, 1, 2]).vectors[0], first)
    assert (
        opened(awkward_path)
        .vectors([TEXTS[0], TEXTS[2], TEXTS[1]])
        .batch([1])
        .vectors[0]
        .equal(opened(awkward_path).vectors(TEXTS).batch([2]).vectors[0])
    )
    monkeypatch.undo()
    file.write_bytes(file.read_bytes()[:-10])
    assert torch.equal(opened(awkward_path).vectors(TEXTS).batch([0, 1, 2]).vectors[0], first)
    open_features("elmo", model=HIGHWAY2, state="zero", cache=awkward_path).vectors(TEXTS)
    opened(awkward_path).vectors(TEXTS[:1])
    assert len(list(awkward_path.iterdir())) == 3


def test_a_run_that_breaks_off_leaves_nothing_that_could_be_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "BLOCK_WORDS", 2)
    features = opened(tmp_path)
    embed, calls = features.sources[0].embedder.embed, []

    def breaks(sentences: object) -> object:
        calls.append(sentences)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return embed(sentences)  # type: ignore[arg-type]

    monkeypatch.setattr(features.sources[0].embedder, "embed", breaks)
    with pytest.raises(KeyboardInterrupt):
        features.vectors(TEXTS)
    assert list(tmp_path.iterdir()) == []


def test_too_little_disk_stops_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil_usage(0)
    monkeypatch.setattr(library.shutil, "disk_usage", lambda _: full)
    with pytest.raises(OutputError, match=r"vectors of 10 words take 0\.0 GB, and 0\.0 GB are free.*--cache"):
        opened(tmp_path).vectors(TEXTS)


def shutil_usage(free: int) -> object:
    return type("Usage", (), {"free": free})()


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ("elmo", {}, "needs a model"),
        ("glove", {}, "--vectors glove=PATH"),
        ("glove", {"model": "x"}, "do not name elmo"),
        ("elmo", {"model": "x", "vectors": {"glove": "y"}}, "given for 'glove'"),
        ("elmo+elmo", {"model": "x"}, "different names"),
    ],
)
def test_names_without_files_and_files_without_names_are_refused(
    names: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        open_features(names, **options)  # type: ignore[arg-type]


def test_the_scale_is_the_root_mean_square_of_each_layer() -> None:
    vectors = Features([embedder_of_words()]).vectors([[("Ann", "Bob", "unknown")]])
    (scale,) = vectors.scales()
    assert scale.tolist() == pytest.approx([np.sqrt(2 / (3 * 15))])
