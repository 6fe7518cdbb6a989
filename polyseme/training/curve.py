"""The training curve: log.jsonl -> MODEL/curve.html, one file that needs nothing else, light or dark.

    write_curve(Path("model"))       # MODEL/curve.html
    svg(read_log(Path("model")))     # the picture alone

Perplexity on a logarithmic axis: thin lines while training, thick ones with points on held-out text; the learning rate
below. What a rollback threw away stays visible, pale. A value that is no finite number leaves a gap, and is counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from polyseme.errors import InputError, OutputError
from polyseme.training.axes import Axis, Point, apart, duration, number, short, thinned
from polyseme.training.curve_log import WAYS, Event, Log, usable
from polyseme.training.outcome import LOG, read_log

CURVE = "curve.html"
WIDTH, LEFT, RIGHT = 960, 74, 872
TOP, MIDDLE = 140, 486  # of the perplexity
RATE_TOP, RATE_BOTTOM, HEIGHT = 526, 606, 672
NOTES = 46  # at the foot of the upper panel, where marks are explained
LINE = 130  # characters below the title
WORST = 1000.0  # times the best perplexity: what lies above is cut off, and said

STYLE = """
svg.curve { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; max-width: 100%; height: auto; }
.curve text { fill: #24292f; font-variant-numeric: tabular-nums; }
.curve .ground { fill: #ffffff; } .curve .faint { fill: #59636e; }
.curve .title { font-size: 18px; font-weight: 600; }
.curve .small { font-size: 12px; }
.curve .grid { stroke: #d8dee4; } .curve .frame { stroke: #8c959f; fill: none; }
.curve .line { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.curve .training { stroke-width: 1.4; stroke-opacity: .75; } .curve .sampled { stroke-dasharray: 5 4; }
.curve .heldout { stroke-width: 2.6; }
.curve .abandoned { stroke-opacity: .45; }
.curve .forward { stroke: #0069b4; } .curve .backward { stroke: #c2500a; } .curve .rate { stroke: #59636e; }
.curve .dot { stroke: #ffffff; stroke-width: 1.2; }
.curve .dot.forward, .curve text.forward { fill: #0069b4; stroke: none; }
.curve .dot.backward, .curve text.backward { fill: #c2500a; stroke: none; }
.curve .best { fill: none; stroke: #1a7f37; stroke-width: 2.2; } .curve text.best { fill: #1a7f37; stroke: none; }
.curve .drop { stroke: #1a7f37; stroke-dasharray: 2 3; }
.curve .rollback { stroke: #b3261e; stroke-dasharray: 4 3; } .curve text.rollback { fill: #b3261e; stroke: none; }
@media (prefers-color-scheme: dark) {
.curve text { fill: #e6edf3; } .curve .ground { fill: #15191f; } .curve .faint { fill: #9da7b1; }
.curve .grid { stroke: #30363d; } .curve .frame { stroke: #6e7681; }
.curve .forward { stroke: #58b0ff; } .curve .backward { stroke: #ff9a52; } .curve .rate { stroke: #9da7b1; }
.curve .dot { stroke: #15191f; }
.curve .dot.forward, .curve text.forward { fill: #58b0ff; }
.curve .dot.backward, .curve text.backward { fill: #ff9a52; }
.curve .best { stroke: #4ac26b; } .curve text.best { fill: #4ac26b; } .curve .drop { stroke: #4ac26b; }
.curve .rollback { stroke: #ff7b72; } .curve text.rollback { fill: #ff7b72; }
}
"""
PAGE_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; max-width: 960px;
  margin: 1.5rem auto; padding: 0 1rem; background: #ffffff; color: #24292f; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .9rem; border-bottom: 1px solid #d8dee4; font-weight: normal; }
thead th { font-weight: 600; } .best td, .best th { font-weight: 600; }
@media (prefers-color-scheme: dark) { body { background: #15191f; color: #e6edf3; } th, td { border-color: #30363d; } }
"""


# --- the picture


def svg(events: Sequence[Event], title: str = "Training curve", subtitle: str = "") -> str:
    """The curve as an SVG picture with a title and a description for those who cannot see it.

    `subtitle`: two lines at most.
    """
    log = Log(events)
    said = "\n".join(_said(log))
    parts = [
        f'<svg class="curve" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-labelledby="curve-title curve-desc">',
        f'<title id="curve-title">{escape(title)}</title><desc id="curve-desc">{escape(said)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
        _text(20, 32, title, "title"),
        *(_text(20, 54 + 18 * row, _cut(line), "faint") for row, line in enumerate(subtitle.split("\n")[:2])),
    ]
    values = log.values()
    if not values:
        return "\n".join([*parts, _text(WIDTH / 2, 300, "Nothing is logged yet.", "faint", "middle"), "</svg>"])
    low, high = min(values), min(max(values), WORST * min(values))
    high = max(high, low * 1.02)
    x = Axis(0.0, max(log.last, 1.0), LEFT, RIGHT)
    y = Axis(low, high, MIDDLE - NOTES, TOP + 10, log=True)
    parts += [
        *_legend(log),
        *_grid(log, x, y),
        *_curves(log, x, y),
        *_marks(log, x, y),
        *_rate(log, x),
        *_foot(log, high),
    ]
    return "\n".join([*parts, "</svg>"])


def _cut(text: str) -> str:
    """What surely fits on a line."""
    return text if len(text) <= LINE else text[: LINE - 1] + "…"


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _legend(log: Log) -> Iterator[str]:
    sampled = " sampled" if log.sampled else ""
    rows = [(f"held out, {way}", f"heldout {way}") for way in WAYS if log.heldout[way].points]
    rows += [(f"training, {way}", f"training{sampled} {way}") for way in WAYS if log.training[way].points]
    x, y = LEFT, 98 if log.sampled else 112
    for name, kind in rows:
        yield _line(x, y, x + 28, y, f"line {kind}")
        if "heldout" in kind:
            yield f'<circle cx="{x + 14}" cy="{y}" r="3.6" class="dot {kind.split()[-1]}"/>'
        yield _text(x + 35, y + 4.5, name)
        x += 60 + 7 * len(name)
    if log.sampled:
        why = "training: a sampled loss, against a few words, is an easier task: do not compare it with held-out text"
        yield _text(LEFT, 122, why, "small faint")


def _grid(log: Log, x: Axis, y: Axis) -> Iterator[str]:
    yield f'<rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{MIDDLE - TOP}" class="frame"/>'
    for tick in y.ticks():
        yield _line(LEFT, y(tick), RIGHT, y(tick), "grid")
        yield _text(LEFT - 9, y(tick) + 4.5, short(tick), "", "end")
    yield (
        f'<text x="20" y="{(TOP + MIDDLE) / 2}" class="faint" text-anchor="middle" '
        f'transform="rotate(-90 20 {(TOP + MIDDLE) / 2})">perplexity</text>'
    )
    for tick in x.ticks():
        yield _line(x(tick), TOP, x(tick), MIDDLE, "grid")
        yield _line(x(tick), RATE_TOP, x(tick), RATE_BOTTOM, "grid")
        yield _text(x(tick), RATE_BOTTOM + 19, short(tick), "", "middle")
        seconds, epoch = log.seconds_at(tick), log.epoch_at(tick)
        parts = [f"epoch {epoch}"] if epoch is not None and tick else []
        parts += [duration(seconds)] if seconds is not None and tick else []
        yield _text(
            x(tick), RATE_BOTTOM + 36, ", ".join(parts) or ("updates" if not tick else ""), "small faint", "middle"
        )


def _curves(log: Log, x: Axis, y: Axis) -> Iterator[str]:
    panel = f'<rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{MIDDLE - TOP}"/>'
    yield f'<clipPath id="curve-panel">{panel}</clipPath>'
    yield '<g clip-path="url(#curve-panel)">'
    sampled = " sampled" if log.sampled else ""
    for group, kind in ((log.training, f"training{sampled}"), (log.heldout, "heldout")):
        for way in WAYS:
            for stretch in group[way].abandoned:
                yield _path(stretch, x, y, f"{kind} {way} abandoned")
            for stretch in group[way].stretches():
                yield _path(stretch, x, y, f"{kind} {way}")
    yield "</g>"
    few = len(log.validations) <= 60
    for way in WAYS:
        points = log.heldout[way].points
        # A log of one line still shows, so the last training value has a dot, too, before the first validation.
        shown = [*(points if few else points[-1:])] or log.training[way].points[-1:]
        for at, value in shown:
            if value <= y.high:
                told = escape(f"update {at:,.0f}: {way} perplexity {number(value)}")
                place = f'cx="{x(at):.1f}" cy="{y(value):.1f}"'
                yield f'<circle {place} r="3.6" class="dot {way}"><title>{told}</title></circle>'


def _path(points: list[Point], x: Axis, y: Axis, kind: str) -> str:
    places = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in thinned(points))
    return f'<polyline points="{places}" class="line {kind}"/>'


def _marks(log: Log, x: Axis, y: Axis) -> Iterator[str]:
    """Rollbacks, the best network, and the last value of each curve beside its end."""
    for at, to in log.rollbacks:
        yield _line(x(at), TOP, x(at), MIDDLE, "rollback")
        yield _beside(x(at), MIDDLE - 9, f"back to {to:,.0f}, half the rate", "small rollback")
    if log.best is not None:
        at, value = log.best
        yield _line(x(at), y(value) + 8, x(at), MIDDLE, "drop")
        yield f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="7" class="best"/>'
        yield _beside(
            x(at), MIDDLE - 24 if log.rollbacks else MIDDLE - 12, f"best mean {number(value)}, update {at:,.0f}", "best"
        )
    ends = [(way, points[-1][1]) for way in WAYS if (points := (log.heldout[way].points or log.training[way].points))]
    places = apart([y(value) for _, value in ends], 17, TOP + 8, MIDDLE)
    for (way, value), place in zip(ends, places, strict=True):
        yield _text(RIGHT + 16, place + 4.5, number(value), way)


def _beside(x: float, y: float, text: str, kind: str) -> str:
    """To the right of a vertical mark, or to the left where there is no room."""
    fits = x + 8 + 7.5 * len(text) < RIGHT
    return _text(x + 8 if fits else x - 8, y, text, kind, "start" if fits else "end")


def _rate(log: Log, x: Axis) -> Iterator[str]:
    yield f'<rect x="{LEFT}" y="{RATE_TOP}" width="{RIGHT - LEFT}" height="{RATE_BOTTOM - RATE_TOP}" class="frame"/>'
    yield _text(LEFT, RATE_TOP - 9, "learning rate", "faint")
    points = log.rates.points
    if points:
        y = Axis(0.0, max(value for _, value in points) * 1.1, RATE_BOTTOM, RATE_TOP)
        for tick in y.ticks(4):
            yield _line(LEFT, y(tick), RIGHT, y(tick), "grid")
            yield _text(LEFT - 9, y(tick) + 4.5, short(tick), "", "end")
        yield _path(points, x, y, "rate training")


def _foot(log: Log, high: float) -> Iterator[str]:
    notes = []
    if above := sum(value > high * (1 + 1e-9) for value in log.values()):
        notes.append(f"{above:,} values lie above the picture")
    if log.skipped:
        notes.append(f"{log.skipped:,} values were no finite number and are left out")
    yield _text(LEFT, HEIGHT - 10, "; ".join(notes), "small faint")


def _said(log: Log) -> Iterator[str]:
    """The picture in words."""
    yield f"Perplexity on a logarithmic scale over {log.last:,.0f} updates of training, the learning rate below."
    for name, group in (("Training", log.training), ("Held-out", log.heldout)):
        for way in WAYS:
            if points := group[way].points:
                (_, first), (at, last) = points[0], points[-1]
                yield f"{name}, {way}: {number(first)} first, {number(last)} at update {at:,.0f}."
    if log.sampled:
        yield "The training loss is sampled, so it cannot be compared with the held-out perplexity, which is exact."
    if log.best is not None:
        yield f"Best held-out mean: {number(log.best[1])} at update {log.best[0]:,.0f}."
    for at, to in log.rollbacks:
        yield f"At update {at:,.0f} the run went back to update {to:,.0f}, at half the learning rate."


# --- the page


def write_curve(folder: Path) -> Path:
    """Writes FOLDER/curve.html from FOLDER/log.jsonl, whole or not at all. Raises `InputError`, `OutputError`."""
    try:
        events = [event for event in read_log(folder) if isinstance(event, dict)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{folder / LOG}: cannot be read ({error}); a curve needs the log of a training run"
        ) from error
    path, temporary = folder / CURVE, folder / f".{CURVE}.{os.getpid()}.tmp"
    try:
        temporary.write_text(page(events, *_titles(folder, events)), encoding="utf-8", errors="surrogateescape")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: the curve cannot be written ({error.strerror or error}); make room") from error
    return path


def page(events: Sequence[Event], title: str, subtitle: str) -> str:
    """The whole page: the picture, and its numbers as a table."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{PAGE_STYLE}</style>\n</head>\n<body>\n'
        f"{svg(events, title, subtitle)}\n{_table(Log(events))}\n</body>\n</html>\n"
    )


def _table(log: Log) -> str:
    """What was measured on held-out text, row by row, and what the network thinks alike."""
    if not log.validations:
        return ""
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("update", "epoch", "time", "forward", "backward", "mean")
    )
    best = log.best[0] if log.best is not None else None
    rows = []
    for event in log.validations:
        epoch, seconds = event.get("epoch"), usable(event.get("seconds"))
        cells = [f"{epoch + 1}" if isinstance(epoch, int) else "", duration(seconds) if seconds else ""]
        found = event.get("heldout")
        values = found if isinstance(found, dict) else {}
        cells += [_cell(values.get(name)) for name in ("forward", "backward", "mean")]
        kind = ' class="best"' if event["update"] == best else ""
        first = f'<th scope="row">{event["update"]:,.0f}</th>'
        rows.append(f"<tr{kind}>{first}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    caption = "Exact perplexity of held-out text; the best in bold"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
    alike = [text for text in log.validations[-1].get("contexts") or [] if isinstance(text, str)]
    return f"<h2>{caption}</h2>\n{table}\n" + (
        f"<p>Most alike to the network, of one word in two places: {escape(' / '.join(alike))}</p>" if alike else ""
    )


def _cell(value: object) -> str:
    return number(value) if isinstance(value, int | float) else ""


def _titles(folder: Path, events: Sequence[Event]) -> tuple[str, str]:
    """What was trained on what; as far as the folder tells."""
    about: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    card, sizes = (about.get(name) if isinstance(about, dict) else None for name in ("card", "architecture"))
    card, sizes = (each if isinstance(each, dict) else {} for each in (card, sizes))
    parts = [str(card.get("data") or "")]
    if sizes:
        kind = "Transformer" if sizes.get("transformer") else f"LSTM, {sizes.get('cell_size')} cells"
        parts.append(f"{kind}, {sizes.get('n_layers')} layers, width {sizes.get('projection_size')}")
        parts.append(f"softmax over {sizes.get('softmax_size')} words")
    lines = ("; ".join(part for part in each if part) for each in (parts, _speed(events)))
    return f"Training of {card.get('name') or folder.resolve().name}", "\n".join(lines)


def _speed(events: Sequence[Event]) -> Iterator[str]:
    last = next((event for event in reversed(events) if event.get("event") == "train"), {})
    if targets := usable(last.get("targets")):
        yield f"{targets:,.0f} targets read"
    if per_second := usable(last.get("targets_per_second")):
        yield f"{per_second:,.0f} a second"
    end = next((event for event in reversed(events) if event.get("event") == "end"), {})
    found = end.get("heldout")
    if isinstance(found, dict) and (mean := usable(found.get("mean"))):
        yield f"all held-out text by the best network: {number(mean)}"
