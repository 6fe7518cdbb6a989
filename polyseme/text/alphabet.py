"""Which characters a model reads: UTF-8 bytes, or an alphabet learned from the words it will see.

A row of `max_characters` holds 48 bytes: 48 English letters, but 24 Cyrillic, 16 Chinese or Thai ones. Where that cuts
more than a few words in a thousand, whole characters (by falling count) serve the script better. The choice is a fact
about the words, so the same words always give the same alphabet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from polyseme.errors import InputError, OptionError
from polyseme.text.chars import Characters

# Pseudo-characters of more than one letter: no character of a word can equal them.
MARKS = ("<bos>", "<eos>", "<bow>", "<eow>", "<pad>", "<oov>")


@dataclass(frozen=True)
class AlphabetReport:
    """Why this alphabet: shares (0..1) of running words cut at `max_characters`, as bytes and as characters.

    `unknown_share`: of running characters outside the learned alphabet; 0 for bytes. `alphabet_size`: learned
    characters, 0 for bytes. `longest`: the longest word that was cut the way chosen, "" for none.
    """

    kind: Literal["bytes", "learned"]
    words: int
    max_characters: int
    cut_share_bytes: float
    cut_share_characters: float
    alphabet_size: int
    unknown_share: float
    longest: str

    def __str__(self) -> str:
        chosen = "UTF-8 bytes" if self.kind == "bytes" else f"a learned alphabet of {self.alphabet_size} characters"
        return (
            f"{chosen}: of {self.words} words, {self.cut_share_bytes:.2%} are cut as bytes and "
            f"{self.cut_share_characters:.2%} as characters at {self.max_characters} a word"
        )


def choose_characters(
    word_counts: Mapping[str, int],
    max_characters: int = 50,
    *,
    kind: Literal["auto", "bytes", "learned"] = "auto",
    max_cut_share: float = 0.005,
    min_count: int = 3,
    max_alphabet: int = 10_000,
) -> tuple[Characters, AlphabetReport]:
    """UTF-8 bytes where no more than `max_cut_share` of the running words is cut, otherwise a learned alphabet.

    Bytes stay, too, where an alphabet would cut no fewer words. A learned alphabet holds the characters that occur at
    least `min_count` times in running words, the most frequent `max_alphabet` of them. `kind` other than "auto" decides
    by itself. Raises `InputError` without words, `OptionError` for values out of range.
    """
    if kind not in ("auto", "bytes", "learned"):
        raise OptionError(f"kind must be auto, bytes or learned, was: {kind!r}")
    if min_count < 1 or max_alphabet < 1:
        raise OptionError(f"min_count and max_alphabet must be at least 1, were: {min_count} and {max_alphabet}")
    total = sum(word_counts.values())
    if not total:
        raise InputError("no words to choose an alphabet from")
    plain = Characters(max_characters=max_characters)
    learned = _learn(word_counts, max_characters, min_count, max_alphabet)
    as_bytes, as_characters = _cut_share(plain, word_counts, total), _cut_share(learned, word_counts, total)
    if kind == "auto":
        kind = "learned" if as_bytes > max_cut_share and as_characters < as_bytes else "bytes"
    chosen = learned if kind == "learned" else plain
    cut = [word for word in word_counts if chosen.is_cut(word)]
    report = AlphabetReport(
        kind=kind,
        words=total,
        max_characters=max_characters,
        cut_share_bytes=as_bytes,
        cut_share_characters=as_characters,
        alphabet_size=max(0, len(chosen.alphabet) - len(MARKS)),
        unknown_share=unknown_share(chosen, word_counts),
        longest=max(cut, key=lambda word: (len(word), word), default=""),
    )
    return chosen, report


def _character_counts(word_counts: Mapping[str, int]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for character in word:
            counts[character] += count
    return counts


def _learn(word_counts: Mapping[str, int], max_characters: int, min_count: int, max_alphabet: int) -> Characters:
    counts = _character_counts(word_counts)
    ranked = sorted((-count, character) for character, count in counts.items() if count >= min_count)
    alphabet = (*MARKS, *(character for _, character in ranked[:max_alphabet]))
    return Characters(
        max_characters=max_characters,
        alphabet=alphabet,
        sentence_start=1,
        sentence_end=2,
        word_start=3,
        word_end=4,
        padding=5,
        unknown=6,
    )


def _cut_share(characters: Characters, word_counts: Mapping[str, int], total: int) -> float:
    return sum(count for word, count in word_counts.items() if characters.is_cut(word)) / total


def unknown_share(characters: Characters, word_counts: Mapping[str, int]) -> float:
    """The share (0..1) of running characters that a learned alphabet lacks; 0 for bytes."""
    if not characters.alphabet:
        return 0.0
    known = set(characters.alphabet)
    counts = _character_counts(word_counts)
    return sum(count for character, count in counts.items() if character not in known) / counts.total()
