"""`polyseme substitutes`: what else fits at one place of a sentence?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from polyseme.cli import options as opt
from polyseme.cli.language_model import open_language_model
from polyseme.cli.output import Meter, as_typed, emit, quoted, say, table
from polyseme.errors import InputError

EXAMPLE = '\b\nExample:\n  polyseme substitutes my-model "We sat on the [bank] of the river." --top 5'


def substitutes(
    model: opt.LanguageModelArgument,
    sentence: opt.SentenceArgument,
    word: opt.PlaceOfWord = None,
    occurrence: opt.Occurrence = 1,
    top: opt.Top = 10,
    counts: opt.CountsFile = None,
    tokenized: opt.GivenTokens = False,
    lang: opt.Lang = None,
    state: opt.SentenceState = None,
    threads: opt.Threads = None,
    json: opt.Json = False,
) -> None:
    """Rank the words that both directions expect at one place of a sentence.

    A word's score is p(word | before) p(word | behind), divided by its frequency where the model or --counts knows it.
    It ranks words; it is no probability of the sentence. The word that stands there is not looked at.
    """
    frequencies = _read_counts(counts) if counts else None
    with Meter() as meter:
        lm = open_language_model(model, meter, threads=threads)
        from polyseme.lm import substitutes as library
        from polyseme.lm.text import place_of

        words, place = place_of(
            lm.model,
            as_typed(sentence),
            word=word and as_typed(word),
            occurrence=occurrence,
            tokenized=tokenized,
            language=lang,
        )
        meter.step("ranking")
        found = library.substitutes(lm, words, place, top=top, counts=frequencies, state=state and state.value)
    best = found.candidates[0].word if found.candidates else words[place]
    replaced = " ".join([*words[:place], f"[{best}]", *words[place + 1 :]])
    following = quoted(["polyseme", "substitutes", model, replaced, "--tokenized"])
    if json:
        emit({"model": model, **asdict(found), "next": following})
        return
    say(" ".join([*words[:place], f"[{words[place]}]", *words[place + 1 :]]))
    own = [found.own] if found.own else []
    rows = [("rank  word", "log score   forward  backward")]
    rows += [
        (f"{each.rank:>4}  {each.word}", f"{each.score:9.3f} {each.forward:9.3f} {each.backward:9.3f}")
        for each in [*found.candidates, *own]
    ]
    say(table(rows))
    if not own:
        say(f"{words[place]} itself is outside the model's vocabulary.")
    say(f"score: {found.formula}, normalised over the vocabulary\nnext: {following}")


def _read_counts(file: str) -> dict[str, int]:
    """Lines of word, tab (or space), count. Raises `InputError` with the line."""
    try:
        lines = Path(file).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: counts must be UTF-8; byte {error.start} is not") from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        word, _, count = line.rstrip("\r").replace("\t", " ").rpartition(" ")
        if not word or not count.isdecimal():
            raise InputError(f"{file}, line {number}: {line[:60]!r} is not a word and its count")
        found[word] = int(count)
    if not found:
        raise InputError(f"{file} holds no counts; give a word and its count a line")
    return found
