"""`polyseme evaluate`: the exact perplexity of a text."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any

from polyseme.cli import options as opt
from polyseme.cli.language_model import check_text, open_language_model, retry_with_this_command, text_files
from polyseme.cli.output import Meter, counted, emit, quoted, say, table, warn
from polyseme.errors import DecodeError

if TYPE_CHECKING:
    from polyseme.lm.perplexity import PerplexityReport

EXAMPLE = "\b\nExample:\n  polyseme evaluate my-model ptb.test.txt --tokenized"


def evaluate(
    model: opt.LanguageModelArgument,
    text: opt.Text,
    tokenized: opt.Tokenized = False,
    lang: opt.Lang = None,
    text_column: opt.TextColumn = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    unwrap: opt.Unwrap = False,
    empty_lines: opt.OnEmptyLines = opt.EmptyLines.keep,
    state: opt.StreamState = None,
    lanes: opt.LaneCount = 1,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    json: opt.Json = False,
) -> None:
    """Measure how well a model predicts a text: exact perplexity, in both directions.

    Every word and one boundary a sentence are scored against the full vocabulary, however the model was trained. With
    --tokenized a line is a sentence, and an empty line counts by its end, as the published figures have it.
    """
    check_text(text, lang, encoding)
    values = {
        "tokenized": tokenized, "language": lang, "text_column": text_column, "encoding": encoding,
        "encoding_errors": encoding_errors.value, "unwrap": unwrap,
    }  # fmt: skip
    try:
        with Meter() as meter:
            lm = open_language_model(model, meter, device=device, threads=threads)
            from polyseme.lm import perplexity

            files = text_files(lm, text, values, keep_empty=empty_lines is opt.EmptyLines.keep)
            meter.step("evaluating")
            started = time.monotonic()
            report = perplexity.evaluate(
                lm,
                files,
                state=state and state.value,
                lanes=lanes,
                progress=lambda done: meter.update(done, files.expected(done), "words"),
            )
    except DecodeError as error:
        raise retry_with_this_command(error, quoted(["polyseme", *sys.argv[1:]])) from error
    seconds = time.monotonic() - started
    warnings = [*files.warnings(), *report.warnings()]
    for warning in warnings:
        warn(warning)
    following = quoted(["polyseme", "score", model, *text, *(["--tokenized"] if tokenized else []), "--words"])
    if json:
        tokenizer = files.tokenizer.name if files.tokenizer else ""
        facts = {"model": model, **_facts(report), "tokenizer": tokenizer, "warnings": warnings}
        emit({**facts, "seconds": round(seconds, 3), "next": following})
    else:
        say(table([("model", model), *_rows(report, seconds), ("next", following)]))


def _facts(report: PerplexityReport) -> dict[str, Any]:
    found = report.perplexity
    return {
        "perplexity": {
            "forward": _finite(found.forward), "backward": _finite(found.backward), "mean": _finite(found.mean)
        },
        "cross_entropy": {
            "forward": report.losses.forward / report.targets, "backward": report.losses.backward / report.targets
        },
        "targets": report.targets,
        "tokens": report.tokens,
        "sentences": report.sentences,
        "unknown_share": report.unknown_share,
        "unknown_words": report.unknown_words,
        "cut_words": report.cut_words,
        "vocabulary": report.vocabulary,
        "state": report.state,
        "lanes": report.lanes,
    }  # fmt: skip


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def _rows(report: PerplexityReport, seconds: float) -> list[tuple[str, str]]:
    found, lanes = report.perplexity, f", {report.lanes} lanes" if report.lanes > 1 else ""
    words = f"{counted(report.sentences, 'sentence')}, {counted(report.tokens, 'word')}"
    rows = [
        ("read", words),
        ("targets", f"{report.targets:,} a direction: every word, and one boundary a sentence"),
        ("unknown", f"{report.unknown_share:.2%} of the words, scored as <UNK>; vocabulary {report.vocabulary:,}"),
        ("state", f"{report.state}{lanes}"),
        ("forward", f"perplexity {found.forward:,.3f}"),
        ("backward", f"perplexity {found.backward:,.3f}"),
        ("mean", f"perplexity {found.mean:,.3f}"),
    ]
    if report.cut_words:
        rows.insert(2, ("cut", f"{counted(report.cut_words, 'word')} longer than the model reads"))
    speed = f", {report.tokens / seconds:,.0f} words/s" if seconds > 0 else ""
    return [*rows, ("time", f"{seconds:,.1f} s{speed}")]
