"""Probes and tagger on tasks that are known to be solvable; tables worked out by hand; one run from files to JSON."""

from __future__ import annotations

import json
import runpy
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import HIGHWAY2

pytest.importorskip("sklearn", reason="the quality suite needs benchmarks/requirements-quality.txt")

from quality import metrics, probes, report, tables, tagger
from quality.cache import TokenVectors
from quality.contexts import WINDOWS
from quality.metrics import marks, paired_difference

REPOSITORY = Path(__file__).resolve().parent.parent.parent
Put = Callable[[str, str], None]

# --- probes and tagger


def test_a_window_holds_the_neighbours_within_the_sentence() -> None:
    vectors = TokenVectors(np.arange(1, 6, dtype=np.float32).reshape(5, 1, 1), np.asarray([0, 3, 5]))
    assert probes.windows(vectors, 2).tolist() == [
        [0, 0, 1, 2, 3], [0, 1, 2, 3, 0], [1, 2, 3, 0, 0], [0, 0, 4, 5, 0], [0, 4, 5, 0, 0],
    ]  # fmt: skip


def test_a_probe_does_not_depend_on_the_scale_of_its_features() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    labels = ["yes" if row[0] + 0.5 * row[1] > 0 else "no" for row in rows]
    scale = np.asarray([1, 1000, 0.01, 7], dtype=np.float32)
    found = []
    for factor in (np.ones(4, dtype=np.float32), scale):
        train, dev = (probes.Examples(rows[part] * factor, labels[part]) for part in (slice(0, 200), slice(200, 300)))
        probe, share = probes.Probe.fitted(train, dev)
        assert probe.accuracy(dev) == share > 0.9
        found.append(probe.labels(dev.rows))
    assert found[0] == found[1]


def part(rows: np.ndarray, tags: list[tuple[str, ...]], names: list[str]) -> tagger.Part:
    starts = np.concatenate([[0], np.cumsum([len(each) for each in tags])])
    ids = np.asarray([names.index(tag) for each in tags for tag in each])
    return tagger.Part(TokenVectors(rows, starts), tags, ids)


def neighbour_task(n: int, seed: int) -> tagger.Part:
    """A word's tag is the sign of the first feature, in layer 1 only, of the word before it."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 7, n)
    rows = rng.normal(size=(int(lengths.sum()), 2, 3)).astype(np.float32)
    tags = []
    at = 0
    for length in lengths:
        signs = ["+" if value > 0 else "-" for value in rows[at : at + length, 1, 0]]
        tags.append(("+", *signs[:-1]))
        at += length
    return part(rows, tags, ["+", "-"])


def test_the_tagger_reads_neighbours_and_its_mix_finds_the_layer_that_knows() -> None:
    config = tagger.TaggerConfig(cells=12, dropout=0.0, learning_rate=0.02, max_epochs=12)
    train, dev = neighbour_task(200, 0), neighbour_task(60, 1)
    trained = tagger.train(train, dev, ["+", "-"], metrics.accuracy, config, seed=0)
    assert metrics.accuracy(dev.tags, trained.tag(dev)) > 0.9
    weights = trained.tagger.mix.weights().tolist()
    assert weights[1] > weights[0]
    # Padding: a sentence alone gets the tags that it gets in a batch.
    assert trained.tag(dev, batch_sentences=1) == trained.tag(dev, batch_sentences=60)


def test_the_scale_of_the_vectors_does_not_change_the_tagger() -> None:
    config = tagger.TaggerConfig(cells=4, max_epochs=2)
    found = []
    for factor in (1.0, 64.0):
        train = neighbour_task(30, 0)
        scaled = part(train.vectors.rows * np.float32(factor), list(train.tags), ["+", "-"])
        trained = tagger.train(scaled, scaled, ["+", "-"], metrics.accuracy, config, seed=3)
        found.append(trained.tagger.state_dict())
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=1e-5), name


# --- tables


def row(
    vectors: str, metric: str, value: float, view: str = "", chosen: bool = True, facts: dict[str, str] | None = None
) -> dict[str, object]:
    return {
        "data": "toy", "vectors": vectors, "view": view, "metric": metric, "value": value, "values": [], "n": 10,
        "interval": None, "deviation": 0.01, "chosen": chosen, "facts": facts or {},
    }  # fmt: skip


def test_the_tables_show_error_reduction_and_loss_as_worked_out_by_hand() -> None:
    scores = [
        row("elmo", "accuracy", 0.95), row("w2v", "accuracy", 0.90), row("ft", "accuracy", 0.92),
        row("elmo", "accuracy, damaged words", 0.85), row("w2v", "accuracy, damaged words", 0.70),
        row("ft", "accuracy, damaged words", 0.84),
    ]  # fmt: skip
    layers = [row("elmo", "accuracy", 0.5 + n / 10, f"layer {n}", chosen=n == 1) for n in range(3)]
    report = {
        "command": "python", "tasks": {"taggers": {"data": {}, "scores": scores},
                                       "tag_probes": {"data": {}, "scores": layers}},
        "vectors": [{"name": "elmo", "kind": "contextual", "subwords": True},
                    {"name": "w2v", "kind": "static", "subwords": False},
                    {"name": "ft", "kind": "static", "subwords": True}],
    }  # fmt: skip
    # 8 % of fastText's words are wrong and 5 % of ELMo's; ELMo loses 10 points where word2vec loses 20.
    assert tables.error_reductions(report, "elmo", ["w2v", "ft"]) == {"toy": ("ft", pytest.approx(0.375))}
    assert tables.losses_of_accuracy(report, "elmo", ["w2v"]) == {
        "BiLSTM tagger, toy": (pytest.approx(0.5), pytest.approx(0.5))
    }
    assert tables.above_static(report, "elmo", ["w2v", "ft"]) == (["BiLSTM tagger (toy)"], [])
    assert tables.above_static(report, "w2v", ["ft"]) == ([], ["BiLSTM tagger (toy): -2.0 against ft"])
    text = tables.tables(report)
    assert "| BiLSTM tagger | toy | accuracy | **95.0 ± 1.0** | 90.0 ± 1.0 | 92.0 ± 1.0 |" in text
    assert "| linear probe of words | toy | accuracy | 50.0 ± 1.0 | 60.0 ± 1.0 | **70.0 ± 1.0** |" in text
    assert "| BiLSTM tagger | toy | accuracy | -10.0 (85.0) | -20.0 (70.0) | -8.0 (84.0) |" in text
    assert "| the mean of these | 20 % or more | 37.5 % |" in text


def test_a_difference_is_of_the_same_items() -> None:
    """Of 100 items both have 80; each has ten that the other lacks, or none."""
    first, same = "1" * 80 + "0" * 20, "1" * 80 + "0" * 20
    apart = "0" * 10 + "1" * 80 + "0" * 10
    assert paired_difference(first, same) == (0, 0, 0)
    middle, low, high = paired_difference(first, apart)
    # Twenty items differ: the standard error is sqrt(0.2 / 100).
    assert (middle, low, high) == (0, pytest.approx(-1.96 * 0.0447, abs=0.015), pytest.approx(1.96 * 0.0447, abs=0.015))
    assert marks(np.asarray([True, False, True])) == "101"
    report = {
        "tasks": {"wic": {"scores": [
            row("elmo", "accuracy", 0.8, facts={"right": first}), row("w2v", "accuracy", 0.9, facts={"right": apart})
        ]}}
    }  # fmt: skip
    assert "-10.0 against w2v (95 % of the difference: -" in tables.above_static(report, "elmo", ["w2v"])[1][0]


# --- the whole


def wic_line(label: str, first: str, second: str) -> str:
    places = [text.split().index("bank") for text in (first, second)]
    return json.dumps({"word": "bank", "i1": places[0], "i2": places[1], "sentence1": first, "sentence2": second,
                       "label": label})  # fmt: skip


def test_a_run_writes_its_results_and_a_resumed_one_leaves_them_alone(
    shared: Path, put: Put, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [wic_line("T", "The bank raised its rates", "its bank rates"), wic_line("F", "river bank", "bank its .")]
    for split in ("train", "dev", "test"):
        put(f"tasks/similarity_in_context/wic/{split}.jsonl.xz", "\n".join(lines) + "\n")
    (shared / "v.txt").write_text("bank 1 0\nriver 0 1\n", encoding="utf-8")
    out = shared / "results" / "quality.json"
    command = [
        "quality.py", "--model", str(HIGHWAY2), "--static", f"toy={shared / 'v.txt'}", "--tasks", "wic",
        "--cache", str(shared / "cache"), "--out", str(out),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    main = runpy.run_path(str(REPOSITORY / "benchmarks" / "quality.py"))["main"]
    main()
    report = json.loads(out.read_text(encoding="utf-8"))
    assert [about["name"] for about in report["vectors"]] == ["highway2", "toy"]
    scores = report["tasks"]["wic"]["scores"]
    layers = {"layer 0", "layer 1", "layer 2"}
    assert {score["view"] for score in scores if score["vectors"] == "highway2"} == {
        *layers, "average", "learned mix", "layer 1, words beside", "layer 2, words beside",
        *(f"{layer}{window}" for layer in layers for window in WINDOWS),
    }  # fmt: skip
    assert Counter(score["vectors"] for score in scores if score["chosen"]) == {"highway2": 1, "toy": 1}
    assert set(scores[0]) == {
        "data", "vectors", "view", "metric", "value", "values", "interval", "n", "chosen", "facts", "deviation"
    }  # fmt: skip
    assert "word in context" in capsys.readouterr().out

    facts = {"similarity": {"simlex": {"spearman": 0.3, "pairs": 999, "coverage": 0.9}}, "analogy": {}}
    (shared / "words.json").write_text(json.dumps(facts), encoding="utf-8")
    report["tasks"]["wic"]["seconds"] = -1  # what a second measurement could not give
    out.write_text(json.dumps(report), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [*command, "--resume", "--words", f"toy={shared / 'words.json'}"])
    main()
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["tasks"]["wic"]["seconds"] == -1
    (joined,) = report["tasks"]["words"]["scores"]
    assert (joined["vectors"], joined["data"], joined["metric"], joined["value"]) == ("toy", "simlex", "Spearman", 0.3)
    monkeypatch.setattr(sys, "argv", [*command, "--resume", "--seeds", "9"])
    with pytest.raises(SystemExit, match="other options"):
        main()


def test_runs_beside_each_other_are_joined_and_others_refused(tmp_path: Path) -> None:
    def saved(name: str, tasks: dict[str, list[str]], seeds: int = 3, value: float = 0.5, data: int = 9) -> Path:
        made = {
            "command": name, "options": {"seeds": seeds}, "upper_mark": "left out",
            "vectors": [{"name": vectors, "of": name} for vectors in {v: 0 for many in tasks.values() for v in many}],
            "tasks": {
                task: {
                    "seconds": 1.5, "cpu_seconds": 1.0, "data": {"n": data},
                    "scores": [{"vectors": each, "value": value} for each in (*vectors, "bag of words")],
                }
                for task, vectors in tasks.items()
            },
        }  # fmt: skip
        report.write(made, tmp_path / name)
        return tmp_path / name

    first, second = (
        saved("first", {"taggers": ["elmo"], "wic": ["elmo"]}),
        saved("second", {"wic": ["w2v"], "sts": ["w2v"]}),
    )
    found = report.joined([first, second], ["wic", "sts", "taggers", "words"])
    assert (found["command"], list(found["tasks"])) == ("first && second", ["wic", "sts", "taggers"])
    assert [about["name"] for about in found["vectors"]] == ["elmo", "w2v"]
    assert [score["vectors"] for score in found["tasks"]["wic"]["scores"]] == ["elmo", "bag of words", "w2v"]
    assert found["tasks"]["wic"]["seconds"] == 3.0
    with pytest.raises(SystemExit, match="third was made with other options than"):
        report.joined([first, saved("third", {"scws": []}, seeds=1)], [])
    with pytest.raises(SystemExit, match="fourth, wic: a report before has other figures of bag of words"):
        report.joined([first, saved("fourth", {"wic": ["glove"]}, value=0.6)], [])
    with pytest.raises(SystemExit, match="fifth, wic: measured on other data"):
        report.joined([first, saved("fifth", {"wic": ["glove"]}, data=8)], [])
    with pytest.raises(SystemExit, match="different vectors of one name: elmo"):
        report.joined([first, saved("sixth", {"sts": ["elmo"]})], [])
