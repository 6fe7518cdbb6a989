"""The bidirectional language model on one page: START HERE.

    tokens --encoder--> x_k  (layer 0)
      forward  LSTM or causal Transformer reads <S> w_1 ... w_n </S> left to right:  h->_{k,j}
      backward one reads it right to left:                                          h<-_{k,j}
    layer j of word k = h->_{k,j} ‖ h<-_{k,j};   layer 0 = x_k ‖ x_k

The two directions share the encoder and the softmax and nothing else (Peters et al. 2018, arXiv 1802.05365, 3.1);
training maximises the sum over the words of

    log p(w_k | w_1 .. w_{k-1}; encoder, forward layers, softmax)
  + log p(w_k | w_{k+1} .. w_n; encoder, backward layers, softmax)

Legend: `B` sentences, `T` tokens with <S> and </S>, `C` characters, `L` layers over the encoder, `P` projection width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polyseme.errors import OptionError
from polyseme.nn.char_cnn import CharCNN, CharCNNConfig
from polyseme.nn.lstm import LSTMStack, LSTMState
from polyseme.nn.softmax import Softmax
from polyseme.nn.transformer import TransformerConfig, TransformerStack

ENCODERS = ("char_cnn", "word", "char_cnn+word")


@dataclass(frozen=True)
class BiLMConfig:
    """The architecture; stored in config.json, enough to rebuild the network.

    `encoder`: what turns a word into x_k. `layers`: "lstm" or "transformer" (then `transformer` holds its own sizes).
    `cell_size`, clips, `residual` and `forget_bias` concern the LSTM; a clip of None means none. `n_words`,
    `word_size`: table of a word encoder. `softmax_size`: words of the output layer, 0 where the file has none.
    `dropout`: on the inputs of each layer, in training only.
    """

    encoder: str = "char_cnn"
    layers: str = "lstm"
    n_layers: int = 2
    projection_size: int = 512
    cell_size: int = 4096
    cell_clip: float | None = 3.0
    projection_clip: float | None = 3.0
    residual: bool = True
    forget_bias: float = 1.0
    char_cnn: CharCNNConfig | None = field(default_factory=CharCNNConfig)
    n_words: int = 0
    word_size: int = 0
    transformer: TransformerConfig | None = None
    softmax_size: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise OptionError(f"encoder must be one of {', '.join(ENCODERS)}, was: {self.encoder!r}")
        if self.layers not in ("lstm", "transformer"):
            raise OptionError(f"layers must be lstm or transformer, was: {self.layers!r}")
        if (self.layers == "transformer") != (self.transformer is not None):
            raise OptionError("a transformer biLM needs `transformer` sizes, and an LSTM biLM none")
        if self.reads_characters != (self.char_cnn is not None):
            raise OptionError(f"encoder {self.encoder!r} and char_cnn={self.char_cnn!r} contradict each other")
        if self.encoder == "char_cnn+word" and self.char_cnn and self.char_cnn.projection_location != "none":
            raise OptionError(
                "characters and words go through one projection together: char_cnn.projection_location must be 'none', "
                f"was: {self.char_cnn.projection_location!r}"
            )
        if self.reads_words and min(self.n_words, self.word_size) < 1:
            raise OptionError(f"a word table needs n_words and word_size, were: {self.n_words}, {self.word_size}")
        if min(self.n_layers, self.projection_size, self.cell_size) < 1:
            raise OptionError(
                f"n_layers, projection_size and cell_size must be at least 1, were: "
                f"{self.n_layers}, {self.projection_size}, {self.cell_size}"
            )

    @property
    def reads_characters(self) -> bool:
        """Whether words enter as rows of character ids."""
        return self.encoder in ("char_cnn", "char_cnn+word")

    @property
    def reads_words(self) -> bool:
        """Whether words enter as ids of a word table."""
        return self.encoder in ("word", "char_cnn+word")

    @property
    def width(self) -> int:
        """2P, the size of one word's vector in one layer."""
        return 2 * self.projection_size


class BiLMOutput(NamedTuple):
    """`layers`: L + 1 tensors (B, T, 2P), zero beyond a row's length. `states`: forward, backward (LSTM only)."""

    layers: list[Tensor]
    states: tuple[LSTMState, LSTMState] | None


class TokenEncoder(nn.Module):
    """x_k of every word type: character CNN, word table, or both side by side under one projection.

    *Shape:* characters (N, C) and / or words (N,) -> (N, P). The same word always gives the same vector.
    """

    def __init__(self, config: BiLMConfig) -> None:
        super().__init__()
        size = config.projection_size
        self.char_cnn = CharCNN(config.char_cnn, size) if config.char_cnn else None
        self.words = nn.Embedding(config.n_words, config.word_size) if config.reads_words else None
        inner = config.word_size if config.reads_words else size
        if config.char_cnn and config.char_cnn.projection_location == "none":
            inner = config.char_cnn.n_filters + (config.word_size if config.reads_words else 0)
        # ELMoForManyLangs projects [word ; characters] together; a lone word table of width P needs no projection.
        self.projection = nn.Linear(inner, size) if inner != size or config.encoder == "char_cnn+word" else None

    def forward(self, characters: Tensor | None, words: Tensor | None) -> Tensor:
        """Raises `OptionError` when an input that the encoder reads is missing."""
        parts = []
        if self.words is not None:
            parts.append(self.words(_given(words, "word ids")))
        if self.char_cnn is not None:
            parts.append(self.char_cnn(_given(characters, "character ids")))
        x = torch.cat(parts, dim=-1)
        return self.projection(x) if self.projection is not None else x


class BiLM(nn.Module):
    """The whole network. It knows nothing of files, text or batching: see `polyseme.formats`, `polyseme.embedder`."""

    def __init__(self, config: BiLMConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = TokenEncoder(config)
        self.forward_layers = _direction(config, backward=False)
        self.backward_layers = _direction(config, backward=True)
        self.softmax = Softmax(config.softmax_size, config.projection_size) if config.softmax_size else None

    def forward(
        self,
        characters: Tensor | None,
        words: Tensor | None,
        lengths: Tensor,
        states: tuple[LSTMState, LSTMState] | None = None,
    ) -> BiLMOutput:
        """All layers of every token of sentences that are padded on the right.

        *Shape:* characters (B, T, C) and / or words (B, T), lengths (B,), states as in `BiLMOutput`.
        Only `lengths[b]` tokens of row b are real, <S> and </S> among them. Without `states` the LSTMs start from zero.
        """
        rows, steps = (_given(words, "word ids") if characters is None else characters).shape[:2]
        x = self.encoder(
            None if characters is None else characters.flatten(0, 1), None if words is None else words.flatten(0, 1)
        ).unflatten(0, (rows, steps))  # Shape: (B, T, P)
        real = torch.arange(steps, device=x.device) < lengths.unsqueeze(1)  # Shape: (B, T)
        return self.contextualize(x * real.unsqueeze(-1), lengths, states)

    def contextualize(
        self, x: Tensor, lengths: Tensor, states: tuple[LSTMState, LSTMState] | None = None
    ) -> BiLMOutput:
        """As `forward`, from encoded tokens. *Shape:* (B, T, P), (B,)."""
        forward_state, backward_state = states if states is not None else (None, None)
        left, left_state = self.forward_layers(x, lengths, forward_state)
        # The backward direction is the same network over each sentence reversed within its own length.
        right, right_state = self.backward_layers(reverse(x, lengths), lengths, backward_state)
        layers = [torch.cat([x, x], dim=-1)]
        layers += [torch.cat([a, reverse(b, lengths)], dim=-1) for a, b in zip(left, right, strict=True)]
        return BiLMOutput(layers, (left_state, right_state) if left_state is not None else None)


def reverse(x: Tensor, lengths: Tensor) -> Tensor:
    """Each row's first `lengths[b]` steps in reverse order, its padding left in place. *Shape:* (B, T, size), (B,)."""
    steps = torch.arange(x.size(1), device=x.device).expand(x.size(0), -1)  # Shape: (B, T)
    mirrored = lengths.unsqueeze(1) - 1 - steps
    index = torch.where(mirrored >= 0, mirrored, steps)
    return x.gather(1, index.unsqueeze(-1).expand_as(x))


def _direction(config: BiLMConfig, *, backward: bool) -> LSTMStack | TransformerStack:
    if config.transformer is not None:
        return TransformerStack(
            config.n_layers, config.projection_size, config.transformer, backward=backward, dropout=config.dropout
        )
    return LSTMStack(
        config.n_layers,
        config.projection_size,
        config.cell_size,
        config.projection_size,
        residual=config.residual,
        cell_clip=config.cell_clip,
        projection_clip=config.projection_clip,
        forget_bias=config.forget_bias,
        dropout=config.dropout,
    )


def _given(tensor: Tensor | None, what: str) -> Tensor:
    if tensor is None:
        raise OptionError(f"this biLM reads {what}, and none were given")
    return tensor
