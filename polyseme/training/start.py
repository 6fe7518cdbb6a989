"""What a run starts from: random weights as the published recipe draws them, and which softmax row scores a word."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from polyseme.bilm import BiLM, BiLMConfig
from polyseme.nn.char_cnn import CharCNN
from polyseme.text.chars import SENTENCE_END, SENTENCE_START
from polyseme.text.shards import Corpus
from polyseme.text.streams import END, START
from polyseme.text.vocab import Vocabulary

# What a highway gate starts from: sigmoid(2) = 0.88 of the input passes (bilm-tf: -2 on the gate of the other side).
CARRY_BIAS = 2.0


def new_bilm(config: BiLMConfig, seed: int) -> BiLM:
    """Weights drawn from `seed` (bilm-tf `bilm/training.py`): characters U(-1, 1), filters U(-0.05, 0.05), or
    N(0, 1 / fan-in) before a tanh, highway, projections and softmax N(0, 1 / fan-in), biases 0, highway gates open. The
    other layers start as their modules say.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        bilm = BiLM(config)
        if bilm.encoder.char_cnn is not None:
            _start_characters(bilm.encoder.char_cnn)
        if bilm.softmax is not None:
            nn.init.normal_(bilm.softmax.weight, std=config.projection_size**-0.5)
    return bilm


@torch.no_grad()
def _start_characters(network: CharCNN) -> None:
    nn.init.uniform_(network.table.weight, -1.0, 1.0)
    network.table.weight[0] = 0.0
    for convolution in network.convolutions:
        assert isinstance(convolution, nn.Conv1d)
        if network.config.activation == "tanh":
            nn.init.normal_(convolution.weight, std=convolution.weight[0].numel() ** -0.5)
        else:
            nn.init.uniform_(convolution.weight, -0.05, 0.05)
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
    linears = [layer.linear for layer in network.highways]
    linears += [network.projection] if network.projection is not None else []
    for linear in linears:
        assert isinstance(linear, nn.Linear)
        nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        nn.init.zeros_(linear.bias)
        if linear is not network.projection:
            linear.bias[linear.out_features // 2 :] = CARRY_BIAS


def softmax_rows(corpus: Corpus, vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """The softmax row that scores each word type; that of <UNK> for types outside. *Shape:* (n_types,)."""
    rows = vocabulary.ids(corpus.words).astype(np.int64)
    rows[[START, END]] = vocabulary.id(SENTENCE_START), vocabulary.id(SENTENCE_END)
    return rows


def word_counts(corpus: Corpus, vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """How often each word of the vocabulary comes in the training part; <UNK>: all words outside. *Shape:* (V,)."""
    counts = np.zeros(len(vocabulary), dtype=np.int64)
    np.add.at(counts, softmax_rows(corpus, vocabulary), corpus.counts.astype(np.int64))
    return counts


def versions() -> dict[str, str]:
    """What a checkpoint was made with; results are the same on the same versions and machine only."""
    found = {}
    for package in ("polyseme", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
