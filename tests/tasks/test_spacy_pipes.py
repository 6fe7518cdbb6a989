"""Polyseme in spaCy: tokens have the embedder's vectors, one by one or many at a time; tasks set what spaCy knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import spacy
from tiny import HIGHWAY2

from polyseme.embedder import load
from polyseme.errors import UnsupportedModelError
from polyseme.static.files import write_vectors
from polyseme.static.vectors import StaticVectors
from polyseme.tasks import classify, folder, spacy_pipes, tag
from polyseme.tasks.classify import Reading
from polyseme.tasks.conll import Tagged, TaggedData
from polyseme.tasks.data import Place, Text
from polyseme.tasks.features import Features, open_features
from polyseme.tasks.heads import HeadConfig
from polyseme.tasks.loop import LoopConfig
from polyseme.tasks.tag import TagConfig

RAW = ["The bank raised its rates.  We sat on the bank.", "", "The river"]
LOOP = LoopConfig(1e-2, max_epochs=40, patience=40, halve_after=40)


@pytest.fixture
def nlp() -> spacy.language.Language:
    found = spacy.blank("en")
    found.add_pipe("sentencizer")
    return found


@pytest.fixture
def features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Features:
    """One-hot words. Tasks are named from the working folder: spaCy's configuration cannot hold every path."""
    monkeypatch.chdir(tmp_path)
    words = ["Ann", "Bob", "met", "New", "York", "in", ".", "good", "bad"]
    write_vectors(StaticVectors(words, np.eye(len(words))), tmp_path / "words")
    return open_features("words", vectors={"words": tmp_path / "words"})


def test_tokens_have_the_embedders_vectors(nlp: spacy.language.Language) -> None:
    nlp.add_pipe("polyseme_vectors", config={"model": str(HIGHWAY2)})
    embedder = load(HIGHWAY2)
    for doc, raw in zip(nlp.pipe(RAW), RAW, strict=True):
        assert doc.text == raw
        expected = embedder.embed([[token.text for token in words] for words in spacy_pipes.sentences(doc)])
        vectors = [token.vector for token in doc if not token.is_space]
        wanted = [row for each in expected for row in each.average()]
        np.testing.assert_allclose(vectors or np.zeros((0, 1)), wanted or np.zeros((0, 1)), atol=1e-6)
        alone = nlp(raw)
        np.testing.assert_allclose(alone.tensor, doc.tensor, atol=1e-6)
    doc = nlp(RAW[0])
    first, second = (token for token in doc if token.text == "bank")
    cosine = first.vector @ second.vector / np.linalg.norm(first.vector) / np.linalg.norm(second.vector)
    assert first.similarity(second) == pytest.approx(float(cosine), abs=1e-6)
    assert first.similarity(second) < 1
    np.testing.assert_allclose(doc[0:2].vector, doc.tensor[:2].mean(axis=0), atol=1e-6)
    assert not any(token.vector.any() for token in doc if token.is_space)


def test_a_tagger_sets_entities_and_tags(nlp: spacy.language.Language, features: Features, tmp_path: Path) -> None:
    rows = [("Ann met Bob .", "B-P O B-P O"), ("Bob in New York .", "B-P O B-L I-L O")] * 4
    data = TaggedData(tuple(Tagged(tuple(w.split()), tuple(t.split()), "a", (1,) * 9) for w, t in rows), "bio")
    config = TagConfig((16,), 0, 0)
    folder.save(tag.fit(data, data, features, config, LOOP)[0], tmp_path / "spans")
    plain = TaggedData(
        tuple(Tagged(s.words, tuple(t[0] for t in s.tags), "a", s.lines) for s in data.sentences), "plain"
    )
    folder.save(tag.fit(plain, plain, features, config, LOOP)[0], tmp_path / "plain")
    nlp.add_pipe("polyseme_task", config={"task": "spans"})
    nlp.add_pipe("polyseme_task", "tags", config={"task": "plain"})
    (doc, empty) = nlp.pipe(["Ann met Bob. Bob  in New York.", ""])
    assert [(each.text, each.label_) for each in doc.ents] == [
        ("Ann", "P"),
        ("Bob", "P"),
        ("Bob", "P"),
        ("New York", "L"),
    ]
    assert "".join(token.tag_ for token in doc if not token.is_space) == "BOBOBOBIO"
    assert len(empty.ents) == 0


def test_a_classifier_sets_probabilities(nlp: spacy.language.Language, features: Features, tmp_path: Path) -> None:
    texts = [Text((words,), (label,), Place("a", 1)) for words, label in [("Ann good", "yes"), ("Bob bad", "no")] * 3]
    found, _ = classify.fit(texts, texts, features, Reading("ptb"), HeadConfig(cells=16, dropout=0), LOOP)
    folder.save(found, tmp_path / "task")
    nlp.add_pipe("polyseme_task", config={"task": "task"})
    good, empty, bad = nlp.pipe(["Ann good", "", "Bob bad"])
    assert good.cats["yes"] > 0.5 > bad.cats["yes"]
    assert empty.cats == {}
    (prediction,) = found.predict(texts[:1])
    assert good.cats == pytest.approx(dict(zip(found.labels, prediction.probabilities, strict=True)), abs=1e-5)


def test_a_task_of_pairs_is_refused(nlp: spacy.language.Language, features: Features, tmp_path: Path) -> None:
    pairs = [Text(("Ann", words), (label,), Place("a", 1)) for words, label in [("good", "yes"), ("bad", "no")]]
    found, _ = classify.fit(pairs, pairs, features, Reading("ptb"), HeadConfig(cells=4), LoopConfig(max_epochs=1))
    folder.save(found, tmp_path / "task")
    with pytest.raises(UnsupportedModelError, match="pairs of texts"):
        nlp.add_pipe("polyseme_task", config={"task": "task"})
