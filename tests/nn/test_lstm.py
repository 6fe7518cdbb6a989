"""The LSTM with projection against torch's own, and what padding, clips and residual connections do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.nn.lstm import LSTMLayer, LSTMStack, LSTMState

PLAIN = {"residual": False, "cell_clip": None, "projection_clip": None, "forget_bias": 1.0}


def stack(
    seed: int = 1, n_layers: int = 2, cells: int = 7, size: int = 4, scale: float = 1.0, **options: object
) -> LSTMStack:
    torch.manual_seed(seed)
    made = LSTMStack(n_layers, size, cells, size, **(PLAIN | options))  # type: ignore[arg-type]
    for tensor in made.parameters():
        tensor.data.copy_(torch.randn_like(tensor) * scale)
    return made.requires_grad_(False)


def as_torch(ours: LSTMStack) -> torch.nn.LSTM:
    """torch.nn.LSTM with the same weights: gates input, forget, cell, output; its own two biases."""
    size, cells = ours.projection_size, ours.cell_size
    theirs = torch.nn.LSTM(size, cells, num_layers=len(ours.layers), proj_size=size, batch_first=True).double()
    for index, layer in enumerate(ours.layers):
        theirs.get_parameter(f"weight_ih_l{index}").data.copy_(layer.input_weight)
        theirs.get_parameter(f"weight_hh_l{index}").data.copy_(layer.state_weight)
        theirs.get_parameter(f"weight_hr_l{index}").data.copy_(layer.projection_weight)
        bias = layer.bias.clone()
        bias[cells : 2 * cells] += 1.0  # the forget gate, written out by hand
        theirs.get_parameter(f"bias_ih_l{index}").data.copy_(bias)
        theirs.get_parameter(f"bias_hh_l{index}").data.zero_()
    return theirs.requires_grad_(False)


@settings(max_examples=30, deadline=None)
@given(n_layers=st.integers(1, 3), cells=st.integers(5, 9), lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_without_clips_and_residual_it_is_torchs_lstm_with_projection(
    n_layers: int, cells: int, lengths: list[int]
) -> None:
    ours = stack(len(lengths), n_layers, cells).double()
    x = torch.randn(len(lengths), max(lengths), 4, dtype=torch.float64)
    start = LSTMState(*(torch.randn(n_layers, len(lengths), n, dtype=torch.float64) for n in (4, cells)))
    layers, end = ours(x, torch.tensor(lengths), start)
    theirs = as_torch(ours)
    for row, length in enumerate(lengths):
        state = (start.hidden[:, row : row + 1].contiguous(), start.cell[:, row : row + 1].contiguous())
        expected, (hidden, cell) = theirs(x[row : row + 1, :length], state)
        torch.testing.assert_close(layers[-1][row, :length], expected[0], atol=1e-10, rtol=0)
        torch.testing.assert_close(end.hidden[:, row], hidden[:, 0], atol=1e-10, rtol=0)
        torch.testing.assert_close(end.cell[:, row], cell[:, 0], atol=1e-10, rtol=0)
        assert not layers[-1][row, length:].any()


def test_a_residual_adds_a_layers_input_to_its_output_from_the_second_layer_on() -> None:
    x, lengths = torch.randn(2, 5, 4), torch.tensor([5, 5])
    with_residual, without = stack(residual=True), stack(residual=False)
    (first, second), end = with_residual(x, lengths)
    (plain_first, plain_second), plain_end = without(x, lengths)
    assert torch.equal(first, plain_first)
    assert torch.equal(second, plain_second + plain_first)
    # The state that is carried is that of the layer itself, without what was added.
    assert torch.equal(end.hidden, plain_end.hidden)


@pytest.mark.parametrize(("cell_clip", "projection_clip"), [(0.3, None), (None, 0.2), (0.3, 0.2)])
def test_clips_bound_the_cell_and_the_projection_before_they_are_read_again(
    cell_clip: float | None, projection_clip: float | None
) -> None:
    """One step by hand, in the words of Sak et al. and of the published code."""
    layer = stack(3, 1, scale=2.0, cell_clip=cell_clip, projection_clip=projection_clip).layers[0]
    assert isinstance(layer, LSTMLayer)
    x, hidden, cell = torch.randn(1, 1, 4), torch.randn(1, 4), torch.randn(1, 7)
    output, new_hidden, new_cell = layer(x, torch.tensor([1]), hidden, cell)
    gates = x[0, 0] @ layer.input_weight.T + hidden[0] @ layer.state_weight.T + layer.bias
    take, keep, memory, give = gates[:7], gates[7:14] + 1, gates[14:21], gates[21:]
    expected = take.sigmoid() * memory.tanh() + keep.sigmoid() * cell[0]
    if cell_clip is not None:
        assert expected.abs().max() > cell_clip
        expected = expected.clip(-cell_clip, cell_clip)
    projected = layer.projection_weight @ (give.sigmoid() * expected.tanh())
    if projection_clip is not None:
        assert projected.abs().max() > projection_clip
        projected = projected.clip(-projection_clip, projection_clip)
    torch.testing.assert_close(new_cell[0], expected)
    torch.testing.assert_close(new_hidden[0], projected)
    assert torch.equal(output[0, 0], new_hidden[0])


def test_what_lies_in_the_padding_changes_nothing_and_the_state_stops_at_each_rows_end() -> None:
    ours = stack(residual=True, cell_clip=1.0, projection_clip=0.5)
    x, lengths = torch.randn(3, 6, 4), torch.tensor([6, 2, 4])
    layers, end = ours(x, lengths)
    spoiled = x.clone()
    spoiled[1, 2:], spoiled[2, 4:] = 1e6, -1e6
    again, again_end = ours(spoiled, lengths)
    assert all(torch.equal(a, b) for a, b in zip(layers, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(end, again_end, strict=True))
    alone, alone_end = ours(x[1:2, :2], torch.tensor([2]))
    torch.testing.assert_close(layers[1][1:2, :2], alone[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(end.cell[:, 1:2], alone_end.cell, atol=1e-6, rtol=0)


def test_a_text_cut_in_two_with_its_state_carried_is_the_text_in_one() -> None:
    ours = stack(residual=True, cell_clip=1.0, projection_clip=0.5)
    x = torch.randn(2, 7, 4)
    whole, end = ours(x, torch.tensor([7, 7]))
    first, state = ours(x[:, :3], torch.tensor([3, 3]))
    second, second_end = ours(x[:, 3:], torch.tensor([4, 4]), state.detach())
    for layer, a, b in zip(whole, first, second, strict=True):
        torch.testing.assert_close(layer, torch.cat([a, b], dim=1), atol=1e-6, rtol=0)
    torch.testing.assert_close(end.cell, second_end.cell, atol=1e-6, rtol=0)


def test_no_steps_leave_the_state_as_it_was() -> None:
    ours = stack()
    state = LSTMState(torch.randn(2, 3, 4), torch.randn(2, 3, 7))
    layers, end = ours(torch.empty(3, 0, 4), torch.zeros(3, dtype=torch.long), state)
    assert layers[1].shape == (3, 0, 4)
    assert torch.equal(end.hidden, state.hidden)
    assert torch.equal(end.cell, state.cell)


def test_the_forget_bias_is_added_to_the_forget_gate_only_and_never_stored() -> None:
    layer = stack(forget_bias=0.25).layers[0]
    assert isinstance(layer, LSTMLayer)
    added = layer.full_bias() - layer.bias
    assert torch.allclose(added, torch.tensor([0.0] * 7 + [0.25] * 7 + [0.0] * 14))
    assert not torch.equal(stack(forget_bias=1.0)(torch.ones(1, 2, 4), torch.tensor([2]))[0][0], torch.zeros(1, 2, 4))
    assert set(layer.state_dict()) == {"input_weight", "state_weight", "bias", "projection_weight"}


def test_dropout_falls_on_inputs_in_training_only() -> None:
    ours = stack(dropout=0.5)
    x, lengths = torch.ones(1, 4, 4), torch.tensor([4])
    ours.eval()
    assert torch.equal(ours(x, lengths)[0][1], ours(x, lengths)[0][1])
    ours.train()
    assert not torch.equal(ours(x, lengths)[0][1], ours(x, lengths)[0][1])


def test_gradients_reach_every_weight_and_the_initial_state() -> None:
    ours = stack(n_layers=1, cells=5, size=3, residual=True).double()
    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    state = [torch.randn(1, 2, size, dtype=torch.float64, requires_grad=True) for size in (3, 5)]
    weights = [weight.requires_grad_() for weight in ours.parameters()]

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        return ours(inputs[0], torch.tensor([3, 2]), LSTMState(*inputs[1:3]))[0][-1]

    assert torch.autograd.gradcheck(run, (x, *state, *weights))
