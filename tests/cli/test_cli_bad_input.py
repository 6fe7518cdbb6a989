"""Bad texts, models and places through the command line: exit code 1, one sentence, nothing lost, no traceback."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from polyseme.cli.main import app

DATA = Path(__file__).parents[1] / "data"
MODEL = DATA / "allennlp-char" / "highway2"
Usage = namedtuple("Usage", "total used free")
runner = CliRunner()


def refused(*arguments: object) -> str:
    """The one sentence on stderr with which a verb exits with 1."""
    done = runner.invoke(app, [*map(str, arguments)])
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.stdout == ""
    _, found, sentence = done.stderr.partition("Error: ")
    assert found
    assert "Traceback" not in done.stderr
    return sentence


@pytest.mark.parametrize(
    ("name", "content", "finding", "next_step"),
    [
        ("latin.txt", "déjà vu, café au lait\n".encode("cp1252"), "line 1: the bytes e9", "--encoding cp1252"),
        ("empty.txt", b"", "no text in", "0 lines"),
        ("blank.txt", b"\n \n\n", "no text in", "3 lines"),
        ("program.txt", b"\x7fELF\x02\x01" + bytes(100), "a binary file", "not text"),
        ("wide.txt", "words in two bytes\n".encode("utf-16-le"), "utf-16-le", "--encoding utf-16-le"),
        ("broken.jsonl", b'{"text": "fine"}\n{"text": \n', "line 2", "JSON"),
        ("cut.txt.gz", b"\x1f\x8b\x08\x00\x00\x00", "cut.txt.gz", ""),
    ],
)
def test_a_bad_text_is_named_with_what_was_found(
    name: str, content: bytes, finding: str, next_step: str, awkward_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = awkward_path / name
    source.write_bytes(content)
    arguments = ["embed", str(source), "-o", str(awkward_path / "o.npz"), "-m", str(MODEL)]
    monkeypatch.setattr("sys.argv", ["polyseme", *arguments])
    sentence = refused(*arguments)
    assert name in sentence
    assert finding in sentence
    assert next_step in sentence
    assert not (awkward_path / "o.npz").exists()


def test_the_command_to_retry_can_be_pasted_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "latin text.txt"
    source.write_bytes("déjà vu, café au lait\n".encode("cp1252"))
    arguments = ["embed", str(source), "-o", str(tmp_path / "o.npz"), "-m", str(MODEL)]
    monkeypatch.setattr("sys.argv", ["polyseme", *arguments])
    # The runner decodes what was printed as UTF-8; a shell hands the bytes back as the locale has them.
    command = os.fsdecode(refused(*arguments).partition("Run again with: ")[2].strip().encode())
    assert command.startswith("polyseme embed ")
    if os.name != "nt":
        assert runner.invoke(app, shlex.split(command)[1:]).exit_code == 0


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    for source in ("nothing.txt", "*.txt", "pictures"):
        assert source in refused("embed", tmp_path / source, "-o", tmp_path / "o.npz", "-m", MODEL)


# --- models


def without_a_dataset(folder: Path) -> None:
    with h5py.File(folder / "weights.hdf5", "a") as file:
        del file["CNN/W_cnn_1"]


def of_another_shape(folder: Path) -> None:
    options = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    options["lstm"]["dim"] += 1
    (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")


def truncated(folder: Path) -> None:
    content = (folder / "weights.hdf5").read_bytes()
    (folder / "weights.hdf5").write_bytes(content[: len(content) // 2])


def without_options(folder: Path) -> None:
    (folder / "options.json").write_text("{}", encoding="utf-8")


def without_weights(folder: Path) -> None:
    (folder / "weights.hdf5").unlink()


@pytest.mark.parametrize("verb", ["embed", "convert", "info", "verify"])
@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (without_a_dataset, "CNN/W_cnn_1"),
        (of_another_shape, "shape"),
        (truncated, "truncated"),
        (without_options, "options.json"),
        (without_weights, "Tried:"),
    ],
)
def test_a_damaged_model_is_named_by_every_verb(
    verb: str, damage: Callable[[Path], None], finding: str, awkward_path: Path
) -> None:
    folder = awkward_path / "model"
    shutil.copytree(MODEL, folder)
    damage(folder)
    text = awkward_path / "text.txt"
    text.write_text("A text.", encoding="utf-8")
    arguments = {"embed": [text, "-o", awkward_path / "o.npz", "-m", folder], "convert": [folder, awkward_path / "new"]}
    sentence = refused(verb, *arguments.get(verb, [folder]))
    assert "model" in sentence
    assert finding in sentence
    assert sorted(entry.name for entry in awkward_path.iterdir()) == ["model", "text.txt"]


def test_a_native_folder_without_a_tensor_or_with_another_vocabulary_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "native"
    assert runner.invoke(app, ["convert", str(DATA / "tensorflow" / "highway"), str(folder)]).exit_code == 0
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("one-more\n")
    assert "vocab.txt lists 25 words for a softmax of 24" in refused("verify", folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.char_cnn.projection.bias"]
    save_file(tensors, folder / "model.safetensors")
    assert "lacks encoder.char_cnn.projection.bias" in refused("info", folder)


@pytest.mark.parametrize("verb", ["info", "verify"])
def test_what_is_no_model_is_refused_with_the_layouts_that_were_tried(verb: str, tmp_path: Path) -> None:
    (tmp_path / "readme.md").touch()
    sentence = refused(verb, tmp_path)
    assert "holds: readme.md" in sentence
    assert "bilm-tf checkpoint" in sentence
    assert "is no path on this machine" in refused(verb, "no-such-model")


# --- places


def test_an_existing_output_is_kept(tmp_path: Path) -> None:
    text, out = tmp_path / "a.txt", tmp_path / "o.npz"
    text.write_text("A text.", encoding="utf-8")
    out.write_text("precious", encoding="utf-8")
    assert "--overwrite" in refused("embed", text, "-o", out, "-m", MODEL)
    assert out.read_text(encoding="utf-8") == "precious"
    folder = tmp_path / "folder.npz"
    folder.mkdir()
    for flag in ([], ["--overwrite"]):
        assert "folder.npz" in refused("embed", text, "-o", folder, "-m", MODEL, *flag)


def test_a_full_disk_stops_the_run_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "a.txt"
    text.write_text("A text. " * 50, encoding="utf-8")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    sentence = refused("embed", text, "-o", tmp_path / "o.npz", "-m", MODEL)
    assert "1,000 are free" in sentence
    assert not (tmp_path / "o.npz").exists()
    sentence = refused("convert", MODEL, tmp_path / "native")
    assert "1,000 are free there; free some space" in sentence
    assert not (tmp_path / "native").exists()


@pytest.mark.skipif(os.name == "nt", reason="a file stands where a folder should")
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    text, blocked = tmp_path / "a.txt", tmp_path / "file"
    text.write_text("A text.", encoding="utf-8")
    blocked.touch()
    assert "file" in refused("embed", text, "-o", blocked / "o.npz", "-m", MODEL)
    assert "file" in refused("convert", MODEL, blocked / "native")


def test_an_unfinished_run_is_not_thrown_away(tmp_path: Path) -> None:
    text, out = tmp_path / "a.txt", tmp_path / "o.npz"
    text.write_text("A text.", encoding="utf-8")
    partial = tmp_path / "o.npz.partial"
    partial.mkdir()
    (partial / "journal.json").write_text("{}", encoding="utf-8")
    assert "--resume" in refused("embed", text, "-o", out, "-m", MODEL)
    assert (partial / "journal.json").read_text(encoding="utf-8") == "{}"
