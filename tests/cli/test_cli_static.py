"""`polyseme static ...`: the verbs end to end, on a small text and a tiny model."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from polyseme.cli.main import app
from polyseme.embedder import load
from polyseme.static.bow import BagOfWords
from polyseme.static.files import read_vectors
from polyseme.text.config import TextConfig

DATA = Path(__file__).parents[1] / "data"
MODEL = DATA / "allennlp-char" / "highway2"
QUICK = {
    "word2vec": ["--epochs", "2", "--width", "10"],
    "fasttext": ["--epochs", "2", "--width", "10", "--buckets", "300"],
    "glove": ["--epochs", "2", "--width", "10"],
    "bow": ["--width", "10"],
}
VERBS = {"fit": "TEXT", "neighbours": "WORD", "analogy": "A", "evaluate": "FILE", "average": "TEXT"}
runner = CliRunner()


@pytest.fixture
def text(awkward_path: Path) -> Path:
    return Path(shutil.copy(DATA / "alice.txt", awkward_path / "alice.txt"))


def static(*arguments: object) -> dict[str, Any]:
    """Runs `static ... --json`; the one object on stdout."""
    done = runner.invoke(app, ["static", *map(str, arguments), "--json"])
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


def failed(*arguments: object) -> tuple[int, str]:
    done = runner.invoke(app, ["static", *map(str, arguments)])
    assert "Traceback" not in done.stderr
    return done.exit_code, done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_and_json(verb: str) -> None:
    shown = runner.invoke(app, ["static", verb, "--help"]).stdout
    assert f"polyseme static {verb} " in shown.partition("Example:")[2]
    assert "--json" in shown
    assert VERBS[verb] in shown.partition("Arguments:")[2]


@pytest.mark.parametrize("kind", QUICK)
def test_each_kind_is_trained_and_asked(text: Path, kind: str) -> None:
    out = text.parent / "vectors"
    report = static("fit", kind, text, "-o", out, *QUICK[kind])
    assert (report["kind"], report["width"], report["tokenizer"], report["not_held"]) == (kind, 10, "ptb", [])
    vectors = read_vectors(out)
    assert (len(vectors), vectors.width) == (report["words"], 10)
    assert vectors.words[0] == ","
    assert report["running_words"] > 8000
    assert 0 < report["unknown_share"] < 0.3
    assert report["next"].startswith("polyseme static neighbours ")
    near = static("neighbours", out, "Alice", "the", "--top", 3)
    assert [each["word"] for each in near["neighbours"]["Alice"]] == [
        each.word for each in vectors.neighbours("Alice", 3)
    ]
    assert list(near["neighbours"]) == ["Alice", "the"]
    assert sorted(entry.name for entry in text.parent.iterdir()) == ["alice.txt", "vectors"]
    if kind == "fasttext":
        assert static("neighbours", out, "Alicelike", "--top", 1)["composed"] == ["Alicelike"]
    if kind == "bow":
        assert len(BagOfWords.open(out)) == len(vectors)


def test_a_corpus_is_read_as_it_was_prepared_without_its_held_out_part(text: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    options = ["--lowercase", "--heldout", "0.2", "-o", str(corpus)]
    prepared = runner.invoke(app, ["prepare", str(text), *options, "--json"])
    words = json.loads(prepared.stdout)["train_words"]
    report = static("fit", "glove", corpus, "-o", tmp_path / "v.txt", *QUICK["glove"])
    assert report["running_words"] == words
    assert report["not_held"] == ["how the text was processed"]
    assert "alice" in read_vectors(tmp_path / "v.txt")
    code, said = failed("fit", "glove", corpus, "-o", tmp_path / "w", "--lowercase")
    assert code == 2
    assert "is prepared already, so --lowercase comes too late" in said
    assert "`polyseme static fit --help` lists the options" in said


def test_text_options_reach_the_vectors(text: Path) -> None:
    out = text.parent / "v"
    static("fit", "glove", text, "-o", out, "--lowercase", "--stem", "--lang", "en", *QUICK["glove"])
    vectors = read_vectors(out)
    assert vectors.text.lowercase
    assert vectors.text.stem
    assert vectors.text.languages == ("en",)
    assert static("neighbours", out, "Rabbits")["composed"] == []  # found as "rabbit"


def test_the_reports_for_people(text: Path) -> None:
    out = str(text.parent / "v.txt")
    done = runner.invoke(app, ["static", "fit", "fasttext", str(text), "-o", out, *QUICK["fasttext"]])
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "not held the vectors of n-grams: words outside the list will be unknown" in shown
    assert "of the running words, which are too rare for a vector" in shown
    assert done.stdout.splitlines()[-1].split()[:4] == ["next", "polyseme", "static", "neighbours"]
    assert "preparing the text" in done.stderr
    asked = runner.invoke(app, ["static", "neighbours", out, "Alice", "--top", "2"])
    assert asked.stdout.splitlines()[0] == "Alice"
    assert asked.stdout.splitlines()[1].split()[0] == "1"
    code, said = failed("neighbours", out, "Alicelike")
    assert (code, said.splitlines()[-1].partition(" is none of the ")[0]) == (1, "Error: Alicelike")
    family = runner.invoke(app, ["static", "analogy", out, "he", "she", "his"])
    assert family.stdout.splitlines()[0] == "he : she = his : ?"


def test_files_from_elsewhere_are_asked_and_what_they_held_is_said(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("man 1 0 0\nwoman 0 1 0\nking 1 0 1\nqueen 0 1 1\nking 9 9 9\nNew York 1 1 1\n", encoding="utf-8")
    answers = static("analogy", path, "man", "king", "woman", "--multiply")
    assert answers["answers"][0]["word"] == "queen"
    assert answers["method"] == "multiply"
    assert static("neighbours", path, "New York", "--top", 1)["neighbours"]["New York"][0]["word"] in ("king", "queen")
    done = runner.invoke(app, ["static", "neighbours", str(path), "man", "--first", "3"])
    assert "queen" not in done.stdout
    done = runner.invoke(app, ["static", "neighbours", str(path), "man"])
    assert f"Warning: {os.fsencode(path).decode()}: 1 of 6 words came again" in done.stderr


def test_evaluation_prints_figures_with_their_coverage(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("5 2\nman 1 0\nwoman 0 1\nking 2 1\nqueen 1 2\nboy 3 1\n", encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text(
        "a\tb\tr\nman\tking\t9\nman\twoman\t1\nman\tstone\t5\nKing\tqueen\t6\n", encoding="utf-8"
    )
    (tmp_path / "family.txt").write_text(
        ": family\nman king woman queen\nman king woman boy\nman a b c\n", encoding="utf-8"
    )
    arguments = [tmp_path / "v.txt", tmp_path / "pairs.tsv", tmp_path / "family.txt"]
    report = static("evaluate", *arguments)
    assert report["similarity"]["pairs"] == {
        "spearman": pytest.approx(1.0), "pairs": 4, "answered": 2, "composed": 0, "coverage": 0.5,
    }  # fmt: skip
    family = report["analogy"]["family"]
    assert (family["accuracy"], family["answered"], family["questions"]) == (0.5, 2, 3)
    assert family["sections"]["family"]["coverage"] == pytest.approx(2 / 3)
    assert static("evaluate", *arguments, "--ignore-case")["similarity"]["pairs"]["answered"] == 3
    shown = runner.invoke(app, ["static", "evaluate", *map(str, arguments)]).stdout
    assert "2 of 4 pairs (50%)" in shown
    assert "0.500  2 of 3 (67%)" in shown


def test_a_models_vectors_are_averaged_over_a_text(text: Path) -> None:
    lines = text.read_text(encoding="utf-8").splitlines()[:6]
    text.write_text("\n".join(lines), encoding="utf-8")
    out = text.parent / "elmo.bin"
    report = static("average", text, "--model", MODEL, "-o", out, "--layer", "top", "--min-count", "3")
    assert (report["layer"], report["width"], report["not_held"]) == ("top", 16, [])
    vectors = read_vectors(out)
    embedded = load(MODEL).embed_text("\n".join(lines))
    expected = np.mean(
        [embedding.top()[at] for embedding in embedded for at, word in enumerate(embedding.tokens) if word == "she"],
        axis=0,
    )
    np.testing.assert_allclose(vectors.vector("she"), expected, atol=1e-5)
    assert report["running_words"] == sum(map(len, embedded))
    piped = runner.invoke(
        app,
        [
            "static",
            "average",
            "-",
            "--model",
            str(MODEL),
            "-o",
            str(out),
            "--layer",
            "top",
            "--min-count",
            "3",
            "--overwrite",
        ],
        input=text.read_bytes(),
    )
    assert piped.exit_code == 0, piped.stderr
    again = read_vectors(out)
    assert again.words == vectors.words
    np.testing.assert_array_equal(again.matrix, vectors.matrix)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fit", "word2vec", "TEXT", "-o", "v", "--x-max", "3"], 2, "--x-max is no option of word2vec"),
        (["fit", "glove", "TEXT", "-o", "v", "--cbow"], 2, "--cbow is no option of glove"),
        (["fit", "bow", "TEXT", "-o", "v", "--window", "3"], 2, "--window is no option of bow"),
        (["fit", "glove", "TEXT", "-o", "v.gz"], 2, "written uncompressed"),
        (["fit", "glove", "TEXT", "-o", "v.xyz"], 2, "stands for no format"),
        (["fit", "glove", "TEXT", "-o", "v", "--lang", "klingon"], 2, "'klingon'"),
        (["fit", "glove", "TEXT", "-o", "v", "--min-count", "99999"], 1, "come 99999 times or more"),
        (["fit", "bow", "TEXT", "-o", "v"], 1, "latent dimensions"),
        (["fit", "glove", "missing.txt", "-o", "v"], 1, "no such file"),
        (["fit", "elmo", "TEXT", "-o", "v"], 2, "KIND"),
        (["neighbours", "TEXT", "word"], 1, "is no file of word vectors"),
        (["average", "TEXT", "-o", "v", "--lang", "de"], 2, "no model ships for the language 'de'"),
        (["average", "TEXT", "-o", "v", "-m", "x", "--layer", "last"], 2, "--layer must be"),
        (["average", "TEXT", "-o", "v", "-m", str(MODEL), "--layer", "7"], 2, "layer must be average, top or 0 to 2"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    text: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(text.parent)
    found, said = failed(*[str(text) if each == "TEXT" else each for each in arguments])
    assert (found, message in said) == (code, True), said
    assert [entry.name for entry in text.parent.iterdir()] == ["alice.txt"]


def test_what_is_there_is_not_replaced_unasked(text: Path) -> None:
    out = text.parent / "v.txt"
    out.write_text("mine", encoding="utf-8")
    code, said = failed("fit", "glove", text, "-o", out, *QUICK["glove"])
    assert (code, "--overwrite" in said, out.read_text(encoding="utf-8")) == (1, True, "mine")
    static("fit", "glove", text, "-o", out, *QUICK["glove"], "--overwrite")
    assert read_vectors(out).text == TextConfig()


@pytest.mark.parametrize(("kind", "package"), [("word2vec", "gensim"), ("glove", "numba"), ("bow", "sklearn")])
def test_a_missing_extra_is_said_before_work_starts(
    text: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    code, said = failed("fit", kind, text, "-o", text.parent / "v")
    assert code == 1
    assert said == f'Error: `static fit {kind}` needs an optional dependency: pip install "polyseme[static]"\n'


def test_words_that_the_locale_cannot_decode_are_utf8(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("银行 1 0\n河岸 1 1\n", encoding="utf-8")
    typed = "银行".encode().decode("ascii", "surrogateescape")  # what LC_ALL=C makes of an argument
    assert static("neighbours", path, typed)["neighbours"]["银行"][0]["word"] == "河岸"
