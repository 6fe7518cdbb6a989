"""Rankings against the formula worked out by hand from the plain network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lm_oracle import KINDS, log_distributions, tiny_language_model
from tiny import WORDS

from polyseme.errors import OptionError
from polyseme.lm.network import LanguageModel
from polyseme.lm.substitutes import WITH_PRIOR, WITHOUT_PRIOR, substitutes
from polyseme.settle import settled_states

READY = {kind: LanguageModel(tiny_language_model(kind), threads=1) for kind in KINDS}
SENTENCE = ["The", "unseen", "bank", "raised", "."]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", range(len(SENTENCE)))
@pytest.mark.parametrize("counts", [None, {"The": 99, "bank": 7, "absent": 50}])
def test_the_ranking_is_that_of_the_formula(kind: str, place: int, counts: dict[str, int] | None) -> None:
    lm = READY[kind]
    states = settled_states(lm.model)[0] if lm.recurrent else None
    (ahead, back), _ = log_distributions(lm.model, SENTENCE, states)
    joint = np.exp(ahead[place] + back[place + 1])
    if counts is not None:
        joint /= [counts.get(word, 0) + 1 for word in WORDS]
    shares = {word: joint[row] / joint[3:].sum() for row, word in enumerate(WORDS) if row >= 3}
    ranked = sorted(shares, key=lambda word: -shares[word])
    found = substitutes(lm, SENTENCE, place, top=4, counts=counts)
    assert found.formula == (WITHOUT_PRIOR if counts is None else WITH_PRIOR)
    assert [each.word for each in found.candidates] == [word for word in ranked if word != SENTENCE[place]][:4]
    for each in [*found.candidates, *([found.own] if found.own else [])]:
        row = WORDS.index(each.word)
        assert ranked[each.rank - 1] == each.word
        assert each.score == pytest.approx(np.log(shares[each.word]), abs=1e-4)
        assert (each.forward, each.backward) == pytest.approx((ahead[place][row], back[place + 1][row]), abs=1e-5)
    assert (found.own is None) == (SENTENCE[place] == "unseen")


def test_a_model_that_stores_its_counts_divides_by_them() -> None:
    given = {word: 5 * row for row, word in enumerate(WORDS)}
    stored = replace(READY["characters"].model, counts=np.arange(len(WORDS), dtype=np.int64) * 5)
    lm = LanguageModel(stored, threads=1)
    assert substitutes(lm, SENTENCE, 2) == substitutes(READY["characters"], SENTENCE, 2, counts=given)
    # What the caller gives goes first.
    assert substitutes(lm, SENTENCE, 2, counts={"The": 9}) == substitutes(
        READY["characters"], SENTENCE, 2, counts={"The": 9}
    )


def test_the_word_itself_is_not_looked_at() -> None:
    one, other = (substitutes(READY["characters"], ["The", word, "."], 1) for word in ("abc", "xyz"))
    assert one.candidates == other.candidates


def test_more_than_there_are_are_all() -> None:
    assert len(substitutes(READY["words"], SENTENCE, 0, top=1000).candidates) == len(WORDS) - 3 - 1
    assert len(substitutes(READY["words"], SENTENCE, 1, top=1000).candidates) == len(WORDS) - 3


def test_places_outside_the_sentence_are_refused() -> None:
    for place in (-1, 5):
        with pytest.raises(OptionError, match="words 0 to 4"):
            substitutes(READY["words"], SENTENCE, place)
    with pytest.raises(OptionError, match="at least 1"):
        substitutes(READY["words"], SENTENCE, 0, top=0)
