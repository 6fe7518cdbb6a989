"""Raw results as JSON, written after every task; `tables.py` makes Markdown of them.

{"command", "options", "vectors": [{"name", "kind"}], "tasks": {NAME: {"seconds", "cpu_seconds", "data", "scores": []}}}

A score has the fields of `run.Score` and `deviation`, the standard deviation over its seeds.
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


def new_report(command: str, options: dict[str, Any], vectors: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A report without tasks."""
    return {
        "command": command, "options": options, "vectors": list(vectors), "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "python": platform.python_version(), "torch": torch.__version__,
        "polyseme": polyseme.__version__, "tasks": {},
    }  # fmt: skip


def write(report: dict[str, Any], path: Path) -> None:
    """Replaces the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def joined(paths: Sequence[Path], order: Sequence[str]) -> dict[str, Any]:
    """One report of several with the same options, for runs beside each other: on other tasks, or over other vectors.

    Tasks stand in `order`, vectors as the reports come. What does not fit together ends with a sentence.
    """
    first, *others = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    for path, report in zip(paths[1:], others, strict=True):
        if report["options"] != first["options"]:
            raise SystemExit(f"{path} was made with other options than {paths[0]}")
        for about in report["vectors"]:
            if about not in first["vectors"]:
                first["vectors"].append(about)
        for task, entry in report["tasks"].items():
            first["tasks"][task] = _added(first["tasks"].get(task), entry, f"{path}, {task}")
        if report["upper_mark"] == "present":
            first["upper_mark"] = "present"
        first["command"] += " && " + report["command"]
    names = [about["name"] for about in first["vectors"]]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SystemExit(f"the reports have different vectors of one name: {', '.join(sorted(twice))}")
    first["tasks"] = {task: first["tasks"][task] for task in order if task in first["tasks"]}
    return dict(first)


def _added(entry: dict[str, Any] | None, new: dict[str, Any], where: str) -> dict[str, Any]:
    """A task's figures over some vectors and over others; both must rest on the same data."""
    if entry is None:
        return new
    if entry["data"] != new["data"]:
        raise SystemExit(f"{where}: measured on other data than in the reports before")
    measured = {score["vectors"] for score in entry["scores"]}
    # What every run measures comes again: the bag of words, the first sense.
    again = [score for score in new["scores"] if score["vectors"] in measured]
    if different := {score["vectors"] for score in again if score not in entry["scores"]}:
        raise SystemExit(f"{where}: a report before has other figures of {', '.join(sorted(different))}")
    spent = {key: round(entry[key] + new[key], 1) for key in ("seconds", "cpu_seconds")}
    scores = [*entry["scores"], *(score for score in new["scores"] if score["vectors"] not in measured)]
    return {**spent, "data": entry["data"], "scores": scores}


def resumed(path: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The report at `path`, if it was made with the same options and vectors; otherwise a sentence and the end."""
    old: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in ("options", "vectors"):
        if old[key] != json.loads(json.dumps(fresh[key])):
            raise SystemExit(f"{path} was made with other {key}; give another --out, or leave --resume out")
    return old
