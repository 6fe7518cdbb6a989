"""`polyseme prepare`: the report for people and for machines, warnings, stopping and going on."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polyseme.cli.main import app
from polyseme.text.shards import Corpus

TEXT = "The bank raised its rates. We sat on the bank.\n\nThe bank raised its rates.\n"
runner = CliRunner()


@pytest.fixture
def text(awkward_path: Path) -> Path:
    file = awkward_path / "a text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


def prepare(*arguments: object, input: str | bytes | None = None) -> dict[str, Any]:
    """Runs `prepare ... --json`; the one object on stdout."""
    done = runner.invoke(app, ["prepare", *map(str, arguments), "--json"], input=input)
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


def test_the_report_says_what_is_in_the_corpus(text: Path) -> None:
    out = text.parent / "corpus"
    report = prepare(text, "-o", out, "--lang", "en", "--heldout", "0.3")
    corpus = Corpus.open(out)
    assert (report["train_words"], report["heldout_words"]) == (corpus.train.n_words, corpus.heldout.n_words)
    assert report["train_words"] + report["heldout_words"] == 18
    assert report["train_targets"] == corpus.train.n_targets
    assert (report["documents"], report["empty_lines"], report["language_given"]) == (2, 1, True)
    assert report["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    assert report["wrote"] == [os.fsencode(out).decode("utf-8")]
    assert report["next"].startswith("polyseme train ")
    assert prepare(text, "-o", out, "--lang", "en", "--heldout", "0.3", "--resume")["finished_before"] is True


def test_the_report_for_people(text: Path) -> None:
    out = text.parent / "corpus"
    done = runner.invoke(app, ["prepare", str(text), "-o", str(out), "--vocab-size", "6"])
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "read 2 documents; 3 sentences; 18 words; 10 word types" in shown
    assert "tokenizer ptb, language en (suggested by the script; --lang names another)" in shown
    assert "1 block spread over the text" in shown
    assert "vocabulary 6 types; unknown: " in shown
    assert "UTF-8 bytes" in shown
    assert "lines 3, of which 1 empty; none undecodable" in shown
    assert done.stdout.splitlines()[-1].split()[:3] == ["next", "polyseme", "train"]
    assert "Warning: too few documents to hold whole ones out: 2; " in done.stderr
    assert "cutting text into words" in done.stderr


def test_text_options_reach_the_corpus(text: Path, tmp_path: Path) -> None:
    more = ["--lowercase", "--remove-stop-words", "--stem", "--normalize", "nfkc", "--max-characters", "20"]
    prepare(text, "-o", tmp_path / "c", "--lang", "en", *more, "--characters", "learned", "--heldout", "0")
    corpus = Corpus.open(tmp_path / "c")
    assert (corpus.text.lowercase, corpus.text.remove_stop_words, corpus.text.stem) == (True, True, True)
    assert (corpus.text.normalize, corpus.characters.max_characters) == ("nfkc", 20)
    assert len(corpus.characters.alphabet) > 6
    assert list(corpus.words)[3:6] == [".", "bank", "rais"]


def test_tokenized_text_from_standard_input_with_a_file_held_out(text: Path, tmp_path: Path) -> None:
    more = ["--tokenized", "--empty-lines", "keep", "--heldout-text", text]
    report = prepare("-", "-o", tmp_path / "c", *more, input="a b\n\n<unk> N\n")
    assert (report["train_words"], report["train_targets"], report["empty_sentences"]) == (4, 7, 2)
    assert (report["heldout_by"], report["heldout_pieces"], report["heldout_sentences"]) == ("files", 1, 3)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--heldout", "2"], 2, "heldout must be a share between 0 and 0.5"),
        (["--empty-lines", "keep"], 2, "must be --tokenized"),
        (["--lang", "no such language"], 2, "no tokenizer or language is called"),
        (["--encoding", "nonsense"], 2, "no text encoding is called 'nonsense'"),
        (["--heldout-text", "missing.txt"], 1, "missing.txt: no such file or directory"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    text: Path, tmp_path: Path, more: list[str], code: int, message: str
) -> None:
    out = tmp_path / "out" / "c"
    done = runner.invoke(app, ["prepare", str(text), "-o", str(out), *more])
    assert done.exit_code == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    assert not out.with_name("c.partial").exists()


def test_bytes_in_another_encoding_name_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.txt").write_bytes("Grüße aus Köln. Schöne Tage.\n".encode("cp1252"))
    arguments = ["prepare", str(tmp_path / "t.txt"), "-o", str(tmp_path / "c")]
    monkeypatch.setattr(sys, "argv", ["polyseme", *arguments])
    done = runner.invoke(app, arguments)
    assert done.exit_code == 1
    again = os.fsencode(shlex.join(arguments)).decode()  # what the locale could not decode is printed as UTF-8
    assert f"Run again with: polyseme {again} --encoding cp1252" in done.stderr


def test_a_corpus_that_is_there_is_not_replaced_unasked(text: Path, tmp_path: Path) -> None:
    prepare(text, "-o", tmp_path / "c")
    done = runner.invoke(app, ["prepare", str(text), "-o", str(tmp_path / "c")])
    assert done.exit_code == 1
    assert "pass --overwrite to replace it" in done.stderr
    assert prepare(text, "-o", tmp_path / "c", "--overwrite", "--heldout", "0")["heldout_words"] == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole console")
@pytest.mark.slow
def test_ctrl_c_keeps_what_was_finished_and_says_how_to_go_on(tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text(
        "".join(f"word{number} and some more words of a line\n" for number in range(600_000)), encoding="utf-8"
    )
    out = tmp_path / "c"
    command = [sys.executable, "-m", "polyseme", "prepare", str(text), "-o", str(out), "--lang", "en"]
    with subprocess.Popen([*command, "--processes", "2"], stderr=subprocess.PIPE, start_new_session=True) as program:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("c.partial/blocks/*.npz")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does: the workers get it too
        _, said = program.communicate(timeout=60)
    assert program.returncode == 130
    assert b"stopped; what was finished is kept in" in said
    assert b"--resume" in said
    assert b"Traceback" not in said
    done = subprocess.run([*command, "--resume", "--json"], capture_output=True, check=True)
    assert json.loads(done.stdout)["lines"] == 600_000
