"""Fine-tuning against the plain path: the same vectors before, only what should learn learns, the folder holds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tasks_data import embedder_of_words
from tiny import random_model

from polyseme.embedder import Embedder
from polyseme.errors import OptionError
from polyseme.nn.lstm import LSTMStack
from polyseme.tasks import classify, folder, tag, tune
from polyseme.tasks.classify import Reading, Ready
from polyseme.tasks.conll import Tagged, TaggedData
from polyseme.tasks.data import Place, Text
from polyseme.tasks.features import Features, Source
from polyseme.tasks.heads import HeadConfig
from polyseme.tasks.loop import Group, LoopConfig, train
from polyseme.tasks.tune import FALL, Live, TuneConfig, Tuned

READING = Reading("whitespace")
LOOP = LoopConfig(1e-2, batch_size=4, max_epochs=2, patience=9, halve_after=9)
TEXTS = [
    [("The", "bank", "raised"), ("its", "rates", ".")],
    [("river",)],
    [("We", "sat", "on", "the", "bank", "of", "it")],
]


def contextual(seed: int = 2) -> Source:
    embedder = Embedder(random_model(seed), threads=1)
    return Source("elmo", "somewhere", f"random {seed}", embedder, embedder.n_layers)


def features(seed: int = 2) -> Features:
    return Features([embedder_of_words(), contextual(seed)])


def texts() -> list[Text]:
    rows = [(f"{first} bank {last}", first) for first in ("good", "bad") for last in ("raised", "rates", "river", ".")]
    return [Text((text,), (label,), Place("a.csv", at)) for at, (text, label) in enumerate(rows, 1)]


@pytest.mark.parametrize("state", ["settled", "zero"])
@pytest.mark.parametrize("max_words", [None, 4])
def test_a_bilm_that_has_not_learned_yet_gives_the_vectors_of_the_fast_path(state: str, max_words: int | None) -> None:
    embedder = Embedder(random_model(1), state=state, threads=1)
    sources = Features([embedder_of_words(), Source("elmo", "m", "1", embedder, embedder.n_layers)])
    frozen = sources.vectors(TEXTS, max_words)
    live = Live(frozen, TEXTS, sources)
    assert live.lengths == frozen.lengths
    for rows in ([0, 1, 2], [2], [1, 0]):
        here, there = live.batch(embedder.model.bilm, rows), frozen.batch(rows)
        assert torch.equal(here.mask, there.mask)
        assert torch.equal(here.vectors[0], there.vectors[0])
        # The frozen ones lie in float16.
        torch.testing.assert_close(here.vectors[1], there.vectors[1], rtol=1e-3, atol=1e-4)


def test_layers_begin_from_the_top_and_learn_the_more_slowly_the_lower() -> None:
    bilm = tune.without_softmax(random_model(softmax=True).bilm)
    assert bilm.softmax is None
    network = Tuned(torch.nn.Linear(2, 2), bilm)
    head, top, bottom = tune.groups(network, TuneConfig(learning_rate=0.26, head_rate=0.5))
    assert (head.learning_rate, head.begins) == (0.5, 1)
    assert (top.learning_rate, top.begins) == (0.26, 1)
    assert (bottom.learning_rate, bottom.begins) == (pytest.approx(0.26 / FALL), 2)
    for group, layer in ((top, 1), (bottom, 0)):
        stacks = [bilm.forward_layers, bilm.backward_layers]
        assert all(isinstance(stack, LSTMStack) for stack in stacks)
        own = {id(p) for stack in stacks for p in stack.layers[layer].parameters()}  # type: ignore[union-attr]
        assert {id(p) for p in group.parameters} == own


@pytest.mark.parametrize(("epochs", "changed"), [(1, {"1"}), (2, {"0", "1"})])
def test_only_the_layers_whose_turn_has_come_change(epochs: int, changed: set[str]) -> None:
    some, before = features(), random_model(2).bilm.state_dict()
    ready = Ready.of(texts(), some, READING)
    start, _ = classify.fit_ready(ready, ready, some, READING, HeadConfig(cells=8), LOOP)
    config = TuneConfig(epochs, learning_rate=0.05, head_rate=0.05)
    made, report = tune.tune_classifier(start, ready, ready, config, LOOP)
    assert report.best.dev >= start.evaluate(texts()).accuracy
    embedder = made.features.sources[1].embedder
    assert isinstance(embedder, Embedder)
    after = embedder.model.bilm.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    if report.best.number == epochs:
        assert {name.split(".")[2] for name in moved} == changed
        assert all("_layers.layers." in name for name in moved)
    # What the fast path of the new biLM says is what was measured while it learned.
    assert made.evaluate(texts()).accuracy == pytest.approx(report.best.dev)
    # The old task is as it was.
    assert start.features is some


@pytest.mark.parametrize("state", ["settled", "zero"])
def test_sentences_of_the_tuned_bilm_start_where_they_did(state: str) -> None:
    embedder = Embedder(random_model(2), state=state, threads=1)
    before = Features([Source.of_model("elmo", "m", embedder)])
    made = tune.with_own_bilm(before, tune.without_softmax(embedder.model.bilm))
    assert (made.sources[0].state, made.sources[0].path) == (state, tune.OWN)
    words = ("The", "bank", "raised")
    assert np.array_equal(made.sources[0].embedder.embed([words])[0].layers, embedder.embed([words])[0].layers)


def test_a_network_that_gets_worse_stays_as_it_was() -> None:
    start = torch.nn.Linear(1, 1)
    weight = start.weight.detach().clone()
    made, report = train(
        lambda: start, [1, 1], lambda network, rows: network(torch.ones(len(rows), 1)).sum(),
        lambda network: -abs(float((network.weight - weight).sum())), LoopConfig(0.1, max_epochs=3),
        groups=lambda network: [Group([network.weight], 0.1)],
    )  # fmt: skip
    assert report.best.number == 0
    assert torch.equal(made.weight, weight)


def test_a_tagger_is_tuned_and_measured_by_the_same_figure() -> None:
    sentences = tuple(
        Tagged(("the", word, "left"), ("O", kind, "O"), "a.conll", (1, 2, 3))
        for word, kind in [("Ann", "B-PER"), ("bank", "O"), ("river", "B-LOC")] * 3
    )
    data, some = TaggedData(sentences, "bio"), features(2)
    part = (data, tag.vectors_of(data, some))
    start, _ = tag.fit_ready(part, part, some, tag.TagConfig(cells=(8,)), LOOP)
    made, report = tune.tune_tagger(start, part, part, TuneConfig(3, 0.05, 0.05), LOOP)
    words = [each.words for each in sentences]
    found = made.tag(words)
    assert tag.measured([each.tags for each in sentences], found, has_spans=True) == pytest.approx(report.best.dev)
    with pytest.raises(OptionError, match="no elmo"):
        tune.tunable(Features([embedder_of_words()]))


def test_a_folder_holds_the_bilm_that_was_tuned_for_it(tmp_path: Path) -> None:
    some = Features([contextual(3)])
    ready = Ready.of(texts(), some, READING)
    start, _ = classify.fit_ready(ready, ready, some, READING, HeadConfig(cells=8), LOOP)
    made, _ = tune.tune_classifier(start, ready, ready, TuneConfig(2, 0.05, 0.05), LOOP)
    folder.save(made, tmp_path / "task")
    assert sorted(file.name for file in (tmp_path / "task").iterdir()) == ["bilm", "config.json", "model.safetensors"]
    (tmp_path / "task").rename(tmp_path / "elsewhere")
    opened = folder.open_task(tmp_path / "elsewhere")
    assert isinstance(opened, classify.Classifier)
    before, after = (np.asarray([p.probabilities for p in each.predict(texts())]) for each in (made, opened))
    assert np.abs(before - after).max() < 1e-6
