"""Files in, one file out: as `embed` gives it; killed and resumed to the same bytes; any length in constant memory."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import lzma
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from shared_data import shared_folder
from tiny import HIGHWAY2, difference, published_model, random_model

import polyseme
from polyseme import embed_file as module
from polyseme import long_sentence as long_module
from polyseme import records
from polyseme.embed_file import FileOptions, Progress, embed_file
from polyseme.embedder import Counts, Embedder
from polyseme.errors import InputError, OptionError, OutputError, ResumeError, TooLongError
from polyseme.nn.transformer import TransformerConfig

Array = npt.NDArray[np.float32]

TEXT = """The bank raised its rates. We sat on the bank of the river!
Nothing to see here.

Mr. Smith watched the naïve swans; they didn't care. 语言 模型.
"""
LINES = "the bank raised its rates\n\nwe sat on the bank\nyes\nthe bank raised its rates\n"
FORMATS = ("safetensors", "arrow", "h5", "h5-classic", "parquet", "npz", "tsv")


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(published_model(), threads=1)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    file = tmp_path / "lines.txt"
    file.write_text(LINES, encoding="utf-8")
    return file


def exact(**options: object) -> FileOptions:
    return FileOptions(**({"dtype": "float32", "layers": "all", "language": "en"} | options))  # type: ignore[arg-type]


def stored(out: Path) -> list[Array]:
    with polyseme.read_embeddings(out) as opened:
        return [np.asarray(embedding.layers) for embedding in opened]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- the same as embed()


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_of_sentences_holds_what_embed_text_gives(
    embedder: Embedder, text: Path, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    report = embed_file(embedder, [text], out, exact(format=format))
    expected = [e for line in TEXT.splitlines() for e in embedder.embed_text(line, language="en")]
    with polyseme.read_embeddings(out) as found:
        assert len(found) == report.records == len(expected) >= 5
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.tokens == theirs.tokens
            assert ours.offsets == theirs.offsets
            assert difference([np.asarray(ours.layers)], [theirs.layers]) <= 1e-5
        assert found.documents is not None
        assert found.documents.tolist() == [0, 0, 1, *[2] * (len(expected) - 3)]  # blank lines are no documents
        assert found.metadata["model_hash"] == embedder.model_hash
        assert (found.metadata["state"], found.metadata["layers"]) == ("settled", "all")
        assert found.metadata["tokenizer"] == report.tokenizer == "ptb"
        assert found.metadata["kernel"] == embedder.kernel
    assert report.counts == Counts(sentences=len(expected), tokens=sum(len(e) for e in expected))
    assert report.output_bytes == out.stat().st_size


def test_float16_is_the_float32_rounded(embedder: Embedder, text: Path, tmp_path: Path) -> None:
    embed_file(embedder, [text], tmp_path / "half.npz", exact(dtype="float16"))
    embed_file(embedder, [text], tmp_path / "single.npz", exact())
    for half, single in zip(stored(tmp_path / "half.npz"), stored(tmp_path / "single.npz"), strict=True):
        assert np.array_equal(half.astype(np.float16), single.astype(np.float16))


@pytest.mark.parametrize(
    ("layers", "kept"), [("average", None), ("all", [0, 1, 2]), ("top", [2]), ("0,2", [0, 2]), ("1", [1])]
)
def test_the_layers_asked_for_are_kept(
    embedder: Embedder, lines: Path, tmp_path: Path, layers: str, kept: list[int] | None
) -> None:
    out = tmp_path / "out.npz"
    embed_file(embedder, [lines], out, exact(layers=layers, tokenized=True))
    expected = [e.layers for e in embedder.embed([line.split() for line in LINES.splitlines() if line])]
    wanted = [e[kept] if kept else e.mean(axis=0, keepdims=True) for e in expected]
    assert difference(stored(out), wanted) <= 1e-6


@pytest.mark.parametrize("unit", ["sentence", "line", "document"])
def test_records_are_sentences_lines_or_documents(
    embedder: Embedder, text: Path, lines: Path, tmp_path: Path, unit: str
) -> None:
    """Whatever a record is, the model reads sentence by sentence. A blank line ends a document and is none itself."""
    out = tmp_path / "out.npz"
    report = embed_file(embedder, [text, lines], out, exact(unit=unit))
    whole = TEXT + "\n" + LINES
    pieces = whole.split("\n\n") if unit == "document" else [line for line in whole.splitlines() if line]
    sentences = [[e.layers for e in embedder.embed_text(piece, language="en")] for piece in pieces]
    if unit == "sentence":
        expected = [layers for piece in sentences for layers in piece]
    else:
        expected = [np.concatenate(piece, axis=1) for piece in sentences]
    assert report.records == len(expected)
    assert difference(stored(out), expected) <= 1e-5


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("layers", ["average", "0,2"])
def test_pooled_vectors_are_those_of_all_words_of_the_record(
    embedder: Embedder, text: Path, tmp_path: Path, pool: str, layers: str
) -> None:
    for unit in ("sentence", "line"):
        whole, pooled = tmp_path / f"{unit}-whole.npz", tmp_path / f"{unit}-pooled.npz"
        embed_file(embedder, [text], whole, exact(unit=unit, layers=layers))
        embed_file(embedder, [text], pooled, exact(unit=unit, layers=layers, pool=pool))
        reduce = np.mean if pool == "mean" else np.max
        expected = [reduce(x, axis=1) if x.shape[1] else np.zeros((len(x), 16)) for x in stored(whole)]
        with polyseme.read_embeddings(pooled) as found:
            vectors = np.asarray(found.vectors).reshape(len(expected), -1, 16)
        np.testing.assert_allclose(vectors, np.stack(expected), atol=1e-6)


def test_given_words_are_taken_as_they_are(embedder: Embedder, lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    report = embed_file(embedder, [lines], out, exact(tokenized=True))
    with polyseme.read_embeddings(out) as found:
        assert [list(e.tokens) for e in found] == [line.split() for line in LINES.splitlines() if line]
    assert report.tokenizer == "whitespace"
    assert report.counts.repeated_sentences == 1


def test_ids_of_records_come_along(embedder: Embedder, tmp_path: Path) -> None:
    rows = [{"key": "a", "text": "The bank. The river."}, {"key": 7, "text": "Yes."}, {"key": "ü", "text": "?"}]
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "out.arrow"
    options = exact(unit="document", text_column="text", id_column="key", pool="mean", layers="average")
    embed_file(embedder, [file], out, options)
    with polyseme.read_embeddings(out) as found:
        assert found.ids == ("a", "7", "ü")
        vectors = np.asarray(found.vectors).reshape(3, -1)
    both = embedder.embed_text("The bank. The river.", language="en")
    words = np.concatenate([e.average() for e in both])
    np.testing.assert_allclose(vectors[0], words.mean(axis=0), atol=1e-5)


def test_a_record_of_which_no_word_is_left_still_has_its_row(embedder: Embedder, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("key,text\na,the\nb,bank\n", encoding="utf-8")
    options = exact(unit="line", id_column="key", text_column="text", remove_stop_words=True)
    for pool in ("none", "mean"):
        embed_file(embedder, [file], tmp_path / f"{pool}.npz", dataclasses.replace(options, pool=pool))
    with polyseme.read_embeddings(tmp_path / "none.npz") as found:
        assert found.ids == ("a", "b")
        assert [e.tokens for e in found] == [(), ("bank",)]
    with polyseme.read_embeddings(tmp_path / "mean.npz") as pooled:
        assert not np.asarray(pooled.vectors)[0].any()
        assert np.asarray(pooled.vectors)[1].any()


def test_what_was_read_and_lost_is_reported(embedder: Embedder, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text(f"{'x' * 60} {'y' * 49} short\n", encoding="utf-8")
    report = embed_file(embedder, [file], tmp_path / "out.npz", exact(tokenized=True))
    assert report.counts.cut_words == 2
    assert any("67% of the words are longer than the model reads" in warning for warning in report.warnings)
    words = Embedder(random_model(encoder="word", char_cnn=None, n_words=12, word_size=4), threads=1)
    report = embed_file(words, [file], tmp_path / "words.npz", exact(tokenized=True))
    assert any("100% of the words are not in the model's word table" in warning for warning in report.warnings)


def test_progress_is_told_block_by_block(embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BLOCK_TOKENS", 20)
    file = tmp_path / "in.txt"
    file.write_text("the bank raised its rates\n" * 40, encoding="utf-8")
    told: list[Progress] = []
    embed_file(embedder, [file], tmp_path / "out.npz", exact(tokenized=True), progress=told.append)
    assert [p.records for p in told] == [0, *range(4, 41, 4)]
    assert told[-1].tokens == 200
    assert 100 <= told[0].tokens_expected <= 400
    assert told[0].output_bytes_expected > 200 * 3 * 16 * 4


# --- sentences of any length


@pytest.mark.parametrize("state", ["settled", "zero"])
@pytest.mark.parametrize("layers", ["all", "average", "0,2"])
def test_the_long_path_equals_the_one_shot_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, layers: str
) -> None:
    sentences = [[f"w{n % 37}" for n in range(length)] for length in (1, 31, 32, 33, 34, 62, 63, 64, 65, 200)]
    file = tmp_path / "in.txt"
    file.write_text("".join(" ".join(s) + "\n" for s in sentences), encoding="utf-8")
    own = Embedder(published_model(), state=state, threads=1)
    embed_file(own, [file], tmp_path / "short.npz", exact(tokenized=True, layers=layers))
    monkeypatch.setattr(module, "LONG_TOKENS", 30)
    monkeypatch.setattr(long_module, "CHUNK_TOKENS", 32)
    taken: list[int] = []
    read = own.engine.read_chunk
    monkeypatch.setattr(own.engine, "read_chunk", lambda d, words, s: taken.append(len(words)) or read(d, words, s))
    embed_file(own, [file], tmp_path / "long.npz", exact(tokenized=True, layers=layers))
    assert max(taken) == 32
    assert difference(stored(tmp_path / "long.npz"), stored(tmp_path / "short.npz")) <= 1e-5
    assert sorted(f.name for f in tmp_path.iterdir()) == ["in.txt", "long.npz", "short.npz"]  # no spool is left


def test_long_sentences_are_counted_as_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "in.txt"
    file.write_text(("a " + "b" * 60 + " c\n") * 2, encoding="utf-8")
    monkeypatch.setattr(module, "LONG_TOKENS", 2)
    report = embed_file(Embedder(published_model(), threads=1), [file], tmp_path / "out.npz", exact(tokenized=True))
    assert report.counts == Counts(sentences=2, tokens=6, cut_words=2)


def test_a_transformers_context_bounds_what_a_file_may_hold(tmp_path: Path) -> None:
    model = random_model(layers="transformer", transformer=TransformerConfig(4, 2, context=8), projection_size=6)
    file = tmp_path / "in.txt"
    file.write_text("a b c\na b c d e f g h i\n", encoding="utf-8")
    with pytest.raises(TooLongError, match="9 tokens is beyond this Transformer's context of 8"):
        embed_file(Embedder(model, threads=1), [file], tmp_path / "out.npz", FileOptions(tokenized=True))


MEASURE = """
import sys
import resource
import polyseme
from polyseme.embed_file import FileOptions, embed_file

embedder = polyseme.load(sys.argv[1], threads=1)
report = embed_file(embedder, [sys.argv[2]], sys.argv[3], FileOptions(tokenized=True))
assert report.counts.sentences == 1
print(report.counts.tokens, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_sentence_of_200_000_tokens_takes_no_more_memory_than_one_of_2_000(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    peaks = {}
    for length in (2_000, 200_000):
        file = tmp_path / f"{length}.txt"
        file.write_text(" ".join(f"w{n % 5000}" for n in range(length)) + "\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(HIGHWAY2), str(file), str(tmp_path / f"{length}.safetensors")],
            capture_output=True, text=True, encoding="utf-8", check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        tokens, peak = map(int, done.stdout.split())
        assert tokens == length
        peaks[length] = peak * unit / 1e6
    assert peaks[200_000] - peaks[2_000] <= 300, peaks


# --- killed and resumed

RUN = """
import sys
import polyseme
from polyseme.embed_file import FileOptions, embed_file
from polyseme import records

model, source, out, state, block = sys.argv[1:6]
records.BLOCK_TOKENS = int(block)
options = FileOptions(batch_size=3 if state == "carry" else None, language="en")
embedder = polyseme.load(model, state=state, threads=2)
embed_file(embedder, [source], out, options, resume=True, progress=lambda p: print(p.records, p.tokens, flush=True))
"""


def run_file(source: Path, out: Path, state: str, block: int, kill_at: float | None = None, total: int = 0) -> int:
    """Embeds in another process; SIGKILL once `kill_at` of `total` tokens are done. The tokens it reached."""
    command = [sys.executable, "-c", RUN, str(HIGHWAY2), str(source), str(out), state, str(block)]
    reached = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            reached = int(line.split()[1])
            if kill_at is not None and reached >= kill_at * total:
                process.kill()
                break
    if kill_at is None:
        assert process.returncode == 0
    else:
        assert process.returncode == -signal.SIGKILL
    return reached


def real_text(tmp_path: Path, size: int) -> Path:
    """About `size` bytes of the shared English text, whole lines."""
    folder = shared_folder() / "data" / "pretrain" / "en"
    files = [folder / f"{name}.txt.xz" for name in ("reviews.heldout", "encyclopedia_wikitext2", "news.00")]
    if not files[-1].is_file():
        pytest.skip(f"the shared text is not at {folder}; set POLYSEME_SHARED")
    file = tmp_path / "real.txt"
    with file.open("wb") as out:
        for source in files:
            with lzma.open(source) as opened:
                for line in opened:
                    if out.tell() >= size:
                        return file
                    out.write(line)
    pytest.skip(f"{folder} holds less than {size:,} bytes")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_ten_megabytes_killed_half_way_and_resumed_give_the_same_bytes(tmp_path: Path) -> None:
    source = real_text(tmp_path, 10_000_000)
    total = run_file(source, tmp_path / "unbroken.safetensors", "settled", 32_768)
    killed = run_file(source, tmp_path / "killed.safetensors", "settled", 32_768, 0.5, total)
    assert 0.5 * total <= killed < total
    assert not (tmp_path / "killed.safetensors").exists()
    assert (tmp_path / "killed.safetensors.partial").is_dir()
    run_file(source, tmp_path / "killed.safetensors", "settled", 32_768)
    assert sha256(tmp_path / "killed.safetensors") == sha256(tmp_path / "unbroken.safetensors")
    assert not (tmp_path / "killed.safetensors.partial").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_carrying_run_killed_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = real_text(tmp_path, 100_000)
    total = run_file(source, tmp_path / "unbroken.npz", "carry", 1_000)
    assert run_file(source, tmp_path / "killed.npz", "carry", 1_000, 0.3, total) < total
    assert run_file(source, tmp_path / "killed.npz", "carry", 1_000, 0.7, total) < total
    run_file(source, tmp_path / "killed.npz", "carry", 1_000)
    assert sha256(tmp_path / "killed.npz") == sha256(tmp_path / "unbroken.npz")


class Interrupted(Exception):
    pass


def interrupt(embedder: Embedder, paths: Sequence[Path], out: Path, options: FileOptions, blocks: int) -> None:
    """A run that ends after so many committed blocks."""
    told: Iterator[int] = iter(range(blocks + 1))

    def stop(_: Progress) -> None:
        if next(told) == blocks:
            raise Interrupted

    with pytest.raises(Interrupted):
        embed_file(embedder, paths, out, options, progress=stop)
    assert not out.exists()


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(records, "BLOCK_TOKENS", 30)
    file = tmp_path / "many.txt"
    file.write_text("".join(f"the bank {n} raised {'its ' * (n % 5)}rates\n" for n in range(40)), encoding="utf-8")
    return file


@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize("state", ["settled", "zero", "carry"])
def test_an_interrupted_run_resumes_at_its_last_block_on_a_fresh_embedder(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, blocks: int
) -> None:
    options = exact(tokenized=True, batch_size=3 if state == "carry" else None)
    embed_file(Embedder(published_model(), state=state, threads=1), [many], tmp_path / "unbroken.npz", options)
    interrupt(Embedder(published_model(), state=state, threads=2), [many], tmp_path / "out.npz", options, blocks)
    fresh = Embedder(published_model(), state=state, threads=1)
    seen: list[int] = []
    reduced = fresh.reduced
    monkeypatch.setattr(
        fresh, "reduced", lambda sentences, *a, **k: seen.append(len(sentences)) or reduced(sentences, *a, **k)
    )
    report = embed_file(fresh, [many], tmp_path / "out.npz", options, resume=True)
    assert sum(seen) < 40  # what was done is not done again
    assert report.records == report.counts.sentences == 40  # but it is counted
    assert sha256(tmp_path / "out.npz") == sha256(tmp_path / "unbroken.npz")
    again = embed_file(fresh, [many], tmp_path / "out.npz", options, resume=True)
    assert again.finished_before


def test_carry_goes_on_over_blocks_as_in_one_call_and_starts_each_file_fresh(many: Path, tmp_path: Path) -> None:
    carry = Embedder(published_model(), state="carry", threads=1)
    texts = [line.split() for line in many.read_text(encoding="utf-8").splitlines()]
    expected = [e.layers for e in carry.embed(texts, batch_size=3)]
    embed_file(carry, [many], tmp_path / "out.npz", exact(tokenized=True, batch_size=3))
    assert difference(stored(tmp_path / "out.npz"), expected) <= 1e-6


def test_a_resumed_run_that_differs_is_refused_and_the_difference_named(many: Path, tmp_path: Path, text: Path) -> None:
    out = tmp_path / "out.npz"
    options = exact(tokenized=True)
    interrupt(Embedder(published_model(), threads=1), [many], out, options, 2)

    def refused(difference: str, embedder: Embedder, paths: Sequence[Path], options: FileOptions) -> None:
        with pytest.raises(ResumeError, match=difference):
            embed_file(embedder, paths, out, options, resume=True)

    same = Embedder(published_model(), threads=1)
    refused("model", Embedder(random_model(projection_size=8), threads=1), [many], options)
    refused("state", Embedder(published_model(), state="zero", threads=1), [many], options)
    refused("max_tokens", Embedder(published_model(), threads=1, max_tokens=64), [many], options)
    other = "torch" if same.kernel == "onednn" else "onednn"
    refused("kernel", Embedder(published_model(), threads=1, kernel=other), [many], options)
    refused("layers", same, [many], exact(tokenized=True, layers="0,1,2"))
    refused("options|lowercase", same, [many], exact(tokenized=True, lowercase=True))
    refused("inputs", same, [text], options)
    refused("inputs", same, [many, text], options)
    many.write_text(many.read_text(encoding="utf-8").replace("bank 39", "bank 93"), encoding="utf-8")
    refused("inputs", same, [many], options)
    with pytest.raises(OutputError, match="unfinished run: run again with --resume"):
        embed_file(same, [many], out, options)


# --- where results go, and what is refused


def test_an_existing_file_is_kept_unless_asked(embedder: Embedder, lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    out.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        embed_file(embedder, [lines], out, exact(tokenized=True))
    with pytest.raises(OutputError, match="exists already"):
        embed_file(embedder, [lines], out, exact(tokenized=True), resume=True)
    assert out.read_bytes() == b"precious"
    embed_file(embedder, [lines], out, exact(tokenized=True), overwrite=True)
    assert len(stored(out)) == 4


def test_too_little_disk_stops_before_anything_is_embedded(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    own = Embedder(published_model(), threads=1)
    with pytest.raises(OutputError, match=r"bytes are needed and 1,000 are free"):
        embed_file(own, [lines], tmp_path / "out.npz", exact(tokenized=True))
    assert own.counts == Counts()
    assert [f.name for f in tmp_path.iterdir()] == ["lines.txt"]


def test_carry_needs_batches_and_records_that_are_sentences(lines: Path, tmp_path: Path) -> None:
    carry = Embedder(published_model(), state="carry", threads=1)
    for options in (exact(), exact(batch_size=3, unit="document"), exact(batch_size=3, unit="line")):
        with pytest.raises(OptionError, match='state="carry" needs batch_size'):
            embed_file(carry, [lines], tmp_path / "out.npz", options)
    embed_file(carry, [lines], tmp_path / "out.npz", exact(batch_size=3, unit="line", tokenized=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "word"}, "unit must be one of sentence, line, document, was: 'word'"),
        ({"pool": "sum"}, "pool must be one of none, mean, max, was: 'sum'"),
        ({"layers": "3"}, "numbers from 0 to 2, was: '3'"),
        ({"layers": "-1"}, "numbers from 0 to 2"),
        ({"layers": ""}, "numbers from 0 to 2"),
        ({"layers": "0,,1"}, "numbers from 0 to 2"),
        ({"layers": "²"}, "numbers from 0 to 2"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"format": "xls"}, "format must be one of"),
    ],
)
def test_options_out_of_range_are_refused_by_value(
    embedder: Embedder, lines: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        embed_file(embedder, [lines], tmp_path / "out.npz", exact(**options))
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("content", ["", "\n\n", "  \n\t\n"])
@pytest.mark.parametrize("tokenized", [False, True])
def test_input_without_words_is_one_clear_error(
    embedder: Embedder, tmp_path: Path, content: str, tokenized: bool
) -> None:
    file = tmp_path / "in.txt"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"in\.txt"):
        embed_file(embedder, [file], tmp_path / "out.npz", exact(tokenized=tokenized))
    assert [f.name for f in tmp_path.iterdir()] == ["in.txt"]
