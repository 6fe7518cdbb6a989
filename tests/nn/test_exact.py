"""The loss in blocks against one whole log softmax in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.nn import exact
from polyseme.nn.exact import exact_losses
from polyseme.nn.softmax import Softmax


def softmax_of(n_words: int, size: int, scale: float = 1.0) -> Softmax:
    torch.manual_seed(3)
    softmax = Softmax(n_words, size).requires_grad_(False)
    softmax.weight.mul_(scale)
    softmax.bias.normal_()
    return softmax


def whole(hidden: torch.Tensor, softmax: Softmax, targets: torch.Tensor) -> torch.Tensor:
    scores = hidden.double() @ softmax.weight.double().T + softmax.bias.double()
    return -torch.log_softmax(scores, dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(0, 9), n_words=st.integers(1, 40), at_once=st.integers(1, 60), block=st.integers(1, 5))
def test_blocks_of_any_size_give_the_loss_of_the_whole(rows: int, n_words: int, at_once: int, block: int) -> None:
    before, (exact.SCORES_AT_ONCE, exact.ROWS) = (exact.SCORES_AT_ONCE, exact.ROWS), (max(at_once, block), block)
    try:
        softmax = softmax_of(n_words, 4)
        hidden, targets = torch.randn(rows, 4), torch.randint(n_words, (rows,))
        found = exact_losses(hidden, softmax, targets)
    finally:
        exact.SCORES_AT_ONCE, exact.ROWS = before
    assert found.shape == (rows,)
    torch.testing.assert_close(found.double(), whole(hidden, softmax, targets), rtol=1e-5, atol=1e-5)


def test_never_more_scores_exist_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *given: sizes.append(real(*given).numel()) or real(*given))
    monkeypatch.setattr(exact, "SCORES_AT_ONCE", 1000)
    monkeypatch.setattr(exact, "ROWS", 10)
    exact_losses(torch.randn(37, 4), softmax_of(333, 4), torch.randint(333, (37,)))
    assert max(sizes) == 1000


def test_scores_far_apart_overflow_nowhere_and_losses_are_never_negative() -> None:
    softmax = softmax_of(50, 4, scale=300.0)
    hidden, targets = torch.randn(64, 4), torch.randint(50, (64,))
    found = exact_losses(hidden, softmax, targets)
    torch.testing.assert_close(found.double(), whole(hidden, softmax, targets), rtol=1e-5, atol=1e-3)
    assert bool((found >= 0).all())
    best = (hidden @ softmax.weight.T + softmax.bias).argmax(dim=1)
    assert bool((exact_losses(hidden, softmax, best) >= 0).all())


def test_bfloat16_hidden_and_weights_are_multiplied_in_float32() -> None:
    softmax = softmax_of(20, 4).bfloat16()
    hidden, targets = torch.randn(5, 4).bfloat16(), torch.randint(20, (5,))
    found = exact_losses(hidden, softmax, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), whole(hidden, softmax, targets), rtol=1e-5, atol=1e-5)
