"""`polyseme task fit`: labelled examples in, a folder that labels out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.cli import options as opt
from polyseme.cli import task_options as top
from polyseme.cli.language_model import retry_with_this_command
from polyseme.cli.output import Meter, again, counted, emit, quoted, say, table, warn
from polyseme.cli.task_data import (
    Labelled,
    cache_folder,
    label_facts,
    model_for,
    refuse_foreign,
    score_rows,
    some,
    tag_facts,
    text_columns,
    tokenizer_name,
    vector_files,
)
from polyseme.errors import DecodeError, OptionError

if TYPE_CHECKING:
    from polyseme.tasks.features import Features
    from polyseme.tasks.folder import Task
    from polyseme.tasks.loop import Epoch, LoopConfig, LoopReport
    from polyseme.tasks.tune import TuneConfig

EXAMPLE = (
    "\b\nExample:\n  polyseme task fit classify reviews.csv -o reviews --model my-elmo --text-column review\n"
    "  polyseme task fit tag train.conll --dev dev.conll -o entities --model my-elmo"
)


@dataclass
class _Run:
    """What stays the same while one kind of task is fitted."""

    kind: str
    data: Labelled
    test: list[str] | None
    loop: LoopConfig
    seeds: tuple[int, ...]
    device: str
    meter: Meter
    as_json: bool
    tune: TuneConfig | None
    facts: dict[str, Any]
    last_done: int = 0
    epochs: int = 0
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        warn(text)

    def vectors(self, done: int, total: int, unit: str) -> None:
        """Progress of the vectors of one part of the data after the other."""
        if done <= self.last_done:
            self.meter.step("computing the next part's vectors")
        self.last_done = done
        self.meter.update(done, total, unit)

    def epoch(self, epoch: Epoch) -> None:
        if not self.epochs:
            self.meter.step("training")
        self.epochs += 1
        self.meter.note(f"  epoch {epoch.number}: loss {epoch.loss:.4f}, dev {epoch.dev:.4f}")

    def tuned(self, report: LoopReport) -> None:
        """What fine-tuning gave; its epochs are apart from those before."""
        self.facts["fine_tuned"] = {"dev_best": report.best.dev, "epoch": report.best.number,
                                    "epochs": [vars(epoch) for epoch in report.epochs]}  # fmt: skip

    def tell(self, rows: list[tuple[str, str]]) -> None:
        """What is known before anything is learned, at once."""
        if not self.as_json:
            say(table(rows))


def fit(
    kind: top.KindArgument,
    train: top.Train,
    out: top.TaskOut,
    dev: top.Dev = None,
    dev_share: top.DevShare = 0.1,
    test: top.TestToo = None,
    features: top.FeatureNames = "elmo",
    model: opt.ModelOption = None,
    vectors: top.VectorFiles = None,
    state: top.StartState = None,
    text_column: top.TextColumn = None,
    second_column: top.SecondColumn = None,
    label_column: top.LabelColumn = None,
    multi_label: top.MultiLabel = False,
    label_separator: top.Separator = "|",
    word_column: top.WordColumn = None,
    tag_column: top.TagColumn = None,
    repair_tags: top.RepairTags = False,
    lang: top.Lang = None,
    tokenized: top.Tokenized = False,
    max_words: top.MaxWords = 500,
    max_characters: top.MaxCharacters = 50_000,
    head: top.HeadName = None,
    cells: top.Cells = None,
    input_dropout: top.InputDropout = 0.5,
    elmo_output: top.ElmoOutput = False,
    fine_tune: top.FineTune = 0,
    fine_tune_rate: top.FineTuneRate = 5e-4,
    balanced: top.Balanced = False,
    metric: top.MetricName = top.Metric.accuracy,
    seed: top.Seed = 1,
    seeds: top.Seeds = 1,
    epochs: top.Epochs = 30,
    patience: top.Patience = 5,
    batch_size: top.BatchSize = 32,
    learning_rate: top.LearningRate = 1e-3,
    cache: top.CacheFolder = None,
    no_cache: top.NoCache = False,
    half: top.Half = False,
    data: top.DataName = None,
    licence: top.Licence = "not stated",
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    overwrite: opt.Overwrite = False,
    json: opt.Json = False,
) -> None:
    """Learn from labelled examples, and keep what was best on dev.

    Prints how often each label comes, and how good the most frequent label alone would be, before anything is learned.
    The model's vectors are computed once and kept on disk; another --head, --seed or --epochs then starts at once.
    """
    name = kind.value
    _refuse_foreign(
        name, cells,
        {"--text-column": text_column, "--second-column": second_column, "--label-column": label_column,
         "--multi-label": multi_label, "--head": head, "--balanced": balanced},
        {"--word-column": word_column, "--tag-column": tag_column, "--repair-tags": repair_tags},
    )  # fmt: skip
    from polyseme.tasks.features import open_features
    from polyseme.tasks.folder import refuse_existing, save
    from polyseme.tasks.loop import LoopConfig
    from polyseme.tasks.metrics import need_extra
    from polyseme.tasks.tune import TuneConfig, tunable

    need_extra(f"`task fit {name}`")
    refuse_existing(Path(out), overwrite)
    loop = LoopConfig(learning_rate, batch_size=batch_size, max_epochs=epochs, patience=patience, seed=seed)
    columns = {
        "text": text_column, "second": second_column, "label": label_column, "multi_label": multi_label or None,
        "separator": label_separator, "max_characters": max_characters,
    }  # fmt: skip
    started = time.monotonic()
    try:
        with Meter() as meter:
            run = _Run(
                name, Labelled(train, dev, dev_share, seed, encoding, encoding_errors.value), test, loop,
                tuple(range(seed, seed + seeds)), device, meter, json,
                TuneConfig(fine_tune, fine_tune_rate) if fine_tune else None, {"kind": name},
            )  # fmt: skip

            def opened(words: Iterable[str]) -> Features:
                meter.step("opening the vectors")
                found = open_features(
                    features, model=model_for(features, model, lang, words), vectors=vector_files(vectors),
                    state=state and state.value, threads=threads, device=device,
                    cache=cache_folder(cache, not no_cache), progress=run.vectors,
                )  # fmt: skip
                if run.tune is not None:
                    tunable(found)  # before hours of work
                return found

            sizes: dict[str, Any] = {"input_dropout": input_dropout, "elmo_output": elmo_output}
            if name == "tag":
                task, reports = _tag(run, opened, (word_column, tag_column), repair_tags, cells, sizes)
            else:
                sizes |= {"head": head.value if head else "esim" if name == "nli" else "attention"}
                sizes |= {"cells": cells[0]} if cells else {}
                reading = {"lang": lang, "tokenized": tokenized, "max_words": max_words}
                task, reports = _texts(run, opened, columns, reading, sizes, metric.value, balanced)
            run.facts |= _outcome(task, reports)
            save(
                task,
                out,
                report={
                    **run.facts,
                    "loop": asdict(loop),
                    "files": [*train, *(dev or ()), *(test or ())],
                    "data": data or ", ".join(train),
                    "licence": licence,
                },
                half=half,
                overwrite=overwrite,
            )
    except DecodeError as error:
        raise retry_with_this_command(error, again()) from error
    facts = run.facts | {"warnings": run.warnings, "wrote": [out], "seconds": round(time.monotonic() - started, 3)}
    _tell(facts | {"next": quoted(["polyseme", "task", "evaluate", name, out, "TEST"])}, json=json)


def _tell(facts: dict[str, Any], *, json: bool) -> None:
    if json:
        emit(facts)
        return
    best = f"{facts['dev_best']:.4f} in epoch {facts['epoch']} of seed {facts['seed']}"
    rows = [("dev", f"{facts['metric']} {best}")]
    if len(facts["seeds"]) > 1:
        rows.append(("seeds", ", ".join(f"{seed}: {value:.4f}" for seed, value in facts["seeds"].items())))
    if "fine_tuned" in facts:
        tuned = facts["fine_tuned"]
        rows.append(("fine-tuned", f"{facts['metric']} {tuned['dev_best']:.4f} in epoch {tuned['epoch']} (0: before)"))
    if "test" in facts:
        rows += [("test", ""), *((f"  {name}", value) for name, value in score_rows(facts["test"]))]
    rows += [("mixes", _mixes(facts)), ("time", f"{facts['seconds']:,.1f} s"), ("wrote", facts["wrote"][0])]
    say(table([*rows, ("next", facts["next"])]))


def _refuse_foreign(
    kind: str, cells: list[int] | None, of_texts: dict[str, object], of_tags: dict[str, object]
) -> None:
    refuse_foreign(kind, of_texts if kind == "tag" else of_tags)
    if kind != "tag" and cells is not None and len(cells) > 1:
        raise OptionError(f"--cells is given once for {kind}; was: {cells}")


def _mixes(facts: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {', '.join(f'{w:.2f}' for w in weights)}" for name, weights in facts["mixes"].items())


def _outcome(task: Task, reports: tuple[LoopReport, ...]) -> dict[str, Any]:
    best = max(reports, key=lambda report: report.best.dev)
    mixes = task.network.inputs.weights()  # type: ignore[union-attr,operator]
    return {
        "features": task.features.name,
        "dev_best": best.best.dev,
        "epoch": best.best.number,
        "seed": best.seed,
        "seeds": {str(report.seed): report.best.dev for report in reports},
        "epochs": [vars(epoch) for epoch in best.epochs],
        "mixes": {
            source.name: [round(weight, 4) for weight in weights]
            for source, weights in zip(task.features.sources, mixes, strict=True)
        },
    }


def _tag(
    run: _Run, opened: Any, column: tuple[int | None, int | None], repair: bool, cells: list[int] | None, sizes: Any
) -> tuple[Task, tuple[LoopReport, ...]]:
    from polyseme.tasks import tag, tune
    from polyseme.tasks.conll import TagColumns
    from polyseme.tasks.labels import likely_slips, tag_counts

    run.meter.step("reading")
    columns = TagColumns(*column)
    train, dev = run.data.tags(columns, repair=repair)
    test = run.data.read_tags(run.test, columns, repair=repair).sentences if run.test else ()
    tag.check_tags(test, tag.tag_set(train, dev))
    if train.repaired:
        run.warn(f"{counted(train.repaired, 'tag')} of TRAIN broke {train.scheme.upper()} and begin a new span")
    config = tag.TagConfig(**(sizes | ({"cells": tuple(cells)} if cells else {})))
    sentences = (*train.sentences, *dev.sentences)
    for slip in likely_slips([(t, s.place(at)) for s in sentences for at, t in enumerate(s.tags)]):
        run.warn(slip)
    counts = tag_counts(train.sentences)
    most = max(counts, key=lambda tag: counts[tag])
    words = sum(len(sentence.words) for sentence in dev.sentences)
    majority = sum(tag == most for sentence in dev.sentences for tag in sentence.tags) / words
    run.facts |= {
        "train": {"sentences": len(train.sentences), "words": sum(counts.values())}, "scheme": train.scheme,
        "dev": {"sentences": len(dev.sentences), "words": words}, "labels": counts, "majority": majority,
        "metric": "accuracy" if train.scheme == "plain" else "f1", "columns": asdict(columns),
    }  # fmt: skip
    run.tell([
        ("train", f"{counted(len(train.sentences), 'sentence')}, {counted(sum(counts.values()), 'word')}"),
        ("dev", f"{counted(len(dev.sentences), 'sentence')}, {counted(words, 'word')}{run.data.split}"),
        ("tags", _some(counts)),
        ("majority", f"accuracy {majority:.4f} on dev, with {most!r} for every word"),
    ])  # fmt: skip
    features = opened(word for sentence in train.sentences for word in sentence.words)
    run.meter.step("computing the vectors, or reading them")
    learn, stop = ((part, tag.vectors_of(part, features)) for part in (train, dev))
    task, reports = tag.fit_ready(
        learn, stop, features, config, run.loop, seeds=run.seeds, device=run.device, progress=run.epoch
    )
    if run.tune is not None:
        run.meter.step("fine-tuning")
        task, report = tune.tune_tagger(task, learn, stop, run.tune, run.loop, progress=run.epoch)
        run.tuned(report)
    if test:
        run.meter.step("measuring on the test set")
        run.facts["test"] = tag_facts(task.evaluate(test))
    return task, reports


def _texts(
    run: _Run, opened: Any, values: dict[str, Any], reading: Any, sizes: Any, metric: Any, balanced: bool
) -> tuple[Task, tuple[LoopReport, ...]]:
    from polyseme.tasks import classify, tune
    from polyseme.tasks.heads import HeadConfig
    from polyseme.tasks.labels import check_known, label_counts, label_set, likely_slips, majority_accuracy
    from polyseme.text.tokenize import tokenizer_for

    run.meter.step("reading")
    columns, config = text_columns(run.kind, values), HeadConfig(**sizes)
    train, dev = run.data.texts(columns)
    test = run.data.read_texts(run.test, columns) if run.test else []
    check_known(test, label_set([*train, *dev]))
    for slip in likely_slips([(label, text.place) for text in (*train, *dev) for label in text.labels]):
        run.warn(slip)
    counts, majority = label_counts(train), majority_accuracy(train, dev)
    run.facts |= {
        "train": {"texts": len(train)}, "dev": {"texts": len(dev)}, "labels": counts, "majority": majority,
        "metric": metric, "columns": asdict(columns),
    }  # fmt: skip
    run.tell([
        ("train", counted(len(train), "text")),
        ("dev", f"{counted(len(dev), 'text')}{run.data.split}"),
        ("labels", _some(counts)),
        ("majority", f"accuracy {majority:.4f} on dev, with the most frequent label for every text"),
    ])  # fmt: skip
    features = opened(some(train))
    own = [source.text().tokenizer for source in features.sources]
    name = tokenizer_name(reading["lang"], reading["tokenized"], own, train)
    cut = classify.Reading(name, tokenizer_for(name).version, reading["max_words"])
    for warning in classify.cut(train, cut).warnings:
        run.warn(warning)
    run.tell([("tokenizer", name)])
    run.facts["tokenizer"] = name
    run.meter.step("computing the vectors, or reading them")
    learn, stop = (classify.Ready.of(part, features, cut) for part in (train, dev))
    task, reports = classify.fit_ready(
        learn, stop, features, cut, config, run.loop, multi_label=columns.multi_label, balanced=balanced, metric=metric,
        seeds=run.seeds, device=run.device, progress=run.epoch,
    )  # fmt: skip
    if run.tune is not None:
        run.meter.step("fine-tuning")
        task, report = tune.tune_classifier(
            task, learn, stop, run.tune, run.loop, balanced=balanced, metric=metric, progress=run.epoch
        )
        run.tuned(report)
    if test:
        run.meter.step("measuring on the test set")
        run.facts["test"] = label_facts(task.evaluate(test))
    return task, reports


def _some(counts: dict[str, int], most: int = 12) -> str:
    shown = [f"{label}: {count:,}" for label, count in list(counts.items())[:most]]
    return ", ".join(shown) + (f" and {len(counts) - most} more" if len(counts) > most else "")
