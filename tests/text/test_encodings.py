"""Bytes in the wrong encoding: the error says where, what was seen, and what to run."""

from __future__ import annotations

import codecs
import lzma
from pathlib import Path

import pytest
from universal_dependencies import shared_file

from polyseme.errors import DecodeError, InputError
from polyseme.text.guess import guess_encoding
from polyseme.text.read import read_documents

SAMPLES = {
    "gb18030": "他说这个问题很重要，我们应该好好研究一下。",
    "big5": "他說這個問題很重要，我們應該好好研究一下。",
    "shift_jis": "私は東京に住んでいます。今日は天気がいいです。",
    "euc_jp": "私は東京に住んでいます。今日は天気がいいです。",
    "euc_kr": "오늘은 날씨가 매우 좋습니다. 나는 학교에 갑니다.",
    "cp1251": "Привет, как дела? Сегодня хорошая погода.",
    "koi8-r": "Привет, как дела? Сегодня хорошая погода.",
    "cp866": "Привет, как дела? Сегодня хорошая погода.",
    "cp1252": "The café’s naïve résumé costs £5 — “quoted”.",
    "cp1250": "Zażółć gęślą jaźń, proszę państwa. Łódź jest piękna.",
    "cp1253": "Καλημέρα σας, τι κάνετε σήμερα;",
    "cp1255": "שלום עולם, מה שלומך היום",
    "cp1256": "مرحبا كيف حالك اليوم يا صديقي",
    "cp874": "สวัสดีชาวโลก วันนี้อากาศดีมาก",
}


@pytest.mark.parametrize("encoding", sorted(SAMPLES))
def test_the_likely_encoding_is_named_and_works(awkward_path: Path, encoding: str) -> None:
    path = awkward_path / "t.txt"
    path.write_bytes(("plain\n" + SAMPLES[encoding] + "\n").encode(encoding))
    with pytest.raises(DecodeError) as caught:
        list(read_documents([path], command="polyseme embed t.txt"))
    message = str(caught.value)
    assert "t.txt, line 2: the bytes" in message
    assert message.endswith(f"Run again with: polyseme embed t.txt --encoding {encoding}")
    documents = list(read_documents([path], encoding=message.rsplit(" ", 1)[1]))
    assert documents[1].text == SAMPLES[encoding]


def test_the_message_shows_the_bytes_and_the_option_without_a_command(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"ok\nna\xefve caf\xe9s\n")
    with pytest.raises(DecodeError, match=r"line 2: the bytes ef 76 65 20 at byte 3 .* --encoding cp1252$"):
        list(read_documents([path]))


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("pretrain/zh/zh_law.heldout.txt.xz", "gb18030"), ("pretrain/zh/zh_tech_lctt.heldout.txt.xz", "gb18030")],
)
def test_guesses_on_single_lines_of_real_text(name: str, encoding: str) -> None:
    with lzma.open(shared_file(name), "rt", encoding="utf-8") as file:
        lines = [line for line in file.read(200_000).split("\n") if sum("\u4e00" <= c <= "\u9fff" for c in line) >= 20]
    right = sum(guess_encoding(line.encode(encoding)) == encoding for line in lines)
    assert right / len(lines) > 0.95


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
@pytest.mark.parametrize("stated", ["utf-8", "utf-8-sig", "gb18030"])
def test_byte_order_marks_win(tmp_path: Path, mark: bytes, encoding: str, stated: str) -> None:
    # U+0A0A and U+0D0A hold the bytes of line ends.
    text = "Hello\n\u0a0a 世界\u0d0a😀\nend"
    (tmp_path / "t.txt").write_bytes(mark + text.encode(encoding))
    reader = read_documents([tmp_path / "t.txt"], encoding=stated)
    assert [document.text for document in reader] == text.split("\n")
    assert reader.report.byte_order_marks == 1


def test_wide_text_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    for encoding in ("utf-16-le", "utf-16-be"):
        for text in ("Hello there\nworld\n", "这个问题很重要，一上一下。\nOK 5\n"):
            path.write_bytes(text.encode(encoding))
            with pytest.raises(InputError, match=f"--encoding {encoding}$"):
                list(read_documents([path]))
            assert "".join(d.text + "\n" for d in read_documents([path], encoding=encoding)) == text


def test_replace_and_skip_count_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"ab\xff\xfec\nd\xe4\nok\n\xc3\xa9\n\xff\n")
    reader = read_documents([path], encoding_errors="replace")
    assert [document.text for document in reader] == ["ab\ufffd\ufffdc", "d\ufffd", "ok", "é", "\ufffd"]
    assert (reader.report.bytes_replaced, reader.report.lines_replaced) == (4, 3)
    assert "4 undecodable bytes in 3 lines" in reader.report.warnings()[0]
    reader = read_documents([path], encoding_errors="skip")
    assert [(document.line, document.text) for document in reader] == [(3, "ok"), (4, "é")]
    assert (reader.report.lines_skipped, reader.report.lines) == (3, 5)


def test_a_little_damage_in_utf8_suggests_to_replace(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("été à Paris, déjà\n".encode() * 5 + b"x\xff\n")
    with pytest.raises(DecodeError, match=r"line 6: .* --encoding-errors replace$"):
        list(read_documents([path]))


def test_every_guess_can_be_made_of_anything() -> None:
    for data in (b"", b"\xff", bytes(range(256)) * 3, b"\xff\xfe", b"\x80" * 999):
        guess_encoding(data)
