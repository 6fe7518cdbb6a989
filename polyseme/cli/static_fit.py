"""`polyseme static fit`: text in, word vectors out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.cli import options as opt
from polyseme.cli import static_options as sop
from polyseme.cli import train_options as top
from polyseme.cli.language_model import check_text, retry_with_this_command
from polyseme.cli.output import Meter, again, counted, emit, say, size, table, warn
from polyseme.cli.static_query import written
from polyseme.cli.training import prepared, refuse_text_options
from polyseme.errors import DecodeError, MissingExtraError, OptionError

if TYPE_CHECKING:
    from polyseme.static.bow import BagOfWords
    from polyseme.static.vectors import StaticVectors
    from polyseme.text.shards import Corpus

EXAMPLE = "\b\nExample:\n  polyseme static fit word2vec books/ news.txt.xz -o vectors --lang en"
_PACKAGE = {"word2vec": "gensim", "fasttext": "gensim", "glove": "numba", "bow": "sklearn"}
_OF_NETWORKS = ("window", "epochs", "learning_rate")
_OF_GENSIM = ("model", "negative", "workers")
_OPTIONS = {
    "word2vec": (*_OF_NETWORKS, *_OF_GENSIM),
    "fasttext": (*_OF_NETWORKS, *_OF_GENSIM, "min_n", "max_n", "buckets"),
    "glove": (*_OF_NETWORKS, "x_max"),
    "bow": (),
}


def fit(
    kind: sop.KindArgument,
    text: top.TextOrCorpus,
    out: sop.VectorsOut,
    format: sop.OutFormat = None,
    width: sop.Width = None,
    window: sop.Window = None,
    min_count: sop.MinCount = None,
    epochs: sop.Epochs = None,
    learning_rate: sop.LearningRate = None,
    cbow: sop.Cbow = False,
    negative: sop.Negative = None,
    workers: sop.Workers = None,
    min_n: sop.MinN = None,
    max_n: sop.MaxN = None,
    buckets: sop.Buckets = None,
    x_max: sop.XMax = None,
    seed: opt.Seed = 1,
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
    overwrite: opt.Overwrite = False,
    json: opt.Json = False,
) -> None:
    """Train word vectors on your text, or on a prepared corpus (of which the held-out part is not read).

    The text is cut into words as `polyseme prepare` does. For text that you will use again, prepare it once and give
    the corpus here and to `polyseme train`: both then learn from the very same words.
    """
    given = {
        "window": window, "epochs": epochs, "learning_rate": learning_rate, "model": "cbow" if cbow else None,
        "negative": negative, "workers": workers, "min_n": min_n, "max_n": max_n, "buckets": buckets, "x_max": x_max,
    }  # fmt: skip
    text_values: dict[str, Any] = {
        "language": lang, "tokenized": tokenized, "lowercase": lowercase, "remove_stop_words": remove_stop_words,
        "stem": stem, "normalize": normalize.value, "unwrap": unwrap, "encoding": encoding,
        "encoding_errors": encoding_errors.value, "text_column": text_column,
    }  # fmt: skip
    run = _trainer(kind.value, given, {"width": width, "min_count": min_count, "seed": seed})
    _check_before_work(kind.value, text, out, format and format.value, text_values, overwrite=overwrite)
    started = time.monotonic()
    try:
        with Meter() as meter, _corpus(text, Path(out), text_values, meter) as corpus:
            vectors, bag = run(corpus, meter)
            vectors.about = replace(vectors.about, data=", ".join(text))
            meter.step(f"writing {out}")
            lost = _write(vectors, bag, out, format and format.value, overwrite)
            facts = _facts(corpus, vectors, lost, out, time.monotonic() - started)
    except DecodeError as error:
        raise retry_with_this_command(error, again()) from error
    _tell(facts, json=json)


def _check_before_work(
    kind: str, text: list[str], out: str, format: str | None, text_values: dict[str, Any], *, overwrite: bool
) -> None:
    """Everything that would stop the run later and can be known before the text is read."""
    from polyseme.static.files import format_for, refuse_existing
    from polyseme.text.prepare import PrepareOptions

    if find_spec(_PACKAGE[kind]) is None:
        raise MissingExtraError(f"`static fit {kind}`", "static")
    format_for(out, format)
    refuse_existing(Path(out), overwrite)
    options = PrepareOptions(heldout=0, **text_values)
    refuse_text_options(text, text_values, [])
    if prepared(text):
        return
    check_text(text, options.language, options.encoding)


def _trainer(
    kind: str, given: dict[str, Any], shared: dict[str, Any]
) -> Callable[[Corpus, Meter], tuple[StaticVectors, BagOfWords | None]]:
    """What trains vectors of this kind. Raises `OptionError` for an option of another kind or out of its range."""
    chosen = {name: value for name, value in given.items() if value is not None}
    if foreign := sorted(chosen.keys() - set(_OPTIONS[kind])):
        name = "cbow" if foreign[0] == "model" else foreign[0].replace("_", "-")
        raise OptionError(f"--{name} is no option of {kind}; leave it out")
    chosen |= {name: value for name, value in shared.items() if value is not None}
    if kind == "bow":
        return lambda corpus, meter: _bag(corpus, chosen, meter)
    if kind == "glove":
        from polyseme.static import glove

        glove_config = glove.GloveConfig(**chosen)
        return lambda corpus, meter: (glove.fit(corpus, glove_config, _stages(meter)), None)
    from polyseme.static import fasttext, word2vec

    if kind == "fasttext":
        config = fasttext.FastTextConfig(**chosen)
        return lambda corpus, meter: (fasttext.fit(corpus, config, _words_read(meter)), None)
    plain = word2vec.Word2VecConfig(**chosen)
    return lambda corpus, meter: (word2vec.fit(corpus, plain, _words_read(meter)), None)


def _bag(corpus: Corpus, chosen: dict[str, Any], meter: Meter) -> tuple[StaticVectors, BagOfWords]:
    from polyseme.static import bow

    meter.step("counting words, and finding latent dimensions")
    bag, vectors = bow.fit(corpus, **chosen)
    return vectors, bag


def _words_read(meter: Meter) -> Callable[[int, int], None]:
    meter.step("training")
    return lambda done, total: meter.update(done, total, "words")


def _stages(meter: Meter) -> Callable[[str, int, int, str], None]:
    said: list[str] = []

    def told(stage: str, done: int, total: int, unit: str) -> None:
        if stage not in said:
            said.append(stage)
            meter.step(stage)
        meter.update(done, total, unit)

    return told


@contextmanager
def _corpus(text: list[str], out: Path, text_values: dict[str, Any], meter: Meter) -> Iterator[Corpus]:
    """The corpus that was given, or the text prepared in a folder beside OUT, which goes when the run ends."""
    from polyseme.text.prepare import PrepareOptions, prepare
    from polyseme.text.shards import Corpus

    if prepared(text):
        yield Corpus.open(text[0])
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent, ignore_cleanup_errors=True) as folder:
        meter.step("preparing the text")
        report = prepare(
            text,
            Path(folder) / "corpus",
            PrepareOptions(heldout=0, **text_values),
            progress=lambda p: meter.update(p.done, p.total, p.unit),
        )
        for warning in report.warnings:
            warn(warning)
        yield Corpus.open(Path(folder) / "corpus")


def _write(vectors: StaticVectors, bag: BagOfWords | None, out: str, format: str | None, overwrite: bool) -> list[str]:
    from polyseme.static.files import format_for, write_vectors

    if bag is None:
        return write_vectors(vectors, out, format, overwrite=overwrite)
    if format_for(out, format) == "folder":
        bag.save(vectors, out, overwrite=overwrite)
        return []
    return [*write_vectors(vectors, out, format, overwrite=overwrite), "the document frequencies of TF-IDF"]


def _facts(corpus: Corpus, vectors: StaticVectors, lost: list[str], out: str, seconds: float) -> dict[str, Any]:
    n_bytes, following = written(vectors, out)
    report = corpus.report
    known = [corpus.counts[index] for index in range(3, len(corpus)) if corpus.words[index] in vectors]
    return {
        "wrote": [out],
        "bytes": n_bytes,
        "kind": vectors.about.kind,
        "words": len(vectors),
        "width": vectors.width,
        "sentences": corpus.train.n_sentences,
        "running_words": corpus.train.n_words,
        "unknown_share": 1 - int(sum(known)) / corpus.train.n_words,
        "tokenizer": report.tokenizer,
        "language": report.language,
        "recipe": vectors.about.recipe,
        "not_held": lost,
        "seconds": round(seconds, 3),
        "next": following,
    }


def _tell(facts: dict[str, Any], *, json: bool) -> None:
    if json:
        emit(facts)
        return
    rows = [
        ("read", f"{counted(facts['sentences'], 'sentence')}; {counted(facts['running_words'], 'word')}"),
        ("tokenizer", f"{facts['tokenizer']}, language {facts['language']}"),
        ("vectors", f"{facts['words']:,} words, width {facts['width']}"),
        ("left out", f"{facts['unknown_share']:.2%} of the running words, which are too rare for a vector"),
        ("recipe", facts["recipe"]),
    ]
    if facts["not_held"]:
        rows.append(("not held", "\n".join(facts["not_held"])))
    rows += [("time", f"{facts['seconds']:,.1f} s"), ("wrote", f"{facts['wrote'][0]}  ({size(facts['bytes'])})")]
    say(table([*rows, ("next", facts["next"])]))
