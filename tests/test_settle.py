"""The settled state is a fixed point of reading sentence boundaries, reached as `polyseme/settle.py` says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from polyseme.bilm import BiLM, BiLMConfig
from polyseme.errors import NotConvergedError, OptionError
from polyseme.formats import allennlp
from polyseme.formats.model import Model
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.lstm import LSTMState
from polyseme.nn.transformer import TransformerConfig
from polyseme.settle import encode_boundaries, mean_states, settled_states
from polyseme.text.chars import Characters
from polyseme.text.word_table import WordTable

TINY = Path(__file__).parent / "data" / "allennlp-char"
CNN = CharCNNConfig(char_size=3, filters=((1, 4), (2, 4)), n_highway=1)
SIZES = {"n_layers": 2, "projection_size": 6, "cell_size": 5}


@pytest.fixture(params=["highway2", "highway1", "tanh"])
def model(request: pytest.FixtureRequest) -> Model:
    return allennlp.read(TINY / request.param)


def random_model(**changes: object) -> Model:
    torch.manual_seed(7)
    config = dataclasses.replace(BiLMConfig(char_cnn=CNN, **SIZES), **changes)  # type: ignore[arg-type]
    words = WordTable(("<bos>", "<eos>", "<oov>", "bank"), 0, 1, 2) if config.reads_words else None
    characters = Characters() if config.reads_characters else None
    return Model(BiLM(config).eval(), characters=characters, words=words)


def read_boundaries(model: Model, states: tuple[LSTMState, LSTMState], times: int) -> tuple[LSTMState, LSTMState]:
    """The states after whole empty sentences, as the biLM itself reads them."""
    with torch.no_grad():
        for _ in range(times):
            output = model.bilm.contextualize(encode_boundaries(model), torch.tensor([2]), states)
            assert output.states is not None
            states = output.states
    return states


def furthest(a: tuple[LSTMState, LSTMState], b: tuple[LSTMState, LSTMState]) -> float:
    return max(float((x - y).abs().max()) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))


def test_one_more_empty_sentence_does_not_move_the_settled_state(model: Model) -> None:
    states, residual = settled_states(model)
    assert residual <= 1e-6
    assert furthest(states, read_boundaries(model, states, 1)) <= 1e-6
    config = model.bilm.config
    for state in states:
        assert state.hidden.shape == (config.n_layers, 1, config.projection_size)
        assert state.cell.shape == (config.n_layers, 1, config.cell_size)
        assert state.hidden.abs().max() > 0.01  # zeros would be a fixed point of nothing


def test_empty_sentences_read_by_the_bilm_lead_to_the_same_state(model: Model) -> None:
    """An independent route: the whole network, which reverses the backward direction by itself."""
    zero = (model.bilm.forward_layers.zero_state(1), model.bilm.backward_layers.zero_state(1))
    assert furthest(settled_states(model)[0], read_boundaries(model, zero, 300)) <= 5e-6


def test_a_looser_tolerance_stops_earlier_and_reports_the_residual(model: Model) -> None:
    (loose, residual), (tight, _) = settled_states(model, tolerance=0.05), settled_states(model)
    assert 1e-6 < residual <= 0.05
    assert 1e-6 < furthest(loose, tight) < 1


def test_too_few_passes_are_an_error_that_offers_zero(model: Model) -> None:
    with pytest.raises(NotConvergedError, match=r'forward state still moves by .* after 2 readings.*state="zero"'):
        settled_states(model, max_passes=2)


def test_a_state_to_be_stored_need_not_have_settled(model: Model) -> None:
    zero = (model.bilm.forward_layers.zero_state(1), model.bilm.backward_layers.zero_state(1))
    states, residual = settled_states(model, max_passes=2, must_converge=False)
    assert furthest(states, read_boundaries(model, zero, 2)) <= 1e-6
    assert residual == pytest.approx(furthest(states, read_boundaries(model, zero, 1)), abs=1e-6)
    assert residual > 1e-3


@pytest.mark.parametrize("encoder", ["word", "char_cnn+word"])
def test_models_that_read_words_settle_on_their_own_marks(encoder: str) -> None:
    cnn = dataclasses.replace(CNN, projection_location="none") if encoder == "char_cnn+word" else None
    model = random_model(encoder=encoder, char_cnn=cnn, n_words=4, word_size=6)
    states, residual = settled_states(model)
    assert residual <= 1e-6
    assert furthest(states, read_boundaries(model, states, 1)) <= 1e-6
    with torch.no_grad():
        model.bilm.encoder.words.weight[1] += 1.0  # type: ignore[union-attr, operator]
    assert furthest(states, settled_states(model)[0]) > 1e-3


def test_dropout_is_off_while_the_state_settles_and_on_again_after() -> None:
    model = random_model(dropout=0.5)
    expected, _ = settled_states(model)
    model.bilm.train()
    states, _ = settled_states(model)
    assert furthest(states, expected) == 0
    assert model.bilm.training
    assert model.bilm.forward_layers.training


def test_a_transformer_has_nothing_to_settle() -> None:
    model = random_model(layers="transformer", transformer=TransformerConfig(inner_size=4, n_heads=2))
    with pytest.raises(OptionError, match="Transformer biLM has no state"):
        settled_states(model)


def test_official_weights_settle_in_about_sixty_passes(official: Path) -> None:
    model = allennlp.read(official / "allennlp" / "test_fixtures" / "elmo" / "lm_weights.hdf5")
    assert settled_states(model, max_passes=65)[1] <= 1e-6
    with pytest.raises(NotConvergedError):
        settled_states(model, max_passes=50)


def test_the_mean_state_is_that_of_the_passages_read_one_by_one() -> None:
    model = random_model()
    passages = [
        [["The", "bank"], ["raised", "its", "rates", "."]],
        [["river"]],
        *[[["word"] * n, ["again"]] for n in range(1, 40)],
    ]
    found = mean_states(model, passages)
    start, end = model.boundaries
    for direction, state in enumerate(found):
        hidden, cell = [], []
        for passage in passages:
            zero = [LSTMState(torch.zeros(2, 1, 6), torch.zeros(2, 1, 5)) for _ in range(2)]
            states = (zero[0], zero[1])
            for words in passage:
                ids = torch.from_numpy(model.characters.encode([start, *words, end]))[None]  # type: ignore[union-attr]
                # `BiLM.forward` reads each sentence backward by itself, and carries the states as in training.
                states = model.bilm(ids, None, torch.tensor([len(words) + 2]), states).states
            hidden.append(states[direction].hidden)
            cell.append(states[direction].cell)
        torch.testing.assert_close(state.hidden, torch.stack(hidden).mean(0), rtol=0, atol=1e-6)
        torch.testing.assert_close(state.cell, torch.stack(cell).mean(0), rtol=0, atol=1e-6)


def test_the_mean_state_of_nothing_and_of_a_transformer_is_refused() -> None:
    with pytest.raises(OptionError, match="no passage"):
        mean_states(random_model(), [])
    transformer = random_model(layers="transformer", transformer=TransformerConfig(4, 2, context=9))
    with pytest.raises(OptionError, match="no state"):
        mean_states(transformer, [[["a"]]])
