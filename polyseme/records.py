"""Text files -> records of the output -> blocks, the unit in which a run is committed and resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from polyseme.errors import OptionError
from polyseme.text.config import TextConfig
from polyseme.text.processing import apply
from polyseme.text.read import Document
from polyseme.text.tokenize import Sentence, Tokenizer

BLOCK_TOKENS = 32_768


@dataclass(frozen=True)
class FileOptions:
    """What to store of which text. `layers`: average, all, top, or numbers such as "0,2". `pool`: none, mean or max.

    `unit`: what one record of the output is; the model always reads sentence by sentence. `tokenized`: words are
    separated by white space and a line is a sentence. `batch_size`: rows of a batch, for `state="carry"` only.
    """

    unit: str = "sentence"
    layers: str = "average"
    pool: str = "none"
    format: str | None = None
    dtype: str = "float16"
    tokenized: bool = False
    language: str | None = None
    text_column: str | None = None
    id_column: str | None = None
    encoding: str = "utf-8"
    encoding_errors: Literal["strict", "replace", "skip"] = "strict"
    unwrap: bool = False
    normalize: Literal["none", "nfc", "nfkc"] = "none"
    lowercase: bool = False
    remove_stop_words: bool = False
    stem: bool = False
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("unit", self.unit, ("sentence", "line", "document")),
            ("pool", self.pool, ("none", "mean", "max")),
        ):
            if value not in known:
                raise OptionError(f"{name} must be one of {', '.join(known)}, was: {value!r}")

    @property
    def single_sentences(self) -> bool:
        """Whether a record is one sentence of the model; a line of given words is."""
        return self.unit == "sentence" or (self.unit == "line" and self.tokenized)


@dataclass(frozen=True)
class Record:
    """One record of the output: the sentences that the model reads, and where they came from."""

    sentences: tuple[Sentence, ...]
    document: int
    id: str | None

    @property
    def n_tokens(self) -> int:
        return sum(map(len, self.sentences))


def records(
    documents: Iterable[Document], tokenizer: Tokenizer, options: FileOptions, own: TextConfig
) -> Iterator[Record]:
    """Every record, in order; `own` is what the model's text went through in its training.

    A document without words still gives its record, unless records are sentences.
    """
    config = TextConfig(
        lowercase=options.lowercase or own.lowercase,
        remove_stop_words=options.remove_stop_words or own.remove_stop_words,
        stem=options.stem or own.stem,
    )
    processing = config != TextConfig()
    for number, document in enumerate(documents):
        sentences = tuple(tokenizer.sentences(document.text))
        if processing:
            sentences = tuple(apply(sentence, config, tokenizer.language) for sentence in sentences)
        if options.single_sentences:
            for sentence in sentences:
                yield Record((sentence,), number, document.id)
        else:
            yield Record(sentences, number, document.id)


def blocks(records: Iterator[Record], multiple: int | None) -> Iterator[list[Record]]:
    """Records in blocks of about BLOCK_TOKENS; the number of records of a block is a multiple of `multiple`."""
    block: list[Record] = []
    tokens = 0
    for record in records:
        block.append(record)
        tokens += record.n_tokens
        if tokens >= BLOCK_TOKENS and len(block) % (multiple or 1) == 0:
            yield block
            block, tokens = [], 0
    if block:
        yield block


def file_identity(path: str | Path) -> list[object]:
    """Path, size, and a digest of both ends: cheap for any size, and different for any usual edit."""
    file = Path(path)
    if not file.is_file():
        return [str(path)]
    size = file.stat().st_size
    with file.open("rb") as opened:
        digest = hashlib.sha256(opened.read(1 << 20))
        opened.seek(max(0, size - (1 << 20)))
        digest.update(opened.read())
    return [str(path), size, digest.hexdigest()]


def text_bytes(path: Path) -> int:
    """About how much text a path holds; compressed text is taken for a third of its size."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
    return sum(file.stat().st_size * (3 if file.suffix in (".gz", ".xz", ".zst") else 1) for file in files)
