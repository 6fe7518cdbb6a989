"""`polyseme prepare`: text in, a corpus for training out."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from polyseme.cli import options as opt
from polyseme.cli.output import STOPPED, Meter, again, counted, emit, quoted, say, say_error, size, table, warn
from polyseme.errors import DecodeError

if TYPE_CHECKING:
    from polyseme.text.prepare import PrepareOptions, Progress
    from polyseme.text.shards import PrepareReport

EXAMPLE = "\b\nExample:\n  polyseme prepare books/ news.txt.xz -o corpus --lang en"


def prepare(
    text: opt.Text,
    out: opt.CorpusOut,
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
    characters: opt.WordCharacters = opt.Alphabet.auto,
    vocab_size: opt.VocabSize = None,
    heldout: opt.HeldOutShare = 0.01,
    heldout_text: opt.HeldOutText = None,
    seed: opt.Seed = 1,
    processes: opt.Processes = None,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    json: opt.Json = False,
) -> None:
    """Turn text into a corpus for training.

    Text of any size is cut into sentences and words, in little memory; what is done to it is recorded and becomes part
    of the model. The same text and options give the same files. A run that was stopped goes on with --resume.
    """
    from polyseme.text.prepare import PrepareOptions

    values: dict[str, Any] = {
        "language": lang, "tokenized": tokenized, "lowercase": lowercase, "remove_stop_words": remove_stop_words,
        "stem": stem, "normalize": normalize.value, "unwrap": unwrap, "encoding": encoding,
        "encoding_errors": encoding_errors.value, "text_column": text_column, "empty_lines": empty_lines.value,
        "max_characters": max_characters, "characters": characters.value, "vocab_size": vocab_size,
        "heldout": heldout, "seed": seed,
    }  # fmt: skip
    options = PrepareOptions(**values)
    if "-" in text and sys.stdin.isatty():
        warn("reading text from this terminal; end it with Ctrl-D (on Windows Ctrl-Z and Enter)")
    finished_before = resume and (Path(out) / "corpus.json").exists()
    started = time.monotonic()
    report = _run(text, out, options, heldout_text or [], resume=resume, overwrite=overwrite, processes=processes)
    _tell(report, out, time.monotonic() - started, finished_before=finished_before, json=json)


def _run(text: list[str], out: str, options: PrepareOptions, heldout_text: list[str], **more: Any) -> PrepareReport:
    from polyseme.text.prepare import prepare

    try:
        with Meter() as meter:
            return prepare(text, out, options, heldout_texts=heldout_text, progress=_Teller(meter), **more)
    except DecodeError as error:
        # The reader knows the option that is missing; only here is the rest of the command known.
        raise DecodeError(str(error).replace("Run again with: --", f"Run again with: {again()} --")) from error
    except KeyboardInterrupt:
        partial = Path(f"{out}.partial")
        kept = f"what was finished is kept in {partial}; go on with:\n  {again('--resume')}"
        say_error("stopped; " + (kept if partial.is_dir() else "nothing was written."))
        raise typer.Exit(STOPPED) from None


class _Teller:
    """Hands the progress of `prepare` to the meter, stage by stage."""

    def __init__(self, meter: Meter) -> None:
        self.meter, self.stage = meter, ""

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self.stage:
            self.stage = progress.stage
            self.meter.step(progress.stage)
        self.meter.update(progress.done, progress.total, progress.unit)


def _tell(report: PrepareReport, out: str, seconds: float, *, finished_before: bool, json: bool) -> None:
    for warning in report.warnings:
        warn(warning)
    following = quoted(["polyseme", "train", out, "-o", "MODEL"])
    n_bytes = sum(path.stat().st_size for path in Path(out).iterdir())
    if json:
        words = report.train_words + report.heldout_words
        facts = {
            "wrote": [out],
            "bytes": n_bytes,
            **asdict(report),
            "train_targets": report.train_targets,
            "heldout_targets": report.heldout_targets,
            "seconds": round(seconds, 3),
            "words_per_second": round(words / seconds, 1) if seconds else None,
            "finished_before": finished_before,
            "next": following,
        }
        emit(facts)
        return
    done = "was complete already" if finished_before else f"{seconds:,.1f} s"
    ending = [("time", done), ("wrote", f"{out}  ({size(n_bytes)})"), ("next", following)]
    say(table([*_rows(report), *ending]))


def _rows(report: PrepareReport) -> list[tuple[str, str]]:
    sentences, words = report.train_sentences + report.heldout_sentences, report.train_words + report.heldout_words
    chosen = "as asked" if report.language_given else "suggested by the script; --lang names another"
    rows = [
        (
            "read",
            f"{counted(report.documents, 'document')}; {counted(sentences, 'sentence')}; {counted(words, 'word')}; "
            f"{counted(report.types, 'word type')}",
        ),
        ("tokenizer", f"{report.tokenizer}, language {report.language} ({chosen})"),
        ("training", _part(report.train_sentences, report.train_words)),
        ("held out", f"{_part(report.heldout_sentences, report.heldout_words)}; {_pieces(report)}"),
        (
            "vocabulary",
            f"{report.vocab_size:,} types; unknown: {report.unknown_share:.2%} of the training words, "
            f"{report.heldout_unknown_share:.2%} of those held out",
        ),
        ("characters", f"{report.alphabet}\n{counted(report.cut_words, 'word')} cut"),
        ("lines", f"{report.lines:,}, of which {report.empty_lines:,} empty{_kept(report)}; {_undecodable(report)}"),
    ]
    if report.emptied_sentences:
        rows.append(("left out", f"{counted(report.emptied_sentences, 'sentence')} of stop words alone"))
    return rows


def _part(sentences: int, words: int) -> str:
    return f"{counted(sentences, 'sentence')}, {counted(words, 'word')} ({sentences + words:,} targets)"


def _pieces(report: PrepareReport) -> str:
    if report.heldout_by == "none":
        return "nothing was asked for"
    share = report.heldout_words / max(1, report.heldout_words + report.train_words)
    kind = {"documents": "whole document", "blocks": "block", "files": "file"}[report.heldout_by]
    where = " spread over the text" if report.heldout_by == "blocks" else ""
    return f"{counted(report.heldout_pieces, kind)}{where}, {share:.2%} of the words"


def _kept(report: PrepareReport) -> str:
    return " (kept as sentences of no words)" if report.empty_sentences else ""


def _undecodable(report: PrepareReport) -> str:
    if not report.lines_replaced and not report.lines_skipped:
        return "none undecodable"
    return f"undecodable: {report.lines_replaced:,} mended with U+FFFD, {report.lines_skipped:,} left out"
