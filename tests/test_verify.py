"""`polyseme.verify` must notice a fast path that is wrong: here it is made wrong on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from polyseme.embedder import Embedder
from polyseme.embedding import Embedding
from polyseme.formats.folder import open_model
from polyseme.verify import (
    LIMIT,
    REFERENCE,
    SENTENCES,
    Check,
    compare,
    difference,
    plain_layers,
    read_reference,
    verify,
    write_reference,
)

MODEL = Path(__file__).parent / "data" / "allennlp-char" / "highway2"


def failed() -> list[str]:
    return [check.name for check in verify(open_model(MODEL)) if check.passed is False]


def test_a_sound_model_passes_every_check() -> None:
    checks = list(verify(open_model(MODEL)))
    assert {check.name for check in checks if check.passed is None} == {"reference"}
    assert failed() == []


@pytest.mark.parametrize("fault", ["everywhere", "order", "company", "threads", "bits"])
def test_a_wrong_fast_path_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Embedder.embed

    def wrong(self: Embedder, sentences: Sequence[Sequence[str]], *, batch_size: int | None = None) -> list[Embedding]:
        found = right(self, sentences, batch_size=batch_size)
        hit = {
            "everywhere": True,
            "order": tuple(sentences[0]) == SENTENCES[-1],
            "company": len(sentences) > len(SENTENCES),
            "threads": self.threads > 1,
            "bits": self.threads > 1,
        }[fault]
        if hit:
            for embedding in found:
                # One bit of the context-free layer is less than any check of differences allows.
                embedding.layers[0] = np.nextafter(embedding.layers[0], 9) if fault == "bits" else 0.5
        return found

    monkeypatch.setattr(Embedder, "embed", wrong)
    expected = {
        "everywhere": ["fast path"],
        "order": ["order", "words"],
        "company": ["batches", "words"],
        "threads": ["threads", "words"],
        "bits": ["words"],
    }
    assert failed() == expected[fault]


def test_after_weights_that_are_not_finite_nothing_else_is_tried() -> None:
    model = open_model(MODEL)
    model.bilm.state_dict()["forward_layers.layers.1.bias"][3] = float("inf")
    (only,) = verify(model)
    assert (only.name, only.passed) == ("weights", False)
    assert "forward_layers.layers.1.bias" in only.finding


def test_a_difference_that_is_no_number_fails() -> None:
    one = np.zeros((2, 3, 4), dtype=np.float32)
    assert difference([one], [one]) == 0.0
    assert difference([one], [one[:, :2]]) == float("inf")
    assert not Check.within("x", difference([one], [one * np.nan]), "").passed
    assert Check.within("x", LIMIT, "").passed


def test_models_are_compared_by_their_vectors() -> None:
    first, other = open_model(MODEL), open_model(MODEL.parent / "highway1")
    assert compare(first, open_model(MODEL)) <= LIMIT
    assert compare(first, other) > 0.1


def test_reference_vectors_may_be_read_by_all_who_may_read_other_new_files(tmp_path: Path) -> None:
    write_reference(open_model(MODEL), tmp_path)
    (tmp_path / "other").touch()
    assert (tmp_path / REFERENCE).stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_folder_without_reference_vectors_has_none(tmp_path: Path) -> None:
    assert read_reference(tmp_path) is None


def test_the_reference_sentences_try_what_models_stumble_over() -> None:
    model = open_model(MODEL)
    assert model.characters is not None
    assert any(model.characters.is_cut(word) for sentence in SENTENCES for word in sentence)
    assert [layers.shape for layers in plain_layers(model, SENTENCES)] == [(3, len(words), 16) for words in SENTENCES]
