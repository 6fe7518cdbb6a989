"""Text -> corpus: the words of the tokenizer, counted as `collections.Counter` counts, the same bytes every way."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyseme.errors import DecodeError, InputError, OptionError, OutputError, ResumeError
from polyseme.text import blocks, merge
from polyseme.text.prepare import PrepareOptions, Progress, prepare
from polyseme.text.processing import apply
from polyseme.text.shards import Corpus, PrepareReport
from polyseme.text.tokenize import tokenizer_for
from polyseme.text.vocab import Vocabulary
from tests.conftest import shared_folder

TOKENS = PrepareOptions(tokenized=True, language="en")
PROSE = (
    "Mr. Smith didn't stay. He left for the U.S.\nThe bank raised its rates. We sat on the bank of the river!\n\n"
    "A second document: \u201cgrüße\u201d, 中文 and 🙂.\nIt ends here.\n"
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few lines fill many blocks, and their types are merged in several rounds."""
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", 200)
    monkeypatch.setattr(merge, "FAN_IN", 3)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def sentences(corpus: Corpus, part: str) -> list[list[str]]:
    chosen = getattr(corpus, part)
    return [[corpus.word(id) for id in chosen.sentence(index)] for index in range(chosen.n_sentences)]


def made(text: Path, out: Path, options: PrepareOptions = TOKENS, **more: Any) -> Corpus:
    report = prepare([text], out, options, **{"processes": 1, **more})
    corpus = Corpus.open(out)
    assert corpus.report == report
    assert not out.with_name(out.name + ".partial").exists()
    return corpus


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def random_text(n_lines: int, seed: int, blank: float = 0.0) -> str:
    """Lines of words by Zipf's law."""
    draw = random.Random(seed)
    lines = []
    for _ in range(n_lines):
        words = [f"w{int(draw.paretovariate(0.7)) % 5000}" for _ in range(draw.randint(1, 12))]
        lines.append(" ".join(words) + "\n" + ("\n" if draw.random() < blank else ""))
    return "".join(lines)


# --- what is stored is the text


@pytest.mark.parametrize("language", ["en", "de", "und"])
def test_the_corpus_holds_what_the_tokenizer_gives(tmp_path: Path, language: str) -> None:
    text = write(tmp_path / "t.txt", PROSE)
    corpus = made(text, tmp_path / "c", PrepareOptions(language=language, heldout=0))
    expected = [list(each.tokens) for each in tokenizer_for(language).sentences(PROSE)]
    assert sentences(corpus, "train") == expected
    assert (corpus.heldout.n_sentences, corpus.report.heldout_by, corpus.report.documents) == (0, "none", 2)
    assert corpus.text.tokenizer == tokenizer_for(language).name
    assert corpus.text.tokenizer_version == tokenizer_for(language).version
    assert corpus.text.languages == (language,)


@pytest.mark.usefixtures("small_blocks")
def test_many_blocks_give_the_ranking_of_a_counter(tmp_path: Path) -> None:
    content = random_text(400, seed=1, blank=0.2)
    corpus = made(write(tmp_path / "t.txt", content), tmp_path / "c", replace(TOKENS, heldout=0))
    lines = [line.split() for line in content.splitlines() if line]
    assert sentences(corpus, "train") == lines
    counts = Counter(word for line in lines for word in line)
    assert corpus.vocabulary() == Vocabulary.from_counts(counts)
    assert corpus.counts[3:].tolist() == [counts[word] for word in corpus.vocabulary().words[3:]]
    assert (corpus.report.types, corpus.report.train_words) == (len(counts), counts.total())
    assert corpus.report.lines == content.count("\n")
    assert corpus.report.empty_lines == content.count("\n\n")


def test_one_big_block_and_many_small_ones_are_the_same_corpus(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = write(tmp_path / "t.txt", random_text(600, seed=2, blank=0.3))
    whole = made(text, tmp_path / "whole", replace(TOKENS, heldout=0.1))
    request.getfixturevalue("small_blocks")
    pieces = made(text, tmp_path / "pieces", replace(TOKENS, heldout=0.1))
    assert whole.identity == pieces.identity
    assert whole.report == pieces.report


def test_options_of_the_text_are_applied_and_recorded(tmp_path: Path) -> None:
    text = write(tmp_path / "t.txt", "The Rates were RAISED. To be, or not to be\n")
    options = PrepareOptions(language="en", lowercase=True, remove_stop_words=True, stem=True, heldout=0)
    corpus = made(text, tmp_path / "c", options)
    given = tokenizer_for("en").sentences(text.read_text(encoding="utf-8"))
    changed = [list(apply(each, corpus.text, "en").tokens) for each in given]
    assert sentences(corpus, "train") == [words for words in changed if words] == [["rate", "rais", "."], [","]]
    assert (corpus.text.lowercase, corpus.text.remove_stop_words, corpus.text.stem) == (True, True, True)
    nothing_left = write(tmp_path / "stop.txt", "to be\nbanks\nor not to be\n")
    assert made(nothing_left, tmp_path / "d", replace(options, tokenized=True)).report.emptied_sentences == 2
    write(tmp_path / "nfc.txt", "e\u0301te\u0301\n")
    corpus = made(tmp_path / "nfc.txt", tmp_path / "e", PrepareOptions(normalize="nfc", heldout=0))
    assert (sentences(corpus, "train"), corpus.text.normalize) == ([["été"]], "nfc")


def test_scripts_that_bytes_would_cut_get_an_alphabet(tmp_path: Path) -> None:
    word = "ประเทศไทยของเราทุกคน"  # 20 characters, 60 bytes
    corpus = made(write(tmp_path / "t.txt", f"{word} ab\n" * 50), tmp_path / "c", TOKENS)
    assert word[0] in corpus.characters.alphabet
    assert corpus.report.cut_words == 0
    assert corpus.character_rows.dtype == np.uint8
    as_bytes = made(tmp_path / "t.txt", tmp_path / "d", replace(TOKENS, characters="bytes"))
    assert as_bytes.report.cut_words == as_bytes.counts[as_bytes.vocabulary().id(word)] > 0
    assert any("longer than the 50 characters" in warning for warning in as_bytes.report.warnings)


def test_records_and_several_files(tmp_path: Path) -> None:
    first = tmp_path / "a.jsonl"
    first.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a b\nc", "", "d")), encoding="utf-8")
    second = write(tmp_path / "b.txt", "e f\n\ng\n")
    report = prepare([first, second], tmp_path / "c", replace(TOKENS, heldout=0))
    assert sentences(Corpus.open(tmp_path / "c"), "train") == [["a", "b"], ["c"], ["d"], ["e", "f"], ["g"]]
    assert (report.documents, report.empty_lines, report.lines) == (4, 2, 6)


def test_undecodable_lines_are_counted(tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_bytes(b"one two\nthr\xffee\nfour\n")
    with pytest.raises(DecodeError, match="line 2"):
        prepare([text], tmp_path / "c", TOKENS)
    assert not (tmp_path / "c.partial").exists()
    mended = made(text, tmp_path / "c", replace(TOKENS, encoding_errors="replace", heldout=0))
    assert (mended.report.lines_replaced, mended.report.bytes_replaced) == (1, 1)
    assert sentences(mended, "train")[1] == ["thr\ufffdee"]
    left_out = made(text, tmp_path / "d", replace(TOKENS, encoding_errors="skip", heldout=0))
    assert (left_out.report.lines_skipped, left_out.report.documents, left_out.train.n_sentences) == (1, 1, 2)


def test_words_that_are_spelled_like_marks_are_unknown(tmp_path: Path) -> None:
    corpus = made(
        write(tmp_path / "t.txt", "<S> a <unk> </S>\n<UNK> a b\n"), tmp_path / "c", replace(TOKENS, heldout=0)
    )
    assert corpus.train.ids.tolist() == [2, 3, 4, 2, 2, 3, 5]
    assert corpus.report.reserved_words == 3
    assert corpus.unknown_share() == pytest.approx(3 / 7)
    assert corpus.report.unknown_share == corpus.unknown_share(corpus.usual_size) == pytest.approx(5 / 7)  # b, once
    assert any(warning.endswith("read as <UNK>: 3") for warning in corpus.report.warnings)


@pytest.mark.usefixtures("small_blocks")
def test_a_line_without_end_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "PIECE_CHARACTERS", 100)
    words = random_text(1, seed=3).split() * 40
    corpus = made(write(tmp_path / "t.txt", " ".join(words)), tmp_path / "c", replace(TOKENS, heldout=0))
    assert [word for each in sentences(corpus, "train") for word in each] == words
    assert corpus.report.long_lines == 1
    assert max(map(len, sentences(corpus, "train"))) <= 100


# --- the held-out part


def test_few_documents_give_blocks_spread_over_the_text(tmp_path: Path) -> None:
    lines = [f"w{number} x x x x x x x x x" for number in range(4000)]
    text = write(tmp_path / "t.txt", "\n".join(lines) + "\n")
    corpus = made(text, tmp_path / "c", replace(TOKENS, heldout=0.05))
    held, kept = sentences(corpus, "heldout"), sentences(corpus, "train")
    numbers = sorted(int(words[0][1:]) for words in held)
    assert sorted(numbers + [int(words[0][1:]) for words in kept]) == list(range(4000))  # disjoint, nothing lost
    assert (corpus.report.heldout_by, corpus.report.documents) == ("blocks", 1)
    assert corpus.report.heldout_words == pytest.approx(0.05 * 40_000, rel=0.15)
    runs = 1 + sum(after != before + 1 for before, after in pairwise(numbers))
    assert runs == corpus.report.heldout_pieces == 20
    assert len({number // 200 for number in numbers}) == 20  # one in each twentieth
    assert any("too few documents" in warning for warning in corpus.report.warnings)


def test_many_documents_are_held_out_whole(tmp_path: Path) -> None:
    documents = [[f"d{number} " + "x " * (number % 7) for _ in range(number % 5 + 1)] for number in range(200)]
    text = write(tmp_path / "t.txt", "\n\n".join("\n".join(lines) for lines in documents))
    corpus = made(text, tmp_path / "c", replace(TOKENS, heldout=0.1))
    held = {words[0] for words in sentences(corpus, "heldout")}
    kept = {words[0] for words in sentences(corpus, "train")}
    assert held
    assert held.isdisjoint(kept)
    assert len(held) + len(kept) == 200
    assert (corpus.report.heldout_by, corpus.report.documents) == ("documents", 200)
    assert corpus.report.heldout_pieces == len(held)
    assert 0.05 < corpus.report.heldout_words / (corpus.report.heldout_words + corpus.report.train_words) <= 0.1
    again = made(text, tmp_path / "d", replace(TOKENS, heldout=0.1))
    assert again.identity == corpus.identity
    other = made(text, tmp_path / "e", replace(TOKENS, heldout=0.1, seed=2))
    assert {words[0] for words in sentences(other, "heldout")} != held


@pytest.mark.parametrize("seed", range(8))
def test_large_documents_among_small_ones_do_not_make_the_part_small(tmp_path: Path, seed: int) -> None:
    documents = ["x " * (90 if number % 5 == 0 else 2) for number in range(500)]
    text = write(tmp_path / "t.txt", "\n\n".join(documents) + "\n")
    report = made(text, tmp_path / "c", replace(TOKENS, heldout=0.01, seed=seed)).report
    assert report.documents == 500
    assert report.heldout_words == pytest.approx(0.01 * 9_800, rel=0.1)


def test_documents_larger_than_the_part_give_the_smallest_of_them(tmp_path: Path) -> None:
    text = write(tmp_path / "t.txt", "\n\n".join("x " * (50 + number % 7) for number in range(1, 21)))
    report = made(text, tmp_path / "c").report
    assert (report.heldout_by, report.heldout_pieces, report.heldout_words) == ("documents", 1, 50)


@pytest.mark.parametrize("n_lines", [2, 3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_the_held_out_part_is_never_without_words(tmp_path: Path, n_lines: int, seed: int) -> None:
    text = write(tmp_path / "t.txt", "\n" + "a b c\n\n" * n_lines)
    options = replace(TOKENS, empty_lines="keep", heldout=0.01, seed=seed)
    corpus = made(text, tmp_path / "c", options)
    assert corpus.heldout.n_words > 0
    assert corpus.train.n_words > 0
    assert corpus.train.n_words + corpus.heldout.n_words == 3 * n_lines
    assert corpus.train.n_sentences + corpus.heldout.n_sentences == 2 * n_lines + 1


def test_one_sentence_cannot_be_split(tmp_path: Path) -> None:
    text = write(tmp_path / "t.txt", "a b c\n")
    with pytest.raises(InputError, match=r"1 sentence: none can be held out.*--heldout 0"):
        prepare([text], tmp_path / "c", TOKENS)
    assert made(text, tmp_path / "d", replace(TOKENS, heldout=0)).heldout.n_targets == 0


def test_given_files_are_held_out_and_nothing_else(tmp_path: Path) -> None:
    text, other = write(tmp_path / "t.txt", "a b\nb\n"), write(tmp_path / "h.txt", "b new\n")
    corpus = made(text, tmp_path / "c", TOKENS, heldout_texts=[other])
    assert sentences(corpus, "train") == [["a", "b"], ["b"]]
    assert sentences(corpus, "heldout") == [["b", "new"]]
    assert (corpus.report.heldout_by, corpus.report.heldout_types) == ("files", 1)
    assert corpus.report.heldout_unknown_share == 0.5
    with pytest.raises(OptionError, match="both to train on and to hold out"):
        prepare([text], tmp_path / "d", TOKENS, heldout_texts=[text])


# --- the same bytes every way


@pytest.mark.slow
def test_processes_do_not_change_a_byte(tmp_path: Path) -> None:
    text = write(tmp_path / "t.txt", random_text(350_000, seed=4, blank=0.1))  # three blocks
    options = replace(TOKENS, heldout=0.02)
    made(text, tmp_path / "one", options)
    made(text, tmp_path / "two", options, processes=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


# Blocks of 20,000 characters; every block takes a while, so that there is time to kill.
RUN = """
import sys, time
from polyseme.text import blocks, prepare
blocks.BLOCK_CHARACTERS = 20_000
def slowly(progress):
    if progress.stage.startswith("cutting"):
        print("block", flush=True)
        time.sleep(0.05)
text, out, resume = sys.argv[1:]
options = prepare.PrepareOptions(tokenized=True, language="en")
prepare.prepare([text], out, options, resume=resume == "resume", processes=1, progress=slowly)
"""


def test_a_run_that_was_killed_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    text = write(tmp_path / "t.txt", random_text(12_000, seed=5, blank=0.1))
    command = [sys.executable, "-c", RUN, str(text)]
    subprocess.run([*command, str(tmp_path / "whole"), ""], check=True, stdout=subprocess.DEVNULL)
    with subprocess.Popen([*command, str(tmp_path / "killed"), ""], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        for _ in range(5):
            run.stdout.readline()
        run.kill()
    finished = sorted((tmp_path / "killed.partial" / "blocks").glob("*.npz"))
    assert len(finished) >= 5
    assert not (tmp_path / "killed").exists()
    with pytest.raises(OutputError, match="unfinished run: run again with --resume"):
        prepare([text], tmp_path / "killed", TOKENS)
    made_at = [path.stat().st_mtime_ns for path in finished]
    finished[-1].write_bytes(finished[-1].read_bytes()[:1000])  # as a machine that lost power may leave it
    with subprocess.Popen([*command, str(tmp_path / "killed"), "resume"], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        for _ in range(8):
            run.stdout.readline()
        now = [path.stat().st_mtime_ns for path in finished]
        assert now[:-1] == made_at[:-1]  # found, not made again
        assert now[-1] > made_at[-1]
        run.communicate()
    assert run.returncode == 0
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    assert not (tmp_path / "killed.partial").exists()


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.slow
def test_a_killed_run_leaves_no_process_behind(tmp_path: Path) -> None:
    text = write(tmp_path / "t.txt", random_text(700_000, seed=6))
    code = RUN.replace("20_000", "1 << 22").replace("processes=1", "processes=2")
    script = write(
        tmp_path / "run.py", "if __name__ == '__main__':\n" + "".join(f"    {x}\n" for x in code.split("\n"))
    )
    with subprocess.Popen(
        [sys.executable, str(script), str(text), str(tmp_path / "c"), ""], stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(run.pid)], capture_output=True, encoding="utf-8"
        ).stdout
        assert len(children.split()) >= 2
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(is_running(int(pid)) for pid in children.split()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_running(int(pid)) for pid in children.split())


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_finished_corpus_is_not_made_again_and_never_mistaken(tmp_path: Path) -> None:
    text = write(tmp_path / "t.txt", "a b\nc d\n")
    first = made(text, tmp_path / "c")
    before = (tmp_path / "c" / "corpus.json").stat().st_mtime_ns
    assert prepare([text], tmp_path / "c", TOKENS, resume=True) == first.report
    assert (tmp_path / "c" / "corpus.json").stat().st_mtime_ns == before
    with pytest.raises(OutputError, match=r"holds a corpus already.*--overwrite"):
        prepare([text], tmp_path / "c", TOKENS)
    with pytest.raises(ResumeError, match="other text or other options"):
        prepare([text], tmp_path / "c", replace(TOKENS, heldout=0.1), resume=True)
    write(text, "a b\nc d e\n")
    with pytest.raises(ResumeError, match="other text or other options"):
        prepare([text], tmp_path / "c", TOKENS, resume=True)
    assert prepare([text], tmp_path / "c", TOKENS, overwrite=True).types == 5
    assert Corpus.open(tmp_path / "c").report.types == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "t.txt"]


# --- bad input and bad places


def test_bad_inputs_are_typed_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt: no such file"):
        prepare([tmp_path / "none.txt"], tmp_path / "c")
    empty = write(tmp_path / "empty.txt", "\n \n")
    with pytest.raises(InputError, match=r"no text in .*empty\.txt: 2 lines"):
        prepare([empty], tmp_path / "c", replace(TOKENS, empty_lines="keep"))
    marks = write(tmp_path / "marks.txt", "<S> <UNK>\n<S>\n")
    with pytest.raises(InputError, match="no words are left to train on"):
        prepare([marks], tmp_path / "c", replace(TOKENS, heldout=0))
    text = write(tmp_path / "t.txt", "a b\nc\n")
    with pytest.raises(OptionError, match="no stemmer is known for the language 'zh'"):
        prepare([text], tmp_path / "c", PrepareOptions(language="zh", stem=True))
    with pytest.raises(InputError, match="no input was given"):
        prepare([], tmp_path / "c", TOKENS, heldout_texts=[text])
    with pytest.raises(OptionError, match=r"a folder of its own, was: '\.'"):
        prepare([text], ".", TOKENS)
    with pytest.raises(OptionError, match="processes must be at least 1"):
        prepare([text], tmp_path / "c", TOKENS, processes=0)
    write(tmp_path / "file", "")
    with pytest.raises(OutputError, match="is no folder"):
        prepare([text], tmp_path / "file", TOKENS)
    (tmp_path / "full").mkdir()
    write(tmp_path / "full" / "mine.txt", "")
    for flags in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match="files that are no corpus"):
            prepare([text], tmp_path / "full", TOKENS, **flags)
    (tmp_path / "new").mkdir()
    assert made(text, tmp_path / "new").report.types == 3  # an empty folder is as good as none


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heldout": 0.9}, "heldout"),
        ({"heldout": -0.1}, "heldout"),
        ({"vocab_size": 3}, "vocab_size"),
        ({"max_characters": 3}, "max_characters"),
        ({"seed": -1}, "seed"),
        ({"empty_lines": "keep"}, "must be --tokenized"),
        ({"empty_lines": "both"}, "empty_lines"),
        ({"characters": "letters"}, "characters"),
        ({"tokenized": True, "unwrap": True}, "unwrap"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PrepareOptions(**values)


FULL_DISK = """
import resource, sys
from polyseme.errors import OutputError
from polyseme.text import blocks, prepare
blocks.BLOCK_CHARACTERS = 20_000
text, out, limit, resume = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
options = prepare.PrepareOptions(tokenized=True, language="en")
try:
    prepare.prepare([text], out, options, resume=resume == "resume", processes=1)
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="no RLIMIT_FSIZE")
def test_a_full_disk_is_a_typed_error_and_loses_nothing(tmp_path: Path) -> None:
    text = write(tmp_path / "t.txt", random_text(12_000, seed=7))
    command = [sys.executable, "-c", FULL_DISK, str(text), str(tmp_path / "c")]
    # Blocks have room, the rows of characters have not.
    said = subprocess.run([*command, str(120_000), ""], check=True, capture_output=True, encoding="utf-8").stdout
    assert "cannot be written (File too large)" in said
    assert "run again with --resume" in said
    assert not (tmp_path / "c").exists()
    assert any((tmp_path / "c.partial" / "blocks").glob("*.npz"))
    subprocess.run([*command, str(1 << 30), "resume"], check=True)
    made(text, tmp_path / "d")
    assert Corpus.open(tmp_path / "c").train.n_words == Corpus.open(tmp_path / "d").train.n_words


def test_progress_goes_from_reading_to_writing(tmp_path: Path) -> None:
    seen: list[Progress] = []
    prepare([write(tmp_path / "t.txt", "a b\nc\n")], tmp_path / "c", TOKENS, progress=seen.append)
    stages = list(dict.fromkeys(each.stage for each in seen))
    assert stages == ["cutting text into words", "merging word types", "writing types", "writing words"]
    assert all(each.done <= each.total for each in seen if each.total)


PEAK = """
import resource, sys
from polyseme.text import blocks
from polyseme.text.prepare import PrepareOptions, prepare
blocks.BLOCK_CHARACTERS = 1 << 18
prepare([sys.argv[1]], sys.argv[2], PrepareOptions(tokenized=True, language="en"), processes=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(os.name == "nt", reason="no resource module")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    piece = random_text(25_000, seed=8)
    peaks = []
    for times in (4, 32):
        with (tmp_path / "t.txt").open("w", encoding="utf-8") as file:
            for _ in range(times):
                file.write(piece)
        command = [sys.executable, "-c", PEAK, str(tmp_path / "t.txt"), str(tmp_path / str(times))]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout))
    grown = (tmp_path / "t.txt").stat().st_size * 7 / 8 / 1024
    assert peaks[1] - peaks[0] < 0.25 * grown


# --- counted as the field counts


@pytest.fixture
def plain(tmp_path: Path) -> Callable[[str], Path]:
    """A file of shared/data/lm, unpacked here and counted without Polyseme."""

    def give(name: str) -> Path:
        path = shared_folder() / "data" / "lm" / name
        if not path.exists():
            reason = f"{path} is missing; set POLYSEME_SHARED"
            if os.environ.get("CI"):
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        unpacked = tmp_path / path.stem
        unpacked.write_bytes(lzma.decompress(path.read_bytes()))
        return unpacked

    return give


@pytest.mark.official
def test_penn_treebank_has_the_counts_of_the_literature(tmp_path: Path, plain: Callable[[str], Path]) -> None:
    train, test = plain("ptb/ptb.train.txt.xz"), plain("ptb/ptb.test.txt.xz")
    corpus = made(train, tmp_path / "c", replace(TOKENS, vocab_size=10_002), heldout_texts=[test])
    assert (corpus.train.n_words, corpus.train.n_sentences, corpus.train.n_targets) == (887_521, 42_068, 929_589)
    assert corpus.heldout.n_targets == 82_430
    assert corpus.report.types + 1 == 10_000  # <eos> is the ten thousandth; <unk> and N are words
    counts = Counter(train.read_text(encoding="utf-8").split())
    assert corpus.vocabulary() == Vocabulary.from_counts(counts)
    assert corpus.report.heldout_types == 0
    assert corpus.report.heldout_unknown_share == 0


@pytest.mark.official
def test_wikitext_2_has_the_counts_of_the_literature(tmp_path: Path, plain: Callable[[str], Path]) -> None:
    valid, test = plain("wikitext-2/wiki.valid.tokens.xz"), plain("wikitext-2/wiki.test.tokens.xz")
    report = made(valid, tmp_path / "c", replace(TOKENS, empty_lines="keep"), heldout_texts=[test]).report
    assert (report.train_targets, report.heldout_targets) == (217_646, 245_569)
    assert isinstance(report, PrepareReport)
    skipped = made(valid, tmp_path / "d", TOKENS, heldout_texts=[test]).report
    lines = test.read_text(encoding="utf-8").split("\n")[:-1]
    assert skipped.heldout_sentences == sum(bool(line.strip()) for line in lines) < len(lines)
