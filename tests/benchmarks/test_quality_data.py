"""What the quality suite reads, how it damages words, and how it scores: by hand, and against seqeval and scipy."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quality import metrics, readers
from quality.readers import Mention, SenseMention, Tagged

from polyseme.text.tokenize import tokenizer_for

Put = Callable[[str, str], None]
TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])


# --- readers


def test_conllu_comes_without_comments_ranges_and_empty_nodes(put: Put) -> None:
    lines = [
        "# text = 1 dogs don't bark", "1\tdogs\tdog\tNOUN", "2-3\tdon't\t_\t_", "2\tdo\tdo\tAUX", "3\tn't\tnot\tPART",
        "3.1\tever\tever\tADV", "4\t#\t#\tSYM", "", "",
    ]  # fmt: skip
    put("tasks/pos/toy/test.conllu.xz", "\n".join(lines))
    assert readers.tagged("pos", "toy", "test") == [Tagged(("dogs", "do", "n't", "#"), ("NOUN", "AUX", "PART", "SYM"))]


def test_columns_keep_words_that_look_like_comments(put: Put) -> None:
    text = "-DOCSTART- -X- -X- O\n\n# # B-NP O\n5 CD I-NP B-MONEY\n\n"
    put("tasks/ner/toy/test.conll.xz", text)
    assert readers.tagged("ner", "toy", "test") == [Tagged(("#", "5"), ("O", "B-MONEY"))]


def test_a_set_without_dev_part_gives_a_tenth_of_its_training_part_to_dev(put: Put) -> None:
    rows = [json.dumps({"label": "a", "text": f"word {number}"}) for number in range(50)]
    put("tasks/topic/trec6/train.jsonl.xz", "\n".join(rows))
    english = tokenizer_for("en")
    train, dev = (readers.labelled_texts("topic", "trec6", split, english) for split in ("train", "dev"))
    assert len(dev) == 5
    assert Counter(text.raw for text in train + dev) == Counter(f"word {number}" for number in range(50))


def test_words_joined_by_underscores_become_words_again(put: Put) -> None:
    row = {
        "tokens": ["It", "took_place", "there", "_"], "doc": "d1",
        "senses": [{"i": 1, "lemma": "take_place", "synset": "00339934-v"},
                   {"i": 2, "lemma": "there", "synset": "00109151-s"}],
    }  # fmt: skip
    put("tasks/wsd/all_words/toy.jsonl.xz", json.dumps(row))
    words = ("It", "took", "place", "there", "_")
    assert readers.all_words("toy") == [
        ("d1", [
            SenseMention(Mention(words, 1, 3), "take_place.v", "00339934-v"),
            SenseMention(Mention(words, 3, 4), "there.a", "00109151-s"),
        ])
    ]  # fmt: skip


def test_usage_similarity_finds_the_marked_word(put: Put) -> None:
    cells = ["7", "bank", "n", "money", "n", "the <b> bank </b> of the", "to <b> the money </b> </b>", "4.5", "1.0"]
    put("tasks/similarity_in_context/scws/test.tsv.xz", "\t".join(cells) + "\n")
    (pair,) = readers.usage_similarity()
    assert pair.first == Mention(("the", "bank", "of", "the"), 1, 2)
    assert pair.second == Mention(("to", "the", "money"), 1, 3)
    assert pair.score == 4.5


def test_long_texts_are_cut_and_the_text_stays_in_sentences() -> None:
    text = readers.text_of("One two. " * 150, tokenizer_for("en"))
    assert sum(map(len, text.sentences)) == readers.MAX_TEXT_WORDS
    assert text.sentences[0] == ("One", "two", ".")


# --- the noise

sentences_of_words = st.lists(st.lists(st.text("aB中é9.-", min_size=1, max_size=6), max_size=5).map(tuple), max_size=5)


@given(sentences_of_words, st.floats(0, 1), st.integers(0, 3))
def test_noise_touches_no_more_characters_than_asked_and_no_other_words(
    sentences: list[tuple[str, ...]], rate: float, seed: int
) -> None:
    found = metrics.damaged(sentences, rate, seed)
    assert found == metrics.damaged(sentences, rate, seed)
    assert [len(words) for words in found] == [len(words) for words in sentences]
    pairs = [pair for before, after in zip(sentences, found, strict=True) for pair in zip(before, after, strict=True)]
    letters = sum(len(before) for before, _ in pairs if any(c.isalpha() for c in before))
    assert all(after for _, after in pairs)
    assert all(before == after for before, after in pairs if not any(c.isalpha() for c in before))
    assert sum(before != after for before, after in pairs) <= round(rate * letters)


def test_noise_damages_the_share_of_characters_that_was_asked() -> None:
    words = [tuple("abcdefghij" for _ in range(10)) for _ in range(40)]
    found = metrics.damaged(words, 0.1, seed=5)
    changed = [word for sentence in found for word in sentence if word != "abcdefghij"]
    # 400 of 4,000 characters over 400 words: a word stays whole with probability 0.9 ** 10.
    assert len(changed) / 400 == pytest.approx(1 - 0.9**10, abs=0.06)
    dropped = sum(10 - len(word) for word in changed)
    assert dropped / 400 == pytest.approx(1 / 3, abs=0.08)


# --- scores


def test_entities_by_hand() -> None:
    tags = ["I-PER", "I-PER", "B-PER", "I-LOC", "O", "B-LOC"]
    assert metrics.entities(tags) == {("PER", 0, 2), ("PER", 2, 3), ("LOC", 3, 4), ("LOC", 5, 6)}


@given(st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=4))
def test_entity_f1_is_that_of_seqeval(pairs: list[list[tuple[str, str]]]) -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    gold, said = ([[pair[side] for pair in sentence] for sentence in pairs] for side in (0, 1))
    assert metrics.entity_f1(gold, said) == pytest.approx(seqeval.f1_score(gold, said, zero_division=0))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = zip(*pairs, strict=True)
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert metrics.spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    else:
        assert metrics.spearman(first, second) == 0


def test_the_interval_of_a_share_is_wilsons() -> None:
    scipy = pytest.importorskip("scipy.stats")
    for right, n in ((8, 10), (0, 7), (700, 1400)):
        expected = scipy.binomtest(right, n).proportion_ci(0.95, method="wilson")
        assert metrics.wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = metrics.bootstrap(lambda drawn: float(values[drawn].mean()), len(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
