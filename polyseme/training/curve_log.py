"""log.jsonl as curves: which points are in force, what a rollback threw away, what is no number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from polyseme.training.axes import Point

WAYS = ("forward", "backward")
Event = dict[str, Any]
TINY = 1e-300  # what a logarithm can still be taken of


@dataclass
class Series:
    """One curve: `live` points by rising x, and the stretches that rollbacks threw away. None is a gap."""

    live: list[tuple[float, float | None]] = field(default_factory=list)
    abandoned: list[list[Point]] = field(default_factory=list)

    def add(self, x: float, value: object, least: float = TINY) -> None:
        """A value that is no finite number from `least` on leaves a gap; an x that was passed begins anew there."""
        if self.live and x <= self.live[-1][0]:
            self.back_to(x - 1)
        self.live.append((x, usable(value, least)))

    def back_to(self, x: float) -> None:
        """Throws away what came after x; the stretch begins at the last point that stays."""
        cut = next((at for at, point in enumerate(self.live) if point[0] > x), len(self.live))
        gone = [(at, y) for at, y in self.live[max(0, cut - 1) :] if y is not None]
        if cut < len(self.live) and gone:
            self.abandoned.append(gone)
        del self.live[cut:]

    @property
    def points(self) -> list[Point]:
        """The live points that are numbers."""
        return [(x, y) for x, y in self.live if y is not None]

    def stretches(self) -> Iterator[list[Point]]:
        """The live points between gaps."""
        stretch: list[Point] = []
        for x, y in [*self.live, (0.0, None)]:
            if y is not None:
                stretch.append((x, y))
            elif stretch:
                yield stretch
                stretch = []


class Log:
    """What the events say, as curves."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.training, self.heldout = ({way: Series() for way in WAYS} for _ in range(2))
        self.mean, self.rates, self.seconds = Series(), Series(), Series()
        self.epochs: list[tuple[float, int]] = []
        self.rollbacks: list[tuple[float, float]] = []
        self.validations: list[Event] = []
        self.sampled = False
        self.of, self.skipped = 0.0, 0
        self.end: Event | None = None
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        x, kind = usable(event.get("update"), least=0.0), event.get("event")
        if x is None:
            return
        if kind == "rollback":
            self._rollback(x, usable(event.get("to"), least=0.0) or 0.0)
        if kind == "end":
            self.end = event
        if kind not in ("train", "validation"):
            return
        if kind == "train":
            self.sampled |= event.get("loss") == "sampled"
            self.of = usable(event.get("of")) or self.of
            self.rates.add(x, event.get("rate"), least=0.0)
            self._add(self.training, x, event.get("perplexity"))
        else:
            self.validations = [each for each in self.validations if each["update"] < x] + [event]
            self._add(self.heldout, x, event.get("heldout"))
            self.mean.add(x, field_of(event.get("heldout"), "mean"))
        if usable(event.get("seconds")) and not (self.seconds.live and self.seconds.live[-1][0] == x):
            self.seconds.add(x, event["seconds"])
        epoch = event.get("epoch")
        if isinstance(epoch, int):
            self.epochs = [each for each in self.epochs if each[0] < x] + [(x, epoch)]

    def _add(self, series: dict[str, Series], x: float, perplexity: object) -> None:
        values = [field_of(perplexity, way) for way in WAYS]
        self.skipped += sum(usable(value) is None for value in values)
        for way, value in zip(WAYS, values, strict=True):
            series[way].add(x, value)

    def _rollback(self, x: float, to: float) -> None:
        self.rollbacks.append((x, to))
        self.validations = [each for each in self.validations if each["update"] <= to]
        self.epochs = [each for each in self.epochs if each[0] <= to]
        for series in (*self.training.values(), *self.heldout.values(), self.mean, self.rates, self.seconds):
            series.back_to(to)

    @property
    def best(self) -> Point | None:
        """The update with the lowest held-out mean, and that mean."""
        return min(self.mean.points, key=lambda point: point[1], default=None)

    @property
    def last(self) -> float:
        """The furthest update that anything is said of."""
        series = (*self.training.values(), *self.heldout.values())
        reached = [x for each in series for x, _ in each.live]
        return max([*reached, *(x for x, _ in self.rollbacks)], default=0.0)

    def values(self) -> list[float]:
        """All perplexities, also those thrown away."""
        series = (*self.training.values(), *self.heldout.values())
        return [y for each in series for some in (each.points, *each.abandoned) for _, y in some]

    def seconds_at(self, x: float) -> float | None:
        """The time of training until update x, between two that were logged; None beyond them."""
        points = [(0.0, 0.0), *self.seconds.points]
        for (left, begin), (right, end) in pairwise(points):
            if left <= x <= right and right > left:
                return begin + (end - begin) * (x - left) / (right - left)
        return None

    def epoch_at(self, x: float) -> int | None:
        """The epoch, from 1, that update x belongs to, as far as the log tells."""
        return next((epoch + 1 for at, epoch in self.epochs if at >= x), None)


def field_of(values: object, name: str) -> object:
    return values.get(name) if isinstance(values, dict) else None


def usable(value: object, least: float = TINY) -> float | None:
    """A finite number that is at least `least`; otherwise None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= least else None
