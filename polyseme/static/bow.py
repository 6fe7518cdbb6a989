"""Bag of words: documents as counts of words, as TF-IDF, and as latent semantic vectors. Over scikit-learn.

    bag = BagOfWords.fit(documents)              # lists of words
    bag.transform(documents)                      # TF-IDF: sparse (D, V), rows of length 1; or weights="counts"
    vectors = bag.latent(documents, width=200)    # StaticVectors: one dense vector a word

A bag of words has vectors of documents, V wide and sparse. One token of it is a single one among zeros (one-hot),
which is no dense word vector and says nothing of which words are alike. So as a `TokenEmbedder` it takes the form that
the literature gives it: latent semantic analysis (Deerwester et al. 1990), a truncated singular value decomposition of
the TF-IDF matrix of documents and words, X = U S V'. A word's vector is its row of V S, whose products are those of the
words' columns of X as far as `width` dimensions can hold them. These are vectors of words learned from which documents
share words, without word order: not the bag of words itself, and results should say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from polyseme.errors import DamagedModelError, InputError, MissingExtraError, OptionError
from polyseme.static import folder
from polyseme.static.trained_words import TrainedWords
from polyseme.static.vectors import About, StaticVectors
from polyseme.text.config import TextConfig
from polyseme.text.shards import Corpus

Document = Sequence[str]
Weights = Literal["tfidf", "counts"]

# Words of a document where the text is sentences: Landauer and Dumais (1997) learned from pieces of 151 on average.
STRETCH_WORDS = 150


class BagOfWords:
    """The words of a bag, (V,), and their inverse document frequencies `idf`, (V,)."""

    def __init__(self, words: Sequence[str], idf: npt.NDArray[np.float64], text: TextConfig | None = None) -> None:
        if len(words) != len(idf) or not len(words):
            raise OptionError(f"{len(words):,} words need as many document frequencies, and at least one: {len(idf):,}")
        self.words, self.idf, self.text = tuple(words), np.asarray(idf, dtype=np.float64), text or TextConfig()
        self._counter = _counter(vocabulary={word: column for column, word in enumerate(self.words)})

    def __len__(self) -> int:
        """V, how many words the bag knows."""
        return len(self.words)

    @classmethod
    def fit(
        cls,
        documents: Iterable[Document],
        *,
        min_documents: int = 2,
        max_words: int | None = None,
        text: TextConfig | None = None,
    ) -> BagOfWords:
        """The words that lie in at least `min_documents`, by code points; of these the `max_words` most frequent.

        idf = ln((1 + D) / (1 + d)) + 1 for a word that d of D documents hold, as scikit-learn smooths it.
        Raises `MissingExtraError` without scikit-learn, `InputError` where no word stays.
        """
        counter = _counter(min_df=min_documents, max_features=max_words)
        try:
            counts = counter.fit_transform(documents)
        except ValueError as error:  # "empty vocabulary", "max_df corresponds to < documents than min_df"
            raise InputError(
                f"no word lies in {min_documents} documents or more; give more of them, or a smaller min_documents"
            ) from error
        weighting = _sklearn("feature_extraction.text").TfidfTransformer().fit(counts)
        return cls(counter.get_feature_names_out().tolist(), weighting.idf_, text)

    def transform(self, documents: Iterable[Document], weights: Weights = "tfidf") -> Any:
        """One row a document, a scipy sparse matrix (D, V); words that the bag does not know count nowhere.

        `tfidf`: counts times idf, rows scaled to length 1. `counts`: how often each word comes.
        """
        if weights not in ("tfidf", "counts"):
            raise OptionError(f"weights must be 'tfidf' or 'counts', was: {weights!r}")
        counts = self._counter.transform(documents)
        if weights == "counts":
            return counts
        return _sklearn("preprocessing").normalize(counts.multiply(self.idf).tocsr(), copy=False)

    def latent(self, documents: Iterable[Document], width: int = 200, *, seed: int = 1) -> StaticVectors:
        """Latent semantic vectors of the bag's words from these documents, most frequent words first.

        Raises `InputError` where there are not more words, and as many documents, as `width`.
        """
        counts = self.transform(documents, "counts")
        if not 1 <= width < len(self) or width > counts.shape[0]:
            raise InputError(
                f"{counts.shape[0]:,} documents of {len(self):,} words have no {width} latent dimensions; give more "
                "text, or a smaller width"
            )
        matrix = _sklearn("preprocessing").normalize(counts.multiply(self.idf).tocsr(), copy=False)
        analysis = _sklearn("decomposition").TruncatedSVD(n_components=width, random_state=seed).fit(matrix)
        vectors = analysis.components_.T * analysis.singular_values_
        often = np.asarray(counts.sum(axis=0)).ravel()
        ranked = np.lexsort((np.arange(len(self)), -often))  # equal counts by code points, as the words are
        recipe = f"latent semantic analysis of TF-IDF, width {width}, {counts.shape[0]:,} documents, seed {seed}"
        words = [self.words[column] for column in ranked]
        return StaticVectors(words, vectors[ranked], text=self.text, about=About("bow", recipe))

    def save(self, vectors: StaticVectors, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes a folder of static vectors (`latent`, of the same words) that also holds the bag. `OutputError`."""
        column = {word: place for place, word in enumerate(self.words)}
        if vectors.words != self.words and set(vectors.words) != set(self.words):
            raise OptionError("the vectors are not those of this bag's words")
        idf = self.idf[[column[word] for word in vectors.words]]
        folder.write(vectors, Path(path), overwrite=overwrite, more={"idf": idf})

    @classmethod
    def open(cls, path: str | Path) -> BagOfWords:
        """The bag in a folder that `save` wrote. Raises `UnknownFormatError`, `DamagedModelError`."""
        _, words, tensors = folder.contents(Path(path))
        idf = tensors.get("idf")
        if idf is None or idf.shape != (len(words),):
            raise DamagedModelError(f"{path}: holds no bag of words (`static fit bow` makes one)")
        return cls(words, idf, folder.read(Path(path)).text)


def fit(corpus: Corpus, *, width: int = 200, min_count: int = 5, seed: int = 1) -> tuple[BagOfWords, StaticVectors]:
    """A bag and its latent vectors from a prepared corpus, whose documents are stretches of about 150 words.

    A corpus keeps sentences and not where documents end, so stretches are whole consecutive sentences.
    `min_count`: documents that hold a word, at least.
    """
    words = TrainedWords(corpus, min_count)
    bag = BagOfWords.fit(stretches(words), min_documents=min_count, text=corpus.text)
    return bag, bag.latent(stretches(words), width, seed=seed)


def stretches(words: TrainedWords, length: int = STRETCH_WORDS) -> Iterator[list[str]]:
    """Consecutive sentences, joined until they have `length` words or more; the last may have fewer."""
    spelled: list[str] = []
    for ids in words.sentences():
        spelled += [words.words[index] for index in ids.tolist()]
        if len(spelled) >= length:
            yield spelled
            spelled = []
    if spelled:
        yield spelled


def _counter(**options: Any) -> Any:
    """scikit-learn's counter for documents that are cut into words already."""
    return _sklearn("feature_extraction.text").CountVectorizer(analyzer=_as_it_is, **options)


def _as_it_is(document: Document) -> Document:
    return document


def _sklearn(module: str) -> Any:
    if find_spec("sklearn") is None:
        raise MissingExtraError("a bag of words", "static")
    return import_module(f"sklearn.{module}")
