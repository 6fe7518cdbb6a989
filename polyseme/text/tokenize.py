"""Raw text -> sentences -> tokens with character offsets, chosen by language and never by what is installed.

    tokenizer_for("en").sentences("Mr. Smith didn't stay. He left.")
    # [Sentence(tokens=("Mr.", "Smith", "did", "n't", "stay", "."), offsets=((0, 3), (4, 9), ...)), Sentence(...)]

A token is the raw text itself: `text[start:end] == token`. (`polyseme.text.processing` lower-cases, stems and drops
stop words where a model's configuration asks for it; offsets stay.) Sentence boundaries: `sentences.py`; words:
`words.py`, and `treebank.py` for English.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import icu4py

from polyseme.errors import MissingExtraError, OptionError
from polyseme.text.languages import language_code
from polyseme.text.sentences import Span, line_spans, sentence_spans
from polyseme.text.words import character_spans, icu_spans, jieba_spans, spacy_spans, whitespace_spans

# Goes up whenever our own repairs of sentences or words change what they give; part of `Tokenizer.version`.
RULES_VERSION = 1


@dataclass(frozen=True)
class Sentence:
    """One sentence of a raw text: its tokens and where each stands, (start, end) in Python characters of that text."""

    tokens: tuple[str, ...]
    offsets: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Tokenizer:
    """A way to cut text; made by `tokenizer_for`.

    `name` gives the same tokenizer back through `tokenizer_for`; `version` names the packages behind it and the version
    of our own repairs. Both belong in a model's `TextConfig`.
    """

    name: str
    version: str
    language: str
    sentence_spans: Callable[[str], list[Span]]
    word_spans: Callable[[str], list[Span]]

    def sentences(self, text: str) -> list[Sentence]:
        """The sentences of `text` in order; every character that is not white space lies in exactly one token."""
        sentences = []
        for start, end in self.sentence_spans(text):
            piece = text[start:end]
            spans = self.word_spans(piece)
            tokens = tuple([piece[a:b] for a, b in spans])
            if tokens:
                sentences.append(Sentence(tokens, tuple([(start + a, start + b) for a, b in spans])))
        return sentences

    def tokens(self, sentence: str) -> list[str]:
        """The tokens of one sentence; line ends and full stops in it do not cut it."""
        return [sentence[a:b] for a, b in self.word_spans(sentence)]


def tokenizer_for(name: str) -> Tokenizer:
    """The tokenizer of a name or of a language.

    Names: `ptb`, `icu` (root rules), `icu:xx`, `rjieba`, `characters`, `whitespace`, `spacy:xx` (extra `text`).
    Languages, by ISO code or English name: English is `ptb`, Chinese `rjieba`, `und` is `icu`, all others `icu:xx`.
    Raises `OptionError` for anything else and `MissingExtraError` for spaCy where it is not installed.
    """
    kind, _, argument = name.strip().casefold().partition(":")
    code = language_code(argument) if argument else None
    if kind == "spacy" and code:
        return _spacy(code)
    if kind == "icu" and (code or not argument):
        return _icu(code or "und")
    if not argument:
        if kind in ("ptb", "rjieba", "characters", "whitespace"):
            return _named(kind)
        language = language_code(kind)
        if language:
            return _named({"en": "ptb", "zh": "rjieba"}[language]) if language in ("en", "zh") else _icu(language)
    raise OptionError(
        f"no tokenizer or language is called {name!r}; give a language code such as en, zh, ja or und, or one of "
        "ptb, icu, icu:xx, rjieba, characters, whitespace, spacy:xx"
    )


@cache
def _named(name: str) -> Tokenizer:
    english, chinese = partial(sentence_spans, language="en"), partial(sentence_spans, language="zh")
    if name == "ptb":
        # Imported here: NLTK takes a third of a second to load, which other languages need not wait for.
        from polyseme.text.treebank import treebank_spans

        return Tokenizer("ptb", _version("nltk"), "en", english, treebank_spans)
    if name == "rjieba":
        return Tokenizer("rjieba", _version("rjieba"), "zh", chinese, jieba_spans)
    if name == "characters":
        return Tokenizer("characters", _version(), "zh", chinese, character_spans)
    return Tokenizer("whitespace", f"rules {RULES_VERSION}", "und", line_spans, whitespace_spans)


@cache
def _icu(language: str) -> Tokenizer:
    name = "icu" if language == "und" else f"icu:{language}"
    sentences, words = partial(sentence_spans, language=language), partial(icu_spans, language=language)
    return Tokenizer(name, _version(), language, sentences, words)


@cache
def _spacy(language: str) -> Tokenizer:
    if find_spec("spacy") is None:
        raise MissingExtraError(f"the tokenizer spacy:{language}", "text")
    try:
        words = spacy_spans(language)
    except ImportError as error:
        # spaCy's ja, ko, th, vi ... need further packages, or it knows no such language.
        raise OptionError(
            f"spaCy cannot tokenize {language!r} as installed ({str(error).splitlines()[0]}); use icu:{language}"
        ) from error
    return Tokenizer(
        f"spacy:{language}", _version("spacy"), language, partial(sentence_spans, language=language), words
    )


def _version(package: str | None = None) -> str:
    parts = [f"icu {icu4py.icu_version}", f"rules {RULES_VERSION}"]
    if package:
        try:
            parts.insert(0, f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.insert(0, f"{package} (version unknown)")
    return ", ".join(parts)
