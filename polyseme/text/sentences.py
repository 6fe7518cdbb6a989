"""Where sentences begin and end: ICU's rules, repaired where they are known to be wrong.

ICU (Unicode Standard Annex 29) finds the candidates in any script: . ? ! … 。？！ ؟ । and closing quotes. Three
repairs follow, all of which only look at the text beside the boundary:

* an abbreviation or an initial before the full stop ("Dr. Smith", "J. K. Rowling", "z. B. Foo") joins what it cut;
* a lower-case word after the mark joins, for ICU does so after "." but not after "!" or "?" ('"No!" he said');
* an opening bracket or quote that ICU left at a sentence's end goes to the next one ("好。「はい。」").

A line end always ends a sentence. Spans are (start, end) in Python characters, without surrounding white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from icu4py.breakers import SentenceBreaker

from polyseme.text.abbreviations import BEFORE_NUMBERS, EITHER, ENGLISH_STARTERS, TITLES

Span = tuple[int, int]

_CLOSERS = "\"'”’»)]}」』）】》〉›"
_OPENERS = "「『（【《〈“‘«([{„‚"
_LAST_WORD = re.compile(r"(\S+)\.[" + re.escape(_CLOSERS) + r"]*$")
_FIRST_WORD = re.compile(r"[^\W_]+")
# The patterns look behind their first run of letters, so that one of 10 MB is tried once and not from every letter.
# "it was fun. i liked it": ICU sees no end before a small letter; these words rarely follow an abbreviation.
_SMALL_START = re.compile(
    r"((?<![a-z])[a-z]{2,}|\d)([.])\s+(?=(?:i|we|you|he|she|they|it|this|that|there|the|my|your|his|her|our|if|so|but"
    r"|what|when|how|why|please|thanks|let|do|is|are|can|just)\b(?![.)]))"
)
# Chinese and Japanese: a double ellipsis ends a sentence unless a mark follows.
_PAUSE = re.compile(r"()((?<!…)…{2,}[”’」』）]*)\s*(?=\w)")
# Georgian has no capitals in running text, and ICU takes its letters for small ones.
_GEORGIAN = re.compile(r"((?<![^\W\d_])[^\W\d_]{3,}|\d)([.][”“»)]*)\s+(?=[„«(]?[\u10d0-\u10ff])")
# Ends that ICU does not see, by language: what stands before, the marks, and what follows.
_MISSED = {"en": _SMALL_START, "zh": _PAUSE, "ja": _PAUSE, "ka": _GEORGIAN}
_INITIALS = re.compile(r"^(?:[^\W\d_]\.[-‐]?)*[^\W\d_]$")
_EDGES = _CLOSERS + _OPENERS + "*_-–—/"
# "am 3. Mai": a number of one or two digits with a full stop is an ordinal.
_ORDINAL_DOTS = frozenset(["de", "da", "no", "fi", "cs", "sk", "hu", "sl", "hr", "sr", "et", "lv", "is", "tr"])
# « Oui ! » Il part: what closes, and stands apart from what follows, belongs to what came before.
_LEADING_CLOSERS = re.compile(r"([»”’」』）)]+)\s+(?=\S)")
_SURROGATES = re.compile("[\ud800-\udfff]")
_NEWLINES = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
# ICU's breaker copies its text; blocks of lines keep memory in proportion to the longest line, not to the document.
_BLOCK_CHARACTERS = 1 << 20


def icu_safe(text: str) -> str:
    """The same text with every lone surrogate (which ICU cannot take) as U+FFFD; the length does not change."""
    return _SURROGATES.sub("\ufffd", text)


def sentence_spans(text: str, language: str) -> list[Span]:
    """Spans of the sentences of `text`, in order; no character other than white space lies outside them."""
    spans: list[Span] = []
    for start, end in _blocks(text):
        spans += _joined(text, _candidates(text[start:end], start, language), language)
    pattern = _MISSED.get(language)
    return [part for span in spans for part in _cut(text, span, pattern)] if pattern else spans


def line_spans(text: str) -> list[Span]:
    """Spans of the lines that are not blank, without surrounding white space: sentences of pre-tokenized text."""
    return [span for start, end in _lines(text) if (span := _strip(text, start, end))]


def _lines(text: str) -> Iterator[Span]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield start, end
        start = end


def _blocks(text: str) -> Iterator[Span]:
    """Pieces of whole lines; a break after a line end is certain, so cutting there changes nothing."""
    start = 0
    while len(text) - start > _BLOCK_CHARACTERS:
        end = text.find("\n", start + _BLOCK_CHARACTERS) + 1
        if not end:
            break
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def _candidates(text: str, offset: int, language: str) -> Iterator[Span]:
    # `.segments()` counts UTF-16 units, wrong for Python after an emoji: add up the lengths of the pieces.
    for piece in SentenceBreaker(icu_safe(text), language):
        yield offset, offset + len(piece)
        offset += len(piece)


def _strip(text: str, start: int, end: int) -> Span | None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if left == len(piece):
        return None
    return start + left, start + len(piece.rstrip())


def _joined(text: str, candidates: Iterator[Span], language: str) -> list[Span]:
    spans: list[Span] = []
    line_ended = True
    for start, end in candidates:
        span = _strip(text, start, end)
        if span is not None:
            if spans and not line_ended:
                previous = spans[-1]
                if closed := _LEADING_CLOSERS.match(text, *span):
                    previous = spans[-1] = (previous[0], closed.end(1))
                    span = (closed.end(), span[1])
                if _belongs(text, previous, span, language):
                    spans[-1] = (previous[0], span[1])
                elif opened := _trailing_opener(text, previous):
                    spans[-1] = (previous[0], opened[0])
                    spans.append((opened[1], span[1]))
                else:
                    spans.append(span)
            else:
                spans.append(span)
        line_ended = text[end - 1] in _NEWLINES or (span is None and line_ended)
    return spans


def _trailing_opener(text: str, span: Span) -> Span | None:
    """(new end of the sentence, start of the next) when it ends in opening quotes that belong to the next one."""
    start, end = span
    cut = end
    while cut > start and (text[cut - 1] in _OPENERS or text[cut - 1].isspace()):
        if text[cut - 1] in "“‘" and text[cut : cut + 1].isspace():
            # „Ja!“ Gut: in German these close.
            break
        cut -= 1
    if cut in (end, start):
        return None
    stripped = text[start:cut].rstrip()
    opener = cut
    while text[opener].isspace():
        opener += 1
    return start + len(stripped), opener


def _belongs(text: str, previous: Span, span: Span, language: str) -> bool:
    """Whether the second span goes on with the sentence that ICU ended before it."""
    first = _FIRST_WORD.search(text, span[0], span[1])
    if first is None:
        # Nothing but marks: closing quotes and brackets, a second "!" ... belong to what was said before them.
        return not any(mark in _OPENERS for mark in text[span[0] : span[1]])
    if first.group()[0].islower() and not text[span[0]].isdigit():
        # '"No!" he said' goes on; "really? no" does not.
        return _starts_plainly(text, span[0], first.start()) and text[previous[1] - 1] not in "!?。！？؟।…"
    last = _LAST_WORD.search(text, max(previous[0], previous[1] - 40), previous[1])
    if last is None:
        return False
    word = last.group(1).lstrip(_EDGES).casefold()
    return _is_abbreviation(word, first.group(), text[span[0]], language)


def _cut(text: str, span: Span, pattern: re.Pattern[str]) -> Iterator[Span]:
    """Cuts a span after the second group of every match whose first group is no abbreviation."""
    start, end = span
    for match in pattern.finditer(text, start, end):
        if match[1] not in TITLES["en"] and match[1] not in EITHER["en"]:
            yield start, match.end(2)
            start = match.end()
    yield start, end


def _starts_plainly(text: str, start: int, word: int) -> bool:
    return all(mark in _EDGES or mark.isspace() for mark in text[start:word])


def _is_abbreviation(word: str, following: str, first_mark: str, language: str) -> bool:
    if word in TITLES.get(language, ()):
        return True
    if language in _ORDINAL_DOTS and word.isdecimal() and len(word) <= 2:
        return True
    if following[0].isdigit() and word in BEFORE_NUMBERS.get(language, ()):
        return True
    opens = following.casefold() in ENGLISH_STARTERS if language == "en" else False
    if first_mark in '"“«„‘' and not opens:
        opens = word not in EITHER.get(language, ())
    if _INITIALS.match(word):
        # "It was I. Mary left": the pronoun is no initial. Scripts without case have no initials.
        return not opens and word != "i" and word[0].upper() != word[0].lower()
    return not opens and word in EITHER.get(language, ())
