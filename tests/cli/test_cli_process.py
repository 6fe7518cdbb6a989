"""The program as a process of its own: locales, pipes, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import polyseme

DATA = Path(__file__).parents[1] / "data"
MODEL = str(DATA / "allennlp-char" / "highway2")
PROGRAM = [sys.executable, "-m", "polyseme"]
# A machine unlike ours: no UTF-8 anywhere, and a file opened without an encoding is an error.
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONWARNDEFAULTENCODING": "1"}


@pytest.mark.parametrize("bare", [False, True])
def test_paths_and_text_in_any_locale(bare: bool, awkward_path: Path) -> None:
    environment = {**os.environ, "PYTHONUTF8": "1", **(BARE if bare else {})}
    text = awkward_path / os.fsdecode("中文 text.txt".encode())
    text.write_bytes("我们坐在河岸上。Über die Brücke.\n".encode())
    native, out = awkward_path / "native", awkward_path / "out.npz"
    first = subprocess.run([*PROGRAM, "convert", MODEL, native], capture_output=True, env=environment)
    assert first.returncode == 0, first.stderr
    command = [*PROGRAM, "embed", text, "-o", out, "-m", native, "--lang", "zh"]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    # What a library opens without an encoding is not ours to mend; a file of ours would be named here.
    assert [line for line in done.stderr.splitlines() if b"EncodingWarning" in line and b"polyseme" in line] == []
    assert os.fsencode(out) in done.stdout
    again = subprocess.run([*command, "--overwrite", "--json"], capture_output=True, env=environment)
    report = json.loads(again.stdout.decode("ascii"))
    assert report["wrote"] == [os.fsencode(out).decode("utf-8")]
    with polyseme.read_embeddings(out) as stored:
        assert stored[0].tokens[0] == "我们"


def test_standard_input_and_a_pipe_that_closes_early(tmp_path: Path) -> None:
    command = [*PROGRAM, "embed", "-", "-o", tmp_path / "o.tsv", "-m", MODEL]
    embedded = subprocess.run(command, input="Größe. 中文。".encode(), capture_output=True)
    assert embedded.returncode == 0, embedded.stderr
    program = subprocess.Popen([*PROGRAM, "info", MODEL], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()  # as `| head -0` does
    said = program.stderr.read()
    program.stderr.close()
    assert program.wait() == 141
    assert b"Error" not in said
    assert b"Broken" not in said


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole console")
def test_ctrl_c_exits_with_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [*PROGRAM, "embed", "-", "-o", tmp_path / "o.npz", "-m", MODEL],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert program.stderr is not None
    while b"embedding into" not in program.stderr.readline():
        pass
    time.sleep(0.5)  # now it waits for text
    program.send_signal(signal.SIGINT)
    out, said = program.communicate(timeout=60)
    assert (program.returncode, out) == (130, b""), said
    assert b"Error: stopped; nothing was written." in said
    assert b"Traceback" not in said


def test_a_problem_exits_with_1_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run([*PROGRAM, "info", tmp_path], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no ELMo that Polyseme knows (it holds: nothing)" in done.stderr
    assert "Traceback" not in done.stderr
