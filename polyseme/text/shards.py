"""A corpus on disk, as training reads it: ids of word types by falling count, and one row of characters per type.

    corpus = Corpus.open("corpus")         # written by polyseme.text.prepare; its arrays are memory-mapped
    corpus.train.sentence(0)               # word-type ids; <S> and </S> are not stored
    corpus.character_rows[ids]             # what the input reads of every word, in the softmax vocabulary or not
    corpus.vocabulary(50_000)              # the softmax words: the first types; all other targets are <UNK>

Files of CORPUS/: corpus.json (what this is; written last), words.txt (one type a line), counts.npy, characters.npy,
and of each part `train` and `heldout` the ids (.ids.npy) and where each sentence starts in them (.starts.npy).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from polyseme.errors import InputError, OptionError
from polyseme.text.chars import Characters
from polyseme.text.config import TextConfig
from polyseme.text.vocab import SPECIAL, Vocabulary

FORMAT, VERSION = "polyseme corpus", 1
DESCRIPTION = "corpus.json"
WORDS, COUNTS, ROWS = "words.txt", "counts.npy", "characters.npy"
PARTS = ("train", "heldout")
MOST_WORDS = 100_000  # of a vocabulary whose size nobody chose
UNKNOWN_ID = SPECIAL.index("<UNK>")
_CHUNK = 1 << 24  # entries that a check looks at together

Ids = npt.NDArray[np.uint32]
Starts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PrepareReport:
    """What became of the text. Shares are 0..1; targets are words plus one boundary a sentence.

    `documents`: what blank lines, files or records separate; the held-out part was chosen among them
    (`heldout_by="documents"`), or as contiguous blocks of sentences, or was given as files; `heldout_pieces` of them.
    `types`: distinct words of both parts, `heldout_types` of them in the held-out part alone.
    `unknown_share`, `heldout_unknown_share`: of the words of a part, those outside the first `vocab_size` types.
    `cut_words`: running training words longer than the characters of a row. `reserved_words`: words that the text
    spells <S>, </S> or <UNK>, read as <UNK>. `emptied_sentences`: nothing but stop words, left out.
    `empty_sentences`: empty lines kept as sentences of no words. `long_lines`: cut in pieces to bound the memory.
    """

    documents: int = 0
    train_sentences: int = 0
    train_words: int = 0
    heldout_sentences: int = 0
    heldout_words: int = 0
    heldout_by: Literal["documents", "blocks", "files", "none"] = "none"
    heldout_pieces: int = 0
    types: int = 0
    heldout_types: int = 0
    vocab_size: int = 0
    unknown_share: float = 0.0
    heldout_unknown_share: float = 0.0
    alphabet: str = ""
    cut_words: int = 0
    reserved_words: int = 0
    emptied_sentences: int = 0
    empty_sentences: int = 0
    long_lines: int = 0
    lines: int = 0
    empty_lines: int = 0
    bytes_replaced: int = 0
    lines_replaced: int = 0
    lines_skipped: int = 0
    tokenizer: str = ""
    language: str = ""
    language_given: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def train_targets(self) -> int:
        """Targets of the training part."""
        return self.train_words + self.train_sentences

    @property
    def heldout_targets(self) -> int:
        """Targets of the held-out part."""
        return self.heldout_words + self.heldout_sentences


@dataclass(frozen=True, eq=False)
class Part:
    """Sentences end to end. `ids`: (n_words,) word-type ids without boundaries; `starts`: (n_sentences + 1,).

    A sentence may have no words: an empty line that was kept, one target.
    """

    ids: Ids
    starts: Starts

    @property
    def n_sentences(self) -> int:
        """How many sentences."""
        return len(self.starts) - 1

    @property
    def n_words(self) -> int:
        """Running words."""
        return len(self.ids)

    @property
    def n_targets(self) -> int:
        """What a perplexity is the mean over: every word, and one boundary a sentence."""
        return self.n_words + self.n_sentences

    def sentence(self, index: int) -> Ids:
        """The ids of one sentence, without boundaries. *Shape:* (T,)."""
        if not 0 <= index < self.n_sentences:
            raise OptionError(f"the part has the sentences 0 to {self.n_sentences - 1}, asked for: {index}")
        return self.ids[self.starts[index] : self.starts[index + 1]]


class WordList(Sequence[str]):
    """Every word type by id, out of a memory-mapped text: millions of them cost no Python objects."""

    def __init__(self, text: npt.NDArray[np.uint8]) -> None:
        """`text`: UTF-8, one word a line."""
        self._text = text
        ends = [
            np.flatnonzero(text[first : first + _CHUNK] == ord("\n")) + first for first in range(0, len(text), _CHUNK)
        ]
        self._ends = np.concatenate([np.full(1, -1, dtype=np.int64), *ends])

    @classmethod
    def of(cls, words: Iterable[str]) -> WordList:
        """In memory. Raises `InputError` for a word that is empty or holds a line end."""
        lines: list[bytes] = []
        for word in words:
            if not word or "\n" in word:
                raise InputError(f"word {len(lines)} is {word!r}: it cannot stand on a line of its own")
            lines.append(f"{word}\n".encode("utf-8", "surrogatepass"))
        return cls(np.frombuffer(b"".join(lines), dtype=np.uint8))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        index = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= index < len(self):
            raise IndexError(index)
        line = self._text[self._ends[index] + 1 : self._ends[index + 1]]
        return line.tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True, eq=False)
class Corpus:
    """A prepared text.

    `words`: the types by id: <S>, </S>, <UNK>, then words by falling count in the training part (equal counts by code
    points), then what only the held-out part has. `counts`: (n_types,) in the training part, 0 for the first three.
    `character_rows`: (n_types, max_characters), made by `characters`. `identity`: a digest of all of the above and of
    both parts, for checkpoints.
    """

    folder: Path | None
    words: WordList
    counts: npt.NDArray[np.int64]
    characters: Characters
    character_rows: npt.NDArray[Any]
    text: TextConfig
    train: Part
    heldout: Part
    report: PrepareReport
    identity: str

    def __len__(self) -> int:
        """How many word types, the three special ones included."""
        return len(self.counts)

    def word(self, id: int) -> str:
        """The word of a type. Raises `OptionError` outside 0 .. n_types - 1."""
        if not 0 <= id < len(self.words):
            raise OptionError(f"the corpus has the word types 0 to {len(self.words) - 1}, asked for: {id}")
        return self.words[id]

    def vocabulary(self, size: int | None = None) -> Vocabulary:
        """The first `size` types that occur in the training part; a target whose id is not below its length is <UNK>.

        Raises `OptionError` for fewer than the three special words.
        """
        if size is not None and size < len(SPECIAL):
            raise OptionError(f"a vocabulary needs at least its {len(SPECIAL)} first words, size was: {size}")
        n_seen = len(SPECIAL) + int(np.count_nonzero(self.counts))
        return Vocabulary(tuple(islice(self.words, n_seen if size is None else min(size, n_seen))))

    @property
    def usual_size(self) -> int:
        """How many words to predict where nobody chose: `usual_size` of the counts."""
        return usual_size(self.counts)

    def unknown_share(self, size: int | None = None) -> float:
        """The share (0..1) of the training words outside the first `size` types; those spelled <UNK> are outside."""
        known = int(self.counts[: size if size is None else max(size, 0)].sum())
        return (self.train.n_words - known) / self.train.n_words if self.train.n_words else 0.0

    @classmethod
    def from_sentences(
        cls,
        train: Iterable[Sequence[str]],
        heldout: Iterable[Sequence[str]] = (),
        characters: Characters | None = None,
        text: TextConfig | None = None,
    ) -> Corpus:
        """A corpus in memory, for small text. Raises `InputError` without training words."""
        kept, held = [tuple(words) for words in train], [tuple(words) for words in heldout]
        counts = Counter(word for words in kept for word in words)
        n_words = counts.total()
        n_reserved = sum(counts.pop(word, 0) for word in SPECIAL)
        if not n_words:
            raise InputError("no words to train on: the sentences are empty")
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        unseen = sorted({word for words in held for word in words} - counts.keys() - set(SPECIAL))
        words = WordList.of([*SPECIAL, *ranked, *unseen])
        ids = {word: index for index, word in enumerate(words)} | dict.fromkeys(SPECIAL, UNKNOWN_ID)
        parts = [_part(sentences, ids) for sentences in (kept, held)]
        characters, text = characters or Characters(), text or TextConfig()
        numbers = np.asarray([counts[word] for word in words], dtype=np.int64)
        size = usual_size(numbers)
        outside = (parts[1].ids >= size) | (parts[1].ids == UNKNOWN_ID)
        heldout_unknown = float(outside.mean()) if parts[1].n_words else 0.0
        report = PrepareReport(
            train_sentences=parts[0].n_sentences,
            train_words=n_words,
            heldout_sentences=parts[1].n_sentences,
            heldout_words=parts[1].n_words,
            heldout_by="files" if held else "none",
            types=len(words) - len(SPECIAL),
            heldout_types=len(unseen),
            vocab_size=size,
            unknown_share=float(n_words - numbers[:size].sum()) / n_words,
            heldout_unknown_share=heldout_unknown,
            cut_words=sum(count for word, count in counts.items() if characters.is_cut(word)),
            reserved_words=n_reserved,
            empty_sentences=sum(not words for words in (*kept, *held)),
            tokenizer=text.tokenizer,
        )
        rows = np.concatenate([special_rows(characters), encode_rows(characters, words[len(SPECIAL) :])])
        digest = hashlib.sha256(json.dumps([asdict(characters), asdict(text)], sort_keys=True).encode())
        for array in (words._text, numbers, *(array for part in parts for array in (part.ids, part.starts))):
            digest.update(np.ascontiguousarray(array).tobytes())
        return cls(
            None, words, numbers, characters, rows, text, parts[0], parts[1], report, digest.hexdigest()
        )  # fmt: skip

    @classmethod
    def open(cls, folder: str | Path, *, check: bool = True) -> Corpus:
        """Opens what `polyseme.text.prepare` wrote; nothing is loaded but the list of counts.

        `check`: read through all ids once and see that each is a type. Raises `InputError` that names the file.
        """
        folder = Path(folder)
        about = _description(folder)
        try:
            characters = _configured(Characters, about["characters"])
            text, report = _configured(TextConfig, about["text"]), _configured(PrepareReport, about["report"])
            sizes = {str(name): int(entry["bytes"]) for name, entry in about["files"].items()}
            identity = str(about["identity"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{folder / DESCRIPTION}: damaged ({error!r}); prepare the corpus again") from error
        _check_sizes(folder, sizes)
        words = WordList(np.memmap(folder / WORDS, dtype=np.uint8, mode="r"))
        counts = _array(folder / COUNTS, np.int64, (len(words),))
        rows = _array(folder / ROWS, row_dtype(characters), (len(words), characters.max_characters))
        train, heldout = (_open_part(folder, name, len(words), check) for name in PARTS)
        return cls(folder, words, np.array(counts), characters, rows, text, train, heldout, report, identity)


# --- characters of types


def usual_size(counts: npt.NDArray[np.int64]) -> int:
    """All words that come twice, at most 100,000: those that come once teach <UNK> how often nobody knows the word."""
    return min(MOST_WORDS, max(len(SPECIAL) + 1, len(SPECIAL) + int(np.count_nonzero(counts > 1))))


def row_dtype(characters: Characters) -> npt.DTypeLike:
    """The smallest whole number that holds every character id."""
    return np.min_scalar_type(characters.n_rows - 1)


def encode_rows(characters: Characters, words: Sequence[str]) -> npt.NDArray[Any]:
    """Rows of words. *Shape:* (n, max_characters)."""
    return characters.encode(words).astype(row_dtype(characters))


def special_rows(characters: Characters) -> npt.NDArray[Any]:
    """Rows of the first three types: the boundaries, however the alphabet spells them, and <UNK>. *Shape:* (3, ...)."""
    return encode_rows(characters, (*characters.boundaries, SPECIAL[UNKNOWN_ID]))


def _part(sentences: Sequence[Sequence[str]], ids: Mapping[str, int]) -> Part:
    starts = np.zeros(len(sentences) + 1, dtype=np.int64)
    np.cumsum([len(words) for words in sentences], out=starts[1:])
    flat = (ids[word] for words in sentences for word in words)
    return Part(np.fromiter(flat, dtype=np.uint32, count=int(starts[-1])), starts)


# --- files


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no prepared corpus: it has no {DESCRIPTION}; write one with prepare") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); prepare the corpus again") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f"{path} does not describe a prepared corpus")
    if about.get("version") != VERSION:
        raise InputError(
            f"{path}: a corpus of version {about.get('version')!r}; this Polyseme reads version {VERSION}: "
            "prepare the corpus again"
        )
    return about


def _configured(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass from its JSON; lists become tuples again, and no field may be missing or new."""
    names = {field.name for field in fields(kind)}
    if set(values) != names:
        raise ValueError(f"{kind.__name__} has {sorted(names ^ set(values))} too many or too few")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _check_sizes(folder: Path, sizes: Mapping[str, int]) -> None:
    for name in (WORDS, COUNTS, ROWS, *(f"{part}.{kind}.npy" for part in PARTS for kind in ("ids", "starts"))):
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != sizes.get(name):
            seen = "is missing" if found is None else f"has {found:,} bytes where {sizes.get(name, 0):,} were written"
            raise InputError(f"{path}: {seen}; prepare the corpus again")


def _array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A memory-mapped .npy file; a length of -1 may be any."""
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no array that can be read ({error}); prepare the corpus again") from error
    expected = len(shape) == array.ndim and all(a in (-1, b) for a, b in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not expected:
        raise InputError(
            f"{path}: holds {array.dtype} of shape {array.shape} where {np.dtype(dtype)} of shape "
            f"{shape} belongs; prepare the corpus again"
        )
    return array


def _open_part(folder: Path, name: str, n_types: int, check: bool) -> Part:
    ids_path, starts_path = folder / f"{name}.ids.npy", folder / f"{name}.starts.npy"
    part = Part(_array(ids_path, np.uint32, (-1,)), _array(starts_path, np.int64, (-1,)))
    if not len(part.starts) or part.starts[0] != 0 or part.starts[-1] != part.n_words:
        raise InputError(f"{starts_path}: does not fit the {part.n_words:,} ids beside it; prepare the corpus again")
    if check:
        for first in range(0, part.n_sentences, _CHUNK):
            if (np.diff(part.starts[first : first + _CHUNK + 1]) < 0).any():
                raise InputError(f"{starts_path}: a sentence ends before it starts; prepare the corpus again")
        for first in range(0, part.n_words, _CHUNK):
            highest = int(part.ids[first : first + _CHUNK].max())
            if highest >= n_types:
                raise InputError(f"{ids_path}: the id {highest:,}, but there are {n_types:,} types; prepare again")
    return part
