"""Files of text -> the sentences that a language model is evaluated on, cut as the text of its training was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from polyseme.formats.model import Model
from polyseme.records import FileOptions, records, text_bytes
from polyseme.text.languages import suggest_language
from polyseme.text.read import ReadReport, read_documents
from polyseme.text.tokenize import Tokenizer, tokenizer_for

SAMPLE_CHARACTERS = 20_000


def tokenizer_of(model: Model, sample: str, *, tokenized: bool = False, language: str | None = None) -> Tokenizer:
    """White space where the text is tokenized; else of `language`, else the model's own, else as the script suggests."""
    if tokenized:
        return tokenizer_for("whitespace")
    return tokenizer_for(language or model.text.tokenizer or suggest_language(sample[:SAMPLE_CHARACTERS]))


class TextFiles:
    """The sentences of `paths`, each a tuple of words, in order.

    Where the text is tokenized, a line is a sentence, and an empty line (of plain text) a sentence of no words: the
    field counts its end too. Raises `InputError` and `DecodeError` as `read_documents` does.
    """

    def __init__(self, model: Model, paths: Sequence[str | Path], options: FileOptions) -> None:
        self.model, self.options = model, options
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
        return report.empty_lines - report.empty_records if self.options.tokenized else 0
