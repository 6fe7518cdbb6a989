"""fastText (Bojanowski et al. 2017): Word2Vec over words and their character n-grams. Trained by gensim.

A word's vector is the mean of its own and those of its n-grams, so that a word that was never seen still gets one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polyseme.errors import OptionError
from polyseme.static.subwords import Subwords
from polyseme.static.trained_words import TrainedWords
from polyseme.static.vectors import About, StaticVectors
from polyseme.static.word2vec import Progress, Word2VecConfig, described, gensim_models, gensim_version, train
from polyseme.text.shards import Corpus


@dataclass(frozen=True)
class FastTextConfig(Word2VecConfig):
    """How to train: `Word2VecConfig`, and n-grams of `min_n` to `max_n` characters, hashed into `buckets` rows.

    fastText's own 2,000,000 buckets would take 1.6 GB at width 200, in memory and on disk, mostly for n-grams that a
    text of a few million words does not have; 200,000 take a tenth, and n-grams of rare words share some rows.
    """

    min_n: int = 3
    max_n: int = 6
    buckets: int = 200_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.min_n <= self.max_n:
            raise OptionError(f"n-grams need 1 <= min_n <= max_n, were: {self.min_n} and {self.max_n}")
        if self.buckets < 1:
            raise OptionError(f"buckets must be at least 1, was: {self.buckets}")


def fit(corpus: Corpus, config: FastTextConfig | None = None, progress: Progress | None = None) -> StaticVectors:
    """Vectors of the words of the corpus's training part, by falling count, and of n-grams for all others.

    Raises `MissingExtraError` without gensim, `InputError` for too little text.
    """
    config = config or FastTextConfig()
    words, gensim = TrainedWords(corpus, config.min_count), gensim_models()
    arguments = config.arguments(words)
    more = {"min_n": config.min_n, "max_n": config.max_n, "bucket": config.buckets}
    model = train(gensim.FastText(**arguments, **more), words, progress)
    matrix = model.wv.vectors[[model.wv.key_to_index[word] for word in words.words]]
    subwords = Subwords(config.min_n, config.max_n, np.asarray(model.wv.vectors_ngrams, dtype=np.float32))
    recipe = f"{config.model}, gensim {gensim_version()}: {described(config, arguments['epochs'])}; " + (
        f"n-grams of {config.min_n} to {config.max_n}, {config.buckets} buckets"
    )
    return StaticVectors(words.words, matrix, subwords=subwords, text=corpus.text, about=About("fasttext", recipe))
