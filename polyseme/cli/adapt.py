"""`polyseme adapt`: a trained model and the text of a domain in, a model that knows the domain out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from polyseme.cli import options as opt
from polyseme.cli import train_options as top
from polyseme.cli.machine import settle_in
from polyseme.cli.output import STOPPED, Meter, counted, duration, emit, quoted, say, say_error, table, warn
from polyseme.cli.training import (
    Interrupt,
    Teller,
    again_launched,
    board_of,
    corpus_of,
    device_of,
    opened_model,
    prepared,
    refuse_no_heldout,
)

if TYPE_CHECKING:
    from polyseme.formats.model import Model
    from polyseme.lm.losses import LossSums
    from polyseme.lm.text import TextFiles
    from polyseme.text.prepare import PrepareOptions
    from polyseme.text.shards import Corpus
    from polyseme.train import Event
    from polyseme.training.adapt import AdaptReport, Start
    from polyseme.training.config import TrainConfig
    from polyseme.training.processes import Processes

EXAMPLE = "\b\nExample:\n  polyseme adapt my-elmo contracts/ -o elmo-law --guard news.heldout.txt"


def adapt(
    model: opt.AdaptedModel,
    text: top.TextOrCorpus,
    out: top.ModelOut,
    new_vocabulary: opt.NewVocabulary = False,
    vocab_size: opt.NewVocabularySize = None,
    guard: opt.Guard = None,
    guard_limit: opt.GuardLimit = 1.1,
    epochs: top.Epochs = None,
    learning_rate: top.LearningRate = None,
    batch_size: top.Lanes = None,
    steps: top.Steps = None,
    accumulate: top.Accumulate = None,
    loss: top.Loss = None,
    samples: top.Samples = None,
    precision: top.TrainPrecision = None,
    validate_every: top.ValidateEvery = None,
    checkpoint_every: top.CheckpointEvery = None,
    patience: top.Patience = None,
    log_every: top.LogEvery = None,
    tokenized: opt.Tokenized = False,
    lang: opt.Lang = None,
    text_column: opt.TextColumn = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    unwrap: opt.Unwrap = False,
    empty_lines: opt.OnEmptyLines = opt.EmptyLines.skip,
    heldout: opt.HeldOutShare = 0.05,
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
    """Go on with a trained model on the text of a domain, gently.

    Words are made as the model makes them, and everything is trained at a tenth of the ordinary rate until held-out
    text gains no more. A published model without a softmax gets a new one. With --guard it is said what that cost the
    text that the model knew.
    """
    settle_in()
    from polyseme.training.outcome import refuse_used
    from polyseme.training.processes import joined

    refuse_no_heldout(text, heldout, heldout_text)
    reading = {
        "tokenized": tokenized, "language": lang, "text_column": text_column, "encoding": encoding,
        "encoding_errors": encoding_errors.value, "unwrap": unwrap,
    }  # fmt: skip
    kept = {"empty_lines": empty_lines.value, "heldout": heldout, "seed": seed}
    given = {
        "epochs": epochs, "learning_rate": learning_rate, "lanes": batch_size, "steps": steps, "accumulate": accumulate,
        "loss": loss and loss.value, "samples": samples, "precision": precision, "validate_every": validate_every,
        "checkpoint_every": checkpoint_every, "patience": patience, "log_every": log_every, "seed": seed,
    }  # fmt: skip
    folder, report = Path(out), None
    with joined(device) as processes, Meter(quiet=not processes.first) as meter:
        device, resume_command = device_of(device, threads, processes), again_launched(processes, "--resume")
        if processes.first and not resume:
            refuse_used(folder)
        if guard:
            _check_guard(guard)
        board = board_of(folder) if tensorboard and processes.first else None
        try:
            opened = opened_model(model, meter)
            _check(opened, new_vocabulary=new_vocabulary, vocabulary=vocab_size, guard_limit=guard_limit)
            reading = _as_the_model_reads(opened, reading)
            options = _prepare_options(opened, {**reading, **kept})
            corpus = corpus_of(
                text, folder, options, heldout_text or [], processes, meter, resume=resume, characters=opened.characters
            )
            if prepared(text) and processes.first:
                _warn_of_other_words(opened, corpus)
            card = {"data": data or _data(opened, text), "licence": licence, "recipe": again_launched(processes)}
            listeners: list[Callable[[Event], None]] = [Teller(meter), *([board] if board is not None else [])]
            with Interrupt(processes) as interrupt:
                report = _adapt(
                    opened, corpus, folder, _config(corpus, given), card, processes, meter,
                    guard=_guard(opened, corpus, guard, reading, keep_empty=empty_lines is opt.EmptyLines.keep),
                    guard_limit=guard_limit, new_vocabulary=new_vocabulary, vocabulary=vocab_size, resume=resume,
                    device=device, should_stop=interrupt,
                    on_event=lambda event: [listener(event) for listener in listeners] and None,
                )  # fmt: skip
        except KeyboardInterrupt:
            if processes.first:
                say_error(f"stopped; what was saved before is kept, go on with:\n  {resume_command}")
        finally:
            if board is not None:
                board.close()
        if processes.first and report is not None:
            _tell(report, folder, resume_command, json=json)
    if report is None or report.training.stopped:
        raise typer.Exit(STOPPED)


# --- what is read


def _check(model: Model, **options: Any) -> None:
    """Before the text is prepared for a model that cannot read it."""
    from polyseme.training.adapt import check

    check(model, **options)


def _as_the_model_reads(model: Model, reading: dict[str, Any]) -> dict[str, Any]:
    """The text is cut into words as that of the model's training was, unless the command line says otherwise."""
    tokenized = reading["tokenized"] or (reading["language"] is None and model.text.tokenizer == "whitespace")
    own = (*model.text.languages, None)[0] if tokenized else model.text.tokenizer or None
    return reading | {"tokenized": tokenized, "language": reading["language"] or own}


def _prepare_options(model: Model, values: dict[str, Any]) -> PrepareOptions:
    """What was done to the words of the model's training is done to these."""
    from polyseme.text.prepare import PrepareOptions

    known = {name: getattr(model.text, name) for name in ("lowercase", "remove_stop_words", "stem", "normalize")}
    return PrepareOptions(**values, **known)


def _warn_of_other_words(model: Model, corpus: Corpus) -> None:
    """Of a corpus that was prepared without the model in mind."""
    if model.text.tokenizer not in ("", corpus.text.tokenizer):
        warn(
            f"the corpus was cut into words by {corpus.text.tokenizer}, the text of the model's training by "
            f"{model.text.tokenizer}"
        )


def _check_guard(guard: list[str]) -> None:
    from polyseme.text.sources import find_sources

    find_sources(guard)


def _guard(
    model: Model, corpus: Corpus, guard: list[str] | None, reading: dict[str, Any], *, keep_empty: bool
) -> Callable[[], TextFiles] | None:
    """The old text, cut as the new one was."""
    from polyseme.lm.text import TextFiles
    from polyseme.records import FileOptions

    if not guard:
        return None
    as_read = replace(model, text=corpus.text)
    return lambda: TextFiles(as_read, guard, FileOptions(**reading), keep_empty=keep_empty)


def _data(model: Model, text: list[str]) -> str:
    before = model.card.data or model.card.name
    return "; then ".join([*([before] if before else []), ", ".join(text)])


# --- what is done


def _config(corpus: Corpus, given: dict[str, Any]) -> TrainConfig:
    from polyseme.training.adapt import gentle

    return replace(gentle(corpus), **{name: value for name, value in given.items() if value is not None})


def _adapt(
    model: Model,
    corpus: Corpus,
    folder: Path,
    config: TrainConfig,
    card: dict[str, str],
    processes: Processes,
    meter: Meter,
    **more: Any,
) -> AdaptReport:
    from polyseme.formats.model import ModelCard
    from polyseme.training.adapt import adapt as run

    def started(start: Start) -> None:
        meter.note(f"softmax: {_softmax(start.softmax, start.kept, start.made)}")
        meter.step("training")

    meter.step("reading the text with the model as it is")
    return run(
        model, corpus, folder, config, card=ModelCard(name=folder.name, **card), processes=processes, on_start=started,
        **more,
    )  # fmt: skip


def _softmax(kind: str, kept: int, made: int) -> str:
    if kind == "kept":
        return f"the model's own, {counted(kept, 'word')}"
    if kind == "new":
        return f"made new, for {counted(made, 'word')}: the model had none, so only vectors can be compared with before"
    return f"a new vocabulary of {counted(kept + made, 'word')}: {kept:,} rows kept, {made:,} made"


# --- what is said


def _tell(report: AdaptReport, folder: Path, resume: str, *, json: bool) -> None:
    training, warnings = report.training, report.warnings()
    for warning in warnings:
        warn(warning)
    embedding = quoted(["polyseme", "embed", "TEXT", "-o", "vectors.safetensors", "--model", str(folder)])
    wrote = [str(folder), str(folder / "log.jsonl"), str(folder / "curve.html")]
    following = resume if training.stopped else embedding
    if json:
        emit(
            {
                "wrote": wrote,
                "softmax": {"kind": report.softmax, "kept": report.kept, "made": report.made},
                "perplexity": {"before": _facts(report.before), "after": _facts(report.after)},
                "targets": report.before.targets if report.before else None,
                "guard": _guard_facts(report),
                "warnings": warnings,
                "updates": training.updates,
                "seconds": round(training.seconds, 1),
                "rollbacks": training.rollbacks,
                "stopped": training.stopped,
                "next": following,
            }
        )
        return
    if training.stopped:
        say(f"stopped after {counted(training.updates, 'update')}, and saved; go on with:\n  {resume}")
        return
    rows = [("softmax", _softmax(report.softmax, report.kept, report.made))]
    rows += _rows("held-out text", report.before, report.after)
    if report.guard_before is not None and report.guard_after is not None:
        rows += _rows("old text", report.guard_before.losses, report.guard_after.losses)
        rows.append(("", f"{report.guard_factor:.3f} times what it was (limit {report.guard_limit:g})"))
    rows += [
        ("trained", f"{counted(training.updates, 'update')} in {duration(training.seconds)}"),
        ("wrote", "\n".join(wrote)),
        ("next", following),
    ]
    say(table(rows))


def _rows(name: str, before: LossSums | None, after: LossSums | None) -> list[tuple[str, str]]:
    assert before is not None
    assert after is not None
    old, new = before.perplexity, after.perplexity
    return [
        (name, f"perplexity {old.mean:,.2f} before, {new.mean:,.2f} after, over {after.targets:,} targets a direction"),
        (
            "",
            f"forward {old.forward:,.2f} and {new.forward:,.2f}, backward {old.backward:,.2f} and {new.backward:,.2f}",
        ),
    ]


def _facts(losses: LossSums | None) -> dict[str, float | None] | None:
    """Perplexities; JSON has no infinity."""
    if losses is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in asdict(losses.perplexity).items()}


def _guard_facts(report: AdaptReport) -> dict[str, Any] | None:
    before, after = report.guard_before, report.guard_after
    if before is None:
        return None
    return {
        "before": _facts(before.losses),
        "after": _facts(after.losses if after else None),
        "factor": report.guard_factor,
        "limit": report.guard_limit,
        "kept": report.guard_factor is not None and report.guard_factor <= report.guard_limit,
        "targets": before.targets,
        "unknown_share": before.unknown_share,
    }
