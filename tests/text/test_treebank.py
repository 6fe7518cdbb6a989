"""English words by the conventions of the Penn Treebank, and against NLTK's own run over whole sentences."""

from __future__ import annotations

import lzma

import pytest
from nltk.tokenize.destructive import NLTKWordTokenizer
from universal_dependencies import shared_file

from polyseme.text.sentences import sentence_spans
from polyseme.text.treebank import treebank_spans


def words(text: str) -> str:
    return " | ".join(text[start:end] for start, end in treebank_spans(text))


# The first five are the examples of the Treebank's own page on tokenization.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("children's", "children | 's"),
        ("the parents' house", "the | parents | ' | house"),
        ("won't", "wo | n't"),
        ("gonna", "gon | na"),
        ("I'm", "I | 'm"),
        ("They'll cannot", "They | 'll | can | not"),
        ("He didn't, she DOESN'T.", "He | did | n't | , | she | DOES | N'T | ."),
        ("I can’t; it’s", "I | ca | n’t | ; | it | ’s"),
        ('He said, "No."', 'He | said | , | " | No | . | "'),
        ("``No,'' he said", "`` | No | , | '' | he | said"),
        ("It cost $3.88 (or 3,36 euros).", "It | cost | $ | 3.88 | ( | or | 3,36 | euros | ) | ."),
        ("€5, £6", "€ | 5 | , | £ | 6"),
        ("at 3:30 p.m. on 1/2/2003", "at | 3:30 | p.m. | on | 1/2/2003"),
        ("in the U.S.", "in | the | U.S."),
        ('in the "U.S."', 'in | the | " | U.S. | "'),
        ("at Acme Inc.", "at | Acme | Inc."),
        ("He said no.", "He | said | no | ."),
        ("Mr. J. K. Rowling", "Mr. | J. | K. | Rowling"),
        ("well-known state-of-the-art", "well-known | state-of-the-art"),
        ("yes--no—maybe", "yes | -- | no | — | maybe"),
        ("wait... what?!", "wait | ... | what | ?!"),
        ("wait… no…", "wait | … | no | …"),
        ("AT&T's R&D, Q&A", "AT&T | 's | R&D | , | Q&A"),
        ("#tag @name :-)", "#tag | @name | :-)"),
        ("see http://a.org/x?y=(1). ok", "see | http://a.org/x?y=(1 | ) | . | ok"),
        ("[sic] {x} <y>", "[ | sic | ] | { | x | } | < | y | >"),
        ("so!!! *** -----", "so | !!! | *** | -----"),
        ("", ""),
    ],
)
def test_worked_examples(text: str, expected: str) -> None:
    assert words(text) == expected


# What differs from NLTK on purpose.
DELIBERATE = (
    "/",
    "£",
    "€",
    "…",
    "&",
    "U.",
    ".com",
    "Inc.",
    "Corp.",
    "Ltd.",
    "Co.",
    "@",
    "http",
    "#",
    "’",
    ":",
    ".S.",
    ".Y.",
    "!!",
    "??",
    "!?",
    "?!",
    "**",
    "==",
    "•",
    "|",
)


def test_news_is_cut_as_nltk_cuts_whole_sentences() -> None:
    path = shared_file("pretrain/en/news.heldout.txt.xz")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        text = file.read(100_000)
    oracle = NLTKWordTokenizer()
    compared = 0
    for start, end in sentence_spans(text, "en"):
        sentence = text[start:end]
        if any(mark in sentence for mark in DELIBERATE):
            continue
        theirs = [token.replace("``", '"').replace("''", '"') for token in oracle.tokenize(sentence)]
        ours = [sentence[a:b].replace("``", '"').replace("''", '"') for a, b in treebank_spans(sentence)]
        assert ours == theirs
        compared += 1
    assert compared > 200
