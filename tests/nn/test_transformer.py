"""The Transformer biLM: what each direction may see, what padding does, and the arithmetic against torch's own layers.

Its parity with AllenNLP is in tests/formats/test_transformer_elmo.py.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from polyseme.bilm import BiLM, BiLMConfig
from polyseme.errors import OptionError, TooLongError
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.lstm import LSTMState
from polyseme.nn.transformer import TransformerConfig, TransformerLayer, TransformerStack, positions

SIZE = 16


def small_bilm(seed: int = 0) -> BiLM:
    torch.manual_seed(seed)
    config = BiLMConfig(
        layers="transformer",
        n_layers=3,
        projection_size=SIZE,
        transformer=TransformerConfig(inner_size=12, n_heads=4, context=20),
        char_cnn=CharCNNConfig(filters=((1, 4), (2, 8)), char_size=4, layer_norm=True),
    )
    return BiLM(config).eval()


@torch.no_grad()
def layers(bilm: BiLM, x: Tensor, lengths: list[int]) -> Tensor:
    """*Shape:* (L + 1, B, T, 2P)."""
    return torch.stack(bilm.contextualize(x, torch.tensor(lengths)).layers)


def test_no_direction_sees_its_own_future() -> None:
    bilm, x = small_bilm(), torch.randn(1, 7, SIZE)
    before = layers(bilm, x, [7])[1:]
    for changed in range(7):
        other = x.clone()
        other[0, changed] += torch.randn(SIZE)
        difference = (layers(bilm, other, [7])[1:] - before).abs().amax(dim=(0, 1))  # Shape: (T, 2P)
        forward, backward = difference[:, :SIZE].amax(-1), difference[:, SIZE:].amax(-1)
        assert (forward[:changed] == 0).all()
        assert (forward[changed:] > 1e-4).all()
        assert (backward[changed + 1 :] == 0).all()
        assert (backward[: changed + 1] > 1e-4).all()


def test_padding_and_neighbours_do_not_change_a_sentence() -> None:
    bilm, x = small_bilm(), torch.randn(3, 9, SIZE)
    together = layers(bilm, x, [9, 4, 1])
    for row, length in enumerate([9, 4, 1]):
        alone = layers(bilm, x[row : row + 1, :length], [length])
        assert (together[:, row, :length] - alone[:, 0]).abs().max() < 1e-5
        assert (together[1:, row, length:] == 0).all()
    noisy = torch.where((torch.arange(9) < torch.tensor([[9], [4], [1]])).unsqueeze(-1), x, torch.full_like(x, 1e3))
    assert (layers(bilm, noisy, [9, 4, 1])[1:] - together[1:]).abs().max() == 0


def test_positions_count_from_the_left_in_both_directions() -> None:
    torch.manual_seed(1)
    config = TransformerConfig(inner_size=8, n_heads=2, context=9)
    forward = TransformerStack(2, SIZE, config).eval()
    backward = TransformerStack(2, SIZE, config, backward=True).eval()
    backward.load_state_dict(forward.state_dict())
    x, lengths = torch.randn(2, 5, SIZE), torch.tensor([5, 3])
    with torch.no_grad():
        seen = {}
        for stack in (forward, backward):
            stack.layers[0].register_forward_pre_hook(lambda _, inputs, name=stack: seen.update({name: inputs[0] - x}))
            stack(x, lengths)
    table = positions(torch.arange(5), SIZE)
    torch.testing.assert_close(seen[forward], table.expand(2, -1, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[backward][0], table.flip(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[backward][1, :3], table[:3].flip(0), atol=1e-6, rtol=0)


def test_positions_are_the_sines_of_the_paper() -> None:
    table = positions(torch.tensor([0, 1, 4999]), 4)
    expected = [
        [f(step / wavelength) for wavelength in (1, 100) for f in (math.sin, math.cos)] for step in (0, 1, 4999)
    ]
    torch.testing.assert_close(table, torch.tensor(expected), atol=1e-5, rtol=0)


def test_a_layer_is_torchs_own_pre_norm_encoder_layer() -> None:
    torch.manual_seed(2)
    ours = TransformerLayer(SIZE, TransformerConfig(inner_size=24, n_heads=4), dropout=0.0).eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.5)
    theirs = nn.TransformerEncoderLayer(
        SIZE, 4, 24, 0.0, layer_norm_eps=1e-12, batch_first=True, norm_first=True
    ).eval()
    attention = theirs.self_attn
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        attention.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        pairs = [(attention.out_proj, ours.output), (theirs.linear1, ours.expand), (theirs.linear2, ours.contract)]
        pairs += [(theirs.norm1, ours.attention_norm), (theirs.norm2, ours.feed_forward_norm)]
        for target, source in pairs:
            target.load_state_dict(source.state_dict())
        x, mask = torch.randn(2, 6, SIZE), nn.Transformer.generate_square_subsequent_mask(6)
        torch.testing.assert_close(ours(x), theirs(x, src_mask=mask, is_causal=True), atol=1e-5, rtol=1e-5)


def test_a_sentence_beyond_the_context_is_a_typed_error() -> None:
    bilm = small_bilm()
    assert layers(bilm, torch.randn(1, 20, SIZE), [20]).shape == (4, 1, 20, 2 * SIZE)
    with pytest.raises(TooLongError, match=r"21 tokens.*reads 20 at most"):
        layers(bilm, torch.randn(1, 21, SIZE), [21])


def test_a_state_is_refused() -> None:
    state = LSTMState(torch.zeros(3, 1, SIZE), torch.zeros(3, 1, SIZE))
    with pytest.raises(OptionError, match="no state"):
        small_bilm().contextualize(torch.randn(1, 3, SIZE), torch.tensor([3]), (state, state))


@pytest.mark.parametrize("size", [15, 18])
def test_a_width_that_does_not_split_into_heads_is_refused(size: int) -> None:
    with pytest.raises(OptionError, match="multiple of its 4 heads"):
        TransformerStack(1, size, TransformerConfig(n_heads=4))


def test_no_words_give_no_vectors() -> None:
    output = small_bilm()(torch.zeros(2, 0, 50, dtype=torch.long), None, torch.zeros(2, dtype=torch.long))
    assert [layer.shape for layer in output.layers] == [(2, 0, 2 * SIZE)] * 4
    assert output.states is None


def test_every_parameter_learns_and_padding_words_leave_no_nan() -> None:
    bilm = small_bilm().train()
    characters = torch.randint(1, 262, (2, 5, 50))
    characters[1, 3:] = 0
    bilm(characters, None, torch.tensor([5, 3])).layers[-1].square().sum().backward()
    for name, parameter in bilm.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # A key's bias adds the same to every score of a query, which the softmax cannot see.
        assert parameter.grad.abs().max() > 0 or name.endswith("key.bias"), name
