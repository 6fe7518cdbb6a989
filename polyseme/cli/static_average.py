"""`polyseme static average`: a model's contextual vectors of each word, averaged over a text.

A verb of its own, and no target of `convert`: `convert` turns one folder into another, and this must read text, with
all the options that say how.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.cli import options as opt
from polyseme.cli import static_options as sop
from polyseme.cli.language_model import check_text, retry_with_this_command
from polyseme.cli.output import Meter, again, counted, emit, say, size, table, warn
from polyseme.cli.static_query import written
from polyseme.errors import DecodeError, OptionError

if TYPE_CHECKING:
    from polyseme.embedder import Embedder
    from polyseme.embedding import Embedding
    from polyseme.lm.text import TextFiles
    from polyseme.static.vectors import StaticVectors

EXAMPLE = "\b\nExample:\n  polyseme static average books/ --model my-elmo -o elmo-static.txt"
_TOGETHER = 8192  # words embedded at once


def average(
    text: opt.Text,
    out: sop.VectorsOut,
    model: opt.ModelOption = None,
    layer: sop.Layer = "average",
    min_count: sop.AverageMinCount = 5,
    format: sop.OutFormat = None,
    tokenized: opt.Tokenized = False,
    lang: opt.Lang = None,
    text_column: opt.TextColumn = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    unwrap: opt.Unwrap = False,
    state: opt.SentenceState = None,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    overwrite: opt.Overwrite = False,
    json: opt.Json = False,
) -> None:
    """Turn a model into static vectors: each word's contextual vectors, averaged over a text.

    The text is read twice, first to find the words that come often enough; standard input once, with memory for every
    word that it holds.
    """
    if model is None:
        from polyseme.fetch import shipped_for

        model = shipped_for(lang)
    _check_before_work(text, out, format and format.value, lang, encoding, layer, overwrite=overwrite)
    values = {
        "tokenized": tokenized, "language": lang, "text_column": text_column, "encoding": encoding,
        "encoding_errors": encoding_errors.value, "unwrap": unwrap,
    }  # fmt: skip
    started = time.monotonic()
    try:
        with Meter() as meter:
            meter.step("starting")
            from polyseme.embedder import load
            from polyseme.fetch import resolve
            from polyseme.static.files import write_vectors

            path = resolve(model, progress=lambda done, total: meter.update(done, total or 0, "bytes"))
            meter.step(f"opening {path}")
            embedder = load(path, state=state and state.value, device=device, threads=threads)
            vectors, warnings = _averaged(embedder, text, values, _layer(layer), min_count, meter)
            meter.step(f"writing {out}")
            lost = write_vectors(vectors, out, format and format.value, overwrite=overwrite)
    except DecodeError as error:
        raise retry_with_this_command(error, again()) from error
    facts = {"model": model, "layer": layer, "words": len(vectors), "width": vectors.width}
    facts |= {"running_words": embedder.counts.tokens, "not_held": lost, "recipe": vectors.about.recipe}
    _tell(facts, vectors, out, warnings, time.monotonic() - started, json=json)


def _check_before_work(
    text: list[str], out: str, format: str | None, lang: str | None, encoding: str, layer: str, *, overwrite: bool
) -> None:
    """Everything that would stop the run later and can be known before a model is opened."""
    from polyseme.static.files import format_for, refuse_existing

    if layer not in ("average", "top") and not layer.isdecimal():
        raise OptionError(f"--layer must be average, top or a number, was: {layer!r}")
    format_for(out, format)
    refuse_existing(Path(out), overwrite)
    check_text(text, lang, encoding)


def _layer(layer: str) -> str | int:
    return int(layer) if layer.isdecimal() else layer


def _averaged(
    embedder: Embedder, text: list[str], values: dict[str, Any], layer: str | int, min_count: int, meter: Meter
) -> tuple[StaticVectors, list[str]]:
    """(the vectors, what a user should know of the text)."""
    from polyseme.lm.text import TextFiles
    from polyseme.records import FileOptions
    from polyseme.static.average import averaged
    from polyseme.static.vectors import About

    def files() -> TextFiles:
        return TextFiles(embedder.model, text, FileOptions(**values), keep_empty=False)

    keep = None
    if "-" not in text:
        meter.step("counting words")
        counts = Counter(chain.from_iterable(files()))
        keep = [word for word, count in counts.items() if count >= min_count]
    meter.step("embedding")
    reading = files()
    recipe = f"layer {layer} of {embedder.model.card.name or 'a model'}, weights {embedder.model_hash[:12]}, words "
    about = About("average", f"{recipe}that come {min_count} times", ", ".join(text))
    vectors = averaged(
        embedded(embedder, reading, meter),
        layer=layer,
        min_count=min_count,
        keep=keep,
        text=embedder.model.text,
        about=about,
    )
    return vectors, reading.warnings()


def embedded(embedder: Embedder, sentences: TextFiles, meter: Meter) -> Iterator[Embedding]:
    """The sentences' embeddings, a few thousand words at a time."""
    done = 0
    for some in _blocks(sentences):
        yield from embedder.embed(some)
        done += sum(map(len, some))
        meter.update(done, sentences.expected(done), "words")


def _blocks(sentences: Iterable[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    block: list[tuple[str, ...]] = []
    n_words = 0
    for sentence in sentences:
        block.append(sentence)
        n_words += len(sentence)
        if n_words >= _TOGETHER:
            yield block
            block, n_words = [], 0
    if block:
        yield block


def _tell(
    facts: dict[str, Any], vectors: StaticVectors, out: str, warnings: list[str], seconds: float, *, json: bool
) -> None:
    for warning in warnings:
        warn(warning)
    n_bytes, following = written(vectors, out)
    if json:
        more = {"warnings": warnings, "seconds": round(seconds, 3), "next": following}
        emit({"wrote": [out], "bytes": n_bytes, **facts, **more})
        return
    speed = f", {facts['running_words'] / seconds:,.0f} words/s" if seconds > 0 else ""
    rows = [
        ("read", counted(facts["running_words"], "word")),
        ("vectors", f"{facts['words']:,} words, width {facts['width']}, layer {facts['layer']}"),
    ]
    if facts["not_held"]:
        rows.append(("not held", "\n".join(facts["not_held"])))
    rows += [("time", f"{seconds:,.1f} s{speed}"), ("wrote", f"{out}  ({size(n_bytes)})"), ("next", following)]
    say(table(rows))
