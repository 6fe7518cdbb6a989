"""`polyseme quickstart`: what contextual vectors are, shown in four views on a text that comes with Polyseme.

    1. vectors         the same word in several sentences has several vectors
    2. senses          contexts of one sense beside contexts of another: which are closer? (computed, never assumed)
    3. nearest         the contexts of the whole text that are nearest to one (Peters et al. 2018, table 4)
    4. next words      what each direction of the language model expects in a gap

Everything is computed from the model when it is asked for. The senses are those that the text's author marked.

Legend: `n` contexts of a word, `T` tokens of the text, `D` width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from polyseme.embedding import Embedding, TokenEmbedder
from polyseme.errors import InputError, OptionError
from polyseme.insight.bundle import Bundle, Cut, contexts_of, gap_of, words_of
from polyseme.insight.contexts import BLOCK, LAYER, Context, FloatArray, Progress, layer_vectors, span_vector
from polyseme.insight.neighbours import DoubleArray, cosines, nearest
from polyseme.insight.senses import Separation, separation
from polyseme.lm.network import LanguageModel
from polyseme.lm.substitutes import both_sides, log_prior

TOP = 5


@dataclass(frozen=True)
class Look:
    """A word in a few sentences. `shapes`: (layers, words, width) of each sentence; `vectors` (n, D).

    `spelling`: the cosines of layer 0, which sees no context, where the chosen layer is another one.
    """

    word: str
    contexts: tuple[Context, ...]
    shapes: tuple[tuple[int, ...], ...]
    vectors: FloatArray
    cosines: DoubleArray
    spelling: DoubleArray


@dataclass(frozen=True)
class WordSenses:
    """The contexts of a word whose senses are known. `senses`: the number of each context's meaning.

    `left_out`: sentences in which the model's tokenizer does not keep the word apart.
    """

    word: str
    meanings: tuple[str, ...]
    contexts: tuple[Context, ...]
    senses: tuple[int, ...]
    cosines: DoubleArray
    separation: Separation
    left_out: int


@dataclass(frozen=True)
class Near:
    """A context, and those of the whole text that are nearest, best first."""

    meaning: str
    context: Context
    found: tuple[tuple[Context, float], ...]


@dataclass(frozen=True)
class Gap:
    """What is expected at one place of a sentence, most probable first, with log probabilities.

    `both`: as `polyseme.lm.substitutes` ranks words.
    """

    context: Context
    left: tuple[tuple[str, float], ...]
    right: tuple[tuple[str, float], ...]
    both: tuple[tuple[str, float], ...]


class Tour:
    """The four views. `cut` turns raw text into the sentences that the model reads."""

    def __init__(self, embedder: TokenEmbedder, bundle: Bundle, cut: Cut, *, layer: str = LAYER) -> None:
        self.embedder, self.bundle, self.cut, self.layer = embedder, bundle, cut, layer
        self._vectors: dict[tuple[str, ...], FloatArray] = {}

    def read(self, progress: Progress | None = None) -> None:
        """Embeds the whole text, once; the views do it where it was not done."""
        sentences = [sentence for raw in self.bundle.sentences if (sentence := words_of(raw, self.cut))]
        for at in range(0, len(sentences), BLOCK):
            for embedding in self.embedder.embed(sentences[at : at + BLOCK]):
                self._vectors[embedding.tokens] = layer_vectors(embedding, self.layer)
            if progress is not None:
                progress(min(at + BLOCK, len(sentences)), len(sentences))

    def look(self) -> Look:
        """View 1. Raises `InputError` where the model's tokenizer does not keep the word apart."""
        word = self.bundle.first.word
        contexts = contexts_of(word, self.bundle.first.sentences, self.cut)
        if not contexts:
            raise InputError(f"the model's tokenizer never keeps {word!r} apart; choose another --lang or --model")
        embeddings = self.embedder.embed([context.sentence for context in contexts])
        vectors = _vectors_at(embeddings, contexts, self.layer)
        shapes = tuple(tuple(map(int, each.layers.shape)) for each in embeddings)
        spelling = cosines(_vectors_at(embeddings, contexts, "0"))
        return Look(word, tuple(contexts), shapes, vectors, cosines(vectors), spelling)

    def senses(self, word: str) -> WordSenses:
        """View 2 of one word. Raises `OptionError` for a word whose senses the text does not mark."""
        known = [sense for sense in self.bundle.senses if sense.word == word]
        if not known:
            words = ", ".join(self.bundle.words)
            raise OptionError(f"the text marks senses of {words}; not of {word!r}. Give your own text with --text")
        contexts: list[Context] = []
        labels: list[int] = []
        for number, sense in enumerate(known):
            found = contexts_of(word, sense.sentences, self.cut)
            contexts += found
            labels += [number] * len(found)
        vectors = [span_vector(self.vectors[context.sentence], context) for context in contexts]
        similarities = cosines(np.asarray(vectors)) if vectors else np.zeros((0, 0))
        meanings = tuple(sense.meaning for sense in known)
        left_out = sum(len(sense.sentences) for sense in known) - len(contexts)
        measured = separation(similarities, labels)
        return WordSenses(word, meanings, tuple(contexts), tuple(labels), similarities, measured, left_out)

    def near(self, senses: WordSenses, number: int, top: int = TOP) -> Near | None:
        """View 3: the nearest of all words of the text, in other sentences, for the first context of a sense."""
        if number not in senses.senses:
            return None
        context = senses.contexts[senses.senses.index(number)]
        places, matrix = self._searched
        own = np.asarray([place.sentence == context.sentence for place in places])
        vector = span_vector(self.vectors[context.sentence], context)
        similarities = cosines(vector[None], matrix)[0]
        found = nearest(similarities, top, own)
        return Near(senses.meanings[number], context, tuple((places[each.place], each.cosine) for each in found))

    def gaps(self, lm: LanguageModel, top: int = TOP, state: str | None = None) -> list[Gap]:
        """View 4. `state`: where a sentence starts, as in `LanguageModel.state`."""
        gaps = [context for raw in self.bundle.gaps if (context := gap_of(raw, self.cut)) is not None]
        return [expected(lm, context, top, state) for context in gaps]

    @property
    def vectors(self) -> dict[tuple[str, ...], FloatArray]:
        """The vectors of each sentence of the text, (T, D)."""
        if not self._vectors:
            self.read()
        return self._vectors

    @cached_property
    def _searched(self) -> tuple[list[Context], FloatArray]:
        """Every word of the text that has letters, and its vector."""
        places = [
            Context(sentence, at, at + 1)
            for sentence in self.vectors
            for at, token in enumerate(sentence)
            if any(map(str.isalpha, token))
        ]
        return places, np.stack([self.vectors[place.sentence][place.begin] for place in places])


def _vectors_at(embeddings: Sequence[Embedding], contexts: Sequence[Context], layer: str) -> FloatArray:
    pairs = zip(embeddings, contexts, strict=True)
    return np.stack([span_vector(layer_vectors(embedding, layer), context) for embedding, context in pairs])


def expected(lm: LanguageModel, context: Context, top: int = TOP, state: str | None = None) -> Gap:
    """The `top` words in the place of one word, which is not looked at."""
    forward, backward = lm.hidden(context.sentence, state)
    # Row `begin` of forward stands before the word; of backward row `begin + 1`, whose row 0 belongs to <S>.
    ends = (forward[[context.begin]], backward[[context.begin + 1]])
    left, right = (lm.log_probabilities(hidden)[0].numpy() for hidden in ends)
    both = both_sides(left, right, log_prior(lm), lm.never_words)
    for scores in (left, right):
        scores[lm.never_words] = -np.inf
    return Gap(context, _best(lm, left, top), _best(lm, right, top), _best(lm, both, top))


def _best(lm: LanguageModel, scores: DoubleArray, top: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-scores, kind="stable")[:top]
    return tuple((lm.vocabulary.words[int(row)], float(scores[row])) for row in order if np.isfinite(scores[row]))
