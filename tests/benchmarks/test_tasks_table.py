"""Tables of comparisons, with figures worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tasks_table


def cell(features: str, share: float, mean: float, dev: float) -> dict[str, Any]:
    return {
        "features": features, "share": share, "mean": mean, "interval": [mean - 0.01, mean + 0.01], "dev": [dev, dev],
        "epochs": [4, 6], "fit_seconds": 12.4, "test_seconds": 0.25,
    }  # fmt: skip


@pytest.fixture
def entities() -> dict[str, Any]:
    """elmo avoids a fifth of glove's errors (0.9 to 0.92), elmo+glove a tenth; dev prefers elmo+glove."""
    return {
        "kind": "tag", "metric": "span F1", "seeds": [1, 2], "shares": [0.1, 0.3, 1.0],
        "learners": {name: {"vector_seconds": 3.0} for name in ("word2vec", "glove", "elmo", "elmo+glove")},
        "cells": [
            cell("word2vec", 1.0, 0.85, 0.99), cell("glove", 1.0, 0.9, 0.8), cell("glove", 0.3, 0.84, 0.8),
            cell("word2vec", 0.3, 0.86, 0.8), cell("elmo", 0.1, 0.855, 0.8), cell("elmo", 0.3, 0.9, 0.8),
            cell("elmo", 1.0, 0.92, 0.8), cell("elmo+glove", 1.0, 0.91, 0.9), cell("elmo+glove", 0.1, 0.87, 0.9),
        ],
        "pairs": [
            {"first": "glove", "second": "elmo", "adjusted": 0.5},
            {"first": "glove", "second": "elmo+glove", "adjusted": 0.03},
        ],
    }  # fmt: skip


def test_the_tables_of_a_folder_and_of_its_report_are_the_same(
    entities: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out" / "conll").mkdir(parents=True)
    (tmp_path / "out" / "conll" / "compare.json").write_text(json.dumps(entities), encoding="utf-8")
    saved = tmp_path / "report.json"
    monkeypatch.setattr("sys.argv", ["tasks_table.py", str(tmp_path / "out"), "--save", str(saved)])
    tasks_table.main()
    printed = capsys.readouterr().out
    assert "| task | metric | word2vec | glove | elmo | elmo+glove |" in printed
    assert "| conll | span F1 | 85.0 ± 1.0 | 90.0 ± 1.0 | **92.0 ± 1.0** | 91.0 ± 1.0 |" in printed
    assert "| conll | glove | +20.0 % (elmo) | +10.0 % (elmo+glove) | 0.03 |" in printed
    assert "| conll | glove |  | 84.0 | 90.0 |" in printed
    assert "| conll | elmo | 3 | 12 | 5 | 0.2 |" in printed
    assert "| elmo alone: ahead of the best static features | 1 of 1 |" in printed
    assert "| conll: elmo with 10% of the labels, static with 30% | 87.0 against 86.0 |" in printed
    monkeypatch.setattr("sys.argv", ["tasks_table.py", str(saved)])
    tasks_table.main()
    assert capsys.readouterr().out == printed


def test_a_folder_without_comparisons_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"run benchmarks/tasks\.sh first"):
        tasks_table.joined(tmp_path)
