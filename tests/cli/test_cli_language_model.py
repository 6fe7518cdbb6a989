"""evaluate, score, generate, substitutes through the command line: what they print is what the library computes."""

from __future__ import annotations

import json
import math
import os
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polyseme.cli.main import app
from polyseme.lm.network import load
from polyseme.lm.perplexity import evaluate
from polyseme.lm.score import score

DATA = Path(__file__).parents[1] / "data"
MODEL = str(DATA / "tensorflow" / "highway")
TRANSFORMER = str(DATA / "transformer" / "after_cnn")
NO_SOFTMAX = str(DATA / "allennlp-char" / "highway2")
SENTENCES = [["The", "bank", "raised", "its", "rates", "."], [], ["We", "sat", "there", "."]]
runner = CliRunner()


@pytest.fixture
def text(awkward_path: Path) -> Path:
    file = awkward_path / "a text.txt"
    file.write_text("".join(" ".join(words) + "\n" for words in SENTENCES), encoding="utf-8")
    return file


def run(*arguments: object, input: str | None = None) -> str:
    done = runner.invoke(app, [*map(str, arguments)], input=input)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def refused(code: int, *arguments: object, input: str | None = None) -> str:
    """The one sentence on stderr."""
    done = runner.invoke(app, [*map(str, arguments)], input=input)
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert "Traceback" not in done.stderr
    return done.stderr


# --- evaluate


@pytest.mark.parametrize("model", [MODEL, TRANSFORMER])
def test_evaluate_prints_the_exact_perplexity_and_its_counts(model: str, text: Path) -> None:
    expected = evaluate(load(model), SENTENCES)
    found: dict[str, Any] = json.loads(run("evaluate", model, text, "--tokenized", "--json"))
    assert found["perplexity"] == {
        "forward": pytest.approx(expected.perplexity.forward),
        "backward": pytest.approx(expected.perplexity.backward),
        "mean": pytest.approx(expected.perplexity.mean),
    }
    assert (found["targets"], found["tokens"], found["sentences"]) == (13, 10, 3)
    assert found["unknown_share"] == 0.1
    assert found["perplexity"]["mean"] == pytest.approx(
        math.exp((found["cross_entropy"]["forward"] + found["cross_entropy"]["backward"]) / 2)
    )
    shown = run("evaluate", model, text, "--tokenized")
    assert f"{expected.perplexity.mean:,.3f}" in shown
    assert "13 a direction" in shown
    assert "polyseme score" in shown


def test_evaluate_has_states_lanes_and_empty_lines(text: Path) -> None:
    def found(*options: str) -> dict[str, Any]:
        return json.loads(run("evaluate", MODEL, text, "--tokenized", "--json", *options))  # type: ignore[no-any-return]

    assert found("--empty-lines", "skip")["targets"] == 12
    assert found("--state", "zero")["state"] == "zero"
    assert found("--lanes", "2")["lanes"] == 2
    # Three lanes would be one sentence each: as with --state zero.
    found_values = [found(*options)["perplexity"]["mean"] for options in ([], ["--state", "zero"], ["--lanes", "2"])]
    assert min(abs(a - b) for a, b in combinations(found_values, 2)) > 1e-3
    assert found("--threads", "1")["perplexity"] == found("--threads", "3")["perplexity"]


def test_raw_text_is_cut_by_the_models_tokenizer_and_standard_input_is_read() -> None:
    found = json.loads(run("evaluate", MODEL, "-", "--json", input="The bank raised its rates. We sat there.\n"))
    assert (found["tokens"], found["sentences"], found["tokenizer"]) == (10, 2, "ptb")


def test_what_spoils_a_comparison_is_said(text: Path) -> None:
    done = runner.invoke(app, ["evaluate", MODEL, str(text), "--tokenized", "--json"])
    (warning,) = json.loads(done.stdout)["warnings"]
    assert "10% of the words are outside the model's vocabulary" in warning
    assert f"Warning: {warning}" in done.stderr
    assert "10% of the words are outside" in runner.invoke(app, ["score", MODEL, str(text), "--tokenized"]).stderr


# --- score


def test_score_prints_a_row_a_sentence_or_a_word(text: Path) -> None:
    expected = list(score(load(MODEL), SENTENCES))
    head, *rows = run("score", MODEL, text, "--tokenized").splitlines()
    assert head.split("\t") == ["sentence", "words", "unknown", "forward", "backward", "text"]
    for number, (row, found) in enumerate(zip(rows, expected, strict=True), 1):
        values = row.split("\t")
        assert values[:3] == [str(number), str(len(found.tokens)), str(int((~found.known).sum()))]
        assert float(values[3]) == pytest.approx(found.total_forward, abs=1e-5)
        assert float(values[4]) == pytest.approx(found.total_backward, abs=1e-5)
        assert values[5] == " ".join(found.tokens)
    _, *words = run("score", MODEL, text, "--tokenized", "--words").splitlines()
    cells = [row.split("\t") for row in words]
    third = [row for row in cells if row[0] == "3"]
    assert [row[2] for row in third] == ["<S>", *SENTENCES[2], "</S>"]
    assert [row[3] for row in third] == ["", "1", "1", "0", "1", ""]
    assert [float(row[4]) for row in third[1:]] == pytest.approx(expected[2].forward.tolist(), abs=1e-5)
    assert [float(row[5]) for row in third[:-1]] == pytest.approx(expected[2].backward.tolist(), abs=1e-5)


def test_score_writes_files_and_json_lines(text: Path, awkward_path: Path) -> None:
    lines = run("score", MODEL, text, "--tokenized", "--words", "--json").splitlines()
    expected = list(score(load(MODEL), SENTENCES))
    for line, found in zip(lines, expected, strict=True):
        value = json.loads(line)
        assert value["tokens"] == list(found.tokens)
        assert value["forward_words"] == pytest.approx(found.forward.tolist(), abs=1e-5)
        assert value["forward"] == pytest.approx(found.total_forward, abs=1e-5)
    out = awkward_path / "scores.jsonl"
    summary = json.loads(run("score", MODEL, text, "--tokenized", "--words", "-o", out, "--json"))
    assert (summary["wrote"], summary["sentences"], summary["unknown_words"]) == ([os.fsencode(out).decode()], 3, 1)
    assert out.read_text(encoding="utf-8").splitlines() == lines
    assert "exists already" in refused(1, "score", MODEL, text, "-o", out)
    table = awkward_path / "scores.tsv"
    assert "scores.tsv" in run("score", MODEL, text, "--tokenized", "-o", table)
    assert table.read_text(encoding="utf-8") == run("score", MODEL, text, "--tokenized")
    assert sorted(entry.name for entry in awkward_path.iterdir()) == ["a text.txt", "scores.jsonl", "scores.tsv"]
    assert ".tsv or .jsonl" in refused(2, "score", MODEL, text, "-o", "scores.xls")


# --- generate


@pytest.mark.parametrize("model", [MODEL, TRANSFORMER])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_generate_prints_a_line_a_sample_and_the_same_again(model: str, direction: str) -> None:
    call = ("generate", model, "The unseen bank", "--direction", direction, "--seed", "3", "--max-words", "6")
    lines = run(*call, "--samples", "4", "--tokens").splitlines()
    assert len(lines) == 4
    assert run(*call, "--samples", "2", "--tokens").splitlines() == lines[:2]
    for line in lines:
        assert line.startswith("The unseen bank") if direction == "forward" else line.endswith("The unseen bank")
    found = json.loads(run(*call, "--samples", "4", "--tokens", "--json"))
    assert [sample["text"] for sample in found["samples"]] == lines
    for sample in found["samples"]:
        assert sample["log_probability"] == pytest.approx(sum(each["log_probability"] for each in sample["written"]))


def test_generate_reads_the_sentences_before_the_last_one() -> None:
    found = json.loads(run("generate", MODEL, "We sat. The bank", "--json", "--max-words", "2"))
    (sample,) = found["samples"]
    assert sample["text"].startswith("We sat. The bank")
    assert sample["sentences"][0][:2] == ["The", "bank"]
    bold = run("generate", MODEL, "The", "--temperature", "0", "--tokens")
    assert bold == run("generate", MODEL, "The", "--top-k", "1", "--tokens", "--seed", "9")


# --- substitutes


def test_substitutes_ranks_what_fits(tmp_path: Path) -> None:
    call = ("substitutes", MODEL, "We sat on the [bank] of the river.", "--top", "3")
    found = json.loads(run(*call, "--json"))
    assert (found["tokens"][4], found["place"], len(found["candidates"])) == ("bank", 4, 3)
    assert found["formula"] == "p(w | before) p(w | behind)"
    shown = run(*call)
    assert [each["word"] in shown for each in found["candidates"]] == [True] * 3
    assert "We sat on the [bank] of the river ." in shown
    same = run("substitutes", MODEL, "We sat on the bank of the river .", "--word", "bank", "--top", "3", "--tokenized")
    assert same == shown
    counts = tmp_path / "counts.tsv"
    counts.write_text("the\t1000\nriver 5\n", encoding="utf-8")
    divided = json.loads(run(*call, "--counts", counts, "--json"))
    assert divided["formula"] == "p(w | before) p(w | behind) / p(w)"
    assert divided["candidates"] != found["candidates"]
    assert "outside the model's vocabulary" in run("substitutes", MODEL, "a [qwerty] c", "--top", "1")


# --- what is refused


@pytest.mark.parametrize(
    "arguments",
    [("evaluate", "text"), ("score", "text"), ("generate", "The"), ("substitutes", "The [bank] .")],
    ids=lambda arguments: arguments[0],
)
def test_a_model_without_a_softmax_says_so_and_what_to_do(arguments: tuple[str, ...], text: Path) -> None:
    verb, last = arguments
    sentence = refused(1, verb, NO_SOFTMAX, text if last == "text" else last)
    assert "has no softmax, so it cannot predict words" in sentence
    assert "give the bilm-tf checkpoint" in sentence


@pytest.mark.parametrize("verb", ["evaluate", "score"])
def test_bad_texts_are_named(verb: str, awkward_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, latin = awkward_path / "empty.txt", awkward_path / "latin.txt"
    empty.touch()
    latin.write_bytes("déjà vu, café au lait\n".encode("cp1252"))
    assert "no text in" in refused(1, verb, MODEL, empty)
    assert "nothing.txt" in refused(1, verb, MODEL, awkward_path / "nothing.txt")
    monkeypatch.setattr("sys.argv", ["polyseme", verb, MODEL, "latin.txt"])
    sentence = refused(1, verb, MODEL, latin)
    assert f"polyseme {verb} " in sentence
    assert "--encoding cp1252" in sentence


@pytest.mark.parametrize(
    ("code", "arguments", "finding"),
    [
        (2, ["evaluate", MODEL, "TEXT", "--state", "sometimes"], "--state"),
        (2, ["evaluate", MODEL, "TEXT", "--lanes", "0"], "--lanes"),
        (2, ["evaluate", MODEL, "TEXT", "--lanes", "2", "--state", "zero"], "only a carried state has lanes"),
        (2, ["evaluate", TRANSFORMER, "TEXT", "--state", "zero"], "a Transformer carries no state"),
        (2, ["evaluate", MODEL, "TEXT", "--lang", "klingon"], "klingon"),
        (2, ["evaluate", MODEL, "TEXT", "--device", "abacus"], "abacus"),
        (2, ["evaluate", MODEL], "TEXT"),
        (2, ["score", MODEL, "TEXT", "--state", "carry"], "--state"),
        (2, ["generate", MODEL, "The", "--temperature", "-1"], "--temperature"),
        (2, ["generate", MODEL, "The", "--temperature", "nan"], "temperature"),
        (2, ["generate", MODEL, "The", "--top-p", "0"], "--top-p"),
        (2, ["generate", MODEL, "The", "--top-p", "1.5"], "--top-p"),
        (2, ["generate", MODEL, "The", "--direction", "up"], "--direction"),
        (2, ["generate", TRANSFORMER, "One. Two", "--max-words", "3"], "one sentence at a time"),
        (1, ["generate", TRANSFORMER, "The", "--direction", "backward", "--max-words", "99"], "ask for fewer words"),
        (2, ["substitutes", MODEL, "The bank ."], "mark one word"),
        (1, ["substitutes", MODEL, "The bank .", "--word", "river"], "'river' is not among the words"),
        (1, ["substitutes", MODEL, "The bank .", "--word", "bank", "--occurrence", "2"], "only once"),
        (1, ["substitutes", MODEL, "[a]", "--counts", "no-such-file"], "no-such-file"),
        (1, ["substitutes", MODEL, "[a]", "--counts", "TEXT"], "is not a word and its count"),
    ],
    ids=lambda value: " ".join(value[::2]) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_named(code: int, arguments: list[str], finding: str, text: Path) -> None:
    assert finding in refused(code, *[str(text) if each == "TEXT" else each for each in arguments])
