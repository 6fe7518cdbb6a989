"""ELMo as AllenNLP had it: `Elmo`, `batch_to_ids`, `ElmoEmbedder`; old code changes one import.

Signatures, shapes, defaults and the names in state dicts are those of allennlp 2.10.1 `modules/elmo.py` and
`modules/encoder_base.py`, and of allennlp 0.9 `commands/elmo.py` (`ElmoEmbedder`). What is ours is keyword-only:

* `state`: "carry", AllenNLP's way and the default, starts each row where the same row of the call before ended, so the
  same sentence gets other vectors each time; "settled" and "zero" start every sentence alike.
* `Elmo.from_model` opens every layout that Polyseme reads, as long as it is an LSTM over characters.

The plain differentiable layers run here, in training and out of it. To embed much text, `polyseme.load` is faster.

Legend: `B` sentences, `T` tokens, `C` character positions (50), `L` layers, `P` projection width, `H` cells.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from polyseme import fetch
from polyseme.elmo_bilm import UTF8, ElmoBiLM
from polyseme.errors import InputError, OptionError
from polyseme.formats import allennlp
from polyseme.formats.folder import open_model
from polyseme.formats.model import Model
from polyseme.nn.mix import ScalarMix
from polyseme.text.chars import Characters

Source = str | Path

DEFAULT_OPTIONS_FILE, DEFAULT_WEIGHT_FILE = (fetch.BUCKETS[1] + path for path in fetch.PUBLISHED["elmo-original"])

logger = logging.getLogger(__name__)


def batch_to_ids(batch: Sequence[Sequence[str]], characters: Characters = UTF8) -> Tensor:
    """Character ids of tokenized sentences, zero beyond a sentence's end. *Shape:* -> (B, T, C) int64.

    `characters`: the alphabet of a model that does not read UTF-8 bytes. Raises `InputError` for a string where a list
    of tokens belongs.
    """
    for sentence in batch:
        if isinstance(sentence, str):
            raise InputError(f"a sentence is a list of tokens, was the string {sentence[:40]!r}; split it first")
    longest = max((len(sentence) for sentence in batch), default=0)
    ids = torch.zeros(len(batch), longest, characters.max_characters, dtype=torch.int64)
    for row, sentence in zip(ids, batch, strict=True):
        if sentence:
            row[: len(sentence)] = torch.from_numpy(characters.encode(sentence))
    return ids


class Elmo(nn.Module):
    """Weighted sums of a biLM's layers, one for each of `num_output_representations` (`scalar_mix_0`, ...).

    `options_file`, `weight_file`: paths, or addresses that `polyseme.fetch` resolves. `requires_grad` trains the whole
    biLM too. `do_layer_norm`: each layer is first normalised over the batch's tokens (the result then depends on the
    batch). `dropout`: on the sums, in training. `scalar_mix_parameters`: fixed weights BEFORE the softmax.
    `vocab_to_cache`: words whose vectors are computed once, for `word_inputs`. `module`: another biLM, with
    `num_layers` and AllenNLP's outputs; then both files are None. `state`: what a sentence starts from (see above).
    Raises `FetchError`, `DamagedModelError`, `UnsupportedModelError`, `OptionError`.
    """

    def __init__(
        self,
        options_file: Source | None,
        weight_file: Source | None,
        num_output_representations: int,
        requires_grad: bool = False,
        do_layer_norm: bool = False,
        dropout: float = 0.5,
        vocab_to_cache: list[str] | None = None,
        keep_sentence_boundaries: bool = False,
        scalar_mix_parameters: Sequence[float] | None = None,
        module: nn.Module | None = None,
        *,
        state: str = "carry",
    ) -> None:
        super().__init__()
        if module is None:
            model = _read(options_file, weight_file)
            module = ElmoBiLM(model, requires_grad=requires_grad, vocab_to_cache=vocab_to_cache, state=state)
        elif options_file is not None or weight_file is not None or state != "carry":
            raise OptionError("with module=, options_file and weight_file are None and the state is the module's own")
        self._elmo_lstm: Any = module
        self._has_cached_vocab = vocab_to_cache is not None
        self._keep_sentence_boundaries = keep_sentence_boundaries
        self._dropout = nn.Dropout(p=dropout)
        for k in range(num_output_representations):
            fixed = scalar_mix_parameters
            mix = ScalarMix(module.num_layers, layer_norm=do_layer_norm, initial=fixed, trainable=fixed is None)  # type: ignore[arg-type]
            self.add_module(f"scalar_mix_{k}", mix)
        self._n_mixes = num_output_representations

    @classmethod
    def from_model(
        cls,
        model: Model | Source,
        num_output_representations: int,
        requires_grad: bool = False,
        *,
        vocab_to_cache: list[str] | None = None,
        state: str = "carry",
        **options: Any,
    ) -> Self:
        """As the constructor, with its other `options`, from a `Model`, which is copied, or any path or name of one."""
        opened = model if isinstance(model, Model) else open_model(fetch.resolve(model))
        bilm = ElmoBiLM(opened, requires_grad=requires_grad, vocab_to_cache=vocab_to_cache, state=state)
        return cls(None, None, num_output_representations, vocab_to_cache=vocab_to_cache, module=bilm, **options)

    def get_output_dim(self) -> int:
        """2P."""
        return int(self._elmo_lstm.get_output_dim())

    def reset_states(self, mask: Tensor | None = None) -> None:
        """Forgets what earlier calls left behind, or sets the rows to zero where `mask` (B,) is true."""
        self._elmo_lstm.reset_states(mask)

    def forward(self, inputs: Tensor, word_inputs: Tensor | None = None) -> dict[str, Any]:
        """*Shape:* inputs (B, ..., T, C) and perhaps word_inputs (B, ..., T) ->
        "elmo_representations": a list of (B, ..., T, 2P), "mask": (B, ..., T) bool; T + 2 with sentence boundaries.
        """
        if inputs.dim() < 3:
            raise OptionError(f"inputs must be (sentences, tokens, characters), was of shape {tuple(inputs.shape)}")
        if word_inputs is not None and not self._has_cached_vocab:
            logger.warning("word_inputs are ignored: this Elmo was made without vocab_to_cache")
            word_inputs = None
        outer = inputs.shape[:-2]
        output = self._elmo_lstm(
            inputs.flatten(0, len(outer) - 1), None if word_inputs is None else word_inputs.flatten(0, len(outer) - 1)
        )
        layers, mask = output["activations"], output["mask"]
        representations = []
        for k in range(self._n_mixes):
            mixed = getattr(self, f"scalar_mix_{k}")(layers, mask)
            mixed = mixed if self._keep_sentence_boundaries else _without_boundaries(mixed, mask)[0]
            representations.append(self._dropout(mixed).unflatten(0, outer))
        inner = mask if self._keep_sentence_boundaries else _without_boundaries(layers[0], mask)[1]
        return {"elmo_representations": representations, "mask": inner.unflatten(0, outer)}


def _read(options_file: Source | None, weight_file: Source | None) -> Model:
    if options_file is None or weight_file is None:
        raise OptionError("Elmo needs options_file and weight_file, or module=; Elmo.from_model opens other layouts")
    return allennlp.read_files(fetch.resolve(options_file), fetch.resolve(weight_file))


def _without_boundaries(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """<S> and </S> cut off, zeros behind the words. *Shape:* (B, T + 2, size), (B, T + 2) -> (B, T, size), (B, T)."""
    inner = mask[:, 2:]  # a sentence of n words has n + 2 true entries
    return x[:, 1:-1] * inner.unsqueeze(-1), inner


class ElmoEmbedder:
    """All layers of tokenized sentences as numpy arrays (allennlp 0.9 `commands/elmo.py`), state carried by default."""

    def __init__(
        self,
        options_file: Source = DEFAULT_OPTIONS_FILE,
        weight_file: Source = DEFAULT_WEIGHT_FILE,
        cuda_device: int = -1,
        *,
        state: str = "carry",
    ) -> None:
        self.elmo_bilm = ElmoBiLM(_read(options_file, weight_file), state=state).eval()
        self.cuda_device = cuda_device
        if cuda_device >= 0:
            self.elmo_bilm.cuda(cuda_device)

    @torch.no_grad()
    def batch_to_embeddings(self, batch: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """*Shape:* B sentences -> (B, L + 1, T, 2P), mask (B, T)."""
        ids = batch_to_ids(batch).to(next(self.elmo_bilm.parameters()).device)
        output = self.elmo_bilm(ids)
        inner = [_without_boundaries(layer, output["mask"]) for layer in output["activations"]]
        return torch.stack([layer for layer, _ in inner], dim=1), inner[0][1]

    def embed_sentence(self, sentence: Sequence[str]) -> npt.NDArray[np.float32]:
        """*Shape:* T tokens -> (L + 1, T, 2P)."""
        return self.embed_batch([sentence])[0]

    def embed_batch(self, batch: Sequence[Sequence[str]]) -> list[npt.NDArray[np.float32]]:
        """*Shape:* B sentences -> B arrays (L + 1, T, 2P), each of its own T."""
        if not any(batch):  # nothing to read: AllenNLP leaves the state alone, too
            return [
                np.zeros((self.elmo_bilm.num_layers, 0, self.elmo_bilm.get_output_dim()), np.float32) for _ in batch
            ]
        embedded = self.batch_to_embeddings(batch)[0].cpu().numpy()
        return [layers[:, : len(sentence)] for layers, sentence in zip(embedded, batch, strict=True)]

    def embed_sentences(
        self, sentences: Iterable[Sequence[str]], batch_size: int = 64
    ) -> Iterator[npt.NDArray[np.float32]]:
        """The arrays of `embed_batch`, sentence after sentence, in batches of `batch_size` in the given order."""
        if batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, was: {batch_size}")
        waiting = iter(sentences)
        while batch := list(islice(waiting, batch_size)):
            yield from self.embed_batch(batch)
