"""Word2Vec (Mikolov et al. 2013): a word's vector predicts its neighbours, or they predict it. Trained by gensim.

vectors = fit(Corpus.open("corpus"), Word2VecConfig(width=200))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from polyseme.errors import MissingExtraError, OptionError
from polyseme.static.trained_words import TrainedWords
from polyseme.static.vectors import About, StaticVectors
from polyseme.text.shards import Corpus

Progress = Callable[[int, int], None]  # running words read so far, of how many in all epochs

_LONGEST_SENTENCE = 10_000  # gensim cuts longer ones without a word (MAX_WORDS_IN_BATCH)
_WORDS_IN_ALL = 100_000_000  # to read by default, with the bounds below: little text is read more often
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 30


@dataclass(frozen=True)
class Word2VecConfig:
    """How to train. The defaults are for one to a hundred million words of text.

    `model`: skip-gram, which learns rare words better, or cbow, several times as fast. `window`: neighbours on either
    side at most; a smaller number is drawn each time. `negative`: words drawn against each true one; 5 to 20 for little
    text (Mikolov et al. 2013, 2.2). `sample`: above this share of the text, a word is read less often. `epochs`: None
    reads the text until 100 million words have been read, 5 to 30 times.
    `workers`: with more than one, vectors differ from run to run, because threads write to the same rows without
    waiting for each other; one gives the same vectors for the same text, seed and machine.
    """

    width: int = 200
    window: int = 5
    min_count: int = 5
    epochs: int | None = None
    model: Literal["skip-gram", "cbow"] = "skip-gram"
    negative: int = 10
    sample: float = 1e-3
    learning_rate: float = 0.025
    workers: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("width", "window", "min_count", "negative", "workers"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, was: {getattr(self, name)}")
        if self.epochs is not None and self.epochs < 1:
            raise OptionError(f"epochs must be at least 1, was: {self.epochs}")
        if self.model not in ("skip-gram", "cbow"):
            raise OptionError(f"model must be 'skip-gram' or 'cbow', was: {self.model!r}")
        if not 0 <= self.sample < 1 or not 0 < self.learning_rate <= 1:
            raise OptionError(
                f"sample must be a share below 1 and learning_rate at most 1, were: {self.sample}, {self.learning_rate}"
            )
        if not 0 <= self.seed < 2**32:
            raise OptionError(f"seed must lie between 0 and 2^32 - 1, was: {self.seed}")

    def arguments(self, words: TrainedWords) -> dict[str, Any]:
        """The same in gensim's words, for `Word2Vec` and `FastText`."""
        return {
            "vector_size": self.width, "window": self.window, "min_count": 1, "sg": int(self.model == "skip-gram"),
            "negative": self.negative, "sample": self.sample, "alpha": self.learning_rate, "workers": self.workers,
            "seed": self.seed, "epochs": self.epochs or usual_epochs(words.running),
        }  # fmt: skip


def usual_epochs(running: int) -> int:
    """How often to read a text of so many words."""
    return min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, -(-_WORDS_IN_ALL // max(running, 1))))


def fit(corpus: Corpus, config: Word2VecConfig | None = None, progress: Progress | None = None) -> StaticVectors:
    """Vectors of the words of the corpus's training part, by falling count.

    Raises `MissingExtraError` without gensim, `InputError` for too little text.
    """
    config = config or Word2VecConfig()
    words, gensim = TrainedWords(corpus, config.min_count), gensim_models()
    arguments = config.arguments(words)
    model = train(gensim.Word2Vec(**arguments), words, progress)
    matrix = model.wv.vectors[[model.wv.key_to_index[word] for word in words.words]]
    about = About("word2vec", f"{config.model}, gensim {gensim_version()}: {described(config, arguments['epochs'])}")
    return StaticVectors(words.words, matrix, text=corpus.text, about=about)


def train(model: Any, words: TrainedWords, progress: Progress | None) -> Any:
    """Trains a fresh gensim model (`Word2Vec` or `FastText`) on the words, and gives it back."""
    counts = dict(zip(words.words, map(int, words.counts), strict=True))
    model.build_vocab_from_freq(counts)
    sentences = _Sentences(words, progress, words.running * model.epochs)
    # gensim lowers the learning rate by how many of all words were read.
    model.train(sentences, total_words=words.running, epochs=model.epochs)
    return model


class _Sentences:
    """The corpus as gensim reads it, once an epoch: lists of words, none longer than it takes."""

    def __init__(self, words: TrainedWords, progress: Progress | None, total: int) -> None:
        self.words, self.progress, self.total, self.done = words, progress, total, 0

    def __iter__(self) -> Iterator[list[str]]:
        word = self.words.words
        for ids in self.words.sentences():
            for start in range(0, len(ids), _LONGEST_SENTENCE):
                yield [word[index] for index in ids[start : start + _LONGEST_SENTENCE].tolist()]
            self.done += len(ids)
            if self.progress is not None:
                self.progress(self.done, self.total)


def gensim_models() -> Any:
    """gensim's trainers. Raises `MissingExtraError`."""
    if find_spec("gensim") is None:
        raise MissingExtraError("training word2vec and fastText", "static")
    return import_module("gensim.models")


def gensim_version() -> str:
    """As the package says."""
    return str(import_module("gensim").__version__)


def described(config: Word2VecConfig, epochs: int) -> str:
    """The settings, for `About.recipe`."""
    return (
        f"width {config.width}, window {config.window}, words that come {config.min_count} times, {epochs} epochs, "
        f"{config.negative} negative words, sample {config.sample:g}, learning rate {config.learning_rate:g}, "
        f"workers {config.workers}, seed {config.seed}; numpy {np.__version__}"
    )
