"""`polyseme task ...`: the verbs end to end, on small data and a tiny model."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from polyseme.cli.main import app
from polyseme.static.files import write_vectors
from polyseme.static.vectors import StaticVectors

MODEL = Path(__file__).parents[1] / "data" / "allennlp-char" / "highway2"
VERBS = {"fit": "TRAIN", "evaluate": "TEST", "predict": "INPUT"}
QUICK = ["--epochs", "2", "--cells", "8"]
GOOD, BAD = ("a fine film", "so very good", "I liked it"), ("a dull film", "so very bad", "I left it")
runner = CliRunner()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYSEME_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def reviews(awkward_path: Path) -> Path:
    """40 reviews, all different, 20 of each label."""
    file = awkward_path / "reviews.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["stars", "review"])
        rows.writerows(
            (label, f"{words} {n}.")
            for n in range(7)
            for label, some in (("good", GOOD), ("bad", BAD))
            for words in some
        )
    return file


@pytest.fixture
def entities(awkward_path: Path) -> Path:
    file = awkward_path / "entities.conll"
    sentence = "Ann B-PER\nmet O\nBob B-PER\n. O\n\nNew B-LOC\nYork I-LOC\nwaits O\n. O\n\n"
    file.write_text(
        "".join(sentence.replace("met", f"met{n}").replace("waits", f"waits{n}") for n in range(8)), encoding="utf-8"
    )
    return file


def task(*arguments: object, given: str | None = None) -> dict[str, Any]:
    """Runs `task ... --json`; the one object on stdout."""
    done = runner.invoke(app, ["task", *map(str, arguments), "--json"], input=given)
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


def failed(*arguments: object) -> tuple[int, str]:
    done = runner.invoke(app, ["task", *map(str, arguments)])
    assert "Traceback" not in done.stderr
    return done.exit_code, done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_and_json(verb: str) -> None:
    shown = runner.invoke(app, ["task", verb, "--help"]).stdout
    assert f"polyseme task {verb} " in shown.partition("Example:")[2]
    assert "--json" in shown
    assert VERBS[verb] in shown.partition("Arguments:")[2]


def test_texts_are_fitted_measured_and_predicted(awkward_path: Path, reviews: Path, own_cache: Path) -> None:
    out = awkward_path / "task"
    columns = ["--text-column", "review", "--label-column", "stars"]
    made = task("fit", "classify", reviews, "-o", out, "--model", MODEL, *columns, *QUICK, "--seeds", 2)
    assert made["labels"] == {"bad": 19, "good": 19}
    assert made["majority"] == 0.5
    assert made["train"]["texts"] + made["dev"]["texts"] == 42
    assert made["tokenizer"] == "ptb"
    assert made["seeds"].keys() == {"1", "2"}
    assert list((own_cache / "features").glob("elmo-*.npy"))
    measured = task("evaluate", "classify", out, reviews)
    assert measured["n"] == 42
    assert measured["accuracy"] == pytest.approx(sum(
        each["recall"] * each["support"] for each in measured["labels"].values()
    ) / 42)  # fmt: skip
    done = runner.invoke(app, ["task", "predict", "classify", str(out), "-"], input="a fine film\n\nso very bad\n")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["text"] for each in found] == ["a fine film", "so very bad"]
    assert all(each["label"] == max(each["probabilities"], key=each["probabilities"].get) for each in found)
    again = task("fit", "classify", reviews, "-o", out, "--model", MODEL, *columns, *QUICK, "--seeds", 2, "--overwrite")
    changing = ("seconds", "epochs")
    assert {k: v for k, v in again.items() if k not in changing} == {k: v for k, v in made.items() if k not in changing}


def test_words_are_tagged_with_places_in_raw_text(awkward_path: Path, entities: Path) -> None:
    write_vectors(
        StaticVectors(["New", "York", "Ann", "Bob"], [[9, 0, 0], [0, 9, 0], [0, 0, 9], [0, 0, 9]]), awkward_path / "own"
    )
    out, vectors = awkward_path / "task", f"own={awkward_path / 'own'}"
    made = task("fit", "tag", entities, "-o", out, "--features", "own", "--vectors", vectors, "--epochs", 40,
                "--cells", 16, "--input-dropout", 0, "--learning-rate", 0.01, "--patience", 40)  # fmt: skip
    assert made["metric"] == "f1"
    assert made["dev_best"] == 1.0
    assert task("evaluate", "tag", out, entities)["spans"]["LOC"] == {
        "precision": 1,
        "recall": 1,
        "f1": 1,
        "support": 8,
    }
    raw = awkward_path / "raw.txt"
    raw.write_text("Ann met Bob. New York waits.\n\n  New York waits\n", encoding="utf-8")
    wrote = task("predict", "tag", out, raw, "--lang", "en", "-o", awkward_path / "tags.jsonl")
    assert wrote["texts"] == 2
    first, second = (
        json.loads(line) for line in (awkward_path / "tags.jsonl").read_text(encoding="utf-8").splitlines()
    )
    assert [(e["label"], first["text"][e["start"] : e["end"]]) for e in first["entities"]] == [
        ("PER", "Ann"),
        ("PER", "Bob"),
        ("LOC", "New York"),
    ]
    found = runner.invoke(app, ["task", "predict", "tag", str(out), str(entities)]).stdout.splitlines()
    assert json.loads(found[1]) == {"tokens": ["New", "York", "waits0", "."], "tags": ["B-LOC", "I-LOC", "O", "O"]}
    assert len(found) == 16
    assert second["entities"] == [{"label": "LOC", "start": 2, "end": 10, "text": "New York"}]


def test_pairs_are_read_by_esim(awkward_path: Path) -> None:
    file = awkward_path / "pairs.jsonl"
    rows = [
        {"premise": f"Ann met Bob {n}", "hypothesis": words, "label": label}
        for n in range(10)
        for words, label in (("Ann met", "entailment"), ("Bob left", "neutral"))
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = task("fit", "nli", file, "-o", awkward_path / "task", "--model", MODEL, *QUICK, "--no-cache")
    assert made["train"]["texts"] == 18
    assert task("evaluate", "nli", awkward_path / "task", file)["n"] == 20


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda text: text.replace("good,so very good 3.", "good,  "), 1, r"reviews.csv, line"),
        (lambda text: text.replace("bad,", "good,"), 1, "one label ('good')"),
        (
            lambda text: text.replace("stars,review", "stars,reviews"),
            1,
            "no column 'review'; the columns are: 'stars', 'reviews'",
        ),
        (lambda text: text + 'good,"never closed\n' + "more\n" * 9, 1, "not a row of comma-separated values"),
        (lambda text: text + f"good,{'x ' * 50_000}\n", 1, "line 44: a text of 100,000 characters"),
    ],
)
def test_bad_data_is_one_sentence_with_file_and_line(
    awkward_path: Path, reviews: Path, change: Any, code: int, message: str
) -> None:
    reviews.write_text(change(reviews.read_text(encoding="utf-8")), encoding="utf-8")
    found, said = failed(
        "fit", "classify", reviews, "-o", awkward_path / "task", "--model", MODEL, "--text-column", "review",
        "--label-column", "stars",
    )  # fmt: skip
    assert found == code
    assert message in said
    assert not (awkward_path / "task").exists()


def test_a_slip_in_a_label_is_a_warning(awkward_path: Path, reviews: Path) -> None:
    with reviews.open("a", encoding="utf-8") as stream:
        stream.write("Good,a last one\n")
    done = runner.invoke(
        app, ["task", "fit", "classify", str(reviews), "-o", str(awkward_path / "task"), "--model", str(MODEL),
              "--text-column", "review", "--label-column", "stars", *QUICK],
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "line 44: the label 'Good' comes once, 'good' 21 times; a slip?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "tag", "x.conll", "-o", "out", "--text-column", "a"], "--text-column is no option of tag"),
        (["fit", "nli", "x.jsonl", "-o", "out", "--repair-tags"], "--repair-tags is no option of nli"),
        (["fit", "classify", "x.csv", "-o", "out", "--features", "glove", "--vectors", "glove"], "NAME=PATH"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    arguments: list[str], message: str, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reviews.parent)
    Path("x.csv").write_text("text,label\n" + "".join(f"good {n},a\nbad {n},b\n" for n in range(20)), encoding="utf-8")
    code, said = failed(*arguments)
    assert code == 2
    assert message in said


def test_a_missing_extra_is_named_before_any_work(reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyseme.tasks.metrics._PACKAGES", ("no_such_package",))
    code, said = failed("fit", "classify", reviews, "-o", "never")
    assert (code, 'pip install "polyseme[tasks]"' in said) == (1, True)


def test_a_model_is_tuned_with_its_task_and_kept_in_its_folder(reviews: Path, tmp_path: Path) -> None:
    columns = ["--text-column", "review", "--label-column", "stars"]
    out = tmp_path / "tuned"
    made = task("fit", "classify", reviews, "-o", out, "--model", MODEL, *columns, *QUICK, "--fine-tune", 2)
    assert [epoch["number"] for epoch in made["fine_tuned"]["epochs"]] == [1, 2]
    assert made["fine_tuned"]["dev_best"] >= made["dev_best"]
    assert (out / "bilm" / "model.safetensors").is_file()
    found = task("evaluate", "classify", out, reviews)
    assert found["n"] == 42
    glove = tmp_path / "glove.txt"
    write_vectors(StaticVectors(["fine", "dull"], np.eye(2)), glove)
    static = ["--features", "glove", "--vectors", f"glove={glove}", *columns, *QUICK]
    code, said = failed("fit", "classify", reviews, "-o", tmp_path / "other", *static, "--fine-tune", 1)
    assert (code, "fine-tuning was asked for" in said) == (2, True)


@pytest.mark.parametrize("kind", ["classify", "tag"])
def test_a_test_set_is_measured_once_as_evaluate_does(
    kind: str, awkward_path: Path, reviews: Path, entities: Path
) -> None:
    data, columns = (
        (reviews, ["--text-column", "review", "--label-column", "stars"]) if kind == "classify" else (entities, [])
    )
    made = awkward_path / "made"
    fitted = task("fit", kind, data, "-o", made, "--model", MODEL, *QUICK, *columns, "--test", data)
    measured = task("evaluate", kind, made, data)
    assert fitted["test"] == {name: measured[name] for name in fitted["test"]}
    stored = json.loads((made / "config.json").read_text(encoding="utf-8"))["report"]
    assert (stored["test"], stored["licence"]) == (fitted["test"], "not stated")


def test_a_test_set_with_an_unknown_label_stops_the_run_before_any_work(awkward_path: Path, reviews: Path) -> None:
    other = awkward_path / "other.csv"
    other.write_text("stars,review\nfair,so so\n", encoding="utf-8")
    code, said = failed("fit", "classify", reviews, "-o", awkward_path / "made", "--model", awkward_path / "none",
                        "--text-column", "review", "--label-column", "stars", "--test", other)  # fmt: skip
    assert (code, "other.csv, line 2" in said, "'fair'" in said) == (1, True, True)


def test_half_a_task_gives_nearly_the_same_answers(awkward_path: Path, reviews: Path) -> None:
    common = ["--model", MODEL, "--epochs", "2", "--cells", "100", "--text-column", "review", "--label-column", "stars"]
    for name, more in (("whole", []), ("half", ["--half"])):
        task("fit", "classify", reviews, "-o", awkward_path / name, *common, *more)
    whole, half = ((awkward_path / name / "model.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.6 * whole
    said = [
        runner.invoke(app, ["task", "predict", "classify", str(awkward_path / name), "-"], input="a fine film\n").stdout
        for name in ("whole", "half")
    ]
    first, second = (json.loads(line)["probabilities"]["good"] for line in said)
    assert first == pytest.approx(second, abs=2e-3)


def test_without_a_model_the_shipped_one_of_the_language_is_taken(
    awkward_path: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyseme.fetch.MODELS", awkward_path / "models")
    shutil.copytree(MODEL, awkward_path / "models" / "en-small")
    (awkward_path / "models" / "en-small" / "config.json").write_text("{}", encoding="utf-8")
    fit = [
        "fit",
        "classify",
        reviews,
        "-o",
        awkward_path / "made",
        *QUICK,
        "--text-column",
        "review",
        "--label-column",
        "stars",
    ]
    task(*fit)
    assert (
        json.loads((awkward_path / "made" / "config.json").read_text(encoding="utf-8"))["features"][0]["path"]
        == "en-small"
    )
    code, said = failed(*fit, "--overwrite", "--lang", "zh")
    assert (code, "no model ships for the language 'zh'" in said) == (2, True)


def test_a_ready_task_is_taken_by_its_name_and_listed(
    awkward_path: Path, entities: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = awkward_path / "ready"
    monkeypatch.setattr("polyseme.fetch.TASKS", ready)
    task("fit", "tag", entities, "-o", ready / "en-names", "--model", MODEL, *QUICK, "--test", entities,
         "--data", "names", "--licence", "CC0")  # fmt: skip
    said = runner.invoke(app, ["task", "predict", "tag", "en-names", "-"], input="Ann met Bob .\n")
    assert (said.exit_code, json.loads(said.stdout)["text"]) == (0, "Ann met Bob .")
    (listed,) = json.loads(runner.invoke(app, ["models", "--json"]).stdout)["tasks"]
    assert (listed["name"], listed["kind"], listed["data"], listed["licence"]) == ("en-names", "tag", "names", "CC0")
    assert "en-names" in runner.invoke(app, ["models"]).stdout
    code, message = failed("predict", "tag", "en-name", entities)
    assert (code, "with the package come en-names" in message) == (1, True)
