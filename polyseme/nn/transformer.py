"""The Transformer of a biLM: self-attention that sees only the past of its own direction.

Peters et al. 2018b (arXiv 1808.08949). The arithmetic is that of allennlp `modules/seq2seq_encoders/
bidirectional_language_model_transformer.py`, whose published archives must open:

    x_0 = token + position(k)                   k counts from the LEFT end of the sentence in both directions
    a   = x + W_o attention(norm(x))            only earlier tokens of the direction, and the token itself
    x'  = a + W_2 relu(W_1 norm(a))

The layers are x_1 ... x_L as they leave the sum; only the last one is normed once more. Tokens are not scaled by
sqrt(P).

Legend: `B` sentences, `T` tokens, `P` model width, `A` attention heads, `L` layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polyseme.errors import OptionError, TooLongError
from polyseme.nn.char_cnn import NORM_EPSILON


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the Transformer. `inner_size`: width of the feed-forward part; `context`: most tokens of a sentence."""

    inner_size: int = 2048
    n_heads: int = 8
    context: int = 5000

    def __post_init__(self) -> None:
        if min(self.inner_size, self.n_heads, self.context) < 1:
            raise OptionError(f"inner_size, n_heads and context must be at least 1, were: {self}")


def positions(steps: Tensor, size: int) -> Tensor:
    """Sine and cosine of each step at `size` / 2 frequencies, side by side (Vaswani et al. 2017, section 3.5).

    *Shape:* (...) int -> (..., size) float32.
    """
    # At step 5,000 one unit in the last place of a frequency moves its sine by 3e-4, so every machine must get the same
    # frequencies: the exponent in float32 as AllenNLP has it, its exponential rounded once from float64, on the CPU.
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device="cpu") * (-math.log(10000.0) / size)
    frequencies = exponents.double().exp().float().to(steps.device)
    angles = steps.unsqueeze(-1).float() * frequencies  # Shape: (..., size / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class TransformerLayer(nn.Module):
    """Attention and a feed-forward part, each normed before and added to its input."""

    def __init__(self, size: int, config: TransformerConfig, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = config.n_heads, dropout
        self.attention_norm = nn.LayerNorm(size, eps=NORM_EPSILON)
        self.query, self.key = nn.Linear(size, size), nn.Linear(size, size)
        self.value, self.output = nn.Linear(size, size), nn.Linear(size, size)
        self.feed_forward_norm = nn.LayerNorm(size, eps=NORM_EPSILON)
        self.expand = nn.Linear(size, config.inner_size)
        self.contract = nn.Linear(config.inner_size, size)
        for linear in (self.query, self.key, self.value, self.output, self.expand, self.contract):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """*Shape:* (B, T, P) -> (B, T, P); step t reads steps 0 ... t."""
        x = x + self._drop(self._attend(self.attention_norm(x)))
        inner = self._drop(torch.relu(self.expand(self.feed_forward_norm(x))))
        return x + self._drop(self.contract(inner))

    def _attend(self, x: Tensor) -> Tensor:
        # Shape: (B, T, P) -> (B, A, T, P / A)
        query, key, value = (
            linear(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for linear in (self.query, self.key, self.value)
        )
        # Padding stands on the right, where no real token looks: the causal mask is all the mask there is.
        heads = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=self.dropout if self.training else 0.0
        )
        attended: Tensor = self.output(heads.transpose(1, 2).flatten(-2))  # Shape: (B, T, P)
        return attended

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class TransformerStack(nn.Module):
    """The layers of one direction.

    A `backward` stack is given each sentence reversed, as `BiLM` reverses it, yet its positions count from the left end
    of the sentence as it is written: AllenNLP numbers the tokens once and masks the past instead of reversing.
    """

    def __init__(
        self, n_layers: int, size: int, config: TransformerConfig, *, backward: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if size % config.n_heads or size % 2:
            raise OptionError(
                f"the width of a Transformer must be even and a multiple of its {config.n_heads} heads, was: {size}"
            )
        self.backward, self.context, self.dropout = backward, config.context, dropout
        self.layers = nn.ModuleList(TransformerLayer(size, config, dropout) for _ in range(n_layers))
        self.norm = nn.LayerNorm(size, eps=NORM_EPSILON)

    def forward(self, x: Tensor, lengths: Tensor, state: None = None) -> tuple[list[Tensor], None]:
        """Each layer's output, zero beyond a row's length. *Shape:* (B, T, P), (B,) -> L x (B, T, P).

        There is no state to carry. Raises `TooLongError` where T is beyond the context, `OptionError` for a state.
        """
        if state is not None:
            raise OptionError("a Transformer has no state: every sentence starts afresh")
        if x.size(1) > self.context:
            raise TooLongError(
                f"a sentence has {x.size(1)} tokens with its boundaries; this Transformer reads {self.context} "
                "at most: split the sentence, or use an LSTM model, which reads any length"
            )
        steps = torch.arange(x.size(1), device=x.device)
        real = steps < lengths.unsqueeze(1)  # Shape: (B, T)
        from_left = (lengths.unsqueeze(1) - 1 - steps).clamp(min=0) if self.backward else steps
        x = F.dropout(x + positions(from_left, x.size(-1)).to(x.dtype), self.dropout, self.training)
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        outputs[-1] = self.norm(x)
        return [output * real.unsqueeze(-1) for output in outputs], None
