"""Markdown tables of a report: results, layers, damaged words, perplexities, and the claims with their figures.

Every table shows, for each kind of vectors, the view that the dev part chose (`chosen`); the table of layers shows all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .metrics import paired_difference

DAMAGED = ", damaged words"
# task -> what the tables call it
NAMES = {
    "perplexity": "held-out perplexity",
    "wic": "word in context",
    "scws": "usage similarity",
    "wsd_words": "sense of one word",
    "wsd_all": "senses of all words",
    "sts": "sentence similarity",
    "text_probes": "linear probe of texts",
    "tag_probes": "linear probe of words",
    "taggers": "BiLSTM tagger",
    "words": "word similarity, analogy",
}
TAGGING_AND_SENSES = ("wic", "scws", "wsd_words", "wsd_all", "tag_probes", "taggers")
OF_TWO_WORDS = ("scws", "scws, two words")  # how similar are two words? No question of senses
WITH_LAYERS = ("wic", "scws", "wsd_words", "wsd_all", "sts", "text_probes", "tag_probes")
Row = dict[str, Any]
Report = dict[str, Any]


def tables(report: Report) -> str:
    """All tables that the report has figures for."""
    made = {
        "Results": main_table(report),
        "Layers": layer_table(report),
        "Damaged words": damage_table(report),
        "Perplexity": perplexity_table(report),
        "Claims": claims_table(report),
        "What was used": _data_lines(report),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in made.items() if text) + "\n"


def main_table(report: Report) -> str:
    """A row a task and data set, a column a kind of vectors; undamaged words."""
    columns = _columns(report)
    rows = []
    for task, data, metric, found in _measured(report):
        if DAMAGED not in metric:
            best = max(row["value"] for row in found.values())
            rows.append([NAMES[task], data, metric, *(_cell(found.get(column), best) for column in columns)])
    return markdown_table(["task", "data", "metric", *columns], rows)


def layer_table(report: Report) -> str:
    """Every layer of the first biLM, and the mean of all: one row a task."""
    rows: list[list[str]] = []
    views: list[str] = []
    for deep in _named(report, "contextual")[:1]:
        for task, data, metric, _ in _measured(report):
            if task not in WITH_LAYERS or DAMAGED in metric:
                continue
            found = {
                row["view"].removesuffix(", mean"): row  # of sentence similarity the mean pooling
                for row in report["tasks"][task]["scores"]
                if (row["data"], row["metric"], row["vectors"]) == (data, metric, deep)
            }
            views = views or [view for view in found if "," not in view and view != "learned mix"]
            if views and set(views) <= set(found):
                best = max(found[view]["value"] for view in views)
                rows.append([NAMES[task], data, metric, *(_cell(found[view], best) for view in views)])
    return markdown_table(["task", "data", "metric", *views], rows)


def damage_table(report: Report) -> str:
    """What a tenth of damaged characters costs, in points; in brackets what is left."""
    columns = _columns(report)
    rows = []
    for task, data, metric, found in _measured(report):
        noisy = _chosen(report, task, data, metric + DAMAGED)
        if noisy:
            cells = [
                f"{100 * (noisy[c]['value'] - found[c]['value']):+.1f} ({100 * noisy[c]['value']:.1f})"
                if c in noisy and c in found
                else ""
                for c in columns
            ]
            rows.append([NAMES[task], data, metric, *cells])
    return markdown_table(["task", "data", "metric", *columns], rows)


def perplexity_table(report: Report) -> str:
    """A row a genre."""
    rows = []
    for row in report["tasks"].get("perplexity", {}).get("scores", []):
        facts, (low, high) = row["facts"], row["interval"]
        rows.append([
            row["data"], "yes" if facts["open"] else "no", f"{row['value']:.1f}", f"{low:.1f} to {high:.1f}",
            f"{facts['perplexity']['forward']:.1f}", f"{facts['perplexity']['backward']:.1f}", f"{row['n']:,}",
            f"{100 * facts['unknown_share']:.1f} %", f"{facts['documents']}",
        ])  # fmt: skip
    head = ["genre", "open", "perplexity", "95 %", "forward", "backward", "targets", "unknown", "documents"]
    return markdown_table(head, rows)


# --- claims


def claims_table(report: Report) -> str:
    """Word in context against chance, error reduction over the best static vectors, and robustness."""
    rows = []
    for deep in _named(report, "contextual")[:1]:
        found = _chosen(report, "wic", "wic", "accuracy").get(deep)
        if found:
            low, high = (100 * bound for bound in found["interval"])
            text = f"{100 * found['value']:.1f} (95 %: {low:.1f} to {high:.1f})"
            rows.append(["word in context above chance", "interval above 50", text])
        above, below = above_static(report, deep, _named(report, "static"))
        if above or below:
            text = f"{len(above)} of {len(above) + len(below)}" + (f"; not: {', '.join(below)}" if below else "")
            rows.append(["above the best static vectors in tagging and senses", "everywhere", text])
        rows += _reduction_rows(report, deep)
        whole = _named(report, "static", subwords=False)
        for name, (mean, strict) in losses_of_accuracy(report, deep, whole).items():
            text = f"{mean:.2f} of their mean loss, {strict:.2f} of the least"
            rows.append([f"damaged words, {name}: loss against word-level static vectors", "0.67 or less", text])
    return markdown_table(["claim", "asked", "found"], rows)


def _reduction_rows(report: Report, deep: str) -> list[list[str]]:
    reductions = error_reductions(report, deep, _named(report, "static"))
    rows = [
        [f"BiLSTM tagger, {data}: errors avoided against {static}", "", f"{100 * share:.1f} %"]
        for data, (static, share) in reductions.items()
    ]
    if reductions:
        mean = sum(share for _, share in reductions.values()) / len(reductions)
        rows.append(["the mean of these", "20 % or more", f"{100 * mean:.1f} %"])
    return rows


def above_static(report: Report, deep: str, plain: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tagging and sense tasks where the biLM is above every static vectors; those where it is not, and by how much."""
    above: list[str] = []
    below: list[str] = []
    for task, data, metric, found in _measured(report):
        static = [found[name] for name in plain if name in found]
        if (
            task in TAGGING_AND_SENSES
            and data not in OF_TWO_WORDS
            and DAMAGED not in metric
            and static
            and deep in found
        ):
            best = max(static, key=lambda row: float(row["value"]))
            title = f"{NAMES[task]} ({data})"
            if found[deep]["value"] > best["value"]:
                above.append(title)
            else:
                below.append(f"{title}: {_difference(found[deep], best)}")
    return above, below


def _difference(row: Row, other: Row) -> str:
    """In points; with the interval of the difference where the report says which items were right."""
    text = f"{100 * (row['value'] - other['value']):+.1f} against {other['vectors']}"
    if "right" in row["facts"] and "right" in other["facts"]:
        _, low, high = paired_difference(row["facts"]["right"], other["facts"]["right"])
        text += f" (95 % of the difference: {100 * low:+.1f} to {100 * high:+.1f})"
    return text


def error_reductions(report: Report, deep: str, plain: Sequence[str]) -> dict[str, tuple[str, float]]:
    """data -> (the best static vectors, the share of their errors that the biLM avoids), with the same tagger."""
    reductions = {}
    for task, data, metric, found in _measured(report):
        static = [name for name in plain if name in found]
        if task == "taggers" and DAMAGED not in metric and static and deep in found:
            best = max(static, key=lambda name: found[name]["value"])
            errors = 1 - found[best]["value"]
            reductions[data] = best, ((found[deep]["value"] - found[best]["value"]) / errors if errors else 0.0)
    return reductions


def losses_of_accuracy(report: Report, deep: str, plain: Sequence[str]) -> dict[str, tuple[float, float]]:
    """task and data -> what the biLM loses by damaged words over what the `plain` vectors lose: their mean, the least.

    Left out where one of the plain vectors loses nothing.
    """
    ratios = {}
    for task, data, metric, found in _measured(report):
        noisy = _chosen(report, task, data, metric + DAMAGED)
        lost = {name: found[name]["value"] - noisy[name]["value"] for name in noisy if name in found}
        static = [lost[name] for name in plain if name in lost]
        if deep in lost and static and min(static) > 0:
            ratios[f"{NAMES[task]}, {data}"] = lost[deep] * len(static) / sum(static), lost[deep] / min(static)
    return ratios


# --- rows and cells


def _measured(report: Report) -> list[tuple[str, str, str, dict[str, Row]]]:
    """Every (task, data, metric) but perplexity, in order, with the chosen row of each kind of vectors."""
    keys = dict.fromkeys(
        (task, row["data"], row["metric"])
        for task, entry in report["tasks"].items()
        for row in entry["scores"]
        if task != "perplexity"
    )
    return [(*key, _chosen(report, *key)) for key in keys]


def _chosen(report: Report, task: str, data: str, metric: str) -> dict[str, Row]:
    """vectors -> the row of the view that dev chose."""
    scores = report["tasks"].get(task, {}).get("scores", [])
    return {r["vectors"]: r for r in scores if r["chosen"] and (r["data"], r["metric"]) == (data, metric)}


def _named(report: Report, kind: str, subwords: bool | None = None) -> list[str]:
    """The names of the vectors of a kind."""
    return [
        about["name"]
        for about in report["vectors"]
        if about["kind"] == kind and (subwords is None or about["subwords"] == subwords)
    ]


def _columns(report: Report) -> list[str]:
    """The names of the vectors, in the report's order; then whatever else has scores; the upper mark is the last."""
    seen = [r["vectors"] for task, entry in report["tasks"].items() if task != "perplexity" for r in entry["scores"]]
    ordered = [about["name"] for about in report["vectors"] if about["name"] in seen]
    upper = _named(report, "sentence transformer")
    return sorted(dict.fromkeys([*ordered, *seen]), key=lambda name: name in upper)


def _cell(row: Row | None, best: float) -> str:
    """Hundredths, with the deviation over the seeds or half the interval; the best is bold."""
    if row is None:
        return ""
    spread = (row["interval"][1] - row["interval"][0]) / 2 if row["interval"] else row["deviation"]
    text = f"{100 * row['value']:.1f}" + (f" ± {100 * spread:.1f}" if spread else "")
    return f"**{text}**" if row["value"] >= best else text


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; nothing without rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _data_lines(report: Report) -> str:
    lines = [f"* {NAMES[task]}: {json.dumps(entry['data'])}" for task, entry in report["tasks"].items()]
    return "\n".join([f"Made by `{report['command']}`.", "", *lines])
