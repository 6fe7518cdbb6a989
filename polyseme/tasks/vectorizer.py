"""A biLM as a step of scikit-learn: texts in, one vector a text out.

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    make_pipeline(ElmoVectorizer("my-elmo"), LogisticRegression()).fit(texts, labels)

Nothing is learned in `fit`. The model is no part of the estimator's state, only its name: copies and pickles stay
small, and open it again when they are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.embedder import Embedder, load
from polyseme.embedding import Embedding
from polyseme.errors import InputError, MissingExtraError, OptionError
from polyseme.text.tokenize import Sentence, tokenizer_for

try:
    from sklearn.base import BaseEstimator, TransformerMixin
except ImportError as error:
    raise MissingExtraError("ElmoVectorizer", "tasks") from error

POOLS = ("mean", "max", "mean+max")
LAYERS = ("average", "top", "all")
TEXTS_AT_ONCE = 256

Array = npt.NDArray[np.float32]


class ElmoVectorizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn publishes no types
    """Texts -> the mean (or maximum, or both side by side) of their words' vectors.

    `model`: what `polyseme.load` takes, as a name or path; by default the English one in the package. `layers`: their
    average, the top one, or all side by side. `tokenizer`: a language or a name of `polyseme.text.tokenize`; by default
    the model's own. `state`, `threads`: see `polyseme.load`. A text without words gets zeros.
    """

    def __init__(
        self,
        model: str | Path = "en-small",
        *,
        layers: str = "average",
        pool: str = "mean",
        tokenizer: str | None = None,
        state: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.model, self.layers, self.pool = model, layers, pool
        self.tokenizer, self.state, self.threads = tokenizer, state, threads

    def fit(self, X: Iterable[str], y: object = None) -> ElmoVectorizer:  # noqa: ARG002
        """Opens the model and checks the options. Raises `OptionError`, and what `polyseme.load` raises."""
        _checked(X)
        for name, value, known in (("pool", self.pool, POOLS), ("layers", self.layers, LAYERS)):
            if value not in known:
                raise OptionError(f"{name} must be one of {', '.join(known)}, was: {value!r}")
        embedder = self._open()
        layers = embedder.n_layers if self.layers == "all" else 1
        self.n_features_out_ = embedder.width * layers * (2 if self.pool == "mean+max" else 1)
        return self

    def transform(self, X: Iterable[str]) -> Array:
        """One row a text. *Shape:* (texts, n_features_out_) float32."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        waiting = iter(_checked(X))
        rows: list[Array] = []
        while block := list(islice(waiting, TEXTS_AT_ONCE)):
            rows += self._rows(block)
        return np.stack(rows) if rows else np.zeros((0, self.n_features_out_), dtype=np.float32)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[Any]:  # noqa: ARG002
        """elmo0, elmo1, ..."""
        return np.asarray([f"elmo{number}" for number in range(self.n_features_out_)], dtype=object)

    def _rows(self, texts: Sequence[str]) -> list[Array]:
        embedder = self._open()
        cut = [self._sentences(embedder, text) for text in texts]
        embedded = iter(embedder.embed([sentence.tokens for sentences in cut for sentence in sentences]))
        return [self._pooled([next(embedded) for _ in sentences]) for sentences in cut]

    def _sentences(self, embedder: Embedder, text: str) -> list[Sentence]:
        return tokenizer_for(self.tokenizer).sentences(text) if self.tokenizer else embedder.sentences(text)

    def _pooled(self, found: Sequence[Embedding]) -> Array:
        if not found:
            return np.zeros(self.n_features_out_, dtype=np.float32)
        layers = np.concatenate([each.layers for each in found], axis=1)  # Shape: (L, T, W)
        if self.layers != "all":
            layers = layers[-1:] if self.layers == "top" else layers.mean(axis=0, keepdims=True, dtype=np.float32)
        words = layers.transpose(1, 0, 2).reshape(layers.shape[1], -1)  # Shape: (T, L * W)
        pools = [words.mean(axis=0, dtype=np.float32)] if self.pool != "max" else []
        pools += [words.max(axis=0)] if self.pool != "mean" else []
        return np.concatenate(pools).astype(np.float32)

    def _open(self) -> Embedder:
        """The model, opened once for the same options."""
        asked = (str(self.model), self.state, self.threads)
        if getattr(self, "_opened", (None, None))[0] != asked:
            self._opened = asked, load(self.model, state=self.state, threads=self.threads)
        opened: Embedder = self._opened[1]
        return opened

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_opened"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags


def _checked(texts: Iterable[str]) -> list[str]:
    """Raises `InputError` for a single string, whose characters would be taken for texts, and for what is no text."""
    if isinstance(texts, str):
        raise InputError("one string was given where a list of texts is read; put it into a list")
    found = list(texts)
    for place, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(f"text {place} is {text!r:.40}, which is no string; give texts")
    return found
