"""Views of words -> one HTML file that needs nothing else: no network, no script from elsewhere, works from file://.

Its parts: what was read, the words that vary most, and a section a word: a map, the groups of its contexts, the nearest
contexts. Light and dark, on paper too; everything is there without JavaScript, which adds the nearest contexts of any
context one presses. Whatever comes from the text is escaped.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from polyseme.errors import OutputError
from polyseme.insight.contexts import Context
from polyseme.insight.plots import SHAPES, context_map, shape
from polyseme.insight.variety import Proposals, Variety
from polyseme.insight.views import WordView
from polyseme.text.detokenize import detokenize

HERE = Path(__file__).parent
AROUND = 12  # words to either side that are shown
OPEN = 8  # contexts of a group that are shown at once
PROPOSED = 20  # rows of the table of varied words
# Kaufman & Rousseeuw 1990, table 2.4
STRENGTHS = ((0.71, "strong structure"), (0.51, "reasonable structure"), (0.26, "weak structure"))
NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # what HTML may not hold


@dataclass(frozen=True)
class About:
    """What a page says of its making. `facts`: names and values, in order; `language`: of the text, a BCP 47 tag."""

    title: str
    facts: tuple[tuple[str, str], ...]
    language: str
    layer: str
    seed: int
    most: int  # contexts of a word


def spoken(context: Context, around: int = AROUND) -> tuple[str, str, str]:
    """What stands before the word, the word, and what stands behind it, for people to read."""
    first, last = max(0, context.begin - around), min(len(context.sentence), context.end + around)
    whole = detokenize(context.sentence)  # it begins with what any of its first words alone would give
    cuts = [len(detokenize(context.sentence[:place])) for place in (first, context.begin, context.end, last)]
    left, word, right = (whole[a:b] for a, b in pairwise(cuts))
    gap = len(word) - len(word.lstrip())
    before = ("… " if first else "") + left.lstrip() + word[:gap]
    return before, word[gap:], right + (" …" if last < len(context.sentence) else "")


def line(context: Context, around: int = AROUND) -> str:
    """The same as one line, the word marked [like] this."""
    left, word, right = spoken(context, around)
    return f"{left}[{word}]{right}"


def write_page(path: Path, html: str, *, overwrite: bool = False) -> Path:
    """The file appears whole or not at all. Raises `OutputError` where something is there, unless `overwrite`."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name, or pass --overwrite to replace it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(html, encoding="utf-8", newline="\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: the page cannot be written ({error.strerror or error})") from error
    return path


def page(about: About, views: Sequence[WordView], proposals: Proposals | None = None) -> str:
    """The whole page."""
    css, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    links = "".join(f'<li><a href="#w{number}"><bdi>{_text(each.word)}</bdi></a></li>' for number, each in _n(views))
    facts = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in about.facts)
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>',
        f"<title>{_text(about.title)}</title>",
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        f"<style>\n{css}</style>\n</head>\n<body>",
        '<a class="skip" href="#words">To the words</a>',
        f'<header><h1>{_text(about.title)}</h1>\n<dl class="facts">{facts}</dl></header>',
        f'<nav aria-label="Words"><ul>{links}</ul></nav>\n<main id="words">',
    ]
    if proposals is not None:
        parts += _proposals(proposals, {each.word: number for number, each in _n(views)})
    for number, each in _n(views):
        parts += _word(f"w{number}", each, about)
    script = f"<script>\n/*<![CDATA[*/\n{script}/*]]>*/\n</script>"
    return "\n".join([*parts, "</main>", _method(about), script, "</body>\n</html>\n"])


def _n(views: Sequence[WordView]) -> Iterator[tuple[int, WordView]]:
    return iter(enumerate(views, 1))


def _text(text: str) -> str:
    """Escaped, and without characters that no page may hold."""
    return escape(NOT_TEXT.sub("\ufffd", text))


# --- the words that vary most


def _proposals(proposals: Proposals, shown: dict[str, int]) -> Iterator[str]:
    yield '<section aria-labelledby="varied"><h2 id="varied">The most varied frequent words</h2>'
    yield (
        "<p>How much less alike a word’s contexts are than those of other words as frequent. "
        '<span class="faint">Self-similarity is the mean cosine over all pairs of a word’s contexts, adjusted when the '
        f"same over words drawn at random ({proposals.baseline:.2f}) is taken off (Ethayarajh 2019); expected is a "
        "line through all candidates over the logarithm of their frequency; variety is expected minus found.</span></p>"
    )
    names = ("word", "variety", "places", "compared", "self-similarity", "adjusted", "expected")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = "\n".join(_row(each, shown.get(each.word)) for each in proposals.words[:PROPOSED])
    # A region that scrolls must be reachable by keyboard.
    yield '<div class="scroll" tabindex="0" role="region" aria-labelledby="varied">'
    yield f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div></section>"


def _row(each: Variety, number: int | None) -> str:
    word = f"<bdi>{_text(each.word)}</bdi>"
    first = f'<a href="#w{number}">{word}</a>' if number else word
    numbers = (each.variety, each.self_similarity, each.adjusted, each.expected)
    variety, *others = (f"{value:.2f}".replace("-", "\u2212") for value in numbers)
    values = [variety, f"{each.count:,}", f"{each.contexts:,}", *others]
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{value}</td>" for value in values)}</tr>'


# --- one word


def _word(key: str, view: WordView, about: About) -> Iterator[str]:
    labels, n = view.groups.labels.tolist(), len(view.contexts)
    heading = f'<h2 id="{key}-h"><bdi>{_text(view.word)}</bdi></h2>'
    yield f'<section class="word" id="{key}" aria-labelledby="{key}-h">{heading}'
    yield f"<p>{' '.join(_sentences(view, about))}</p>"
    texts = [line(context, 8) for context in view.contexts]
    cleaned = [NOT_TEXT.sub("\ufffd", text) for text in texts]
    x, y = view.plane.shares
    if n > 1:
        title = NOT_TEXT.sub("\ufffd", f"Map of {n} contexts of {view.word}")
        yield f"<figure>{context_map(key, view.plane, labels, cleaned, title)}"
        signs = "".join(
            f"<li>{_sign(each)}Group {each + 1} ({len(members)})</li>" for each, members in enumerate(view.order)
        )
        yield (
            f'<ul class="legend">{signs}</ul><figcaption>Each mark is a context; press one to read it. '
            "Principal component analysis (exact): the "
            f"map shows {x:.0%} of the variance from left to right and {y:.0%} from bottom to top, so that contexts "
            "that lie together may still differ in what is not shown.</figcaption></figure>"
        )
    for each, members in enumerate(view.order):
        yield from _group(each, members, view, about)
    pairs = [[[near.place, round(near.cosine, 4)] for near in found] for found in view.nearest]
    yield f'<script type="application/json">{json.dumps(pairs)}</script></section>'


def _sentences(view: WordView, about: About) -> Iterator[str]:
    n = len(view.contexts)
    places = "One place" if view.count == 1 else f"{view.count:,} places"
    if n < view.count:
        yield (
            f"{places} in the text, {n:,} of them shown: at most {about.most:,} drawn at random (seed {about.seed}), "
            "and what is repeated word by word once."
        )
    else:
        yield f"{places} in the text."
    if view.similarity is None:
        yield "With a single context there is nothing to compare."
        return
    yield f"Two of them have a mean cosine of {view.similarity:.2f}."
    width = view.groups.silhouette
    if width is None:
        yield "Too few for groups."
    elif view.groups.n == 1:
        yield f"One group: no cut has substantial structure (best mean silhouette {width:.2f})."
    else:
        strength = next((name for least, name in STRENGTHS if round(width, 2) >= least), "weak structure")
        yield f"{view.groups.n} groups: {strength} (mean silhouette {width:.2f})."


def _group(each: int, members: Sequence[int], view: WordView, about: About) -> Iterator[str]:
    count = "1 context" if len(members) == 1 else f"{len(members)} contexts"
    words = ", ".join(f"<bdi>{_text(word)}</bdi>" for word in view.keywords[each])
    around = f' <span class="faint">with {words} around</span>' if words else ""
    yield f"<h3>{_sign(each)}Group {each + 1}: {count}{around}</h3>"
    items = [_item(number, view, about, first=place == 0) for place, number in enumerate(members)]
    # One item more is no reason to hide it.
    shown = items if len(items) <= OPEN + 1 else items[:OPEN]
    yield f'<ol class="contexts">\n{chr(10).join(shown)}\n</ol>'
    if rest := items[len(shown) :]:
        yield f"<details><summary>{len(rest)} more, less central</summary>"
        yield f'<ol class="contexts">\n{chr(10).join(rest)}\n</ol></details>'


def _sign(group: int) -> str:
    """The mark of a group, as on the map."""
    kind = f"g{group % len(SHAPES)}"
    return f'<svg class="sign" viewBox="-9 -9 18 18" aria-hidden="true"><g class="{kind}">{shape(group)}</g></svg>'


def _item(number: int, view: WordView, about: About, *, first: bool) -> str:
    """A context; the most central one of a group with its nearest contexts."""
    inner = _context(view.contexts[number], about)
    near = ""
    if first and view.nearest[number]:
        rows = "".join(
            f'<li><span class="cosine">{each.cosine:.2f}</span>{_context(view.contexts[each.place], about)}</li>'
            for each in view.nearest[number]
        )
        near = f'<ol class="nearest" aria-label="nearest contexts, with cosines">{rows}</ol>'
    return f'<li data-context="{number}">{inner}{near}</li>'


def _context(context: Context, about: About) -> str:
    left, word, right = map(_text, spoken(context))
    language = f' lang="{_text(about.language)}"' if about.language not in ("", "und") else ""
    return (
        f'<span class="context" dir="auto"{language}><span class="left">{left}</span><b class="it">{word}</b>'
        f'<span class="right">{right}</span></span>'
    )


def _method(about: About) -> str:
    return (
        f'<footer><section aria-labelledby="method"><h2 id="method">How this was made</h2><p>Vectors: layer '
        f"{_text(about.layer)} of the model, each sentence read by itself. Nearest contexts: the greatest cosines "
        "among the contexts shown. Groups: agglomerative clustering with average linkage on the cosine distance, "
        "after the mean of the word’s vectors was taken off; as many groups as have the greatest mean silhouette "
        "(Rousseeuw 1987), or one where that is 0.25 or less; the most central context comes first. Words around a "
        "group: by the log-likelihood ratio (Dunning 1993). Groups are not senses: they are what the model tells "
        "apart, which may also be grammar or genre.</p></section></footer>"
    )
