"""Where words begin and end inside one sentence: Penn Treebank rules, ICU, Chinese words, characters, spaces.

Every function takes one sentence and returns (start, end) spans in Python characters, in order, without overlap;
together they cover every character that is not white space (format marks such as the byte order mark included).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import rjieba
from icu4py.breakers import WordBreaker

from polyseme.text.sentences import Span, icu_safe

WordSpans = Callable[[str], list[Span]]

_CHUNK = re.compile(r"\S+")
_SPACED = re.compile(r"[^ \t\r\n]+")
# Addresses stay whole; a closing mark at their end does not belong to them.
ADDRESS = re.compile(
    r"(?:(?:https?|ftp)://|www\.)[^\s<>\"“”「」（）]+[^\s<>\"“”「」（）.,;:!?'’)\]…。，]"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}"
)
ADDRESS_HINTS = ("://", "www.", "@")


def _addresses(text: str) -> list[Span]:
    if not any(hint in text for hint in ADDRESS_HINTS):
        return []
    return [match.span() for match in ADDRESS.finditer(text)]


def whitespace_spans(text: str) -> list[Span]:
    """Pre-tokenized text: cut at spaces and tabs only, so that a token may hold U+3000 or a no-break space."""
    return [match.span() for match in _SPACED.finditer(text)]


# ---------------------------------------------------------------------------------------------------------------- ICU

_RUNS = frozenset(".-—–…!?*=_~·。！？")
_HYPHENS = frozenset("-‐‑")
_ELISIONS = {
    "fr": re.compile(r"(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|quoiqu)['’](?=\w)", re.IGNORECASE),
    "it": re.compile(
        r"(?:[cdlmnstv]|un|(?:a|da|de|ne|su|co)?ll|gl|quest|quell|bell|sant|tutt|dov|com|anch|nient|mezz)['’](?=\w)",
        re.IGNORECASE,
    ),
    "ca": re.compile(r"[dlmnst]['’](?=\w)", re.IGNORECASE),
}
# Afrikaans 'n, Dutch 's and 't are words.
_PROCLITICS = frozenset(("af", "nl"))
_INVERSIONS = {"fr": re.compile(r"-(?:t-)?(?:il|elle|on|ils|elles|je|tu|nous|vous|ce|moi|lui|leur)$", re.IGNORECASE)}
_FRENCH_WHOLE = frozenset(("rendez-vous", "garde-vous"))
# Written without spaces: a hyphen there is a mark between words, not inside one.
UNSPACED = frozenset(("zh", "ja", "th", "lo", "km", "my", "bo", "yue", "wuu"))


def icu_spans(text: str, language: str) -> list[Span]:
    """Words by ICU's rules (dictionaries for zh ja th lo km my), repaired for addresses, hyphens, runs and elisions.

    ICU alone cuts "foo-bar", "...", "U.S." and addresses into pieces and keeps "l'homme" whole.
    """
    pieces: list[Span] = []
    start = 0
    for piece in WordBreaker(icu_safe(text), language):
        end = start + len(piece)
        if not piece.isspace():
            # White space that ICU leaves beside a mark (a space with a combining accent) is cut off here.
            pieces.extend((start + m.start(), start + m.end()) for m in _CHUNK.finditer(piece))
        start = end
    spans = _merge(text, pieces, hyphens=language not in UNSPACED)
    if language in _PROCLITICS:
        spans = _proclitics(text, spans)
    elision = _ELISIONS.get(language)
    return _clitics(text, spans, elision, _INVERSIONS.get(language)) if elision else spans


def _proclitics(text: str, spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in spans:
        if joined and joined[-1] == (start - 1, start) and text[start - 1] in "'’" and text[start:end] in "nstk":
            joined[-1] = (start - 1, end)
        else:
            joined.append((start, end))
    return joined


def _merge(text: str, pieces: list[Span], *, hyphens: bool) -> list[Span]:
    addresses = iter(_addresses(text))
    address = next(addresses, None)
    spans: list[Span] = []
    for index, (start, end) in enumerate(pieces):
        while address is not None and address[1] <= start:
            address = next(addresses, None)
        last = spans[-1] if spans else (-1, -1)
        touches = last[1] == start
        if touches and (
            (address is not None and address[0] <= last[0] and end <= address[1])
            or _same_run(text, last, start, end)
            or (hyphens and _hyphenated(text, last, pieces, index))
            or _dotted(text, last, start, end, len(text))
        ):
            spans[-1] = (last[0], end)
        else:
            spans.append((start, end))
    return spans


def _same_run(text: str, last: Span, start: int, end: int) -> bool:
    return end == start + 1 and text[start] in _RUNS and text[start] == text[last[0]] == text[last[1] - 1]


def _hyphenated(text: str, last: Span, pieces: list[Span], index: int) -> bool:
    start, end = pieces[index]
    if text[start:end] in _HYPHENS:
        following = pieces[index + 1] if index + 1 < len(pieces) else (-1, -1)
        return text[last[1] - 1].isalnum() and following[0] == end and text[end].isalnum()
    return text[start - 1] in _HYPHENS and last[1] - last[0] > 1 and text[start].isalnum() and text[start - 2].isalnum()


def _dotted(text: str, last: Span, start: int, end: int, length: int) -> bool:
    """The full stop of "U.S." or "z.B." (inner dots), and of an initial that is not the sentence's last word."""
    if end != start + 1 or text[start] != ".":
        return False
    word = text[last[0] : last[1]]
    if len(word) == 1:
        return word.isalpha() and word.upper() != word.lower() and end < length and text[end].isspace()
    return "." in word and all(len(part) <= 2 and part.isalpha() for part in word.split("."))


def _clitics(text: str, spans: list[Span], elision: re.Pattern[str], inversion: re.Pattern[str] | None) -> list[Span]:
    cut: list[Span] = []
    for start, end in spans:
        while match := elision.match(text, start, end):
            cut.append((start, match.end()))
            start = match.end()
        word = text[start:end]
        tail = inversion.search(word) if inversion and "-" in word and word.casefold() not in _FRENCH_WHOLE else None
        if tail and tail.start():
            cut.append((start, start + tail.start()))
            start += tail.start()
        cut.append((start, end))
    return cut


# ------------------------------------------------------------------------------------------------------------ Chinese


def jieba_spans(text: str) -> list[Span]:
    """Chinese words (jieba's dictionary and hidden Markov model); addresses and runs of one mark stay whole."""
    pieces: list[Span] = []
    start = 0
    for piece in rjieba.cut(icu_safe(text)):
        end = start + len(piece)
        pieces.extend((start + m.start(), start + m.end()) for m in _CHUNK.finditer(piece))
        start = end
    return _merge(text, pieces, hyphens=False)


_CHARACTERS = re.compile(
    # Runs of letters and digits in scripts with spaces stay words; everything else stands alone, with its accents.
    r"[^\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
    r"\uff66-\uff9d\U00020000-\U000323af]+(?:['’][^\W\d_]+)?|\S[\u0300-\u036f\u200d\ufe0e\ufe0f\U000e0100-\U000e01ef]*"
)


def character_spans(text: str) -> list[Span]:
    """Every Han, kana, Hangul or Thai character and every mark is a token; Latin words and numbers stay whole."""
    spans: list[Span] = []
    addresses = iter([*_addresses(text), (len(text), len(text))])
    start = 0
    for begin, finish in addresses:
        spans += [match.span() for match in _CHARACTERS.finditer(text, start, begin)]
        if finish > begin:
            spans.append((begin, finish))
        start = finish
    return spans


# -------------------------------------------------------------------------------------------------------------- spaCy


@cache
def spacy_spans(language: str) -> WordSpans:
    """The blank spaCy pipeline of a language; raises what `import spacy` or `spacy.blank` raise."""
    spacy: Any = importlib.import_module("spacy")
    pipeline = spacy.blank(language)
    pipeline.max_length = 1 << 40

    def spans(text: str) -> list[Span]:
        # spaCy makes tokens of white space too; inside a token it never stands.
        return [(t.idx, t.idx + len(t.text)) for t in pipeline.make_doc(text) if not t.is_space]

    return spans
