"""options.json + HDF5 against the numbers of AllenNLP, bilm-tf and simple_elmo, and back into their layout."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch
from published import DATA, Expected, difference
from tiny import plain, random_model

import polyseme
from polyseme.embedder import Embedder
from polyseme.errors import DamagedModelError, PolysemeError, UnknownFormatError, UnsupportedModelError
from polyseme.formats import allennlp, many_langs, native
from polyseme.formats.folder import open_model, write_model
from polyseme.formats.model import Model
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.packed import KERNELS
from polyseme.nn.transformer import TransformerConfig
from polyseme.text.chars import Characters

Array = npt.NDArray[np.float32]
CHAR = DATA / "allennlp-char"
ALLENNLP = "allennlp/test_fixtures/elmo"
BILM_TF = "bilm-tf/tests/fixtures/model"
SENTENCES = {ALLENNLP: "sentences.json", BILM_TF: "lm_embeddings_sentences.json"}


# --- the official activations


def official_batches(folder: Path, name: str) -> list[list[str]]:
    """Thirty sentences in the order of the published run: batch t is sentence t of each of the three texts."""
    texts = json.loads((folder / SENTENCES[name]).read_text(encoding="utf-8"))
    assert [len(text) for text in texts] == [10, 10, 10]
    return [text[t].split() for t in range(10) for text in texts]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", [ALLENNLP, BILM_TF])
def test_the_official_activations_are_reached(official: Path, name: str, kernel: str) -> None:
    """`lm_embeddings_{0,1,2}.hdf5` hold the top layer, (2, T, P) a sentence, in float32 as bilm-tf computed it.

    The reference's own rounding is about 1.2e-6: on AllenNLP's fixture the same formula in float64 differs from it by
    1.14e-6 at one element, and AllenNLP 2.10.1 itself by 1.19e-6. Reached here: 0.96e-6 ("onednn"), 1.19e-6 ("torch");
    on bilm-tf's 0.60e-6 and 0.84e-6.
    """
    if kernel == "onednn" and not torch.backends.mkldnn.is_available():
        pytest.skip("this torch was built without oneDNN")
    folder = official / name
    embedder = polyseme.load(folder / "lm_weights.hdf5", state="carry", kernel=kernel)
    found = embedder.embed(official_batches(folder, name), batch_size=3)
    compared = 0
    for text in range(3):
        with h5py.File(folder / f"lm_embeddings_{text}.hdf5") as published:
            for t in range(10):
                expected = np.concatenate(published[str(t)][...], axis=1)  # Shape: (2, T, P) -> (T, 2P)
                top = found[3 * t + text].top()
                assert top.shape == expected.shape
                assert np.abs(top - expected).max() <= (1e-6 if kernel == "onednn" else 1.2e-6)
                compared += 1
    assert compared == 30


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", [ALLENNLP, BILM_TF])
def test_the_fast_path_in_float32_is_as_near_to_float64_as_the_plain_path(
    official: Path, name: str, kernel: str
) -> None:
    """All layers of the 30 sentences. The plain path in float32 is 1.16e-6 off (values reach 7), on bilm-tf's 0.71e-6;
    the fast one 1.16e-6 and 0.78e-6 with either kernel.
    """
    folder = official / name
    sentences = official_batches(folder, name)
    found = polyseme.load(folder / "lm_weights.hdf5", state="zero", kernel=kernel).embed(sentences)
    exact = allennlp.read(folder / "lm_weights.hdf5")
    single, _ = plain(exact, sentences)
    exact.bilm.double()
    expected, _ = plain(exact, sentences)
    assert expected[0].dtype == np.float64
    rounding = difference(single, expected)
    assert rounding <= 1.2e-6
    assert difference([embedding.layers for embedding in found], expected) <= 1.2 * rounding


def test_the_lower_layers_equal_allennlps(official: Path) -> None:
    weights, expected = official / ALLENNLP / "lm_weights.hdf5", DATA / "official" / "elmo_english"
    about = json.loads(expected.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(expected.with_suffix(".npz")) as arrays:
        layer_1, zero = arrays["carry_layer_1"], arrays["zero"]
    carried = polyseme.load(weights, state="carry").embed(official_batches(official / ALLENNLP, ALLENNLP), batch_size=3)
    assert np.abs(np.concatenate([e.layers[1] for e in carried]) - layer_1).max() <= 1e-5  # reached: 9.5e-7
    found = polyseme.load(weights, state="zero").embed(about["sentences"])
    assert np.abs(np.concatenate([e.layers for e in found], axis=1) - zero).max() <= 1e-5  # reached: 9.5e-7


@pytest.mark.parametrize("name", ["es", "fr", "it", "fr_zero"])
def test_the_multilingual_weights_equal_allennlps(official: Path, name: str) -> None:
    expected = DATA / "official" / f"elmo_{name}"
    about = json.loads(expected.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(expected.with_suffix(".npz")) as arrays:
        zero = arrays["zero"]
    (weights,) = [official / file for file in about["files"] if file.endswith(".hdf5")]
    found = polyseme.load(weights, state="zero").embed(about["sentences"])
    assert np.abs(np.concatenate([e.layers for e in found], axis=1) - zero).max() <= 1e-5  # reached: 2.1e-7


def test_the_cached_token_vectors_are_layer_0(official: Path) -> None:
    folder = official / ALLENNLP
    words = (folder / "vocab_test.txt").read_text(encoding="utf-8").split("\n")
    with h5py.File(folder / "elmo_token_embeddings.hdf5") as file:
        expected = file["embedding"][...]
    assert len(words) == len(expected) == 458
    embedder = polyseme.load(folder / "lm_weights.hdf5")
    (found,) = embedder.embed([words])
    assert np.abs(found.layers[0, :, :16] - expected).max() <= 1e-6  # reached: 7.2e-7
    assert np.array_equal(found.layers[0, :, :16], found.layers[0, :, 16:])


# --- models of our own, vectors of theirs (all formats together: test_folder.py)


def test_cached_tokens_beside_the_weights_take_the_place_of_characters(tmp_path: Path) -> None:
    """simple_elmo's vectors; options without `char_cnn`, and the words' table in an HDF5 file of its own."""
    expected = Expected(DATA / "allennlp-token" / "cached")
    options = json.loads((CHAR / "highway2" / "options.json").read_text(encoding="utf-8"))
    del options["char_cnn"]
    (tmp_path / "options.json").write_text(json.dumps(options), encoding="utf-8")
    shutil.copy(CHAR / "highway2" / "weights.hdf5", tmp_path)
    for name in ("token_embeddings.hdf5", "vocab.txt"):
        shutil.copy(DATA / "allennlp-token" / "cached" / name, tmp_path)
    embedder = polyseme.load(tmp_path, state="zero")
    assert embedder.model.characters is None
    found = [embedding.layers for embedding in embedder.embed(expected.sentences)]
    assert difference(found, expected.vectors("zero")) <= 1e-5
    (tmp_path / "token_embeddings.hdf5").unlink()
    with pytest.raises(DamagedModelError, match="neither characters nor an 'embedding' table"):
        polyseme.load(tmp_path)


# --- writing


def datasets(file: Path) -> dict[str, Array]:
    found: dict[str, Array] = {}
    with h5py.File(file) as opened:
        opened.visititems(
            lambda name, item: found.update({name: item[...]}) if isinstance(item, h5py.Dataset) else None
        )
    return found


def source(name: str, request: pytest.FixtureRequest) -> Path:
    if name in SENTENCES:
        return Path(request.getfixturevalue("official")) / name / "lm_weights.hdf5"
    return DATA / name / "weights.hdf5"


@pytest.mark.parametrize(
    "name",
    ["allennlp-char/highway1", "allennlp-char/highway2", "allennlp-char/tanh", "allennlp-token/trained", ALLENNLP],
)
def test_a_written_file_equals_the_original_dataset_by_dataset(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Names, shapes, gate order, raw forget bias, gate signs: what an old reader expects, byte for byte."""
    original = source(name, request)
    model = open_model(original)
    write_model(model, tmp_path / "out", "allennlp")
    found, expected = datasets(tmp_path / "out" / "weights.hdf5"), datasets(original)
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key].shape == value.shape, key
        assert found[key].dtype == np.float32
        assert found[key].tobytes() == np.asarray(value, dtype="<f4").tobytes(), key
    written = json.loads((tmp_path / "out" / "options.json").read_text(encoding="utf-8"))
    options = json.loads(next(original.parent.glob("options.json")).read_text(encoding="utf-8"))
    for section in set(options) & {"lstm", "char_cnn"}:
        assert {**options[section], "n_characters": 262} == {"n_characters": 262, **written[section]}
    if "char_cnn" in options:
        assert written["char_cnn"]["n_characters"] == 262  # AllenNLP refuses 261 at inference


@pytest.mark.parametrize("name", ["allennlp-char/highway2", "allennlp-char/tanh", "allennlp-token/trained", ALLENNLP])
def test_native_to_allennlp_to_native_keeps_every_bit(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first = open_model(source(name, request))
    assert write_model(first, tmp_path / "native") == []
    write_model(open_model(tmp_path / "native"), tmp_path / "allennlp", "allennlp")
    write_model(open_model(tmp_path / "allennlp"), tmp_path / "again")
    for folder in ("native", "allennlp", "again"):
        model = open_model(tmp_path / folder)
        assert model.bilm.config == first.bilm.config
        assert model.characters == first.characters
        assert model.words == first.words
        assert model.hash() == first.hash()
        for key, tensor in first.bilm.state_dict().items():
            assert torch.equal(model.bilm.state_dict()[key], tensor), key


def test_what_the_layout_cannot_hold_is_listed_and_the_rest_survives(tmp_path: Path) -> None:
    model = random_model(softmax=True)
    settled = Embedder(model).initial
    lost = write_model(dataclasses.replace(model, settled=settled), tmp_path / "out", "allennlp")
    said = "\n".join(lost)
    for word in ("model card", "text pipeline", "softmax (10 words)", "settled state"):
        assert word in said
    back = open_model(tmp_path / "out")
    assert back.bilm.softmax is None
    assert back.vocabulary == model.vocabulary  # an old reader finds vocab.txt beside the weights, too
    kept = {key: tensor for key, tensor in model.bilm.state_dict().items() if not key.startswith("softmax")}
    assert set(back.bilm.state_dict()) == set(kept)
    assert all(torch.equal(back.bilm.state_dict()[key], tensor) for key, tensor in kept.items())


def test_another_forget_bias_is_folded_into_the_raw_one(tmp_path: Path) -> None:
    model = random_model(forget_bias=0.0)
    lost = write_model(model, tmp_path / "out", "allennlp")
    assert any("last bit of the forget biases" in line for line in lost)
    back = open_model(tmp_path / "out")
    assert back.bilm.config.forget_bias == 1.0
    texts = [["The", "bank"], ["a"]]
    assert difference(plain(back, texts)[0], plain(model, texts)[0]) <= 1e-6


def alphabet() -> Model:
    characters = Characters(20, tuple("abcdefghij"), 1, 2, 3, 4, 5, 6)
    cnn = CharCNNConfig(n_rows=11, char_size=3, filters=((1, 4),), n_highway=0, max_characters=20)
    return dataclasses.replace(random_model(char_cnn=cnn), characters=characters)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (alphabet, "it reads a learned alphabet, not UTF-8 bytes"),
        (
            lambda: random_model(layers="transformer", transformer=TransformerConfig(4, 2), projection_size=6),
            "it is a Transformer",
        ),
        (lambda: many_langs.read(DATA / "many_langs" / "words_and_chars"), "it reads words and characters together"),
        (
            lambda: random_model(
                char_cnn=CharCNNConfig(char_size=3, filters=((1, 4),), projection_location="after_cnn")
            ),
            "its projection stands elsewhere",
        ),
        (
            lambda: random_model(char_cnn=CharCNNConfig(char_size=3, filters=((1, 4),), layer_norm=True)),
            "ends in a layer norm",
        ),
        (
            lambda: random_model(encoder="word", char_cnn=None, n_words=12, word_size=4),
            "its word table is projected",
        ),
    ],
)
def test_what_the_layout_cannot_express_is_refused_and_nothing_is_written(
    tmp_path: Path, make: object, reason: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        write_model(make(), tmp_path / "out", "allennlp")  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


# --- finding and options


def copy(tmp_path: Path, name: str = "highway2") -> Path:
    return Path(shutil.copytree(CHAR / name, tmp_path / "model", ignore=shutil.ignore_patterns("expected*")))


def edit(file: Path, section: str, **change: object) -> None:
    options = json.loads(file.read_text(encoding="utf-8"))
    options[section] = {key: value for key, value in {**options[section], **change}.items() if value != "gone"}
    file.write_text(json.dumps(options), encoding="utf-8")


@pytest.mark.parametrize("stated", [261, 262, 17, "gone"])
def test_the_shape_says_how_many_characters_there_are_not_the_options(tmp_path: Path, stated: object) -> None:
    folder = copy(tmp_path)
    edit(folder / "options.json", "char_cnn", n_characters=stated)
    assert open_model(folder).hash() == open_model(CHAR / "highway2").hash()


def test_the_folder_the_options_and_the_weights_all_name_the_model(awkward_path: Path) -> None:
    folder = copy(awkward_path)
    expected = open_model(CHAR / "highway2").hash()
    for path in (folder, folder / "options.json", folder / "weights.hdf5"):
        assert open_model(path).hash() == expected
    (folder / "weights.hdf5").rename(folder / "weights.h5")
    assert open_model(str(folder)).hash() == expected


def test_published_names_pair_options_with_their_own_weights(tmp_path: Path) -> None:
    hashes = {}
    for size, name in (("2x1024_128_2048cnn_1xhighway", "highway1"), ("2x4096_512_2048cnn_2xhighway", "highway2")):
        shutil.copy(CHAR / name / "options.json", tmp_path / f"elmo_{size}_options.json")
        shutil.copy(CHAR / name / "weights.hdf5", tmp_path / f"elmo_{size}_weights.hdf5")
        hashes[size] = open_model(CHAR / name).hash()
    for size, expected in hashes.items():
        for part in ("options.json", "weights.hdf5"):
            assert open_model(tmp_path / f"elmo_{size}_{part}").hash() == expected
    with pytest.raises(UnknownFormatError, match=r"holds several models \(.*1024.*4096.*give the path of one \.hdf5"):
        open_model(tmp_path)


def test_other_hdf5_files_beside_the_weights_do_not_confuse(official: Path) -> None:
    """The official folder holds five HDF5 files, one of which has the layers."""
    folder = official / ALLENNLP
    assert open_model(folder).hash() == open_model(folder / "lm_weights.hdf5").hash()


@pytest.mark.parametrize(("clip", "expected"), [(None, None), (False, None), (0, None), (3, 3.0), ("gone", None)])
def test_a_clip_of_nothing_is_none(tmp_path: Path, clip: object, expected: float | None) -> None:
    folder = copy(tmp_path)
    edit(folder / "options.json", "lstm", cell_clip=clip)
    assert open_model(folder).bilm.config.cell_clip == expected


def test_a_vocabulary_beside_a_character_model_is_kept_and_a_broken_one_ignored(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nbank\n", encoding="utf-8")
    vocabulary = open_model(folder).vocabulary
    assert vocabulary is not None
    assert vocabulary.words == ("<S>", "</S>", "<UNK>", "bank")
    (folder / "vocab.txt").write_text("bank\nbank\n", encoding="utf-8")
    assert open_model(folder).vocabulary is None


# --- damage


def without(name: str) -> object:
    return lambda file: file.__delitem__(name)


def replaced(name: str, value: object) -> object:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


CELL = "RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell"


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (without("char_embed"), "lacks the dataset char_embed"),
        (without(f"{CELL}/W_0"), f"lacks the dataset {CELL}/W_0"),
        (without("CNN_high_1"), "lacks the dataset CNN_high_1/W_carry"),
        (
            replaced("CNN/W_cnn_0", np.zeros((1, 1, 4, 5), "f4")),
            r"CNN/W_cnn_0 has shape \(1, 1, 4, 5\), the options say",
        ),
        (replaced(f"{CELL}/B", np.full(64, np.nan, "f4")), f"{CELL}/B holds values that are not finite"),
        (replaced("CNN_proj/b_proj", np.array([b"x"] * 8)), "reading the weights failed"),
        (replaced("char_embed", np.float32(1)), r"char_embed has shape \(\)"),
    ],
)
def test_missing_misshapen_and_poisoned_tensors_are_named(tmp_path: Path, change: object, finding: str) -> None:
    folder = copy(tmp_path)
    with h5py.File(folder / "weights.hdf5", "r+") as file:
        change(file)  # type: ignore[operator]
    with pytest.raises((DamagedModelError, UnsupportedModelError), match=finding) as raised:
        open_model(folder)
    assert "weights.hdf5" in str(raised.value)


@pytest.mark.parametrize(
    ("section", "change", "finding"),
    [
        ("lstm", {"dim": 17}, r"W_0 has shape \(16, 64\), the options say \(16, 68\)"),
        ("lstm", {"n_layers": 3}, "lacks the dataset RNN_0/RNN/MultiRNNCell/Cell2"),
        ("lstm", {"projection_dim": "gone"}, "KeyError.*projection_dim"),
        ("lstm", {"dim": "many"}, "failed .*ValueError"),
        ("lstm", {"dim": 10**30}, "the options say|failed"),
        ("lstm", {"n_layers": -1}, "must be at least 1"),
        ("char_cnn", {"activation": "gelu"}, "activation must be one of"),
        ("char_cnn", {"filters": [[1, 4], [2, 8]]}, "has shape"),
        ("char_cnn", {"filters": [[60, 4]]}, "widths from 1 to 50"),
        ("char_cnn", {"filters": 3}, "failed .*TypeError"),
        ("char_cnn", {"max_characters_per_token": 2}, "."),
    ],
)
def test_options_that_are_not_those_of_the_weights_are_refused(
    tmp_path: Path, section: str, change: dict[str, object], finding: str
) -> None:
    folder = copy(tmp_path)
    edit(folder / "options.json", section, **change)
    with pytest.raises(PolysemeError, match=finding):
        open_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"lstm": 3}', "\xff", "[" * 100_000])
def test_options_that_are_no_options_are_named(tmp_path: Path, text: str) -> None:
    folder = copy(tmp_path)
    (folder / "options.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedModelError, match=r"options\.json|weights\.hdf5"):
        open_model(folder)


def test_a_truncated_file_and_a_page_of_html_are_named(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    whole = (folder / "weights.hdf5").read_bytes()
    for part in (whole[: len(whole) // 2], whole[:100], b"", b"<html>404 Not Found</html>"):
        (folder / "weights.hdf5").write_bytes(part)
        with pytest.raises(DamagedModelError, match=r"weights\.hdf5.*fetch the model again"):
            open_model(folder)


def test_a_262nd_row_of_the_character_table_is_not_read(tmp_path: Path) -> None:
    """Ids reach 260; whatever a 262nd row holds, published readers never ask for it."""
    folder = copy(tmp_path)
    with h5py.File(folder / "weights.hdf5", "r+") as file:
        table = file["char_embed"][...]
        del file["char_embed"]
        file["char_embed"] = np.concatenate([table, np.ones((1, 4), "f4")])
    assert open_model(folder).hash() == open_model(CHAR / "highway2").hash()
    with h5py.File(folder / "weights.hdf5", "r+") as file:
        del file["char_embed"]
        file["char_embed"] = table[:100]
    with pytest.raises(UnsupportedModelError, match=r"char_embed has shape \(100, 4\)"):
        open_model(folder)


@pytest.mark.parametrize(
    ("text", "finding"),
    [(None, "vocab.txt must lie beside"), ("<S>\n</S>\n<UNK>\n", "24 words, but vocab.txt lists 3"), ("a\n", "lacks")],
)
def test_a_word_model_needs_its_own_vocabulary(tmp_path: Path, text: str | None, finding: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DATA / "allennlp-token" / "trained", folder, ignore=shutil.ignore_patterns("expected*"))
    (folder / "vocab.txt").unlink()
    if text is not None:
        (folder / "vocab.txt").write_text(text, encoding="utf-8")
    with pytest.raises(PolysemeError, match=finding):
        open_model(folder)


def test_native_looks_like_itself_only(tmp_path: Path) -> None:
    assert allennlp.looks_like(CHAR / "tanh")
    assert not native.looks_like(CHAR / "tanh")
    assert not allennlp.looks_like(tmp_path)
