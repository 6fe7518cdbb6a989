"""New weights against the distributions of bilm-tf's `bilm/training.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from polyseme.bilm import BiLM, BiLMConfig
from polyseme.nn.char_cnn import CharCNN, CharCNNConfig
from polyseme.nn.transformer import TransformerConfig
from polyseme.training.start import new_bilm, versions

FILTERS = ((1, 30), (4, 200), (7, 400))
CNN = CharCNNConfig(filters=FILTERS, n_highway=2)
CONFIG = BiLMConfig(projection_size=64, cell_size=128, char_cnn=CNN, softmax_size=500)


def cnn_of(bilm: BiLM) -> CharCNN:
    assert bilm.encoder.char_cnn is not None
    return bilm.encoder.char_cnn


def assert_uniform(values: Tensor, bound: float) -> None:
    """By the distance of Kolmogorov and Smirnov, p = 0.001."""
    sample = np.sort(values.detach().double().numpy().ravel())
    expected = (sample + bound) / (2 * bound)
    steps = np.arange(len(sample) + 1) / len(sample)
    assert np.abs(sample).max() <= bound
    assert max((steps[1:] - expected).max(), (expected - steps[:-1]).max()) < 1.95 / len(sample) ** 0.5


def assert_normal(values: Tensor, deviation: float) -> None:
    """Its first four moments, each within four standard errors."""
    scaled, n = values.detach().double().flatten() / deviation, values.numel()
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((scaled**power).mean()) - moment) < 4 * (spread / n) ** 0.5, power


def test_characters_and_filters_are_uniform_and_the_mask_is_zero() -> None:
    cnn = cnn_of(new_bilm(CONFIG, seed=1))
    assert_uniform(cnn.table.weight[1:], 1.0)
    assert not cnn.table.weight[0].any()
    assert len(cnn.convolutions) == 3
    for convolution in cnn.convolutions:
        assert_uniform(convolution.weight, 0.05)
        assert not convolution.bias.any()


def test_filters_before_a_tanh_are_normal_by_their_fan_in() -> None:
    tanh = CharCNNConfig(filters=FILTERS, activation="tanh")
    cnn = cnn_of(new_bilm(BiLMConfig(projection_size=8, cell_size=8, char_cnn=tanh), seed=1))
    for convolution, (width, _) in zip(cnn.convolutions, FILTERS, strict=True):
        assert_normal(convolution.weight, (width * 16) ** -0.5)


def test_highways_and_projections_are_normal_by_their_fan_in_and_gates_let_the_input_pass() -> None:
    bilm = new_bilm(CONFIG, seed=1)
    cnn = cnn_of(bilm)
    assert len(cnn.highways) == 2
    for highway in cnn.highways:
        assert_normal(highway.linear.weight, 630**-0.5)
        assert not highway.linear.bias[:630].any()
        assert (highway.linear.bias[630:] == 2).all()
        x = torch.full((1, 630), 9.0)
        # bilm-tf: carry_gate starts at sigmoid(-2), and 1 - carry_gate of x passes
        highway.linear.weight.data.zero_()
        torch.testing.assert_close(highway(x), (1 - torch.sigmoid(torch.tensor(-2.0))) * x)
    assert cnn.projection is not None
    assert_normal(cnn.projection.weight, 630**-0.5)
    assert not cnn.projection.bias.any()
    assert bilm.softmax is not None
    assert_normal(bilm.softmax.weight, 64**-0.5)
    assert not bilm.softmax.bias.any()


@pytest.mark.parametrize("location", ["none", "after_cnn"])
def test_a_projection_may_stand_elsewhere_or_nowhere(location: str) -> None:
    cnn = CharCNNConfig(filters=FILTERS, n_highway=1, projection_location=location)
    made = cnn_of(new_bilm(BiLMConfig(projection_size=64, cell_size=8, char_cnn=cnn), seed=1))
    assert (made.projection is None) == (location == "none")
    size = made.highways[0].linear.in_features
    assert made.highways[0].linear.bias.tolist() == [0.0] * size + [2.0] * size
    assert made.projection is None or not made.projection.bias.any()


def test_the_raw_bias_of_the_lstm_is_zero_so_that_the_forget_gate_starts_at_one() -> None:
    bilm = new_bilm(CONFIG, seed=1)
    for stack in (bilm.forward_layers, bilm.backward_layers):
        for layer in stack.layers:
            assert not layer.bias.any()
            assert layer.full_bias().tolist() == [0.0] * 128 + [1.0] * 128 + [0.0] * 256


TRANSFORMER = BiLMConfig(
    layers="transformer", projection_size=8, cell_size=1, char_cnn=CNN, transformer=TransformerConfig(8, 2, 20)
)


@pytest.mark.parametrize("config", [CONFIG, TRANSFORMER], ids=lambda config: config.layers)
def test_the_seed_alone_decides_and_the_global_generator_is_left_alone(config: BiLMConfig) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = new_bilm(config, seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = (new_bilm(config, seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    same = {name for name, tensor in first.items() if torch.equal(other[name], tensor)}
    assert all("bias" in name or "norm" in name for name in same)


def test_the_two_directions_start_apart() -> None:
    bilm = new_bilm(CONFIG, seed=1)
    left, right = (stack.layers[0].input_weight for stack in (bilm.forward_layers, bilm.backward_layers))
    assert not torch.equal(left, right)


def test_what_a_network_was_made_with_is_told() -> None:
    found = versions()
    assert set(found) == {"polyseme", "torch", "numpy"}
    assert found["torch"].startswith(torch.__version__.partition("+")[0])
    assert found["numpy"] == np.__version__
