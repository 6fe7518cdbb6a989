"""A language model's log probabilities the plain way: `BiLM.forward`, sentence after sentence, whole softmaxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from tiny import random_model

from polyseme.engine import States
from polyseme.formats.model import Model
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.transformer import TransformerConfig

Pair = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

TRANSFORMER = TransformerConfig(inner_size=6, n_heads=2, context=40)
BESIDE_WORDS = CharCNNConfig(char_size=3, filters=((1, 3), (3, 4)), n_highway=1, projection_location="none")
ENCODERS: dict[str, dict[str, object]] = {
    "characters": {},
    "words": {"encoder": "word", "n_words": 12, "word_size": 4, "char_cnn": None},
    "both": {"encoder": "char_cnn+word", "n_words": 12, "word_size": 4, "char_cnn": BESIDE_WORDS},
}
KINDS: dict[str, dict[str, object]] = {
    **ENCODERS,
    "transformer": {"layers": "transformer", "transformer": TRANSFORMER, "projection_size": 6},
}


def tiny_language_model(kind: str = "characters", seed: int = 1) -> Model:
    """A random model of one of KINDS with a softmax over ten words."""
    return random_model(seed, softmax=True, **KINDS[kind])


def log_distributions(
    model: Model, sentence: Sequence[str], states: States | None = None
) -> tuple[Pair, States | None]:
    """log softmax before each target, (n + 1, V) twice: w1 ... wn, </S> and <S>, w1 ... wn; the states behind."""
    start, end = model.boundaries
    words = [start, *sentence, end]
    characters, table = model.characters, model.words
    with torch.no_grad():
        output = model.bilm(
            torch.from_numpy(characters.encode(words)).unsqueeze(0) if characters else None,
            torch.from_numpy(table.rows(words)).unsqueeze(0) if table else None,
            torch.tensor([len(words)]),
            states,
        )
        softmax, size = model.bilm.softmax, model.bilm.config.projection_size
        assert softmax is not None
        top = output.layers[-1][0].double()  # Shape: (n + 2, 2P)
        halves = (top[:-1, :size], top[1:, size:])
        forward, backward = (
            torch.log_softmax(half @ softmax.weight.double().T + softmax.bias.double(), dim=1).numpy()
            for half in halves
        )
    return (forward, backward), output.states


def log_probabilities(
    model: Model, sentence: Sequence[str], states: States | None = None
) -> tuple[Pair, States | None]:
    """log p of each target, (n + 1,) twice, and the states behind the sentence."""
    (forward, backward), states = log_distributions(model, sentence, states)
    assert model.vocabulary is not None
    rows = [int(row) for row in model.vocabulary.ids(["<S>", *sentence, "</S>"])]
    places = range(len(sentence) + 1)
    return (forward[places, rows[1:]], backward[places, rows[:-1]]), states


def carried(model: Model, sentences: Sequence[Sequence[str]]) -> list[Pair]:
    """The same for a text in order: each direction goes on from where it ended the sentence before, first from zero."""
    states: States | None = None
    found = []
    for sentence in sentences:
        pair, states = log_probabilities(model, sentence, states)
        found.append(pair)
    return found
