"""`polyseme compare`: one task's data, several kinds of vectors, the same examples, seeds and network."""

from __future__ import annotations

import json as json_format
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyseme.cli import options as opt
from polyseme.cli import task_options as top
from polyseme.cli.language_model import retry_with_this_command
from polyseme.cli.options import _value
from polyseme.cli.output import Meter, again, counted, emit, say, warn
from polyseme.cli.task_data import (
    Labelled,
    cache_folder,
    model_for,
    refuse_foreign,
    some,
    text_columns,
    tokenizer_name,
    vector_files,
)
from polyseme.errors import DecodeError, OptionError, OutputError

if TYPE_CHECKING:
    from polyseme.tasks.compare import Comparison, Learner
    from polyseme.tasks.features import Features
    from polyseme.tasks.loop import LoopConfig

EXAMPLE = (
    "\b\nExample:\n  polyseme compare classify train.csv --test test.csv --features bow --features glove \\\n"
    "    --features elmo --features elmo+glove --vectors glove=glove.txt --model en-small -o sentiment"
)
FILES = ("compare.json", "compare.md", "compare.html")
CompareFeatures = Annotated[
    list[str], _value("--features", "NAMES", "One kind of vectors, as of `task fit`, or bow; give it again for each.")
]
TestFiles = Annotated[
    list[str], typer.Option("--test", metavar="TEST", help="Files with labels that are only measured on.")
]
Shares = Annotated[
    list[float] | None,
    _value("--share", "PERCENT", "Of the training examples; given again for each, by default 1, 3, 10, 30 and 100."),
]
CompareSeeds = Annotated[int, _value("--seeds", "N", "Fits a share and kind of vectors, from --seed on.", min=1)]
CompareOut = Annotated[
    str, typer.Option("--out", "-o", metavar="DIR", help="The folder to write: compare.json, compare.md, compare.html.")
]


@dataclass(frozen=True)
class _Data:
    """How data and features are read, the same for every learner. `cache`: where fits are kept, None for nowhere."""

    kind: str
    labelled: Labelled
    test: list[str]
    open: Callable[[str, Iterable[str]], Features]
    loop: LoopConfig
    vectors: dict[str, dict[str, Any]]
    warn: Callable[[str], None]
    cache: Path | None


def compare(
    kind: top.KindArgument,
    train: top.Train,
    test: TestFiles,
    out: CompareOut,
    features: CompareFeatures,
    dev: top.Dev = None,
    dev_share: top.DevShare = 0.1,
    model: opt.ModelOption = None,
    vectors: top.VectorFiles = None,
    state: top.StartState = None,
    share: Shares = None,
    seed: top.Seed = 1,
    seeds: CompareSeeds = 3,
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
    epochs: top.Epochs = 30,
    patience: top.Patience = 5,
    batch_size: top.BatchSize = 32,
    learning_rate: top.LearningRate = 1e-3,
    cache: top.CacheFolder = None,
    no_cache: top.NoCache = False,
    threads: opt.Threads = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    overwrite: opt.Overwrite = False,
    json: opt.Json = False,
) -> None:
    """Which vectors learn most from least? Learning curves, intervals, paired tests and costs, on your own data.

    Each kind of vectors is learned from with growing shares of TRAIN; for a seed, all get the same examples. bow is
    TF-IDF under logistic regression, for texts only. What was killed goes on with the same command: fits are kept in
    the cache, beside the vectors.
    """
    name = kind.value
    refuse_foreign(
        name,
        {"--text-column": text_column, "--second-column": second_column, "--label-column": label_column,
         "--multi-label": multi_label, "--head": head}
        if name == "tag"
        else {"--word-column": word_column, "--tag-column": tag_column, "--repair-tags": repair_tags},
    )  # fmt: skip
    from polyseme.publish import refuse_existing
    from polyseme.tasks.compare import Fitted
    from polyseme.tasks.compare import compare as compared
    from polyseme.tasks.features import open_features
    from polyseme.tasks.loop import LoopConfig
    from polyseme.tasks.metrics import need_extra

    need_extra("`compare`")
    refuse_existing(Path(out), FILES, "a comparison", overwrite=overwrite)
    files, kept_in = vector_files(vectors), cache_folder(cache, not no_cache)
    if unused := sorted(files.keys() - {part for each in features for part in each.split("+")}):
        raise OptionError(f"--vectors were given for {unused[0]!r}, which no --features names; add it, or leave it out")
    sizes: dict[str, Any] = {"input_dropout": input_dropout}
    started, warnings = time.monotonic(), list[str]()
    try:
        with Meter() as meter:

            def opened(names: str, words: Iterable[str]) -> Features:
                wanted = names.split("+")
                asked = model if "elmo" in wanted else None
                return open_features(
                    names, model=model_for(names, asked, lang, words), state=state and state.value, threads=threads,
                    vectors={each: path for each, path in files.items() if each in wanted},
                    cache=kept_in, progress=meter.update,
                )  # fmt: skip

            def note(text: str) -> None:
                warnings.append(text)
                warn(text)

            loop = LoopConfig(learning_rate, batch_size=batch_size, max_epochs=epochs, patience=patience, seed=seed)
            data = _Data(
                name, Labelled(train, dev, dev_share, seed, encoding, encoding_errors.value), test, opened, loop, {},
                note, kept_in,
            )  # fmt: skip
            meter.step("reading, and computing vectors")
            if name == "tag":
                sizes |= {"cells": tuple(cells)} if cells else {}
                learners, strata, about = _taggers(data, features, (word_column, tag_column), repair_tags, sizes)
            else:
                sizes |= {"head": head.value if head else "esim" if name == "nli" else "attention"}
                sizes |= {"cells": cells[0]} if cells else {}
                columns = {
                    "text": text_column, "second": second_column, "label": label_column, "separator": label_separator,
                    "multi_label": multi_label or None, "max_characters": max_characters,
                }  # fmt: skip
                reading = {"lang": lang, "tokenized": tokenized, "max_words": max_words}
                learners, strata, about = _classifiers(data, features, columns, reading, sizes)
            meter.step("fitting")

            def fitted(of: str, part: float, number: int, what: Fitted) -> None:
                meter.note(f"  {of}, {100 * part:g} %, seed {number}: {what.score:.4f} in {what.fit_seconds:.1f} s")

            found = compared(
                learners, strata, shares=[each / 100 for each in share or (1, 3, 10, 30, 100)],
                seeds=tuple(range(seed, seed + seeds)), progress=fitted,
            )  # fmt: skip
    except DecodeError as error:
        raise retry_with_this_command(error, again()) from error
    settings = {"network": _listed(sizes), "training": _listed(asdict(loop))}
    facts = {"kind": name, "metric": about.pop("metric"), "learners": data.vectors, "about": about | settings}
    found = replace(found, facts=facts)
    _write(Path(out), found, f"{name}: {', '.join(Path(each).name for each in train)}")
    wrote = [str(Path(out) / each) for each in FILES]
    if json:
        emit({**facts, "cells": [_cell(each) for each in found.cells], "pairs": [asdict(each) for each in found.pairs],
              "warnings": warnings, "wrote": wrote, "seconds": round(time.monotonic() - started, 3)})  # fmt: skip
        return
    from polyseme.tasks.compare_page import markdown

    say(markdown(found))
    say("wrote " + ", ".join(wrote))


def _classifiers(
    data: _Data, names: Sequence[str], columns: dict[str, Any], reading: dict[str, Any], sizes: dict[str, Any]
) -> tuple[list[Learner], list[Any], dict[str, Any]]:
    from polyseme.tasks import classify
    from polyseme.tasks.heads import HeadConfig
    from polyseme.tasks.labels import check_known, label_counts, label_set, majority_accuracy
    from polyseme.tasks.learners import BAG_OF_WORDS, BagLearner, TextLearner
    from polyseme.text.tokenize import tokenizer_for

    wanted, config = text_columns(data.kind, columns), HeadConfig(**sizes)
    train, dev = data.labelled.texts(wanted)
    test = data.labelled.read_texts(data.test, wanted)
    check_known(test, label_set([*train, *dev]))
    opened = {name: data.open(name, some(train)) for name in names if name != BAG_OF_WORDS}
    own = [source.text().tokenizer for features in opened.values() for source in features.sources]
    tokenizer = tokenizer_name(reading["lang"], reading["tokenized"], own, train)
    cut = classify.Reading(tokenizer, tokenizer_for(tokenizer).version, reading["max_words"])
    for warning in classify.cut(train, cut).warnings:
        data.warn(warning)
    examples = [[(text.texts, text.labels) for text in part] for part in (train, dev, test)]
    learners: list[Learner] = []
    for name in names:
        if name == BAG_OF_WORDS:
            bag = BagLearner(train, dev, test, cut, multi_label=wanted.multi_label)
            learners.append(_kept(data, bag, cut, examples))
            continue
        begun, features = time.monotonic(), opened[name]
        learn, stop, measure = (classify.Ready.of(part, features, cut) for part in (train, dev, test))
        _spent(data, name, features, begun)
        learner = TextLearner(name, learn, stop, measure, features, cut, config, data.loop, wanted.multi_label)
        learners.append(_kept(data, learner, cut, config, wanted.multi_label, _identities(features), examples))
    about = {
        "metric": "micro F1" if wanted.multi_label else "accuracy", "train": counted(len(train), "text"),
        "dev": counted(len(dev), "text"), "test": counted(len(test), "text"), "labels": _few(label_counts(train)),
        "majority on test": f"{majority_accuracy(train, test):.4f}", "tokenizer": tokenizer,
    }  # fmt: skip
    return learners, [text.labels for text in train], about


def _taggers(
    data: _Data, names: Sequence[str], column: tuple[int | None, int | None], repair: bool, sizes: dict[str, Any]
) -> tuple[list[Learner], list[Any], dict[str, Any]]:
    from polyseme.tasks import tag
    from polyseme.tasks.conll import TagColumns
    from polyseme.tasks.labels import tag_counts
    from polyseme.tasks.learners import BAG_OF_WORDS, TagLearner

    if BAG_OF_WORDS in names:
        raise OptionError(f"{BAG_OF_WORDS} has no vector a word, so it cannot tag; leave it out")
    config, columns = tag.TagConfig(**sizes), TagColumns(*column)
    train, dev = data.labelled.tags(columns, repair=repair)
    test = data.labelled.read_tags(data.test, columns, repair=repair)
    tag.check_tags(test.sentences, tag.tag_set(train, dev))
    examples = [[(each.words, each.tags) for each in part.sentences] for part in (train, dev, test)]
    learners: list[Learner] = []
    for name in names:
        begun = time.monotonic()
        features = data.open(name, (word for sentence in train.sentences for word in sentence.words))
        learn, stop, measure = ((part, tag.vectors_of(part, features)) for part in (train, dev, test))
        _spent(data, name, features, begun)
        learner = TagLearner(name, learn, stop, measure, features, config, data.loop)
        learners.append(_kept(data, learner, config, _identities(features), examples))
    sentences = {"train": train, "dev": dev, "test": test}
    about = {
        "metric": "accuracy" if train.scheme == "plain" else "span F1",
        **{part: counted(len(each.sentences), "sentence") for part, each in sentences.items()},
        "tags": _few(tag_counts(train.sentences)),
    }  # fmt: skip
    return learners, [""] * len(train.sentences), about


def _kept(data: _Data, learner: Learner, *decides: object) -> Learner:
    """The learner, whose fits are kept where there is a cache; `decides` what a fit gives, beside kind and training."""
    from polyseme.tasks.kept import KeptLearner, digest_of

    if data.cache is None:
        return learner
    return KeptLearner(learner, data.cache, digest_of(data.kind, learner.name, data.loop, *decides))


def _identities(features: Features) -> list[tuple[str, str]]:
    return [(source.name, source.identity) for source in features.sources]


def _few(counts: dict[str, int], most: int = 20) -> str:
    more = f" and {len(counts) - most} more" if len(counts) > most else ""
    return _listed(dict(list(counts.items())[:most])) + more


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _spent(data: _Data, name: str, features: Features, begun: float) -> None:
    """What the vectors cost; next to nothing where a cache has them."""
    width = " + ".join(f"{s.n_layers} x {s.width}" if s.n_layers > 1 else str(s.width) for s in features.sources)
    data.vectors[name] = {"width": width, "vector_seconds": round(time.monotonic() - begun, 2)}


def _cell(cell: Any) -> dict[str, Any]:
    return {**asdict(cell), "mean": cell.mean, "interval": cell.interval}


def _write(out: Path, found: Comparison, title: str) -> None:
    """All three files, or none. Raises `OutputError`."""
    from polyseme.publish import whole_folder
    from polyseme.tasks.compare_page import markdown, page

    raw = {
        **found.facts, "seeds": found.seeds, "shares": found.shares, "cells": [_cell(each) for each in found.cells],
        "pairs": [asdict(each) for each in found.pairs],
    }  # fmt: skip
    texts = (json_format.dumps(raw, indent=1) + "\n", markdown(found), page(found, title))
    try:
        with whole_folder(out) as working:
            for name, text in zip(FILES, texts, strict=True):
                (working / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error}); nothing was changed there") from error
