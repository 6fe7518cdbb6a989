"""Raw results as JSON, written after every task; and the Markdown tables that are made from them.

The README's table: one row a task, one column a kind of vectors, the view that dev chose. The table of layers: every
view of a biLM. The table of claims: what issue and paper say should hold, with the figures for or against.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import polyseme

DAMAGED = ", damaged words"
PERCENT = ("accuracy", "F1", "entity F1")
# task -> what the table calls it
NAMES = {
    "perplexity": "held-out perplexity",
    "wic": "word in context (WiC)",
    "scws": "usage similarity (SCWS)",
    "wsd_words": "sense, one word",
    "wsd_all": "sense, all words",
    "sts": "sentence similarity (STS-B)",
    "text_probes": "linear probe",
    "tag_probes": "linear probe",
    "taggers": "BiLSTM tagger",
    "words": "word similarity and analogy",
}
Row = dict[str, Any]


def new_report(command: str, options: dict[str, Any], vectors: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A report without tasks."""
    return {
        "command": command, "options": options, "vectors": list(vectors), "cpu_cores": os.cpu_count(),
        "python": platform.python_version(), "torch": torch.__version__, "polyseme": polyseme.__version__, "tasks": {},
    }  # fmt: skip


def write(report: dict[str, Any], path: Path) -> None:
    """Replaces the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def resumed(path: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The report at `path`, if it was made with the same options and vectors; otherwise a message and the end."""
    old: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in ("options", "vectors"):
        if old[key] != json.loads(json.dumps(fresh[key])):
            raise SystemExit(f"{path} was made with other {key}; give another --out, or leave --resume out")
    return old


# --- tables


def tables(report: dict[str, Any]) -> str:
    """All tables, as Markdown."""
    parts = [main_table(report), layer_table(report), claims_table(report), _data_lines(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def main_table(report: dict[str, Any]) -> str:
    """A row a task and data set, with damaged words beside; perplexities are a table of their own."""
    columns = _columns(report)
    lines = _head(["task", "data", "metric", *columns])
    for task, entry in report["tasks"].items():
        if task == "perplexity":
            continue
        for data, metric in _measured(entry["scores"]):
            found = {row["vectors"]: row for row in _chosen(entry["scores"], data, metric)}
            best = max((row["value"] for row in found.values()), default=0)
            cells = [_cell(found.get(column), best) for column in columns]
            lines.append(_line([NAMES.get(task, task), data, metric, *cells]))
    return "\n".join([*lines, "", _perplexities(report)]).rstrip()


def layer_table(report: dict[str, Any]) -> str:
    """Every layer of the biLM and their mean: one row a task; nothing without a biLM."""
    deep = _named(report, "contextual")
    if not deep:
        return ""
    rows: list[list[str]] = []
    views: list[str] = []
    for task, entry in report["tasks"].items():
        if task not in ("wic", "scws", "wsd_words", "wsd_all", "tag_probes", "text_probes", "sts"):
            continue
        for data, metric in _measured(entry["scores"]):
            found = {
                row["view"].removesuffix(", mean"): row
                for row in entry["scores"]
                if (row["data"], row["metric"], row["vectors"]) == (data, metric, deep[0]) and DAMAGED not in metric
            }
            views = views or [view for view in found if "," not in view]
            if views and set(views) <= set(found):
                best = max(found[view]["value"] for view in views)
                rows.append([NAMES[task], data, metric, *(_cell(found[view], best) for view in views)])
    return "\n".join([*_head(["task", "data", "metric", *views]), *map(_line, rows)]) if rows else ""


def claims_table(report: dict[str, Any]) -> str:
    """Word in context against chance, error reduction over the best static vectors, and robustness."""
    rows = [row for deep in _named(report, "contextual")[:1] for row in _claims(report, deep)]
    return "\n".join([*_head(["claim", "asked", "found"]), *map(_line, rows)]) if rows else ""


def _claims(report: dict[str, Any], deep: str) -> list[list[str]]:
    rows = []
    for row in report["tasks"].get("wic", {}).get("scores", []):
        if row["chosen"] and row["vectors"] == deep:
            low, high = (100 * bound for bound in row["interval"])
            found = f"{100 * row['value']:.1f} (95 %: {low:.1f} to {high:.1f})"
            rows.append(["word in context above chance", "interval above 50", found])
    reductions = error_reductions(report, deep, _named(report, "static"))
    for data, (static, share) in reductions.items():
        rows.append([f"errors of the BiLSTM tagger avoided, {data}, against {static}", "", f"{100 * share:.1f} %"])
    if reductions:
        mean = sum(share for _, share in reductions.values()) / len(reductions)
        rows.append(["the mean of these", "20 % or more", f"{100 * mean:.1f} %"])
    for name, (mean, strict) in losses_of_accuracy(report, deep, _named(report, "static", subwords=False)).items():
        found = f"{mean:.2f} of their mean, {strict:.2f} of the least"
        rows.append([f"loss by damaged words, as a share of word-level static vectors': {name}", "0.67 or less", found])
    return rows


def error_reductions(report: dict[str, Any], deep: str, plain: Sequence[str]) -> dict[str, tuple[str, float]]:
    """data -> (the best static vectors, the share of their errors that the biLM avoids), with the same tagger."""
    scores = report["tasks"].get("taggers", {}).get("scores", [])
    found = {}
    for data, metric in _measured(scores):
        values = {row["vectors"]: row["value"] for row in _chosen(scores, data, metric)}
        static = [name for name in plain if name in values]
        if DAMAGED not in metric and static and deep in values:
            best = max(static, key=lambda name: values[name])
            errors = 1 - values[best]
            found[data] = (best, (values[deep] - values[best]) / errors if errors else 0.0)
    return found


def losses_of_accuracy(report: dict[str, Any], deep: str, plain: Sequence[str]) -> dict[str, tuple[float, float]]:
    """task and data -> what the biLM loses by damaged words over what the `plain` vectors lose: their mean, the least.

    Left out where the plain vectors lose nothing.
    """
    found = {}
    for task, entry in report["tasks"].items():
        for data, metric in _measured(entry["scores"]):
            clean, noisy = (
                {row["vectors"]: row["value"] for row in _chosen(entry["scores"], data, name)}
                for name in (metric, metric + DAMAGED)
            )
            lost = {name: clean[name] - noisy[name] for name in noisy if name in clean}
            static = [lost[name] for name in plain if name in lost]
            if deep in lost and static and min(static) > 0:
                ratios = lost[deep] / (sum(static) / len(static)), lost[deep] / min(static)
                found[f"{NAMES[task]}, {data}"] = ratios
    return found


def _named(report: dict[str, Any], kind: str, subwords: bool | None = None) -> list[str]:
    """The names of the vectors of a kind."""
    return [
        about["name"]
        for about in report["vectors"]
        if about["kind"] == kind and (subwords is None or about["subwords"] == subwords)
    ]


def _perplexities(report: dict[str, Any]) -> str:
    scores = report["tasks"].get("perplexity", {}).get("scores", [])
    if not scores:
        return ""
    lines = _head(["genre", "open", "perplexity", "95 %", "forward", "backward", "targets", "unknown", "documents"])
    for row in scores:
        facts = row["facts"]
        low, high = row["interval"]
        lines.append(
            _line([
                row["data"], "yes" if facts["open"] else "no", f"{row['value']:.1f}", f"{low:.1f} to {high:.1f}",
                f"{facts['perplexity']['forward']:.1f}", f"{facts['perplexity']['backward']:.1f}", f"{row['n']:,}",
                f"{100 * facts['unknown_share']:.1f} %", f"{facts['documents']}",
            ])
        )  # fmt: skip
    return "\n".join(lines)


def _data_lines(report: dict[str, Any]) -> str:
    lines = [f"* {NAMES.get(task, task)}: {json.dumps(entry['data'])}" for task, entry in report["tasks"].items()]
    return "\n".join([f"Made by `{report['command']}`. What was used:", "", *lines])


def _columns(report: dict[str, Any]) -> list[str]:
    """The names of the vectors, in the report's order; then what else has scores."""
    seen = [row["vectors"] for entry in report["tasks"].values() for row in entry["scores"]]
    return list(dict.fromkeys([*(about["name"] for about in report["vectors"]), *seen]))


def _measured(scores: Sequence[Row]) -> list[tuple[str, str]]:
    """Every (data, metric), in order."""
    return list(dict.fromkeys((row["data"], row["metric"]) for row in scores))


def _chosen(scores: Sequence[Row], data: str, metric: str) -> list[Row]:
    return [row for row in scores if row["chosen"] and (row["data"], row["metric"]) == (data, metric)]


def _cell(row: Row | None, best: float) -> str:
    """Percent, or the number; with its deviation over the seeds, or half its interval; the best is bold."""
    if row is None:
        return ""
    scale = 100 if row["metric"].removesuffix(DAMAGED) in (*PERCENT, "Spearman") else 1
    spread = row["deviation"]
    if row["interval"]:
        spread = (row["interval"][1] - row["interval"][0]) / 2
    text = f"{scale * row['value']:.1f}" + (f" ± {scale * spread:.1f}" if spread else "")
    return f"**{text}**" if row["value"] >= best else text


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
