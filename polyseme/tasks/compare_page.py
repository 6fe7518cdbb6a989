"""A comparison as Markdown for a README and as one HTML page with learning curves: no network, no script.

markdown(comparison)
page(comparison, "SST-2")
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from polyseme.tasks.compare import Cell, Comparison, Pair
from polyseme.training.axes import Axis, apart, duration, short

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 56, 620, 16, 372
COLOURS = 8
CLEAR = 0.05  # an adjusted p-value below it is shown as a difference

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #24292f; --faint: #59636e; --line: #d8dee4;
  --g0: #0069b4; --g1: #b8480a; --g2: #1a7f37; --g3: #7a3fd6; --g4: #a3175c; --g5: #6b5900; --g6: #00707a;
  --g7: #5a5f66; }
@media (prefers-color-scheme: dark) { :root { --ground: #15191f; --ink: #e6edf3; --faint: #a5afb9; --line: #353c45;
  --g0: #58b0ff; --g1: #ff9a52; --g2: #4ac26b; --g3: #c297ff; --g4: #ff7ab8; --g5: #d6c04a; --g6: #3fc8d4;
  --g7: #aab2bb; } }
body { font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; max-width: 1000px; margin: 1.5rem auto;
  padding: 0 1rem; background: var(--ground); color: var(--ink); overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } .faint, caption { color: var(--faint); }
.scroll { overflow-x: auto; margin: 1.4rem 0; } figure { margin: 1rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { color: var(--faint); } dd { margin: 0; }
 table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { text-align: right; padding: .2rem .8rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: normal; }
th:first-child { text-align: left; padding-left: 0; } thead th { font-weight: 600; } td.best { font-weight: 600; }
svg { display: block; width: 100%; max-width: 760px; height: auto; }
svg text { font: 13px system-ui, "DejaVu Sans", sans-serif; }
svg text { fill: var(--ink); } .grid { stroke: var(--line); } .curve { fill: none; stroke-width: 2.2; }
.band { fill-opacity: .14; stroke: none; } .dot { stroke: var(--ground); }
"""
STYLE += "".join(
    f".s{at} {{ stroke: var(--g{at}); }} .f{at}, svg text.f{at} {{ fill: var(--g{at}); }}\n" for at in range(COLOURS)
)


# --- Markdown


def markdown(found: Comparison) -> str:
    """Three tables: scores at each share, pairs, costs."""
    parts = [_rows_of_table(*_score_table(found), bold="**"), _rows_of_table(*_cost_table(found))]
    if found.pairs:
        parts.insert(1, _rows_of_table(*_pair_table(found)))
    return "\n\n".join(parts) + "\n"


def _rows_of_table(head: Sequence[str], rows: Sequence[Sequence[str]], bold: str = "") -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("*", bold) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _score_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """A row a learner, a column a share; the best of a column between stars."""
    head = [
        "features",
        *(f"{percent(share)} ({found.cell(found.features[0], share).examples:,})" for share in found.shares),
    ]
    best = {share: max(found.cell(name, share).mean for name in found.features) for share in found.shares}
    rows = []
    for name in found.features:
        cells = [found.cell(name, share) for share in found.shares]
        rows.append([name, *(f"*{score(c)}*" if c.mean == best[c.share] else score(c) for c in cells)])
    return head, rows


def _pair_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    head = ["with all examples", "difference", "95 %", "p (Holm)", "errors saved"]
    return head, [_pair(pair) for pair in found.pairs]


def _pair(pair: Pair) -> list[str]:
    low, high = (f"{100 * bound:+.1f}" for bound in pair.interval)
    return [
        f"{pair.first} against {pair.second}", f"{100 * pair.difference:+.1f}", f"{low} to {high}",
        probability(pair.adjusted), f"{100 * pair.errors_saved:.1f} %",
    ]  # fmt: skip


def _cost_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    head = ["features", "numbers a word", "vectors of all examples", "one fit", "passes", "test"]
    rows = []
    for name in found.features:
        cell = found.cell(name, found.shares[-1])
        about = found.facts.get("learners", {}).get(name, {})
        rows.append([
            name, about.get("width", ""), duration(about["vector_seconds"]) if "vector_seconds" in about else "",
            duration(cell.fit_seconds), f"{sum(cell.epochs) / len(cell.epochs):.0f}" if any(cell.epochs) else "",
            duration(cell.test_seconds),
        ])  # fmt: skip
    return head, rows


def probability(p: float) -> str:
    """Three digits; one that shows no difference says so."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" + ("" if p < CLEAR else " (none shown)")


def percent(share: float) -> str:
    """3 %"""
    return f"{100 * share:g} %"


def score(cell: Cell) -> str:
    """In hundredths, with half the interval over the seeds."""
    if cell.interval is None:
        return f"{100 * cell.mean:.1f}"
    return f"{100 * cell.mean:.1f} ± {50 * (cell.interval[1] - cell.interval[0]):.1f}"


# --- the page


def page(found: Comparison, title: str) -> str:
    """One HTML file."""
    metric = escape(str(found.facts.get("metric", "score")))
    about = found.facts.get("about", {})
    facts = "".join(f"<dt>{_safe(name)}</dt><dd>{_safe(str(value))}</dd>" for name, value in about.items())
    tables = [
        _html_table(f"Test {metric} in hundredths: mean over {len(found.seeds)} seeds, ± half its 95 % interval "
                    "(Student's t); columns: share of the training examples", *_score_table(found)),
        _html_table("What it costs, in seconds of this machine", *_cost_table(found)),
    ]  # fmt: skip
    if found.pairs:
        tables.insert(1, _html_table(
            "The same test examples under both, paired bootstrap; p of 0.05 or more shows no difference",
            *_pair_table(found),
        ))  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{_safe(title)}</title><style>{STYLE}</style></head>\n<body><main><h1>{_safe(title)}</h1>\n"
        f"<figure>{svg(found)}<figcaption class='faint'>Test {metric} by training examples (logarithmic); the band "
        "spans the seeds.</figcaption></figure>\n"
        + "\n".join(tables)
        + (f"\n<h2>What was compared</h2><dl>{facts}</dl>" if facts else "")
        + "</main></body></html>\n"
    )


def _html_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cell(text: str) -> str:
        best = ' class="best"' if text.startswith("*") else ""
        return f"<td{best}>{_safe(text.strip('*'))}</td>"

    top = "".join(f'<th scope="col">{_safe(name)}</th>' for name in head)
    body = "".join(f'<tr><th scope="row">{_safe(row[0])}</th>{"".join(map(cell, row[1:]))}</tr>' for row in rows)
    return (
        f'<div class="scroll"><table><caption>{_safe(caption)}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def svg(found: Comparison) -> str:
    """The learning curves, with a description for those who cannot see them."""
    sizes = [found.cell(found.features[0], share).examples for share in found.shares]
    scores = [value for cell in found.cells for value in cell.scores]
    low, high = min(scores), max(scores)
    room = max(0.01, (high - low) * 0.06)
    x = Axis(min(sizes), max(sizes), LEFT, RIGHT, log=True)
    y = Axis(max(0.0, low - room), min(1.0, high + room), BOTTOM, TOP)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>Learning curves</title>'
        f"<desc>{_safe(described(found))}</desc>"
        + "".join(_grid(x, y, sizes))
        + "".join(_curves(found, x, y))
        + "</svg>"
    )


def described(found: Comparison) -> str:
    """The curves in words."""
    last, first = found.shares[-1], found.shares[0]
    said = [
        f"{name} from {100 * found.cell(name, first).mean:.1f} with {percent(first)} to "
        f"{100 * found.cell(name, last).mean:.1f} with all examples"
        for name in found.features
    ]
    return "; ".join(said)


def _grid(x: Axis, y: Axis, sizes: Sequence[int]) -> Iterator[str]:
    for tick in y.ticks(7):
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{short(100 * tick)}</text>'
    for size in sizes:
        yield f'<line class="grid" x1="{x(size):.1f}" x2="{x(size):.1f}" y1="{TOP}" y2="{BOTTOM}"/>'
        yield f'<text x="{x(size):.1f}" y="{BOTTOM + 20}" text-anchor="middle">{size:,}</text>'
    yield f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 42}" text-anchor="middle">training examples</text>'


def _curves(found: Comparison, x: Axis, y: Axis) -> Iterator[str]:
    ends = []
    for at, name in enumerate(found.features):
        colour = at % COLOURS
        cells = [found.cell(name, share) for share in found.shares]
        points = [(x(cell.examples), y(cell.mean)) for cell in cells]
        band = [(x(c.examples), y(max(c.scores))) for c in cells] + [
            (x(c.examples), y(min(c.scores))) for c in cells[::-1]
        ]
        yield f'<polygon class="band f{colour}" points="{_points(band)}"/>'
        yield f'<polyline class="curve s{colour}" points="{_points(points)}"/>'
        yield from (f'<circle class="dot f{colour}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in points)
        ends.append(points[-1][1])
    for at, (name, place) in enumerate(zip(found.features, apart(ends, 16, TOP, BOTTOM), strict=True)):
        yield f'<text class="f{at % COLOURS}" x="{RIGHT + 10}" y="{place + 4:.1f}">{_safe(name)}</text>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)


def _safe(text: str) -> str:
    """Escaped, without what HTML may not hold."""
    return escape(re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "�", text))
