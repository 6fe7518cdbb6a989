"""The fast path equals the plain modules: any sizes, any lengths, both kernels. Its errors would be silent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import random_model
from torch import Tensor

from polyseme.errors import OptionError
from polyseme.nn import packed
from polyseme.nn.char_cnn import CharCNN, CharCNNConfig
from polyseme.nn.lstm import LSTMStack, LSTMState
from polyseme.nn.packed import (
    CONVOLUTION_TILE,
    HIGHWAY_TILE,
    KERNELS,
    LENGTH_STEPS,
    Arithmetic,
    PackedCharCNN,
    PackedLinear,
    PackedLSTM,
    default_kernel,
)
from polyseme.text.chars import Characters

CNN = CharCNNConfig(char_size=3, filters=((1, 3), (2, 4), (5, 6)), n_highway=1)
kernels = st.sampled_from(KERNELS)


def close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-5 of the larger of one and the largest value."""
    scale = max(1.0, float(expected.abs().max()) if expected.numel() else 0.0)
    assert found.shape == expected.shape
    assert not found.numel() or float((found - expected).abs().max()) <= 1e-5 * scale


def cnn_of(config: CharCNNConfig, size: int = 5, seed: int = 1) -> CharCNN:
    encoder = random_model(seed, char_cnn=config, projection_size=size).bilm.encoder
    assert encoder.char_cnn is not None
    return encoder.char_cnn


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_product_is_the_plain_product(kernel: str, bias: bool) -> None:
    torch.manual_seed(1)
    weight, x, other = torch.randn(37, 19), torch.randn(50, 19), torch.randn(50, 37)
    offset = torch.randn(37) if bias else None
    linear = PackedLinear(weight, offset, Arithmetic(kernel))
    with torch.inference_mode():
        close(linear(x), x @ weight.T + (offset if bias else 0.0))
        if not bias:
            kept = other.clone()
            close(linear.plus(x, other), x @ weight.T + kept)
            assert torch.equal(other, kept)
            close(linear.plus(x[3:4], other[3:4]), (x @ weight.T + kept)[3:4])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n_layers=st.integers(1, 3),
    size=st.integers(1, 9),
    cells=st.integers(1, 12),
    residual=st.booleans(),
    cell_clip=st.sampled_from([None, 0.4, 3.0]),
    projection_clip=st.sampled_from([None, 0.3, 3.0]),
    forget_bias=st.sampled_from([0.0, 1.0]),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    kernel=kernels,
    table_values=st.sampled_from([0, 1 << 23]),
)
def test_packed_lstms_equal_the_plain_stack_in_every_layer_and_state(
    seed: int, n_layers: int, size: int, cells: int, residual: bool, cell_clip: float | None,
    projection_clip: float | None, forget_bias: float, lengths: list[int], kernel: str, table_values: int,
) -> None:  # fmt: skip
    model = random_model(
        seed, n_layers=n_layers, projection_size=size, cell_size=cells, residual=residual, cell_clip=cell_clip,
        projection_clip=projection_clip, forget_bias=forget_bias,
    )  # fmt: skip
    stack = model.bilm.forward_layers
    assert isinstance(stack, LSTMStack)
    lengths = sorted(lengths, reverse=True)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), lengths[0], size, generator=generator)
    start = LSTMState(
        torch.randn(n_layers, len(lengths), size, generator=generator),
        torch.randn(n_layers, len(lengths), cells, generator=generator),
    )
    expected, expected_end = stack(x, torch.tensor(lengths), start)
    rows = [sum(length > step for length in lengths) for step in range(lengths[0])]
    together = torch.cat([x[:alive, step] for step, alive in enumerate(rows)])
    kept = LSTMState(start.hidden.clone(), start.cell.clone())
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(packed, "TABLE_VALUES", table_values)
        # A word may occur more than once: every vector is given twice, and each token takes one of the two.
        index = torch.arange(len(together)) + len(together) * torch.randint(2, (len(together),), generator=generator)
        words = torch.cat([together, together])
        layers, end = PackedLSTM(stack, Arithmetic(kernel)).run(words, index, rows, start)
    for layer, plain in zip(layers, expected, strict=True):
        close(layer, torch.cat([plain[:alive, step] for step, alive in enumerate(rows)]))
    close(end.hidden, expected_end.hidden)
    close(end.cell, expected_end.cell)
    assert torch.equal(start.hidden, kept.hidden)  # the caller's state is only read
    assert torch.equal(start.cell, kept.cell)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    activation=st.sampled_from(["relu", "tanh"]),
    n_highway=st.integers(0, 2),
    location=st.sampled_from(["after_highway", "after_cnn", "none"]),
    layer_norm=st.booleans(),
    filters=st.lists(
        st.tuples(st.integers(1, 7), st.integers(1, 5)), min_size=1, max_size=4, unique_by=lambda pair: pair[0]
    ),
    max_characters=st.sampled_from([7, 12, 30, 50]),
    kernel=kernels,
)
def test_words_of_every_length_get_the_plain_networks_vectors(
    seed: int, activation: str, n_highway: int, location: str, layer_norm: bool,
    filters: list[tuple[int, int]], max_characters: int, kernel: str,
) -> None:  # fmt: skip
    """Every length from no character to beyond the cut; both marks; a filter as wide as the word is allowed to be."""
    config = dataclasses.replace(
        CNN, filters=tuple(filters), n_highway=n_highway, activation=activation, projection_location=location,
        layer_norm=layer_norm and location != "none", max_characters=max_characters,
    )  # fmt: skip
    size = config.n_filters if location == "none" else 5
    cnn, characters = cnn_of(config, size, seed), Characters(max_characters=max_characters)
    words = ["", "<S>", "</S>", *(chr(97 + n % 26) * n for n in range(1, 61)), "é" * 24, "两个字"]
    ids = torch.from_numpy(characters.encode(words))
    fast = PackedCharCNN(cnn, characters.padding, Arithmetic(kernel))
    with torch.inference_mode():
        for word, row, length in zip(words, ids, characters.lengths(words).tolist(), strict=True):
            found = fast.finish(fast.convolve(row.unsqueeze(0), fast.step_of(length)))
            expected = cnn(row.unsqueeze(0))
            scale = max(1.0, float(expected.abs().max()))
            assert float((found - expected).abs().max()) <= 1e-5 * scale, (word, length)


def test_only_lengths_whose_windows_fit_take_the_short_way() -> None:
    fast = PackedCharCNN(cnn_of(dataclasses.replace(CNN, filters=((7, 3),))), 261, Arithmetic("torch"))
    assert fast.step_of(3) == LENGTH_STEPS[0]
    assert fast.step_of(max(LENGTH_STEPS) + 1) == 0
    narrow = PackedCharCNN(
        cnn_of(dataclasses.replace(CNN, filters=((7, 3),), max_characters=9)), 261, Arithmetic("torch")
    )
    assert all(narrow.step_of(length) == 0 for length in range(3, 10))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_words_bits_do_not_depend_on_the_words_in_its_tile(kernel: str) -> None:
    fast, characters = PackedCharCNN(cnn_of(CNN, 16), 261, Arithmetic(kernel)), Characters()
    words = [f"w{n:02}" for n in range(CONVOLUTION_TILE)]
    ids = torch.from_numpy(characters.encode(words))
    with torch.inference_mode():
        step = fast.step_of(5)
        full = fast.convolve(ids, step)
        tile = fast.finish(full.repeat(HIGHWAY_TILE // CONVOLUTION_TILE, 1))
        for place in (0, 7, CONVOLUTION_TILE - 1):
            alone = fast.convolve(ids[place : place + 1], step)
            assert torch.equal(alone[0], full[place])
            assert torch.equal(fast.finish(alone)[0], tile[place])


def tame_reader() -> Callable[[Arithmetic], Tensor]:
    """Reads the same 60 words with the same weights, as a network starts with them.

    Those of `random_model` are wild, and magnify a rounding step by step.
    """
    torch.manual_seed(1)
    stack = LSTMStack(
        2, 32, 64, 32, residual=True, cell_clip=3.0, projection_clip=3.0, forget_bias=1.0
    ).requires_grad_(False)  # fmt: skip
    x, index, start = torch.randn(60, 32), torch.arange(60), stack.zero_state(6)
    return lambda how: PackedLSTM(stack, how).run(x, index, [6] * 10, start)[0][-1]


def test_both_kernels_give_the_same_vectors() -> None:
    read = tame_reader()
    with torch.inference_mode():
        found = [read(Arithmetic(kernel)) for kernel in KERNELS]
    close(*found)


def test_the_kernel_rests_on_facts_about_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(capability: str, vendor: str, available: bool = True) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
            patch.setattr(torch.backends.mkldnn, "is_available", lambda: available)
            patch.setattr(packed, "_cpu_vendor", lambda: vendor)
            return default_kernel.__wrapped__()

    assert chosen("AVX2", "vendor_id : AuthenticAMD") == "onednn"
    assert chosen("AVX512", "vendor_id : GenuineIntel") == "torch"
    assert chosen("DEFAULT", "vendor_id : AuthenticAMD") == "torch"
    assert chosen("AVX2", "vendor_id : AuthenticAMD", available=False) == "torch"


def test_an_unknown_kernel_is_refused_by_name() -> None:
    with pytest.raises(OptionError, match="kernel must be one of torch, onednn, was: 'cuda'"):
        Arithmetic("cuda")


@pytest.mark.parametrize("kernel", KERNELS)
def test_bfloat16_rounds_products_a_little(kernel: str) -> None:
    read = tame_reader()
    with torch.inference_mode():
        exact, rounded = (read(Arithmetic(kernel, precision)) for precision in ("float32", "bfloat16"))
    assert rounded.dtype == torch.float32
    assert 1e-5 < float((exact - rounded).abs().max()) < 0.02 * float(exact.abs().max())


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(OptionError, match="precision"):
        Arithmetic("torch", "int8")
