"""What evaluate, score, generate and substitutes share: opening a model that predicts, and naming what was read."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from polyseme.cli.output import Meter, warn
from polyseme.errors import DecodeError, MissingExtraError

if TYPE_CHECKING:
    from polyseme.lm.network import LanguageModel
    from polyseme.lm.text import TextFiles


def check_text(text: list[str], lang: str | None, encoding: str) -> None:
    """Everything about the text that would stop the run later and can be known before a model is opened."""
    from polyseme.text.decode import check_encoding
    from polyseme.text.sources import find_sources
    from polyseme.text.tokenize import tokenizer_for

    check_encoding(encoding)
    if lang is not None:
        tokenizer_for(lang)
    sources, _ = find_sources(text)
    if any(source.format == "parquet" for source in sources) and find_spec("pyarrow") is None:
        raise MissingExtraError("reading Parquet", "data")
    if any(source.path == "-" for source in sources) and sys.stdin.isatty():
        warn("reading text from this terminal; end it with Ctrl-D (on Windows Ctrl-Z and Enter)")


def open_language_model(model: str, meter: Meter, *, device: str = "cpu", threads: int | None = None) -> LanguageModel:
    """The model, fetched if need be."""
    meter.step("starting")
    from polyseme.fetch import resolve
    from polyseme.lm.network import load

    path = resolve(model, progress=lambda done, total: meter.update(done, total or 0, "bytes"))
    meter.step(f"opening {path}")
    return load(path, device=device, threads=threads)


def text_files(lm: LanguageModel, text: list[str], values: dict[str, Any], *, keep_empty: bool) -> TextFiles:
    """The text to read; `values` are fields of `FileOptions`."""
    from polyseme.lm.text import TextFiles
    from polyseme.records import FileOptions

    return TextFiles(lm.model, text, FileOptions(**values), keep_empty=keep_empty)


def retry_with_this_command(error: DecodeError, again: str) -> DecodeError:
    """The reader knows the option that is missing; only the verb knows the rest of the command."""
    return DecodeError(str(error).replace("Run again with: --", f"Run again with: {again} --"))
