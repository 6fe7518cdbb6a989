"""What may be done to tokens after cutting, all off by default: dropping stop words, lower-casing, stemming.

Offsets stay those of the raw text, so that a vector can still be shown beside the word it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from polyseme.errors import OptionError
from polyseme.text.config import TextConfig
from polyseme.text.stopwords import stop_words
from polyseme.text.tokenize import Sentence

# For the help text of --remove-stop-words.
WHY_KEEP_STOP_WORDS = (
    "A language model learns from word order and grammar, and stop words carry both (not, to, who, before): "
    "leave them in unless a later step counts words without regard to order."
)

_STEMMERS = {
    "ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "cs": "czech", "da": "danish", "nl": "dutch",
    "en": "english", "eo": "esperanto", "et": "estonian", "fi": "finnish", "fr": "french", "de": "german",
    "el": "greek", "hi": "hindi", "hu": "hungarian", "id": "indonesian", "ga": "irish", "it": "italian",
    "lt": "lithuanian", "ne": "nepali", "no": "norwegian", "fa": "persian", "pl": "polish", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sr": "serbian", "es": "spanish", "sv": "swedish", "ta": "tamil",
    "tr": "turkish", "yi": "yiddish",
}  # fmt: skip


def apply(sentence: Sentence, config: TextConfig, language: str) -> Sentence:
    """The sentence as `config` wants it: without stop words, then lower-cased, then stemmed, by the language's rules.

    A sentence of stop words alone comes back without tokens. Raises `OptionError` where the language has no stop words
    or no stemmer. `config.normalize` is not done here: it changes the raw text, see `read_documents`.
    """
    if config.remove_stop_words:
        dropped = stop_words(language)
        kept = [index for index, token in enumerate(sentence.tokens) if token.casefold() not in dropped]
        tokens = tuple(sentence.tokens[index] for index in kept)
        sentence = Sentence(tokens, tuple(sentence.offsets[index] for index in kept))
    if config.lowercase:
        sentence = Sentence(tuple(token.lower() for token in sentence.tokens), sentence.offsets)
    if config.stem:
        stem = _stemmer(language)
        sentence = Sentence(tuple(stem(token) for token in sentence.tokens), sentence.offsets)
    return sentence


@cache
def _stemmer(language: str) -> Callable[[str], str]:
    module: Any = import_module("Stemmer")
    algorithm = _STEMMERS.get(language)
    # An older PyStemmer has fewer languages.
    if algorithm is None or algorithm not in module.algorithms():
        known = " ".join(sorted(code for code, name in _STEMMERS.items() if name in module.algorithms()))
        raise OptionError(f"no stemmer is known for the language {language!r}; there are stemmers for: {known}")
    stemmer: Callable[[str], str] = module.Stemmer(algorithm).stemWord
    return stemmer
