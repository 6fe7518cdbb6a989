"""Text in, a corpus on disk out: streamed, in constant memory, over all cores, resumable.

    report = prepare(["books/", "news.jsonl.gz"], "corpus", PrepareOptions(language="en"))

    text --blocks of 4 million characters--> files of block-local word ids (in OUT.partial, kept for --resume)
         --held-out sentences chosen, word types merged and ranked--> OUT, which appears only when it is complete

The same text and options give the same bytes, whatever the number of processes and however often the run was killed.
What the files are: `polyseme.text.shards`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from polyseme.errors import InputError, OptionError, OutputError, PolysemeError, ResumeError
from polyseme.text.assemble import Assembled, Assembler, Placed, write_description
from polyseme.text.blocks import PIECE_CHARACTERS, BlockFile, BlockWriter, Cutter, Pieces, Recipe, block_key
from polyseme.text.chars import Characters
from polyseme.text.config import TextConfig
from polyseme.text.heldout import HeldOut, choose
from polyseme.text.languages import suggest_language
from polyseme.text.processing import apply
from polyseme.text.read import Reader, ReadReport, read_documents
from polyseme.text.shards import DESCRIPTION, Corpus, PrepareReport
from polyseme.text.sources import Source
from polyseme.text.tokenize import Sentence, tokenizer_for
from polyseme.text.vocab import SPECIAL

_SAMPLE_CHARACTERS = 20_000
_BLOCKS, _SCRATCH, _NEW, _OLD = "blocks", "scratch", "corpus", "replaced"


@dataclass(frozen=True)
class PrepareOptions:
    """What is done to the text. The options of a model's text (`TextConfig`) are recorded in the corpus.

    `language`: a language or tokenizer, by default what the script of the text suggests. `tokenized`: a sentence a
    line, words apart by white space; then `empty_lines="keep"` makes an empty line a sentence of no words, as
    WikiText counts. `characters`: UTF-8 bytes, an alphabet learned from the text, or what cuts fewer words.
    `vocab_size`: for the report; by default all types, but at most 100,000. `heldout`: share (0..0.5) of the words.
    """

    language: str | None = None
    tokenized: bool = False
    lowercase: bool = False
    remove_stop_words: bool = False
    stem: bool = False
    normalize: Literal["none", "nfc", "nfkc"] = "none"
    unwrap: bool = False
    encoding: str = "utf-8"
    encoding_errors: Literal["strict", "replace", "skip"] = "strict"
    text_column: str | None = None
    empty_lines: Literal["skip", "keep"] = "skip"
    max_characters: int = 50
    characters: Literal["auto", "bytes", "learned"] = "auto"
    vocab_size: int | None = None
    heldout: float = 0.01
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.heldout <= 0.5:
            raise OptionError(f"heldout must be a share between 0 and 0.5 of the text, was: {self.heldout}")
        if self.vocab_size is not None and self.vocab_size < len(SPECIAL) + 1:
            raise OptionError(
                f"vocab_size must be at least {len(SPECIAL) + 1} ({' '.join(SPECIAL)} are among them), "
                f"was: {self.vocab_size}"
            )
        if self.seed < 0:
            raise OptionError(f"seed must be 0 or more, was: {self.seed}")
        for name, value, known in (
            ("empty_lines", self.empty_lines, ("skip", "keep")),
            ("characters", self.characters, ("auto", "bytes", "learned")),
        ):
            if value not in known:
                raise OptionError(f"{name} must be one of {', '.join(known)}, was: {value!r}")
        if self.tokenized and self.unwrap:
            raise OptionError("tokenized text has a sentence a line; unwrap would join them: leave one of the two out")
        if self.empty_lines == "keep" and not self.tokenized:
            raise OptionError("--empty-lines keep counts lines as sentences, so the text must be --tokenized")
        Characters(max_characters=self.max_characters)


@dataclass(frozen=True)
class Progress:
    """How far a run is: `done` of about `total` (0: nobody knows) of a stage."""

    stage: str
    done: int
    total: int
    unit: str


def prepare(
    paths: Sequence[str | Path],
    out: str | Path,
    options: PrepareOptions | None = None,
    *,
    heldout_texts: Sequence[str | Path] = (),
    resume: bool = False,
    overwrite: bool = False,
    processes: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    characters: Characters | None = None,
) -> PrepareReport:
    """Prepares the text of `paths` as the corpus folder `out`.

    `heldout_texts`: files to hold out (a standard validation file); nothing of `paths` is then split off.
    `characters`: those of a model that is to read the corpus, instead of what `options` say of them.
    `processes`: by default one a core; large text only. (A script of your own then needs `if __name__ == "__main__":`.)
    Raises what reading raises (`InputError`, `DecodeError`), `OptionError`, `OutputError` and `ResumeError`; finished
    blocks are kept for `resume`.
    """
    if processes is not None and processes < 1:
        raise OptionError(f"processes must be at least 1, was: {processes}")
    options = options or PrepareOptions()
    run = _Run(paths, heldout_texts, Path(out), options, processes or _cores(), progress, characters)
    return run.run(resume, overwrite)


class _Run:
    """One call of `prepare`."""

    def __init__(
        self,
        paths: Sequence[str | Path],
        heldout_texts: Sequence[str | Path],
        out: Path,
        options: PrepareOptions,
        processes: int,
        progress: Callable[[Progress], None] | None,
        characters: Characters | None,
    ) -> None:
        if not out.name:
            raise OptionError(f"the corpus needs a folder of its own, was: {str(out)!r}")
        self.out, self.options, self.processes, self.progress = out, options, processes, progress
        self.characters = characters
        self.partial = out.with_name(out.name + ".partial")
        readers = [_reader(paths, options), *([_reader(heldout_texts, options)] if heldout_texts else [])]
        self.cutters = [
            Cutter(reader, keep_empty=options.empty_lines == "keep", paragraphs=options.unwrap) for reader in readers
        ]
        sources = [source for reader in readers for source in reader.sources]
        given = [{source.path for source in reader.sources} for reader in readers]
        if len(given) > 1 and (twice := given[0] & given[1]):
            raise OptionError(f"{min(twice)} is given both to train on and to hold out; leave it out of one of them")
        self.expected = _expected_characters(sources)
        self.characters_done = 0

    def run(self, resume: bool, overwrite: bool) -> PrepareReport:
        self._refuse(resume, overwrite)
        train = iter(self.cutters[0])
        first = next(train)
        recipe, suggested = self._recipe(first)
        streams = [chain([first], train), *map(iter, self.cutters[1:])]
        if (self.out / DESCRIPTION).exists() and resume:
            return self._finished(streams, recipe)
        with self._disk_errors():
            files = self._cut(streams, recipe)
            try:
                placed, held = self._place([[BlockFile(path) for path in some] for some in files])
                assembled = self._assemble(placed)
            except InputError:
                self._remove_partial()  # too little text: nothing there is worth going on with
                raise
            emptied = sum(each.block.emptied for each in placed)
            report = self._report(assembled, held, recipe, suggested, emptied)
            source = self._source([path.stem.rpartition("-")[2] for some in files for path in some])
            write_description(self.partial / _NEW, assembled, recipe.config, report, source)
            self._publish()
        return report

    def _assemble(self, placed: Sequence[Placed]) -> Assembled:
        options = self.options
        for name in (_SCRATCH, _NEW):
            shutil.rmtree(self.partial / name, ignore_errors=True)
            (self.partial / name).mkdir()
        assembler = Assembler(placed, self.partial / _SCRATCH, self.partial / _NEW, self._told)
        return assembler.run(options.max_characters, options.characters, options.vocab_size, self.characters)

    def _cut(self, streams: Sequence[Iterator[Pieces]], recipe: Recipe) -> list[list[Path]]:
        """The files of the finished blocks, of the text and of what is held out."""
        folder = self.partial / _BLOCKS
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return [
                BlockWriter(folder, name, recipe, self.processes, self._told_reading).write(stream)
                for name, stream in zip(("text", "heldout"), streams, strict=False)
            ]
        except BaseException:
            if not any(folder.glob("*.npz")):
                self._remove_partial()
            raise

    # --- the place where the corpus goes

    def _refuse(self, resume: bool, overwrite: bool) -> None:
        """Nothing is replaced unasked, and an unfinished run is not thrown away."""
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(f"{self.out} exists and is no folder; choose another name")
        if self.out.is_dir() and any(self.out.iterdir()):
            if not (self.out / DESCRIPTION).exists():
                raise OutputError(f"{self.out} holds files that are no corpus; choose another name")
            if not (resume or overwrite):
                raise OutputError(
                    f"{self.out} holds a corpus already; choose another name, or pass --overwrite to replace it"
                )
        finished = (self.partial / _BLOCKS).glob("*.npz")
        if not (resume or overwrite) and any(finished):
            raise OutputError(
                f"{self.partial} holds an unfinished run: run again with --resume to continue it, or delete that folder"
            )
        if overwrite and not resume:
            self._remove_partial()

    def _remove_partial(self) -> None:
        for name in (_BLOCKS, _SCRATCH, _NEW, _OLD):
            shutil.rmtree(self.partial / name, ignore_errors=True)
        with suppress(OSError):
            self.partial.rmdir()

    def _publish(self) -> None:
        """The finished folder gets its name in one step."""
        if self.out.is_dir():
            if any(self.out.iterdir()):
                self.out.rename(self.partial / _OLD)
            else:
                self.out.rmdir()
        (self.partial / _NEW).rename(self.out)
        self._remove_partial()

    def _finished(self, streams: Sequence[Iterator[Pieces]], recipe: Recipe) -> PrepareReport:
        """The report of a corpus that is complete, after a look at whether it is the one asked for."""
        keys = [block_key(pieces, recipe) for stream in streams for pieces in stream]
        try:
            source = json.loads((self.out / DESCRIPTION).read_text(encoding="utf-8")).get("source")
        except (OSError, ValueError, AttributeError):
            source = None
        if source != self._source(keys):
            raise ResumeError(
                f"{self.out} is a finished corpus of other text or other options; choose another name, or pass "
                "--overwrite without --resume to replace it"
            )
        return Corpus.open(self.out).report

    def _source(self, keys: Sequence[str]) -> str:
        """A digest of text and options: what a finished corpus must have been made from."""
        made_from = [keys, asdict(self.options), *([asdict(self.characters)] if self.characters else [])]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except PolysemeError:
            raise
        except OSError as error:
            try:
                free = f"{shutil.disk_usage(self.partial if self.partial.is_dir() else self.out.parent).free:,} bytes"
            except OSError:
                free = "an unknown number of bytes"
            raise OutputError(
                f"{self.out}: cannot be written ({error.strerror or error}); {free} are free there. Finished blocks "
                f"are kept in {self.partial.name}: make room and run again with --resume"
            ) from error

    # --- how the text is read

    def _recipe(self, first: Pieces) -> tuple[Recipe, bool]:
        """How words are made, and whether the language was only suggested by the script of the first block."""
        options = self.options
        sample: list[str] = []
        for piece in first:
            sample.append((piece or "")[:_SAMPLE_CHARACTERS])
            if sum(map(len, sample)) >= _SAMPLE_CHARACTERS:
                break
        chosen = tokenizer_for(options.language or suggest_language("\n".join(sample)))
        tokenizer = tokenizer_for("whitespace") if options.tokenized else chosen
        config = TextConfig(
            tokenizer=tokenizer.name,
            tokenizer_version=tokenizer.version,
            languages=(chosen.language,),
            lowercase=options.lowercase,
            remove_stop_words=options.remove_stop_words,
            stem=options.stem,
            normalize=options.normalize,
        )
        # A language without stop words or stemmer must stop the run here, and not in its processes.
        apply(Sentence(("a",), ((0, 1),)), config, chosen.language)
        return Recipe(config, chosen.language), options.language is None

    def _place(self, blocks: Sequence[Sequence[BlockFile]]) -> tuple[list[Placed], HeldOut]:
        given = len(blocks) > 1
        held = choose(blocks[0], 0.0 if given else self.options.heldout, self.options.seed)
        placed, first_word = [], 0
        for block in blocks[0]:
            placed.append(Placed(block, first_word, held))
            first_word += block.size.words
        return placed + [Placed(block, 0, None) for some in blocks[1:] for block in some], held

    # --- what is said

    def _told_reading(self, characters: int) -> None:
        self.characters_done += characters
        self._told("cutting text into words", self.characters_done, self.expected, "characters")

    def _told(self, stage: str, done: int, total: int, unit: str = "words") -> None:
        if self.progress is not None:
            self.progress(Progress(stage, done, total, unit))

    def _report(
        self, assembled: Assembled, held: HeldOut, recipe: Recipe, suggested: bool, emptied: int
    ) -> PrepareReport:
        reports = [cutter.reader.report for cutter in self.cutters]
        given = len(reports) > 1
        words, unknown = assembled.words, assembled.unknown
        found = PrepareReport(
            documents=held.documents,
            train_sentences=assembled.sentences[0],
            train_words=words[0],
            heldout_sentences=assembled.sentences[1],
            heldout_words=words[1],
            heldout_by="files" if given else held.by,
            heldout_pieces=reports[1].files if given else len(held.starts),
            types=assembled.types,
            heldout_types=assembled.heldout_types,
            vocab_size=assembled.vocab_size,
            unknown_share=unknown[0] / words[0],
            heldout_unknown_share=unknown[1] / words[1] if words[1] else 0.0,
            alphabet=assembled.alphabet,
            cut_words=assembled.cut_words,
            reserved_words=assembled.reserved_words,
            emptied_sentences=emptied,
            empty_sentences=assembled.empty_sentences,
            long_lines=sum(cutter.long_lines for cutter in self.cutters),
            lines=sum(report.lines for report in reports),
            empty_lines=sum(report.empty_lines for report in reports),
            bytes_replaced=sum(report.bytes_replaced for report in reports),
            lines_replaced=sum(report.lines_replaced for report in reports),
            lines_skipped=sum(report.lines_skipped for report in reports),
            tokenizer=recipe.config.tokenizer,
            language=recipe.language,
            language_given=not suggested,
        )
        return PrepareReport(
            **{**asdict(found), "warnings": tuple(_warnings(found, reports, self.options, self.characters))}
        )


def _warnings(
    found: PrepareReport, reports: Sequence[ReadReport], options: PrepareOptions, characters: Characters | None
) -> Iterator[str]:
    """One sentence for everything that a user should know before training on the corpus."""
    for report in reports:
        yield from report.warnings()
    if found.heldout_by == "blocks":
        yield (
            f"too few documents to hold whole ones out: {found.documents}; contiguous blocks of sentences spread over "
            f"the text are held out ({found.heldout_pieces}), which are closer to the rest than new text would be"
        )
    if found.cut_words > 0.05 * found.train_words:
        yield (
            f"{found.cut_words / found.train_words:.0%} of the words are longer than the "
            f"{(characters or options).max_characters} characters of a row, and a model sees only their beginning; "
            + ("train one of longer rows" if characters else "give a larger --max-characters")
        )
    if found.reserved_words:
        yield f"words that the text spells <S>, </S> or <UNK> were read as <UNK>: {found.reserved_words}"
    if found.long_lines:
        yield (
            f"lines of more than {PIECE_CHARACTERS:,} characters were cut in pieces of that length: {found.long_lines}"
        )


def _reader(paths: Sequence[str | Path], options: PrepareOptions) -> Reader:
    return read_documents(
        paths,
        encoding=options.encoding,
        encoding_errors=options.encoding_errors,
        text_column=options.text_column,
        unwrap=options.unwrap,
        normalize=options.normalize,
    )


def _expected_characters(sources: Sequence[Source]) -> int:
    """About how many; compressed text is taken for a third of its size. 0 with standard input."""
    if any(not Path(source.path).is_file() for source in sources):
        return 0
    return sum(Path(source.path).stat().st_size * (3 if source.compression else 1) for source in sources)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
