"""Stop words by language: a classical short list for English, stopwordsiso's lists for the other languages."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from polyseme.errors import OptionError

# Pronouns, articles, prepositions, conjunctions, auxiliaries and a few adverbs; then the pieces into which the Penn
# Treebank's rules cut contractions. (stopwordsiso's English list has 1,298 entries, "computer" and "www" among them.)
_ENGLISH = """
i me my myself mine we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves one oneself what which who whom whose this that these those
am is are was were be been being have has had having do does did doing done will would shall should can could may might
must ought cannot
a an the and but if or because as until while of at by for with about against between into through during before after
above below to from up down in out on off over under again further then once here there when where why how all any both
each every few more most other another some such no nor not only own same so than too very just also now upon per via
among within without toward towards across along around behind beside besides beyond near onto since though although
unless whether either neither yet else ever never always often thus hence however therefore
n't 's 're 've 'll 'd 'm n’t ’s ’re ’ve ’ll ’d ’m ca wo sha ai
don't doesn't didn't isn't aren't wasn't weren't hasn't haven't hadn't won't wouldn't can't couldn't shouldn't mustn't
i'm you're he's she's it's we're they're i've you've we've they've i'd you'd he'd she'd we'd they'd i'll you'll he'll
she'll we'll they'll that's there's here's what's who's let's
"""


@cache
def stop_words(language: str) -> frozenset[str]:
    """The stop words of an ISO code, lower case. Raises `OptionError` for a language without a list."""
    if language == "en":
        return frozenset(_ENGLISH.split())
    lists: Any = import_module("stopwordsiso")
    if not lists.has_lang(language):
        known = " ".join(sorted(lists.langs()))
        raise OptionError(f"no stop words are known for the language {language!r}; there are lists for: {known}")
    return frozenset(word.casefold() for word in lists.stopwords(language))
