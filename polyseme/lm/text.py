"""Files of text -> the sentences that a language model is evaluated on, cut as the text of its training was."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from polyseme.errors import InputError, OptionError
from polyseme.formats.model import Model
from polyseme.records import FileOptions, records, text_bytes
from polyseme.text.languages import suggest_language
from polyseme.text.processing import apply
from polyseme.text.read import ReadReport, read_documents
from polyseme.text.tokenize import Tokenizer, tokenizer_for

SAMPLE_CHARACTERS = 20_000
MARKED = re.compile(r"\[([^\[\]\s]+)\]")


def tokenizer_of(model: Model, sample: str, *, tokenized: bool = False, language: str | None = None) -> Tokenizer:
    """White space where the text is tokenized; else `language`'s, the model's own, or the script's."""
    if tokenized:
        return tokenizer_for("whitespace")
    return tokenizer_for(language or model.text.tokenizer or suggest_language(sample[:SAMPLE_CHARACTERS]))


class TextFiles:
    """The sentences of `paths`, each a tuple of words, in order.

    Where the text is tokenized, a line is a sentence, and with `keep_empty` an empty line (of plain text) a sentence of
    no words: the published figures of WikiText count its end too. Raises `InputError` and `DecodeError` as
    `read_documents` does.
    """

    def __init__(
        self, model: Model, paths: Sequence[str | Path], options: FileOptions, *, keep_empty: bool = True
    ) -> None:
        self.model, self.options = model, options
        self._keep_empty = keep_empty and options.tokenized
        self._bytes = sum(text_bytes(Path(path)) for path in paths)
        self._reader = read_documents(
            paths,
            encoding=options.encoding,
            encoding_errors=options.encoding_errors,
            text_column=options.text_column,
            unwrap=options.unwrap,
            normalize=model.text.normalize,
        )
        self.tokenizer: Tokenizer | None = None  # known once the first document has been read

    @property
    def report(self) -> ReadReport:
        """What has been read so far, and what was lost."""
        return self._reader.report

    def warnings(self) -> list[str]:
        """What a user should know of the reading."""
        return self.report.warnings()

    def expected(self, tokens: int) -> int:
        """About how many words there will be, when `tokens` have been read; 0 where nobody knows (a pipe)."""
        read = self.report.characters
        return int(tokens * max(1.0, self._bytes / read)) if read and self._bytes else 0

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        documents = iter(self._reader)
        first = next(documents)
        self.tokenizer = tokenizer_of(
            self.model, first.text, tokenized=self.options.tokenized, language=self.options.language
        )
        blank = 0
        for document in chain([first], documents):
            fresh = self._blank_lines() - blank
            blank += fresh
            yield from ((),) * fresh
            for record in records([document], self.tokenizer, self.options, self.model.text):
                yield from (sentence.tokens for sentence in record.sentences if sentence.tokens)
        yield from ((),) * (self._blank_lines() - blank)

    def _blank_lines(self) -> int:
        """Empty lines so far that are sentences."""
        report = self.report
        return report.empty_lines - report.empty_records if self._keep_empty else 0


def prompt_sentences(
    model: Model, text: str, *, tokenized: bool = False, language: str | None = None
) -> list[tuple[str, ...]]:
    """The sentences of a prompt, at least one; the last one is the one to go on from."""
    tokenizer = tokenizer_of(model, text, tokenized=tokenized, language=language)
    sentences = [apply(each, model.text, tokenizer.language).tokens for each in tokenizer.sentences(text)]
    return sentences or [()]


def place_of(
    model: Model,
    text: str,
    *,
    word: str | None = None,
    occurrence: int = 1,
    tokenized: bool = False,
    language: str | None = None,
) -> tuple[tuple[str, ...], int]:
    """The sentence that holds the word, and its place there: the [marked] one, or the `occurrence`-th `word`.

    Raises `InputError` for a word that is not there or a mark around anything but one word, `OptionError` for both or
    neither.
    """
    marked = [found for found in MARKED.finditer(text) if word is None]
    if word is None and len(marked) != 1:
        raise OptionError(f"mark one word [like] this, or give --word; {len(marked)} words are marked")
    spoken = MARKED.sub(r"\1", text) if marked else text
    tokenizer = tokenizer_of(model, spoken, tokenized=tokenized, language=language)
    wanted = marked[0][1] if marked else word
    seen = []
    for raw in tokenizer.sentences(spoken):
        sentence = apply(raw, model.text, tokenizer.language)
        for place, (start, end) in enumerate(sentence.offsets):
            if marked and start == marked[0].start() and end - start == len(marked[0][1]):
                return sentence.tokens, place
            if spoken[start:end] == wanted or sentence.tokens[place] == wanted:
                seen.append((sentence.tokens, place))
    if marked or len(seen) < occurrence:
        words = " ".join(token for raw in tokenizer.sentences(spoken) for token in raw.tokens)
        times = ("not", "only once", "only twice", f"only {len(seen)} times")[0 if marked else min(len(seen), 3)]
        raise InputError(f"{wanted!r} is {times} among the words of the text, which are: {words[:500]}")
    return seen[occurrence - 1]
