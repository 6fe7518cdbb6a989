"""What a run leaves in its folder: the best model, log.jsonl, the training curve."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from polyseme.errors import NotConvergedError, OutputError
from polyseme.formats import native
from polyseme.formats.model import Model
from polyseme.settle import settled_states

LOG = "log.jsonl"


class Outcome:
    """Writes into `folder`, if this process is the one that `writes`."""

    def __init__(self, folder: Path, writes: bool) -> None:
        self.folder, self.writes = folder, writes

    def model(self, model: Model) -> None:
        """Replaces the model in the folder, file by file, the weights last. Raises `OutputError`."""
        if not self.writes:
            return
        working = None
        try:
            working = Path(tempfile.mkdtemp(prefix=".model.", dir=self.folder))
            native.write(_settled(model), working)
            for file in sorted(working.iterdir(), key=lambda file: file.suffix == ".safetensors"):
                file.replace(self.folder / file.name)
        except OSError as error:
            raise OutputError(
                f"{self.folder}: the model cannot be written ({error.strerror or error}); make room and pass --resume"
            ) from error
        finally:
            if working is not None:
                shutil.rmtree(working, ignore_errors=True)

    def log(self, event: dict[str, Any]) -> None:
        """One line. Raises `OutputError`."""
        if not self.writes:
            return
        try:
            with (self.folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self.folder / LOG}: cannot be written ({error.strerror}); make room and pass --resume"
            ) from error

    def forget_after(self, update: int) -> None:
        """Drops what was logged after the checkpoint that a run goes on from: it will be logged again."""
        if not self.writes or not (self.folder / LOG).exists():
            return
        kept = [line for line in read_log(self.folder) if line.get("update", 0) <= update]
        temporary = self.folder / f".{LOG}.{os.getpid()}.tmp"
        try:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            temporary.replace(self.folder / LOG)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(f"{self.folder / LOG}: cannot be written ({error.strerror})") from error


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All events; a last line that a killed process left unfinished is passed over."""
    events = []
    for line in (folder / LOG).read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def _settled(model: Model) -> Model:
    """With the state that sentences start from, where it exists and is reached."""
    from dataclasses import replace

    if model.bilm.config.layers != "lstm":
        return model
    try:
        states, residual = settled_states(model)
    except NotConvergedError:
        return model  # it will be asked for when somebody embeds, and that error says what to do
    return replace(model, settled=states, settled_residual=residual)
