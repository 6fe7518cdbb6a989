"""Weights of eight bits: each number within half a step of its row, and a file that opens as any other."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny import random_model
from torch import Tensor

from polyseme.embedder import Embedder
from polyseme.errors import DamagedModelError, OptionError
from polyseme.formats.compact import FACTORS, SMALL, pack, rounded, unpack
from polyseme.formats.folder import open_model, write_model
from polyseme.formats.model import Model
from polyseme.settle import settled_states
from polyseme.verify import smallest_cosine, verify

NOWHERE = Path("somewhere")


def large_model() -> Model:
    """Large enough for its tables to be rounded, and with weights so small that states come to rest."""
    model = random_model(3, softmax=True, projection_size=32, cell_size=160)
    for name, tensor in model.bilm.state_dict().items():
        tensor *= 0.1 if "layers" in name else 1.0
    return dataclasses.replace(model, counts=np.arange(model.bilm.config.softmax_size, dtype=np.int64))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e6]), dims=st.sampled_from([2, 3]))
def test_every_number_is_within_half_a_step_of_its_row(seed: int, scale: float, dims: int) -> None:
    shape = (64, 300) if dims == 2 else (64, 20, 15)
    chance = torch.Generator().manual_seed(seed)
    table = torch.randn(shape, generator=chance) * torch.logspace(-3, 3, 64).reshape(64, *[1] * (dims - 1)) * scale
    table[5] = 0
    packed = pack({"table": table})
    assert packed["table"].dtype == torch.int8
    found = unpack(packed, NOWHERE)["table"]
    step = table.flatten(1).abs().amax(dim=1) / 127
    assert ((found - table).flatten(1).abs().amax(dim=1) <= step * 0.501).all()
    assert (found[5] == 0).all()
    again = pack({"table": found})["table"]
    assert torch.equal(again, packed["table"])


def test_small_tables_and_vectors_are_kept() -> None:
    tensors = {"bias": torch.randn(SMALL), "small": torch.randn(3, 4), "odd.factors": torch.randn(2, 2)}
    packed = pack(tensors)
    assert packed.keys() == tensors.keys()
    assert all(unpack(packed, NOWHERE)[name] is tensor for name, tensor in tensors.items())


def test_a_folder_of_eight_bits_holds_the_rounded_model_in_a_quarter_of_the_space(tmp_path: Path) -> None:
    model = rounded(large_model())
    states, residual = settled_states(model)
    model = dataclasses.replace(model, settled=states, settled_residual=residual)
    write_model(large_model(), tmp_path / "whole")
    write_model(model, tmp_path / "small", weights="int8")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "small")]
    assert sizes[1] < 0.4 * sizes[0]  # its biases and small tables stay
    opened = open_model(tmp_path / "small")
    assert opened.counts is not None
    assert np.array_equal(opened.counts, np.arange(len(opened.counts)))
    for name, tensor in model.bilm.state_dict().items():
        torch.testing.assert_close(opened.bilm.state_dict()[name], tensor, rtol=1e-6, atol=0)
    assert [check.name for check in verify(opened) if not check.passed] == ["reference"]
    assert 0.99 < smallest_cosine(large_model(), opened) < 1


def test_rounding_does_not_make_a_vector_depend_on_its_company() -> None:
    embedder = Embedder(rounded(large_model()), state="zero", threads=1)
    sentence = ["The", "bank", "raised", "its", "rates"]
    (alone,) = embedder.embed([sentence])
    together = embedder.embed([["A", "very", "Long", "river", "of", "words", "."], sentence, ["x"]])[1]
    assert torch.allclose(torch.from_numpy(alone.layers), torch.from_numpy(together.layers), atol=1e-5)


def damaged(folder: Path, name: str, factors: Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[name + FACTORS]
    save_file(tensors | ({} if factors is None else {name + FACTORS: factors}), folder / "model.safetensors")


@pytest.mark.parametrize(
    ("factors", "said"),
    [(None, "missing"), (torch.ones(3), "of shape \\(3,\\)"), (torch.ones(640, dtype=torch.int32), "torch.int32"),
     (torch.full((640,), math.inf), "not finite")],
)  # fmt: skip
def test_factors_that_do_not_fit_are_damage(tmp_path: Path, factors: Tensor | None, said: str) -> None:
    write_model(large_model(), tmp_path / "m", weights="int8")
    damaged(tmp_path / "m", "forward_layers.layers.0.input_weight", factors)
    with pytest.raises(DamagedModelError, match=said):
        open_model(tmp_path / "m")


def test_only_a_polyseme_folder_holds_them(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="only a Polyseme folder"):
        write_model(large_model(), tmp_path / "m", to="allennlp", weights="int8")
    with pytest.raises(OptionError, match="--weights must be one of float32, int8"):
        write_model(large_model(), tmp_path / "m", weights="int4")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
