"""`polyseme static neighbours` and `polyseme static analogy`: questions to word vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.cli import options as opt
from polyseme.cli import static_options as sop
from polyseme.cli.output import Meter, as_typed, emit, quoted, say, table, warn

if TYPE_CHECKING:
    from polyseme.static.vectors import Neighbour, StaticVectors

NEIGHBOURS_EXAMPLE = "\b\nExample:\n  polyseme static neighbours vectors bank river --top 5"
ANALOGY_EXAMPLE = "\b\nExample:\n  polyseme static analogy vectors man king woman"


def neighbours(
    vectors: sop.VectorsArgument,
    words: sop.Words,
    top: opt.Top = 10,
    first: sop.Limit = None,
    json: opt.Json = False,
) -> None:
    """Show the words whose vectors are most like a word's, by cosine.

    A word outside the list is composed of its n-grams where the vectors are fastText's, and an error otherwise.
    """
    words = [as_typed(word) for word in words]
    found = open_vectors(vectors, first)
    lists = {word: found.neighbours(word, top) for word in words}
    composed = [word for word in words if found.id(found.spelled([word])[0]) is None]
    best = next((near[0].word for near in lists.values() if near), words[0])
    following = quoted(["polyseme", "static", "neighbours", vectors, best])
    if json:
        answers = {word: _facts(near) for word, near in lists.items()}
        emit({"vectors": vectors, "neighbours": answers, "composed": composed, "next": following})
        return
    for word, near in lists.items():
        say(f"{word}{'  (not in the list: composed of its n-grams)' if word in composed else ''}")
        say(_table(near))
    say(f"next: {following}")


def analogy(
    vectors: sop.VectorsArgument,
    a: sop.WordA,
    b: sop.WordB,
    c: sop.WordC,
    top: opt.Top = 10,
    multiply: sop.Multiply = False,
    first: sop.Limit = None,
    json: opt.Json = False,
) -> None:
    """Complete an analogy: A is to B as C is to what? The three words themselves are never the answer."""
    a, b, c = map(as_typed, (a, b, c))
    found = open_vectors(vectors, first)
    answers = found.analogy(a, b, c, top, method="multiply" if multiply else "add")
    following = quoted(["polyseme", "static", "neighbours", vectors, answers[0].word if answers else c])
    if json:
        asked = {"a": a, "b": b, "c": c, "method": "multiply" if multiply else "add"}
        emit({"vectors": vectors, **asked, "answers": _facts(answers), "next": following})
        return
    say(f"{a} : {b} = {c} : ?")
    say(_table(answers))
    say(f"next: {following}")


def open_vectors(path: str, first: int | None = None) -> StaticVectors:
    """The vectors at `path`, with what its file was found to hold said on stderr."""
    with Meter() as meter:
        meter.step(f"opening {path}")
        from polyseme.static.files import read_vectors

        vectors = read_vectors(path, limit=first)
    for note in vectors.notes:
        warn(f"{path}: {note}")
    return vectors


def written(vectors: StaticVectors, out: str) -> tuple[int, str]:
    """(the bytes at `out`, a file or folder; a first question to ask it)."""
    path = Path(out)
    n_bytes = sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
    shown = next((word for word in vectors.words if len(word) > 3 and word.isalpha()), vectors.words[0])
    return n_bytes, quoted(["polyseme", "static", "neighbours", out, shown])


def _facts(near: list[Neighbour]) -> list[dict[str, Any]]:
    return [{"word": each.word, "similarity": round(each.similarity, 6)} for each in near]


def _table(near: list[Neighbour]) -> str:
    return table([(f"{rank:>4}  {each.word}", f"{each.similarity:.3f}") for rank, each in enumerate(near, 1)])
