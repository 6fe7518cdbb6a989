"""`polyseme compare`: small data end to end, and what it refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from polyseme.cli.main import app
from polyseme.static.files import write_vectors
from polyseme.static.vectors import StaticVectors
from polyseme.tasks.compare import Fitted
from polyseme.tasks.learners import TagLearner

MODEL = Path(__file__).parents[1] / "data" / "allennlp-char" / "highway2"
QUICK = ["--epochs", "2", "--cells", "8", "--seeds", "2"]
runner = CliRunner()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSEME_HOME", str(tmp_path / "home"))


@pytest.fixture
def reviews(awkward_path: Path) -> Path:
    """40 reviews, all different, 20 of each label."""
    file = awkward_path / "reviews.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["stars", "review"])
        rows.writerows((label, f"a {label} film {n}") for n in range(20) for label in ("good", "bad"))
    return file


@pytest.fixture
def entities(awkward_path: Path) -> Path:
    file = awkward_path / "entities.conll"
    file.write_text("".join(f"Ann B-PER\nmet{n} O\nNew B-LOC\nYork I-LOC\n\n" for n in range(12)), encoding="utf-8")
    return file


def compared(*arguments: object) -> dict[str, Any]:
    done = runner.invoke(app, ["compare", *map(str, arguments), "--json"])
    assert done.exit_code == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def refused(*arguments: object) -> str:
    done = runner.invoke(app, ["compare", *map(str, arguments)])
    assert done.exit_code != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_figures_a_table_and_a_page_are_written(reviews: Path, tmp_path: Path) -> None:
    out, glove = tmp_path / "out", tmp_path / "glove.txt"
    write_vectors(StaticVectors(["good", "bad", "dull"], np.eye(3)), glove)
    arguments = [
        "classify", reviews, "--test", reviews, "--features", "bow", "--features", "elmo", "--features", "elmo+glove",
        "--vectors", f"glove={glove}", "--model", MODEL, "--text-column", "review", "--label-column", "stars",
        "--share", "50", "--tokenized", "-o", out, *QUICK,
    ]  # fmt: skip
    facts = compared(*arguments)
    assert [(cell["features"], cell["share"], cell["examples"]) for cell in facts["cells"]] == [
        (name, share, examples) for name in ("bow", "elmo", "elmo+glove") for share, examples in ((0.5, 18), (1.0, 36))
    ]
    pairs = [("bow", "elmo"), ("bow", "elmo+glove"), ("elmo", "elmo+glove")]
    assert [(pair["first"], pair["second"]) for pair in facts["pairs"]] == pairs
    assert facts["learners"]["elmo+glove"]["width"] == "3 x 16 + 3"
    assert sorted(file.name for file in out.iterdir()) == ["compare.html", "compare.json", "compare.md"]
    stored = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    assert stored["cells"] == facts["cells"]
    assert (out / "compare.md").read_text(encoding="utf-8").startswith("| features | 50 % (18) | 100 % (36) |")
    assert "exists already" in refused(*arguments)
    again = compared(*arguments, "--overwrite", "--no-cache")
    assert [cell["scores"] for cell in again["cells"]] == [cell["scores"] for cell in facts["cells"]]


def test_a_comparison_that_was_killed_goes_on_where_it_was(
    entities: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[tuple[int, int]] = []
    fit = TagLearner.fit

    def counted_until_killed(self: TagLearner, rows: Sequence[int], seed: int) -> Fitted:
        if len(fitted) == 3:
            raise KeyboardInterrupt
        fitted.append((len(rows), seed))
        return fit(self, rows, seed)

    arguments = ["tag", entities, "--test", entities, "--share", 50, "--model", MODEL, "--features", "elmo", *QUICK]
    whole = compared(*arguments, "-o", tmp_path / "whole", "--no-cache")
    monkeypatch.setattr(TagLearner, "fit", counted_until_killed)
    assert runner.invoke(app, ["compare", *map(str, arguments), "-o", str(tmp_path / "out")]).exit_code != 0
    monkeypatch.setattr(TagLearner, "fit", fit)
    found = compared(*arguments, "-o", tmp_path / "out")
    assert [cell["scores"] for cell in found["cells"]] == [cell["scores"] for cell in whole["cells"]]
    assert len(list((tmp_path / "home" / "features").glob("fit-*.npz"))) == 4
    assert fitted == [(6, 1), (6, 2), (11, 1)]
    monkeypatch.setattr(TagLearner, "fit", counted_until_killed)
    assert compared(*arguments, "-o", tmp_path / "again")["cells"] == found["cells"]
    other = ["compare", *map(str, arguments), "--learning-rate", "0.01", "-o", str(tmp_path / "other")]
    assert runner.invoke(app, other).exit_code != 0  # another fit: nothing that was kept answers it


def test_tags_are_compared_and_what_cannot_be_is_named(entities: Path, tmp_path: Path) -> None:
    given = ["tag", entities, "--test", entities, "--share", 100, "--model", MODEL, *QUICK, "-o", tmp_path / "out"]
    assert "has no vector a word" in refused(*given, "--features", "bow")
    assert "--head is no option of tag" in refused(*given, "--features", "elmo", "--head", "bcn")
    assert "which no --features name" in refused(*given, "--features", "elmo", "--vectors", "glove=a.txt")
    assert not (tmp_path / "out").exists()
    facts = compared(*given, "--features", "elmo")
    assert (facts["metric"], len(facts["cells"]), facts["pairs"]) == ("span F1", 1, [])
    (tmp_path / "out" / "mine.txt").touch()
    assert "'mine.txt', which is no part" in refused(*given, "--features", "elmo", "--overwrite")
