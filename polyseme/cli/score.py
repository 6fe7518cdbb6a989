"""`polyseme score`: log probabilities of sentences and of their words, by each direction."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.cli import options as opt
from polyseme.cli.language_model import check_text, open_language_model, retry_with_this_command, text_files
from polyseme.cli.output import Meter, counted, emit, quoted, say, table, warn, write_lines
from polyseme.errors import DecodeError, OptionError, OutputError

if TYPE_CHECKING:
    from polyseme.lm.score import SentenceScore

EXAMPLE = "\b\nExample:\n  polyseme score my-model sentences.txt --words -o scores.tsv"
SENTENCE_COLUMNS = ("sentence", "words", "unknown", "forward", "backward", "text")
UNKNOWN_SHARE = 0.05
WORD_COLUMNS = ("sentence", "place", "word", "known", "forward", "backward")


def score(
    model: opt.LanguageModelArgument,
    text: opt.Text,
    out: opt.ScoresOut = None,
    words: opt.EachWord = False,
    tokenized: opt.Tokenized = False,
    lang: opt.Lang = None,
    text_column: opt.TextColumn = None,
    encoding: opt.Encoding = "utf-8",
    encoding_errors: opt.OnBadBytes = opt.EncodingErrors.strict,
    unwrap: opt.Unwrap = False,
    empty_lines: opt.OnEmptyLines = opt.EmptyLines.keep,
    state: opt.SentenceState = None,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    overwrite: opt.Overwrite = False,
    json: opt.JsonLines = False,
) -> None:
    """Give the log probability of each sentence, or of each word, by each direction.

    Natural logarithms. Forward counts the words and the sentence's end, backward the words and its beginning. The two
    are never added: their sum is the probability of nothing. A sentence's score depends on the sentence alone.
    """
    check_text(text, lang, encoding)
    _check_out(out, overwrite)
    values = {
        "tokenized": tokenized, "language": lang, "text_column": text_column, "encoding": encoding,
        "encoding_errors": encoding_errors.value, "unwrap": unwrap,
    }  # fmt: skip
    as_json = Path(out).suffix == ".jsonl" if out else json
    try:
        with Meter() as meter:
            lm = open_language_model(model, meter, device=device, threads=threads)
            from polyseme.lm import score as library

            files = text_files(lm, text, values, keep_empty=empty_lines is opt.EmptyLines.keep)
            meter.step("scoring")
            counts = _Counts()
            scores = counts.watch(library.score(lm, files, state=state and state.value), meter)
            lines: Iterator[str] = (
                line for number, each in enumerate(scores, 1) for line in _lines(each, number, words, as_json)
            )
            if not as_json:
                lines = _headed(lines, WORD_COLUMNS if words else SENTENCE_COLUMNS)
            if out is None:
                for line in lines:
                    say(line)
            else:
                write_lines(lines, Path(out), "scores")
            following = quoted(["polyseme", "evaluate", model, *text, *(["--tokenized"] if tokenized else [])])
            if out is None:
                meter.note(f"next  {following}")
    except DecodeError as error:
        raise retry_with_this_command(error, quoted(["polyseme", *sys.argv[1:]])) from error
    warnings = [*files.warnings(), *counts.warnings()]
    for warning in warnings:
        warn(warning)
    if out is None:
        return
    if json:
        emit({"wrote": [out], **vars(counts), "warnings": warnings, "next": following})
    else:
        read = f"{counted(counts.sentences, 'sentence')}, {counted(counts.tokens, 'word')}"
        say(table([("read", read), ("wrote", out), ("next", following)]))


class _Counts:
    """What went through."""

    def __init__(self) -> None:
        self.sentences = self.tokens = self.unknown_words = 0

    def watch(self, scores: Iterator[SentenceScore], meter: Meter) -> Iterator[SentenceScore]:
        for each in scores:
            self.sentences += 1
            self.tokens += len(each.tokens)
            self.unknown_words += int((~each.known).sum())
            meter.update(self.tokens, 0, "words")
            yield each

    def warnings(self) -> list[str]:
        """What a user should know before trusting the scores."""
        if self.unknown_words <= UNKNOWN_SHARE * self.tokens:
            return []
        share = f"{self.unknown_words / self.tokens:.0%} of the words are outside the model's vocabulary"
        return [f"{share} and were scored as <UNK>, which is easier to guess than they are"]


def _check_out(out: str | None, overwrite: bool) -> None:
    if out is None:
        return
    if Path(out).suffix not in (".tsv", ".jsonl"):
        raise OptionError(f"--out must end in .tsv or .jsonl, was: {out}")
    if Path(out).exists() and not overwrite:
        raise OutputError(f"{out} exists already; choose another name, or pass --overwrite to replace it")


def _headed(lines: Iterator[str], columns: tuple[str, ...]) -> Iterator[str]:
    """The lines under a head, which is not printed where there is nothing to stand under it."""
    first = next(lines, None)
    yield "\t".join(columns)
    if first is not None:
        yield first
    yield from lines


def _lines(found: SentenceScore, number: int, words: bool, as_json: bool) -> Iterator[str]:
    if as_json:
        yield json_module.dumps(_object(found, number, words), ensure_ascii=True)
    elif not words:
        unknown = int((~found.known).sum())
        sums = f"{found.total_forward:.6f}\t{found.total_backward:.6f}"
        yield f"{number}\t{len(found.tokens)}\t{unknown}\t{sums}\t{' '.join(map(_field, found.tokens))}"
    else:
        n = len(found.tokens)
        yield f"{number}\t0\t<S>\t\t\t{found.backward[0]:.6f}"
        for place, (word, known) in enumerate(zip(found.tokens, found.known, strict=True)):
            pair = f"{found.forward[place]:.6f}\t{found.backward[place + 1]:.6f}"
            yield f"{number}\t{place + 1}\t{_field(word)}\t{int(known)}\t{pair}"
        yield f"{number}\t{n + 1}\t</S>\t\t{found.forward[n]:.6f}\t"


def _object(found: SentenceScore, number: int, words: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "sentence": number,
        "tokens": found.tokens,
        "unknown": int((~found.known).sum()),
        "forward": found.total_forward,
        "backward": found.total_backward,
    }
    if words:  # forward ends with </S>, backward begins with <S>
        value |= {
            "forward_words": [round(float(x), 6) for x in found.forward],
            "backward_words": [round(float(x), 6) for x in found.backward],
            "known": found.known.tolist(),
        }
    return value


def _field(word: str) -> str:
    """A word cannot end a field or a line."""
    return word.translate({9: " ", 10: " ", 13: " "})
