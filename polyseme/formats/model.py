"""What opening a published ELMo gives: the network, how words enter it, and what is known about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch

from polyseme.bilm import BiLM
from polyseme.nn.lstm import LSTMState
from polyseme.text.chars import Characters
from polyseme.text.config import TextConfig
from polyseme.text.vocab import Vocabulary
from polyseme.text.words import WordTable


@dataclass(frozen=True)
class ModelCard:
    """Where a model comes from. Empty strings where its makers did not say.

    `perplexity`: exact held-out perplexity with its target count, as a report printed it.
    """

    name: str = ""
    source_format: str = ""
    data: str = ""
    licence: str = ""
    perplexity: str = ""
    recipe: str = ""


@dataclass(frozen=True)
class Model:
    """A biLM with everything that is needed to read text into it.

    `characters`: for models that read characters. `words`: the table of a model that reads whole words, in row order.
    `vocabulary`: the words of the softmax, in row order; also kept where only its word list was published.
    `settled`: the fixed point of both directions where the folder stores it, with its residual.
    """

    bilm: BiLM
    characters: Characters | None = None
    words: WordTable | None = None
    vocabulary: Vocabulary | None = None
    text: TextConfig = field(default_factory=TextConfig)
    card: ModelCard = field(default_factory=ModelCard)
    settled: tuple[LSTMState, LSTMState] | None = None
    settled_residual: float | None = None

    def hash(self) -> str:
        """SHA-256 over names, shapes and values of all tensors, in name order: the identity of the weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.bilm.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
        return digest.hexdigest()
