"""The arithmetic of a chart: round numbers for ticks, where a value lies, how a number is spelt; nothing is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """Values `low` .. `high` on a line from `begin` to `end` (pixels); `log`: equal factors are equal lengths."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value, in pixels."""
        low, high, value = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return self.begin + (self.end - self.begin) * ((value - low) / (high - low) if high > low else 0.5)

    def ticks(self, most: int = 8) -> list[float]:
        """Round values within the axis."""
        return log_ticks(self.low, self.high, most) if self.log else linear_ticks(self.low, self.high, most)


def linear_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, `most` of them at most, from `low` to `high`."""
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most - 1 + 1e-9)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """1, 2 and 5 times the powers of ten; fewer over many powers, linear ones where all lie close together."""
    if not high > low > 0:
        return [low]
    if high / low < 6:
        return [tick for tick in linear_ticks(low, high, most) if tick > 0]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def number(value: float) -> str:
    """1,234 or 123.4 or 12.34: four digits that can be read."""
    if not math.isfinite(value):
        return "no number" if math.isnan(value) else "beyond all numbers"
    if value >= 1e6:
        return f"{value:.2g}"
    return f"{value:,.{0 if value >= 1000 else 1 if value >= 100 else 2}f}"


def short(value: float) -> str:
    """A tick: 1,000 or 0.0002 or 1e-07, no digit too many."""
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        return f"{value:,.6f}".rstrip("0").rstrip(".")
    mantissa, _, exponent = f"{value:.6e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def duration(seconds: float) -> str:
    """40 s, 12 min, 3 h 05."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02}"


def apart(places: list[float], gap: float, top: float, bottom: float) -> list[float]:
    """Labels moved as little as a simple sweep can, so that neighbours are `gap` apart; in the given order."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved, last = list(places), top - gap
    for index in order:
        moved[index] = last = max(places[index], last + gap)
    last = bottom + gap
    for index in reversed(order):
        moved[index] = last = min(moved[index], last - gap)
    return moved


def thinned(points: list[Point], most: int = 1000) -> list[Point]:
    """A long curve by the means of neighbours, so that the page stays small."""
    if len(points) <= most:
        return points
    width = math.ceil(len(points) / most)
    found = []
    for at in range(0, len(points), width):
        some = points[at : at + width]
        found.append((sum(x for x, _ in some) / len(some), sum(y for _, y in some) / len(some)))
    return found
