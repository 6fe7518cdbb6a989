"""bilm-tf's training checkpoints against simple_elmo's and TensorFlow's own numbers."""

from __future__ import annotations

import math
import re
import shutil
import struct
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch
from published import DATA, Array, Expected, Plain, difference, edit, survive
from published import copy as copy_of

from polyseme.errors import DamagedModelError, PolysemeError, UnknownFormatError, UnsupportedModelError
from polyseme.formats import tensorflow
from polyseme.formats.crc32c import crc32c, mask
from polyseme.formats.tf_checkpoint import MAGIC, read_checkpoint

ROOT = DATA / "tensorflow"
NAMES = ["highway", "plain"]


def copy(tmp_path: Path, name: str = "highway") -> Path:
    return copy_of(ROOT / name, tmp_path)


# --- a writer of checkpoints, for what TensorFlow did not write for us


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def checksum(data: bytes) -> int:
    return mask(crc32c(np.frombuffer(data, dtype=np.uint8)))


def entry(dtype: int, shape: tuple[int, ...], offset: int, data: bytes, more: bytes = b"") -> bytes:
    dims = b"".join(b"\x12" + varint(len(size)) + size for size in (b"\x08" + varint(n) for n in shape))
    sizes = b"\x20" + varint(offset) + b"\x28" + varint(len(data)) + b"\x35" + struct.pack("<I", checksum(data))
    return b"\x08" + varint(dtype) + b"\x12" + varint(len(dims)) + dims + sizes + more


def table(pairs: list[tuple[bytes, bytes]], a_block: int, compression: int = 0) -> bytes:
    """LevelDB's layout, `a_block` entries in a block, keys sharing prefixes within it."""

    def block(entries: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
        data, last = b"", b""
        for key, value in entries:
            shared = next(
                (i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last))
            )
            data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
            last = key
        data += struct.pack("<II", 0, 1) + bytes([compression])
        handle = varint(len(out)) + varint(len(data) - 1)
        return handle, data + struct.pack("<I", checksum(data))

    out, index = b"", []
    for start in range(0, len(pairs), a_block):
        entries = pairs[start : start + a_block]
        handle, data = block(entries)
        out += data
        index.append((entries[-1][0], handle))
    meta, data = block([])
    out += data
    top, data = block(index)
    return out + data + (meta + top).ljust(40, b"\0") + MAGIC


def write(prefix: Path, tensors: dict[str, npt.NDArray[np.generic]], a_block: int = 3, **options: int) -> None:
    pairs, data = [(b"", b"\x08\x01\x1a\x02\x08\x01")], b""
    numbers = {"float32": 1, "float64": 2, "int64": 9, "float16": 19}
    for name, value in sorted(tensors.items()):
        pairs.append((name.encode(), entry(numbers[value.dtype.name], value.shape, len(data), value.tobytes())))
        data += value.tobytes()
    prefix.with_name(prefix.name + ".index").write_bytes(table(pairs, a_block, **options))
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)


def rewrite(folder: Path, tensors: dict[str, npt.NDArray[np.generic]]) -> Path:
    """Replaces the checkpoints of a folder by one with these tensors."""
    for file in [*folder.glob("model.ckpt*"), folder / "checkpoint"]:
        file.unlink()
    write(folder / "model.ckpt-7", tensors)
    return folder


def hdf5_as_checkpoint(file: Path) -> dict[str, Array]:
    """The datasets of an HDF5 file of `dump_weights`, under their oldest names in a checkpoint."""
    found: dict[str, Array] = {}
    with h5py.File(file, "r") as opened:
        opened.visititems(
            lambda name, item: found.update({f"lm/{name}": item[...]}) if hasattr(item, "shape") else None
        )
    return found


# --- against simple_elmo and TensorFlow


@pytest.mark.parametrize("name", NAMES)
def test_all_layers_equal_those_of_simple_elmo(name: str) -> None:
    model, expected = tensorflow.read(ROOT / name), Expected(ROOT / name)
    together = Plain(model)(expected.sentences)
    assert difference([found[:, 1:-1] for found in together], expected.vectors("zero")) <= 1e-5
    alone = [Plain(model)([sentence])[0] for sentence in expected.sentences]
    assert difference([found[:, 1:-1] for found in alone], expected.vectors("zero")) <= 1e-5


def test_carried_states_equal_those_of_simple_elmo_call_after_call() -> None:
    model, expected = tensorflow.read(ROOT / "highway"), Expected(ROOT / "highway")
    calls = expected.about["carry_calls"]
    plain = Plain(model)
    found = [vectors[:, 1:-1] for call in calls for vectors in plain([expected.sentences[i] for i in call])]
    assert difference(found, expected.vectors("carry", [i for call in calls for i in call])) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_the_softmax_scores_words_as_tensorflow_does(name: str) -> None:
    model, expected = tensorflow.read(ROOT / name), Expected(ROOT / name)
    softmax, size = model.bilm.softmax, model.bilm.config.projection_size
    assert softmax is not None
    assert model.vocabulary is not None
    assert model.vocabulary.words[:3] == ("<S>", "</S>", "<UNK>")
    scores: dict[str, list[Array]] = {"logits_forward": [], "logits_backward": []}
    for sentence in expected.sentences:
        top = torch.from_numpy(Plain(model)([sentence])[0][-1])
        logits = torch.nn.functional.linear(top.unflatten(1, (2, size)), softmax.weight, softmax.bias)
        scores["logits_forward"].append(logits[:-1, 0].numpy())
        scores["logits_backward"].append(logits[1:, 1].flip(0).numpy())
    for direction, found in scores.items():
        assert difference(found, expected.vectors(direction, extra=1)) <= 1e-5


def test_a_checkpoint_equals_the_hdf5_file_that_was_dumped_from_it(tmp_path: Path) -> None:
    folder = rewrite(copy(tmp_path, "plain"), hdf5_as_checkpoint(DATA / "allennlp-char/plain/weights.hdf5"))
    model, whole = tensorflow.read(folder), tensorflow.read(ROOT / "plain")
    assert model.bilm.softmax is None  # dump_weights leaves it out
    for name, tensor in model.bilm.state_dict().items():
        assert torch.equal(tensor, whole.bilm.state_dict()[name])


@pytest.mark.parametrize("shared", [False, True])
def test_a_model_that_reads_whole_words_equals_simple_elmo(tmp_path: Path, shared: bool) -> None:
    source, folder = DATA / "allennlp-token/trained", tmp_path / "model"
    shutil.copytree(source, folder)
    tensors, expected = hdf5_as_checkpoint(source / "weights.hdf5"), Expected(source)
    words = tensors["lm/embedding"]
    tensors["lm/softmax/b"] = np.arange(len(words), dtype=np.float32)
    if not shared:
        tensors["lm/softmax/W"] = words * 2
    write(folder / "model.ckpt-0", tensors)
    model = tensorflow.read(folder / "model.ckpt-0")
    found = [vectors[:, 1:-1] for vectors in Plain(model)(expected.sentences)]
    assert difference(found, expected.vectors("zero")) <= 1e-5
    assert np.array_equal(model.bilm.softmax.weight.numpy(), words * (1 if shared else 2))


# --- names, tables, shards


def test_every_variable_is_listed_and_the_optimisers_are_ignored() -> None:
    checkpoint = read_checkpoint(ROOT / "highway")
    assert "lm/softmax/W" in checkpoint
    assert any(name.endswith("/Adagrad") for name in checkpoint)
    assert checkpoint["global_step"] == 2
    assert checkpoint["lm/char_embed"].shape == checkpoint.shape("lm/char_embed") == (261, 3)
    assert all(np.isfinite(checkpoint[name]).all() for name in checkpoint)


@pytest.mark.parametrize("a_block", [1, 2, 1000])
def test_tables_of_any_number_of_blocks_are_read(tmp_path: Path, a_block: int) -> None:
    tensors = {f"lm/{'x' * i}{i}": np.arange(i, dtype=np.float16) for i in range(40)} | {
        "scalar": np.int64(7).reshape(())
    }
    write(tmp_path / "model.ckpt", tensors, a_block)
    found = read_checkpoint(tmp_path / "model.ckpt")
    assert sorted(found) == sorted(tensors)
    assert all(np.array_equal(found[name], value) for name, value in tensors.items())


@pytest.mark.parametrize(
    ("scheme", "kernel", "bias", "projection"),
    [
        ("rnn/multi_rnn_cell/cell_{}/lstm_cell/", "weights", "biases", "projection/weights"),
        ("RNN/MultiRNNCell/Cell{}/LSTMCell/", "W_0", "B", "W_P_0"),
    ],
)
def test_older_names_of_the_variables_are_understood(
    tmp_path: Path, scheme: str, kernel: str, bias: str, projection: str
) -> None:
    parts = {"projection/kernel": projection, "kernel": kernel, "bias": bias}

    def older(name: str) -> str:
        found = re.fullmatch(r"(lm/RNN_\d/)rnn/multi_rnn_cell/cell_(\d)/lstm_cell/(.+)", name)
        return found[1] + scheme.format(found[2]) + parts.get(found[3], found[3]) if found else name

    checkpoint = read_checkpoint(ROOT / "highway")
    model = tensorflow.read(rewrite(copy(tmp_path), {older(name): checkpoint[name] for name in checkpoint}))
    assert model.hash() == tensorflow.read(ROOT / "highway").hash()


def test_a_single_layer_has_no_multi_cell_in_its_names(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(ROOT / "highway")
    tensors = {
        name.replace("multi_rnn_cell/cell_0/", ""): checkpoint[name] for name in checkpoint if "cell_1" not in name
    }
    folder = rewrite(copy(tmp_path), tensors)
    edit(folder / "options.json", {"lstm.n_layers": 1})
    model, whole = tensorflow.read(folder), tensorflow.read(ROOT / "highway")
    assert torch.equal(model.bilm.forward_layers.layers[0].bias, whole.bilm.forward_layers.layers[0].bias)


def test_a_262nd_row_of_the_character_table_and_the_stated_number_are_ignored(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(ROOT / "highway")
    tensors = {name: checkpoint[name] for name in checkpoint}
    tensors["lm/char_embed"] = np.concatenate([tensors["lm/char_embed"], np.full((1, 3), 9, dtype=np.float32)])
    folder = rewrite(copy(tmp_path), tensors)
    edit(folder / "options.json", {"char_cnn.n_characters": 777})
    assert tensorflow.read(folder).hash() == tensorflow.read(ROOT / "highway").hash()


# --- which checkpoint


def test_the_checkpoint_file_chooses_otherwise_the_highest_step(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        write(tmp_path / f"model.ckpt-{step}", {"step": np.asarray([step], dtype=np.int64)})
    assert read_checkpoint(tmp_path)["step"] == 100
    for named in ("model.ckpt-9", "/gone/model.ckpt-9", "C:\\\\gone\\\\model.ckpt-9"):
        (tmp_path / "checkpoint").write_text(
            f'model_checkpoint_path: "{named}"\nall_model_checkpoint_paths: "x"\n', "utf-8"
        )
        assert read_checkpoint(tmp_path)["step"] == 9
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-11"\n', "utf-8")
    assert read_checkpoint(tmp_path)["step"] == 100
    assert read_checkpoint(tmp_path / "model.ckpt-10")["step"] == 10
    assert read_checkpoint(tmp_path / "model.ckpt-10.index")["step"] == 10


def test_other_files_and_folders_do_not_look_like_it(tmp_path: Path, awkward_path: Path) -> None:
    (tmp_path / "faiss.index").write_bytes(bytes(100))
    for path in (tmp_path, tmp_path / "none", DATA / "many_langs/words", DATA / "allennlp-token/trained"):
        assert not tensorflow.looks_like(path)
        with pytest.raises(UnknownFormatError, match=r"model\.ckpt"):
            tensorflow.read(path)
    copy(awkward_path)
    assert tensorflow.looks_like(awkward_path / "model")
    tensorflow.read(awkward_path / "model")


# --- checksums


def test_crc32c_equals_the_published_vectors() -> None:
    # RFC 3720, B.4; the first is the customary check value.
    vectors = {b"123456789": 0xE3069283, bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    for data, expected in vectors.items():
        assert crc32c(np.frombuffer(data, dtype=np.uint8)) == expected
    assert crc32c(np.empty(0, dtype=np.uint8)) == 0


@pytest.mark.parametrize("size", [2049, 4096, 4097, 100_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 3, 1_500_002])
def test_crc32c_in_lanes_finds_what_the_plain_loop_finds(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    register, table = 0xFFFFFFFF, [0] * 256
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table[byte] = value
    for byte in data.tobytes():
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    assert crc32c(data) == register ^ 0xFFFFFFFF


def test_a_flipped_bit_anywhere_in_a_tensor_is_found(tmp_path: Path) -> None:
    write(tmp_path / "model.ckpt", {"w": np.arange(5000, dtype=np.float32)})
    file = tmp_path / "model.ckpt.data-00000-of-00001"
    whole = file.read_bytes()
    for at in (0, 1, 9_999, 19_999):
        data = bytearray(whole)
        data[at] ^= 4
        file.write_bytes(data)
        with pytest.raises(DamagedModelError, match="checksum of w"):
            read_checkpoint(tmp_path)["w"]


# --- what cannot be read


@pytest.mark.parametrize(
    ("change", "error", "finding"),
    [
        ({"lstm.dim": 10**12}, DamagedModelError, "the options say"),
        ({"lstm.n_layers": 10**9}, DamagedModelError, "lacks the variable lm/RNN_0/rnn/multi_rnn_cell/cell_2"),
        ({"lstm.projection_dim": 7}, DamagedModelError, "the options say"),
        ({"lstm.cell_clip": "x", "lstm.dim": "many"}, DamagedModelError, r"options\.json"),
        ({"char_cnn.filters": [[1, 4], [2, 6], [60, 2]]}, DamagedModelError, "filters"),
        ({"char_cnn.n_highway": 4}, DamagedModelError, "CNN_high_1"),
        ({"char_cnn.activation": "gelu"}, DamagedModelError, "gelu"),
        ({"char_cnn": None}, DamagedModelError, "lm/embedding"),
        ({"bidirectional": False}, UnsupportedModelError, "one direction"),
        ({"lstm": 3}, DamagedModelError, "no 'lstm' section"),
    ],
)
def test_options_that_are_not_those_of_the_weights_are_refused(
    tmp_path: Path, change: dict[str, object], error: type[PolysemeError], finding: str
) -> None:
    folder = copy(tmp_path)
    edit(folder / "options.json", change)
    with pytest.raises(error, match=finding):
        tensorflow.read(folder)


def test_a_folder_without_options_or_words_says_what_to_copy_there(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "vocab.txt").unlink()
    model = tensorflow.read(folder)
    assert model.vocabulary is None
    assert model.bilm.softmax is not None
    (folder / "options.json").unlink()
    with pytest.raises(UnknownFormatError, match=r"no options\.json"):
        tensorflow.read(folder)


@pytest.mark.parametrize("text", ["<S>\n</S>\n<UNK>\n", "<S>\n<S>\n", "\xff"])
def test_a_vocabulary_of_another_training_is_refused(tmp_path: Path, text: str) -> None:
    folder = copy(tmp_path)
    (folder / "vocab.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedModelError, match=r"vocab\.txt.*or none"):
        tensorflow.read(folder)


def test_missing_and_short_shards_are_named(tmp_path: Path) -> None:
    folder = copy(tmp_path, "plain")
    shard = folder / "model.ckpt-2.data-00001-of-00002"
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(DamagedModelError, match=r"00001-of-00002: has 16,864 bytes"):
        tensorflow.read(folder)
    shard.unlink()
    with pytest.raises(DamagedModelError, match="00001-of-00002: is missing"):
        tensorflow.read(folder)


def test_a_tensor_of_absurd_size_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    pairs = [(b"", b"\x08\x01"), (b"w", entry(1, (1 << 40, 1 << 20), 0, b"1234"))]
    (tmp_path / "model.ckpt.index").write_bytes(table(pairs, 5))
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(b"1234")
    checkpoint = read_checkpoint(tmp_path)
    assert math.prod(checkpoint.shape("w")) == 1 << 60
    with pytest.raises(DamagedModelError, match="has 4 bytes"):
        checkpoint["w"]


def test_the_old_layout_compression_and_other_kinds_of_tensors_are_refused_by_name(tmp_path: Path) -> None:
    pairs = [(b"", b"\x08\x01"), (b"s", entry(7, (1,), 0, b"1234")), (b"w", entry(1, (1,), 0, b"1234", b"\x3a\x00"))]
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(b"1234")
    (tmp_path / "model.ckpt.index").write_bytes(table(pairs, 5))
    for name, finding in (("s", "TensorFlow's type 7"), ("w", "partitioned")):
        with pytest.raises(UnsupportedModelError, match=finding):
            read_checkpoint(tmp_path)[name]
    (tmp_path / "model.ckpt.index").write_bytes(table(pairs, 5, compression=1))
    with pytest.raises(UnsupportedModelError, match="compressed"):
        read_checkpoint(tmp_path)
    (tmp_path / "model.ckpt.index").write_bytes(table([(b"", b"\x08\x01\x10\x01")], 5))
    with pytest.raises(UnsupportedModelError, match="big-endian"):
        read_checkpoint(tmp_path)
    (tmp_path / "model.ckpt.index").rename(tmp_path / "model.ckpt")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n', "utf-8")
    with pytest.raises(UnsupportedModelError, match="V1 layout"):
        read_checkpoint(tmp_path)


def test_weights_of_a_diverged_training_are_refused(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(ROOT / "highway")
    tensors = {name: checkpoint[name] for name in checkpoint}
    tensors["lm/softmax/b"][3] = np.nan
    with pytest.raises(DamagedModelError, match="lm/softmax/b holds values that are not finite"):
        tensorflow.read(rewrite(copy(tmp_path), tensors))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_damaged_copies_open_or_say_what_is_wrong(tmp_path: Path, name: str) -> None:
    opened, refused = survive(ROOT / name, tmp_path, tensorflow.read, tensorflow.looks_like, 250, seed=len(name))
    assert opened + refused == 250
    assert refused > 60
