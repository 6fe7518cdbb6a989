"""The text that comes with Polyseme for `polyseme quickstart`: sentences in which words have known senses.

Written for it, one file a language in texts/; the head of a file says how it is laid out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from polyseme.errors import OptionError
from polyseme.insight.contexts import Context
from polyseme.text.tokenize import Sentence

Cut = Callable[[str], Sequence[Sentence]]  # raw text -> sentences, as the model reads them

TEXTS = Path(__file__).parent / "texts"
LANGUAGES = tuple(sorted(file.stem for file in TEXTS.glob("*.txt")))
MARKED = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True)
class Sense:
    """A word in one meaning, and sentences in which it has it, as raw text."""

    word: str
    meaning: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """The text of one language. `first`: a word and sentences for a first look; `gaps`: one word marked [like] this."""

    language: str
    first: Sense
    senses: tuple[Sense, ...]
    gaps: tuple[str, ...]
    prose: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Those with senses, in order."""
        return tuple(dict.fromkeys(sense.word for sense in self.senses))

    @property
    def sentences(self) -> tuple[str, ...]:
        """All sentences that are searched: those of the senses, then prose."""
        return (*(sentence for sense in self.senses for sentence in sense.sentences), *self.prose)


def read_bundle(language: str) -> Bundle:
    """Raises `OptionError` for a language without a text."""
    if language not in LANGUAGES:
        raise OptionError(f"there is text in {' and '.join(LANGUAGES)}, not in {language!r}; give your own with --text")
    first, senses = Sense("", "", ()), []
    plain: dict[str, list[str]] = {"gap": [], "prose": []}
    for heading, lines in _sections((TEXTS / f"{language}.txt").read_text(encoding="utf-8")):
        kind, _, rest = heading.partition(" ")
        word, _, meaning = rest.partition(": ")
        if kind == "first":
            first = Sense(word, "", tuple(lines))
        elif kind == "sense":
            senses.append(Sense(word, meaning, tuple(lines)))
        else:
            plain[kind] += lines
    return Bundle(language, first, tuple(senses), tuple(plain["gap"]), tuple(plain["prose"]))


def _sections(text: str) -> list[tuple[str, list[str]]]:
    """What stands below each `## ` heading; comments and empty lines are left out."""
    sections: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        if line.startswith("## "):
            sections.append((line.removeprefix("## "), []))
        elif line and not line.startswith("#"):
            sections[-1][1].append(line)
    return sections


def contexts_of(word: str, sentences: Sequence[str], cut: Cut) -> list[Context]:
    """The first place of `word` in each raw sentence; one where the tokenizer does not keep the word apart is left out.

    "打" is no word of its own where a tokenizer takes "打电话" for one.
    """
    wanted = [token.casefold() for token in words_of(word, cut)]
    found = []
    for raw in sentences:
        sentence = words_of(raw, cut)
        folded = [token.casefold() for token in sentence]
        places = (at for at in range(len(folded)) if folded[at : at + len(wanted)] == wanted)
        if (begin := next(places, None)) is not None:
            found.append(Context(sentence, begin, begin + len(wanted)))
    return found


def words_of(raw: str, cut: Cut) -> tuple[str, ...]:
    """The words of one line, which is one sentence."""
    return tuple(token for sentence in cut(raw) for token in sentence.tokens)


def gap_of(raw: str, cut: Cut) -> Context | None:
    """The marked word of a gap sentence; None where the tokenizer does not keep it apart."""
    marked = MARKED.search(raw)
    if marked is None:
        return None
    spoken = MARKED.sub(r"\1", raw)
    span = (marked.start(), marked.start() + len(marked[1]))
    spans = [offsets for sentence in cut(spoken) for offsets in sentence.offsets]
    place = spans.index(span) if span in spans else None
    return Context(words_of(spoken, cut), place, place + 1) if place is not None else None
