"""The comparisons that `tasks.sh` made as one report and its tables: scores, errors avoided, learning curves, costs.

    python benchmarks/tasks_table.py OUT --save benchmarks/results/tasks-en-small.json     # OUT/TASK/compare.json ...
    python benchmarks/tasks_table.py benchmarks/results/tasks-en-small.json

Features named `elmo`, alone or with others (`elmo+glove`), are the biLM's; all others are static, also a bag of words.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch
from quality.tables import markdown_table

import polyseme

Comparison = dict[str, Any]
Report = dict[str, Any]
FEW, MORE = 0.1, 0.3  # is the biLM with a tenth of the labels as good as static vectors with three tenths?


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", type=Path, help="the folder of tasks.sh, or a saved report")
    parser.add_argument("--save", type=Path, metavar="JSON", help="keep all figures of the folder in one file")
    options = parser.parse_args()
    where: Path = options.where
    report = joined(where) if where.is_dir() else json.loads(where.read_text(encoding="utf-8"))
    if options.save:
        options.save.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(tables(report), end="")


def joined(folder: Path) -> Report:
    """Every comparison in a folder, by the name of its task, and what machine computed them."""
    found = sorted(folder.glob("*/compare.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise SystemExit(f"{folder} holds no TASK/compare.json; run benchmarks/tasks.sh first")
    return {
        "polyseme": polyseme.__version__, "torch": torch.__version__, "python": platform.python_version(),
        "cores": os.cpu_count(),
        "tasks": {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in found},
    }  # fmt: skip


def tables(report: Report) -> str:
    """All tables, and what the claims come to."""
    tasks: dict[str, Comparison] = report["tasks"]
    made = {
        "With all training examples": scores_table(tasks),
        "Errors that the biLM avoids": errors_table(tasks),
        "Learning curves": curves_table(tasks),
        "Cost": cost_table(tasks),
        "Claims": claims_table(tasks),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in made.items() if text) + "\n"


def scores_table(tasks: dict[str, Comparison]) -> str:
    """A row a task, a column a kind of vectors: the mean over the seeds, with half its 95 % interval."""
    columns = list(dict.fromkeys(name for each in tasks.values() for name in names(each)))
    rows = []
    for task, each in tasks.items():
        whole = at_share(each, 1.0)
        best = max(cell["mean"] for cell in whole.values())
        rows.append([task, each["metric"], *(_score(whole.get(name), best) for name in columns)])
    return markdown_table(["task", "metric", *columns], rows)


def errors_table(tasks: dict[str, Comparison]) -> str:
    """Against the best static features: the relative error reduction of `elmo`, and of the best features with it."""
    rows = []
    for task, each in tasks.items():
        static, alone, best = rivals(each)
        cells = [f"{100 * errors_avoided(each, name, static):+.1f} % ({name})" for name in (alone, best) if name]
        p = adjusted_p(each, best, static) if best else None
        rows.append([task, static, *cells, "" if p is None else f"{p:.3g}"])
    return markdown_table(["task", "best static", "elmo alone", "best with elmo", "p (Holm)"], rows)


def curves_table(tasks: dict[str, Comparison]) -> str:
    """A row a task and kind of vectors, a column a share."""
    shares = sorted({share for each in tasks.values() for share in each["shares"]})
    rows = []
    for task, each in tasks.items():
        for name in names(each) if len(each["shares"]) > 1 else []:
            found = {cell["share"]: cell for cell in each["cells"] if cell["features"] == name}
            cells = [f"{100 * found[share]['mean']:.1f}" if share in found else "" for share in shares]
            rows.append([task, name, *cells])
    return markdown_table(["task", "features", *(f"{100 * share:g} %" for share in shares)], rows)


def cost_table(tasks: dict[str, Comparison]) -> str:
    """Seconds of the vectors of all three parts, of a fit with all examples, and of reading the test set."""
    rows = []
    for task, each in tasks.items():
        for name, cell in at_share(each, 1.0).items():
            vectors = each["learners"].get(name, {}).get("vector_seconds")
            epochs = "" if name == "bow" else f"{sum(cell['epochs']) / len(cell['epochs']):.0f}"
            first = "" if vectors is None else f"{vectors:.0f}"
            rows.append([task, name, first, f"{cell['fit_seconds']:.0f}", epochs, f"{cell['test_seconds']:.1f}"])
    return markdown_table(["task", "features", "vectors, s", "fit, s", "epochs", "test, s"], rows)


def claims_table(tasks: dict[str, Comparison]) -> str:
    """ELMo ahead of the best static features, errors avoided on average, and a tenth of the labels against three."""
    alone, best = [], []
    for each in tasks.values():
        static, elmo, most = rivals(each)
        alone += [errors_avoided(each, elmo, static)] if elmo else []
        best += [errors_avoided(each, most, static)] if most else []
    rows = []
    for name, found in (("elmo alone", alone), ("best with elmo", best)):
        if found:
            rows.append([f"{name}: ahead of the best static features", f"{sum(x > 0 for x in found)} of {len(found)}"])
            rows.append([f"{name}: errors avoided, mean", f"{100 * sum(found) / len(found):.1f} %"])
    for task, each in tasks.items():
        if each["kind"] == "tag" and {FEW, MORE} <= set(each["shares"]) and rivals(each)[2]:
            few, more = at_share(each, FEW), at_share(each, MORE)
            ours, theirs = (max(_means(part, deep=deep)) for part, deep in ((few, True), (more, False)))
            text = f"{100 * ours:.1f} against {100 * theirs:.1f}"
            rows.append([f"{task}: elmo with {FEW:.0%} of the labels, static with {MORE:.0%}", text])
    return markdown_table(["claim", "found"], rows)


# --- one comparison


def names(comparison: Comparison) -> list[str]:
    """The features in the order in which they were given."""
    return list(dict.fromkeys(cell["features"] for cell in comparison["cells"]))


def at_share(comparison: Comparison, share: float) -> dict[str, Comparison]:
    """features -> the cell of this share."""
    return {cell["features"]: cell for cell in comparison["cells"] if cell["share"] == share}


def rivals(comparison: Comparison) -> tuple[str, str | None, str | None]:
    """With all examples: the static features that are best on test, `elmo` if it was measured, the best ones with it.

    Those are chosen on dev, and the choice that test itself makes is in favour of the static ones.
    """
    whole = at_share(comparison, 1.0)
    static = [name for name in whole if not _deep(name)]
    deep = [name for name in whole if _deep(name)]
    if not static:
        raise SystemExit("a comparison without static features says nothing here")
    chosen = max(static, key=lambda name: float(whole[name]["mean"]))
    best = max(deep, key=lambda name: sum(whole[name]["dev"])) if deep else None
    return chosen, "elmo" if "elmo" in whole else None, best


def errors_avoided(comparison: Comparison, ours: str, theirs: str) -> float:
    """The share of the errors of `theirs` that `ours` avoids, with all examples."""
    whole = at_share(comparison, 1.0)
    error = 1 - whole[theirs]["mean"]
    return (whole[ours]["mean"] - whole[theirs]["mean"]) / error if error else 0.0


def adjusted_p(comparison: Comparison, first: str, second: str) -> float | None:
    """Of the paired bootstrap between two features, adjusted for the number of pairs."""
    return next(
        (float(p["adjusted"]) for p in comparison["pairs"] if {p["first"], p["second"]} == {first, second}), None
    )


def _deep(name: str) -> bool:
    return "elmo" in name.split("+")


def _means(cells: dict[str, Comparison], *, deep: bool) -> list[float]:
    return [cell["mean"] for name, cell in cells.items() if _deep(name) == deep]


def _score(cell: Comparison | None, best: float) -> str:
    if cell is None:
        return ""
    text = f"{100 * cell['mean']:.1f}"
    if cell["interval"]:
        text += f" ± {50 * (cell['interval'][1] - cell['interval'][0]):.1f}"
    return f"**{text}**" if cell["mean"] >= best else text


if __name__ == "__main__":
    main()
