"""A text streams by: how often its words occur, a random sample of its sentences, and the places of chosen words.

    collected = collect(sentences, {"bank": ("bank",)}, seed=1)
    found = collected.found["bank"]       # found.count places in all, found.contexts: at most MOST of them
    vectors = embed_contexts(embedder, found.contexts, "top")

Memory grows with the distinct words of a text, not with its length. Samples are drawn by reservoir sampling (Vitter
1985, algorithm R): every place has the same chance, and the same seed draws the same places. Upper and lower case are
one word. A word may be several tokens (`New York`, or a Chinese word for a model that reads characters).

Legend: `n` contexts, `T` tokens of a sentence, `D` width of a vector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from polyseme.embedding import Embedding, TokenEmbedder
from polyseme.errors import InputError, OptionError

Sentence = tuple[str, ...]
FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]  # sentences so far, in all
Item = TypeVar("Item")

MOST = 200  # contexts of a word: the groups and the map stay readable, and their cost grows with its square
SAMPLE = 3_000  # sentences for what is measured over all words
LONGEST = 500  # words of a sentence; what is longer is mostly text whose sentences could not be found
BLOCK = 256  # sentences in memory with all their vectors

# Peters et al. 2018, table 5: the top layer tells senses apart best (WSD F1 69.0; first layer 67.4).
LAYER = "top"


@dataclass(frozen=True)
class Context:
    """A place where a word stands: `sentence[begin:end]`."""

    sentence: Sentence
    begin: int
    end: int

    @property
    def word(self) -> Sentence:
        return self.sentence[self.begin : self.end]


@dataclass(frozen=True)
class Found:
    """Where a word stands. `count`: places in all; `contexts`: a random sample of them, each once, in order."""

    count: int
    contexts: tuple[Context, ...]


@dataclass(frozen=True)
class Collected:
    """What is kept of a text. `words`: counts, lower case. `sample`: sentences drawn at random, in order.

    `too_long`: sentences of more than LONGEST words, which are left out.
    """

    words: Counter[str] = field(default_factory=Counter)
    sentences: int = 0
    tokens: int = 0
    too_long: int = 0
    sample: tuple[Sentence, ...] = ()
    found: dict[str, Found] = field(default_factory=dict)


class Reservoir(Generic[Item]):
    """At most `size` of the items that are added, drawn at random; `seen` counts all."""

    def __init__(self, size: int, seed: str) -> None:
        self.size, self.seen = size, 0
        self._random = Random(seed)  # a string: the same draws in every process
        self._kept: list[tuple[int, Item]] = []

    def add(self, item: Item) -> None:
        self.seen += 1
        if len(self._kept) < self.size:
            self._kept.append((self.seen, item))
        elif (place := self._random.randrange(self.seen)) < self.size:
            self._kept[place] = (self.seen, item)

    def items(self) -> tuple[Item, ...]:
        """In the order in which they were added."""
        return tuple(item for _, item in sorted(self._kept, key=lambda kept: kept[0]))


def collect(
    sentences: Iterable[Sentence],
    words: Mapping[str, Sentence],
    *,
    most: int = MOST,
    sample: int = SAMPLE,
    seed: int = 1,
    longest: int = LONGEST,
) -> Collected:
    """Reads `sentences` once. `words`: what to look for, and the tokens each one consists of.

    `most`: contexts of a word that are kept. Raises `OptionError` where one of these is out of range.
    """
    if most < 1 or sample < 1:
        raise OptionError(f"the number of contexts to keep must be at least 1, was: {min(most, sample)}")
    by_first: dict[str, list[tuple[str, list[str]]]] = {}
    for word, tokens in words.items():
        wanted = [token.casefold() for token in tokens]
        if not wanted:
            raise OptionError(f"{word!r} is no word; give one that stands in the text")
        by_first.setdefault(wanted[0], []).append((word, wanted))
    places = {word: Reservoir[Context](most, f"{seed} {word}") for word in words}
    drawn = Reservoir[Sentence](sample, str(seed))
    counts: Counter[str] = Counter()
    n_tokens = too_long = 0
    for sentence in sentences:
        n_tokens += len(sentence)
        folded = [token.casefold() for token in sentence]
        counts.update(folded)
        if len(sentence) > longest:
            too_long += 1
            continue
        drawn.add(sentence)
        for begin, token in enumerate(folded):
            for word, wanted in by_first.get(token, ()):
                end = begin + len(wanted)
                if folded[begin:end] == wanted:
                    places[word].add(Context(sentence, begin, end))
    found = {word: Found(kept.seen, tuple(dict.fromkeys(kept.items()))) for word, kept in places.items()}
    return Collected(counts, drawn.seen + too_long, n_tokens, too_long, drawn.items(), found)


def refuse_absent(collected: Collected) -> None:
    """Raises `InputError`, which names words that are spelt alike, where a word that was looked for is not there."""
    from difflib import get_close_matches

    for word, found in collected.found.items():
        if not found.count:
            known = [other for other, _ in collected.words.most_common(50_000)]
            folded = word.casefold()
            near = [other for other in known if folded in other][:3]
            near += [other for other in get_close_matches(folded, known, n=5, cutoff=0.6) if other not in near]
            hint = f"words spelt alike: {', '.join(near[:5])}" if near else "no word of it is spelt alike"
            hint += (
                f"; what stands in sentences that are too long (there: {collected.too_long:,}) was left out"
                if collected.too_long
                else ""
            )
            raise InputError(f"{word!r} is not among the {collected.tokens:,} words of the text; {hint}")


# --- vectors


def layer_number(layer: str, n_layers: int) -> int | None:
    """Which of a model's layers `top`, or a number, is; None for `average`.

    Raises `OptionError` for a layer that the model does not have.
    """
    if layer == "average":
        return None
    number = n_layers - 1 if layer == "top" else int(layer) if layer.isdecimal() else -1
    if not 0 <= number < n_layers:
        raise OptionError(f"the layer must be top, average or a number from 0 to {n_layers - 1}, was: {layer!r}")
    return number


def layer_vectors(embedding: Embedding, layer: str) -> FloatArray:
    """The vectors of one layer: `top`, `average`, or a number (0: without context). *Shape:* (T, D).

    Raises what `layer_number` raises.
    """
    number = layer_number(layer, len(embedding.layers))
    vectors = embedding.average() if number is None else embedding.layers[number]
    return np.asarray(vectors, dtype=np.float32)


def span_vector(vectors: FloatArray, context: Context) -> FloatArray:
    """The mean over the tokens of the word. *Shape:* (T, D) -> (D,)."""
    return np.asarray(vectors[context.begin : context.end].mean(axis=0), dtype=np.float32)


def embed_contexts(
    embedder: TokenEmbedder, contexts: Sequence[Context], layer: str = LAYER, progress: Progress | None = None
) -> FloatArray:
    """The vector of the word in each context. *Shape:* (n, D).

    A sentence is read once, however many contexts it holds. Raises what `layer_number` and the embedder raise.
    """
    vectors = np.zeros((len(contexts), embedder.width), dtype=np.float32)
    by_sentence: dict[Sentence, list[int]] = {}
    for place, context in enumerate(contexts):
        by_sentence.setdefault(context.sentence, []).append(place)
    sentences = list(by_sentence)
    for at in range(0, len(sentences), BLOCK):
        block = sentences[at : at + BLOCK]
        for sentence, embedding in zip(block, embedder.embed(block), strict=True):
            layers = layer_vectors(embedding, layer)
            for place in by_sentence[sentence]:
                vectors[place] = span_vector(layers, contexts[place])
        if progress is not None:
            progress(min(at + BLOCK, len(sentences)), len(sentences))
    return vectors
