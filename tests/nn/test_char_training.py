"""The convolutions as one product against torch's own, a convolution a width: values and every gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyseme.nn import workers
from polyseme.nn.char_cnn import CharCNN, CharCNNConfig
from polyseme.nn.char_training import convolve

PADDING = 29
WIDEST = 4
FILTERS = {"all": ((1, 3), (2, 5), (WIDEST, 6)), "widest only": ((WIDEST, 7),), "unordered": ((WIDEST, 2), (1, 4))}


def network(name: str = "all", activation: str = "relu", dtype: torch.dtype = torch.float64) -> CharCNN:
    torch.manual_seed(5)
    sizes = {"n_rows": PADDING + 1, "char_size": 3, "filters": FILTERS[name], "max_characters": 20}
    cnn = CharCNN(CharCNNConfig(**sizes, activation=activation, n_highway=0), 6)  # type: ignore[arg-type]
    for parameter in cnn.parameters():  # small numbers tie seldom and keep tanh away from its ends
        torch.nn.init.normal_(parameter, std=0.5)
    return cnn.to(dtype)


def words(*lengths: int, seed: int = 1) -> Tensor:
    """Rows of random characters with room for a window of padding alone behind each. *Shape:* (N, C) int32."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.full((len(lengths), max(lengths) + WIDEST), PADDING, dtype=torch.int32)
    for row, length in zip(found, lengths, strict=True):
        row[:length] = torch.randint(1, PADDING, (length,), generator=generator)
    return found


def found_by(cnn: CharCNN, groups: list[Tensor], plain: bool) -> list[Tensor]:
    """Values, then the gradients of the table and of every weight, for one cotangent."""
    if plain:
        values = torch.cat([cnn.convolve(cnn.table(group)) for group in groups])
    else:
        values = convolve(cnn, groups, cnn.table.weight.dtype)
    torch.manual_seed(7)
    of = [cnn.table.weight, *cnn.convolutions.parameters()]
    return [values, *torch.autograd.grad(values, of, torch.randn_like(values))]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("name", FILTERS)
def test_values_and_gradients_are_those_of_the_plain_form(
    name: str, activation: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_pair", [])
    cnn, groups = network(name, activation), [words(3, 5, 2), words(9, 8), words(13, seed=2)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for found, expected in zip(found_by(cnn, groups, False), found_by(cnn, groups, True), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)
        assert len(workers._pair) == threads - 1
    finally:
        torch.set_num_threads(before)


def test_windows_that_tie_share_one_gradient() -> None:
    """A repeated letter gives equal windows; counting each would multiply the gradient."""
    cnn, groups = network(), [torch.tensor([[3, 3, 3, 3, 3, 3, *[PADDING] * 6]], dtype=torch.int32)]
    scores = cnn.convolutions[0](cnn.table(groups[0]).transpose(1, 2))
    assert bool((scores == scores.amax(dim=2, keepdim=True)).sum(dim=2).gt(1).all())
    for found, expected in zip(found_by(cnn, groups, False), found_by(cnn, groups, True), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


def test_the_mask_character_gets_no_gradient() -> None:
    cnn = network()
    of_table = found_by(cnn, [torch.tensor([[4, 0, 0, 0, 0, 0]], dtype=torch.int32)], False)[1]
    assert not of_table[0].any()
    assert of_table[4].any()


def test_half_precision_is_within_a_hundredth_of_single() -> None:
    cnn, groups = network(dtype=torch.float32), [words(3, 5, 2), words(9, 8)]
    single, half = convolve(cnn, groups), convolve(cnn, groups, torch.bfloat16)
    assert half.dtype == torch.float32
    assert 1e-5 < float((half - single).detach().norm() / single.detach().norm()) < 0.01
