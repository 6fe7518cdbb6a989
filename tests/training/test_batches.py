"""What an update reads: the same tokens however it is shared out, and other ones every epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.errors import OptionError
from polyseme.text.streams import END, START, UNSCORED, Ids, Stream, Window
from polyseme.training.batches import LaneBatches, SentenceBatches, sentences
from polyseme.training.config import TrainConfig
from polyseme.training.processes import Processes

LENGTHS = [3, 0, 7, 2, 5, 1, 4, 4, 9, 0, 2, 6, 3, 5, 8, 1, 2, 3, 4, 5]
N_WORDS = sum(LENGTHS)


def stream(lengths: Sequence[int]) -> Stream:
    """No word comes twice."""
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Stream(np.arange(3, 3 + starts[-1], dtype=np.uint32), starts)


def lane_batches(
    lengths: Sequence[int] = LENGTHS, rank: int = 0, world: int = 1, accumulate: int = 1, lanes: int = 6, seed: int = 1
) -> LaneBatches:
    config = TrainConfig(lanes=lanes, steps=4, accumulate=accumulate, seed=seed)
    return LaneBatches(stream(lengths), config, Processes(rank, world))


def sentence_batches(
    rank: int = 0,
    world: int = 1,
    accumulate: int = 1,
    tokens: int = 48,
    seed: int = 1,
    lengths: Sequence[int] = LENGTHS,
) -> SentenceBatches:
    config = TrainConfig(lanes=tokens // 4, steps=4, accumulate=accumulate, seed=seed)
    return SentenceBatches(stream(lengths), config, Processes(rank, world), context=20)


def tokens_of(windows: Sequence[Window]) -> tuple[Counter[int], Counter[int]]:
    """How often each type is a target, forward and backward."""
    found: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    for window in windows:
        for counter, targets in zip(found, window[2:], strict=True):
            counter.update(targets[targets != UNSCORED].tolist())
    return found


# --- lanes


@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 2), (3, 2), (1, 5), (5, 1)])
def test_the_parts_of_all_processes_are_the_update_of_one(world: int, accumulate: int, epoch: int) -> None:
    whole = lane_batches()
    shared = [lane_batches(rank=rank, world=world, accumulate=accumulate) for rank in range(world)]
    n_updates = whole.start_epoch(epoch)
    assert {each.start_epoch(epoch) for each in shared} == {n_updates}
    for update in range(n_updates):
        (expected,) = whole.parts(update)
        parts = [part for each in shared for part in each.parts(update)]
        assert len(parts) == world * accumulate
        assert min(part.forward.shape[1] for part in parts) >= expected.forward.shape[1] // len(parts)
        for array, pieces in zip(expected, zip(*parts, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(pieces, axis=1), array)


@settings(deadline=None)
@given(
    lengths=st.lists(st.one_of(st.integers(0, 5), st.integers(0, 200)), min_size=1, max_size=12),
    lanes=st.integers(1, 12),
    world=st.integers(1, 3),
    accumulate=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
def test_no_part_is_ever_without_a_lane(
    lengths: list[int], lanes: int, world: int, accumulate: int, epoch: int
) -> None:
    """Not even where one sentence is longer than all others together."""
    fits = world * accumulate <= min(lanes, len(lengths))
    for rank in range(world):
        if fits:
            batches = lane_batches(lengths, rank, world, accumulate, lanes)
            batches.start_epoch(epoch)
            assert all(part.forward.shape[1] > 0 for part in batches.parts(0))
        elif accumulate <= lanes:
            with pytest.raises(OptionError, match=f"{min(lanes, len(lengths))} lanes cannot be shared by {world}"):
                lane_batches(lengths, rank, world, accumulate, lanes)


def epoch_of(batches: LaneBatches | SentenceBatches, epoch: int) -> list[Window]:
    return [part for update in range(batches.start_epoch(epoch)) for part in batches.parts(update)]


def test_every_epoch_reads_every_target_once_and_begins_at_another_sentence() -> None:
    batches, begins = lane_batches(), []
    for epoch in range(4):
        windows = epoch_of(batches, epoch)
        words = Counter(range(3, 3 + N_WORDS))
        assert tokens_of(windows) == (words + Counter({END: 20}), words + Counter({START: 20}))
        begins.append(windows[0].forward[:, 0].tolist())
    assert begins[0] == [START, 3, 4, 5]
    assert len({*map(tuple, begins)}) == 4


def test_passages_are_read_whole_and_in_another_order_each_epoch() -> None:
    """Passages of 16 words of a text whose words count up: within one, each word follows the one before."""
    lengths = [2] * 64
    config = TrainConfig(lanes=1, steps=4, passages=16)
    batches, orders = LaneBatches(stream(lengths), config, Processes(0, 1)), []
    for epoch in range(2):
        words = [
            int(token)
            for window in epoch_of(batches, epoch)
            for token in window.forward[:, 0][window.forward_targets[:, 0] != UNSCORED]
            if token > 2
        ]
        assert sorted(words) == [*range(3, 131)]
        begins = [words[at] for at in range(128) if at == 0 or words[at] != words[at - 1] + 1]
        # The lane may begin in the middle of a passage, whose beginning then comes last.
        assert sum((begin - 3) % 16 == 0 for begin in begins) >= len(begins) - 1 > 3
        orders.append(begins)
    assert orders[0] != orders[1] != sorted(orders[1])


def same(left: Sequence[Window], right: Sequence[Window]) -> bool:
    if len(left) != len(right):
        return False
    return all(np.array_equal(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("made", [lane_batches, sentence_batches])
def test_an_epoch_is_a_matter_of_its_number_and_the_seed_alone(
    made: type[LaneBatches] | type[SentenceBatches],
) -> None:
    through, straight, other = made(), made(), made(seed=2)
    epochs = [epoch_of(through, epoch) for epoch in range(3)]
    assert same(epoch_of(straight, 2), epochs[2])  # a run that goes on there
    assert same(epoch_of(through, 1), epochs[1])  # a run that goes back
    assert not same(epochs[1], epochs[2])
    assert not same(epoch_of(other, 2), epochs[2])


# --- sentences


def written_out(ids: Ids, pieces: Ids) -> list[list[list[int]]]:
    """Inputs forward and backward, targets forward and backward, of each piece."""
    found = []
    for begin, end in pieces.tolist():
        words = ids[begin:end].tolist()
        forward, backward = [START, *words, END], [END, *words[::-1], START]
        found.append([forward, backward, [*forward[1:], UNSCORED], [*backward[1:], UNSCORED]])
    return found


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=6))
def test_sentences_stand_side_by_side_padded_with_what_is_never_scored(lengths: list[int]) -> None:
    text = stream(lengths)
    pieces = np.stack([text.starts[:-1], text.starts[1:]], axis=1)[::-1]
    window = sentences(text.ids, pieces)
    assert window.forward.shape == (max(lengths) + 2, len(lengths))
    for lane, expected in enumerate(written_out(text.ids, pieces)):
        for array, tokens in zip(window, expected, strict=True):
            assert array[: len(tokens), lane].tolist() == tokens
        for targets in window[2:]:
            assert (targets[len(expected[0]) :, lane] == UNSCORED).all()
        assert np.isin(window.forward[:, lane], [*range(3, 3 + sum(lengths)), START, END]).all()


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_parts_of_sentences_are_disjoint_and_complete_but_for_what_fills_no_update(world: int, accumulate: int) -> None:
    shared = [sentence_batches(rank, world, accumulate) for rank in range(world)]
    n_parts = world * accumulate
    for epoch in range(3):
        n_updates = {each.start_epoch(epoch) for each in shared}
        assert len(n_updates) == 1
        parts = [part for update in range(*n_updates) for each in shared for part in each.parts(update)]
        assert len(parts) == max(n_updates) * n_parts
        assert all(part.forward.size <= 48 // n_parts or part.forward.shape[1] == 1 for part in parts)
        words, boundaries = Counter(range(3, 3 + N_WORDS)), Counter({END: 20})
        forward, backward = tokens_of(parts)
        assert forward <= words + boundaries
        assert forward[END] == backward[START]
        assert {w: n for w, n in forward.items() if w > END} == {w: n for w, n in backward.items() if w > END}
        left_out = shared[0].batches[len(parts) :]
        assert len(left_out) < n_parts
        missing = [sentences(shared[0].stream.ids, pieces) for pieces in left_out]
        assert forward + tokens_of(missing)[0] == words + boundaries


def test_what_fills_no_update_is_another_remainder_in_another_epoch() -> None:
    batches, missed = sentence_batches(accumulate=5), []
    for epoch in range(6):
        missed.append(frozenset(Counter(range(3, 3 + N_WORDS)) - tokens_of(epoch_of(batches, epoch))[0]))
    assert any(missed)
    assert not frozenset.intersection(*missed)


def test_a_text_of_fewer_sentences_than_parts_is_read_more_than_once() -> None:
    batches = sentence_batches(world=2, accumulate=4, lengths=[2, 3])
    assert batches.start_epoch(0) == 1
    other = sentence_batches(rank=1, world=2, accumulate=4, lengths=[2, 3])
    forward, _ = tokens_of([*batches.parts(0), *other.parts(0)])
    assert set(forward) == {3, 4, 5, 6, 7, END}
    assert len([*batches.parts(0), *other.parts(0)]) == 8


def test_a_sentence_beyond_the_context_comes_in_pieces() -> None:
    parts = epoch_of(sentence_batches(lengths=[45, 3]), 0)
    assert sorted(int(part.forward.shape[0]) for part in parts)[-1] == 20
    words = Counter(range(3, 3 + 48))
    assert tokens_of(parts)[0] == words + Counter({END: 4})  # a boundary a piece: 18 + 18 + 9 words, and 3
