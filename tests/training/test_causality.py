"""No prediction sees its own target, nor anything that its direction reads later: not within a window, not across one.

A position predicts the next token of its stream (`text/streams.py`). So when the target changes, or anything behind it,
what the network knows at the position must stay as it was, in either direction.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_oracle import KINDS
from tiny import random_model
from torch import Tensor

from polyseme.bilm import BiLM, TokenEncoder
from polyseme.text.streams import Lanes, Stream, Window
from polyseme.training.batches import sentences
from polyseme.training.network import States, TypeRows, read_window

Text = list[list[int]]
N_TYPES = 12
ARCHITECTURES = ("characters", "transformer")
MODELS = {kind: random_model(softmax=True, **KINDS[kind]).bilm.double() for kind in ARCHITECTURES}
EXACT, FELT = 1e-12, 1e-7  # unchanged but for rounding; changed


class Table(TypeRows):
    """A vector for each type, instead of characters."""

    def __init__(self, size: int, n_types: int = N_TYPES) -> None:
        self.vectors = torch.randn(n_types, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def of(self, types: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        return types.astype(np.int32)

    def encode(self, _: TokenEncoder, types: npt.NDArray[np.int32], *rest: object) -> Tensor:  # noqa: ARG002
        return self.vectors[torch.from_numpy(types)]


def table_of(model: BiLM, n_types: int = N_TYPES) -> Table:
    return Table(model.config.projection_size, n_types)


def stream(text: Text) -> Stream:
    starts = np.concatenate([[0], np.cumsum([len(words) for words in text])]).astype(np.int64)
    return Stream(np.asarray([word for words in text for word in words], dtype=np.uint32), starts)


def read_lanes(text: Text, n_lanes: int, steps: int, windows: Callable[[Window], Window] = lambda w: w) -> list[Tensor]:
    """What both directions of the LSTM know after each position, window by window. *Shape:* twice (T, B, P)."""
    model = MODELS["characters"]
    lanes, table = Lanes.cut(stream(text), n_lanes), table_of(model)
    states: States | None = None
    tops: list[list[Tensor]] = [[], []]
    for number in range(lanes.n_windows(steps)):
        *both, states = read_window(model, table, windows(lanes.window(number, steps)), states, torch.float64)
        for direction in (0, 1):
            tops[direction].append(both[direction])
    return [torch.cat(each) for each in tops]


def inputs_of(text: Text, n_lanes: int, steps: int) -> list[npt.NDArray[np.int64]]:
    """What both directions read. *Shape:* twice (T, B)."""
    lanes = Lanes.cut(stream(text), n_lanes)
    windows = [lanes.window(number, steps) for number in range(lanes.n_windows(steps))]
    return [np.concatenate([window[direction] for window in windows]) for direction in (0, 1)]


def in_common(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> int:
    """How many tokens two streams begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a.tolist(), b.tolist(), strict=False)))


def first_change(a: Tensor, b: Tensor, tolerance: float) -> int:
    """The first position at which two readings of one lane differ. *Shape:* (T, P) twice."""
    steps = min(len(a), len(b))
    differs = (a[:steps] - b[:steps]).abs().amax(dim=1) > tolerance
    return int(differs.int().argmax()) if differs.any() else steps


words = st.integers(3, N_TYPES - 1)
texts = st.lists(st.lists(words, max_size=5), max_size=4)


@settings(max_examples=30, deadline=None)
@given(same=texts, left=texts, right=texts, n_same=st.integers(0, 4), steps=st.integers(1, 9))
def test_texts_that_begin_alike_are_known_alike_as_far_as_they_are(
    same: Text, left: Text, right: Text, n_same: int, steps: int
) -> None:
    """Words and boundaries alike: the sentence in which the texts part may also become longer, or end."""
    middle = [3, 4, 5, 6][:n_same]
    texts = [[*same, [*middle, *words], *rest] for words, rest in (((7, 8), left), ((9,), right))]
    streams, tops = zip(*((inputs_of(text, 1, steps), read_lanes(text, 1, steps)) for text in texts), strict=True)
    for direction in (0, 1):
        alike = in_common(streams[0][direction][:, 0], streams[1][direction][:, 0])
        a, b = (top[direction][:, 0] for top in tops)
        assert first_change(a, b, EXACT) >= alike
        assert first_change(a, b, FELT) == alike  # the first token that differs is felt at once: the test can fail


def changed(text: Text, sentence: int, word: int) -> Text:
    other = [list(words) for words in text]
    other[sentence][word] = N_TYPES - 1 if text[sentence][word] != N_TYPES - 1 else 3
    return other


TEXT: Text = [[3, 4, 5], [], [6, 7], [8, 9, 3, 4, 5], [6], [7, 8, 9, 3], [4], [5, 6, 7]]
PLACES = [(sentence, word) for sentence, words in enumerate(TEXT) for word in range(len(words))]


@pytest.mark.parametrize("n_lanes", [1, 3])
@pytest.mark.parametrize("steps", [1, 3, 50])
def test_no_position_of_any_lane_feels_a_word_before_its_direction_reads_it(n_lanes: int, steps: int) -> None:
    tops, inputs = read_lanes(TEXT, n_lanes, steps), inputs_of(TEXT, n_lanes, steps)
    for sentence, word in PLACES:
        other = changed(TEXT, sentence, word)
        found, others = read_lanes(other, n_lanes, steps), inputs_of(other, n_lanes, steps)
        for direction in (0, 1):
            ((step, lane),) = np.argwhere(inputs[direction] != others[direction]).tolist()
            for each in range(tops[0].size(1)):
                first = first_change(tops[direction][:, each], found[direction][:, each], EXACT)
                assert first == (step if each == lane else len(tops[0]))


def test_the_check_finds_the_leak_of_windows_that_are_merely_flipped() -> None:
    """What `text/streams.py` warns of: backward windows that are forward ones flipped, state carried rightwards."""

    def flipped(window: Window) -> Window:
        return window._replace(backward=window.forward[::-1])

    # Positions of the forward stream: word 3 of sentence 3 stands at 15, the end of a window of 4; the word behind it
    # is read last of the next window, at 19, and should predict it. But the carried state has seen it.
    assert inputs_of(TEXT, 1, 4)[0][15:17, 0].tolist() == TEXT[3][3:5]
    tops, found = (read_lanes(text, 1, 4, flipped)[1][:, 0] for text in (TEXT, changed(TEXT, 3, 3)))
    assert (tops[19] - found[19]).abs().max() > FELT


# --- a Transformer, which reads sentences


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_no_position_of_a_sentence_feels_a_word_before_its_direction_reads_it(kind: str) -> None:
    """Of sentences as long as they were: a Transformer's backward positions count from the left end, so that it knows
    the length of what it reads from the first step on (nn/transformer.py says whose arithmetic that is)."""
    model = MODELS[kind]
    table, starts = table_of(model), stream(TEXT).starts
    pieces = np.stack([starts[:-1], starts[1:]], axis=1)

    def read(text: Text) -> tuple[Tensor, Tensor]:
        return read_window(model, table, sentences(stream(text).ids, pieces), None, torch.float64)[:2]

    tops = read(TEXT)
    for sentence, word in PLACES:
        found, size = read(changed(TEXT, sentence, word)), len(TEXT[sentence]) + 2
        for direction, step in enumerate((1 + word, len(TEXT[sentence]) - word)):
            for lane in range(len(TEXT)):
                real = slice(size if lane == sentence else len(TEXT[lane]) + 2)
                a, b = tops[direction][real, lane], found[direction][real, lane]
                assert first_change(a, b, EXACT) == (step if lane == sentence else len(a))


# --- by gradients


def window_of_distinct_tokens(steps: int, lanes: int) -> Window:
    """Every token of both directions is a type of its own; all predict something but the last."""
    forward = np.arange(steps * lanes).reshape(steps, lanes)
    targets = np.concatenate([forward[1:], np.full((1, lanes), -1)])
    return Window(forward, forward + steps * lanes, targets, targets)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_gradient_of_a_loss_is_exactly_zero_at_its_target_and_beyond(kind: str) -> None:
    steps, lanes, model = 5, 2, MODELS[kind]
    window = window_of_distinct_tokens(steps, lanes)
    table = table_of(model, 2 * steps * lanes)
    table.vectors.requires_grad_()
    tops = read_window(model, table, window, None, torch.float64)[:2]
    assert model.softmax is not None
    for direction, tokens in enumerate((window.forward, window.backward)):
        for step in range(steps - 1):
            for lane in range(lanes):
                loss = -model.softmax(tops[direction][step, lane])[3 + step]
                (grad,) = torch.autograd.grad(loss, table.vectors, retain_graph=True)
                reached = set(grad.abs().sum(dim=1).nonzero().squeeze(1).tolist())
                assert reached == set(tokens[: step + 1, lane].tolist())  # what was read, and nothing else at all


def test_the_gradient_of_a_carried_window_is_zero_at_its_targets_and_beyond() -> None:
    steps, model = 4, MODELS["characters"]
    table = table_of(model, 4 * steps)
    table.vectors.requires_grad_()
    first = window_of_distinct_tokens(steps, 1)
    second = Window(first.forward + 2 * steps, first.backward + 2 * steps, *first[2:])
    *before, states = read_window(model, table, first, None, torch.float64)
    *after, _ = read_window(model, table, second, states, torch.float64)
    for tops, window in ((before, first), (after, second)):
        for direction, tokens in enumerate((window.forward, window.backward)):
            for step in range(steps):
                (grad,) = torch.autograd.grad(tops[direction][step].sum(), table.vectors, retain_graph=True)
                reached = set(grad.abs().sum(dim=1).nonzero().squeeze(1).tolist())
                assert reached == set(tokens[: step + 1, 0].tolist())  # back-propagation ends where the window begins
