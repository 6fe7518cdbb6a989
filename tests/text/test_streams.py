"""Lanes, windows and batches of sentences against both streams written out token by token."""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared_folder

from polyseme.errors import InputError, OptionError
from polyseme.text.streams import END, START, UNSCORED, Lanes, Stream, Window, sentence_batches

Text = Sequence[Sequence[int]]
texts = st.lists(st.lists(st.integers(3, 9), max_size=6), min_size=1, max_size=9)


def stream(text: Text) -> Stream:
    starts = np.concatenate([[0], np.cumsum([len(words) for words in text])]).astype(np.int64)
    return Stream(np.asarray([word for words in text for word in words], dtype=np.uint32), starts)


def written_out(text: Text) -> list[list[int]]:
    """Inputs forward and backward, targets forward and backward, of the whole text."""
    found: list[list[int]] = [[], [], [], []]
    for words in text:
        for direction, tokens in enumerate(([START, *words, END], [END, *reversed(words), START])):
            found[direction] += tokens
            found[2 + direction] += [*tokens[1:], UNSCORED]
    return found


def glued(lanes: Lanes, steps: int) -> Window:
    """All windows one behind the other. *Shape:* four of (T, B)."""
    windows = [lanes.window(index, steps) for index in range(lanes.n_windows(steps))]
    return Window(*(np.concatenate(each) for each in zip(*windows, strict=True)))


def numbered(lengths: Sequence[int]) -> Text:
    """Sentences of these lengths in which no word comes twice."""
    words = iter(range(3, 3 + sum(lengths)))
    return [[next(words) for _ in range(length)] for length in lengths]


# --- lanes and windows


@given(text=texts, n_lanes=st.integers(1, 12), steps=st.integers(1, 20), data=st.data())
def test_windows_of_any_size_glue_back_to_the_streams_written_out(
    text: Text, n_lanes: int, steps: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(text) - 1))
    lanes = Lanes.cut(stream(text), n_lanes, first)
    found = glued(lanes, steps)
    expected = written_out([*text[first:], *text[:first]])
    for array, tokens, filler in zip(found, expected, (END, END, UNSCORED, UNSCORED), strict=True):
        read = [array[: lanes.sizes[lane], lane].tolist() for lane in range(lanes.count)]
        assert [token for lane in read for token in lane] == tokens
        for lane in range(lanes.count):
            assert (array[lanes.sizes[lane] :, lane] == filler).all()
    assert (found.forward[0] == START).all()  # a lane begins with a sentence
    assert len(found.forward) - steps < lanes.sizes.max() <= len(found.forward)


@given(text=texts, n_lanes=st.integers(1, 12), data=st.data())
def test_there_are_as_many_lanes_as_asked_for_or_one_a_sentence(text: Text, n_lanes: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(text) - 1))
    lanes = Lanes.cut(stream(text), n_lanes, first)
    assert lanes.count == min(n_lanes, len(text))
    assert lanes.begins[0] == 0
    assert (lanes.sizes >= 2).all()
    assert lanes.begins.tolist() == [0, *np.cumsum(lanes.sizes)[:-1].tolist()]
    assert lanes.sizes.sum() == sum(len(words) + 2 for words in text)


def test_a_sentence_longer_than_several_lanes_takes_none_away() -> None:
    text = numbered([50, 0, 1, 2])
    for first in range(4):
        assert sorted(Lanes.cut(stream(text), 4, first).sizes.tolist()) == [2, 3, 4, 52]
        assert Lanes.cut(stream(text), 3, first).count == 3


@given(lengths=st.lists(st.integers(0, 6), min_size=30, max_size=60), n_lanes=st.integers(1, 7))
def test_lanes_are_equally_long_up_to_a_sentence(lengths: list[int], n_lanes: int) -> None:
    sizes, longest = Lanes.cut(stream(numbered(lengths)), n_lanes).sizes, max(lengths) + 2
    share = sum(length + 2 for length in lengths) / n_lanes
    if longest <= int(share):
        assert share - longest - 1 < sizes.min()
        assert sizes.max() < share + longest + 1


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=9),
    n_lanes=st.integers(1, 12),
    steps=st.integers(1, 20),
    data=st.data(),
)
def test_every_word_and_one_boundary_a_sentence_is_a_target_once_in_each_direction(
    lengths: list[int], n_lanes: int, steps: int, data: st.DataObject
) -> None:
    text = numbered(lengths)
    first = data.draw(st.integers(0, len(text) - 1))
    found = glued(Lanes.cut(stream(text), n_lanes, first), steps)
    words = Counter(word for sentence in text for word in sentence)
    for targets, boundary in ((found.forward_targets, END), (found.backward_targets, START)):
        # The other boundary follows for certain: it is no target anywhere.
        assert Counter(targets[targets != UNSCORED].tolist()) == words + Counter({boundary: len(text)})


@given(text=texts, n_lanes=st.integers(1, 12), steps=st.integers(1, 8), data=st.data())
def test_some_lanes_are_columns_of_all(text: Text, n_lanes: int, steps: int, data: st.DataObject) -> None:
    lanes = Lanes.cut(stream(text), n_lanes)
    begin, end = sorted(data.draw(st.tuples(st.integers(0, lanes.count), st.integers(0, lanes.count))))
    for whole, part in zip(lanes.window(1, steps), lanes.window(1, steps, slice(begin, end)), strict=True):
        np.testing.assert_array_equal(part, whole[:, begin:end])


@given(text=texts, data=st.data())
def test_positions_can_be_read_in_any_order_and_shape(text: Text, data: st.DataObject) -> None:
    positions = np.asarray(data.draw(st.permutations(2 * list(range(stream(text).n_positions))))).reshape(2, -1)
    for array, tokens in zip(stream(text).read(positions), written_out(text), strict=True):
        np.testing.assert_array_equal(array, np.asarray(tokens)[positions])
    owners = np.repeat(np.arange(len(text)), [len(words) + 2 for words in text])
    np.testing.assert_array_equal(stream(text).sentence_at(positions), owners[positions])


def test_a_text_of_empty_sentences_alone_is_all_boundaries() -> None:
    found = glued(Lanes.cut(stream([[], [], []]), 2), 3)
    assert found.forward[:, 1].tolist() == [START, END, START, END, END, END]
    assert found.backward_targets[:, 1].tolist() == [START, UNSCORED, START, UNSCORED, UNSCORED, UNSCORED]


@pytest.mark.parametrize(
    ("name", "targets"), [("ptb/ptb.test.txt.xz", 82_430), ("wikitext-2/wiki.test.tokens.xz", 245_569)]
)
def test_both_directions_have_as_many_targets_as_the_field_counts(name: str, targets: int) -> None:
    file = shared_folder() / "data" / "lm" / name
    if not file.is_file():
        pytest.skip(f"{file} is not there; set POLYSEME_SHARED")
    lengths = [len(line.split()) for line in lzma.decompress(file.read_bytes()).decode().splitlines()]
    lanes = Lanes.cut(stream(numbered(lengths)), 32, first=1000)
    windows = [lanes.window(index, 20) for index in range(lanes.n_windows(20))]
    assert sum(int((window.forward_targets != UNSCORED).sum()) for window in windows) == targets
    assert sum(int((window.backward_targets != UNSCORED).sum()) for window in windows) == targets


def test_lanes_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(InputError, match="no sentence"):
        Stream(np.zeros(0, dtype=np.uint32), np.zeros(1, dtype=np.int64))
    with pytest.raises(OptionError, match="at least one lane, was: 0"):
        Lanes.cut(stream([[3]]), 0)
    for first in (-1, 1):
        with pytest.raises(OptionError, match=f"must be 0 to 0, was: {first}"):
            Lanes.cut(stream([[3]]), 1, first)


# --- batches of sentences


def pieces_of(lengths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Places of sentences among all words, the long ones cut, by counting."""
    found, at = [], 0
    for length in lengths:
        cuts = [*range(at, at + max(length, 1), most), at + length]
        found += pairwise(cuts)
        at += length
    return found


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    max_tokens=st.integers(3, 40),
    context=st.integers(3, 12),
    seed=st.integers(0, 5),
)
def test_batches_hold_each_sentence_once_and_no_more_tokens_than_asked_for(
    lengths: list[int], max_tokens: int, context: int, seed: int
) -> None:
    batches = list(sentence_batches(stream(numbered(lengths)), max_tokens, context, seed))
    assert sorted(map(tuple, np.concatenate(batches).tolist())) == sorted(pieces_of(lengths, context - 2))
    for batch in batches:
        widths = batch[:, 1] - batch[:, 0] + 2
        assert widths.max() <= context
        assert len(batch) == 1 or len(batch) * widths.max() <= max_tokens


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=30), max_tokens=st.integers(12, 40))
def test_a_batch_is_as_full_as_its_tokens_allow(lengths: list[int], max_tokens: int) -> None:
    batches = list(sentence_batches(stream(numbered(lengths)), max_tokens, 12, seed=1))
    batches.sort(key=lambda batch: (*np.sort(batch[:, 1] - batch[:, 0])[[0, -1]].tolist(), -len(batch)))
    for batch, after in pairwise(batches):
        wider = int((after[:, 1] - after[:, 0]).min()) + 2
        assert (len(batch) + 1) * wider > max_tokens


def test_the_seed_alone_decides_which_sentences_go_together() -> None:
    text = stream(numbered([5] * 40))
    first, again, other = ([batch.tolist() for batch in sentence_batches(text, 28, 9, seed)] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert {frozenset(map(tuple, batch)) for batch in first} != {frozenset(map(tuple, batch)) for batch in other}


def test_a_batch_that_could_hold_nothing_is_refused() -> None:
    for sizes in ((2, 9), (9, 2)):
        with pytest.raises(OptionError, match="at least 3"):
            next(sentence_batches(stream([[3]]), *sizes, seed=1))
