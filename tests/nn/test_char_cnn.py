"""The character network against numpy loops written from the paper (Kim et al. 2016, Peters et al. 2018)."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.errors import OptionError
from polyseme.nn.char_cnn import CharCNN, CharCNNConfig, Highway

Array = npt.NDArray[np.float64]
CONFIG = CharCNNConfig(n_rows=20, char_size=3, filters=((1, 2), (3, 4)), n_highway=2, max_characters=8)


def network(config: CharCNNConfig, size: int = 5, seed: int = 1) -> CharCNN:
    torch.manual_seed(seed)
    made = CharCNN(config, size).double().requires_grad_(False)
    for tensor in made.parameters():
        tensor.copy_(torch.randn_like(tensor))
    return made


def by_hand(cnn: CharCNN, word: list[int]) -> Array:
    """One word, one window at a time."""
    weights = {name: tensor.numpy() for name, tensor in cnn.named_parameters()}
    config = cnn.config
    activate = np.tanh if config.activation == "tanh" else (lambda x: np.maximum(x, 0))
    letters = [weights["table.weight"][letter] for letter in word]
    found = []
    for index, (width, count) in enumerate(config.filters):
        kernel, bias = weights[f"convolutions.{index}.weight"], weights[f"convolutions.{index}.bias"]
        for f in range(count):
            windows = range(len(word) - width + 1)
            sums = [bias[f] + sum(kernel[f, :, j] @ letters[at + j] for j in range(width)) for at in windows]
            found.append(activate(max(sums)))
    x = np.array(found)
    project = (lambda v: weights["projection.weight"] @ v + weights["projection.bias"]) if cnn.projection else None
    if project and config.projection_location == "after_cnn":
        x = project(x)
    for layer in range(config.n_highway):
        product = weights[f"highways.{layer}.linear.weight"] @ x + weights[f"highways.{layer}.linear.bias"]
        transformed, gate = np.maximum(product[: len(x)], 0), 1 / (1 + np.exp(-product[len(x) :]))
        x = gate * x + (1 - gate) * transformed
    if project and config.projection_location == "after_highway":
        x = project(x)
    if config.layer_norm:
        x = (x - x.mean()) / (x.std() + 1e-13) * weights["norm.weight"] + weights["norm.bias"]
    return x


@settings(max_examples=40, deadline=None)
@given(
    activation=st.sampled_from(["relu", "tanh"]),
    n_highway=st.integers(0, 2),
    location=st.sampled_from(["after_highway", "after_cnn", "none"]),
    layer_norm=st.booleans(),
    word=st.lists(st.integers(0, 19), min_size=8, max_size=8),
)
def test_every_variant_equals_the_formula(
    activation: str, n_highway: int, location: str, layer_norm: bool, word: list[int]
) -> None:
    config = dataclasses.replace(
        CONFIG, activation=activation, n_highway=n_highway, projection_location=location,
        layer_norm=layer_norm and location != "none",
    )  # fmt: skip
    cnn = network(config, size=6 if location == "none" else 5)
    found = cnn(torch.tensor([word, [1] * 8])).numpy()
    np.testing.assert_allclose(found[0], by_hand(cnn, word), atol=1e-10)
    np.testing.assert_allclose(found[1], by_hand(cnn, [1] * 8), atol=1e-10)


def test_the_mask_row_is_zero_and_stays_so_in_training() -> None:
    cnn = CharCNN(CONFIG, 5)
    assert not cnn.table.weight[0].any()
    cnn(torch.zeros(1, 8, dtype=torch.long)).sum().backward()
    assert not cnn.table.weight.grad[0].any()


def test_a_closed_gate_carries_the_transformed_part_and_an_open_one_the_input() -> None:
    layer = Highway(2).requires_grad_(False)
    layer.linear.weight.zero_()
    x = torch.tensor([[5.0, -7.0]])
    for gate, expected in ((30.0, [5.0, -7.0]), (-30.0, [2.0, 0.0])):
        layer.linear.bias.copy_(torch.tensor([2.0, -3.0, gate, gate]))
        torch.testing.assert_close(layer(x), torch.tensor([expected]))


def test_the_published_sizes_have_2048_filters_of_the_papers_widths() -> None:
    config = CharCNNConfig()
    assert config.n_filters == 2048
    assert [width for width, _ in config.filters] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "gelu"}, "activation must be one of .*relu.*tanh.*'gelu'"),
        ({"projection_location": "before"}, "projection_location must be .*'before'"),
        ({"filters": ((9, 1),)}, "widths from 1 to 8"),
        ({"filters": ((0, 1),)}, "widths from 1 to 8"),
        ({"filters": ((1, 0),)}, "widths from 1 to 8"),
        ({"filters": ()}, "widths from 1 to 8"),
    ],
)
def test_sizes_that_make_no_network_are_refused_by_value(change: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        dataclasses.replace(CONFIG, **change)  # type: ignore[arg-type]
