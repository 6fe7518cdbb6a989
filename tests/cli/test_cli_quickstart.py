"""`polyseme quickstart` and `polyseme models`: what they print is what the library computes."""

from __future__ import annotations

import json
import os
import re
import shutil
from inspect import signature
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from polyseme import fetch
from polyseme.cli.main import app
from polyseme.cli.quickstart import quickstart
from polyseme.embedder import load
from polyseme.insight.bundle import read_bundle
from polyseme.insight.contexts import LAYER, MOST
from polyseme.insight.senses import together
from polyseme.insight.tour import Tour

DATA = Path(__file__).parents[1] / "data"
MODEL = str(DATA / "tensorflow" / "highway")
TRANSFORMER = str(DATA / "transformer" / "after_cnn")
NO_SOFTMAX = str(DATA / "allennlp-char" / "highway2")
runner = CliRunner()


def printed(path: Path) -> str:
    """A path as it is printed: UTF-8, also where the locale could not decode it."""
    return os.fsencode(path).decode()


def run(*arguments: object, input: str | None = None) -> str:
    done = runner.invoke(app, [*map(str, arguments)], input=input)
    assert done.exit_code == 0, done.output
    return done.stdout


def found(*arguments: object, input: str | None = None) -> dict[str, Any]:
    (line,) = run(*arguments, "--json", input=input).splitlines()
    value: dict[str, Any] = json.loads(line)
    return value


def refused(code: int, *arguments: object) -> str:
    done = runner.invoke(app, [*map(str, arguments)])
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSEME_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(fetch, "MODELS", tmp_path / "models")


@pytest.fixture
def text(awkward_path: Path) -> Path:
    """`bank` in two kinds of sentences, 15 times; `river` 15 times; 60 sentences in all."""
    file = awkward_path / "my text.txt"
    lines = [
        *(f"The bank lent {name} a sum of money." for name in "abcdefghijklmno"),
        *(f"We saw {name} <b>swim</b> in the river." for name in "abcdefghijklmno"),
        *(f"{name.upper()} is & was here." for name in "abcdefghijklmnopqrstuvwxyzabcd"),
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


# --- the bundled text


@pytest.mark.slow
def test_the_four_views_are_what_the_library_computes() -> None:
    facts = found("quickstart", "--model", MODEL, "--layer", "1")
    embedder, bundle = load(MODEL), read_bundle("en")
    tour = Tour(embedder, bundle, lambda raw: embedder.sentences(raw, language="en"), layer="1")
    senses = [tour.senses(word) for word in bundle.words]
    total = together(each.separation for each in senses)
    assert facts["senses"]["same_sense"] == pytest.approx(total.same, abs=1e-6)
    assert facts["senses"]["ordered_share"] == pytest.approx(total.ordered_share, abs=1e-3)
    assert [each["word"] for each in facts["senses"]["words"]] == list(bundle.words)
    assert facts["vectors"]["shapes"][0] == [3, 10, embedder.width]
    assert len(facts["nearest"]) == 6
    assert len(facts["next_words"]) == len(bundle.gaps)
    assert (facts["next_words_left_out"], facts["wrote"], facts["layer"]) == (None, [], "1")
    assert len(facts["next"]) == 3


def test_one_word_of_the_bundled_text_is_shown_and_judged_by_its_figures() -> None:
    shown = run("quickstart", "--model", MODEL, "--word", "play")
    facts = found("quickstart", "--model", MODEL, "--word", "play")
    (word,) = facts["senses"]["words"]
    assert (word["word"], len(word["contexts"]), word["left_out"]) == ("play", 16, 0)
    share = f"{word['ordered_share']:.0%}"
    assert re.search(rf"^   play +{word['same_sense']:.2f} +{word['different_sense']:.2f} +{share}$", shown, re.M)
    verdict = "are closer" if word["same_sense"] > word["different_sense"] else "are NOT closer"
    assert f"Contexts of the same sense {verdict}" in shown
    assert "play: A a piece for the theatre; B to take part in a game" in shown
    for heading in ("1. Every word", "2. One spelling", "3. The nearest", "4. The words that fit", "Where to go next"):
        assert heading in shown
    assert "____" in shown
    assert max(map(len, shown.splitlines())) <= 130


def test_the_spelling_alone_tells_no_senses_apart_and_it_is_said() -> None:
    shown = run("quickstart", "--model", MODEL, "--word", "bank", "--layer", "0")
    assert "Contexts of the same sense are NOT closer" in shown
    assert "50% of 896 triples" in shown


def test_a_model_without_a_softmax_leaves_the_fourth_view_out_and_says_why() -> None:
    facts = found("quickstart", "--model", NO_SOFTMAX, "--word", "bank")
    assert facts["next_words"] is None
    assert "softmax" in facts["next_words_left_out"]
    shown = run("quickstart", "--model", NO_SOFTMAX, "--word", "bank")
    assert "   left out: " in shown
    assert facts["next_words_left_out"].splitlines()[0] in shown


def test_chinese_words_and_a_page_of_the_bundled_text(awkward_path: Path) -> None:
    page = awkward_path / os.fsdecode("页.html".encode())
    facts = found("quickstart", "--model", MODEL, "--lang", "zh", "--word", "打", "--word", "意思", "-o", page)
    assert [each["word"] for each in facts["senses"]["words"]] == ["打", "意思"]
    assert facts["senses"]["words"][0]["meanings"] == ["用手或工具击", "玩球或玩牌"]
    assert facts["wrote"] == [printed(page)]
    html = page.read_text(encoding="utf-8")
    root = ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))
    assert [each.findtext("h2/bdi") for each in root.iter("section")][:2] == ["打", "意思"]
    assert 'lang="zh"' in html


def test_what_quickstart_cannot_do_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "MODELS", tmp_path / "none")
        assert "no model ships" in refused(2, "quickstart")
    assert "in en and zh, not in 'de'" in refused(2, "quickstart", "--model", MODEL, "--lang", "de")
    assert "marks no senses of 'tree'" in refused(2, "quickstart", "--model", MODEL, "--word", "tree")
    assert "give it with --text" in refused(2, "quickstart", "--model", MODEL, "--tokenized")
    assert "top, average or a number from 0 to 2" in refused(2, "quickstart", "--model", MODEL, "--layer", "7")
    taken = tmp_path / "taken.html"
    taken.touch()
    assert "--overwrite" in refused(1, "quickstart", "--model", MODEL, "-o", taken)


def test_the_options_of_the_verb_have_the_librarys_defaults() -> None:
    parameters = signature(quickstart).parameters
    assert (parameters["layer"].default, parameters["contexts"].default) == (LAYER, MOST)


# --- one's own text


def test_a_page_of_ones_own_text(text: Path, awkward_path: Path) -> None:
    page = awkward_path / "page.html"
    facts = found("quickstart", "--model", MODEL, "--text", text, "--word", "Bank", "-o", page)
    (word,) = facts["words"]
    assert (word["word"], word["count"], word["contexts"]) == ("Bank", 15, 15)
    assert (facts["sentences"], facts["tokenizer"], facts["language"], facts["proposals"]) == (60, "ptb", "en", None)
    assert facts["bytes"] == page.stat().st_size
    html = page.read_text(encoding="utf-8")
    assert "<b>swim" not in html
    assert len(re.findall("<li data-context=", html)) == 15
    again = found("quickstart", "--model", MODEL, "--text", text, "--word", "Bank", "-o", page, "--overwrite")
    assert again == facts
    assert page.read_text(encoding="utf-8") == html


def test_words_are_proposed_where_none_is_given(text: Path, awkward_path: Path) -> None:
    page = awkward_path / "page.html"
    facts = found("quickstart", "--model", MODEL, "--text", text, "-o", page)
    names = [each["word"] for each in facts["proposals"]["words"]]
    assert {"bank", "river"} <= set(names)
    assert "the" not in names
    assert [each["word"] for each in facts["words"]] == names[:6]
    assert [each["count"] for each in facts["words"] if each["word"] == "bank"] == [15]
    assert "The most varied frequent words" in page.read_text(encoding="utf-8")
    shown = run("quickstart", "--model", MODEL, "--text", text, "-o", page, "--overwrite")
    assert "15 of 15 places" in shown
    assert shown.splitlines()[-1].startswith("next")
    piped = found(
        "quickstart", "--model", MODEL, "--text", "-", "-o", page, "--overwrite", input=text.read_text(encoding="utf-8")
    )
    assert piped["words"] == facts["words"]


def test_the_contexts_of_a_word_are_capped_and_the_sample_is_the_seeds(text: Path, awkward_path: Path) -> None:
    page = awkward_path / "page.html"
    arguments = ["quickstart", "--model", MODEL, "--text", text, "--word", "bank", "--contexts", "5", "--overwrite"]
    (word,) = found(*arguments, "-o", page)["words"]
    assert (word["count"], word["contexts"]) == (15, 5)
    html = page.read_text(encoding="utf-8")
    assert "15 places in the text, 5 of them shown: at most 5 drawn at random (seed 1)" in html
    found(*arguments, "-o", page, "--seed", "2")
    assert page.read_text(encoding="utf-8") != html


def test_a_long_text_is_sampled_for_the_proposals_and_read_again_for_the_contexts(awkward_path: Path) -> None:
    file, page = awkward_path / "long.txt", awkward_path / "page.html"
    file.write_text("".join(f"spring w{number}\n" for number in range(3_200)), encoding="utf-8")
    facts = found("quickstart", "--model", MODEL, "--text", file, "--tokenized", "--contexts", "20", "-o", page)
    (word,) = facts["words"]
    assert (word["word"], word["count"], word["contexts"]) == ("spring", 3_200, 20)
    assert "words proposed from 3,000 sentences drawn at random (seed 1)" in page.read_text(encoding="utf-8")


def test_a_word_that_comes_once_or_not_at_all(text: Path, awkward_path: Path) -> None:
    page = awkward_path / "page.html"
    run("quickstart", "--model", MODEL, "--text", text, "--word", "q", "-o", page)
    assert "One place in the text. With a single context there is nothing to compare." in page.read_text("utf-8")
    problem = refused(1, "quickstart", "--model", MODEL, "--text", text, "--word", "bnk", "-o", page, "--overwrite")
    assert "'bnk' is not among the" in problem
    assert "bank" in problem
    assert "One place" in page.read_text("utf-8")  # nothing was replaced


def test_sentences_beyond_a_transformers_context_are_left_out_and_said(awkward_path: Path) -> None:
    file, page = awkward_path / "long.txt", awkward_path / "page.html"
    file.write_text("The bank failed.\n" + "a bank " * 300 + ".\n", encoding="utf-8")
    facts = found("quickstart", "--model", TRANSFORMER, "--text", file, "--word", "bank", "-o", page)
    assert facts["words"][0]["count"] == 1
    assert re.fullmatch(r"1 sentence of more than \d+ words left out", facts["warnings"][0])
    assert facts["warnings"][0] in page.read_text(encoding="utf-8")
    problem = refused(1, "quickstart", "--model", TRANSFORMER, "--text", file, "--word", "a", "-o", page, "--overwrite")
    assert "too long (there: 1) was left out" in problem


def test_bad_text_is_refused_before_anything_is_written(awkward_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(awkward_path)
    empty, latin = Path("empty.txt"), Path("latin.txt")
    empty.touch()
    latin.write_bytes("déjà vu, café au lait\n".encode("cp1252"))
    few = Path("few.txt")
    few.write_text("Too short.\n", encoding="utf-8")
    assert "no text in" in refused(1, "quickstart", "--model", MODEL, "--text", empty)
    assert "nothing.txt" in refused(1, "quickstart", "--model", MODEL, "--text", "nothing.txt")
    assert "give a longer text" in refused(1, "quickstart", "--model", MODEL, "--text", few)
    assert "--encoding cp1252" in refused(1, "quickstart", "--model", MODEL, "--text", latin)
    assert not Path("contexts.html").exists()


# --- models


def test_models_lists_what_is_known_and_what_lies_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MODELS", tmp_path / "none")
    facts = found("models")
    assert facts["shipped"] == facts["downloaded"] == []
    assert [each["name"] for each in facts["published"]] == list(fetch.PUBLISHED)
    small = facts["published"][0]
    assert (small["languages"], small["bytes"], small["downloaded"]) == (["en"], 54_400_000, False)
    shown = run("models")
    assert "no model ships" in shown
    assert "about 374.4 MB; en; PubMed; licence not stated" in shown
    assert shown.splitlines()[-1].startswith("next  polyseme info")


def test_models_names_downloads_and_whether_they_are_whole() -> None:
    options, weights = (path.rpartition("/")[2] for path in fetch.PUBLISHED["elmo-small"])
    folder = fetch.home() / "elmo-small"
    folder.mkdir(parents=True)
    (folder / options).write_bytes(b"{}")
    (folder / f"{weights}.part").write_bytes(bytes(100))
    (folder / f"{weights}.lock").write_bytes(bytes(7))
    (fetch.home() / "hub" / "org" / "name").mkdir(parents=True)
    (fetch.home() / "downloads" / "0123").mkdir(parents=True)
    (fetch.home() / "downloads" / "0123" / "model.zip").write_bytes(bytes(3))
    here = found("models")["downloaded"]
    assert [(each["source"], each["bytes"], each["complete"]) for each in here] == [
        ("elmo-small", 102, False),
        (printed(fetch.home() / "downloads" / "0123" / "model.zip"), 3, True),
        ("org/name", 0, True),
    ]
    assert "not complete" in run("models")
    (folder / f"{weights}.part").rename(folder / weights)
    assert found("models")["published"][0]["downloaded"] is True
    assert found("models")["next"] == "polyseme info elmo-small"


def test_a_model_that_ships_is_listed_opened_by_its_name_and_taken_by_default(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "en-small"
    run("convert", MODEL, folder)
    shutil.copytree(folder, tmp_path / "models" / "half")
    (tmp_path / "models" / "half" / "config.json").unlink()  # no model
    (shipped,) = found("models")["shipped"]
    assert (shipped["name"], shipped["path"], shipped["licence"]) == ("en-small", printed(folder), "not stated")
    assert shipped["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    assert found("models")["next"] == "polyseme info en-small"
    assert found("info", "en-small")["model"] == printed(folder)
    facts = found("quickstart", "--word", "bank")
    assert facts["model"] == "en-small"
    assert facts["next"][1].endswith("--model en-small")
    assert "no model ships for the language 'zh' (en-small do" in refused(2, "quickstart", "--lang", "zh")
