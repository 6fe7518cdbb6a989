"""English words by Penn Treebank rules, with offsets: NLTK's rules, applied chunk by chunk.

NLTK's `NLTKWordTokenizer` rewrites a whole sentence by thirty regular expressions and looks the tokens up again
afterwards, which fails when quotes of several kinds meet. Its rules only look inside a run of non-blanks (and at the
end of the sentence), so here each run is tokenized once and remembered: natural text repeats itself. What NLTK gets
wrong by Treebank conventions is decided first, see `_protected`.

Tokens are the raw text: `"` stays `"` (the 1 Billion Word corpus, on which the published English ELMo was trained,
has `"` too; the Treebank itself has `` and ''). That corpus wrote "didn 't"; the Treebank, and this, "did n't".
"""

from __future__ import annotations

import re

from nltk.tokenize.destructive import NLTKWordTokenizer  # type: ignore[import-untyped]

from polyseme.text.sentences import Span
from polyseme.text.words import ADDRESS, ADDRESS_HINTS

_CHUNK = re.compile(r"\S+")
_RULES = NLTKWordTokenizer()
# The commonest shapes need no rules: a word, a word and one mark, a word and 's. Almost all new chunks are of these.
_SIMPLE = re.compile(r"([^\W_]+(?:-[^\W_]+)*)(?:([,;?!])|(\.)|(['’](?:[sdmSDM]|ll|re|ve)))?")
_SPLIT_WORDS = frozenset(["cannot", "gimme", "gonna", "gotta", "lemme", "wanna"])
_CURLY = re.compile(r"(?<=\w)[’‘ʼ](?=\w)")
# AT&T, R&D, S&P; #tags and @names; :-): one word each.
_WHOLE = re.compile(r"[^\W\d_]+&[^\W\d_]+|[#@]\w+|[:;=8][-o]?[)(DPp/|\\]")
_MARKS = re.compile(
    r"(…+|[!?]{2,}|\*{2,}|={2,}|_{2,}|-{3,}|[€£¥₹。，！？；：、（）「」『』《》•·†©®™°|]|(?<=[^\W\d_])/(?=[^\W\d_]))"
)
_LEADING = re.compile(r"^[\"“”‘’'`(\[{<«]+")
_TRAILING = re.compile(r"[\"“”‘’')\]}>»,;:!?…]+$")
_CLOSING = re.compile(r"[\"”’'»)\]}>]+$")
_INNER_DOTS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]$")
_QUOTES = ('"', "``", "''")
# A "word" without blanks beyond this length is no English; plain runs of letters, digits and marks are enough then.
_LONGEST_CHUNK = 500
_LONGEST_REMEMBERED = 40
_CACHE_ENTRIES = 1 << 18

_seen: dict[str, tuple[Span, ...]] = {}
_seen_last: dict[str, tuple[Span, ...]] = {}


def treebank_spans(text: str) -> list[Span]:
    """Spans of the tokens of one English sentence."""
    chunks = [match.span() for match in _CHUNK.finditer(text)]
    # The full stop that ends the sentence may stand before closing quotes that form chunks of their own.
    final = len(chunks) - 1
    while final > 0 and _CLOSING.fullmatch(text, *chunks[final]):
        final -= 1
    spans: list[Span] = []
    for index, (start, end) in enumerate(chunks):
        chunk = text[start:end]
        if index < final:
            relative = _seen.get(chunk)
            if relative is None:
                relative = _remember(_seen, chunk, last=False)
        else:
            relative = _seen_last.get(chunk)
            if relative is None:
                relative = _remember(_seen_last, chunk, last=True)
        if len(relative) == 1:
            spans.append((start, end))
        else:
            spans += [(start + a, start + b) for a, b in relative]
    return spans


def _remember(seen: dict[str, tuple[Span, ...]], chunk: str, *, last: bool) -> tuple[Span, ...]:
    spans = tuple(_chunk_spans(chunk, last=last))
    if len(chunk) <= _LONGEST_REMEMBERED:
        if len(seen) >= _CACHE_ENTRIES:
            seen.clear()
        seen[chunk] = spans
    return spans


def _chunk_spans(chunk: str, *, last: bool) -> list[Span]:
    simple = _SIMPLE.fullmatch(chunk)
    if simple and simple[1].casefold() not in _SPLIT_WORDS:
        if simple.lastindex == 1 or (simple[3] and (not last or _keeps_stop(simple[1]))):
            return [(0, len(chunk))]
        return [simple.span(1), (simple.end(1), len(chunk))]
    if len(chunk) > _LONGEST_CHUNK:
        return [match.span() for match in re.finditer(r"[^\W_]+|[^\w\s]|_+", chunk)]
    protected = _protected(chunk, last=last)
    if protected:
        start, end = protected
        before, after = _chunk_spans(chunk[:start], last=False), _chunk_spans(chunk[end:], last=last)
        return [*before, (start, end), *((end + a, end + b) for a, b in after)]
    spans: list[Span] = []
    start = 0
    # Splitting by one group gives what lies between the marks at even places, the marks at odd ones.
    parts = _MARKS.split(chunk)
    for number, part in enumerate(parts):
        if number % 2:
            spans.append((start, start + len(part)))
        elif part:
            # After the last part only closing marks may follow: "wait...!!!"
            is_last = last and not "".join(parts[number + 2 :])
            spans += [(start + a, start + b) for a, b in _align(part, _by_rules(part, last=is_last))]
        start += len(part)
    return spans


def _protected(chunk: str, *, last: bool) -> Span | None:
    """The part of a chunk that is one token although the rules would cut it: addresses, AT&T, a final "U.S."."""
    if any(hint in chunk for hint in ADDRESS_HINTS) and (address := ADDRESS.search(chunk)):
        return address.span()
    leading = _LEADING.match(chunk)
    start = leading.end() if leading else 0
    if whole := _WHOLE.match(chunk, start):
        rest = chunk[whole.end() :]
        if not rest or _TRAILING.fullmatch(rest) or rest[0] in ".'’":
            return whole.span() if whole.group() != chunk or len(chunk) > 1 else None
    if last:
        closing = _CLOSING.search(chunk)
        end = closing.start() if closing else len(chunk)
        if end > start and chunk[end - 1] == "." and _keeps_stop(chunk[start : end - 1]):
            return start, end
    return None


def _keeps_stop(word: str) -> bool:
    """Whether the full stop after the last word belongs to it; "no." and "mass." are words more often than not."""
    return word in _KEPT_FINAL or _INNER_DOTS.fullmatch(word) is not None


_KEPT_FINAL = frozenset(
    [
        "etc",
        "Inc",
        "Corp",
        "Co",
        "Ltd",
        "Jr",
        "Sr",
        "Bros",
        "Calif",
        "Conn",
        "Fla",
        "Tenn",
        "Tex",
        "Okla",
        "Nev",
        "Colo",
        "Minn",
    ]
)


def _by_rules(part: str, *, last: bool) -> list[str]:
    if not part:
        return []
    text = _CURLY.sub("'", part)
    if last:
        return list(_RULES.tokenize(text))
    # A word after it keeps the rules for the end of a sentence from acting here.
    return list(_RULES.tokenize(text + " x")[:-1])


def _align(part: str, tokens: list[str]) -> list[Span]:
    """Spans of NLTK's tokens in the text they came from; it writes every double quote as `` or ''."""
    spans: list[Span] = []
    start = 0
    for token in tokens:
        width = len(token)
        if token in _QUOTES and not part.startswith(token, start):
            width = next((len(quote) for quote in _QUOTES if part.startswith(quote, start)), 0)
        if not width or start + width > len(part):
            break
        spans.append((start, start + width))
        start += width
    if start != len(part):
        # The rules lost or added characters (no such text is known): never lose text for it.
        return [match.span() for match in re.finditer(r"[^\W_]+|[^\w\s]|_+", part)]
    return spans
