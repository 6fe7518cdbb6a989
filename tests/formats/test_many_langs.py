"""ELMoForManyLangs folders and zips against the package's own vectors."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from published import DATA, Expected, Plain, difference, edit, survive
from published import copy as copy_of

from polyseme.errors import DamagedModelError, PolysemeError, UnknownFormatError, UnsupportedModelError
from polyseme.formats import many_langs
from polyseme.formats.many_langs import NEEDED
from polyseme.formats.parts import Parts

ROOT = DATA / "many_langs"
NAMES = ["words_and_chars", "chars", "words", "words_and_chars.zip"]
FULL = ROOT / "words_and_chars"


def copy(tmp_path: Path, source: Path = FULL) -> Path:
    return copy_of(source, tmp_path)


# --- against the package


@pytest.mark.parametrize("name", NAMES)
def test_all_layers_equal_those_of_the_package(name: str) -> None:
    model, expected = many_langs.read(ROOT / name), Expected(ROOT / name.removesuffix(".zip"))
    for text, vectors in zip(expected.sentences, expected.vectors("zero"), strict=True):
        (found,) = Plain(model)([text])
        assert difference([found[:, 1:-1]], [vectors]) <= 1e-5


def test_carried_states_equal_those_of_the_package_call_after_call() -> None:
    model, expected = many_langs.read(FULL), Expected(FULL)
    calls = expected.about["carry_calls"]
    vectors = expected.vectors("carry", [row for call in calls for row in call])
    plain = Plain(model)
    found = [layers[:, 1:-1] for call in calls for layers in plain([expected.sentences[row] for row in call])]
    assert difference(found, vectors) <= 1e-5


def test_the_begin_and_end_of_word_ids_are_swapped_as_in_the_packages_batches() -> None:
    model = many_langs.read(ROOT / "chars")
    ids = {
        line.split("\t")[0]: line.split("\t")[-1] for line in (ROOT / "chars/char.dic").read_text("utf-8").split("\n")
    }
    (row,) = model.characters.encode(["a"])
    assert row[0] == int(ids["<eow>"]) + 1
    assert row[2] == int(ids["<bow>"]) + 1
    assert row[3] == int(ids["<pad>"]) + 1


def test_a_dictionary_line_with_one_field_means_the_ideographic_space(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    text = (folder / "char.dic").read_text("utf-8")
    assert "\u3000\t" in text
    (folder / "char.dic").write_text(text.replace("\u3000\t", "\t"), "utf-8")
    assert many_langs.read(folder).characters == many_langs.read(FULL).characters
    assert "\u3000" in many_langs.read(folder).characters.alphabet


def test_characters_that_are_white_space_are_told_apart(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    lines = (folder / "char.dic").read_text("utf-8").split("\n")
    lines[0] = "\xa0\t0"
    (folder / "char.dic").write_text("\n".join(lines), "utf-8")
    alphabet = many_langs.read(folder).characters.alphabet
    assert alphabet[0] == "\xa0"
    assert alphabet.count("\u3000") == 1


@pytest.mark.official
@pytest.mark.parametrize("owner", ["redyandri+ELMoForManyLangs", "mickymicmouse+BERT_Classification"])
def test_real_dictionaries_can_be_read(official: Path, tmp_path: Path, owner: str) -> None:
    source, folder = official / "elmoformanylangs" / owner, copy(tmp_path)
    for name in ("char.dic", "config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    rows = len((source / "char.dic").read_text("utf-8").rstrip("\n").split("\n"))
    tensors = torch.load(folder / "token_embedder.pkl", weights_only=True, map_location="cpu")
    tensors["char_emb_layer.embedding.weight"] = torch.zeros(rows, 4)
    if (source / "word.dic.xz").is_file():
        (folder / "word.dic").write_bytes(lzma.decompress((source / "word.dic.xz").read_bytes()))
        count = len((folder / "word.dic").read_text("utf-8").rstrip("\n").split("\n"))
        tensors["word_emb_layer.embedding.weight"] = torch.zeros(count, 5)
    torch.save(tensors, folder / "token_embedder.pkl")
    model = many_langs.read(folder)
    assert len(set(model.characters.alphabet)) == rows
    assert [model.characters.alphabet[i] for i in range(5)] == list("<bos>")
    if (source / "word.dic.xz").is_file():
        assert len(set(model.words.words)) == count > 170_000
        assert model.words.rows(["yang", "<eos>"]).tolist() == [6, 2]


@pytest.mark.official
def test_the_built_in_architecture_is_the_published_one(official: Path) -> None:
    for name in many_langs.SHIPPED_NAMES:
        file = official / "elmoformanylangs/HIT-SCIR+ELMoForManyLangs/elmoformanylangs/configs" / name
        published = json.loads(file.read_text("utf-8"))
        assert {section: published[section] for section in many_langs.SHIPPED_CONFIG} == many_langs.SHIPPED_CONFIG


# --- where the architecture stands


def test_the_architecture_is_found_by_its_name_alone(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    for path in ("C:\\models\\cnn_5_tiny_sample.json", "/gone/cnn_5_tiny_sample.json", "../../cnn_5_tiny_sample.json"):
        edit(folder / "config.json", {"config_path": path})
        assert many_langs.read(folder).bilm.config.cell_clip == 1.5


def test_a_missing_architecture_file_is_deduced_from_the_weights_and_said(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "cnn_5_tiny_sample.json").unlink()
    model, whole = many_langs.read(folder), many_langs.read(FULL)
    assert model.bilm.config.cell_clip == 3.0
    assert model.bilm.config.char_cnn == whole.bilm.config.char_cnn
    assert "cnn_5_tiny_sample.json" in model.card.recipe
    assert model.hash() == whole.hash()


@pytest.mark.parametrize("wrapped", ["", "144/"])
def test_a_zip_may_hold_the_files_in_a_folder(tmp_path: Path, wrapped: str) -> None:
    with zipfile.ZipFile(tmp_path / "144.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in FULL.iterdir():
            archive.writestr(wrapped + file.name, file.read_bytes())
    assert many_langs.looks_like(tmp_path / "144.zip")
    assert many_langs.read(tmp_path / "144.zip").hash() == many_langs.read(FULL).hash()


def test_a_folder_with_an_awkward_name_or_one_level_too_high_opens(awkward_path: Path) -> None:
    copy(awkward_path)
    assert many_langs.read(awkward_path).hash() == many_langs.read(awkward_path / "model").hash()


def test_other_files_and_folders_do_not_look_like_it(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 not really")
    for path in (tmp_path, tmp_path / "a.zip", tmp_path / "none", FULL / "encoder.pkl", DATA / "tensorflow/plain"):
        assert not many_langs.looks_like(path)
        with pytest.raises(UnknownFormatError, match=r"encoder\.pkl"):
            many_langs.read(path)


def test_a_lone_word_table_as_wide_as_the_projection_keeps_its_projection(tmp_path: Path) -> None:
    folder = copy(tmp_path, ROOT / "words")
    torch.manual_seed(0)
    state = torch.load(folder / "token_embedder.pkl", weights_only=True, map_location="cpu")
    table, weight, bias = (
        torch.randn(len(state["word_emb_layer.embedding.weight"]), 8),
        torch.randn(8, 8),
        torch.randn(8),
    )
    names = ("word_emb_layer.embedding.weight", "projection.weight", "projection.bias")
    torch.save(dict(zip(names, (table, weight, bias), strict=True)), folder / "token_embedder.pkl")
    edit(folder / "cnn_6_tiny_sample.json", {"token_embedder.word_dim": 8})
    model = many_langs.read(folder)
    x = model.bilm.encoder(None, torch.from_numpy(model.words.rows(["bank"])))
    expected = torch.nn.functional.linear(table[model.words.rows(["bank"])], weight, bias)
    assert torch.allclose(x, expected, atol=1e-6)


# --- what cannot be read


@pytest.mark.parametrize(
    ("change", "error", "finding"),
    [
        ({"encoder.name": "lstm"}, UnsupportedModelError, "encoder is 'lstm'"),
        ({"token_embedder.name": "lstm"}, UnsupportedModelError, "token_embedder is 'lstm'"),
        ({"encoder.dim": 10**12}, DamagedModelError, "says dim 1000000000000"),
        ({"encoder.n_layers": 3}, DamagedModelError, "n_layers"),
        ({"token_embedder.filters": [[1, 4]]}, DamagedModelError, "filters"),
        ({"token_embedder.activation": "gelu"}, DamagedModelError, "gelu"),
        ({"token_embedder.max_characters_per_token": 2}, DamagedModelError, "filters"),
        ({"encoder": []}, DamagedModelError, "encoder"),
    ],
)
def test_an_architecture_that_is_not_that_of_the_weights_is_refused(
    tmp_path: Path, change: dict[str, object], error: type[PolysemeError], finding: str
) -> None:
    folder = copy(tmp_path)
    edit(folder / "cnn_5_tiny_sample.json", change)
    with pytest.raises(error, match=finding):
        many_langs.read(folder)


@pytest.mark.parametrize(
    ("file", "text", "finding"),
    [
        ("char.dic", "a\t0\n", "1 ids for a table of"),
        ("word.dic", "the\tx\n", r"word\.dic: line 1 ends in 'x'"),
        ("config.json", "[]", "holds a list"),
        ("config.json", "{", "not JSON"),
        ("config.json", "[" * 100_000, "not JSON"),
    ],
)
def test_a_broken_text_file_is_named(tmp_path: Path, file: str, text: str, finding: str) -> None:
    folder = copy(tmp_path)
    (folder / file).write_text(text, "utf-8")
    with pytest.raises(DamagedModelError, match=finding):
        many_langs.read(folder)


def test_a_missing_dictionary_is_named(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "char.dic").unlink()
    with pytest.raises(DamagedModelError, match=r"lacks the file char\.dic"):
        many_langs.read(folder)


class Intruder:
    """A pickle that makes a folder when it is loaded carelessly."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("new_layout", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_something_is_refused(tmp_path: Path, new_layout: bool, zipped: bool) -> None:
    folder = copy(tmp_path)
    weights = {"forward_layer_0.state_projection.weight": Intruder(tmp_path / "intruder was here")}
    torch.save(weights, folder / "encoder.pkl", _use_new_zipfile_serialization=new_layout)
    path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder)) if zipped else folder
    with pytest.raises(DamagedModelError, match=r"encoder\.pkl.*nothing in it was executed"):
        many_langs.read(path)
    assert not (tmp_path / "intruder was here").exists()


@pytest.mark.parametrize(
    ("value", "finding"),
    [
        (torch.zeros(1, 1).expand(10**6, 10**6), "but fewer numbers"),
        (torch.full((8, 16), torch.nan), "not finite"),
        (torch.zeros(8, 16, dtype=torch.int64), "not a dense tensor"),
        (torch.zeros(8, 16).to_sparse(), "not a dense tensor"),
        ("text", "not a dense tensor"),
        (torch.zeros(8, 15), r"says dim 16|the weights have 15"),
    ],
)
def test_tensors_that_are_not_what_they_seem_are_refused(tmp_path: Path, value: object, finding: str) -> None:
    folder = copy(tmp_path)
    state = torch.load(folder / "encoder.pkl", weights_only=True, map_location="cpu")
    state["forward_layer_0.state_projection.weight"] = value
    torch.save(state, folder / "encoder.pkl")
    with pytest.raises(DamagedModelError, match=finding):
        many_langs.read(folder)


def test_a_zip_bomb_is_refused_by_its_sizes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in FULL.iterdir():
            if file.name != "encoder.pkl":
                archive.writestr(file.name, file.read_bytes())
        with archive.open("encoder.pkl", "w") as member:
            for _ in range(80):
                member.write(bytes(1 << 20))
    with pytest.raises(DamagedModelError, match=r"encoder\.pkl: would take 83,886,080 bytes"):
        many_langs.read(tmp_path / "bomb.zip")


def test_members_outside_the_zips_own_folder_are_never_written(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("../escaped.txt", "x")
        for file in FULL.iterdir():
            archive.writestr(file.name, file.read_bytes())
    many_langs.read(tmp_path / "model.zip")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.zip"]
    assert not (tmp_path.parent / "escaped.txt").exists()


def test_several_models_in_one_folder_are_not_guessed_among(tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(FULL, tmp_path / name)
    assert Parts.find(tmp_path, NEEDED) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "count"), [("words_and_chars", 250), ("chars", 150), ("words_and_chars.zip", 150)])
def test_damaged_copies_open_or_say_what_is_wrong(tmp_path: Path, name: str, count: int) -> None:
    opened, refused = survive(ROOT / name, tmp_path, many_langs.read, many_langs.looks_like, count, seed=count)
    assert opened + refused == count
    assert refused > count / 4
