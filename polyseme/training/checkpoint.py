"""Checkpoints: everything that a run needs to go on at the very batch, in one file that appears whole or not at all.

    MODEL/checkpoints/000001500.safetensors

Tensors: the network, the optimiser, the carried states. In the header, as JSON: how far the run is, what it had best,
the settings and the corpus it belongs to. Random numbers (dropout, samples, the order of an epoch) are drawn from
the seed and the number of the update, so these two numbers are the state of every generator.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polyseme.errors import OutputError, ResumeError

FOLDER = "checkpoints"
FORMAT = "polyseme checkpoint 1"


@dataclass
class Position:
    """How far a run is. `rate_scale`: what rollbacks left of the rate. `smoothed`: the running mean training loss."""

    update: int = 0
    epoch: int = 0
    update_of_epoch: int = 0
    targets: int = 0
    seconds: float = 0.0
    rate_scale: float = 1.0
    rollbacks: int = 0
    smoothed: float | None = None
    lowest: float | None = None
    best: float | None = None
    best_update: int = 0
    validations_without_better: int = 0
    interval: dict[str, float] = field(default_factory=dict)


def path_of(folder: Path, update: int) -> Path:
    """The file of the checkpoint after `update` updates."""
    return folder / FOLDER / f"{update:09d}.safetensors"


def found(folder: Path) -> list[Path]:
    """All checkpoints, the newest last."""
    return sorted((folder / FOLDER).glob("[0-9]*.safetensors"))


def save(folder: Path, tensors: dict[str, Tensor], position: Position, run: dict[str, Any], keep: int) -> Path:
    """Writes a checkpoint under a temporary name, renames it, and removes all but the last `keep`.

    `run`: what must be the same for a run to go on. Raises `OutputError`: the earlier checkpoints stay.
    """
    path = path_of(folder, position.update)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    header = {"format": FORMAT, "position": json.dumps(asdict(position)), "run": json.dumps(run, sort_keys=True)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, header)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{path}: the checkpoint cannot be written ({reason}); the earlier ones are whole: make room and pass --resume"
        ) from error
    for old in found(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def load(folder: Path, run: dict[str, Any]) -> tuple[dict[str, Tensor], Position] | None:
    """The newest checkpoint that can be read; None where there is none at all.

    Raises `ResumeError` where it belongs to another run (it names the first setting that differs), or where all are
    damaged.
    """
    broken = ""
    for path in reversed(found(folder)):
        try:
            with safe_open(path, framework="pt") as opened:
                header = opened.metadata() or {}
                if header.get("format") != FORMAT:
                    raise ResumeError(f"{path} is no checkpoint of this version of Polyseme; start in another folder")
                position = Position(**json.loads(header["position"]))
                stored = json.loads(header["run"])
                _same(path, stored, json.loads(json.dumps(run)))
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
            broken = broken or f"{path}: damaged ({error})"
            continue
        return tensors, position
    if broken:
        raise ResumeError(f"{broken}, and so is every other checkpoint; start in another folder")
    return None


def _same(path: Path, stored: dict[str, Any], run: dict[str, Any]) -> None:
    for name in sorted(stored.keys() | run.keys()):
        if stored.get(name) != run.get(name):
            raise ResumeError(
                f"{path} was made with {name} = {stored.get(name)!r}, this run has {run.get(name)!r}; "
                "go on with the same settings, or start in another folder"
            )


def finite(tensors: dict[str, Tensor]) -> bool:
    """Whether all values are numbers: what is not must never become the last good state."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values() if tensor.is_floating_point())
