"""AllenNLP archives against the vectors that AllenNLP itself computed, and what broken or hostile ones do."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from polyseme.errors import DamagedModelError, PolysemeError, UnknownFormatError, UnsupportedModelError
from polyseme.formats.folder import open_model, write_model
from polyseme.formats.model import Model
from polyseme.formats.transformer_elmo import looks_like, read, read_scalar_mixes

DATA = Path(__file__).resolve().parents[1] / "data"
TINY = DATA / "transformer"
LANGUAGE_MODELS = [
    "allennlp-models/test_fixtures/lm/language_model/model.tar.gz",
    "allennlp-history/fixtures/bidirectional_lm/model.tar.gz",
    "allennlp-history/fixtures/language_model/model.tar.gz",
    "allennlp-history/fixtures/language_model/model.2020-01.tar.gz",
]
TAGGER = "allennlp/test_fixtures/simple_tagger_with_elmo/serialization"


# --- reading


def layers(model: Model, sentences: list[list[str]]) -> npt.NDArray[np.float32]:
    """All layers of all words, boundaries removed, end to end. *Shape:* (L + 1, words, 2P)."""
    assert model.characters is not None
    framed = [["<S>", *words, "</S>"] for words in sentences]
    lengths = torch.tensor([len(words) for words in framed])
    characters = torch.zeros(len(framed), int(lengths.max()), 50, dtype=torch.long)
    for row, words in enumerate(framed):
        characters[row, : len(words)] = torch.from_numpy(model.characters.encode(words))
    with torch.no_grad():
        stacked = torch.stack(model.bilm(characters, None, lengths).layers).numpy()
    return np.concatenate([stacked[:, i, 1 : len(words) + 1] for i, words in enumerate(sentences)], axis=1)


def losses(model: Model, words: list[str]) -> tuple[float, float]:
    """Mean negative log likelihood of one sentence under the full softmax: forward, backward."""
    assert model.characters is not None
    assert model.vocabulary is not None
    assert model.bilm.softmax is not None
    framed = ["<S>", *words, "</S>"]
    ids = torch.from_numpy(model.vocabulary.ids(framed).astype(np.int64)).unsqueeze(1)
    characters = torch.from_numpy(model.characters.encode(framed)).unsqueeze(0)
    with torch.no_grad():
        top = model.bilm(characters, None, torch.tensor([len(framed)])).layers[-1][0]
        forward, backward = top.chunk(2, dim=-1)
        left_to_right = model.bilm.softmax(forward[:-1]).gather(1, ids[1:])
        right_to_left = model.bilm.softmax(backward[1:]).gather(1, ids[:-1])
    return -float(left_to_right.mean()), -float(right_to_left.mean())


def expected(folder: Path, name: str) -> tuple[Any, dict[str, Any]]:
    about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return np.load(folder / f"{name}.npz"), about


@pytest.mark.parametrize("name", ["after_cnn", "after_highway", "unprojected", "lstm"])
def test_layers_and_losses_equal_allennlps(name: str) -> None:
    values, about = expected(TINY / name, "expected")
    model = read(TINY / name / "model.tar.gz")
    assert np.abs(layers(model, about["sentences"]) - values["layers"]).max() < 1e-5
    ours = [losses(model, words) for words in about["sentences"]]
    assert np.abs(np.array(ours) - values["loss"]).max() < 1e-5


@pytest.mark.official
@pytest.mark.parametrize("archive", LANGUAGE_MODELS)
def test_published_language_models_equal_allennlps_vectors_and_losses(official: Path, archive: str) -> None:
    values, about = expected(DATA / "official", "language_model")
    model = read(official / archive)
    assert np.abs(layers(model, about["sentences"]) - values["layers"]).max() < 1e-5
    # Literal boundary marks inside a sentence were left out for the losses.
    ours = [losses(model, [w for w in words if w not in ("<S>", "</S>")]) for words in about["sentences"]]
    assert np.abs(np.array(ours) - values["loss"]).max() < 1e-5


@pytest.mark.official
@pytest.mark.parametrize("place", [f"{TAGGER}/model.tar.gz", TAGGER])
def test_the_elmo_inside_a_tagger_gives_the_taggers_own_mix(official: Path, place: str) -> None:
    values, about = expected(DATA / "official", "tagger")
    model, (mix,) = read(official / place), read_scalar_mixes(official / place)
    assert mix.gamma.item() == about["gamma"]
    stacked = torch.from_numpy(layers(model, about["sentences"]))
    with torch.no_grad():
        mixed = mix(list(stacked)).numpy()
    assert np.abs(mixed - values["mix"]).max() < 1e-5
    assert model.bilm.config.forget_bias == 0.0
    assert "assumed" in model.card.recipe


@pytest.mark.official
@pytest.mark.parametrize("kind", ["masked_language_model", "next_token_lm"])
def test_other_language_models_are_refused_in_one_sentence(official: Path, kind: str) -> None:
    archive = official / "allennlp-models/test_fixtures/lm" / kind / "serialization/model.tar.gz"
    assert looks_like(archive)
    with pytest.raises(UnsupportedModelError, match=f"is a {kind}, which is no bidirectional language model"):
        read(archive)


def test_the_softmax_keeps_its_words_and_the_row_that_is_nobodys() -> None:
    model = read(TINY / "after_cnn/model.tar.gz")
    assert model.vocabulary is not None
    assert model.vocabulary.words[:3] == ("<UNK>", "<S>", "</S>")
    assert model.vocabulary.words[-1] == "@@PADDING@@"
    assert len(model.vocabulary) == model.bilm.config.softmax_size


def test_the_same_archive_opens_to_the_same_weights_everywhere(awkward_path: Path) -> None:
    archive = TINY / "after_highway/model.tar.gz"
    folder = unpacked(archive, awkward_path / "model")
    packed = awkward_path / "other name.tar.gz"
    shutil.copy(archive, packed)
    (folder / "weights.th").rename(folder / "best.th")
    assert read(archive).hash() == read(folder).hash() == read(packed).hash()
    assert read(packed).card.name == "other name"


def test_a_transformer_survives_the_native_folder(tmp_path: Path) -> None:
    model = read(TINY / "after_highway/model.tar.gz")
    assert write_model(model, tmp_path / "native") == []
    again = open_model(tmp_path / "native")
    assert again.bilm.config == model.bilm.config
    assert again.vocabulary == model.vocabulary
    assert again.hash() == model.hash()
    assert (layers(again, [["The", "bank"]]) == layers(model, [["The", "bank"]])).all()


# --- archives made here


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}  # type: ignore[union-attr]


def pack(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def unpacked(archive: Path, folder: Path) -> Path:
    for name, data in members(archive).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def changed(
    path: Path,
    config: Callable[[dict[str, Any]], object] = lambda _: None,
    weights: Callable[[dict[str, Any]], object] = lambda _: None,
    source: str = "after_cnn",
) -> Path:
    """A copy of a tiny archive whose parsed configuration and tensors were handed to the two functions."""
    files = members(TINY / source / "model.tar.gz")
    settings = json.loads(files["config.json"])
    tensors = dict(torch.load(io.BytesIO(files["weights.th"]), weights_only=True))
    config(settings)
    weights(tensors)
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    files |= {"config.json": json.dumps(settings).encode(), "weights.th": buffer.getvalue()}
    return pack(files, path)


def inside_a_tagger(settings: dict[str, Any]) -> None:
    settings["model"] = {"type": "simple_tagger", "text_field_embedder": {"token_embedders": {"lm": {}}}}


def test_a_language_model_inside_a_task_model_opens(tmp_path: Path) -> None:
    prefix = "text_field_embedder.token_embedder_lm."

    def move(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensor = tensors.pop(name)
            if "_softmax_loss" not in name:
                tensors[f"{prefix}_lm.{name}"] = tensor
        tensors |= {f"{prefix}_scalar_mix.scalar_parameters.{i}": torch.tensor([0.1 * i]) for i in range(3)}
        tensors[f"{prefix}_scalar_mix.gamma"] = torch.tensor([1.5])

    archive = changed(tmp_path / "tagger.tar.gz", inside_a_tagger, move)
    model, alone = read(archive), read(TINY / "after_cnn/model.tar.gz")
    assert model.vocabulary is None
    assert model.bilm.softmax is None
    sentence = [["The", "bank", "."]]
    assert (layers(model, sentence) == layers(alone, sentence)).all()
    (mix,) = read_scalar_mixes(archive)
    assert (mix.gamma.item(), len(mix.scalar_parameters)) == (1.5, 3)
    assert read_scalar_mixes(TINY / "after_cnn/model.tar.gz") == ()


@pytest.mark.official
def test_options_that_an_old_task_archive_carries_are_used(official: Path, tmp_path: Path) -> None:
    files = members(official / TAGGER / "model.tar.gz")
    options = {
        "lstm": {"cell_clip": 1.5, "proj_clip": 0, "use_skip_connections": True},
        "char_cnn": {"activation": "tanh"},
    }
    name = "fta/model.text_field_embedder.token_embedders.elmo.options_file"
    config = read(pack(files | {name: json.dumps(options).encode()}, tmp_path / "old.tar.gz")).bilm.config
    assert (config.cell_clip, config.projection_clip) == (1.5, None)
    assert config.char_cnn is not None
    assert config.char_cnn.activation == "tanh"


def test_comments_and_trailing_commas_pass_as_in_allennlps_parser(tmp_path: Path) -> None:
    files = members(TINY / "after_cnn/model.tar.gz")
    text = files["config.json"].decode().rstrip().removesuffix("}")
    text = "// made by hand\n/* twice */ # and again\n" + text + ', "note": "a // b, ] \\" /* c",\n}'
    assert read(pack(files | {"config.json": text.encode()}, tmp_path / "m.tar.gz")).bilm.config.n_layers == 2


def test_a_vocabulary_without_boundaries_leaves_the_softmax_out_and_says_so(tmp_path: Path) -> None:
    files = members(TINY / "after_cnn/model.tar.gz")
    tokens = files["vocabulary/tokens.txt"].replace(b"<S>\n", b"start\n")
    model = read(pack(files | {"vocabulary/tokens.txt": tokens}, tmp_path / "m.tar.gz"))
    assert (model.vocabulary, model.bilm.softmax) == (None, None)
    assert "softmax is left out" in model.card.recipe


def deeper(*keys: str, value: object) -> Callable[[dict[str, Any]], object]:
    def change(settings: dict[str, Any]) -> None:
        for key in keys[:-1]:
            settings = settings[key]
        settings[keys[-1]] = value

    return change


EMBEDDER = ("model", "text_field_embedder", "token_embedders", "token_characters")
INDEXER = ("dataset_reader", "token_indexers", "token_characters")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (deeper("model", "contextualizer", "type", value="gated-cnn-encoder"), "contextualizer 'gated-cnn-encoder'"),
        (deeper(*EMBEDDER, "type", value="embedding"), "words enter as 'embedding'"),
        (deeper(*EMBEDDER, "encoder", "type", value="cnn"), "characters go through 'cnn'"),
        (deeper(*EMBEDDER, "encoder", "activation", value="gelu"), "activation 'gelu'"),
        (deeper(*INDEXER, "type", value="characters"), "reads 'characters' ids"),
        (deeper(*INDEXER, "tokens_to_add", value={"<S>": 1}), "tokens_to_add"),
        (deeper("model", "type", value="simple_tagger"), "a simple_tagger with 0 ELMos"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(
    tmp_path: Path, config: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        read(changed(tmp_path / "m.tar.gz", config))


def more_layers(tensors: dict[str, Any]) -> None:
    tensors["_contextualizer._module.weight_ih_l1"] = torch.zeros(32, 16)


def one_direction(tensors: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.endswith("_reverse")]:
        del tensors[name]


@pytest.mark.parametrize(
    ("weights", "message"),
    [(more_layers, "'lstm' has several layers"), (one_direction, "'lstm' reads in one direction")],
)
def test_lstms_that_look_ahead_or_only_one_way_are_refused(
    tmp_path: Path, weights: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        read(changed(tmp_path / "m.tar.gz", weights=weights, source="lstm"))


# --- broken and hostile archives


FORWARD = "_contextualizer._forward_transformer."


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (deeper("model", "contextualizer", "num_layers", value=10**9), "num_layers = 1000000000, the weights have 2"),
        (deeper("model", "contextualizer", "hidden_dim", value=10**12), "hidden_dim = 1000000000000"),
        (deeper(*EMBEDDER, "embedding", "num_embeddings", value=261), "num_embeddings = 261"),
        (deeper(*EMBEDDER, "encoder", "projection_location", value="after_highway"), "shape"),
        (deeper("model", value=[]), "no 'model' section"),
    ],
)
def test_a_configuration_that_contradicts_the_weights_is_damage(
    tmp_path: Path, config: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(DamagedModelError, match=message):
        read(changed(tmp_path / "m.tar.gz", config))


def lacks(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda tensors: tensors.pop(name)


def replaced(name: str, tensor: object) -> Callable[[dict[str, Any]], object]:
    return lambda tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lacks(FORWARD + "layers.1.self_attn.linears.2.weight"), r"lacks forward_layers.layers.1.value.weight"),
        (replaced(FORWARD + "norm.gamma", torch.zeros(9)), r"forward_layers.norm.weight has shape \(9,\)"),
        (replaced(FORWARD + "norm.gamma", torch.full((8,), torch.nan)), "not finite"),
        (replaced(FORWARD + "norm.gamma", torch.zeros(1).expand(10**9)), "more numbers than are stored"),
        (replaced(FORWARD + "norm.gamma", "text"), "is not a tensor"),
        (replaced("_contextualizer._position.positional_encoding", torch.zeros(1, 64, 8)), "positional encoding"),
        (replaced("_softmax_loss.softmax_w.weight", torch.zeros(5, 8)), "tokens.txt lists"),
    ],
)
def test_missing_and_misshapen_tensors_are_damage(
    tmp_path: Path, weights: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(DamagedModelError, match=message):
        read(changed(tmp_path / "m.tar.gz", weights=weights))


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.mkdir, (self.target,)


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    files = members(TINY / "after_cnn/model.tar.gz")
    zipped = io.BytesIO()
    torch.save({"x": Hostile(target)}, zipped)
    for data in (pickle.dumps({"x": Hostile(target)}, protocol=2), zipped.getvalue()):
        with pytest.raises(DamagedModelError, match=r"weights\.th"):
            read(pack(files | {"weights.th": data}, tmp_path / "m.tar.gz"))
        assert not target.exists()


def test_names_that_lead_outside_are_not_followed(tmp_path: Path) -> None:
    files = {"../outside": b"x", "/tmp/../outside": b"x", **members(TINY / "after_cnn/model.tar.gz")}
    (tmp_path / "in").mkdir()
    read(pack(files, tmp_path / "in" / "m.tar.gz"))
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "m.tar.gz"]
    with tarfile.open(tmp_path / "link.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("config.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(UnknownFormatError, match="found: neither"):
        read(tmp_path / "link.tar.gz")


@pytest.mark.parametrize("name", ["weights.th", "something.else"])
def test_a_bomb_is_not_unpacked(tmp_path: Path, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = 2**40
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(90):
            file.write(bytes(2**20))
    with pytest.raises(DamagedModelError, match="more than"):
        read(tmp_path / "bomb.tar.gz")


@pytest.mark.parametrize(
    "text", ["{", "[]", "nonsense", '{"model": "x"}', "[" * 10**5, '"' + '\\"' * 10**5, "/*" * 10**5]
)
def test_a_broken_configuration_is_damage_and_takes_no_time(tmp_path: Path, text: str) -> None:
    files = members(TINY / "after_cnn/model.tar.gz") | {"config.json": text.encode()}
    with pytest.raises(DamagedModelError, match=r"config\.json"):
        read(pack(files, tmp_path / "m.tar.gz"))


def test_what_is_no_archive_is_not_taken_for_one(tmp_path: Path) -> None:
    assert looks_like(TINY / "lstm/model.tar.gz")
    assert not looks_like(tmp_path)
    assert not looks_like(tmp_path / "absent")
    for name, data in {"a.txt": b"text", "b.gz": gzip.compress(b"text" * 2000), "c.gz": b"\x1f\x8b", "d": b""}.items():
        (tmp_path / name).write_bytes(data)
        assert not looks_like(tmp_path / name)
    assert not looks_like(pack({"readme.md": b"x"}, tmp_path / "other.tar.gz"))


# --- fuzz


def flip(data: bytes, dice: random.Random) -> bytes:
    """`data`, cut short or with a few bits flipped."""
    if dice.random() < 0.3:
        return data[: dice.randrange(len(data))]
    out = bytearray(data)
    for _ in range(dice.choice([1, 1, 3, 20])):
        out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
    return bytes(out)


def opens_or_says_why(path: Path) -> bool:
    looks_like(path)
    try:
        model = read(path)
        read_scalar_mixes(path)
    except PolysemeError as error:
        said = str(error)
    else:
        layers(model, [["The", "bank"]])
        return True
    assert str(path) in said
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["after_cnn", "after_highway", "lstm"])
def test_a_damaged_archive_opens_or_says_why(tmp_path: Path, name: str) -> None:
    dice = random.Random(20180831)
    whole = (TINY / name / "model.tar.gz").read_bytes()
    opened = 0
    for _ in range(100):
        (tmp_path / "m.tar.gz").write_bytes(flip(whole, dice))
        opened += opens_or_says_why(tmp_path / "m.tar.gz")
    assert opened <= 3  # only gzip's own header, which no checksum covers, may change unseen


@pytest.mark.slow
@pytest.mark.parametrize("name", ["after_cnn", "after_highway"])
@pytest.mark.parametrize("damaged", ["config.json", "weights.th", "vocabulary/tokens.txt"])
def test_a_damaged_serialization_directory_opens_or_says_why(tmp_path: Path, name: str, damaged: str) -> None:
    dice = random.Random(20180802)
    folder = unpacked(TINY / name / "model.tar.gz", tmp_path / "model")
    whole = (folder / damaged).read_bytes()
    for _ in range(60):
        (folder / damaged).write_bytes(flip(whole, dice))
        opens_or_says_why(folder)
    (folder / damaged).write_bytes(whole)
    assert opens_or_says_why(folder)
