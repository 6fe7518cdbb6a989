"""Weights of eight bits: a quarter of the size, for a model that travels with a package or a page.

A row of a large table becomes whole numbers from -127 to 127 and one factor, the row's largest |weight| / 127, so that
a word whose weights are small keeps its digits (symmetric quantization by channel; Krishnamoorthi 2018, arXiv
1806.08342, 2.1). Only the file is small: opening gives float32 weights, and the network computes as any other. Nothing
is rounded that depends on the text, so the same text still gets the same vector.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from polyseme.errors import DamagedModelError
from polyseme.formats.model import REFETCH, Model, assemble

Weights = Literal["float32", "int8"]
WEIGHTS: tuple[Weights, ...] = ("float32", "int8")
FACTORS = ".factors"
LARGEST = 127
SMALL = 1 << 14  # numbers of a tensor that is worth no rounding


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Large tables as int8, each with `NAME.factors` beside it; everything else as it is."""
    packed = {}
    for name, tensor in tensors.items():
        if tensor.dim() < 2 or tensor.numel() < SMALL:
            packed[name] = tensor
            continue
        rows = tensor.float().flatten(1)
        factors = rows.abs().amax(dim=1) / LARGEST
        steps = rows / torch.where(factors > 0, factors, 1.0)[:, None]
        packed[name] = steps.round().clamp(-LARGEST, LARGEST).to(torch.int8).view(tensor.shape)
        packed[name + FACTORS] = factors
    return packed


def unpack(packed: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """What `pack` was given, rounded. Raises `DamagedModelError` where factors are missing or do not fit."""
    tensors = {}
    for name, tensor in packed.items():
        if name.endswith(FACTORS) and name.removesuffix(FACTORS) in packed:
            continue
        if tensor.dtype == torch.int8:
            factors = packed.get(name + FACTORS)
            if factors is None or not factors.is_floating_point() or factors.shape != tensor.shape[:1]:
                found = "missing" if factors is None else f"of shape {tuple(factors.shape)} and {factors.dtype}"
                raise DamagedModelError(f"{file}: the factors of {name} are {found}; {REFETCH}")
            tensor = (tensor.float().flatten(1) * factors.float()[:, None]).view(tensor.shape)
        tensors[name] = tensor
    return tensors


def rounded(model: Model) -> Model:
    """The model that a file of eight bits will hold. A settled state that is a fixed point is to be found anew."""
    tensors = {name: tensor.detach().cpu() for name, tensor in model.bilm.state_dict().items()}
    bilm = assemble(model.bilm.config, unpack(pack(tensors), Path("int8")), Path("int8"))
    if model.settled_residual is None:  # a mean state, which rounding hardly moves
        return replace(model, bilm=bilm)
    return replace(model, bilm=bilm, settled=None, settled_residual=None)
