"""Small models for tests: those of tests/data, and random ones of any shape; the plain path to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from polyseme.bilm import BiLM, BiLMConfig
from polyseme.engine import States
from polyseme.formats import allennlp
from polyseme.formats.model import Model
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.text.chars import Characters
from polyseme.text.vocab import Vocabulary
from polyseme.text.word_table import WordTable

Array = npt.NDArray[np.float32]
DATA = Path(__file__).parent / "data"
HIGHWAY2 = DATA / "allennlp-char" / "highway2"
WORDS = ("<S>", "</S>", "<UNK>", "The", "bank", "raised", "its", "rates", ".", "river")


def published_model() -> Model:
    """A tiny model whose vectors AllenNLP computed."""
    return allennlp.read(HIGHWAY2)


def random_model(seed: int = 1, *, softmax: bool = False, **changes: object) -> Model:
    """A biLM of random weights; `changes` are fields of `BiLMConfig`. Biases, too, are random, and clips act."""
    sizes: dict[str, object] = {"n_layers": 2, "projection_size": 5, "cell_size": 7, "cell_clip": 1.2}
    sizes |= {"projection_clip": 0.6, "char_cnn": CharCNNConfig(char_size=3, filters=((1, 3), (3, 4)), n_highway=1)}
    if softmax:
        sizes["softmax_size"] = len(WORDS)
    config = BiLMConfig(**(sizes | changes))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    bilm = BiLM(config).eval().requires_grad_(False)
    for name, tensor in sorted(bilm.state_dict().items()):
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * (1.5 if "table" in name else 0.6))
    if bilm.encoder.char_cnn is not None:
        bilm.encoder.char_cnn.table.weight[0] = 0.0
    characters = Characters(max_characters=config.char_cnn.max_characters) if config.char_cnn else None
    words = WordTable((*WORDS, *(f"w{i}" for i in range(len(WORDS), config.n_words))), 0, 1, 2)
    return Model(
        bilm,
        characters=characters,
        words=words if config.reads_words else None,
        vocabulary=Vocabulary(WORDS) if softmax else None,
    )


def plain(
    model: Model, sentences: Sequence[Sequence[str]], states: States | None = None
) -> tuple[list[Array], States | None]:
    """`BiLM.forward` over one padded batch: (L + 1, T, 2P) a sentence, <S> and </S> removed, and the end states."""
    lengths = [len(sentence) + 2 for sentence in sentences]
    start, end = model.boundaries
    rows = [[start, *s, end, *[""] * (max(lengths) - len(s) - 2)] for s in sentences]
    chars, table = model.characters, model.words
    with torch.no_grad():
        output = model.bilm(
            torch.stack([torch.from_numpy(chars.encode(row)) for row in rows]) if chars else None,
            torch.stack([torch.from_numpy(table.rows(row)) for row in rows]) if table else None,
            torch.tensor(lengths),
            states,
        )
    layers = torch.stack(output.layers)  # Shape: (L + 1, B, T, 2P)
    return [layers[:, row, 1 : n - 1].numpy() for row, n in enumerate(lengths)], output.states


def difference(found: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest difference; shapes must agree."""
    assert [a.shape for a in found] == [b.shape for b in expected]
    return max((float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True) if a.size), default=0.0)
