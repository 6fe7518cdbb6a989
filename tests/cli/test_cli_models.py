"""`polyseme convert`, `info` and `verify` on the tiny models of tests/data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from polyseme.cli.main import app
from polyseme.errors import NotConvergedError
from polyseme.formats.folder import open_model

DATA = Path(__file__).parents[1] / "data"
MODEL = DATA / "allennlp-char" / "highway2"
LSTMS = ["allennlp-char/highway1", "allennlp-token/trained", "tensorflow/highway", "transformer/lstm"]
OTHERS = ["many_langs/words_and_chars.zip", "many_langs/words", "transformer/after_cnn", "transformer/unprojected"]
runner = CliRunner()


def run(*arguments: object) -> dict[str, Any]:
    """Runs `... --json`; the one object on stdout."""
    done = runner.invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


@pytest.fixture
def native(awkward_path: Path) -> Path:
    folder = awkward_path / "native"
    assert runner.invoke(app, ["convert", str(MODEL), str(folder)]).exit_code == 0
    return folder


@pytest.mark.parametrize("name", LSTMS + OTHERS)
def test_every_layout_converts_and_its_copy_is_sound(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "native"
    report = run("convert", DATA / name, folder)
    assert report["max_difference"] <= 1e-5
    assert report["not_held"] == []
    assert sorted(Path(file).name for file in report["wrote"]) == sorted(file.name for file in folder.iterdir())
    assert report["next"].startswith("polyseme verify ")
    checks = {check["name"]: check["passed"] for check in run("verify", folder)["checks"]}
    assert checks.pop("settled state") is (None if "after" in name or "unprojected" in name else True)
    assert set(checks.values()) == {True}
    assert "reference" in checks
    assert open_model(folder).hash() == open_model(DATA / name).hash()


def test_weights_of_eight_bits_are_a_model_of_their_own_with_what_that_cost(awkward_path: Path) -> None:
    trained = Path(__file__).parents[1] / "data" / "tensorflow" / "highway"
    report = run("convert", trained, awkward_path / "int8", "--weights", "int8")
    assert report["max_difference"] <= 1e-5
    assert 0.9 < report["smallest_cosine"] <= 1
    assert run("verify", awkward_path / "int8")["passed"]
    done = runner.invoke(
        app, ["convert", str(trained), str(awkward_path / "x"), "--weights", "int8", "--to", "allennlp"]
    )
    assert done.exit_code == 2
    assert "only a Polyseme folder holds weights of int8" in done.stderr
    assert [entry.name for entry in awkward_path.iterdir()] == ["int8"]


@pytest.mark.parametrize("name", LSTMS)
def test_converting_to_allennlp_says_what_is_lost_and_back_again_nothing_is(name: str, tmp_path: Path) -> None:
    run("convert", DATA / name, tmp_path / "native")
    report = run("convert", tmp_path / "native", tmp_path / "hdf5", "--to", "allennlp")
    assert "the model card" in report["not_held"]
    assert any("settled state" in lost for lost in report["not_held"])
    run("convert", tmp_path / "hdf5", tmp_path / "again")
    first, again = open_model(DATA / name), open_model(tmp_path / "again")
    tensors = again.bilm.state_dict()
    for key, tensor in first.bilm.state_dict().items():
        if key.startswith("softmax") or (key.endswith("bias") and first.bilm.config.forget_bias != 1.0):
            continue  # what the report listed
        begin = 1 if key.endswith("table.weight") else 0  # row 0 is the mask, which no word reads
        assert torch.equal(tensor[begin:], tensors[key][begin:]), key


def test_a_person_reads_what_the_target_cannot_hold(tmp_path: Path) -> None:
    source = DATA / "tensorflow" / "highway"
    done = runner.invoke(app, ["convert", str(source), str(tmp_path / "hdf5"), "--to", "allennlp"])
    assert done.exit_code == 0
    assert "the softmax (24 words): score, generate and substitutes need it" in done.stdout
    assert "max |difference|" in done.stdout
    assert "weights.hdf5" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("next")


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_target_cannot_express_is_refused(name: str, tmp_path: Path) -> None:
    done = runner.invoke(app, ["convert", str(DATA / name), str(tmp_path / "hdf5"), "--to", "allennlp"])
    assert (done.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "cannot express this model" in done.stderr


def test_the_settled_state_is_stored(native: Path) -> None:
    model = open_model(native)
    assert model.settled is not None
    assert model.settled_residual is not None
    assert model.settled_residual <= 1e-6


def test_a_model_that_does_not_settle_is_converted_without_a_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NotConvergedError("still moves")

    monkeypatch.setattr("polyseme.settle.settled_states", fail)
    monkeypatch.setattr("polyseme.verify.settled_states", fail)
    assert run("convert", MODEL, tmp_path / "native")["warnings"] == ["still moves"]
    checks = {check["name"]: check["passed"] for check in run("verify", tmp_path / "native")["checks"]}
    assert checks.pop("settled state") is None
    assert set(checks.values()) == {True}


def test_vectors_that_differ_stop_a_conversion_and_leave_everything_as_it_was(
    native: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file.name: file.read_bytes() for file in native.iterdir()}
    monkeypatch.setattr("polyseme.verify.compare", lambda *_: 0.25)
    done = runner.invoke(app, ["convert", str(MODEL), str(native), "--overwrite"])
    assert done.exit_code == 1
    assert "differ from the source's by 0.25" in done.stderr
    assert {file.name: file.read_bytes() for file in native.iterdir()} == before
    assert [entry.name for entry in native.parent.iterdir()] == ["native"]


def test_only_a_model_is_overwritten_and_only_when_asked(native: Path) -> None:
    refused = runner.invoke(app, ["convert", str(MODEL), str(native)])
    assert (refused.exit_code, "--overwrite" in refused.stderr) == (1, True)
    run("convert", DATA / "tensorflow" / "highway", native, "--overwrite")
    assert (native / "vocab.txt").is_file()
    (native / "thesis.tex").write_text("years of work", encoding="utf-8")
    refused = runner.invoke(app, ["convert", str(MODEL), str(native), "--overwrite"])
    assert (refused.exit_code, "'thesis.tex', which is no part of a model" in refused.stderr) == (1, True)
    assert (native / "thesis.tex").is_file()


@pytest.mark.parametrize("destination", [".", "..", "../native"])
def test_a_source_is_never_replaced_by_its_own_copy(
    destination: str, native: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(native)
    done = runner.invoke(app, ["convert", str(native), destination, "--overwrite"])
    assert done.exit_code == 2
    assert "SRC lies in DST" in done.stderr
    assert open_model(native).hash() == open_model(MODEL).hash()


# --- info


def test_info_adds_up_the_parameters_by_part() -> None:
    report = run("info", DATA / "tensorflow" / "highway")
    model = open_model(DATA / "tensorflow" / "highway")
    parts = report["parameters"]
    assert parts["total"] == sum(parameter.numel() for parameter in model.bilm.parameters())
    assert parts["total"] == parts["encoder"] + parts["lstm"] + parts["softmax"]
    assert (report["vocabulary"], report["architecture"]["softmax_size"]) == (24, 24)
    assert report["hash"] == model.hash()
    assert report["layout"] == "bilm-tf checkpoint"
    assert report["state"] == {"kind": "settled", "stored": False, "residual": None}


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("allennlp-char/highway2", "UTF-8 bytes, words up to 48 of them"),
        ("allennlp-token/trained", "a table of 24 words"),
        ("many_langs/words_and_chars", "39 characters, words up to 48 of them; a table of 23 words"),
        ("transformer/after_cnn", "2 Transformer layers of 8 a direction; 8 heads, up to 64 words a sentence"),
        ("transformer/after_cnn", "a Transformer carries none"),
        ("tensorflow/highway", "softmax 168"),
    ],
)
def test_info_is_a_table_for_people(name: str, finding: str) -> None:
    done = runner.invoke(app, ["info", str(DATA / name)])
    assert done.exit_code == 0
    assert finding in done.stdout
    assert done.stdout.splitlines()[-1].startswith("next")


# --- verify


def change(native: Path, name: str, file: str = "model.safetensors") -> None:
    """Adds a little to one tensor of a folder."""
    tensors = load_file(native / file)
    tensors[name] = tensors[name] + 0.01
    metadata = None
    if file.startswith("reference"):
        from safetensors import safe_open

        with safe_open(native / file, framework="pt") as opened:
            metadata = opened.metadata()
    save_file(tensors, native / file, metadata=metadata)


def failed(model: Path) -> list[str]:
    """The checks that `verify` says failed, the same for people and machines."""
    people = runner.invoke(app, ["verify", str(model)])
    machines = runner.invoke(app, ["verify", str(model), "--json"])
    assert people.exit_code == machines.exit_code == 1
    report = json.loads(machines.stdout)
    names = [check["name"] for check in report["checks"] if check["passed"] is False]
    assert report["passed"] is False
    assert all(any(line.startswith("FAILED") and name in line for line in people.stdout.splitlines()) for name in names)
    assert f"{', '.join(names)} failed" in people.stderr
    return names


def test_verify_is_happy_with_every_published_layout() -> None:
    for name in ("allennlp-char/highway2", "many_langs/chars", "transformer/after_highway"):
        done = runner.invoke(app, ["verify", str(DATA / name)])
        assert done.exit_code == 0, done.output
        assert "is sound. Next: polyseme convert" in done.stdout


def test_verify_finds_weights_that_are_not_those_of_the_reference(native: Path) -> None:
    change(native, "encoder.char_cnn.projection.weight")
    assert "reference" in failed(native)


def test_verify_finds_a_reference_that_was_changed(native: Path) -> None:
    change(native, "2", "reference.safetensors")
    assert failed(native) == ["reference"]


def test_verify_finds_a_settled_state_that_is_not_one(native: Path) -> None:
    change(native, "settled.backward.cell")
    assert failed(native) == ["settled state"]


def test_verify_names_the_file_whose_numbers_are_not_finite(native: Path) -> None:
    tensors = load_file(native / "model.safetensors")
    tensors["forward_layers.layers.1.bias"][3] = float("nan")
    save_file(tensors, native / "model.safetensors")
    done = runner.invoke(app, ["verify", str(native)])
    assert done.exit_code == 1
    assert "forward_layers.layers.1.bias" in done.stderr
    assert "not finite" in done.stderr


@pytest.mark.parametrize("damage", ["truncated", "foreign", "without sentences"])
def test_a_damaged_reference_file_is_named(native: Path, damage: str) -> None:
    file = native / "reference.safetensors"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:500])
    elif damage == "foreign":
        shutil.copy(native / "model.safetensors", file)
    else:
        save_file(load_file(file), file, metadata={"format": "polyseme-reference"})
    done = runner.invoke(app, ["verify", str(native)])
    assert done.exit_code == 1
    assert "reference.safetensors: " in done.stderr
    assert "Traceback" not in done.output
