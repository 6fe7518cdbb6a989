"""The bundled text and the four views of `polyseme quickstart`, on a tiny model of random weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from polyseme.embedder import load
from polyseme.errors import InputError, OptionError
from polyseme.insight.bundle import LANGUAGES, Bundle, Sense, contexts_of, gap_of, read_bundle, words_of
from polyseme.insight.contexts import Context
from polyseme.insight.neighbours import cosines
from polyseme.insight.tour import Tour, expected
from polyseme.lm.network import load as load_language_model
from polyseme.lm.substitutes import substitutes
from polyseme.text.tokenize import tokenizer_for

DATA = Path(__file__).parents[1] / "data"
MODEL = DATA / "tensorflow" / "highway"
BUNDLE = Bundle(
    "en",
    Sense("bank", "", ("The bank failed.", "A bank of sand.")),
    (
        Sense("bank", "money", ("The bank lent money.", "A bank lent him more.", "Nobody was there.")),
        Sense("bank", "river", ("On the bank of a river.", "A muddy bank.")),
    ),
    ("He sat on the [bank] of the river.", "No [two words] fit."),
    ("The sun rose.",),
)


@pytest.fixture(scope="module")
def tour() -> Tour:
    embedder = load(MODEL, threads=1)
    return Tour(embedder, BUNDLE, lambda raw: embedder.sentences(raw, language="en"))


# --- the text


def test_there_is_text_in_english_and_chinese() -> None:
    assert LANGUAGES == ("en", "zh")
    with pytest.raises(OptionError, match="in en and zh, not in 'de'"):
        read_bundle("de")


@pytest.mark.parametrize(("language", "tokenizers"), [("en", ["ptb", "icu:en"]), ("zh", ["rjieba", "characters"])])
def test_the_text_is_what_the_views_need(language: str, tokenizers: list[str]) -> None:
    bundle = read_bundle(language)
    assert 200 <= len(bundle.sentences) <= 400
    assert len(set(bundle.sentences)) == len(bundle.sentences)
    assert len(bundle.words) >= 12
    assert {"en": ("bank", "play", "spring"), "zh": ("意思", "打", "包袱")}[language] == bundle.words[:3]
    senses = Counter(sense.word for sense in bundle.senses)
    assert set(senses.values()) == {2}
    assert all(len(sense.sentences) == 8 and sense.meaning for sense in bundle.senses)
    for name in tokenizers:
        cut = tokenizer_for(name).sentences
        # Each line is one sentence, and the word stands apart in all of its sentences.
        assert [raw for raw in bundle.sentences if len(cut(raw)) != 1] == []
        for sense in (bundle.first, *bundle.senses):
            found = contexts_of(sense.word, sense.sentences, cut)
            assert len(found) == len(sense.sentences), (name, sense.word, sense.meaning)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_gaps_can_be_filled(language: str) -> None:
    bundle = read_bundle(language)
    cut = tokenizer_for(language).sentences
    gaps = [gap_of(raw, cut) for raw in bundle.gaps]
    assert len(gaps) >= 3
    assert [gap and gap.word for gap in gaps] == [(raw[raw.index("[") + 1 : raw.index("]")],) for raw in bundle.gaps]


def test_chinese_text_is_in_simplified_characters() -> None:
    traditional = set("這個們來說時會學對發現後開關見長東車馬鳥魚門問間書寫點錢買賣樣讓還過話請")
    bundle = read_bundle("zh")
    assert traditional & set("".join((*bundle.sentences, *bundle.gaps))) == set()


def test_a_word_is_found_in_either_case_and_left_out_where_the_tokenizer_glues_it() -> None:
    cut = tokenizer_for("en").sentences
    found = contexts_of("bank", ["Bank on it.", "The banker left.", "No bank, no bank."], cut)
    assert [(each.begin, each.sentence[each.begin]) for each in found] == [(0, "Bank"), (1, "bank")]
    assert contexts_of("打", ["我打电话。"], tokenizer_for("rjieba").sentences) == []
    (several,) = contexts_of("意思", ["什么意思？"], tokenizer_for("characters").sentences)
    assert several.word == ("意", "思")
    assert gap_of("没有空格。", cut) is None
    assert words_of("He did n't.", cut) == ("He", "did", "n't", ".")


# --- the views


def test_vectors_are_those_of_the_embedder(tour: Tour) -> None:
    look = tour.look()
    embeddings = tour.embedder.embed([["The", "bank", "failed", "."], ["A", "bank", "of", "sand", "."]])
    assert np.array_equal(look.vectors, np.stack([each.top()[1] for each in embeddings]))
    assert look.shapes == tuple(each.layers.shape for each in embeddings)
    assert look.spelling == pytest.approx(np.ones((2, 2)))
    assert look.cosines[0, 1] < 0.9999


def test_senses_are_compared_by_the_marks_of_the_text(tour: Tour) -> None:
    found = tour.senses("bank")
    assert (found.senses, found.meanings, found.left_out) == ((0, 0, 1, 1), ("money", "river"), 1)
    vectors = [tour.embedder.embed([each.sentence])[0].top()[each.begin] for each in found.contexts]
    assert found.cosines == pytest.approx(cosines(np.stack(vectors)), abs=1e-6)
    assert (found.separation.same_pairs, found.separation.different_pairs) == (2, 4)
    with pytest.raises(OptionError, match="marks senses of bank; not of 'play'"):
        tour.senses("play")


def test_the_nearest_contexts_are_those_of_a_search_by_hand(tour: Tour) -> None:
    near = tour.near(tour.senses("bank"), 1, top=3)
    assert near is not None
    assert (near.meaning, near.context.sentence) == ("river", ("On", "the", "bank", "of", "a", "river", "."))
    query = tour.embedder.embed([near.context.sentence])[0].top()[2]
    cut = tokenizer_for("en").sentences
    best = []
    for raw in BUNDLE.sentences:
        sentence = words_of(raw, cut)
        if sentence != near.context.sentence:
            scores = cosines(query[None], tour.embedder.embed([sentence])[0].top())[0]
            best += [
                (float(score), Context(sentence, at, at + 1))
                for at, score in enumerate(scores)
                if sentence[at].isalpha()
            ]
    best.sort(key=lambda each: -each[0])
    assert [context for context, _ in near.found] == [context for _, context in best[:3]]
    assert [score for _, score in near.found] == pytest.approx([score for score, _ in best[:3]], abs=1e-6)
    assert tour.near(tour.senses("bank"), 7) is None


def test_the_layer_is_a_parameter_and_the_spelling_alone_is_at_chance(tour: Tour) -> None:
    spelling = Tour(tour.embedder, BUNDLE, tour.cut, layer="0").senses("bank")
    assert spelling.separation.ordered_share == pytest.approx(0.5)
    with pytest.raises(OptionError, match="0 to 2, was: '9'"):
        Tour(tour.embedder, BUNDLE, tour.cut, layer="9").read()


def test_a_gap_is_filled_from_both_sides() -> None:
    lm = load_language_model(MODEL, threads=1)
    sentence = ("We", "sat", "on", "the", "bank", ".")
    found = expected(lm, Context(sentence, 4, 5), top=1000)
    ranking = substitutes(lm, sentence, 4, top=1000)
    words = {each.word: each for each in ranking.candidates} | ({ranking.own.word: ranking.own} if ranking.own else {})
    assert {word for word, _ in found.both} == set(words)
    for word, score in found.both:
        assert score == pytest.approx(words[word].score, abs=1e-9)
    assert dict(found.left) == pytest.approx({word: each.forward for word, each in words.items()})
    assert dict(found.right) == pytest.approx({word: each.backward for word, each in words.items()})
    scores = [score for _, score in found.left]
    assert scores == sorted(scores, reverse=True)
    # What stands in the gap is not looked at.
    other = expected(lm, Context(("We", "sat", "on", "the", "grass", "."), 4, 5), top=1000)
    assert (other.left, other.right, other.both) == (found.left, found.right, found.both)


def test_gaps_that_are_no_single_word_are_left_out(tour: Tour) -> None:
    (gap,) = tour.gaps(load_language_model(MODEL, threads=1), top=2)
    assert gap.context.word == ("bank",)
    assert len(gap.left) == 2


def test_a_tokenizer_that_never_keeps_the_word_apart_is_named(tour: Tour) -> None:
    glued = Tour(tour.embedder, BUNDLE, tokenizer_for("whitespace").sentences)
    nothing = Bundle("en", Sense("ban", "", ("The bank failed.",)), (), (), ())
    with pytest.raises(InputError, match="never keeps 'ban' apart"):
        Tour(tour.embedder, nothing, glued.cut).look()
