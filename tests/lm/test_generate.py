"""Texts that are written, against the exact distributions that they are drawn from."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_oracle import KINDS, log_distributions, tiny_language_model
from tiny import WORDS

from polyseme.errors import OptionError, TooLongError
from polyseme.lm.generate import Sampling, draw, generate, uniforms
from polyseme.lm.network import LanguageModel
from polyseme.lm.score import score
from polyseme.settle import settled_states
from polyseme.text.vocab import Vocabulary

READY = {kind: LanguageModel(tiny_language_model(kind, seed=5), threads=1) for kind in KINDS}
PROMPT = ["The", "unseen", "bank"]


# --- Sampling

distributions = st.lists(st.integers(1, 8), min_size=2, max_size=12)


@settings(deadline=None)
@given(weights=distributions, k=st.integers(1, 14), p=st.floats(0.01, 1.0), banned=st.booleans())
def test_top_k_and_top_p_keep_the_most_probable_words_and_their_ratios(
    weights: list[int], k: int, p: float, banned: bool
) -> None:
    log_p = np.log(np.asarray(weights) / sum(weights))
    allowed = list(range(1 if banned else 0, len(weights)))
    shaped = Sampling(top_k=k, top_p=p).shape(log_p, [0] if banned else [])
    best = sorted(allowed, key=lambda row: (-weights[row], row))[:k]
    whole, kept, share = sum(weights[row] for row in best), [], 0.0
    for row in best:  # the plain way: the fewest that hold p
        kept.append(row)
        share += weights[row] / whole
        if share >= p - 1e-12:
            break
    if abs(share - p) > 1e-9:  # otherwise rounding decides
        assert np.flatnonzero(shaped).tolist() == sorted(kept)
        expected = np.asarray([weights[row] for row in sorted(kept)]) / sum(weights[row] for row in kept)
        assert np.allclose(shaped[sorted(kept)], expected)
    assert shaped.sum() == pytest.approx(1)


def test_temperature() -> None:
    log_p = np.log(np.asarray([0.1, 0.2, 0.7]))
    assert np.allclose(Sampling(temperature=0.5).shape(log_p), np.asarray([1, 4, 49]) / 54)
    assert Sampling(temperature=0).shape(log_p).tolist() == [0, 0, 1]
    assert Sampling(temperature=0).shape(log_p, [2]).tolist() == [0, 1, 0]
    assert Sampling(temperature=1e-3).shape(log_p)[2] == pytest.approx(1)
    assert np.allclose(Sampling(temperature=1e9).shape(log_p), 1 / 3)
    assert Sampling(top_k=1).shape(np.log(np.asarray([0.4, 0.2, 0.4]))).tolist() == [1, 0, 0]


def test_a_uniform_number_falls_into_a_words_share() -> None:
    p = np.asarray([0.0, 0.25, 0.0, 0.75, 0.0])
    assert [draw(p, u) for u in (0.0, 0.2499, 0.25, 0.9999999999999999)] == [1, 1, 3, 3]
    assert draw(p / 3, 0.9999999999999999) == 3


def test_uniforms_depend_on_seed_and_sample_only() -> None:
    first = list(islice(uniforms(1, 2), 4))
    assert first == list(islice(uniforms(1, 2), 4))
    assert all(0 <= u < 1 for u in first)
    assert len({tuple(islice(uniforms(seed, sample), 2)) for seed in range(5) for sample in range(5)}) == 25


# --- against exact distributions


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_frequencies_of_the_next_word_are_its_probabilities(kind: str, direction: str) -> None:
    lm, n = READY[kind], 600
    states = settled_states(lm.model)[0] if lm.recurrent else None
    backward = direction == "backward"
    told = backward and kind == "transformer"  # this one is told the length of the sentence: one word more
    spoken = ["x", *PROMPT] if told else PROMPT
    (ahead, back), _ = log_distributions(lm.model, spoken, states)
    log_p = back[1 if told else 0] if backward else ahead[-1]
    boundary = lm.boundary_rows[0 if backward else 1]
    possible = [row for row in range(len(WORDS)) if row >= 3 or (row == boundary and not told)]
    p = np.exp(log_p[possible])
    p /= p.sum()
    samples = list(generate(lm, PROMPT, direction=direction, samples=n, max_words=1, seed=3))
    drawn = Counter(sample.written[0].word if sample.written else None for sample in samples)
    counts = np.asarray([drawn[lm.vocabulary.words[row]] for row in possible])
    assert counts.sum() == n
    chi_square = float(((counts - n * p) ** 2 / (n * p)).sum())
    # The 99.9 % point of chi-square with k degrees of freedom (Wilson and Hilferty 1931).
    k = len(possible) - 1
    assert chi_square < k * (1 - 2 / (9 * k) + 3.09 * math.sqrt(2 / (9 * k))) ** 3
    for sample in samples[:20]:
        row = lm.vocabulary.id(sample.written[0].word)
        assert sample.written[0].log_probability == pytest.approx(log_p[row], abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_what_was_written_scores_as_it_was_written(kind: str, direction: str) -> None:
    lm, backward = READY[kind], direction == "backward"
    for sample in generate(lm, PROMPT, direction=direction, samples=8, max_words=9, seed=1):
        (found,) = score(lm, [sample.sentences[0]])
        n = len(sample.written)
        log_p = [word.log_probability for word in sample.written]
        if backward and not sample.finished:
            expected = found.backward[1 : n + 1][::-1]  # the sentence's own <S> was not written
        elif backward:
            expected = found.backward[:n][::-1]
        else:
            expected = found.forward[len(PROMPT) : len(PROMPT) + n]
        assert np.abs(np.asarray(log_p) - expected).max(initial=0) < 1e-5
        assert sample.log_probability == pytest.approx(sum(log_p))
        assert sample.sentences[0][-3:] == tuple(PROMPT) if backward else sample.sentences[0][:3] == tuple(PROMPT)


def test_temperature_zero_takes_the_most_probable_word_each_time() -> None:
    lm = READY["characters"]
    sampling = Sampling(temperature=0)
    (sample,) = generate(lm, PROMPT, max_words=5, sampling=sampling, seed=1)
    states, _ = settled_states(lm.model)
    for place in range(3, len(sample.sentences[0])):
        (ahead, _), _ = log_distributions(lm.model, sample.sentences[0][:place], states)
        allowed = [1, *range(3, len(WORDS))]
        assert sample.sentences[0][place] == WORDS[max(allowed, key=lambda row: ahead[-1][row])]
    (again,) = generate(lm, PROMPT, max_words=5, sampling=sampling, seed=2)
    assert again == sample


# --- what the options promise


@pytest.mark.parametrize("kind", ["characters", "transformer"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_sample_is_the_same_however_many_are_asked_for_and_with_any_threads(kind: str, direction: str) -> None:
    options = {"direction": direction, "seed": 7, "max_words": 6}
    many = list(generate(READY[kind], PROMPT, samples=5, **options))  # type: ignore[arg-type]
    assert list(generate(READY[kind], PROMPT, samples=2, **options)) == many[:2]  # type: ignore[arg-type]
    other = LanguageModel(tiny_language_model(kind, seed=5), threads=3)
    assert list(generate(other, PROMPT, samples=5, **options)) == many  # type: ignore[arg-type]
    assert len({sample.sentences for sample in many}) > 1


def test_marks_are_never_drawn_unless_asked_for() -> None:
    lm = READY["words"]
    plain = {w for s in generate(lm, samples=40, max_words=8) for sentence in s.sentences for w in sentence}
    assert plain <= set(WORDS[3:])
    vocabulary = Vocabulary([*WORDS[:4], "<unk>", *WORDS[5:]])
    treebank = LanguageModel(replace(tiny_language_model("words", seed=5), vocabulary=vocabulary), threads=1)
    drawn = {w for s in generate(treebank, samples=40, max_words=8) for sentence in s.sentences for w in sentence}
    assert WORDS[4] in plain
    assert drawn <= {*WORDS[3:]} - {WORDS[4]}
    asked = generate(lm, samples=40, max_words=8, sampling=Sampling(unknown=True))
    assert "<UNK>" in {w for sample in asked for sentence in sample.sentences for w in sentence}


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_text_goes_on_over_boundaries_in_the_state_that_a_stream_would_have(direction: str) -> None:
    lm, backward = READY["characters"], direction == "backward"
    before = [["river", "."], ["rates"]]
    for sample in generate(
        lm, PROMPT, direction=direction, before=before, samples=6, max_words=12, sentences=3, seed=4
    ):
        states, _ = settled_states(lm.model)
        expected: list[float] = []
        for number, sentence in enumerate([*before, *sample.sentences]):
            (ahead, back), states = log_distributions(lm.model, sentence, states)  # type: ignore[assignment]
            rows = lm.rows(["<S>", *sentence, "</S>"])
            n = np.arange(len(sentence) + 1)
            log_p = back[n, rows[:-1]][::-1] if backward else ahead[n, rows[1:]]
            expected += log_p[len(PROMPT) if number == 2 else 0 :].tolist() if number >= 2 else []
        found = [word.log_probability for word in sample.written]
        assert found == pytest.approx(expected[: len(found)], abs=1e-5)
        assert len(found) in (len(expected), len(expected) - 1)  # without the last boundary where words ran out


def test_an_empty_prompt_and_a_prompt_of_unknown_words() -> None:
    (empty,) = generate(READY["characters"], max_words=3)
    assert empty.sentences
    forms = [next(generate(READY["characters"], [word], max_words=1)) for word in ("abc", "zyx")]
    assert forms[0].written[0] != forms[1].written[0]  # read by their letters


def test_a_transformer_stops_at_its_context_and_writes_backward_what_it_was_told() -> None:
    lm = READY["transformer"]  # context 40
    long = list(generate(lm, ["bank"] * 36, samples=10, max_words=10))
    assert max(len(sample.sentences[0]) for sample in long) == 38
    assert all(list(score(lm, sample.sentences)) for sample in long)
    back = list(generate(lm, PROMPT, direction="backward", samples=5, max_words=4))
    assert {len(sample.sentences[0]) for sample in back} == {7}
    assert all(sample.finished and sample.written[-1].word == "<S>" for sample in back)
    several = list(generate(lm, ["bank"], samples=10, max_words=20, sentences=3))
    assert max(len(sample.sentences) for sample in several) > 1
    with pytest.raises(TooLongError, match="40 at most"):
        generate(lm, PROMPT, direction="backward", max_words=36)
    with pytest.raises(TooLongError):
        generate(lm, ["bank"] * 40)


def test_options_out_of_range_are_refused_before_anything_is_written() -> None:
    lm = READY["characters"]
    for options, finding in [
        ({"direction": "sideways"}, "forward or backward"),
        ({"samples": 0}, "at least 1"),
        ({"max_words": 0}, "at least 1"),
        ({"sentences": 0}, "at least 1"),
        ({"seed": -1}, "negative"),
        ({"state": "carry"}, "settled or zero"),
    ]:
        with pytest.raises(OptionError, match=finding):
            generate(lm, PROMPT, **options)  # type: ignore[arg-type]
    for options, finding in [
        ({"temperature": -1.0}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
    ]:
        with pytest.raises(OptionError, match=finding):
            Sampling(**options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="one sentence at a time"):
        generate(READY["transformer"], PROMPT, before=[["a"]])
    with pytest.raises(OptionError, match="one sentence backward"):
        generate(READY["transformer"], PROMPT, direction="backward", sentences=2)
    with pytest.raises(OptionError, match="list of words"):
        generate(lm, "The bank")
