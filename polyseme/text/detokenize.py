"""Tokens -> a line for people to read. A simple rule for words apart by spaces, and for scripts without spaces.

It undoes what tokenizers do (marks cut off, "did n't", the Treebank's brackets and quotes); which spaces the original
text had is not known any more, so nothing should be computed from the result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLAIN = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "``": '"', "''": '"'}
_JOINS_LEFT = re.compile(r"[.,;:!?%)\]}»”…。，、；：！？）」』》]+|n['’]t|['’](?:s|m|d|re|ve|ll|S|M|D|RE|VE|LL)?")
_JOINS_RIGHT = re.compile(r"[(\[{«“$£€#（「『《]+")
# Han, kana and their marks: written without spaces.
_UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")


def detokenize(tokens: Sequence[str]) -> str:
    """One line of text."""
    line, before, open_quote, glue = "", "", False, True
    for token in tokens:
        word = _PLAIN.get(token, token)
        closing = (word == '"' and open_quote) or _JOINS_LEFT.fullmatch(word) is not None
        unspaced = bool(before and _UNSPACED.match(before[-1]) and _UNSPACED.match(word[:1]))
        line += word if glue or closing or unspaced else f" {word}"
        glue = _JOINS_RIGHT.fullmatch(word) is not None or (word == '"' and not open_quote)
        if word == '"':
            open_quote = not open_quote
        before = word
    return line
