"""What `train` and `adapt` share at the terminal: how a run is told of, how it is stopped, how one goes on with it."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from polyseme.cli.output import Meter, again

if TYPE_CHECKING:
    from polyseme.train import Event
    from polyseme.training.processes import Processes


def again_launched(processes: Processes, *more: str) -> str:
    """The command line of this run, with its launcher."""
    launcher = f"torchrun --nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', processes.world)} -m "
    return (launcher if processes.world > 1 else "") + again(*more)


class Interrupt:
    """Ctrl-C, or a polite kill, asks the run to save and end; the second one ends it at once.

    Several processes hear of one Ctrl-C twice, from the terminal and from torchrun, which soon kills who does not end.
    """

    def __init__(self, processes: Processes) -> None:
        self.asked, self.alone = False, processes.world == 1

    def __enter__(self) -> Interrupt:
        self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked and self.alone:
            raise KeyboardInterrupt
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


class Teller:
    """Shows events to people: training as the meter, what should stay as lines."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def __call__(self, event: Event) -> None:
        kind = event["event"]
        if kind == "train":
            self.meter.update(event["update"], event["of"], "updates")
        elif kind == "validation":
            said = event["heldout"]
            best = "the best so far" if event["best"] else "not better"
            self.meter.note(
                f"update {event['update']:,}: held-out perplexity forward {said['forward']:.2f}, backward "
                f"{said['backward']:.2f}, mean {said['mean']:.2f} ({event['heldout_targets']:,} targets), {best}"
            )
            if event["contexts"]:
                self.meter.note("  most alike: " + "  |  ".join(event["contexts"]))
        elif kind == "rollback":
            self.meter.note(
                f"update {event['update']:,}: {event['why']}; back to update {event['to']:,} at "
                f"{event['rate_scale']:g} of the learning rate"
            )
