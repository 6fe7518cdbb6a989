"""Tokens and sentences of Universal Dependencies treebanks, to compare ours with.

`python tests/text/universal_dependencies.py` prints the agreement of every treebank under $POLYSEME_SHARED.
"""

from __future__ import annotations

import lzma
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyseme.text.tokenize import tokenizer_for

Span = tuple[int, int]
TREEBANKS = (
    ("ud_english_ewt", "en"),
    ("ud_english_ewt", "icu:en"),
    ("ud_french_sequoia", "fr"),
    ("ud_chinese_gsdsimp", "zh"),
    ("ud_chinese_gsdsimp", "icu:zh"),
    ("ud_chinese_gsd_trad", "zh"),
    ("ud_chinese_beginner", "zh"),
)


def shared_file(name: str) -> Path:
    """A file of the data beside the checkout; the test skips where it is absent (under CI it fails)."""
    folder = Path(os.environ.get("POLYSEME_SHARED") or Path(__file__).resolve().parents[3] / "shared") / "data"
    if not (folder / name).exists():
        reason = f"no {name} under {folder}; set POLYSEME_SHARED"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return folder / name


def documents(path: Path) -> Iterator[tuple[str, list[Span], list[Span]]]:
    """(raw text, sentences, tokens) of each document: paragraphs apart by a blank line, sentences by a space.

    Where a contraction's words make up its spelling (do + n't) they are the tokens, else the spelling is (French "du").
    """
    text, sentences, tokens = "", [], []
    with lzma.open(path, "rt", encoding="utf-8") as file:
        blocks = file.read().split("\n\n")
    for block in blocks:
        if "# newdoc" in block and text:
            yield text, sentences, tokens
            text, sentences, tokens = "", [], []
        words = _words(block)
        if not words:
            continue
        if "# newpar" in block and text:
            text = text.rstrip(" ") + "\n\n"
        start = len(text)
        for word, space in words:
            tokens.append((len(text), len(text) + len(word)))
            text += word + " " * space
        sentences.append((start, tokens[-1][1]))
    if text:
        yield text, sentences, tokens


def _words(block: str) -> list[tuple[str, bool]]:
    rows = [line.split("\t") for line in block.split("\n") if line and line[0] != "#"]
    words: list[tuple[str, bool]] = []
    until = 0
    for index, row in enumerate(rows):
        space = "SpaceAfter=No" not in row[9]
        if "." in row[0]:
            continue
        if "-" in row[0]:
            first, last = map(int, row[0].split("-"))
            parts = [part[1] for part in rows[index + 1 : index + 2 + last - first]]
            until = last
            if "".join(parts) == row[1]:
                words += [(part, False) for part in parts[:-1]] + [(parts[-1], space)]
            else:
                words.append((row[1], space))
        elif int(row[0]) > until:
            words.append((row[1], space))
    return words


def agreement(path: Path, name: str) -> tuple[float, float]:
    """F1 of our tokens and of our sentences: spans of characters that are exactly the treebank's."""
    tokenizer = tokenizer_for(name)
    same = [0, 0]
    total = [0, 0]
    for text, sentences, tokens in documents(path):
        ours = tokenizer.sentences(text)
        our_tokens = [span for sentence in ours for span in sentence.offsets]
        our_sentences = [(sentence.offsets[0][0], sentence.offsets[-1][1]) for sentence in ours]
        for kind, (gold, found) in enumerate(((tokens, our_tokens), (sentences, our_sentences))):
            same[kind] += len(set(gold) & set(found))
            total[kind] += len(gold) + len(found)
    return 2 * same[0] / total[0], 2 * same[1] / total[1]


def main() -> None:
    """Prints one line a treebank."""
    for treebank, name in TREEBANKS:
        words, sentences = agreement(shared_file(f"tasks/pos/{treebank}/test.conllu.xz"), name)
        sys.stdout.write(f"{treebank:22} {name:8} words {words:.3f} sentences {sentences:.3f}\n")


if __name__ == "__main__":
    main()
