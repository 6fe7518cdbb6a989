"""Real text to train on (tests/data/alice.txt), networks that learn it in seconds, and short recipes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from tiny import DATA
from torch import Tensor

from polyseme.bilm import BiLMConfig
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.transformer import TransformerConfig
from polyseme.text.chars import Characters
from polyseme.text.shards import Corpus
from polyseme.text.tokenize import tokenizer_for
from polyseme.training import checkpoint
from polyseme.training.config import TrainConfig
from polyseme.training.network import Dropout
from polyseme.training.outcome import read_log

TEXT = DATA / "alice.txt"
CNN = CharCNNConfig(char_size=4, filters=((1, 8), (2, 8), (3, 16)), n_highway=1)
LSTM = BiLMConfig(projection_size=8, cell_size=16, char_cnn=CNN)
TRANSFORMER = BiLMConfig(
    layers="transformer",
    projection_size=8,
    cell_size=1,
    char_cnn=replace(CNN, layer_norm=True),
    transformer=TransformerConfig(inner_size=16, n_heads=2, context=40),
)
SIZES = {"lstm": LSTM, "transformer": TRANSFORMER}
DROPOUT = Dropout(inputs=0.1, outputs=0.1, words=0.1, state_weights=0.1)


@cache
def sentences() -> tuple[tuple[str, ...], ...]:
    """The whole text: 351 sentences, 9,160 words."""
    tokenizer = tokenizer_for("en")
    lines = TEXT.read_text(encoding="utf-8").splitlines()
    return tuple(sentence.tokens for line in lines for sentence in tokenizer.sentences(line))


def corpus(train: int = 40, heldout: int = 8) -> Corpus:
    """The first sentences to train on; the last ones held out that fit into the Transformer."""
    short = [words for words in sentences() if len(words) <= 30]
    return Corpus.from_sentences(sentences()[:train], short[-heldout:], Characters(max_characters=16))


def brief(**changes: Any) -> TrainConfig:
    """A run of about thirty updates, each in the log."""
    config = TrainConfig(
        epochs=2, lanes=6, steps=20, warm_up=4, learning_rate=1e-2, log_every=1, checkpoint_every=5, dropout=Dropout()
    )
    return replace(config, **changes)


def events(folder: Path) -> list[dict[str, Any]]:
    """The log of a run without what a clock says."""
    clocks = {"seconds", "targets_per_second"}
    return [{name: value for name, value in event.items() if name not in clocks} for event in read_log(folder)]


def weights(folder: Path) -> dict[str, Tensor]:
    """The model of a run, and the tensors of its last checkpoint."""
    newest = load_file(checkpoint.found(folder)[-1])
    model = load_file(folder / "model.safetensors")
    return {f"model.{name}": tensor for name, tensor in model.items()} | newest


def differences(left: Path, right: Path) -> dict[str, float]:
    """The tensors in which two runs ended differently, and by how much."""
    ours, theirs = weights(left), weights(right)
    assert ours.keys() == theirs.keys()
    return {name: float((ours[name] - theirs[name]).abs().max()) for name in ours if not ours[name].equal(theirs[name])}
