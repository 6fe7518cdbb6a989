"""What opening a published ELMo gives: the network, how words enter it, and what is known about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from torch import Tensor

from polyseme.bilm import BiLM, BiLMConfig
from polyseme.errors import DamagedModelError, PolysemeError, UnknownFormatError
from polyseme.nn.lstm import LSTMState
from polyseme.text.chars import SENTENCE_END, SENTENCE_START, Characters
from polyseme.text.config import TextConfig
from polyseme.text.vocab import Vocabulary
from polyseme.text.word_table import WordTable

REFETCH = "fetch the model again"


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
    `counts`: how often each of them came in the training text (int64), where the folder stores it.
    `settled`: the state of both directions from which sentences start, where the folder stores it: the fixed point of
    sentence boundaries, with its residual; or, where that is None, the mean state at which sentences begin.
    """

    bilm: BiLM
    characters: Characters | None = None
    words: WordTable | None = None
    vocabulary: Vocabulary | None = None
    text: TextConfig = field(default_factory=TextConfig)
    card: ModelCard = field(default_factory=ModelCard)
    settled: tuple[LSTMState, LSTMState] | None = None
    settled_residual: float | None = None
    counts: npt.NDArray[np.int64] | None = None

    @property
    def boundaries(self) -> tuple[str, str]:
        """The words for sentence start and end: `<S>` and `</S>`, or as the model's makers spelt them."""
        if self.characters is not None:
            return self.characters.boundaries
        return self.words.boundaries if self.words is not None else (SENTENCE_START, SENTENCE_END)

    def hash(self) -> str:
        """SHA-256 over names, shapes and values of all tensors, in name order: the identity of the weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.bilm.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
        return digest.hexdigest()


def assemble(config: BiLMConfig, tensors: dict[str, Tensor], source: Path) -> BiLM:
    """The network of `config` around `tensors`, named as in its state dict; nothing is allocated for a wrong size.

    Raises `DamagedModelError` where a tensor is missing, unknown or of another shape than the configuration says.
    """
    with torch.device("meta"):
        bilm = BiLM(config)
    expected = {name: tuple(tensor.shape) for name, tensor in bilm.state_dict().items()}
    if missing := sorted(set(expected) - set(tensors)):
        raise DamagedModelError(f"{source}: lacks {missing[0]} and {len(missing) - 1} more; {REFETCH}")
    if unknown := sorted(set(tensors) - set(expected)):
        raise DamagedModelError(f"{source}: holds {unknown[0]}, which its configuration does not know; {REFETCH}")
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            found = tuple(tensors[name].shape)
            raise DamagedModelError(f"{source}: {name} has shape {found}, its configuration says {shape}; {REFETCH}")
        if not tensors[name].is_floating_point():
            raise DamagedModelError(
                f"{source}: {name} holds {tensors[name].dtype}, not numbers with a point; {REFETCH}"
            )
    bilm.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return bilm.requires_grad_(False).eval()


@contextmanager
def damage_named(path: Path, reading: str) -> Iterator[None]:
    """Turns whatever a broken file makes a reader raise into one `DamagedModelError` that names the file.

    The libraries that read model files raise almost anything on flipped bits; our own errors pass unchanged.
    """
    try:
        yield
    except PolysemeError:
        raise
    except FileNotFoundError as error:
        raise UnknownFormatError(f"{error.filename or path} does not exist; give the path of a model") from error
    except MemoryError as error:
        raise DamagedModelError(f"{path}: {reading} asks for more memory than there is; {REFETCH}") from error
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        RuntimeError,
        EOFError,
        OverflowError,
        ArithmeticError,
        NotImplementedError,
        SafetensorError,
    ) as error:
        raise DamagedModelError(f"{path}: {reading} failed ({type(error).__name__}: {error}); {REFETCH}") from error
