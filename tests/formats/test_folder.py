"""`polyseme.load` finds out what a path holds: every format's own vectors, whole folders or none, damaged files."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from published import DATA, Expected, difference
from tiny import HIGHWAY2, published_model, random_model

import polyseme
from polyseme.errors import DamagedModelError, OptionError, OutputError, UnknownFormatError
from polyseme.formats import folder as folders
from polyseme.formats.folder import LAYOUTS, layout_of, open_model, write_model
from polyseme.formats.model import Model
from polyseme.settle import settled_states

# What is opened, whose vectors it must give, the layout's name.
MODELS = {
    "allennlp-char/highway1": ("allennlp-char/highway1", "AllenNLP/bilm HDF5"),
    "allennlp-char/highway2": ("allennlp-char/highway2", "AllenNLP/bilm HDF5"),
    "allennlp-char/tanh": ("allennlp-char/tanh", "AllenNLP/bilm HDF5"),
    "allennlp-char/plain": ("tensorflow/plain", "AllenNLP/bilm HDF5"),
    "allennlp-char/highway2/weights.hdf5": ("seqvec", "AllenNLP/bilm HDF5"),
    "allennlp-token/trained": ("allennlp-token/trained", "AllenNLP/bilm HDF5"),
    "tensorflow/highway": ("tensorflow/highway", "bilm-tf checkpoint"),
    "tensorflow/plain": ("tensorflow/plain", "bilm-tf checkpoint"),
    "many_langs/chars": ("many_langs/chars", "ELMoForManyLangs"),
    "many_langs/words": ("many_langs/words", "ELMoForManyLangs"),
    "many_langs/words_and_chars": ("many_langs/words_and_chars", "ELMoForManyLangs"),
    "many_langs/words_and_chars.zip": ("many_langs/words_and_chars", "ELMoForManyLangs"),
    "transformer/after_cnn": ("transformer/after_cnn", "AllenNLP archive"),
    "transformer/after_highway": ("transformer/after_highway", "AllenNLP archive"),
    "transformer/unprojected": ("transformer/unprojected", "AllenNLP archive"),
    "transformer/lstm": ("transformer/lstm", "AllenNLP archive"),
}
TRANSFORMERS = ("transformer/after_cnn", "transformer/after_highway", "transformer/unprojected")
CARRIED = [name for name, (vectors, _) in MODELS.items() if "carry_calls" in Expected(DATA / vectors).about]


@pytest.mark.parametrize("name", list(MODELS))
def test_every_published_layout_opens_with_one_call_and_gives_its_own_packages_vectors(name: str) -> None:
    """All layers. Reached: 1.2e-6 with LSTMs, 3.6e-6 with Transformers, whose values are ten times as large."""
    vectors, layout = MODELS[name]
    assert layout_of(DATA / name).name == layout
    expected = Expected(DATA / vectors)
    embedder = polyseme.load(DATA / name, state=None if name in TRANSFORMERS else "zero")
    found = [embedding.layers for embedding in embedder.embed(expected.sentences)]
    key = "layers" if name.startswith("transformer") else "zero"
    assert difference(found, expected.vectors(key)) <= 1e-5


@pytest.mark.parametrize("name", CARRIED)
def test_carried_states_are_those_of_each_package_call_after_call(name: str) -> None:
    """Rows shrink, grow back and grow beyond: AllenNLP keeps what an unused row held, and starts new rows from zero."""
    expected = Expected(DATA / MODELS[name][0])
    calls = expected.about["carry_calls"]
    embedder = polyseme.load(DATA / name, state="carry")
    texts = [[expected.sentences[place] for place in call] for call in calls]
    found = [embedding.layers for text in texts for embedding in embedder.embed(text, batch_size=len(text))]
    assert difference(found, expected.vectors("carry", [place for call in calls for place in call])) <= 1e-5


def test_the_carried_models_are_the_ones_we_think() -> None:
    assert len(CARRIED) == 6
    assert {layout for name in CARRIED for layout in [MODELS[name][1]]} == {
        "AllenNLP/bilm HDF5", "bilm-tf checkpoint", "ELMoForManyLangs",
    }  # fmt: skip


@pytest.mark.parametrize("name", list(MODELS))
def test_every_layout_survives_the_native_folder_bit_for_bit(name: str, awkward_path: Path) -> None:
    model = open_model(DATA / name)
    assert write_model(model, awkward_path / "native") == []
    back = open_model(awkward_path / "native")
    assert layout_of(awkward_path / "native").name == "polyseme folder"
    assert back.hash() == model.hash()
    for field in ("characters", "words", "vocabulary", "text", "card"):
        assert getattr(back, field) == getattr(model, field), field


# --- what no layout is


def test_a_place_without_a_model_lists_what_was_tried(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here", encoding="utf-8")
    with pytest.raises(UnknownFormatError, match=r"readme\.txt") as raised:
        open_model(tmp_path)
    assert all(layout.name in str(raised.value) for layout in LAYOUTS)
    with pytest.raises(UnknownFormatError, match="a single file"):
        open_model(tmp_path / "readme.txt")
    with pytest.raises(UnknownFormatError, match="does not exist"):
        open_model(tmp_path / "gone")
    (tmp_path / "readme.txt").unlink()
    with pytest.raises(UnknownFormatError, match="it holds: nothing"):
        open_model(tmp_path)


def test_a_file_of_an_unknown_kind_does_not_crash_any_reader(tmp_path: Path) -> None:
    for name in ("model.zip", "model.tar.gz", "weights.hdf5", "config.json", "options.json", "model.safetensors"):
        (tmp_path / name).write_bytes(b"\x00\xff" * 40)
        with pytest.raises((UnknownFormatError, DamagedModelError)):
            open_model(tmp_path / name)
        (tmp_path / name).unlink()


# --- whole folders or none


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_written_folder_is_never_replaced_unasked(tmp_path: Path) -> None:
    write_model(published_model(), tmp_path / "model")
    before = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    with pytest.raises(OutputError, match="exists already; choose another name, or pass --overwrite"):
        write_model(random_model(), tmp_path / "model")
    assert {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()} == before
    write_model(random_model(), tmp_path / "model", overwrite=True)
    assert open_model(tmp_path / "model").hash() == random_model().hash()
    assert names(tmp_path) == ["model"]
    (tmp_path / "file").write_text("a file stood here", encoding="utf-8")
    with pytest.raises(OutputError, match="is a file, and would be replaced by a model"):
        write_model(random_model(), tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "a file stood here"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("bug")])
def test_a_writer_that_fails_leaves_the_old_folder_whole_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write_model(published_model(), tmp_path / "model")

    def half(_: Model, working: Path) -> list[str]:
        (working / "model.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setitem(folders.WRITERS, "native", half)
    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected, match="No space left" if isinstance(error, OSError) else None):
        write_model(random_model(), tmp_path / "model", overwrite=True)
    with pytest.raises(expected):
        write_model(random_model(), tmp_path / "new")
    assert names(tmp_path) == ["model"]
    assert open_model(tmp_path / "model").hash() == published_model().hash()


def test_a_folder_that_cannot_be_renamed_into_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(published_model(), tmp_path / "model")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if Path(target).name == "model" and ".old-" not in self.name:
            raise OSError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        write_model(random_model(), tmp_path / "model", overwrite=True)
    monkeypatch.undo()
    assert open_model(tmp_path / "model").hash() == published_model().hash()
    assert names(tmp_path) == ["model"]


def test_a_place_that_cannot_be_written_and_an_unknown_layout_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=r"cannot write .*model: .*; nothing was changed there"):
        write_model(random_model(), tmp_path / "file" / "model")
    with pytest.raises(OptionError, match="--to must be one of native, allennlp, was: 'onnx'"):
        write_model(random_model(), tmp_path / "model", "onnx")


def test_a_folder_written_by_convert_can_be_read_by_others(tmp_path: Path) -> None:
    """mkdtemp makes folders that only their owner can enter."""
    write_model(random_model(), tmp_path / "model")
    if os.name == "posix":
        mask = os.umask(0)
        os.umask(mask)
        assert (tmp_path / "model").stat().st_mode & 0o777 == 0o777 & ~mask


# --- damaged files: never a crash, a hang or a great amount of memory

FUZZ = """
import faulthandler, json, os, random, shutil, sys, time
from pathlib import Path

faulthandler.enable()
try:
    import resource
    limit = 2750 << 20  # of address space, of which torch itself takes 740: no more than 2 GB for the file
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
except ImportError:
    pass
source, scratch, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
import polyseme
from polyseme.embedder import Embedder
from polyseme.errors import PolysemeError
from polyseme.formats.folder import open_model

chance = random.Random(20180215)
files = sorted(file.name for file in source.iterdir() if not file.name.startswith("expected"))
tally = {"opened": 0, "refused": 0, "ran": 0}
for number in range(count):
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for name in files:
        shutil.copyfile(source / name, scratch / name)
    victim = scratch / chance.choice(files)
    data = bytearray(victim.read_bytes())
    # Half of the hits fall into the first 4 kB, where formats keep their sizes and addresses.
    where = lambda: chance.randrange(min(len(data), chance.choice([4096, len(data)])))
    kind = chance.choice(["truncated", "flipped", "flipped often", "zeroed", "overwritten", "repeated"])
    at = where()
    if kind == "truncated":
        del data[at:]
    elif kind == "zeroed":
        size = chance.choice([1, 4, 8, 64, 1000])
        data[at : at + size] = bytes(len(data[at : at + size]))
    elif kind == "overwritten":
        data[at : at + 8] = chance.choice([b"\\xff" * 8, chance.randbytes(8)])[: len(data[at : at + 8])]
    elif kind == "repeated":
        data[at:at] = data[at : at + chance.randrange(1, 200)]
    else:
        for _ in range(1 if kind == "flipped" else 20):
            data[where()] ^= 1 << chance.randrange(8)
    victim.write_bytes(data)
    print(json.dumps([number, victim.name, kind, at]), flush=True)
    started = time.monotonic()
    faulthandler.dump_traceback_later(20, exit=True)  # a hang ends here, with the place where it hangs
    try:
        model = open_model(scratch)
        tally["opened"] += 1
        Embedder(model, threads=1).embed([["one", "\\u4e24"], []])
        tally["ran"] += 1
    except PolysemeError:
        tally["refused"] += 1
    faulthandler.cancel_dump_traceback_later()
print(json.dumps(tally))
"""


def native_folder(tmp_path: Path) -> Path:
    """With all that a native folder may hold: softmax, vocabulary, settled state."""
    model = random_model(softmax=True)
    settled, residual = settled_states(model)
    write_model(dataclasses.replace(model, settled=settled, settled_residual=residual), tmp_path / "native")
    return tmp_path / "native"


def word_folder(tmp_path: Path) -> Path:
    write_model(random_model(encoder="word", char_cnn=None, n_words=12, word_size=4), tmp_path / "native")
    return tmp_path / "native"


SOURCES = {
    "hdf5, oldest layout": lambda _: HIGHWAY2,
    "hdf5, compact layout": lambda _: DATA / "allennlp-char" / "highway1",
    "hdf5, words": lambda _: DATA / "allennlp-token" / "trained",
    "native": native_folder,
    "native, words": word_folder,
}


@pytest.mark.slow
@pytest.mark.parametrize("source", list(SOURCES))
def test_500_damaged_copies_open_or_are_refused_and_never_crash_hang_or_eat_memory(source: str, tmp_path: Path) -> None:
    """In a process of its own: a crash of a C library, or a hang, names the mutation that caused it."""
    folder = SOURCES[source](tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(folder), str(tmp_path / "scratch"), "500"],
        capture_output=True, text=True, encoding="utf-8", timeout=240, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"at {lines[-1:]}: {done.stderr[-3000:]}"
    tally = json.loads(lines[-1])
    assert len(lines) == 501
    assert tally["opened"] + tally["refused"] >= 500
    assert tally["refused"] >= 100  # the mutations hit
    assert tally["ran"] >= 50  # and not every one destroys


def test_a_model_hash_changes_with_any_weight() -> None:
    model = published_model()
    before = model.hash()
    with torch.no_grad():
        model.bilm.get_parameter("forward_layers.layers.0.bias")[3] += 1e-6
    assert model.hash() != before


def test_copies_of_a_model_have_one_hash_in_every_layout(tmp_path: Path) -> None:
    shutil.copytree(HIGHWAY2, tmp_path / "copy")
    write_model(published_model(), tmp_path / "hdf5", "allennlp")
    assert open_model(tmp_path / "copy").hash() == open_model(tmp_path / "hdf5").hash() == published_model().hash()
