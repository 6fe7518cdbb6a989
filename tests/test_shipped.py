"""The models in the package: sound, small, what their cards say, and able to tell senses apart."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

import pytest
from safetensors import safe_open
from shared_data import shared_folder

import polyseme
from polyseme import fetch
from polyseme.formats.folder import open_model
from polyseme.insight.bundle import read_bundle
from polyseme.insight.senses import together
from polyseme.insight.tour import Tour
from polyseme.lm.network import load
from polyseme.lm.perplexity import evaluate
from polyseme.text.tokenize import tokenizer_for
from polyseme.verify import verify

PRETRAIN = shared_folder() / "data" / "pretrain"
MEGABYTES = {"en-small": 20, "zh-small": 12}
WORDS = {"en-small": 30_000, "zh-small": 4_000}
# The smallest held-out genre of each, as the card names it: its perplexity is computed again.
SMALLEST = {"en-small": ("dialogue_taskmaster", "en"), "zh-small": ("zh_tech_docs", "zh")}
each = pytest.mark.parametrize("name", sorted(MEGABYTES))


def card(name: str) -> str:
    return (fetch.shipped()[name] / "README.md").read_text(encoding="utf-8")


@each
def test_a_model_is_small_and_stored_in_eight_bits(name: str) -> None:
    folder = fetch.shipped()[name]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MEGABYTES[name] * 1_000_000
    with safe_open(folder / "model.safetensors", framework="np") as opened:
        softmax = opened.get_slice("softmax.weight")
        assert (softmax.get_dtype(), softmax.get_shape()[0] >= WORDS[name]) == ("I8", True)


@each
def test_a_model_is_sound_and_gives_the_vectors_of_the_machine_that_made_it(name: str) -> None:
    folder = fetch.shipped()[name]
    checks = list(verify(open_model(folder), folder))
    assert {check.name for check in checks if check.passed} >= {"weights", "reference"}
    assert [check for check in checks if check.passed is False] == []


@each
def test_contexts_of_one_sense_are_closer_than_spelling_says(name: str) -> None:
    """In layer 0 the occurrences of a word are all alike: each triple is a tie, half in order."""
    language = name[:2]
    tokenizer, bundle = tokenizer_for(language), read_bundle(language)
    tour = Tour(polyseme.load(name), bundle, tokenizer.sentences)
    measured = [tour.senses(word).separation for word in bundle.words]
    share = together(measured).ordered_share
    assert share is not None
    assert share > 0.55
    assert sum(found.closer for found in measured) >= 0.75 * len(measured)


@each
def test_a_card_names_every_text_and_its_licence(name: str) -> None:
    said = card(name)
    assert "license: cc-by-sa-4.0" in said
    assert polyseme.load(name).model.card.licence == "CC BY-SA 4.0"
    if (PRETRAIN / "OPEN.txt").is_file():
        files = (PRETRAIN / "OPEN.txt").read_text(encoding="utf-8").split()
        genres = {Path(file).name.partition(".")[0] for file in files if file.startswith(f"{name[:2]}/")}
        assert {genre for genre in genres if f"`{genre}`" not in said} == set()


@each
def test_a_perplexity_of_the_card_is_measured_again(name: str) -> None:
    genre, language = SMALLEST[name]
    file = PRETRAIN / language / f"{genre}.heldout.txt.xz"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    (said,) = re.findall(rf"^\| `{genre}` \|.*\| ([\d.,]+) \|$", card(name), re.M)
    tokenizer = tokenizer_for(language)
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        sentences = [sentence.tokens for line in lines if line.strip() for sentence in tokenizer.sentences(line)]
    found = evaluate(load(fetch.shipped()[name]), sentences).perplexity.mean
    assert found == pytest.approx(float(said.replace(",", "")), rel=0.005)
