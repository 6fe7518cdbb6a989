"""The events of a run for TensorBoard: `train(..., on_event=Board(folder))`, then `tensorboard --logdir MODEL`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from polyseme.errors import MissingExtraError, OutputError

FOLDER = "tensorboard"


class Board:
    """Writes scalars into FOLDER/tensorboard, by update. Not for use from several processes: give it to the first."""

    def __init__(self, folder: str | Path) -> None:
        """Raises `MissingExtraError` without tensorboard: make one before work starts."""
        if find_spec("tensorboard") is None:
            raise MissingExtraError("TensorBoard", "train")
        self.folder = Path(folder) / FOLDER
        self._writer: Any = None

    def __call__(self, event: dict[str, Any]) -> None:
        """Writes what an event measured; the first one makes the folder. Raises `OutputError`."""
        try:
            if self._writer is None:
                self._writer = import_module("torch.utils.tensorboard").SummaryWriter(str(self.folder))
            for name, value in scalars(event):
                self._writer.add_scalar(name, value, int(event["update"]))
            if event.get("event") != "train":
                self._writer.flush()
        except UnicodeEncodeError as error:
            raise OutputError(
                f"{self.folder}: this locale cannot spell the name for TensorBoard; set LC_ALL=C.UTF-8, or take another"
            ) from error
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written ({error.strerror or error}); make room") from error

    def close(self) -> None:
        """Writes what is waiting."""
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def scalars(event: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The finite numbers of an event, by the name of their chart; none of an event that has no place in a run."""
    if not isinstance(event.get("update"), int):
        return
    kind = event.get("event")
    values: dict[str, Any] = {}
    if kind == "train":
        how = "sampled " if event.get("loss") == "sampled" else ""
        values = {f"{how}perplexity, training/{way}": value for way, value in event.get("perplexity", {}).items()}
        values |= {"learning rate": event.get("rate"), "targets a second": event.get("targets_per_second")}
    elif kind == "validation":
        values = {f"perplexity, held out/{way}": value for way, value in event.get("heldout", {}).items()}
    elif kind == "end":
        values = {f"perplexity, all held-out text/{way}": value for way, value in event.get("heldout", {}).items()}
    elif kind == "rollback":
        values = {"rate after rollbacks": event.get("rate_scale")}
    for name, value in values.items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield name, float(value)
