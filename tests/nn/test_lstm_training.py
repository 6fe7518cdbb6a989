"""The written-out LSTM against the plain one and autograd: values, states and every gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call

from polyseme.nn import lstm_training, workers
from polyseme.nn.lstm import LSTMLayer
from polyseme.nn.lstm_training import run_layers


class Case(NamedTuple):
    """One direction. *Shape:* x (T, B, I), hidden (B, P), cell (B, H), cotangent (T, B, P), mask (4H, P)."""

    layer: LSTMLayer
    x: Tensor
    hidden: Tensor
    cell: Tensor
    cotangent: Tensor
    mask: Tensor | None = None


class Found(NamedTuple):
    """`grads`: of x, input weight, state weight, bias, projection."""

    outputs: Tensor
    hidden: Tensor
    cell: Tensor
    grads: tuple[Tensor, ...]


def case(
    seed: int,
    steps: int = 4,
    lanes: int = 3,
    sizes: tuple[int, int, int] = (4, 6, 5),
    clips: tuple[float | None, float | None] = (0.6, 0.4),
    forget_bias: float = 1.0,
    masked: bool = False,
) -> Case:
    """`sizes`: I, H, P. Weights and states are so large that clips of 0.6 and 0.4 act on many values, not on all."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    into, cells, width = sizes
    layer = LSTMLayer(into, cells, width, *clips, forget_bias).double()
    for parameter in layer.parameters():
        parameter.data.copy_(normal(*parameter.shape))
    mask = (normal(4 * cells, width) > 0).double() * 2 if masked else None
    x, hidden, cell = normal(steps, lanes, into), normal(lanes, width) * 0.5, normal(lanes, cells) * 0.5
    return Case(layer, x, hidden, cell, normal(steps, lanes, width), mask)


def cast(each: Case, dtype: torch.dtype) -> Case:
    layer = LSTMLayer(
        each.x.size(2), each.cell.size(1), each.hidden.size(1), each.layer.cell_clip, each.layer.projection_clip,
        each.layer.forget_bias,
    )  # fmt: skip
    layer.load_state_dict(each.layer.state_dict())
    return Case(layer.to(dtype), *(None if tensor is None else tensor.to(dtype) for tensor in each[1:]))


def plain(each: Case) -> Found:
    """`LSTMLayer` and autograd."""
    x, weights = each.x.clone().requires_grad_(), dict(each.layer.named_parameters())
    used = weights if each.mask is None else weights | {"state_weight": weights["state_weight"] * each.mask}
    lengths = torch.full((x.size(1),), x.size(0))
    outputs, hidden, cell = functional_call(each.layer, used, (x.transpose(0, 1), lengths, each.hidden, each.cell))
    outputs = outputs.transpose(0, 1)
    wanted = [x, *(weights[name] for name in ("input_weight", "state_weight", "bias", "projection_weight"))]
    return Found(outputs, hidden, cell, torch.autograd.grad((outputs * each.cotangent).sum(), wanted))


def written_out(cases: Sequence[Case], dtype: torch.dtype = torch.float64) -> list[Found]:
    inputs = [each.x.clone().requires_grad_() for each in cases]
    results = run_layers(
        [each.layer for each in cases],
        inputs,
        [each.hidden for each in cases],
        [each.cell for each in cases],
        dtype,
        [each.mask for each in cases],
    )
    total = torch.stack([(result[0] * each.cotangent).sum() for result, each in zip(results, cases, strict=True)]).sum()
    found = []
    for each, x, result in zip(cases, inputs, results, strict=True):
        weights = [each.layer.input_weight, each.layer.state_weight, each.layer.bias, each.layer.projection_weight]
        found.append(Found(*result, torch.autograd.grad(total, [x, *weights], retain_graph=True)))
    return found


def assert_same(found: Found, expected: Found, tolerance: float = 1e-12) -> None:
    for a, b in zip((*found[:3], *found.grads), (*expected[:3], *expected.grads), strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def relative_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    return max(float((a - b).detach().norm() / b.detach().norm()) for a, b in zip(found, expected, strict=True))


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


clips = st.sampled_from([None, 0.3, 0.6, 2.0])
sizes = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 5))


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 6),
    lanes=st.integers(1, 4),
    sizes=sizes,
    clips=st.tuples(clips, clips),
    forget_bias=st.sampled_from([0.0, 1.0]),
    masked=st.lists(st.booleans(), min_size=1, max_size=2),
    seed=st.integers(0, 9),
)
def test_values_states_and_gradients_are_those_of_autograd(
    steps: int,
    lanes: int,
    sizes: tuple[int, int, int],
    clips: tuple[float | None, float | None],
    forget_bias: float,
    masked: list[bool],
    seed: int,
) -> None:
    cases = [
        case(seed + 100 * direction, steps, lanes, sizes, clips, forget_bias, mask)
        for direction, mask in enumerate(masked)
    ]
    for found, each in zip(written_out(cases), cases, strict=True):
        assert_same(found, plain(each))


def test_the_clips_act_and_a_clipped_value_passes_no_gradient() -> None:
    each = case(1, steps=6, lanes=8)
    (found,) = written_out([each])
    for values, clip in ((found.outputs, 0.4), (found.cell, 0.6)):
        clipped = values.abs() == clip
        assert 0.1 < clipped.double().mean() < 0.9
        assert (values.abs() <= clip).all()
    assert_same(found, plain(each))
    # A gradient that asks for clipped outputs alone finds nothing behind them.
    blocked = each._replace(cotangent=(found.outputs.abs() == 0.4) * each.cotangent)
    (nothing,) = written_out([blocked._replace(x=each.x[:1], cotangent=blocked.cotangent[:1])])
    assert all(not grad.any() for grad in nothing.grads)


def test_two_directions_of_different_sizes_of_state_share_nothing() -> None:
    left, right = case(1), case(2, lanes=5)
    for found, alone in zip(written_out([left, right]), (left, right), strict=True):
        assert_same(found, written_out([alone])[0], 0.0)


def test_gradients_need_not_come_as_one_block_of_memory() -> None:
    each = case(3)
    x = each.x.clone().requires_grad_()
    outputs, _, _ = run_layers([each.layer], [x], [each.hidden], [each.cell], torch.float64)[0]
    expected = plain(each._replace(cotangent=torch.ones_like(each.cotangent))).grads[0]
    for total in (outputs.sum(), outputs.transpose(0, 2).contiguous().sum(), torch.stack(list(outputs)).sum()):
        (found,) = torch.autograd.grad(total, x, retain_graph=True)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_windows_with_their_state_carried_are_one_long_window() -> None:
    cases = [case(1, steps=7), case(2, steps=7)]
    whole = written_out(cases)
    for cut in range(1, 7):
        first = written_out([e._replace(x=e.x[:cut], cotangent=e.cotangent[:cut]) for e in cases])
        then = [
            e._replace(x=e.x[cut:], cotangent=e.cotangent[cut:], hidden=f.hidden.detach(), cell=f.cell)
            for e, f in zip(cases, first, strict=True)
        ]
        second = written_out(then)
        for each, a, b, expected in zip(then, first, second, whole, strict=True):
            torch.testing.assert_close(torch.cat([a.outputs, b.outputs]), expected.outputs, atol=1e-12, rtol=0)
            torch.testing.assert_close(b.hidden, expected.hidden, atol=1e-12, rtol=0)
            torch.testing.assert_close(b.cell, expected.cell, atol=1e-12, rtol=0)
            assert_same(b, plain(each))  # the way back ends at the cut


def test_no_gradient_reaches_the_first_state_or_leaves_the_last_cell() -> None:
    cases = [case(1), case(2)]
    hiddens, cells = ([tensor.clone().requires_grad_() for tensor in (c.hidden, c.cell)] for c in cases)
    results = run_layers(
        [c.layer for c in cases], [c.x for c in cases], [hiddens[0], cells[0]], [hiddens[1], cells[1]], torch.float64
    )
    assert [cell.requires_grad for _, _, cell in results] == [False, False]
    found = torch.autograd.grad(sum(r[0].sum() for r in results), [*hiddens, *cells], allow_unused=True)
    assert found == (None, None, None, None)


# --- threads and precision


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_thread_and_two_give_the_same_bits(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_pair", [])
    cases = [cast(case(seed, steps=6, lanes=24, sizes=(40, 96, 40)), torch.float32) for seed in (1, 2)]
    with threads(1):
        alone = written_out(cases, dtype)
        assert not workers._pair
    with threads(2):
        side_by_side = written_out(cases, dtype)
        assert torch.get_num_threads() == 2
        assert len(workers._pair) == 1
    for found, expected in zip(side_by_side, alone, strict=True):
        assert_same(found, expected, 0.0)


def test_each_direction_computes_with_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_pair", [])
    seen: list[int] = []
    forward = lstm_training._forward

    def watched(*run: object) -> object:
        seen.append(torch.get_num_threads())
        return forward(*run)  # type: ignore[arg-type]

    monkeypatch.setattr(lstm_training, "_forward", watched)
    with threads(2):
        for _ in range(3):
            written_out([case(1), case(2)])
    assert seen == [1] * 6


def test_an_error_of_one_direction_is_raised() -> None:
    broken = case(2)._replace(hidden=torch.zeros(1, 99, dtype=torch.float64))
    with threads(2), pytest.raises(RuntimeError):
        written_out([case(1), broken])


def test_single_precision_is_that_of_single_precision() -> None:
    cases = [case(seed, steps=8, lanes=6, sizes=(12, 20, 10), clips=(3.0, 3.0)) for seed in (1, 2)]
    for found, each in zip(written_out([cast(e, torch.float32) for e in cases], torch.float32), cases, strict=True):
        expected = plain(each)
        assert found.outputs.dtype == torch.float32
        assert relative_error([found.outputs.double()], [expected.outputs]) < 1e-5
        assert relative_error([grad.double() for grad in found.grads], expected.grads) < 1e-4


def test_half_precision_is_within_two_hundredths_of_single() -> None:
    cases = [case(seed, steps=5, lanes=6, sizes=(12, 20, 10), clips=(3.0, 3.0)) for seed in (1, 2)]
    for each in cases:  # weights as large as training makes them
        for parameter in each.layer.parameters():
            parameter.data *= 0.3
    singles = [cast(each, torch.float32) for each in cases]
    for found, expected in zip(written_out(singles, torch.bfloat16), written_out(singles, torch.float32), strict=True):
        assert {found.outputs.dtype, found.cell.dtype, *(grad.dtype for grad in found.grads)} == {torch.float32}
        assert 1e-4 < relative_error([found.outputs], [expected.outputs]) < 0.02
        assert 1e-4 < relative_error(found.grads, expected.grads) < 0.02
