"""Principal components, the map, the page: against linear algebra of another kind, an XML parser, and hostile words."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from polyseme.errors import OutputError
from polyseme.insight.contexts import Context, Found
from polyseme.insight.page import About, line, page, spoken, write_page
from polyseme.insight.plots import HEIGHT, MARGIN, SHAPES, WIDTH, context_map, places_in_picture, principal_plane, shape
from polyseme.insight.variety import Proposals, Variety
from polyseme.insight.views import WordView, central, keywords, log_likelihood_ratio, view

ABOUT = About("A title", (("text", "1 sentence"),), "en", "top", 1, 200)
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"&'",
    "a\x00\x1b\ud800b",
    "\u202eabc",
    "]]>",
]


def of_sentences(sentences: Sequence[tuple[str, ...]], begin: int = 0, seed: int = 0) -> WordView:
    contexts = tuple(Context(sentence, begin, begin + 1) for sentence in sentences)
    vectors = np.random.default_rng(seed).standard_normal((len(sentences), 8)).astype(np.float32)
    return view(sentences[0][begin], Found(len(sentences), contexts), vectors, "en")


def parsed(html: str) -> ElementTree.Element:
    """The page is well-formed XML too, which a browser would not need."""
    return ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))


# --- principal components


def test_the_plane_is_that_of_the_eigenvectors_of_the_covariance() -> None:
    vectors = np.random.default_rng(4).standard_normal((30, 6)) * np.asarray([5, 3, 1, 1, 0.5, 0.1])
    values, axes = np.linalg.eigh(np.cov(vectors.T, bias=True))
    expected = (vectors - vectors.mean(axis=0)) @ axes[:, [-1, -2]]
    plane = principal_plane(vectors)
    for axis in range(2):
        assert np.abs(plane.points[:, axis]) == pytest.approx(np.abs(expected[:, axis]))
        farthest = np.abs(plane.points[:, axis]).argmax()
        assert plane.points[farthest, axis] > 0
    assert plane.shares == pytest.approx(values[[-1, -2]] / values.sum())


def test_the_plane_by_hand() -> None:
    plane = principal_plane(np.asarray([[0.0, 0.0, 7.0], [4.0, 0.0, 7.0], [2.0, 1.0, 7.0], [2.0, -1.0, 7.0]]))
    assert np.abs(plane.points) == pytest.approx(np.asarray([[2, 0], [2, 0], [0, 1], [0, 1]]), abs=1e-9)
    assert plane.shares == pytest.approx([0.8, 0.2])


@pytest.mark.parametrize("vectors", [np.ones((1, 5)), np.ones((4, 5)), np.ones((3, 1))])
def test_without_variance_everything_lies_at_the_origin(vectors: np.ndarray) -> None:
    plane = principal_plane(vectors)
    assert (plane.points.tolist(), plane.shares.tolist()) == ([[0, 0]] * len(vectors), [0, 0])
    assert np.isfinite(places_in_picture(plane.points)).all()


def test_two_contexts_have_one_axis() -> None:
    plane = principal_plane(np.asarray([[1.0, 0.0], [0.0, 1.0]]))
    assert plane.shares == pytest.approx([1, 0])
    assert np.abs(plane.points[:, 0]) == pytest.approx([np.sqrt(0.5)] * 2)


def test_the_same_vectors_in_another_order_give_the_same_picture() -> None:
    vectors = np.random.default_rng(5).standard_normal((12, 5))
    order = np.random.default_rng(6).permutation(12)
    assert principal_plane(vectors[order]).points == pytest.approx(principal_plane(vectors).points[order])


def test_marks_lie_within_the_map_and_keep_their_proportions() -> None:
    points = np.asarray([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]])
    places = places_in_picture(points)
    assert (places >= MARGIN - 1e-9).all()
    assert (places <= np.asarray([WIDTH, HEIGHT]) - MARGIN + 1e-9).all()
    lengths = [np.linalg.norm(places[a] - places[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert lengths == pytest.approx([lengths[0], lengths[0] * 3 / 5, lengths[0] * 4 / 5])
    assert places[1, 1] < places[0, 1]  # up is up


def test_every_group_has_a_shape_of_its_own() -> None:
    assert len({shape(group) for group in range(len(SHAPES))}) == len(SHAPES)
    for group in range(len(SHAPES)):
        ElementTree.fromstring(shape(group))


def test_the_map_is_well_formed_and_escapes_what_it_shows() -> None:
    plane = principal_plane(np.eye(3))
    picture = ElementTree.fromstring(context_map("w1", plane, [0, 1, 0], ["<a>", "&", '"'], "Map of <b>"))
    assert [mark.findtext("title") for mark in picture.findall("g")] == ["<a>", "&", '"']
    assert [mark.get("class") for mark in picture.findall("g")] == ["mark g0", "mark g1", "mark g0"]
    assert picture.findtext("title") == "Map of <b>"


# --- views


def test_the_words_around_a_group_are_those_of_its_contexts_alone() -> None:
    money = [("the", "bank", "lent", "money", "again"), ("money", "in", "the", "bank"), ("bank", "money")] * 3
    river = [("the", "bank", "of", "the", "river"), ("a", "river", "bank"), ("bank", "by", "the", "river")] * 3
    contexts = [Context(sentence, sentence.index("bank"), sentence.index("bank") + 1) for sentence in money + river]
    groups = type(of_sentences([("a",)]).groups)(np.asarray([1] * 9 + [0] * 9), 0.5)
    # "again" and "in" are stop words, "bank" is the word itself, "by" and "a" are stop words too.
    assert keywords(contexts, groups, "en") == (("river",), ("money", "lent"))


def test_log_likelihood_ratio_against_the_entropy_formula() -> None:
    # G^2 = 2 sum O ln(O / E), of 9 in 10 against 2 in 10: E = 5.5 and 4.5.
    expected = 2 * (9 * np.log(9 / 5.5) + 2 * np.log(2 / 5.5) + 1 * np.log(1 / 4.5) + 8 * np.log(8 / 4.5))
    assert log_likelihood_ratio(9, 10, 2, 10) == pytest.approx(expected)
    assert log_likelihood_ratio(5, 10, 5, 10) == pytest.approx(0)
    assert log_likelihood_ratio(5, 5, 0, 0) == 0


def test_the_most_central_context_comes_first() -> None:
    similarities = np.asarray([[1, 0.9, 0.1], [0.9, 1, 0.5], [0.1, 0.5, 1]])
    assert central(similarities, [0, 1, 2]) == (1, 0, 2)
    assert central(similarities, [2]) == (2,)


def test_a_view_of_one_context_has_nothing_to_compare() -> None:
    found = of_sentences([("alone", "!")])
    assert (found.similarity, found.groups.n, found.order, found.nearest) == (None, 1, ((0,),), ((),))
    shown = "".join(parsed(page(ABOUT, [found])).itertext())
    assert "One place in the text. With a single context there is nothing to compare." in shown
    assert "Map of" not in shown


def test_neighbours_of_a_context_are_other_contexts() -> None:
    found = of_sentences([("word", str(number)) for number in range(9)])
    for place, near in enumerate(found.nearest):
        assert place not in [each.place for each in near]
        values = [each.cosine for each in near]
        assert values == sorted(values, reverse=True)


# --- the page


@pytest.mark.parametrize("word", HOSTILE)
def test_whatever_a_text_holds_the_page_is_well_formed_and_runs_nothing_of_it(word: str) -> None:
    sentences = [(word, "and", word, str(number)) for number in range(12)]
    views = [of_sentences(sentences), of_sentences(sentences[:1])]
    proposals = Proposals((Variety(word, 3, 3, 0.5, 0.4, 0.6),), 0.1)
    about = About(f"Contexts in {word}", (("text", word),), word, word, 1, 200)
    html = page(about, views, proposals)
    root = parsed(html)
    scripts = list(root.iter("script"))
    assert len(scripts) == 3  # numbers of two words, and our own
    assert {each.tag for each in root.iter()} & {"img", "iframe", "link", "object", "base"} == set()
    assert not [name for each in root.iter() for name in each.attrib if name.startswith("on")]
    cleaned = re.sub("[\x00-\x1f\ud800]", "\ufffd", word)
    assert cleaned in "".join(root.find("body").itertext())  # type: ignore[union-attr]
    html.encode("utf-8")


def test_a_page_needs_nothing_else() -> None:
    html = page(ABOUT, [of_sentences([("word", str(number)) for number in range(9)])])
    assert re.findall(r"(?:src|href)=\"(?!#)|url\(|@import|https?://|fetch\(|XMLHttp", html) == []
    root = parsed(html)
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(ids) == len(set(ids))
    targets = [each.get("href", "")[1:] for each in root.iter("a")]
    labels = [each.get("aria-labelledby", "") for each in root.iter() if each.get("aria-labelledby")]
    assert set(targets + labels) <= set(ids)
    assert root.get("lang") == "en"
    assert len(list(root.iter("h1"))) == 1


def test_every_context_stands_on_the_page_once_as_an_item_and_once_on_the_map() -> None:
    found = of_sentences([("word", f"number{number}") for number in range(40)])
    root = parsed(page(ABOUT, [found]))
    items = [each for each in root.iter("li") if each.get("data-context")]
    assert sorted(int(each.get("data-context", "")) for each in items) == list(range(40))
    marks = [each for each in root.iter("g") if each.get("data-context")]
    assert [int(each.get("data-context", "")) for each in marks] == list(range(40))
    (script, _) = root.iter("script")
    assert [[place for place, _ in row] for row in json.loads(script.text or "")] == [
        [each.place for each in row] for row in found.nearest
    ]


def test_the_same_views_are_the_same_page() -> None:
    sentences = [("word", str(number)) for number in range(20)]
    assert page(ABOUT, [of_sentences(sentences)]) == page(ABOUT, [of_sentences(sentences)])


def test_samples_are_said() -> None:
    contexts = of_sentences([("a", str(number)) for number in range(5)])
    more = type(contexts)(**{**vars(contexts), "count": 1234})
    assert "1,234 places in the text, 5 of them shown: at most 200 drawn at random (seed 1)" in page(ABOUT, [more])


def test_a_context_is_spoken_as_people_write() -> None:
    sentence = ("``", "We", "did", "n't", "sit", "on", "the", "bank", ".", "''")
    context = Context(sentence, 7, 8)
    assert spoken(context) == ("\"We didn't sit on the ", "bank", '."')
    assert line(context, 2) == '… on the [bank]."'
    assert line(Context(("这", "个", "意思", "好", "。"), 2, 3)) == "这个[意思]好。"
    assert line(Context(("I", "ca", "n't"), 1, 3)) == "I [can't]"


def test_a_page_appears_whole_and_replaces_nothing_unasked(awkward_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = awkward_path / os.fsdecode("页 a.html".encode())
    assert write_page(file, "<html/>") == file
    with pytest.raises(OutputError, match="--overwrite"):
        write_page(file, "other")
    write_page(file, "<p/>", overwrite=True)
    assert (file.read_text(encoding="utf-8"), list(awkward_path.iterdir())) == ("<p/>", [file])
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(awkward_path / "nowhere" / "a.html", "")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write_page(file, "new", overwrite=True)
    assert list(awkward_path.iterdir()) == [file]
