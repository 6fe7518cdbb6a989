"""ScalarMix against AllenNLP's own output, and against the paper's formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny import HIGHWAY2, plain, published_model
from torch import Tensor

from polyseme.errors import OptionError
from polyseme.nn.mix import ScalarMix


@pytest.fixture(scope="module")
def allennlp() -> dict[str, Tensor]:
    with np.load(HIGHWAY2 / "expected.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def test_the_plain_mix_equals_allennlps(allennlp: dict[str, Tensor]) -> None:
    mix = ScalarMix(3, initial=[0.5, -1.0, 2.0])
    mixed = mix([layer.unsqueeze(0) for layer in allennlp["zero"]])[0]
    torch.testing.assert_close(mixed, allennlp["mix"], atol=1e-5, rtol=0)


def test_the_mix_with_layer_norm_equals_allennlps_over_the_padded_batch(allennlp: dict[str, Tensor]) -> None:
    """AllenNLP normalises over the words of the whole batch, <S> and </S> included."""
    import json

    sentences = json.loads((HIGHWAY2 / "expected.json").read_text(encoding="utf-8"))["sentences"]
    lengths = [len(sentence) for sentence in sentences]
    inner, edges = allennlp["zero"].split(lengths, dim=1), allennlp["boundaries"].split(2, dim=1)
    rows = [torch.cat([e[:, :1], x, e[:, 1:]], dim=1).transpose(0, 1) for x, e in zip(inner, edges, strict=True)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # Shape: (B, T, layers, 2P)
    mask = torch.arange(padded.size(1)) < torch.tensor([n + 2 for n in lengths]).unsqueeze(1)
    mix = ScalarMix(3, layer_norm=True, initial=[0.5, -1.0, 2.0])
    mixed = mix(list(padded.unbind(2)), mask)
    found = torch.cat([row[1 : n + 1] for row, n in zip(mixed, lengths, strict=True)])
    torch.testing.assert_close(found, allennlp["mix_norm"], atol=1e-5, rtol=0)


def test_a_fresh_mix_is_the_mean_of_the_layers() -> None:
    layers = [torch.randn(1, 4, 3) for _ in range(3)]
    torch.testing.assert_close(ScalarMix(3)(layers), torch.stack(layers).mean(dim=0))


def test_weights_pass_a_softmax_and_gamma_scales() -> None:
    mix = ScalarMix(2, initial=[math.log(3.0), 0.0])
    torch.testing.assert_close(mix.weights(), torch.tensor([0.75, 0.25]))
    with torch.no_grad():
        mix.gamma.fill_(2.0)
    mixed = mix([torch.ones(1, 1, 1), torch.full((1, 1, 1), 5.0)])
    assert mixed.item() == pytest.approx(2 * (0.75 * 1 + 0.25 * 5))


def test_one_parameter_a_layer_learns_unless_it_is_frozen() -> None:
    names = {"gamma", "scalar_parameters.0", "scalar_parameters.1"}
    assert {name for name, _ in ScalarMix(2).named_parameters()} == names
    mix = ScalarMix(2)
    mix([torch.ones(1, 1, 1), torch.zeros(1, 1, 1)]).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in mix.parameters())
    assert not any(parameter.requires_grad for parameter in ScalarMix(2, trainable=False).parameters())


def test_words_behind_the_mask_do_not_enter_the_norm() -> None:
    model = published_model()
    layers, _ = plain(model, [["The", "bank"]])
    stacked = [torch.from_numpy(layer).unsqueeze(0) for layer in layers[0]]
    spoiled = [torch.cat([layer, torch.full((1, 3, 16), 1e3)], dim=1) for layer in stacked]
    mix = ScalarMix(3, layer_norm=True)
    alone = mix(stacked, torch.ones(1, 2, dtype=torch.bool))
    padded = mix(spoiled, torch.tensor([[True, True, False, False, False]]))
    torch.testing.assert_close(alone, padded[:, :2], atol=1e-6, rtol=0)


def test_wrong_counts_and_a_missing_mask_are_refused() -> None:
    with pytest.raises(OptionError, match="3 layers needs 3 initial weights, was given 2"):
        ScalarMix(3, initial=[0.0, 0.0])
    with pytest.raises(OptionError, match="mix of 3 layers was given 2"):
        ScalarMix(3)([torch.ones(1, 1, 1)] * 2)
    with pytest.raises(OptionError, match="needs the mask"):
        ScalarMix(1, layer_norm=True)([torch.ones(1, 1, 1)])
