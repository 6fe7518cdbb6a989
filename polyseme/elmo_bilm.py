"""The biLM inside `polyseme.Elmo`, with AllenNLP's way of carrying state and its names in state dicts.

Facts: allennlp 2.10.1 `modules/elmo.py` (`_ElmoBiLm`, `_ElmoCharacterEncoder`), `modules/elmo_lstm.py`,
`modules/encoder_base.py` (states), `nn/util.py` (sentence boundaries).

Legend: `B` sentences, `T` tokens, `N` words, `C` character positions (50), `L` layers, `P` projection width, `H` cells.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from polyseme.bilm import BiLM
from polyseme.errors import InputError, OptionError, UnsupportedModelError
from polyseme.formats.model import Model, assemble
from polyseme.nn.lstm import LSTMStack, LSTMState
from polyseme.settle import settled_states
from polyseme.text.chars import SENTENCE_END, SENTENCE_START, Characters

States = tuple[LSTMState, LSTMState]

STARTS = ("carry", "settled", "zero")
UTF8 = Characters()
CACHE_CHUNK = 1024  # words

logger = logging.getLogger(__name__)


class StartState:
    """What each row of a batch starts from; reached as `elmo._elmo_lstm._elmo_lstm`, as in AllenNLP.

    With `stateful`, row i starts where row i of the call before ended; a row that was never used starts fresh, and a
    smaller batch leaves the rows it does not have as they were. What is kept has no history, so a second backward pass
    never fails (allennlp#1644).
    """

    def __init__(self, stateful: bool) -> None:
        self.stateful = stateful
        self._states: States | None = None

    def begin(self, fresh: States) -> States:
        """The start of a batch with as many rows as `fresh`. *Shape:* hidden (L, B, P), cell (L, B, H)."""
        if self._states is None or not self.stateful:
            return fresh
        return _stacked(self._states, fresh, fresh[0].hidden.size(1), like=fresh)

    def end(self, states: States) -> None:
        """Keeps where a batch ended."""
        if self.stateful:
            states = (states[0].detach(), states[1].detach())
            before = self._states or states
            rows = max(states[0].hidden.size(1), before[0].hidden.size(1))
            self._states = _stacked(states, before, rows, like=states)

    def reset_states(self, mask: Tensor | None = None) -> None:
        """Forgets all rows, or sets those to zero where `mask` (B,) is true.

        Raises `OptionError` for a mask of another size than the number of rows that are kept.
        """
        if mask is None or self._states is None:
            self._states = None
            return
        rows = self._states[0].hidden.size(1)
        if mask.shape != (rows,):
            raise OptionError(f"the mask of reset_states has shape {tuple(mask.shape)}, but {rows} rows are kept")
        for state in self._states:
            for tensor in state:
                tensor[:, mask.bool().to(tensor.device)] = 0.0


def _stacked(upper: States, lower: States, rows: int, like: States) -> States:
    """The first `rows` rows: those of `upper`, then those of `lower` behind its end; on the device of `like`."""

    def join(above: LSTMState, below: LSTMState) -> LSTMState:
        pairs = zip(above, below, strict=True)
        place = like[0].hidden
        return LSTMState(
            *(torch.cat([a[:, :rows].to(place), b[:, a.size(1) : rows].to(place)], dim=1) for a, b in pairs)
        )

    return join(upper[0], lower[0]), join(upper[1], lower[1])


# --- names in state dicts

# Each row: a pattern of our name inside the biLM, AllenNLP's (the other way: `formats/allennlp_names.py`).
_LAYER = r"(forward|backward)_layers\.layers\.(\d+)\."
_NAMES = (
    (r"encoder\.char_cnn\.table\.weight", "_token_embedder._char_embedding_weights"),
    (r"encoder\.char_cnn\.convolutions\.(\d+)\.(\w+)", r"_token_embedder.char_conv_\1.\2"),
    (r"encoder\.char_cnn\.highways\.(\d+)\.linear\.(\w+)", r"_token_embedder._highways._layers.\1.\2"),
    (r"encoder\.char_cnn\.projection\.(\w+)", r"_token_embedder._projection.\1"),
    (_LAYER + "input_weight", r"_elmo_lstm.\1_layer_\2.input_linearity.weight"),
    (_LAYER + "state_weight", r"_elmo_lstm.\1_layer_\2.state_linearity.weight"),
    (_LAYER + "bias", r"_elmo_lstm.\1_layer_\2.state_linearity.bias"),
    (_LAYER + "projection_weight", r"_elmo_lstm.\1_layer_\2.state_projection.weight"),
)
_OURS = "bilm."  # where the biLM hangs in `ElmoBiLM`


def allennlp_name(name: str) -> str:
    """AllenNLP's name, inside `_elmo_lstm`, of a tensor of our biLM; unchanged where AllenNLP has no such tensor."""
    for ours, theirs in _NAMES:
        if found := re.fullmatch(ours, name):
            return found.expand(theirs)
    return name


def _export_names(_module: nn.Module, tensors: dict[str, Any], prefix: str, _: object) -> None:
    ours = prefix + _OURS
    for name in [name for name in tensors if name.startswith(ours)]:
        tensors[prefix + allennlp_name(name.removeprefix(ours))] = tensors.pop(name)


def _import_names(module: nn.Module, tensors: dict[str, Any], prefix: str, *_: object) -> None:
    assert isinstance(module, ElmoBiLM)
    for name in module.bilm.state_dict():
        if (theirs := prefix + allennlp_name(name)) in tensors:
            tensors[prefix + _OURS + name] = tensors.pop(theirs)
    module.forget_settled()


def _name_missing(_module: nn.Module, keys: Any) -> None:
    """What a state dict lacks is reported by the names that it should have had."""
    found = [key.rpartition(_OURS) for key in keys.missing_keys]
    keys.missing_keys[:] = [prefix + allennlp_name(name) for prefix, _, name in found]


# --- the biLM


class ElmoBiLM(nn.Module):
    """The biLM inside `Elmo`: `elmo._elmo_lstm`, AllenNLP's `_ElmoBiLm`.

    Unlike elsewhere in Polyseme the forget bias of +1 stands IN the stored bias here, as in AllenNLP's module, so that
    its state dicts come and go bit for bit. No dropout inside the biLM, whatever its options say, as in AllenNLP.
    """

    _marks: Tensor  # <S> and </S>. Shape: (2, C)

    def __init__(
        self,
        model: Model,
        *,
        requires_grad: bool = False,
        vocab_to_cache: list[str] | None = None,
        state: str = "carry",
    ) -> None:
        super().__init__()
        if state not in STARTS:
            raise OptionError(f"state must be one of {', '.join(STARTS)}, was: {state!r}")
        self.bilm, self.characters = _network(model), model.characters or UTF8
        self.bilm.requires_grad_(requires_grad)
        self.num_layers = self.bilm.config.n_layers + 1
        self.state, self._requires_grad = state, requires_grad
        self._settled = model.settled
        self._elmo_lstm = StartState(stateful=state == "carry")
        marks = torch.from_numpy(self.characters.encode([SENTENCE_START, SENTENCE_END]))
        self.register_buffer("_marks", marks.long(), persistent=False)
        self._word_embedding = self._cache(vocab_to_cache) if vocab_to_cache else None
        self.register_state_dict_post_hook(_export_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_import_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_name_missing)  # type: ignore[no-untyped-call]

    def get_output_dim(self) -> int:
        """2P."""
        return self.bilm.config.width

    def reset_states(self, mask: Tensor | None = None) -> None:
        """See `StartState.reset_states`."""
        self._elmo_lstm.reset_states(mask)

    def forget_settled(self) -> None:
        """The weights have changed: the settled state is computed anew when it is needed."""
        self._settled = None

    def train(self, mode: bool = True) -> Self:
        """As in torch. What was trained in between moves the settled state."""
        if self._requires_grad:
            self.forget_settled()
        return super().train(mode)

    def forward(self, inputs: Tensor, word_inputs: Tensor | None = None) -> dict[str, Any]:
        """All layers, <S> and </S> included, zero behind each sentence.

        *Shape:* inputs (B, T, C), word_inputs (B, T) -> "activations" (L + 1) x (B, T + 2, 2P), "mask" (B, T + 2) bool.
        With a cache, `word_inputs` are rows of `vocab_to_cache`, 0 for padding; where one lies outside, the characters
        are read instead. Raises `InputError` for padding in the middle of a sentence.
        """
        if self._word_embedding is not None and word_inputs is not None and self._all_cached(word_inputs):
            present = word_inputs > 0
            marks, words = self.bilm.encoder(self._marks, None), self._word_embedding(word_inputs[present])
        else:
            present = (inputs > 0).any(dim=-1)  # Shape: (B, T)
            marks, words = self._encode(inputs[present]).split([2, int(present.sum())])
        x, lengths = _with_boundaries(present, words, marks)
        output = self.bilm.contextualize(x, lengths, self._elmo_lstm.begin(self._fresh(len(x))))
        assert output.states is not None
        self._elmo_lstm.end(output.states)
        mask = torch.arange(x.size(1), device=x.device) < lengths.unsqueeze(1)
        return {"activations": output.layers, "mask": mask}

    def _encode(self, characters: Tensor) -> Tensor:
        """Vectors of <S>, </S> and N words, each distinct word computed once. *Shape:* (N, C) -> (2 + N, P)."""
        rows, index = torch.unique(torch.cat([self._marks, characters.long()]), dim=0, return_inverse=True)
        encoded: Tensor = self.bilm.encoder(rows, None)
        return encoded[index]

    def _all_cached(self, words: Tensor) -> bool:
        assert self._word_embedding is not None
        inside = (words >= 0) & (words < self._word_embedding.num_embeddings)
        return bool(inside.all())

    @torch.no_grad()
    def _cache(self, words: list[str]) -> nn.Embedding:
        """The table of `words`; its row 0, AllenNLP's padding token, is zeros. *Shape:* (n, P)."""
        if self._requires_grad:
            logger.warning("vocab_to_cache with requires_grad: cached words no longer follow the character network")
        ids = torch.from_numpy(self.characters.encode(words)).long()
        table = torch.cat([self.bilm.encoder(chunk, None) for chunk in ids.split(CACHE_CHUNK)])
        table[0] = 0.0
        embedding = nn.Embedding(len(table), table.size(1), padding_idx=0, _weight=table)
        return embedding.requires_grad_(self._requires_grad)

    def _fresh(self, rows: int) -> States:
        """What a row starts from that has no past."""
        if self.state != "settled":
            return _stack(self.bilm.forward_layers).zero_state(rows), _stack(self.bilm.backward_layers).zero_state(rows)
        if self._settled is None or (self.training and self._requires_grad):
            self._settled, _ = settled_states(Model(self.bilm, characters=self.characters))
        like = next(self.bilm.parameters())
        forward, backward = (LSTMState(*(t.to(like).expand(-1, rows, -1) for t in s)) for s in self._settled)
        return forward, backward


def _with_boundaries(present: Tensor, words: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
    """<S> before and </S> behind each sentence. *Shape:* (B, T), (N, P), (2, P) -> (B, T + 2, P), lengths (B,)."""
    rows, steps = present.shape
    lengths = present.sum(dim=1)
    if bool((present != (torch.arange(steps, device=present.device) < lengths.unsqueeze(1))).any()):
        raise InputError("a sentence has padding (zeros only) between or before its words; pad behind the last word")
    x = words.new_zeros(rows, steps + 2, words.size(-1))
    x[:, 1:-1][present] = words
    x[:, 0] = marks[0]
    x[torch.arange(rows, device=x.device), lengths + 1] = marks[1]
    return x, lengths + 2


def _network(model: Model) -> BiLM:
    """A copy of the biLM as AllenNLP runs it: forget bias in the bias, no dropout, no softmax."""
    config = model.bilm.config
    if config.layers != "lstm" or config.encoder != "char_cnn":
        kind = "a Transformer" if config.layers != "lstm" else "a model that reads words"
        raise UnsupportedModelError(f"Elmo runs LSTM models that read characters, this is {kind}; use polyseme.load")
    tensors = {
        name: t.detach().clone() for name, t in model.bilm.state_dict().items() if not name.startswith("softmax.")
    }
    for name, tensor in tensors.items():
        if re.fullmatch(_LAYER + "bias", name):
            tensor[config.cell_size : 2 * config.cell_size] += config.forget_bias
    return assemble(replace(config, forget_bias=0.0, dropout=0.0, softmax_size=0), tensors, Path(model.card.name))


def _stack(layers: nn.Module) -> LSTMStack:
    assert isinstance(layers, LSTMStack)
    return layers
