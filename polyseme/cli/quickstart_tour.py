"""The four views of `polyseme quickstart`: computed on the bundled text, as lines for people and as one object."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, Any

from polyseme.cli.output import Meter, counted
from polyseme.errors import OptionError

if TYPE_CHECKING:
    from polyseme.cli.quickstart import Opened
    from polyseme.insight.contexts import Context
    from polyseme.insight.senses import Separation
    from polyseme.insight.tour import Gap, Look, Near, Tour, WordSenses
    from polyseme.text.tokenize import Tokenizer

MATRICES = 3  # words whose similarities are printed in full
ROWS = 4  # contexts of a sense in a printed matrix
FOUND = 3  # nearest contexts that are printed
NUMBERS = 6  # of a vector that are printed
LINE = 100  # columns


@dataclass(frozen=True)
class Shown:
    """All four views. `total`: the separation of all words together."""

    source: str
    language: str
    tokenizer: str
    layer: str
    tour: Tour
    look: Look
    senses: list[WordSenses]
    total: Separation
    near: list[Near]
    searched: int
    gaps: list[Gap]
    no_gaps: str


def check(lang: str | None, words: list[str]) -> None:
    """What can be refused before a model is opened: a language without a text, a word without senses."""
    from polyseme.insight.bundle import LANGUAGES, read_bundle
    from polyseme.text.languages import language_code

    if lang is not None:
        read_bundle(language_code(lang) or lang)
    known = {word for each in LANGUAGES for word in read_bundle(each).words}
    if unknown := [word for word in words if word not in known]:
        raise OptionError(
            f"the bundled text marks no senses of {unknown[0]!r}, only of {', '.join(sorted(known))}; "
            "to see other words give your own text with --text"
        )


def compute(opened: Opened, lang: str | None, words: list[str], layer: str, meter: Meter) -> Shown:
    """`lang`: by default that of the model, where there is a text in it."""
    from polyseme.insight.bundle import LANGUAGES, read_bundle
    from polyseme.insight.senses import together
    from polyseme.insight.tour import Tour
    from polyseme.text.languages import language_code

    own = [code for each in opened.embedder.model.text.languages if (code := language_code(each)) in LANGUAGES]
    language = (language_code(lang) or lang) if lang else (own or ["en"])[0]
    bundle = read_bundle(language)
    tokenizer = tokenizer_of(opened, language)
    tour = Tour(
        opened.embedder, bundle, lambda raw: opened.embedder.sentences(raw, language=tokenizer.name), layer=layer
    )
    meter.step("embedding the text")
    tour.read(lambda done, total: meter.update(done, total, "sentences"))
    meter.step("comparing")
    senses = [each for each in map(tour.senses, words or bundle.words) if each.contexts]
    looked = [tour.near(each, number) for each in senses[:MATRICES] for number in range(len(each.meanings))]
    near = [each for each in looked if each is not None]
    gaps = tour.gaps(opened.lm, state=opened.state) if opened.lm is not None else []
    searched = sum(map(len, tour.vectors))
    total = together(each.separation for each in senses)
    return Shown(
        opened.source, language, tokenizer.name, layer, tour, tour.look(), senses, total, near, searched, gaps,
        opened.no_lm,
    )  # fmt: skip


def tokenizer_of(opened: Opened, language: str) -> Tokenizer:
    """The model's own where it is one of the language; a model that was trained on given words has none."""
    from polyseme.text.tokenize import tokenizer_for

    name = opened.embedder.model.text.tokenizer
    own = tokenizer_for(name) if name else None
    return own if own is not None and own.language == language else tokenizer_for(language)


# --- for machines


def facts(shown: Shown) -> dict[str, Any]:
    """All that is printed, and the whole matrices."""
    look = shown.look
    return {
        "model": shown.source,
        "language": shown.language,
        "tokenizer": shown.tokenizer,
        "layer": shown.layer,
        "vectors": {
            "word": look.word,
            "sentences": [" ".join(each.sentence) for each in look.contexts],
            "shapes": [list(shape) for shape in look.shapes],
            "vectors": [[round(float(x), 6) for x in vector] for vector in look.vectors],
            "cosines": _rounded(look.cosines),
            "cosines_without_context": _rounded(look.spelling),
        },
        "senses": {**_separation(shown.total), "words": [_senses(each) for each in shown.senses]},
        "nearest": [
            {
                "meaning": each.meaning,
                "context": _context(each.context),
                "found": [{"cosine": round(cosine, 6), **_context(found)} for found, cosine in each.found],
            }
            for each in shown.near
        ],
        "next_words": [
            {**_context(gap.context), "left": dict(gap.left), "right": dict(gap.right), "both": dict(gap.both)}
            for gap in shown.gaps
        ]
        if not shown.no_gaps
        else None,
        "next_words_left_out": shown.no_gaps or None,
    }


def _rounded(matrix: Any) -> list[list[float]]:
    return [[round(float(value), 6) for value in row] for row in matrix]


def _context(context: Context) -> dict[str, Any]:
    return {"tokens": list(context.sentence), "begin": context.begin, "end": context.end}


def _separation(found: Separation) -> dict[str, Any]:
    return {
        "same_sense": found.same,
        "different_sense": found.different,
        "same_sense_is_closer": found.closer,
        "ordered_share": found.ordered_share,
        "triples": found.triples,
        "nearest_has_same_sense": found.alike_share,
        "by_chance": found.chance,
        "pairs": {"same_sense": found.same_pairs, "different_sense": found.different_pairs},
    }


def _senses(each: WordSenses) -> dict[str, Any]:
    return {
        "word": each.word,
        "meanings": list(each.meanings),
        "senses": list(each.senses),
        "contexts": [_context(context) for context in each.contexts],
        "cosines": _rounded(each.cosines),
        "left_out": each.left_out,
        **_separation(each.separation),
    }


# --- for people


def lines(shown: Shown) -> Iterator[str]:
    """What is printed, line by line."""
    yield from _vector_lines(shown)
    yield from _sense_lines(shown)
    yield from _near_lines(shown)
    yield from _gap_lines(shown)


def _vector_lines(shown: Shown) -> Iterator[str]:
    look = shown.look
    yield "1. Every word gets a vector of its own in each sentence\n"
    for number, (context, shape) in enumerate(zip(look.contexts, look.shapes, strict=True), 1):
        layers, words, width = shape
        yield f"   {number}  {_fitted(_line(context), 60)}  {words} words x {layers} layers x {width} numbers"
    yield ""
    for number, vector in enumerate(look.vectors, 1):
        yield f"   {look.word} in {number}  " + " ".join(f"{value:7.3f}" for value in vector[:NUMBERS]) + " ..."
    n = len(look.contexts)
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    yield "\n   cosines: " + ", ".join(f"{a + 1} and {b + 1}: {look.cosines[a, b]:.2f}" for a, b in pairs) + "."
    yield (
        f"   In layer 0, which sees the spelling alone: {', '.join(f'{look.spelling[a, b]:.2f}' for a, b in pairs)}. "
        f"(Shown: layer {shown.layer}.)"
    )


def _sense_lines(shown: Shown) -> Iterator[str]:
    yield "\n2. One spelling, several senses: which contexts are closer?\n"
    for each in shown.senses[:MATRICES]:
        yield from _matrix(each)
        yield ""
    wide = max(_columns(each.word) for each in shown.senses) + 2
    yield f"   {'word':<{wide}}  same sense  different  triples in order"
    for each in shown.senses:
        yield f"   {_fitted(each.word, wide)}  {_figures(each.separation)}"
    yield f"   {_fitted('all', wide)}  {_figures(shown.total)}"
    yield "   (mean cosines; a triple is in order when a context is closer to one of its sense than to one of another,"
    yield "   as half of them are by chance)"
    if left_out := sum(each.left_out for each in shown.senses):
        yield f"   {counted(left_out, 'sentence')} left out: the model's tokenizer does not keep the word apart there."
    yield "\n   " + verdict(shown)


def verdict(shown: Shown) -> str:
    """What the figures say, whatever they are."""
    closer = sum(each.separation.closer for each in shown.senses)
    total = shown.total
    if total.same is None or total.different is None or total.ordered_share is None:
        return "There are too few contexts to compare."
    says = "Contexts of the same sense are closer" if total.closer else "Contexts of the same sense are NOT closer"
    return (
        f"{says}, {total.same:.3f} against {total.different:.3f} in the mean of all pairs,\n"
        f"   in {closer} of {counted(len(shown.senses), 'word')}; {total.ordered_share:.0%} of {total.triples:,} "
        "triples are in order."
    )


def _figures(found: Separation) -> str:
    values = [found.same, found.different, found.ordered_share]
    shown = ["-" if value is None else f"{value:.2f}" for value in values[:2]]
    share = "-" if values[2] is None else f"{values[2]:.0%}"
    return f"{shown[0]:>10}  {shown[1]:>9}  {share:>16}"


def _matrix(each: WordSenses) -> Iterator[str]:
    """The first contexts of each sense: cosines, and what they are."""
    names = [chr(ord("A") + number) for number in range(len(each.meanings))]
    chosen = [
        [place for place, sense in enumerate(each.senses) if sense == number][:ROWS] for number in range(len(names))
    ]
    meanings = "; ".join(f"{name} {meaning}" for name, meaning in zip(names, each.meanings, strict=True))
    yield f"   {each.word}: {meanings}"
    yield "       " + "  ".join(
        " ".join(f"{name}{at}".rjust(4) for at in range(1, len(places) + 1))
        for name, places in zip(names, chosen, strict=True)
    )
    for name, places in zip(names, chosen, strict=True):
        for at, place in enumerate(places, 1):
            blocks = ("".join(_cell(each, place, other) for other in others) for others in chosen)
            yield f"   {name}{at} {' '.join(blocks)}   {_fitted(_line(each.contexts[place], 5), 46).rstrip()}"


def _cell(each: WordSenses, place: int, other: int) -> str:
    return "    ." if place == other else f"{each.cosines[place, other]:5.2f}"


def _near_lines(shown: Shown) -> Iterator[str]:
    yield f"\n3. The nearest contexts among all {shown.searched:,} words of the text\n"
    for each in shown.near:
        yield f"   {_fitted(_line(each.context), LINE - 3).rstrip()}   ({each.meaning})"
        for context, cosine in each.found[:FOUND]:
            yield f"      {cosine:5.2f}  {_fitted(_line(context), LINE - 14).rstrip()}"
        yield ""
    share, chance = shown.total.alike_share, shown.total.chance
    if share is not None and chance is not None:
        yield (
            f"   For {share:.0%} of {shown.total.contexts:,} contexts whose sense is known, the nearest other context\n"
            f"   of the word has the same sense ({chance:.0%} by chance)."
        )


def _gap_lines(shown: Shown) -> Iterator[str]:
    yield "\n4. The words that fit a gap, from both sides\n"
    if shown.no_gaps:
        yield f"   left out: {shown.no_gaps}"
    for gap in shown.gaps:
        sentence, place = gap.context.sentence, gap.context.begin
        yield "   " + _joined((*sentence[:place], "____", *sentence[gap.context.end :])) + f"   ({sentence[place]})"
        for name, found in (("from the left", gap.left), ("from the right", gap.right), ("from both", gap.both)):
            yield f"      {name:<15} " + ", ".join(f"{word} {exp(log_p):.0%}" for word, log_p in found)
        yield ""


def _joined(tokens: Sequence[str]) -> str:
    from polyseme.text.detokenize import detokenize

    return detokenize(tokens)


def _line(context: Context, around: int = 12) -> str:
    from polyseme.insight.page import line

    return line(context, around)


def _columns(text: str) -> int:
    """How many columns of a terminal it takes: a Chinese character two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _fitted(text: str, columns: int) -> str:
    """Cut or filled up to a width."""
    if _columns(text) > columns:
        kept = ""
        for letter in text:
            if _columns(kept + letter) >= columns:
                break
            kept += letter
        text = kept + "…"
    return text + " " * (columns - _columns(text))
