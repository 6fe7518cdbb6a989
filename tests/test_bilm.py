"""The whole network: which way each direction looks, what padding and states do, which sizes make no network."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import difference, plain, published_model, random_model
from torch import Tensor

from polyseme.bilm import BiLM, BiLMConfig, reverse
from polyseme.errors import OptionError
from polyseme.formats.model import Model
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.transformer import TransformerConfig

TRANSFORMER = {"layers": "transformer", "transformer": TransformerConfig(4, 2), "projection_size": 6}
SENTENCE = ["The", "bank", "raised", "its", "rates", "."]


@pytest.fixture(params=["lstm", "transformer", "words"])
def model(request: pytest.FixtureRequest) -> Model:
    if request.param == "words":
        return random_model(encoder="word", char_cnn=None, n_words=12, word_size=4)
    return random_model(**(TRANSFORMER if request.param == "transformer" else {}))  # type: ignore[arg-type]


def test_neither_direction_peeks_at_the_words_it_is_to_predict(model: Model) -> None:
    """Word 3 changes: forward vectors of words 0..2 and backward vectors of 4.. stay as they are, all others move."""
    changed = [*SENTENCE[:3], "river", *SENTENCE[4:]]
    ((before,), _), ((after,), _) = plain(model, [SENTENCE]), plain(model, [changed])
    size = model.bilm.config.projection_size
    moved = abs(after - before).max(axis=2) > 0
    for layer in range(1, model.bilm.config.n_layers + 1):
        forward = abs(after[layer, :, :size] - before[layer, :, :size]).max(axis=1) > 1e-6
        backward = abs(after[layer, :, size:] - before[layer, :, size:]).max(axis=1) > 1e-6
        assert forward.tolist() == [False] * 3 + [True] * 3
        assert backward.tolist() == [True] * 4 + [False] * 2
    assert moved[0].tolist() == [False, False, False, True, False, False]


def test_the_backward_direction_is_its_own_layers_over_the_sentence_reversed() -> None:
    model, mirrored = random_model(1), random_model(2)
    encoder, left, right = (model.bilm.encoder, model.bilm.forward_layers, model.bilm.backward_layers)
    mirrored.bilm.encoder.load_state_dict(encoder.state_dict())
    mirrored.bilm.forward_layers.load_state_dict(right.state_dict())
    mirrored.bilm.backward_layers.load_state_dict(left.state_dict())
    x, lengths = torch.randn(1, 5, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([5])
    with torch.no_grad():
        ours = model.bilm.contextualize(x, lengths).layers[2][0]
        theirs = mirrored.bilm.contextualize(x.flip(1), lengths).layers[2][0].flip(0)
    torch.testing.assert_close(ours, torch.cat([theirs[:, 5:], theirs[:, :5]], dim=1))


def test_layer_0_is_the_token_vector_twice(model: Model) -> None:
    (layers,), _ = plain(model, [SENTENCE])
    size = model.bilm.config.projection_size
    assert (layers[0, :, :size] == layers[0, :, size:]).all()
    (other,), _ = plain(model, [["bank", "The"]])
    assert difference([other[0, 0]], [layers[0, 1]]) <= 1e-6


def test_a_sentence_alone_and_padded_beside_others_has_the_same_vectors(model: Model) -> None:
    texts = [SENTENCE, ["bank"], [], ["The", "rates"]]
    together, _ = plain(model, texts)
    assert difference(together, [plain(model, [text])[0][0] for text in texts]) <= 1e-6


def test_reverse_turns_each_row_within_its_own_length() -> None:
    x = torch.arange(10.0).view(2, 5, 1)
    turned = reverse(x, torch.tensor([3, 5]))[..., 0].tolist()
    assert turned == [[2, 1, 0, 3, 4], [9, 8, 7, 6, 5]]


def test_a_literal_boundary_in_the_text_is_the_boundary_itself() -> None:
    """As AllenNLP reads it: expected.json holds the sentence `A literal </S> and <S>`."""
    model = published_model()
    (layers,), _ = plain(model, [["a", "</S>"]])
    characters = model.characters
    assert characters is not None
    with torch.no_grad():
        end = model.bilm.encoder(torch.from_numpy(characters.encode(["</S>"])), None)[0]
    torch.testing.assert_close(torch.from_numpy(layers[0, 1, :8]), end, atol=1e-6, rtol=0)


def test_the_softmax_gives_log_probabilities_that_sum_to_one() -> None:
    model = random_model(softmax=True)
    assert model.bilm.softmax is not None
    scores: Tensor = model.bilm.softmax(torch.randn(3, 2, 5))
    assert scores.shape == (3, 2, 10)
    torch.testing.assert_close(scores.exp().sum(dim=-1), torch.ones(3, 2))


def test_gradients_reach_every_weight_but_the_mask(model: Model) -> None:
    model.bilm.requires_grad_(True)
    characters, words = model.characters, model.words
    row = ["<S>", *SENTENCE, "</S>"]
    output = model.bilm(
        torch.from_numpy(characters.encode(row)).unsqueeze(0) if characters else None,
        torch.from_numpy(words.rows(row)).unsqueeze(0) if words else None,
        torch.tensor([len(row)]),
    )
    weights = torch.randn_like(output.layers[-1])  # a plain sum would vanish behind a layer norm
    (output.layers[-1] * weights).sum().backward()
    silent = [name for name, weight in model.bilm.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == []


def test_what_the_encoder_reads_must_be_given() -> None:
    with pytest.raises(OptionError, match="reads character ids, and none were given"):
        random_model().bilm.encoder(None, None)
    words = random_model(encoder="word", char_cnn=None, n_words=12, word_size=4)
    with pytest.raises(OptionError, match="reads word ids, and none were given"):
        words.bilm(None, None, torch.tensor([1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "bytes"}, "encoder must be one of char_cnn, word, .*'bytes'"),
        ({"layers": "gru"}, "layers must be lstm or transformer, was: 'gru'"),
        ({"layers": "transformer"}, "needs `transformer` sizes"),
        ({"transformer": TransformerConfig(4, 2)}, "an LSTM biLM none"),
        ({"char_cnn": None}, "contradict each other"),
        ({"encoder": "word"}, "contradict each other"),
        ({"encoder": "word", "char_cnn": None}, "needs n_words and word_size, were: 0, 0"),
        ({"n_layers": 0}, "must be at least 1, were: 0, 512, 4096"),
        ({"cell_size": -1}, "must be at least 1, were: 2, 512, -1"),
    ],
)
def test_sizes_that_make_no_network_are_refused_by_value(change: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        dataclasses.replace(BiLMConfig(), **change)  # type: ignore[arg-type]


def test_the_default_is_the_published_original() -> None:
    """2x4096_512_2048cnn_2xhighway has 93.6 million parameters (allennlp.org/elmo), without the softmax."""
    with torch.device("meta"):
        bilm = BiLM(BiLMConfig())
    assert sum(weight.numel() for weight in bilm.parameters()) == pytest.approx(93.6e6, rel=1e-3)
    small = BiLMConfig(projection_size=128, cell_size=1024, char_cnn=CharCNNConfig(n_highway=1))
    with torch.device("meta"):
        assert sum(weight.numel() for weight in BiLM(small).parameters()) == pytest.approx(13.6e6, rel=3e-3)
