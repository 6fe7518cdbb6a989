"""Checkpoints: everything that a run needs to go on at the very batch, in one file that appears whole or not at all.

    MODEL/checkpoints/000001500.safetensors

Tensors: the network, the optimiser, the carried states of all lanes. In the header, as JSON: how far the run is, what
it had best, the settings and the corpus it belongs to, and a checksum of the tensors. Random numbers (dropout, samples,
the order of an epoch) are drawn from the seed and the number of the update, so these two numbers are the state of every
generator.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from polyseme.bilm import BiLM, BiLMConfig
from polyseme.engine import States
from polyseme.errors import OutputError, ResumeError
from polyseme.formats.native import write_tensors
from polyseme.nn.lstm import LSTMState
from polyseme.text.shards import Corpus
from polyseme.text.vocab import Vocabulary
from polyseme.training.config import TrainConfig
from polyseme.training.optimizer import Optimizer

FOLDER = "checkpoints"
FORMAT = "polyseme checkpoint 1"
# Settings that may change when a run goes on: they do not decide what an update does.
FREE = {"log_every", "validate_every", "checkpoint_every", "keep", "patience", "rollbacks"}
# Where a run ends; a cosine falls towards it from the first update on, a cool-down from its own.
END = {"epochs", "updates", "cool_down"}
# A smoothed loss this far (in nats) above its lowest is divergence, not noise.
DIVERGED = 1.5
SMOOTHING = 0.98


@dataclass
class Position:
    """How far a run is. `rate_scale`: what rollbacks left of the rate. `smoothed`: the running mean training loss.

    `cooling`: whether the last update belonged to the cool-down. `validated`: the update after which the network
    was last validated. `interval`: sums since the last line of the log.
    """

    update: int = 0
    epoch: int = 0
    update_of_epoch: int = 0
    targets: int = 0
    seconds: float = 0.0
    rate_scale: float = 1.0
    cooling: bool = False
    rollbacks: int = 0
    smoothed: float | None = None
    lowest: float | None = None
    best: float | None = None
    best_update: int = 0
    validated: int = -1
    validations_without_better: int = 0
    interval: dict[str, float] = field(default_factory=dict)

    def diverged(self, loss: float) -> bool:
        """Takes the loss of an update into the running mean, unless that runs away."""
        smoothed = loss if self.smoothed is None else SMOOTHING * self.smoothed + (1 - SMOOTHING) * loss
        if self.lowest is not None and smoothed > self.lowest + DIVERGED:
            return True
        self.smoothed = smoothed
        self.lowest = smoothed if self.lowest is None else min(self.lowest, smoothed)
        return False


def identity(
    corpus: Corpus, architecture: BiLMConfig, config: TrainConfig, vocabulary: Vocabulary, processes: int
) -> dict[str, Any]:
    """What must be the same for a run to go on, but for `FREE`."""
    words = "\n".join(vocabulary.words).encode("utf-8", "surrogatepass")
    return {
        "corpus": corpus.identity,
        "architecture": asdict(architecture),
        "training": asdict(config),
        "processes": processes,
        "vocabulary": f"{len(vocabulary):,} words, checksum {zlib.crc32(words):08x}",
    }


# --- files


def path_of(folder: Path, update: int) -> Path:
    """The file of the checkpoint after `update` updates."""
    return folder / FOLDER / f"{update:09d}.safetensors"


def found(folder: Path) -> list[Path]:
    """All checkpoints, the newest last."""
    return sorted((folder / FOLDER).glob("[0-9]*.safetensors"))


def newest(folder: Path) -> int | None:
    """The update after which the newest checkpoint was made."""
    files = found(folder)
    return int(files[-1].stem) if files else None


def drop_newest(folder: Path) -> None:
    """Removes the newest checkpoint if there is one before it."""
    files = found(folder)
    if len(files) > 1:
        files[-1].unlink(missing_ok=True)


def save(folder: Path, tensors: dict[str, Tensor], position: Position, run: dict[str, Any], keep: int) -> Path:
    """Writes a checkpoint under a temporary name, renames it, and removes all but the last `keep`.

    `run`: what must be the same for a run to go on. Raises `OutputError`: the earlier checkpoints stay.
    """
    path = path_of(folder, position.update)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"format": FORMAT, "checksum": _checksum(tensors)}
    header |= {"position": json.dumps(asdict(position)), "run": json.dumps(run, sort_keys=True)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(tensors, temporary, header)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OutputError(
            f"{path}: the checkpoint cannot be written ({error.strerror or error}); the earlier ones are whole: make "
            "room and pass --resume"
        ) from error
    # What claims to be newer is a damaged file that the run could not go on from.
    stale = [other for other in found(folder) if other.name > path.name]
    for old in stale + [other for other in found(folder) if other not in stale][:-keep]:
        with suppress(OSError):
            old.unlink()
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
                stored, position = _run_of(path, header), Position(**json.loads(header["position"]))
                _same(path, stored, run, cooling=position.cooling)
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
            if _checksum(tensors) != header["checksum"]:
                raise ValueError("its numbers are not those that were written")
        except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
            broken = broken or f"{path}: damaged ({error})"
            continue
        return tensors, position
    if broken:
        raise ResumeError(f"{broken}, and so is every other checkpoint; start again in another folder")
    return None


def settings(folder: Path) -> dict[str, Any] | None:
    """What the newest checkpoint whose header can be read says of its run, for whoever chose by a trial; else None."""
    for path in reversed(found(folder)):
        with suppress(OSError, SafetensorError, ValueError, KeyError), safe_open(path, framework="pt") as opened:
            return _run_of(path, opened.metadata() or {})
    return None


def as_stored(run: dict[str, Any]) -> dict[str, Any]:
    """As a checkpoint's header gives it back: JSON has lists where we have tuples."""
    found: dict[str, Any] = json.loads(json.dumps(run))
    return found


def clear_leftovers(folder: Path) -> None:
    """Removes what a killed process left half-written."""
    for leftover in (folder / FOLDER).glob(".*"):
        with suppress(OSError):
            leftover.unlink()


def _run_of(path: Path, header: dict[str, str]) -> dict[str, Any]:
    if header.get("format") != FORMAT:
        raise ResumeError(f"{path} is no checkpoint of this version of Polyseme; start in another folder")
    stored: dict[str, Any] = json.loads(header["run"])
    return stored


def _same(path: Path, stored: dict[str, Any], run: dict[str, Any], *, cooling: bool) -> None:
    """Raises `ResumeError` for the first setting that differs."""
    before, now = dict(_flat(stored)), dict(_flat(as_stored(run)))
    falling = cooling or now.get("training.schedule") == "cosine"
    free = {f"training.{name}" for name in (FREE if falling else FREE | END)}
    if before.get("corpus") != now["corpus"]:
        raise ResumeError(
            f"{path} belongs to a run on another text, or on this one prepared with other options; go on with the same "
            "text, or start in another folder"
        )
    # What was given is named before what follows from it.
    for name in sorted((before.keys() | now.keys()) - free, key=lambda name: (not name.startswith("training."), name)):
        if before.get(name) != now.get(name):
            raise ResumeError(
                f"{path} was made with {name} = {before.get(name)!r}, this run has {now.get(name)!r}; "
                "go on with the same settings, or start in another folder"
            )


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _checksum(tensors: dict[str, Tensor]) -> str:
    """CRC-32 over names, shapes and values, in name order."""
    found = 0
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode(), found)
        found = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


# --- tensors


def finite(tensors: dict[str, Tensor]) -> bool:
    """Whether all values are numbers: what is not must never become the last good state."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values() if tensor.is_floating_point())


def tensors_of(bilm: BiLM, optimizer: Optimizer) -> dict[str, Tensor]:
    """What all processes share."""
    tensors = {f"network.{name}": tensor for name, tensor in bilm.state_dict().items()}
    return tensors | {f"optimizer.{name}": tensor for name, tensor in optimizer.tensors().items()}


@torch.no_grad()
def restore(tensors: dict[str, Tensor], bilm: BiLM, optimizer: Optimizer) -> None:
    """Puts back what `tensors_of` gave."""
    for name, tensor in bilm.state_dict().items():
        tensor.copy_(tensors[f"network.{name}"])
    optimizer.restore(_below(tensors, "optimizer."))
    optimizer.forget_gradients()


def tensors_of_states(states: list[States | None]) -> dict[str, Tensor]:
    """The states that one process carries, part by part."""
    own = {}
    for part, pair in enumerate(states):
        for way, state in zip(("forward", "backward"), pair or (), strict=False):
            own[f"{part}.{way}.hidden"], own[f"{part}.{way}.cell"] = state.hidden, state.cell
    return own


def restore_states(tensors: dict[str, Tensor], rank: int, parts: int, device: torch.device) -> list[States | None]:
    """The states of process `rank`, from the tensors of all that a checkpoint holds."""
    own = {name: tensor.to(device) for name, tensor in _below(tensors, f"states.{rank}.").items()}

    def state(part: int, way: str) -> LSTMState:
        return LSTMState(own[f"{part}.{way}.hidden"], own[f"{part}.{way}.cell"])

    return [
        (state(part, "forward"), state(part, "backward")) if f"{part}.forward.hidden" in own else None
        for part in range(parts)
    ]


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
