"""Tagged words: CoNLL columns, CoNLL-U, and JSON lines with `tokens` and `tags`, plain or compressed.

    read_tagged(["train.conll"])                        # the first column is the word, the last one the tag
    read_tagged(["train.conllu"])                       # FORM and UPOS
    read_tagged(["train.conllu"], TagColumns(tag=5))    # FORM and XPOS

A row cut short, or a tag that breaks BIO or BIOES, is an `InputError` with file and line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polyseme.errors import InputError, OptionError
from polyseme.tasks.data import Place
from polyseme.tasks.spans import Scheme, as_bio, first_violation, may_follow, scheme_of
from polyseme.text.decode import LineReader, Losses, check_encoding
from polyseme.text.records import jsonl_rows
from polyseme.text.sources import Source, find_sources, open_source

_COMPRESSED = (".gz", ".xz", ".zst", ".zstd")
CONLLU_COLUMNS = 10
MAX_WORDS = 5_000  # of one sentence; the longest in the CoNLL sets has 1,238 (Spanish, 2002)
UPOS = 4


@dataclass(frozen=True)
class TagColumns:
    """Which columns hold words and tags, counted from 1, or from the end: -1 is the last one.

    `tag` None: the last one, of CoNLL-U the fourth (UPOS; XPOS is the fifth). `tagged` False: there are no tags.
    """

    word: int | None = None
    tag: int | None = None
    tagged: bool = True

    def __post_init__(self) -> None:
        if 0 in (self.word, self.tag):
            raise OptionError("columns are counted from 1, or from the end with -1; was: 0")


@dataclass(frozen=True)
class Tagged:
    """A sentence with a tag a word (none where nothing is tagged), and the line of each word."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    source: str
    lines: tuple[int, ...]

    def place(self, word: int = 0) -> Place:
        """Where a word stands."""
        return Place(self.source, self.lines[word])


@dataclass(frozen=True)
class TaggedData:
    """Sentences with spans written as `bio`; `scheme` is what the input had. `repaired`: tags that broke it, mended."""

    sentences: tuple[Tagged, ...]
    scheme: Scheme
    repaired: int = 0


def read_tagged(
    paths: Sequence[str | Path],
    columns: TagColumns | None = None,
    *,
    scheme: Scheme | None = None,
    repair: bool = False,
    encoding: str = "utf-8",
    encoding_errors: str = "strict",
) -> TaggedData:
    """All sentences of the inputs, in order. `scheme`: by default what the tags look like.

    `repair`: a tag that breaks the scheme begins a new span, as conlleval reads it; otherwise it is an error.
    Raises `InputError` (`DecodeError`), `OptionError`, `MissingExtraError` (.zst).
    """
    columns, encoding = columns or TagColumns(), check_encoding(encoding)
    sources, _ = find_sources(paths)
    found: list[Tagged] = []
    for source in sources:
        with open_source(source) as stream:
            lines = LineReader(source.path, encoding, encoding_errors, Losses()).lines(stream)
            read = _json if source.format == "jsonl" else _columns
            found += read(source, lines, columns)
    if not found:
        raise InputError(f"no sentence in {', '.join(source.path for source in sources[:3])}; the input is empty")
    for sentence in found:
        if len(sentence.words) > MAX_WORDS:
            raise InputError(
                f"{sentence.place()}: a sentence of {len(sentence.words):,} words begins here, where {MAX_WORDS:,} are "
                "the limit; are the blank lines between sentences missing?"
            )
    if not columns.tagged:
        return TaggedData(tuple(found), "plain")
    scheme = scheme or scheme_of(sentence.tags for sentence in found)
    broken = _violations(found, scheme)
    if broken and not repair:
        raise InputError(_broken(found, broken, scheme))
    bio = (replace(sentence, tags=as_bio(sentence.tags, scheme)) for sentence in found)
    return TaggedData(tuple(bio), scheme, len(broken))


def _columns(source: Source, lines: Iterator[tuple[int, str]], columns: TagColumns) -> Iterator[Tagged]:
    """Blocks of lines between blank ones; `-DOCSTART-` lines and comments of CoNLL-U are left out."""
    path = Path(source.path)
    bare = path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path
    universal = bare.suffix.lower() == ".conllu"
    word_at = columns.word or (2 if universal else 1)
    tag_at = columns.tag or (UPOS if universal else -1)
    width = CONLLU_COLUMNS if universal else 0
    block: list[tuple[int, str, str]] = []
    for number, line in lines:
        if not line.strip():
            if block:
                yield _sentence(source, block, columns)
            block = []
            continue
        if universal and line.startswith("#"):
            continue
        place = Place(source.path, number)
        fields = line.split("\t") if "\t" in line else line.split()
        width = width or len(fields)
        if len(fields) != width:
            raise InputError(f"{place}: {len(fields)} columns where the lines before have {width}; mend the line")
        if fields[0] == "-DOCSTART-" or (universal and not fields[0].isdigit()):
            continue  # also ranges of words (8-9) and empty nodes (8.1)
        tag = _field(place, fields, tag_at, "tag") if columns.tagged else ""
        block.append((number, _field(place, fields, word_at, "word"), tag))
    if block:
        yield _sentence(source, block, columns)


def _field(place: Place, fields: Sequence[str], column: int, what: str) -> str:
    index = column - 1 if column > 0 else len(fields) + column
    if not 0 <= index < len(fields):
        raise InputError(f"{place}: no column {column} for the {what}; the line has {len(fields)}")
    if not fields[index].strip():
        raise InputError(f"{place}: column {column} holds no {what}; mend the line")
    return fields[index].strip()


def _sentence(source: Source, block: Sequence[tuple[int, str, str]], columns: TagColumns) -> Tagged:
    numbers, words, tags = zip(*block, strict=True)
    return Tagged(words, tags if columns.tagged else (), source.path, numbers)


def _json(source: Source, lines: Iterator[tuple[int, str]], columns: TagColumns) -> Iterator[Tagged]:
    for number, record in jsonl_rows(source, lines):
        if record is None:
            continue
        place = Place(source.path, number)
        words = _strings(place, record, "tokens")
        tags = _strings(place, record, "tags") if columns.tagged else ()
        if columns.tagged and len(tags) != len(words):
            raise InputError(f"{place}: {len(words)} tokens with {len(tags)} tags; every word needs one tag")
        yield Tagged(words, tags, source.path, (number,) * len(words))


def _strings(place: Place, record: dict[str, Any] | str, key: str) -> tuple[str, ...]:
    values = record.get(key) if isinstance(record, dict) else None
    if not isinstance(values, list) or not values or not all(isinstance(each, str) and each.strip() for each in values):
        raise InputError(f"{place}: {key!r} should be a list of words; JSON lines of tagged words have tokens and tags")
    return tuple(values)


def _violations(sentences: Sequence[Tagged], scheme: Scheme) -> list[tuple[int, int]]:
    """(sentence, word) of every tag that may not stand where it does."""
    found = []
    for number, sentence in enumerate(sentences):
        if first_violation(sentence.tags, scheme) is None:
            continue
        after = (*sentence.tags[1:], None)
        found += [(number, 0)] if not may_follow(None, sentence.tags[0], scheme) else []
        for at, (tag, following) in enumerate(zip(sentence.tags, after, strict=True)):
            if not may_follow(tag, following, scheme):
                found.append((number, min(at + 1, len(sentence.tags) - 1)))
    return found


def _broken(sentences: Sequence[Tagged], broken: Sequence[tuple[int, int]], scheme: Scheme) -> str:
    number, at = broken[0]
    sentence = sentences[number]
    before = repr(sentence.tags[at - 1]) if at else "the sentence's beginning"
    others = f" ({len(broken):,} such tags in all)" if len(broken) > 1 else ""
    return (
        f"{sentence.place(at)}: {sentence.tags[at]!r} after {before} breaks {scheme.upper()}{others}; mend the file, "
        "or read such a tag as the beginning of a new span with --repair-tags"
    )
