"""`polyseme train`: text in, a trained biLM out."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from polyseme.cli import options as opt
from polyseme.cli import train_options as top
from polyseme.cli.machine import settle_in
from polyseme.cli.output import (
    STOPPED,
    Meter,
    counted,
    duration,
    emit,
    quoted,
    say,
    say_error,
    size,
    table,
    warn,
)  # fmt: skip
from polyseme.cli.training import (
    Interrupt,
    Teller,
    again_launched,
    board_of,
    corpus_of,
    device_of,
    opened_model,
    refuse_no_heldout,
    refuse_text_options,
)
from polyseme.errors import OptionError, ResumeError

if TYPE_CHECKING:
    from polyseme.bilm import BiLMConfig
    from polyseme.formats.model import Model
    from polyseme.text.shards import Corpus
    from polyseme.text.vocab import Vocabulary
    from polyseme.train import Event, TrainReport
    from polyseme.training.board import Board
    from polyseme.training.config import TrainConfig
    from polyseme.training.plan import Plan
    from polyseme.training.processes import Processes

EXAMPLE = "\b\nExample:\n  polyseme train books/ -o my-elmo --preset small"


def train(
    text: top.TextOrCorpus,
    out: top.ModelOut,
    preset: top.PresetName = None,
    hours: top.Hours = None,
    plan: top.PlanOnly = False,
    recipe: top.RecipeName = top.Recipe.adamw,
    vocab_size: top.SoftmaxWords = None,
    vocab: top.VocabularyFile = None,
    cells: top.CellSize = None,
    projection: top.ProjectionSize = None,
    layers: top.LayerCount = None,
    start_from: top.StartFrom = None,
    epochs: top.Epochs = None,
    updates: top.Updates = None,
    batch_size: top.Lanes = None,
    steps: top.Steps = None,
    accumulate: top.Accumulate = None,
    loss: top.Loss = None,
    samples: top.Samples = None,
    optimizer: top.Optimizer = None,
    learning_rate: top.LearningRate = None,
    warm_up: top.WarmUp = None,
    schedule: top.Schedule = None,
    cool_down: top.CoolDown = None,
    weight_decay: top.WeightDecay = None,
    clip: top.Clip = None,
    dropout: top.DropoutInputs = None,
    dropout_output: top.DropoutOutputs = None,
    dropout_words: top.DropoutWords = None,
    dropout_weights: top.DropoutWeights = None,
    typos: top.Typos = None,
    passages: top.Passages = None,
    precision: top.TrainPrecision = None,
    validate_every: top.ValidateEvery = None,
    checkpoint_every: top.CheckpointEvery = None,
    keep: top.Keep = None,
    patience: top.Patience = None,
    log_every: top.LogEvery = None,
    tokenized: opt.Tokenized = False,
    lang: opt.CorpusLang = None,
    text_column: opt.TextColumn = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    unwrap: opt.Unwrap = False,
    normalize: opt.NormalForm = opt.Normalize.none,
    lowercase: opt.Lowercase = False,
    remove_stop_words: opt.RemoveStopWords = False,
    stem: opt.Stem = False,
    empty_lines: opt.OnEmptyLines = opt.EmptyLines.skip,
    max_characters: opt.MaxCharacters = 50,
    heldout: opt.HeldOutShare = 0.01,
    heldout_text: opt.HeldOutText = None,
    data: top.DataName = "",
    licence: top.Licence = "",
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    tensorboard: top.TensorBoard = False,
    seed: opt.Seed = 1,
    resume: top.TrainResume = False,
    json: opt.Json = False,
) -> None:
    """Train a bidirectional language model on your text.

    The text is prepared first, unless a prepared corpus is given. The model in MODEL is always the best so far, by the
    exact perplexity of text that was held out. Ctrl-C saves; --resume goes on at the very batch. Several processes:
    torchrun --nproc-per-node N -m polyseme train ...
    """
    settle_in()
    from polyseme.text.prepare import PrepareOptions
    from polyseme.training.outcome import refuse_used
    from polyseme.training.processes import joined

    prepare_values: dict[str, Any] = {
        "language": lang, "tokenized": tokenized, "lowercase": lowercase, "remove_stop_words": remove_stop_words,
        "stem": stem, "normalize": normalize.value, "unwrap": unwrap, "encoding": encoding,
        "encoding_errors": encoding_errors.value, "text_column": text_column, "empty_lines": empty_lines.value,
        "max_characters": max_characters, "heldout": heldout, "seed": seed,
    }  # fmt: skip
    config = _config(
        recipe.value,
        {"inputs": dropout, "outputs": dropout_output, "words": dropout_words, "state_weights": dropout_weights},
        {
            "epochs": epochs, "updates": updates, "lanes": batch_size, "steps": steps, "accumulate": accumulate,
            "passages": passages,
            "loss": loss and loss.value, "samples": samples, "optimizer": optimizer and optimizer.value,
            "learning_rate": learning_rate, "warm_up": warm_up, "schedule": schedule and schedule.value,
            "cool_down": cool_down, "weight_decay": weight_decay, "clip_norm": clip, "typos": typos,
            "precision": precision, "validate_every": validate_every, "checkpoint_every": checkpoint_every,
            "keep": keep, "patience": patience, "log_every": log_every, "seed": seed,
        },
    )  # fmt: skip
    if hours is not None and (preset is not None or epochs is not None or updates is not None or not hours > 0):
        raise OptionError(
            "--hours chooses preset and epochs for a time above 0: leave --preset, --epochs and --updates out"
        )
    _refuse_sizes(start_from, {
        "--preset": preset, "--hours": hours, "--vocab-size": vocab_size, "--vocab": vocab, "--cells": cells,
        "--projection": projection, "--layers": layers,
    })  # fmt: skip
    refuse_no_heldout(text, heldout, heldout_text)
    refuse_text_options(text, prepare_values, heldout_text or [])
    folder, report = Path(out), None
    with joined(device) as processes, Meter(quiet=not processes.first) as meter:
        device, resume_command = device_of(device, threads, processes), again_launched(processes, "--resume")
        if processes.first and not resume:
            refuse_used(folder)
        board = board_of(folder) if tensorboard and processes.first else None
        try:
            corpus = corpus_of(
                text, folder, PrepareOptions(**prepare_values), heldout_text or [], processes, meter, resume=resume
            )
            start = _started(start_from, corpus, config, device, meter) if start_from else None
            words = start.vocabulary if start and start.vocabulary else _vocabulary(corpus, vocab_size, vocab)
            chosen = _Sizes(corpus, preset and preset.value, words, cells, projection, layers, config, start)
            known = None if plan or not resume else _known(folder, chosen, hours, device, processes)
            if known is None:
                meter.step("timing a short trial")
                found = _planned(chosen, hours, device, processes)
                if processes.first:
                    _say_plan(found, corpus, json=json, only=plan)
                known = found.preset, found.epochs
            if plan:
                return
            card = {"data": data or ", ".join(text), "licence": licence, "recipe": again_launched(processes)}
            meter.step("training")
            report = _train(
                chosen, known, folder, card, processes, [Teller(meter), *([board] if board is not None else [])],
                device=device, resume=resume,
            )  # fmt: skip
        except KeyboardInterrupt:
            if processes.first:
                say_error(
                    f"stopped; what was saved before is kept, go on with:\n  {again_launched(processes, '--resume')}"
                )
        finally:
            if board is not None:
                board.close()
        if processes.first and report is not None:
            _tell(report, folder, resume_command, json=json)
    if report is None or report.stopped:
        raise typer.Exit(STOPPED)


def _config(recipe: str, dropout: dict[str, Any], values: dict[str, Any]) -> TrainConfig:
    from polyseme.training.config import RECIPES

    start = RECIPES[recipe]
    given = {name: value for name, value in dropout.items() if value is not None}
    chosen = {name: value for name, value in values.items() if value is not None}
    return replace(start, dropout=replace(start.dropout, **given), **chosen)


def _vocabulary(corpus: Corpus, size: int | None, file: str | None) -> Vocabulary:
    """The words to predict: those of a file, or the corpus's most frequent ones."""
    from polyseme.text.vocab import Vocabulary

    if file is None:
        return corpus.vocabulary(size or corpus.usual_size)
    words = Vocabulary.load(file)
    return words if size is None else words.trim(size)


def _refuse_sizes(start_from: str | None, given: dict[str, Any]) -> None:
    """Raises `OptionError` for sizes beside a model that has its own."""
    chosen = [name for name, value in given.items() if value is not None]
    if start_from is not None and chosen:
        raise OptionError(f"{chosen[0]} contradicts --start-from, whose model keeps its sizes and words; leave one out")


def _started(name: str, corpus: Corpus, config: TrainConfig, device: str, meter: Meter) -> Model:
    """A copy of the model, with the dropout of this run. Raises what opening it and `adapt.started` raise."""
    from polyseme.formats.model import assemble
    from polyseme.training.adapt import started

    start = started(opened_model(name, meter), corpus, device=device).model
    architecture = replace(start.bilm.config, dropout=config.dropout.inputs)
    return replace(start, bilm=assemble(architecture, start.bilm.state_dict(), Path(name)))


class _Sizes:
    """The architecture of any preset for this corpus, with the sizes given on the command line; or that of `start`."""

    def __init__(
        self,
        corpus: Corpus,
        preset: str | None,
        vocabulary: Vocabulary,
        cells: int | None,
        projection: int | None,
        layers: int | None,
        config: TrainConfig,
        start: Model | None = None,
    ) -> None:
        self.corpus, self.preset, self.config, self.start = corpus, preset or "small", config, start
        self.vocabulary = vocabulary
        self.cells, self.projection, self.layers = cells, projection, layers

    def of(self, preset: str) -> BiLMConfig:
        from polyseme.training.config import fitted, sized

        if self.start is not None:
            return self.start.bilm.config
        found = sized(preset)
        if self.cells and found.transformer is not None:
            raise OptionError(f"--cells is for LSTM layers, and {preset} has none; --projection and --layers change it")
        found = replace(
            found,
            cell_size=self.cells or found.cell_size,
            projection_size=self.projection or found.projection_size,
            n_layers=self.layers or found.n_layers,
        )
        return fitted(found, len(self.vocabulary), self.corpus.characters, self.config.dropout.inputs)


def _known(
    folder: Path, sizes: _Sizes, hours: float | None, device: str, processes: Processes
) -> tuple[str, int] | None:
    """Preset and epochs of the run that goes on, as the first process finds them; None where there is none yet."""
    import torch

    from polyseme.training import checkpoint
    from polyseme.training.config import SIZES

    presets, found = list(SIZES), [-1, 0]
    stored = checkpoint.settings(folder) if processes.first else None
    if stored is not None:
        found = [presets.index(sizes.preset), sizes.config.epochs]
        if hours is not None:
            found = [presets.index(_chosen(folder, sizes, stored)), int(stored["training"]["epochs"])]
    index, epochs = map(int, processes.from_first(found, torch.device(device)))
    return None if index < 0 else (presets[index], epochs)


def _chosen(folder: Path, sizes: _Sizes, stored: dict[str, Any]) -> str:
    """The preset that --hours chose for a run. Raises `ResumeError` where it could not have."""
    from polyseme.training.checkpoint import as_stored
    from polyseme.training.plan import BY_RISING_SIZE

    for preset in BY_RISING_SIZE:
        if as_stored(asdict(sizes.of(preset))) == stored["architecture"]:
            return preset
    raise ResumeError(
        f"{folder} holds a run of other sizes than --hours could have chosen with these options; go on with the "
        "options that it was started with, or start in another folder"
    )


def _planned(sizes: _Sizes, hours: float | None, device: str, processes: Processes) -> Plan:
    """What the run will cost; with --hours, also how long it will be."""
    from polyseme.training.plan import BY_RISING_SIZE, plan, plan_hours

    more = (sizes.config, sizes.vocabulary, device, processes)
    if hours is None:
        named = "the model's own" if sizes.start else sizes.preset
        return plan(sizes.corpus, named, sizes.of(sizes.preset), *more)
    return plan_hours(sizes.corpus, hours, {preset: sizes.of(preset) for preset in BY_RISING_SIZE}, *more)


def _say_plan(plan: Plan, corpus: Corpus, *, json: bool, only: bool) -> None:
    if plan.small_text:
        warn(plan.small_text)
    if plan.long_sentences:
        many = counted(plan.long_sentences, "sentence")
        warn(f"{many} longer than a Transformer of {plan.preset} reads at once: read in pieces")
    if json:
        if only:
            emit(asdict(plan) | {"small_text": plan.small_text})
        return
    loss = f"sampled against {plan.samples:,} words" if plan.samples else "full"
    rows = [
        ("corpus", f"{counted(plan.words, 'word')}, {counted(corpus.train.n_sentences, 'sentence')}"),
        ("held out", f"{counted(corpus.heldout.n_words, 'word')}, chosen by {corpus.report.heldout_by}"),
        ("preset", f"{plan.preset}: {plan.parameters:,} parameters, {plan.softmax_parameters:,} of them the softmax's"),
        ("vocabulary", f"{plan.vocabulary:,} words to predict; {plan.unknown_share:.2%} of the text is outside"),
        ("loss", f"{loss}; evaluation is always over all words"),
        ("memory", f"about {size(plan.memory)}"),
        ("updates", f"{plan.updates:,}, at most {counted(plan.epochs, 'epoch')}"),
        ("speed", f"{plan.targets_per_second:,.0f} words/s in a short trial"),
        ("time", f"about {duration(plan.seconds)} (h:mm:ss), validation not counted"),
    ]
    say(table(rows))


def _train(
    sizes: _Sizes,
    known: tuple[str, int],
    folder: Path,
    card: dict[str, str],
    processes: Processes,
    listeners: list[Teller | Board],
    **more: Any,
) -> TrainReport:
    from polyseme.formats.model import ModelCard
    from polyseme.train import train as run

    def told(event: Event) -> None:
        for listener in listeners:
            listener(event)

    preset, epochs = known
    with Interrupt(processes) as interrupt:
        return run(
            sizes.corpus,
            folder,
            sizes.of(preset),
            replace(sizes.config, epochs=epochs),
            vocabulary=sizes.vocabulary,
            start=sizes.start,
            card=ModelCard(name=folder.name, **card),
            processes=processes,
            on_event=told,
            should_stop=interrupt,
            **more,
        )


def _tell(report: TrainReport, folder: Path, resume: str, *, json: bool) -> None:
    facts: dict[str, Any] = {
        "wrote": [str(folder), str(folder / "log.jsonl"), str(folder / "curve.html")],
        "updates": report.updates,
        "seconds": round(report.seconds, 1),
        "targets_per_second": round(report.targets / report.seconds, 1) if report.seconds else None,
        "rollbacks": report.rollbacks,
        "stopped": report.stopped,
        "next": quoted(["polyseme", "embed", "TEXT", "-o", "vectors.safetensors", "--model", str(folder)]),
    }
    losses = report.losses
    if losses is None:
        if json:
            emit(facts | {"next": resume})
        else:
            say(f"stopped after {counted(report.updates, 'update')}, and saved; go on with:\n  {resume}")
        return
    said = losses.perplexity
    if json:
        emit({"perplexity": asdict(said), "targets": losses.targets} | facts)
        return
    perplexity = f"forward {said.forward:.2f}, backward {said.backward:.2f}, mean {said.mean:.2f}"
    rows = [
        ("held-out perplexity", perplexity),
        ("", f"exact, over {losses.targets:,} targets a direction"),
        ("trained", f"{counted(report.updates, 'update')} in {duration(report.seconds)}"),
        ("wrote", "\n".join(facts["wrote"])),
        ("next", facts["next"]),
    ]
    say(table(rows))
