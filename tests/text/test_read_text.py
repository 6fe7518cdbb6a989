"""Reading: every format and compression gives the same documents, in constant memory, and says what it met."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from universal_dependencies import shared_file

from polyseme.errors import InputError, MissingExtraError, OptionError
from polyseme.text.read import Document, ReadReport, read_documents

LINES = ["Ünï 😀 one", "two\u2028still two", "三\u3000"]


def texts(*paths: Path | str, **options: object) -> list[str]:
    return [document.text for document in read_documents(list(paths), **options)]  # type: ignore[arg-type]


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
    return path


def packed(suffix: str, data: bytes) -> bytes:
    if suffix == ".zst":
        zstandard = pytest.importorskip("zstandard")
        half = len(data) // 2
        compress = zstandard.ZstdCompressor().compress
        return compress(data[:half]) + compress(data[half:])
    return {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix](data)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv", "unknown"])
def test_every_format_and_compression_gives_the_same(awkward_path: Path, kind: str, suffix: str) -> None:
    rows = {
        "txt": LINES,
        "unknown": LINES,
        "jsonl": [json.dumps({"id": i, "text": line}) for i, line in enumerate(LINES)],
        "csv": ["id,text", *(f'{i},"{line}"' for i, line in enumerate(LINES))],
        "tsv": ["id\ttext", *(f"{i}\t{line}" for i, line in enumerate(LINES))],
    }[kind]
    path = write(awkward_path / f"datei {kind}.{kind}{suffix}", packed(suffix, "\n".join(rows).encode("utf-8")))
    options = {} if kind in ("txt", "unknown") else {"id_column": "id"}
    documents = list(read_documents([path], **options))  # type: ignore[arg-type]
    assert [document.text for document in documents] == LINES
    first = 2 if kind in ("csv", "tsv") else 1
    assert [document.line for document in documents] == [first, first + 1, first + 2]
    assert [document.id for document in documents] == (["0", "1", "2"] if options else [None] * 3)
    assert {document.source for document in documents} == {str(path)}


def test_parquet(awkward_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = awkward_path / "p.parquet"
    with path.open("wb") as file:
        parquet.write_table(arrow.table({"n": [7, 8, 9, 10], "body": ["a", None, " ", "b\nc"]}), file, row_group_size=2)
    reader = read_documents([path], id_column="n")
    assert list(reader) == [Document("a", str(path), 1, "7"), Document("b\nc", str(path), 4, "10")]
    assert (reader.report.lines, reader.report.empty_lines) == (4, 2)
    with pytest.raises(InputError, match="holds int64, not text"):
        texts(path, text_column="n")
    with pytest.raises(InputError, match="not a Parquet file"):
        texts(write(awkward_path / "bad.parquet", b"PAR1nonsense"))


@pytest.mark.parametrize(("module", "name"), [("pyarrow.parquet", "x.parquet"), ("zstandard", "x.txt.zst")])
def test_missing_packages_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    with pytest.raises(MissingExtraError, match=r"polyseme\[data\]"):
        texts(write(tmp_path / name, b"x"))


def test_directories_are_read_in_the_order_of_their_paths(awkward_path: Path) -> None:
    (awkward_path / "b").mkdir()
    for name in ("z.txt", "b/2.jsonl", "b/10.txt", "a.csv", ".hidden.txt", "image.png", "README"):
        data = {"jsonl": '{"text": "2.jsonl"}', ".csv": "text,n\na.csv,1", ".png": "\0"}.get(
            name[-5:].lstrip(".") if name.endswith("jsonl") else name[-4:], name
        )
        write(awkward_path / name, data)
    reader = read_documents([awkward_path])
    assert [document.text for document in reader] == ["README", "a.csv", "b/10.txt", "2.jsonl", "z.txt"]
    assert reader.report.passed_over == 1
    assert "passed over" in reader.report.warnings()[0]


def test_patterns_and_files_named_like_patterns(tmp_path: Path) -> None:
    for name in ("a[1].txt", "b.txt", "c.md"):
        write(tmp_path / name, name)
    assert texts(tmp_path / "*.txt") == ["a[1].txt", "b.txt"]
    assert texts(tmp_path / "a[1].txt") == ["a[1].txt"]
    assert texts(tmp_path / "**" / "?.*") == ["b.txt", "c.md"]
    with pytest.raises(InputError, match="matches no file"):
        texts(tmp_path / "*.nothing")
    with pytest.raises(InputError, match="no such file"):
        texts(tmp_path / "absent.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.txt"):
        texts(tmp_path / "empty")
    with pytest.raises(InputError, match="no input was given"):
        texts()


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def stdin(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))

    stdin("é\nb\n".encode())
    assert texts("-") == ["é", "b"]
    stdin(b'{"a": "x", "b": "y"}\n')
    assert texts("-", text_column="b") == ["y"]
    with pytest.raises(OptionError, match="only once"):
        texts("-", "-")


def test_units(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "a\nb\n\n \n\nc\n")
    assert texts(path) == ["a", "b", "c"]
    reader = read_documents([path], unit="document")
    assert [(document.line, document.text) for document in reader] == [(1, "a\nb"), (6, "c")]
    assert reader.report == ReadReport(files=1, documents=2, lines=6, empty_lines=3, characters=4)


def test_normal_forms(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "e\u0301 ﬁ")
    assert texts(path) == ["e\u0301 ﬁ"]
    assert texts(path, normalize="nfc") == ["é ﬁ"]
    assert texts(path, normalize="nfkc") == ["é fi"]


@pytest.mark.parametrize("data", [b"", b"\n\n \r\n"])
@pytest.mark.parametrize("name", ["e.txt", "e.jsonl", "e.csv", "e.txt.gz"])
def test_no_text_at_all_is_an_error(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(InputError, match=f"no text in .*{name}"):
        texts(write(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data))


def test_an_empty_file_among_others_is_reported(tmp_path: Path) -> None:
    reader = read_documents([write(tmp_path / "a.txt", ""), write(tmp_path / "b.txt", "b")])
    assert len(list(reader)) == len(list(reader)) == 1
    assert reader.report.empty_files == (str(tmp_path / "a.txt"),)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", '{"text": "ok"}\n{"text": ', r"a.jsonl, line 2: not JSON"),
        ("a.jsonl", '{"text": "ok"}\n[1]', r"line 2: a JSON list"),
        ("a.jsonl", '{"text": "ok"}\n{"text": 3}', r"line 2: 'text' holds a number"),
        ("a.jsonl", '{"text": "ok"}\n{"txt": "x"}', r"line 2: this record has no 'text'; it has: 'txt'"),
        ("a.jsonl", "[" * 100_000, r"line 1: not JSON"),
        ("a.csv", "text,n\nok,1\nshort\n", r"a.csv, line 3: 1 fields where the header has 2"),
        ("a.csv", 'text,n\n"ok\nok",1\n"never closed,2\n', r"a.csv, line 4: not a row"),
        ("a.txt", b"\x7fELF\0\1\2", r"a binary file \(it holds zero bytes\)"),
        ("a.txt.gz", gzip.compress(b"abc" * 1000, mtime=0)[:-9], r"damaged or truncated gz"),
        ("a.txt.gz", b"no gzip", r"damaged or truncated gz"),
        ("a.txt.xz", lzma.compress(bytes(range(1, 200)))[:-9], r"damaged or truncated xz"),
    ],
)
def test_malformed_input_names_file_and_line(tmp_path: Path, name: str, data: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        texts(write(tmp_path / name, data))


def test_truncated_zst(tmp_path: Path) -> None:
    data = packed(".zst", "".join(map(str, range(9000))).encode())
    with pytest.raises(InputError, match="damaged or truncated zst"):
        texts(write(tmp_path / "a.zst", data[:-30]))
    with pytest.raises(InputError, match="damaged or truncated zst"):
        texts(write(tmp_path / "b.zst", b"nonsense"))


def test_the_text_column_is_found_or_asked_for(tmp_path: Path) -> None:
    two = write(tmp_path / "two.csv", "a,b\n1,2\n")
    with pytest.raises(OptionError, match="--text-column; the columns are: 'a', 'b'"):
        texts(two)
    with pytest.raises(OptionError, match="no column 'c'; its columns are: 'a', 'b'"):
        texts(two, text_column="c")
    assert texts(two, text_column="b") == ["2"]
    assert texts(two, id_column="a") == ["2"]
    assert texts(write(tmp_path / "one.jsonl", '{"n": 1, "review": "fine"}')) == ["fine"]
    assert texts(write(tmp_path / "s.jsonl", '"only a string"\n')) == ["only a string"]
    with pytest.raises(OptionError, match="none of the inputs has columns"):
        texts(write(tmp_path / "t.txt", "x"), text_column="b")


def test_a_json_text_with_half_a_character_stays_usable(tmp_path: Path) -> None:
    reader = read_documents([write(tmp_path / "a.jsonl", '{"text": "a\\ud800b"}')])
    assert [document.text for document in reader] == ["a\ufffdb"]
    assert reader.report.lines_replaced == 1


def test_options_out_of_range(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "x")
    for options in (
        {"unit": "page"},
        {"normalize": "nfd"},
        {"encoding_errors": "ignore"},
        {"encoding": "utf-99"},
        {"encoding": "base64"},
    ):
        with pytest.raises(OptionError):
            read_documents([path], **options)  # type: ignore[arg-type]


def test_ten_megabytes_in_one_line_and_in_one_field(tmp_path: Path) -> None:
    text = "word " * 2_000_000
    assert texts(write(tmp_path / "a.txt", text)) == [text]
    assert texts(write(tmp_path / "a.csv", f'text,n\n"{text}",1\n')) == [text]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(lines: int) -> int:
        path = write(tmp_path / f"{lines}.txt.gz", gzip.compress(b"some words on a line\n" * lines))
        tracemalloc.start()
        assert sum(1 for _ in read_documents([path])) == lines
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(100_000) < peak(5_000) + 500_000


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(st.text(alphabet="ab \u0085\u2028é😀三\x0c", max_size=5), max_size=9))
def test_lines_end_at_line_feeds_alone(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("lines") / "t.txt"
    for encoding in ("utf-8", "utf-16", "utf-16-be", "gb18030"):
        path.write_bytes("\r\n".join(lines).encode(encoding))
        expected = [line for line in lines if line and not line.isspace()]
        if expected:
            assert texts(path, encoding=encoding) == expected
        else:
            with pytest.raises(InputError):
                texts(path, encoding=encoding)


def test_a_real_corpus_is_read_whole() -> None:
    path = shared_file("pretrain/zh/zh_law.heldout.txt.xz")
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
        expected = [line.rstrip("\n") for line in file if line.strip()]
    assert texts(path) == expected


def test_records_without_text_are_counted_and_said(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "One."}\n{"text": " "}\n{"text": "Two."}\n', encoding="utf-8")
    reader = read_documents([file])
    assert [document.text for document in reader] == ["One.", "Two."]
    assert reader.report.empty_records == 1
    assert any("1 records hold no text" in warning for warning in reader.report.warnings())
