"""`polyseme embed`: what it writes and says, compared with what the models' own packages computed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import polyseme
from polyseme.cli.main import app
from polyseme.store import FORMATS

DATA = Path(__file__).parents[1] / "data"
MODEL = str(DATA / "allennlp-char" / "highway2")
TRANSFORMER = str(DATA / "transformer" / "after_cnn")
TEXT = "The bank raised its rates. We sat on the bank.\nThe bank raised its rates.\n"
runner = CliRunner()


@pytest.fixture
def text(awkward_path: Path) -> Path:
    file = awkward_path / "a text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


def embed(*arguments: object, input: str | bytes | None = None) -> dict[str, Any]:
    """Runs `embed ... --json`; the one object on stdout."""
    done = runner.invoke(app, ["embed", *map(str, arguments), "--json"], input=input)
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


def stored(path: Path) -> list[polyseme.Embedding]:
    """All of them, the file closed again."""
    with polyseme.read_embeddings(path) as opened:
        return list(opened)


def test_vectors_are_those_of_the_published_package(tmp_path: Path) -> None:
    expected = np.load(DATA / "allennlp-char" / "highway2" / "expected.npz")["zero"]
    sentences = json.loads((DATA / "allennlp-char" / "highway2" / "expected.json").read_text(encoding="utf-8"))[
        "sentences"
    ]
    source = tmp_path / "words.txt"
    source.write_text("".join(" ".join(words) + "\n" for words in sentences), encoding="utf-8")
    kept = ["--tokenized", "--state", "zero", "--layers", "all", "--dtype", "float32"]
    report = embed(source, "-o", tmp_path / "out.safetensors", "-m", MODEL, *kept)
    found = stored(tmp_path / "out.safetensors")
    assert [each.tokens for each in found] == [tuple(words) for words in sentences]
    assert np.abs(np.concatenate([each.layers for each in found], axis=1) - expected).max() < 2e-6
    assert report["sentences"] == len(sentences)


def test_a_person_reads_what_was_written_and_what_to_do_next(text: Path, awkward_path: Path) -> None:
    out = awkward_path / "vectors.npz"
    done = runner.invoke(app, ["embed", str(text), "-o", str(out), "-m", MODEL])
    assert done.exit_code == 0
    assert "3 sentences, of which 1 repeated; 18 words" in done.stdout
    assert "ptb, language en" in done.stdout
    assert os.fsencode(out).decode("utf-8") in done.stdout
    next_command = done.stdout.splitlines()[-1]
    assert next_command.startswith("next")
    assert "polyseme.read_embeddings(" in next_command
    assert "will take about" in done.stderr
    assert "Traceback" not in done.output


def test_the_output_size_is_said_before_any_sentence_is_embedded(text: Path) -> None:
    done = runner.invoke(app, ["embed", str(text), "-o", str(text.with_suffix(".npz")), "-m", MODEL])
    lines = done.stderr.splitlines()
    announced = next(number for number, line in enumerate(lines) if "will take about" in line)
    assert all("words/s" not in line for line in lines[:announced])


def test_json_is_one_object_with_paths_counts_and_next_step(text: Path) -> None:
    out = text.with_suffix(".safetensors")
    report = embed(text, "-o", out, "-m", MODEL)
    assert report["bytes"] == out.stat().st_size
    assert [report[name] for name in ("records", "sentences", "tokens", "repeated_sentences")] == [3, 3, 18, 1]
    assert (report["language"], report["tokenizer"], report["warnings"]) == ("en", "ptb", [])
    assert "read_embeddings" in report["next"]
    assert report["wrote"][0].endswith("a text.safetensors")


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_written_and_read_back(format: str, text: Path) -> None:
    if format in ("arrow", "parquet"):
        pytest.importorskip("pyarrow")
    out = text.with_name(f"out.{'h5' if format == 'h5-classic' else format}")
    embed(text, "-o", out, "-m", MODEL, "--format", format)
    assert len(stored(out)) == 3


def test_options_reach_the_vectors(text: Path) -> None:
    out, command = text.with_suffix(".npz"), [text, "-o", text.with_suffix(".npz"), "-m", MODEL]
    embed(*command, "--unit", "document", "--pool", "mean", "--layers", "0,2", "--dtype", "float32")
    with polyseme.read_embeddings(out) as opened:
        assert (len(opened), opened.pooled, opened.n_layers, opened.dtype) == (1, True, 2, "float32")
    embed(*command, "--lowercase", "--remove-stop-words", "--stem", "--lang", "en", "--overwrite")
    assert stored(out)[0].tokens == ("bank", "rais", "rate", ".")


def test_standard_input_is_read(tmp_path: Path) -> None:
    report = embed("-", "-o", tmp_path / "o.npz", "-m", MODEL, input=b"Ein Satz. Noch einer.")
    assert report["sentences"] == 2


def test_records_are_read_by_their_columns(tmp_path: Path) -> None:
    source = tmp_path / "reviews.jsonl"
    source.write_text('{"key": "a1", "body": "It is good."}\n{"key": "b2", "body": "Not so good."}\n', encoding="utf-8")
    embed(source, "-o", tmp_path / "o.safetensors", "-m", MODEL, "--text-column", "body", "--id-column", "key")
    assert stored(tmp_path / "o.safetensors")[1].tokens[0] == "Not"


def test_threads_batches_and_token_budget_do_not_change_the_vectors(text: Path) -> None:
    results = []
    for number, options in enumerate(("--threads 1", "--threads 2", "--max-tokens 5", "--batch-size 1")):
        out = text.with_name(f"{number}.npz")
        embed(text, "-o", out, "-m", MODEL, "--dtype", "float32", *options.split())
        results.append(np.concatenate([each.layers for each in stored(out)], axis=1))
    assert max(np.abs(result - results[0]).max() for result in results) <= 1e-5


def test_carried_state_makes_the_second_reading_of_a_sentence_another(text: Path) -> None:
    out = text.with_suffix(".npz")
    embed(text, "-o", out, "-m", MODEL, "--state", "carry", "--batch-size", "1", "--dtype", "float32")
    first, _, again = stored(out)
    assert first.tokens == again.tokens
    assert np.abs(first.layers - again.layers).max() > 1e-4


def test_a_transformer_has_no_state_to_choose(text: Path) -> None:
    out = text.with_suffix(".npz")
    embed(text, "-o", out, "-m", TRANSFORMER)
    done = runner.invoke(app, ["embed", str(text), "-o", str(out), "-m", TRANSFORMER, "--state", "zero", "--overwrite"])
    assert done.exit_code == 2
    assert "a Transformer carries no state" in done.stderr


def test_cut_words_are_counted_and_said(tmp_path: Path) -> None:
    source = tmp_path / "long.txt"
    source.write_text("word " + "x" * 10_000_000 + " end", encoding="utf-8")
    done = runner.invoke(app, ["embed", str(source), "-o", str(tmp_path / "o.npz"), "-m", MODEL])
    assert done.exit_code == 0
    assert "1 word longer than the model reads" in done.stdout
    assert "Warning: 33% of the words" in done.stderr


def test_a_finished_run_is_not_repeated_by_resume(text: Path) -> None:
    out = text.with_suffix(".npz")
    embed(text, "-o", out, "-m", MODEL)
    before = out.stat().st_mtime_ns
    report = embed(text, "-o", out, "-m", MODEL, "--resume")
    assert report["finished_before"]
    assert out.stat().st_mtime_ns == before


def test_a_run_that_is_stopped_says_how_to_go_on(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = text.with_suffix(".npz")
    arguments = ["embed", str(text), "-o", str(out), "-m", MODEL]
    monkeypatch.setattr(sys, "argv", ["polyseme", *arguments])

    def stop(*_: object, **__: object) -> None:
        out.with_name(out.name + ".partial").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("polyseme.embed_file.embed_file", stop)
    done = runner.invoke(app, arguments)
    assert done.exit_code == 130
    assert "stopped; what was finished is kept in" in done.stderr
    assert done.stderr.rstrip().endswith(f"-m {MODEL} --resume")


def test_what_needs_an_extra_is_said_before_a_model_is_opened(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyseme.cli.embed.find_spec", lambda _: None)
    for source, out in ((text, "o.parquet"), (text, "o.arrow"), (tmp_path / "t.parquet", "o.npz")):
        source.touch()
        done = runner.invoke(app, ["embed", str(source), "-o", str(tmp_path / out), "-m", "no such model"])
        assert done.exit_code == 1
        assert 'pip install "polyseme[data]"' in done.stderr
