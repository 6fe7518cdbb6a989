"""ElmoVectorizer: scikit-learn's own checks, and that a text's row is the pooled vectors of its words."""

from __future__ import annotations

import pickle
import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator
from tiny import HIGHWAY2

from polyseme.embedder import load
from polyseme.errors import InputError, OptionError
from polyseme.tasks.vectorizer import ElmoVectorizer

TEXTS = ["The bank raised its rates. We sat on the bank.", "Rates fell.", "", "The river"]


with warnings.catch_warnings():  # scikit-learn leaves out the checks that fit arrays of numbers, and says so
    warnings.simplefilter("ignore", SkipTestWarning)
    CHECKS = [check for _, check in estimator_checks_generator(ElmoVectorizer(HIGHWAY2))]
NAMED = [
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_estimator_repr,
]


@pytest.mark.parametrize("check", [*CHECKS, *(partial(check, "ElmoVectorizer") for check in NAMED)])
def test_it_passes_what_scikit_learn_asks_of_an_estimator_of_texts(check: Any) -> None:
    check(ElmoVectorizer(HIGHWAY2))


@pytest.mark.parametrize("layers", ["average", "top", "all"])
@pytest.mark.parametrize("pool", ["mean", "max", "mean+max"])
def test_a_row_is_the_pooled_vectors_of_all_words(layers: str, pool: str) -> None:
    rows = ElmoVectorizer(HIGHWAY2, layers=layers, pool=pool, tokenizer="ptb").fit_transform(TEXTS)
    embedder = load(HIGHWAY2)
    for row, text in zip(rows, TEXTS, strict=True):
        found = embedder.embed_text(text, language="ptb")
        if not found:
            assert not row.any()
            continue
        all_layers = np.concatenate([each.layers for each in found], axis=1)
        chosen = {"average": all_layers.mean(axis=0)[None], "top": all_layers[-1:], "all": all_layers}[layers]
        means = [layer.mean(axis=0) for layer in chosen] if pool != "max" else []
        largest = [layer.max(axis=0) for layer in chosen] if pool != "mean" else []
        np.testing.assert_allclose(row, np.concatenate(means + largest), atol=1e-6)


def test_it_works_in_a_pipeline_and_copies_and_pickles_hold_no_model() -> None:
    made = make_pipeline(ElmoVectorizer(HIGHWAY2), LogisticRegression())
    scores = cross_val_score(made, ["good", "bad"] * 10, [1, 0] * 10, cv=2)
    assert scores.mean() == 1.0
    fitted = ElmoVectorizer(HIGHWAY2).fit(TEXTS)
    fitted.transform(TEXTS)
    stored = pickle.dumps(fitted)
    assert len(stored) < 2000
    np.testing.assert_array_equal(pickle.loads(stored).transform(TEXTS), fitted.transform(TEXTS))
    np.testing.assert_array_equal(clone(fitted).fit(TEXTS).transform(TEXTS), fitted.transform(TEXTS))
    assert len(fitted.get_feature_names_out()) == fitted.transform(TEXTS).shape[1]


def test_what_is_no_list_of_texts_or_no_option_is_refused() -> None:
    with pytest.raises(InputError, match="one string was given"):
        ElmoVectorizer(HIGHWAY2).fit("a text")
    with pytest.raises(InputError, match="text 1 is 3"):
        ElmoVectorizer(HIGHWAY2).fit(["a text", 3])  # type: ignore[list-item]
    with pytest.raises(OptionError, match="pool must be one of"):
        ElmoVectorizer(HIGHWAY2, pool="sum").fit(TEXTS)


def test_without_a_model_the_shipped_one_is_read() -> None:
    found = ElmoVectorizer().fit_transform(["We sat on the bank of the river.", ""])
    embedder = load("en-small")
    layers = np.concatenate([each.layers for each in embedder.embed_text("We sat on the bank of the river.")], axis=1)
    assert found[0] == pytest.approx(layers.mean(axis=(0, 1)), abs=1e-5)
    assert not found[1].any()
