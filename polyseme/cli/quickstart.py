"""`polyseme quickstart`: what contextual vectors are, on a text that comes with Polyseme, or on one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.cli import options as opt
from polyseme.cli.output import Meter, again, as_typed, emit, quoted, say, table, warn
from polyseme.errors import DecodeError, OptionError, OutputError, UnsupportedModelError

if TYPE_CHECKING:
    from polyseme.cli.quickstart_page import PageOptions
    from polyseme.embedder import Embedder
    from polyseme.lm.network import LanguageModel
    from polyseme.records import FileOptions

EXAMPLE = (
    "\b\nExample:\n  polyseme quickstart --model my-model\n"
    "  polyseme quickstart --model my-model --text books/ --word spring -o spring.html"
)
PAGE = "contexts.html"


@dataclass(frozen=True)
class Opened:
    """A model ready for both: vectors, and next words (`lm`; or why there are none)."""

    source: str
    embedder: Embedder
    lm: LanguageModel | None
    no_lm: str
    state: str | None


def quickstart(
    lang: opt.TourLang = None,
    model: opt.QuickModel = None,
    text: opt.OwnText = None,
    word: opt.WordsToShow = None,
    out: opt.PageOut = None,
    layer: opt.OneLayer = "top",
    contexts: opt.MostContexts = 200,
    seed: opt.SampleSeed = 1,
    tokenized: opt.Tokenized = False,
    text_column: opt.TextColumn = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    unwrap: opt.Unwrap = False,
    state: opt.SentenceState = None,
    threads: opt.Threads = None,
    overwrite: opt.Overwrite = False,
    json: opt.Json = False,
) -> None:
    """Show what contextual vectors are: one word in several senses, its nearest contexts, the words that fit a gap.

    On sentences that come with Polyseme, whose senses are known. With --text, on your own: a page of the contexts of a
    word in groups, a map of them, and the nearest ones; without --word, of the frequent words that vary most.
    """
    if not text and (tokenized or text_column or unwrap):
        raise OptionError("--tokenized, --text-column and --unwrap say how your text is laid out; give it with --text")
    path = Path(out or PAGE) if out or text else None
    if path is not None and path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name, or pass --overwrite to replace it")
    from polyseme.fetch import shipped_for

    source, start, words = model or shipped_for(lang), state and state.value, [as_typed(each) for each in word or []]
    from polyseme.cli.quickstart_page import PageOptions

    wanted = PageOptions(path, layer, contexts, seed, overwrite)
    if text:
        from polyseme.records import FileOptions

        values: dict[str, Any] = {
            "tokenized": tokenized, "language": lang, "text_column": text_column, "encoding": encoding,
            "encoding_errors": encoding_errors.value, "unwrap": unwrap,
        }  # fmt: skip
        files = FileOptions(**values)
        _own_text(source, start, threads, text, files, words, wanted, json=json)
    else:
        _bundled(source, start, threads, lang, words, wanted, json=json)


def doubts(opened: Opened, sample: str) -> list[str]:
    """What a user should know of the model and this text before trusting the views, once the text was embedded."""
    from polyseme.text.languages import script_share

    found = []
    languages, counts = opened.embedder.model.text.languages, opened.embedder.counts
    if languages and (outside := script_share(sample, languages)) > 0.2:
        found.append(
            f"{outside:.0%} of the letters lie outside the scripts of the model ({', '.join(languages)}); "
            "use a model of the text's language"
        )
    if counts.tokens and counts.cut_words > 0.05 * counts.tokens:
        found.append(f"{counts.cut_words / counts.tokens:.0%} of the words are longer than the model reads")
    if counts.tokens and counts.unknown_words > 0.05 * counts.tokens:
        found.append(f"{counts.unknown_words / counts.tokens:.0%} of the words are not in the model's word table")
    return found


def _bundled(
    source: str,
    state: str | None,
    threads: int | None,
    lang: str | None,
    words: list[str],
    wanted: PageOptions,
    *,
    json: bool,
) -> None:
    from polyseme.cli import quickstart_page, quickstart_tour

    with Meter() as meter:
        quickstart_tour.check(lang, words)
        opened = _open(source, state, threads, wanted.layer, meter)
        shown = quickstart_tour.compute(opened, lang, words, wanted.layer, meter)
        wrote = [str(quickstart_page.of_bundle(opened, shown, wanted, meter))] if wanted.path else []
        warnings = doubts(opened, "".join(shown.tour.bundle.sentences))
    for warning in warnings:
        warn(warning)
    more = ["--word", words[0]] if words else []
    following = [
        quoted(["polyseme", "quickstart", "--model", source, "--text", "TEXT", *more, "-o", PAGE]),
        quoted(["polyseme", "embed", "TEXT", "-o", "vectors.safetensors", "--model", source]),
        quoted(["polyseme", "train", "TEXT", "-o", "my-model"]),
    ]
    if json:
        emit({**quickstart_tour.facts(shown), "wrote": wrote, "warnings": warnings, "next": following})
        return
    for line in quickstart_tour.lines(shown):
        say(line)
    if wrote:
        say(f"\nwrote  {wrote[0]}; open it in a browser")
    say("\nWhere to go next")
    for command in following:
        say(f"   {command}")


def _own_text(
    source: str,
    state: str | None,
    threads: int | None,
    text: list[str],
    files: FileOptions,
    words: list[str],
    wanted: PageOptions,
    *,
    json: bool,
) -> None:
    from polyseme.cli import quickstart_page
    from polyseme.cli.language_model import check_text, retry_with_this_command

    check_text(text, files.language, files.encoding)
    try:
        with Meter() as meter:
            opened = _open(source, state, threads, wanted.layer, meter)
            made = quickstart_page.of_text(opened, text, files, words, wanted, meter)
    except DecodeError as error:
        raise retry_with_this_command(error, again()) from error
    for warning in made.warnings:
        warn(warning)
    following = quoted(["polyseme", "substitutes", source, "SENTENCE", "--word", made.views[0].word])
    if opened.lm is None:
        following = quoted(["polyseme", "embed", *text, "-o", "vectors.safetensors", "--model", source])
    if json:
        emit({**quickstart_page.facts(made), "next": following})
    else:
        say(table([*quickstart_page.rows(made), ("next", following)]))


def _open(source: str, state: str | None, threads: int | None, layer: str, meter: Meter) -> Opened:
    """Refuses a layer that the model does not have before any text is read."""
    meter.step("starting")
    from polyseme.embedder import Embedder
    from polyseme.fetch import resolve
    from polyseme.formats.folder import open_model
    from polyseme.insight.contexts import layer_number
    from polyseme.lm.network import LanguageModel

    path = resolve(source, progress=lambda done, total: meter.update(done, total or 0, "bytes"))
    meter.step(f"opening {path}")
    model = open_model(path)
    embedder = Embedder(model, state=state, threads=threads)
    layer_number(layer, embedder.n_layers)
    try:
        return Opened(source, embedder, LanguageModel(model, threads=threads), "", state)
    except UnsupportedModelError as error:
        return Opened(source, embedder, None, str(error), state)
