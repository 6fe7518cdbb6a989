"""`polyseme train`: text in, a trained biLM out."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from polyseme.cli import options as opt
from polyseme.cli import train_options as top
from polyseme.cli.machine import settle_in
from polyseme.cli.output import STOPPED, Meter, again, counted, duration, emit, quoted, say, size, table, warn
from polyseme.errors import OptionError

if TYPE_CHECKING:
    from polyseme.bilm import BiLMConfig
    from polyseme.text.shards import Corpus
    from polyseme.train import Event, TrainReport
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
    cells: top.CellSize = None,
    projection: top.ProjectionSize = None,
    layers: top.LayerCount = None,
    epochs: top.Epochs = None,
    batch_size: top.Lanes = None,
    steps: top.Steps = None,
    accumulate: top.Accumulate = None,
    loss: top.Loss = None,
    samples: top.Samples = None,
    optimizer: top.Optimizer = None,
    learning_rate: top.LearningRate = None,
    warm_up: top.WarmUp = None,
    schedule: top.Schedule = None,
    weight_decay: top.WeightDecay = None,
    clip: top.Clip = None,
    dropout: top.DropoutInputs = None,
    dropout_output: top.DropoutOutputs = None,
    dropout_words: top.DropoutWords = None,
    dropout_weights: top.DropoutWeights = None,
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
            "epochs": epochs, "lanes": batch_size, "steps": steps, "accumulate": accumulate, "loss": loss and loss.value,
            "samples": samples, "optimizer": optimizer and optimizer.value, "learning_rate": learning_rate,
            "warm_up": warm_up, "schedule": schedule and schedule.value, "weight_decay": weight_decay, "clip_norm": clip,
            "precision": precision, "validate_every": validate_every, "checkpoint_every": checkpoint_every, "keep": keep,
            "patience": patience, "log_every": log_every, "seed": seed,
        },
    )  # fmt: skip
    if hours is not None and (preset is not None or epochs is not None or hours <= 0):
        raise OptionError("--hours chooses preset and epochs by itself, for a time above 0: leave --preset and --epochs out")
    with joined(device) as processes, Meter(quiet=not processes.first) as meter:
        device = _device(device, threads, processes)
        folder = Path(out)
        if processes.first and not resume:
            _refuse_used(folder)
        corpus = _corpus(text, folder, prepare_values, heldout_text or [], resume, processes, meter)
        chosen = _Sizes(corpus, preset and preset.value, vocab_size, cells, projection, layers, config)
        meter.step("timing a short trial")
        found, config = _planned(chosen, config, hours, device, processes)
        if processes.first:
            _say_plan(found, corpus, json=json, only=plan)
        if plan:
            return
        card = {"data": data or ", ".join(text), "licence": licence, "recipe": again()}
        report = _train(corpus, folder, chosen.of(found.preset), config, found, card, processes, meter, device=device,
                        resume=resume, tensorboard=tensorboard)  # fmt: skip
        if processes.first:
            _tell(report, folder, json=json)
    if report.stopped:
        raise typer.Exit(STOPPED)


def _config(recipe: str, dropout: dict[str, Any], values: dict[str, Any]) -> TrainConfig:
    from polyseme.training.config import RECIPES

    start = RECIPES[recipe]
    given = {name: value for name, value in dropout.items() if value is not None}
    if any(not 0 <= value < 1 for value in given.values()):
        raise OptionError(f"dropout is a share from 0 to below 1, was: {given}")
    chosen = {name: value for name, value in values.items() if value is not None}
    return replace(start, dropout=replace(start.dropout, **given), **chosen)


class _Sizes:
    """The architecture of any preset for this corpus, with the sizes given on the command line."""

    def __init__(
        self,
        corpus: Corpus,
        preset: str | None,
        vocab_size: int | None,
        cells: int | None,
        projection: int | None,
        layers: int | None,
        config: TrainConfig,
    ) -> None:
        self.corpus, self.preset, self.config = corpus, preset or "small", config
        self.vocabulary = len(corpus.vocabulary(min(vocab_size or 100_000, len(corpus))))
        given = {"cell_size": cells, "projection_size": projection, "n_layers": layers}
        self.given = {name: value for name, value in given.items() if value is not None}

    def of(self, preset: str) -> BiLMConfig:
        from polyseme.training.config import sized

        found = sized(preset, self.vocabulary, self.corpus.characters, self.config.dropout.inputs)
        return replace(found, **self.given)


def _device(device: str, threads: int | None, processes: Processes) -> str:
    import torch

    from polyseme.nn.device import device_named

    if threads is not None:
        torch.set_num_threads(threads)
    if processes.world > 1 and device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{processes.local}"
    return str(device_named(device))


def _refuse_used(folder: Path) -> None:
    from polyseme.train import refuse_used

    refuse_used(folder)


def _corpus(
    text: list[str],
    folder: Path,
    values: dict[str, Any],
    heldout_text: list[str],
    resume: bool,
    processes: Processes,
    meter: Meter,
) -> Corpus:
    """Opens the corpus that was given, or prepares the text into MODEL/corpus first."""
    from polyseme.text.prepare import PrepareOptions, prepare
    from polyseme.text.shards import Corpus
    from polyseme.train import CORPUS

    if len(text) == 1 and (Path(text[0]) / "corpus.json").is_file():
        return Corpus.open(text[0])
    where = folder / CORPUS
    if processes.first:
        meter.step("preparing the text")
        folder.mkdir(parents=True, exist_ok=True)
        report = prepare(
            text,
            where,
            PrepareOptions(**values),
            heldout_texts=heldout_text,
            resume=resume or where.exists(),
            progress=lambda p: meter.update(p.done, p.total, p.unit),
        )
        for warning in report.warnings:
            warn(warning)
    processes.wait()
    return Corpus.open(where)


def _planned(
    sizes: _Sizes, config: TrainConfig, hours: float | None, device: str, processes: Processes
) -> tuple[Plan, TrainConfig]:
    """What the run will cost; with --hours, also how long it will be. Every process times itself, the first decides."""
    import torch

    from polyseme.training.config import SIZES
    from polyseme.training.plan import BY_RISING_SIZE, plan, plan_hours

    if hours is None:
        return plan(sizes.corpus, sizes.preset, sizes.of(sizes.preset), config, sizes.vocabulary, device), config
    known = {preset: sizes.of(preset) for preset in SIZES}
    found = plan_hours(sizes.corpus, hours, known, config, sizes.vocabulary, device)
    decided = processes.from_first([BY_RISING_SIZE.index(found.preset), found.epochs], torch.device(device))
    found = replace(found, preset=BY_RISING_SIZE[int(decided[0])], epochs=int(decided[1]))
    return found, replace(config, epochs=found.epochs)


def _say_plan(plan: Plan, corpus: Corpus, *, json: bool, only: bool) -> None:
    if plan.small_text:
        warn(plan.small_text)
    if json:
        if only:
            emit(asdict(plan))
        return
    loss = f"sampled against {plan.samples:,} words" if plan.samples else "full"
    rows = [
        ("corpus", f"{counted(plan.words, 'word')}, {counted(corpus.train.n_sentences, 'sentence')}"),
        ("held out", f"{counted(corpus.heldout.n_words, 'word')}, chosen by {corpus.report.heldout_by}"),
        ("preset", f"{plan.preset}: {plan.parameters:,} parameters, {plan.softmax_parameters:,} of them the softmax's"),
        ("vocabulary", f"{plan.vocabulary:,} words to predict; {plan.unknown_share:.2%} of the text is outside"),
        ("loss", f"{loss}; evaluation is always over all words"),
        ("memory", f"about {size(plan.memory)}"),
        ("updates", f"{plan.updates:,} in {counted(plan.epochs, 'epoch')}"),
        ("speed", f"{plan.targets_per_second:,.0f} words/s in a short trial"),
        ("time", f"about {duration(plan.seconds)} (h:mm:ss), validation not counted"),
    ]
    say(table(rows))


def _train(
    corpus: Corpus,
    folder: Path,
    sizes: BiLMConfig,
    config: TrainConfig,
    plan: Plan,
    card: dict[str, str],
    processes: Processes,
    meter: Meter,
    *,
    tensorboard: bool,
    **more: Any,
) -> TrainReport:
    from polyseme.formats.model import ModelCard
    from polyseme.train import train as run

    listeners: list[Callable[[Event], None]] = [_Teller(meter)]
    if tensorboard and processes.first:
        from polyseme.training.board import Board

        listeners.append(Board(folder / "tensorboard"))
    meter.step("training")
    return run(
        corpus,
        folder,
        sizes,
        config,
        vocabulary=plan.vocabulary,
        card=ModelCard(name=folder.name, **card),
        processes=processes,
        on_event=lambda event: [listener(event) for listener in listeners] and None,
        should_stop=_Interrupt(),
        **more,
    )


class _Interrupt:
    """Ctrl-C, or a polite kill, asks the run to save and end; the second one ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


class _Teller:
    """Shows events to people: training as the meter, what should stay as lines."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def __call__(self, event: Event) -> None:
        kind = event["event"]
        if kind == "train":
            self.meter.update(event["update"], event["of"], "updates")
        elif kind == "validation":
            said = event["heldout"]
            best = "the best so far" if event["best"] else "not better"
            self.meter.note(
                f"update {event['update']:,}: held-out perplexity forward {said['forward']:.2f}, backward "
                f"{said['backward']:.2f}, mean {said['mean']:.2f} ({event['heldout_targets']:,} targets), {best}"
            )
            if event["contexts"]:
                self.meter.note("  most alike: " + "  |  ".join(event["contexts"]))
        elif kind == "rollback":
            self.meter.note(
                f"update {event['update']:,}: {event['why']}; back to update {event['to']:,} at "
                f"{event['rate_scale']:g} of the learning rate"
            )


def _tell(report: TrainReport, folder: Path, *, json: bool) -> None:
    if report.stopped:
        say(f"stopped after {counted(report.updates, 'update')}, and saved; go on with:\n  {again('--resume')}")
        return
    losses = report.losses
    assert losses is not None
    following = quoted(["polyseme", "embed", "TEXT", "-o", "vectors.safetensors", "--model", str(folder)])
    wrote = [str(folder), str(folder / "log.jsonl"), str(folder / "curve.html")]
    if json:
        emit(
            {
                "wrote": wrote,
                "perplexity": asdict(losses.perplexity),
                "targets": losses.targets,
                "updates": report.updates,
                "seconds": round(report.seconds, 1),
                "targets_per_second": round(report.targets / report.seconds, 1) if report.seconds else None,
                "rollbacks": report.rollbacks,
                "next": following,
            }
        )
        return
    said = losses.perplexity
    say(
        table(
            [
                ("held-out perplexity", f"forward {said.forward:.2f}, backward {said.backward:.2f}, mean {said.mean:.2f}"),
                ("", f"exact, over {losses.targets:,} targets a direction"),
                ("trained", f"{counted(report.updates, 'update')} in {duration(report.seconds)}"),
                ("wrote", "\n".join(wrote)),
                ("next", following),
            ]
        )
    )
    sys.stdout.flush()
