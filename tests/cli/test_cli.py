"""The program as a whole: help, version, usage, exit codes, the words it prints."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polyseme import __version__
from polyseme.cli import output
from polyseme.cli.main import app
from polyseme.errors import InputError, OptionError

MODEL = str(Path(__file__).parents[1] / "data" / "allennlp-char" / "highway2")
VERBS = [
    "quickstart",
    "embed",
    "prepare",
    "train",
    "adapt",
    "convert",
    "info",
    "models",
    "verify",
    "evaluate",
    "score",
    "generate",
    "substitutes",
    "compare",
    "task",
    "static",
]
runner = CliRunner()


def test_help_imports_nothing_that_is_slow_to_load() -> None:
    code = (
        "import sys; sys.argv = ['polyseme', *sys.argv[1:]]\n"
        "from polyseme.cli.main import run\n"
        "try: run()\n"
        "finally: print({'torch', 'numpy', 'scipy', 'sklearn', 'h5py', 'rich'} & set(sys.modules), file=sys.stderr)"
    )
    for arguments in (["--help"], ["embed", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, encoding="utf-8")
        assert (done.returncode, done.stderr.strip()) == (0, "set()")


def test_the_version_is_printed() -> None:
    assert runner.invoke(app, ["--version"]).stdout == f"polyseme {__version__}\n"


def test_help_lists_the_verbs_that_are_built_and_no_others() -> None:
    shown = runner.invoke(app, ["--help"])
    listed = shown.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == VERBS
    assert "..." not in listed, "a verb's line is cut"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_and_json(verb: str) -> None:
    shown = runner.invoke(app, [verb, "--help"]).stdout
    assert "Example:" in shown
    assert f"polyseme {verb} " in shown.partition("Example:")[2]
    assert "--json" in shown


def test_embed_names_no_option_that_is_not_built_and_says_why_stop_words_matter() -> None:
    shown = " ".join(runner.invoke(app, ["embed", "--help"]).stdout.split())
    assert "int8" not in shown
    assert "--backend" not in shown
    assert "A language model learns from word order and grammar, and stop words carry both" in shown


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (["frobnicate"], "frobnicate"),
        (["embed", "a.txt"], "--out"),
        (["embed", "a.txt", "-o", "a.npz", "--pool", "sum"], "--pool"),
        (["embed", "a.txt", "-o", "a.npz", "--batch-size", "0", "-m", MODEL], "--batch-size"),
        (
            ["embed", "a.txt", "-o", "a.npz", "--lang", "de"],
            "no model ships for the language 'de'",
        ),
        (["embed", "a.txt", "-o", "a.npz", "-m", MODEL, "--state", "carry"], "--state carry needs --batch-size"),
        (["embed", "a.txt", "-o", "a.weights", "-m", MODEL], "'.weights' stands for no format"),
        (["embed", "a.txt", "-o", "a.npz", "-m", MODEL, "--lang", "klingon"], "'klingon'"),
        (["embed", "a.txt", "-o", "a.npz", "-m", MODEL, "--encoding", "utf-9"], "'utf-9'"),
        (["convert", MODEL, "out", "--to", "onnx"], "--to"),
        (["info"], "MODEL"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_option(
    arguments: list[str], finding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("A text.", encoding="utf-8")
    done = runner.invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert finding in done.stderr
    assert "Traceback" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (InputError("a.txt: found b; do c"), 1, "Error: a.txt: found b; do c\n"),
        (OptionError("x must be y"), 2, "Error: x must be y\n`polyseme info --help` lists the options.\n"),
        (PermissionError(13, "Permission denied", "secret.txt"), 1, "Error: secret.txt: Permission denied; check that"),
        (MemoryError(), 1, "Error: the memory of this machine does not suffice;"),
        (KeyboardInterrupt(), 130, "Error: stopped; nothing was written.\n"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_what_a_verb_raises_becomes_one_sentence_and_an_exit_code(
    raised: BaseException, code: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("polyseme.fetch.resolve", fail)
    done = runner.invoke(app, ["info", MODEL])
    assert done.exit_code == code
    said = done.stderr.removeprefix("starting ...\n")
    assert said.startswith(sentence) if sentence else said == ""


def test_an_error_that_is_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyseme.fetch.resolve", lambda *_, **__: 1 / 0)
    assert isinstance(runner.invoke(app, ["info", MODEL]).exception, ZeroDivisionError)


# --- the words


def test_any_text_can_be_printed_in_any_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.say("中 \udce4\udcb8\udcad é")
    output.readable_streams()
    sys.stdout.write("中 \udce4\udcb8\udcad é")
    sys.stdout.flush()
    assert raw.getvalue() == b"\\u4e2d \xe4\xb8\xad \\xe9\n\\u4e2d \xe4\xb8\xad \\xe9"


def test_sizes_counts_and_tables_are_for_people() -> None:
    assert [output.size(n) for n in (0, 999, 1000, 1_234_567, 5 * 10**13)] == [
        "0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "50.0 TB",
    ]  # fmt: skip
    assert [output.counted(n, "word") for n in (0, 1, 2000)] == ["0 words", "1 word", "2,000 words"]
    assert output.table([("a", "1\n2"), ("long", "3")]) == "a     1\n      2\nlong  3"


def test_a_quoted_command_can_be_pasted_back() -> None:
    assert output.quoted(["polyseme", "embed", "my text.txt"]) in (
        "polyseme embed 'my text.txt'",
        'polyseme embed "my text.txt"',
    )


def test_json_is_ascii_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    # The second is how Python spells the first where the locale is not UTF-8.
    output.emit({"wrote": [Path("中.npz"), "\udce4\udcb8\udcad.npz"]})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"wrote": ["中.npz", "中.npz"]}


# --- progress


def clock_of(*seconds: float) -> Callable[[], float]:
    times = iter(seconds)
    return lambda: next(times)


def test_in_a_pipe_progress_is_a_plain_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Meter(clock_of(0, 1, 2, 11, 12)) as meter:
        meter.step("embedding")
        for done in (0, 100, 200, 1100, 1200):
            meter.update(done, 4400, "words")
        meter.note("a note")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "embedding ...",
        "  100 of about 4,400 words (2%), 100 words/s, about 0:43 left",
        "  1,100 of about 4,400 words (25%), 100 words/s, about 0:33 left",
        "a note",
    ]


def test_a_resumed_run_shows_its_own_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Meter(clock_of(0, 10)) as meter:
        meter.update(1_000_000, 0, "words")
        meter.update(1_000_500, 0, "words")
    assert capsys.readouterr().err.splitlines() == ["  1,000,000 words", "  1,000,500 words, 50 words/s"]


def test_what_counts_anew_has_a_rate_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Meter(clock_of(0, 10, 20, 30)) as meter:
        for done in (100, 200, 10, 20):
            meter.update(done, 0, "words")
    assert capsys.readouterr().err.splitlines() == [
        "  100 words", "  200 words, 10 words/s", "  10 words", "  20 words, 1 words/s"
    ]  # fmt: skip


def test_on_a_terminal_progress_is_a_bar_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with output.Meter() as meter:
        meter.step("opening [the] model")
        meter.update(0, 1000, "words")
        time.sleep(0.05)
        meter.note("about 1,000 words")
        meter.update(250, 1000, "words")
    shown = screen.getvalue()
    assert "opening [the] model" in shown
    assert "about 1,000 words" in shown
    assert "25%" in shown
    assert "words/s" in shown
