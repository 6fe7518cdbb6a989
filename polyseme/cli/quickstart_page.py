"""The page of `polyseme quickstart`: contexts of words of a text, in groups, on a map, with the nearest ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme._version import __version__
from polyseme.cli.output import Meter, counted, size

if TYPE_CHECKING:
    from polyseme.cli.quickstart import Opened
    from polyseme.cli.quickstart_tour import Shown
    from polyseme.insight.contexts import Collected, Found
    from polyseme.insight.contexts import Sentence as Words
    from polyseme.insight.variety import Proposals
    from polyseme.insight.views import WordView
    from polyseme.lm.text import TextFiles
    from polyseme.records import FileOptions

WORDS = 6  # that are shown where none is asked for
SAMPLE = 500  # sentences by whose letters a language is guessed
EVERY = 1_000  # sentences between two looks at the clock


@dataclass(frozen=True)
class PageOptions:
    """What to show and where to write it. `most`: contexts of a word."""

    path: Path | None
    layer: str
    most: int
    seed: int
    overwrite: bool


@dataclass(frozen=True)
class Made:
    """A page that was written, and what it shows."""

    path: Path
    source: str
    layer: str
    seed: int
    tokenizer: str
    language: str
    collected: Collected
    proposals: Proposals | None
    views: list[WordView]
    warnings: list[str]


def of_text(
    opened: Opened, text: list[str], files: FileOptions, words: list[str], wanted: PageOptions, meter: Meter
) -> Made:
    """Reads the text, proposes words where none is given, and writes the page.

    Standard input can be read only once: where words are proposed, their contexts then come from the sample.
    """
    from polyseme.cli.quickstart import doubts
    from polyseme.insight.contexts import collect, refuse_absent
    from polyseme.lm.text import TextFiles

    reader = TextFiles(opened.embedder.model, text, files, keep_empty=False)
    meter.step("reading the text")
    sought = {word: _tokens(opened, word, files) for word in words}
    longest = _longest(opened)
    collected = collect(_told(reader, meter), sought, most=wanted.most, seed=wanted.seed, longest=longest)
    refuse_absent(collected)
    tokenizer = reader.tokenizer
    assert tokenizer is not None  # there was text
    language = _language(opened, files, collected, tokenizer.language)
    proposals, found = None, collected.found
    if not words:
        proposals, found = _proposed(opened, reader, collected, language, "-" in text, wanted, meter)
    views = _views(opened, found, language, wanted, meter)
    sample = " ".join(token for sentence in collected.sample[:SAMPLE] for token in sentence)
    warnings = [*reader.warnings(), *_left_out(collected, longest), *doubts(opened, sample)]
    name = ", ".join(Path(each).name or each for each in text) if text != ["-"] else "standard input"
    made = Made(
        Path(),
        opened.source,
        wanted.layer,
        wanted.seed,
        tokenizer.name,
        language,
        collected,
        proposals,
        views,
        warnings,
    )
    return _written(made, f"Contexts of words in {name}", opened, wanted)


def of_bundle(opened: Opened, shown: Shown, wanted: PageOptions, meter: Meter) -> Path:
    """The same page of the bundled text, of the words whose senses it marks."""
    from polyseme.insight.bundle import words_of
    from polyseme.insight.contexts import collect

    tour = shown.tour
    words = {each.word: words_of(each.word, tour.cut) for each in shown.senses}
    sentences = (words_of(raw, tour.cut) for raw in tour.bundle.sentences)
    collected = collect(sentences, words, most=wanted.most, seed=wanted.seed)
    views = _views(opened, collected.found, shown.language, wanted, meter)
    made = Made(
        Path(), shown.source, wanted.layer, wanted.seed, shown.tokenizer, shown.language, collected, None, views, []
    )
    return _written(made, "Contexts of words in the text of polyseme quickstart", opened, wanted).path


def _proposed(
    opened: Opened,
    reader: TextFiles,
    collected: Collected,
    language: str,
    once: bool,
    wanted: PageOptions,
    meter: Meter,
) -> tuple[Proposals, dict[str, Found]]:
    from polyseme.insight.contexts import Found, collect
    from polyseme.insight.variety import propose

    meter.step("looking for words that vary")
    proposals = propose(
        opened.embedder,
        collected.sample,
        collected.words,
        language=language,
        layer=wanted.layer,
        seed=wanted.seed,
        progress=lambda done, total: meter.update(done, total, "sentences"),
    )
    words = {each.word: (each.word,) for each in proposals.words[:WORDS]}
    whole = len(collected.sample) + collected.too_long == collected.sentences
    meter.step("collecting their contexts")
    again: Iterable[Words] = collected.sample if whole or once else _told(reader, meter)
    found = collect(again, words, most=wanted.most, seed=wanted.seed, longest=_longest(opened)).found
    return proposals, {word: Found(collected.words[word], each.contexts) for word, each in found.items()}


def _views(opened: Opened, found: dict[str, Found], language: str, wanted: PageOptions, meter: Meter) -> list[WordView]:
    from polyseme.insight.contexts import embed_contexts
    from polyseme.insight.views import view

    views = []
    for word, each in found.items():
        meter.step(f"contexts of {word}")
        vectors = embed_contexts(
            opened.embedder, each.contexts, wanted.layer, lambda done, total: meter.update(done, total, "sentences")
        )
        views.append(view(word, each, vectors, language))
    return views


def _written(made: Made, title: str, opened: Opened, wanted: PageOptions) -> Made:
    from dataclasses import replace

    from polyseme.insight.page import About, page, write_page

    assert wanted.path is not None
    drawn = len(made.collected.sample)
    sampled = made.proposals is not None and drawn + made.collected.too_long < made.collected.sentences
    sample = [f"words proposed from {drawn:,} sentences drawn at random (seed {made.seed})"] if sampled else []
    read = f"{counted(made.collected.sentences, 'sentence')}, {counted(made.collected.tokens, 'word')}"
    embedder = opened.embedder
    described = (
        ("text", "; ".join([read, *sample, *made.warnings])),
        (
            "model",
            f"{made.source}, layer {made.layer} of {embedder.n_layers} (from 0), {embedder.width} numbers a word",
        ),
        ("words by", f"{made.tokenizer}, language {made.language}; upper and lower case are one word"),
        ("made by", f"polyseme {__version__}"),
    )
    about = About(title, described, made.language, made.layer, made.seed, wanted.most)
    path = write_page(wanted.path, page(about, made.views, made.proposals), overwrite=wanted.overwrite)
    return replace(made, path=path)


# --- the text


def _told(reader: TextFiles, meter: Meter) -> Iterator[Words]:
    """The sentences; the meter hears of them now and then."""
    tokens = 0
    for number, sentence in enumerate(reader):
        tokens += len(sentence)
        if number % EVERY == EVERY - 1:
            meter.update(tokens, reader.expected(tokens), "words")
        yield sentence


def _tokens(opened: Opened, word: str, files: FileOptions) -> Words:
    """The tokens that a word of the command line is in the text: by the same tokenizer and processing."""
    from polyseme.lm.text import prompt_sentences

    found = prompt_sentences(opened.embedder.model, word, tokenized=files.tokenized, language=files.language)
    return tuple(token for sentence in found for token in sentence)


def _language(opened: Opened, files: FileOptions, collected: Collected, tokenizer: str) -> str:
    """For stop words and the page; a tokenizer of given words has none."""
    from polyseme.text.languages import language_code, suggest_language

    sample = " ".join(token for sentence in collected.sample[:SAMPLE] for token in sentence)
    own = opened.embedder.model.text.languages
    if tokenizer != "und":
        return tokenizer
    asked = language_code(files.language) if files.language else None
    return asked or (language_code(own[0]) if own else None) or suggest_language(sample)


def _longest(opened: Opened) -> int:
    """Words of a sentence that is read: a Transformer reads no more than its context, boundaries included."""
    from polyseme.insight.contexts import LONGEST

    transformer = opened.embedder.model.bilm.config.transformer
    return min(LONGEST, transformer.context - 2) if transformer is not None else LONGEST


def _left_out(collected: Collected, longest: int) -> list[str]:
    if not collected.too_long:
        return []
    return [f"{counted(collected.too_long, 'sentence')} of more than {longest} words left out"]


# --- what is said


def facts(made: Made) -> dict[str, Any]:
    """For machines."""
    proposals = None
    if made.proposals is not None:
        words = [{**asdict(each), "variety": each.variety} for each in made.proposals.words]
        proposals = {"baseline": made.proposals.baseline, "words": words}
    return {
        "wrote": [str(made.path)],
        "bytes": made.path.stat().st_size,
        "model": made.source,
        "layer": made.layer,
        "seed": made.seed,
        "language": made.language,
        "tokenizer": made.tokenizer,
        "sentences": made.collected.sentences,
        "tokens": made.collected.tokens,
        "words": [_word(each) for each in made.views],
        "proposals": proposals,
        "warnings": made.warnings,
    }


def _word(each: WordView) -> dict[str, Any]:
    return {
        "word": each.word,
        "count": each.count,
        "contexts": len(each.contexts),
        "similarity": each.similarity,
        "silhouette": each.groups.silhouette,
        "groups": [
            {"contexts": len(members), "keywords": list(words)}
            for members, words in zip(each.order, each.keywords, strict=True)
        ],
    }


def rows(made: Made) -> Sequence[tuple[str, str]]:
    """For people."""
    collected = made.collected
    lines = []
    if made.proposals is not None:
        lines.append("proposed: frequent words whose contexts are less alike than those of other words as frequent")
    for each in made.views:
        shown = f"{len(each.contexts):,} of {counted(each.count, 'place')}"
        groups = " | ".join(", ".join(words[:3]) or "-" for words in each.keywords) if each.groups.n > 1 else ""
        lines.append(f"{each.word}: {shown}, {counted(each.groups.n, 'group')}" + (f"  ({groups})" if groups else ""))
    return [
        ("read", f"{counted(collected.sentences, 'sentence')}; {counted(collected.tokens, 'word')}"),
        ("tokenizer", f"{made.tokenizer}, language {made.language}"),
        ("words", "\n".join(lines)),
        ("wrote", f"{made.path}  ({size(made.path.stat().st_size)}); open it in a browser"),
    ]
