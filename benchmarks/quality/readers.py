"""The task files of $POLYSEME_SHARED/data/tasks -> sentences with labels, texts with labels, pairs with scores.

Tokenized data are taken as they are; raw text is cut by the tokenizer that the caller gives. Where a set has no dev
part, a tenth of its training part, drawn once for ever, is the dev part and leaves the training.
"""

from __future__ import annotations

import json
import lzma
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from polyseme.text.tokenize import Tokenizer

ENDS = frozenset(".?!")
CLOSING = frozenset(["''", '"', "\u201d", "'", "\u2019", ")", "]"])

SHARED = Path(os.environ.get("POLYSEME_SHARED", Path(__file__).resolve().parents[3] / "shared"))
Words = tuple[str, ...]
Split = Literal["train", "dev", "test"]
Item = TypeVar("Item")

# language -> task -> data sets, in the order in which they are reported.
DATA: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "pos": ("ud_english_ewt",),
        "ner": ("conll2003_en",),
        "chunking": ("conll2000",),
        "sentiment": ("sst2", "imdb_small"),
        "topic": ("trec6",),
        "sts": ("stsb_en",),
        "wic": ("wic",),
        "scws": ("scws",),
        "wsd_words": ("hard", "interest", "line", "serve"),
        "wsd_all": ("senseval2", "semeval2013"),
    },
    "zh": {
        "pos": ("ud_chinese_beginner",),
        "ner": ("weibo_zh",),
        "sentiment": ("chnsenticorp",),
        "topic": ("thucnews_titles",),
        "sts": ("stsb_zh",),
    },
}
TAG_COLUMN = {"pos": 3, "ner": -1, "chunking": -1}  # UPOS is the fourth column of CoNLL-U; else the tag is the last
TOKENIZED_TEXTS = ("sst2", "trec6")
MAX_TEXT_WORDS = 200  # of one text of sentiment or topic; film reviews are longer


@dataclass(frozen=True)
class Tagged:
    """A sentence with a tag a word."""

    words: Words
    tags: Words


@dataclass(frozen=True)
class Text:
    """A text with its label: raw, and as sentences of words."""

    raw: str
    sentences: tuple[Words, ...]
    label: str = ""


@dataclass(frozen=True)
class TextPair:
    """Two sentences and how similar people found them."""

    first: Text
    second: Text
    score: float


@dataclass(frozen=True)
class Mention:
    """A word in its sentence: the words from `start` to before `end` (a multiword expression has several)."""

    words: Words
    start: int
    end: int


@dataclass(frozen=True)
class MentionPair:
    """Two words in context: `score` is 1 or 0 (the same sense or not), or how similar people found them."""

    first: Mention
    second: Mention
    score: float


@dataclass(frozen=True)
class SenseMention:
    """A word in context whose sense is known. `lemma` names the choice: senses of one lemma compete."""

    mention: Mention
    lemma: str
    sense: str


def limited(items: Sequence[Item], limit: int | None, seed: int = 0) -> list[Item]:
    """All items, or `limit` of them drawn at random but for ever the same, in their old order."""
    if limit is None or limit >= len(items):
        return list(items)
    chosen = sorted(random.Random(seed).sample(range(len(items)), limit))
    return [items[index] for index in chosen]


def tagged(task: str, name: str, split: Split) -> list[Tagged]:
    """A part of a tagging set: CoNLL-U (without ranges and empty nodes) or columns (without -DOCSTART-)."""
    folder = SHARED / "data/tasks" / task / name
    ending = "conllu" if task == "pos" else "conll"
    return _split(folder, ending, split, lambda path: list(_tagged(path, TAG_COLUMN[task])))


def labelled_texts(task: str, name: str, split: Split, tokenizer: Tokenizer, limit: int | None = None) -> list[Text]:
    """A part of a set of texts with labels, or `limit` of them; of each text the first MAX_TEXT_WORDS words."""
    cut = _by_spaces if name in TOKENIZED_TEXTS else tokenizer
    rows = limited(_split(SHARED / "data/tasks" / task / name, "jsonl", split, _json_lines), limit)
    return [text_of(row["text"], cut, row["label"]) for row in rows]


def similar_sentences(name: str, split: Split, tokenizer: Tokenizer, limit: int | None = None) -> list[TextPair]:
    """A part of the STS benchmark, or `limit` pairs of it; scores from 0 to 5."""
    rows = [row.split("\t") for row in _lines(SHARED / f"data/tasks/sts/{name}/{split}.tsv.xz")[1:] if row]
    return [
        TextPair(text_of(a, tokenizer), text_of(b, tokenizer), float(score)) for score, a, b in limited(rows, limit)
    ]


def words_in_context(split: Split) -> list[MentionPair]:
    """WiC: is the word used in the same sense in both sentences?"""
    pairs = []
    for row in _json_lines(SHARED / f"data/tasks/similarity_in_context/wic/{split}.jsonl.xz"):
        first, second = (_mention(row[f"sentence{n}"].split(), row[f"i{n}"]) for n in (1, 2))
        pairs.append(MentionPair(first, second, float(row["label"] == "T")))
    return pairs


def usage_similarity() -> list[MentionPair]:
    """SCWS: mean ratings from 0 to 10; the word stands between <b> and </b>."""
    rows = [row.split("\t") for row in _lines(SHARED / "data/tasks/similarity_in_context/scws/test.tsv.xz") if row]
    return [MentionPair(_marked(row[5]), _marked(row[6]), float(row[7])) for row in rows]


def lexical_sample(word: str, split: Split) -> list[SenseMention]:
    """Contexts of one word (`hard`, `interest`, `line`, `serve`), each with its sense."""
    rows = _json_lines(SHARED / f"data/tasks/wsd/lexical_sample_{word}/{split}.jsonl.xz")
    return [SenseMention(_mention(row["tokens"], row["i"]), word, row["label"]) for row in rows]


def all_words(name: str) -> list[tuple[str, list[SenseMention]]]:
    """Every sense-tagged word of `semcor_train`, `senseval2_test` or `semeval2013_test`, by document, in order.

    Words joined by underscores become words again, and the mention is all of them. A lemma competes with its part of
    speech, that of the synset: WordNet's `a` and `s` are both adjectives.
    """
    documents: dict[str, list[SenseMention]] = {}
    for row in _json_lines(SHARED / f"data/tasks/wsd/all_words/{name}.jsonl.xz"):
        words: list[str] = []
        spans = []
        for token in row["tokens"]:
            pieces = [piece for piece in token.split("_") if piece] or [token]
            spans.append((len(words), len(words) + len(pieces)))
            words += pieces
        for sense in row["senses"]:
            mention = Mention(tuple(words), *spans[sense["i"]])
            part = sense["synset"][-1].replace("s", "a")
            documents.setdefault(row["doc"], []).append(
                SenseMention(mention, f"{sense['lemma']}.{part}", sense["synset"])
            )
    return list(documents.items())


def held_out_text(language: str) -> dict[str, list[list[str]]]:
    """The held-out pretraining text: genre -> documents -> paragraphs."""
    genres = {}
    for path in sorted((SHARED / "data/pretrain" / language).glob("*.heldout.txt.xz")):
        documents: list[list[str]] = [[]]
        for line in _lines(path):
            if line.strip():
                documents[-1].append(line)
            elif documents[-1]:
                documents.append([])
        genres[path.name.removesuffix(".heldout.txt.xz")] = [document for document in documents if document]
    return genres


def open_genres() -> set[str]:
    """The genres that OPEN.txt names: text that may go into a model which is passed on."""
    names = (SHARED / "data/pretrain/OPEN.txt").read_text(encoding="utf-8").split()
    return {Path(name).name.removesuffix(".heldout.txt.xz") for name in names if name.endswith(".heldout.txt.xz")}


def text_of(raw: str, tokenizer: Tokenizer | _BySpaces, label: str = "") -> Text:
    """A raw text cut into sentences; what lies beyond MAX_TEXT_WORDS words is left out."""
    sentences: list[Words] = []
    room = MAX_TEXT_WORDS
    for sentence in tokenizer.sentences(raw[: 15 * MAX_TEXT_WORDS]):  # so many words are hardly ever longer
        words = sentence.tokens[:room]
        room -= len(words)
        if words:
            sentences.append(words)
    return Text(raw, tuple(sentences), label)


@dataclass(frozen=True)
class _Line:
    tokens: Words


class _BySpaces:
    """For texts that are tokenized already: the whole text is one sentence."""

    def sentences(self, text: str) -> list[_Line]:
        return [_Line(tuple(text.split()))]


_by_spaces = _BySpaces()


def _split(folder: Path, ending: str, split: Split, read: Any) -> list[Any]:
    """A split's file, or its share of the training file where there is no dev file."""
    if split == "test" or (folder / f"dev.{ending}.xz").exists():
        return list(read(folder / f"{split}.{ending}.xz"))
    whole = read(folder / f"train.{ending}.xz")
    # Some files are sorted by label, so the tenth is drawn from all over, with one seed.
    dev = set(random.Random(10).sample(range(len(whole)), len(whole) // 10))
    return [item for index, item in enumerate(whole) if (index in dev) == (split == "dev")]


def _tagged(path: Path, column: int) -> Iterator[Tagged]:
    rows: list[list[str]] = []
    for line in [*_lines(path), ""]:
        if line.strip():
            cells = line.split("\t") if "\t" in line else line.split()
            whole = column < 0 or cells[0].isdigit()  # CoNLL-U: no comment, not 3-4 or 5.1
            if whole and cells[0] != "-DOCSTART-":
                rows.append(cells)
        elif rows:
            words, tags = zip(*((cells[1 if column > 0 else 0], cells[column]) for cells in rows), strict=True)
            yield Tagged(tuple(words), tuple(tags))
            rows = []


def sentences_of(words: Words) -> list[Words]:
    """The sentences of a text in words: each ends with `.`, `?` or `!` and the quotes and brackets that close it."""
    sentences: list[list[str]] = []
    ended = True
    for word in words:
        if (ended and word not in CLOSING) or not sentences:
            sentences.append([])
        sentences[-1].append(word)
        ended = word in ENDS or (ended and word in CLOSING)
    return [tuple(sentence) for sentence in sentences]


def _mention(words: Sequence[str], place: int) -> Mention:
    return Mention(tuple(words), place, place + 1)


def _marked(context: str) -> Mention:
    words = context.split()
    start, end = words.index("<b>"), words.index("</b>")
    # Elsewhere in some contexts the word is marked again.
    kept = [(index, word) for index, word in enumerate(words) if word not in ("<b>", "</b>")]
    inside = [place for place, (index, _) in enumerate(kept) if start < index < end]
    return Mention(tuple(word for _, word in kept), inside[0], inside[-1] + 1)


def _lines(path: Path) -> list[str]:
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
        return file.read().split("\n")


def _json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _lines(path) if line]
