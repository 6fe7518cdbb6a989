"""`polyseme adapt`: published models go on with a text; the guard; what is refused, and how a stopped run goes on."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from tiny import DATA
from typer.testing import CliRunner

from polyseme.cli.main import app
from polyseme.formats.folder import open_model, write_model
from polyseme.text.shards import Corpus
from polyseme.training.outcome import Outcome, read_log

TEXT = "The bank raised its rates. We sat on the bank of the river.\n\nThe river raised its bank. We sat on it.\n\n"
SOFTMAX, BARE = DATA / "tensorflow/highway", DATA / "allennlp-char/highway2"
BRIEF = ("--epochs", "1", "--batch-size", "4", "--steps", "8", "--heldout", "0.2", "--checkpoint-every", "1000")
runner = CliRunner()


@pytest.fixture
def text(awkward_path: Path) -> Path:
    file = awkward_path / "a text.txt"
    file.write_text(TEXT * 8, encoding="utf-8")
    return file


def invoke(*arguments: object) -> Any:
    return runner.invoke(app, ["adapt", *map(str, arguments)])


def adapted(*arguments: object) -> dict[str, Any]:
    """Runs `adapt ... --json`; the one object on stdout."""
    done = invoke(*arguments, *BRIEF, "--json")
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


def test_a_checkpoint_goes_on_with_its_own_words(text: Path) -> None:
    out = text.parent / "out"
    said = adapted(SOFTMAX, text, "-o", out, "--data", "news", "--licence", "CC0", "--guard", text)
    assert said["softmax"] == {"kind": "kept", "kept": 24, "made": 0}
    assert said["perplexity"]["after"]["mean"] < said["perplexity"]["before"]["mean"]
    assert said["guard"]["factor"] < 1
    assert (said["guard"]["kept"], said["guard"]["limit"], said["stopped"]) == (True, 1.1, False)
    model = open_model(out)
    assert model.vocabulary == open_model(SOFTMAX).vocabulary
    assert (model.card.name, model.card.data, model.card.licence) == ("out", "news", "CC0")
    assert model.text.tokenizer == "ptb"
    assert {"log.jsonl", "corpus"} <= {entry.name for entry in out.iterdir()}
    corpus = Corpus.open(out / "corpus")
    assert said["targets"] == corpus.heldout.n_targets
    assert corpus.characters == model.characters


def test_a_model_without_a_softmax_gets_one_and_it_is_said(text: Path) -> None:
    done = invoke(BARE, text, "-o", text.parent / "out", *BRIEF, "--vocab-size", "10")
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "softmax made new, for 10 words: the model had none" in shown
    assert "next polyseme embed TEXT" in shown
    assert len(open_model(text.parent / "out").vocabulary or ()) == 10


def test_a_new_vocabulary_is_that_of_the_text(text: Path) -> None:
    said = adapted(SOFTMAX, text, "-o", text.parent / "out", "--new-vocabulary")
    words = (open_model(text.parent / "out").vocabulary or None).words  # type: ignore[union-attr]
    old = (open_model(SOFTMAX).vocabulary or None).words  # type: ignore[union-attr]
    assert said["softmax"]["kept"] == len(set(words) & set(old))
    assert said["softmax"]["made"] == len(set(words) - set(old)) > 0


def test_a_guard_that_got_worse_is_warned_of(text: Path) -> None:
    done = invoke(
        SOFTMAX, text, "-o", text.parent / "out", *BRIEF, "--guard", text, "--guard-limit", "0.001"
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "beyond the limit of 0.001: the model has forgotten" in done.stderr
    assert "times what it was (limit 0.001)" in " ".join(done.stdout.split())


def test_the_text_is_made_as_that_of_the_model(text: Path) -> None:
    first, second = text.parent / "first", text.parent / "second"
    adapted(BARE, text, "-o", first, "--lang", "icu:en")
    text.write_text((TEXT * 8).lower(), encoding="utf-8")
    adapted(first, text, "-o", second)
    assert open_model(second).text == open_model(first).text
    assert open_model(second).text.tokenizer.startswith("icu")


def test_a_prepared_corpus_is_taken_as_it_is(text: Path) -> None:
    corpus, out = text.parent / "corpus", text.parent / "out"
    runner.invoke(app, ["prepare", str(text), "-o", str(corpus), "--lang", "en", "--heldout", "0.2"])
    adapted(SOFTMAX, corpus, "-o", out)
    assert not (out / "corpus").exists()
    shorter = text.parent / "shorter"
    runner.invoke(app, ["prepare", str(text), "-o", str(shorter), "--lang", "en", "--max-characters", "20"])
    done = invoke(SOFTMAX, shorter, "-o", text.parent / "other")
    assert done.exit_code == 2
    assert "was prepared for UTF-8 bytes, 20 a word" in done.stderr


def test_a_stopped_run_goes_on(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, log = text.parent / "out", Outcome.log

    def interrupted(self: Outcome, event: dict[str, Any]) -> None:
        log(self, event)
        if event["update"] == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Outcome, "log", interrupted)
    options = (SOFTMAX, text, "-o", out, *BRIEF, "--log-every", "1", "--patience", "0", "--guard", text)
    done = invoke(*options, "--json")
    assert done.exit_code == 130
    said = json.loads(done.stdout)
    assert (said["stopped"], said["updates"], said["perplexity"]["after"]) == (True, 2, None)
    assert said["next"].endswith("--resume")
    monkeypatch.undo()
    done = invoke(*options, "--json", "--resume")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["guard"]["factor"] > 0
    assert [event["update"] for event in read_log(out) if event["event"] == "train"][:3] == [1, 2, 3]


@pytest.mark.parametrize("name", ["allennlp-token/trained", "many_langs/words_and_chars"])
def test_a_model_with_a_table_of_words_is_refused_before_any_work(name: str, text: Path) -> None:
    done = invoke(DATA / name, text, "-o", text.parent / "out")
    assert done.exit_code == 1
    assert "looks words up in a table" in done.stderr
    assert not (text.parent / "out").exists()


def test_what_contradicts_itself_is_refused(text: Path) -> None:
    out = text.parent / "out"
    for more, problem in (
        (["--heldout", "0"], "nothing would say how well"),
        (["--vocab-size", "10"], "keeps its own words"),
        (["--guard-limit", "0", "--guard", text], "limit of the guard"),
    ):
        done = invoke(SOFTMAX, text, "-o", out, *more)
        assert (done.exit_code, problem in done.stderr) == (2, True), done.stderr
        assert not out.exists()
    done = invoke(SOFTMAX, text, "-o", text.parent / "other", "--guard", text.parent / "nowhere.txt")
    assert done.exit_code == 1
    assert "nowhere.txt" in done.stderr
    assert not (text.parent / "other").exists()


def test_a_folder_in_use_is_left_alone(text: Path) -> None:
    out = text.parent / "out"
    write_model(open_model(SOFTMAX), out)
    before = sorted(out.iterdir())
    done = invoke(SOFTMAX, text, "-o", out)
    assert done.exit_code == 1
    assert "not empty" in done.stderr
    assert sorted(out.iterdir()) == before
