"""A task's folder: everything comes back, nothing half-written stays, other vectors are refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import HIGHWAY2

from polyseme.errors import DamagedModelError, OptionError, OutputError, UnknownFormatError, UnsupportedModelError
from polyseme.static.files import write_vectors
from polyseme.static.vectors import StaticVectors
from polyseme.tasks import classify, folder, tag
from polyseme.tasks.classify import Classifier, Reading
from polyseme.tasks.conll import Tagged, TaggedData
from polyseme.tasks.data import Place, Text
from polyseme.tasks.features import Features, open_features
from polyseme.tasks.heads import HeadConfig
from polyseme.tasks.loop import LoopConfig
from polyseme.tasks.tag import TagConfig, Tagger

TEXTS = [Text((words,), (label,), Place("a", 1)) for words, label in [("The bank raised", "x"), ("rates fell", "y")]]
PAIRS = [replace(text, texts=(text.texts[0], "its rates")) for text in TEXTS]
TAGS = TaggedData((Tagged(("The", "bank"), ("O", "B-X"), "a", (1, 2)),) * 2, "bio")
ONCE = LoopConfig(max_epochs=1)


@pytest.fixture
def features(tmp_path: Path) -> Features:
    """Both kinds of vectors, at paths that may change."""
    shutil.copytree(HIGHWAY2, tmp_path / "bilm")
    write_vectors(StaticVectors(["bank", "rates"], [[1.0, 2.0], [3.0, 4.0]]), tmp_path / "static")
    return open_features("elmo+glove", model=tmp_path / "bilm", vectors={"glove": tmp_path / "static"}, state="zero")


@pytest.mark.parametrize(
    ("head", "data"), [("attention", TEXTS), ("bcn", TEXTS), ("bcn", PAIRS), ("esim", PAIRS), ("attention", PAIRS)]
)
def test_a_classifier_comes_back_with_the_same_answers(
    awkward_path: Path, features: Features, head: str, data: list[Text]
) -> None:
    config = HeadConfig(head, cells=5, elmo_output=head == "bcn")
    made, _ = classify.fit(data, data, features, Reading("ptb", "1", 7), config, ONCE)
    folder.save(made, awkward_path / "task", report={"dev": 0.5})
    found = folder.open_task(awkward_path / "task")
    assert isinstance(found, Classifier)
    assert (found.labels, found.config, found.reading, found.kind) == (made.labels, config, made.reading, made.kind)
    assert found.predict(data) == made.predict(data)
    assert found.features.sources[0].state == "zero"
    assert folder.read_config(awkward_path / "task")["report"] == {"dev": 0.5}


@pytest.mark.parametrize("elmo_output", [False, True])
def test_a_tagger_comes_back_with_the_same_answers(awkward_path: Path, features: Features, elmo_output: bool) -> None:
    made, _ = tag.fit(TAGS, TAGS, features, TagConfig((4, 3), elmo_output=elmo_output), ONCE)
    folder.save(made, awkward_path / "task")
    found = folder.open_task(awkward_path / "task", kind="tag")
    assert isinstance(found, Tagger)
    sentences = [("The", "bank", "raised", "rates"), (), ("its",)]
    assert found.tag(sentences) == made.tag(sentences)
    assert found.config == made.config
    assert [len(tags) for tags in found.tag(sentences)] == [4, 0, 1]


def saved(path: Path, features: Features) -> Path:
    made, _ = classify.fit(TEXTS, TEXTS, features, Reading("ptb"), HeadConfig(cells=5), ONCE)
    folder.save(made, path)
    return path


def test_other_vectors_are_refused_and_moved_ones_found(tmp_path: Path, features: Features) -> None:
    path = saved(tmp_path / "task", features)
    (tmp_path / "bilm").rename(tmp_path / "moved")
    assert folder.open_task(path, model=tmp_path / "moved")
    write_vectors(StaticVectors(["bank", "rates"], [[1.0, 2.0], [3.0, 5.0]]), tmp_path / "static", overwrite=True)
    with pytest.raises(UnsupportedModelError, match=r"other glove vectors than those at .*--vectors glove=PATH"):
        folder.open_task(path, model=tmp_path / "moved")
    with pytest.raises(UnsupportedModelError, match=r"other elmo vectors .*--model"):
        folder.open_task(path, model=HIGHWAY2.parent / "highway1")


def test_what_is_no_task_or_damaged_or_in_the_way_is_named(tmp_path: Path, features: Features) -> None:
    path = saved(tmp_path / "task", features)
    before = sorted(each.name for each in tmp_path.iterdir())
    with pytest.raises(OutputError, match=r"task exists already; .*--overwrite"):
        saved(path, features)
    with pytest.raises(OutputError, match="is no part of a task"):
        folder.refuse_existing(tmp_path / "bilm", overwrite=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == before
    with pytest.raises(OptionError, match=r"holds a task of the kind 'classify'"):
        folder.open_task(path, kind="tag")
    with pytest.raises(UnknownFormatError, match=r"no folder of a task"):
        folder.open_task(tmp_path / "nothing")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    for change, error in [({"labels": ["x"]}, DamagedModelError), ({"version": 9}, UnsupportedModelError)]:
        (path / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
        with pytest.raises(error, match="task"):
            folder.open_task(path)
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(DamagedModelError, match=r"task: damaged .*fit again$"):
        folder.open_task(path)
