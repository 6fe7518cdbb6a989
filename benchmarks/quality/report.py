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
    """One report of several with the same options and vectors and different tasks, for runs beside each other.

    Tasks stand in `order`. What was not the same ends with a sentence.
    """
    reports: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    tasks: dict[str, Any] = {}
    for path, report in zip(paths, reports, strict=True):
        for key in ("options", "vectors", "upper_mark"):
            if report[key] != reports[0][key]:
                raise SystemExit(f"{path} was made with other {key} than {paths[0]}")
        if twice := tasks.keys() & report["tasks"].keys():
            raise SystemExit(f"{path} has a task that another report has: {', '.join(sorted(twice))}")
        tasks |= report["tasks"]
    command = " && ".join(report["command"] for report in reports)
    return {**reports[0], "command": command, "tasks": {task: tasks[task] for task in order if task in tasks}}


def resumed(path: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The report at `path`, if it was made with the same options and vectors; otherwise a sentence and the end."""
    old: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in ("options", "vectors"):
        if old[key] != json.loads(json.dumps(fresh[key])):
            raise SystemExit(f"{path} was made with other {key}; give another --out, or leave --resume out")
    return old
