"""`polyseme embed`: text in, one file of vectors out."""

from __future__ import annotations

import sys
from dataclasses import asdict
from importlib.util import find_spec
from json import dumps as to_json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from polyseme.cli import options as opt
from polyseme.cli.output import STOPPED, Meter, again, counted, emit, quoted, say, say_error, size, table, warn
from polyseme.errors import DecodeError, MissingExtraError, OptionError, OutputError

if TYPE_CHECKING:
    from polyseme.embed_file import FileOptions, FileReport, Progress
    from polyseme.embedder import Embedder

EXAMPLE = "\b\nExample:\n  polyseme embed books/ reviews.jsonl.gz -o vectors.safetensors --model elmo-native"


def embed(
    text: opt.Text,
    out: opt.Out,
    model: opt.ModelOption = None,
    unit: opt.RecordUnit = opt.Unit.sentence,
    layers: opt.Layers = "average",
    pool: opt.Pooling = opt.Pool.none,
    format: opt.OutFormat = None,
    dtype: opt.Numbers = opt.Dtype.float16,
    tokenized: opt.Tokenized = False,
    lang: opt.Lang = None,
    text_column: opt.TextColumn = None,
    id_column: opt.IdColumn = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    unwrap: opt.Unwrap = False,
    normalize: opt.NormalForm = opt.Normalize.none,
    lowercase: opt.Lowercase = False,
    remove_stop_words: opt.RemoveStopWords = False,
    stem: opt.Stem = False,
    state: opt.StartState = None,
    batch_size: opt.BatchSize = None,
    max_tokens: opt.MaxTokens = None,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    precision: opt.Products = opt.Precision.float32,
    resume: opt.Resume = False,
    overwrite: opt.Overwrite = False,
    json: opt.Json = False,
) -> None:
    """Turn text into a file of word or sentence vectors.

    Sentences are found and cut into words by the rules of the text's language. The vectors of a sentence depend on the
    sentence and the model only. A run that was stopped goes on with --resume.
    """
    if state is opt.State.carry and batch_size is None:
        raise OptionError("--state carry needs --batch-size: row i of a batch goes on from row i of the one before")
    if model is None:
        from polyseme.fetch import shipped_for

        model = shipped_for(lang)
    _check_before_work(text, out, lang, encoding, format, may_exist=resume or overwrite)
    from polyseme.embed_file import FileOptions

    values: dict[str, Any] = {
        "unit": unit.value, "layers": layers, "pool": pool.value, "format": format and format.value,
        "dtype": dtype.value, "tokenized": tokenized, "language": lang, "text_column": text_column,
        "id_column": id_column, "encoding": encoding, "encoding_errors": encoding_errors.value, "unwrap": unwrap,
        "normalize": normalize.value, "batch_size": batch_size, "lowercase": lowercase,
        "remove_stop_words": remove_stop_words, "stem": stem,
    }  # fmt: skip
    options = FileOptions(**values)
    load_options = {"state": state and state.value, "device": device, "threads": threads}
    load_options["precision"] = precision.value
    if max_tokens is not None:
        load_options["max_tokens"] = max_tokens
    report = _run(text, out, model, options, load_options, resume, overwrite)
    _tell(report, options, json=json)


def _check_before_work(
    text: list[str], out: str, lang: str | None, encoding: str, format: str | None, *, may_exist: bool
) -> None:
    """Everything that would stop the run later and can be known before a model is opened."""
    from polyseme.store import choose_format
    from polyseme.text.decode import check_encoding
    from polyseme.text.sources import find_sources
    from polyseme.text.tokenize import tokenizer_for

    if choose_format(out, format) in ("arrow", "parquet") and find_spec("pyarrow") is None:
        raise MissingExtraError("the formats arrow and parquet", "data")
    check_encoding(encoding)
    if lang is not None:
        tokenizer_for(lang)
    sources, _ = find_sources(text)
    if any(source.format == "parquet" for source in sources) and find_spec("pyarrow") is None:
        raise MissingExtraError("reading Parquet", "data")
    if not may_exist and Path(out).exists():
        raise OutputError(f"{out} exists already; choose another name, or pass --overwrite to replace it")
    if any(source.path == "-" for source in sources) and sys.stdin.isatty():
        warn("reading text from this terminal; end it with Ctrl-D (on Windows Ctrl-Z and Enter)")


def _run(
    text: list[str],
    out: str,
    model: str,
    options: FileOptions,
    load_options: dict[str, Any],
    resume: bool,
    overwrite: bool,
) -> FileReport:
    try:
        with Meter() as meter:
            embedder = _open(model, load_options, meter)
            from polyseme.embed_file import embed_file

            meter.step(f"embedding into {out}")
            return embed_file(
                embedder, text, out, options, resume=resume, overwrite=overwrite, progress=_Teller(meter, out)
            )
    except DecodeError as error:
        # The reader knows the option that is missing; only here is the rest of the command known.
        raise DecodeError(str(error).replace("Run again with: --", f"Run again with: {again()} --")) from error
    except KeyboardInterrupt:
        partial = Path(f"{out}.partial")
        kept = f"what was finished is kept in {partial}; go on with:\n  {again('--resume')}"
        say_error("stopped; " + (kept if partial.is_dir() else "nothing was written."))
        raise typer.Exit(STOPPED) from None


def _open(model: str, load_options: dict[str, Any], meter: Meter) -> Embedder:
    meter.step("starting")
    from polyseme.embedder import load
    from polyseme.fetch import resolve

    path = resolve(model, progress=lambda done, total: meter.update(done, total or 0, "bytes"))
    meter.step(f"opening {path}")
    return load(path, **load_options)


class _Teller:
    """Hands the progress of `embed_file` to the meter; says once, before any embedding, how large OUT will be."""

    def __init__(self, meter: Meter, out: str) -> None:
        self.meter, self.out, self.said = meter, out, False

    def __call__(self, progress: Progress) -> None:
        if not self.said:
            self.said = True
            expected = progress.tokens_expected
            self.meter.note(
                f"about {expected:,} words; {self.out} will take about {size(progress.output_bytes_expected)}"
            )
        self.meter.update(progress.tokens, progress.tokens_expected, "words")


def _tell(report: FileReport, options: FileOptions, *, json: bool) -> None:
    for warning in report.warnings:
        warn(warning)
    # A JSON string is a Python string too, and its double quotes need no escaping in a POSIX shell's single ones.
    name = to_json(str(report.out), ensure_ascii=False)
    following = quoted(["python", "-c", f"import polyseme; print(polyseme.read_embeddings({name})[0])"])
    if json:
        emit({**_facts(report), "next": following})
    else:
        say(table([*_rows(report, options), ("next", following)]))


def _facts(report: FileReport) -> dict[str, Any]:
    return {
        "wrote": [str(report.out)],
        "bytes": report.output_bytes,
        "records": report.records,
        **asdict(report.counts),
        "language": report.language,
        "tokenizer": report.tokenizer,
        "seconds": round(report.seconds, 3),
        "tokens_per_second": round(report.counts.tokens / report.seconds, 1) if report.seconds else None,
        "finished_before": report.finished_before,
        "warnings": report.warnings,
    }


def _rows(report: FileReport, options: FileOptions) -> list[tuple[str, str]]:
    counts = report.counts
    repeated = f", of which {counts.repeated_sentences:,} repeated" if counts.repeated_sentences else ""
    chosen = "as asked" if options.language or options.tokenized else "the model's own, or suggested by the script"
    rows = [
        ("read", f"{counted(counts.sentences, 'sentence')}{repeated}; {counted(counts.tokens, 'word')}"),
        ("tokenizer", f"{report.tokenizer}, language {report.language} ({chosen})"),
    ]
    if counts.cut_words:
        rows.append(("cut", f"{counted(counts.cut_words, 'word')} longer than the model reads; it saw the beginning"))
    if counts.unknown_words:
        rows.append(("unknown", f"{counted(counts.unknown_words, 'word')} not in the model's word table"))
    speed = f", {counts.tokens / report.seconds:,.0f} words/s" if report.seconds > 0 else ""
    done = "was complete already" if report.finished_before else f"{report.seconds:,.1f} s{speed}"
    wrote = f"{report.out}  ({counted(report.records, 'record')}, {size(report.output_bytes)})"
    return [*rows, ("time", done), ("wrote", wrote)]
