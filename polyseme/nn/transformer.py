"""The Transformer of a biLM: self-attention that sees only the past of its own direction.

Peters et al. 2018b (arXiv 1808.08949); the arithmetic is that of allennlp `modules/seq2seq_encoders/
bidirectional_language_model_transformer.py`, whose published archives must open: sinusoidal positions, pre-norm
sublayers, and a norm that divides by (standard deviation + epsilon).

Legend: `B` sentences, `T` tokens, `P` model width, `A` attention heads.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from polyseme.errors import OptionError


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the Transformer. `inner_size`: width of the feed-forward part; `context`: longest sentence, in tokens."""

    inner_size: int = 2048
    n_heads: int = 8
    context: int = 5000

    def __post_init__(self) -> None:
        if min(self.inner_size, self.n_heads, self.context) < 1:
            raise OptionError(f"inner_size, n_heads and context must be at least 1, were: {self}")


class TransformerStack(nn.Module):
    """The layers of one direction."""

    def __init__(self, n_layers: int, size: int, config: TransformerConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        raise NotImplementedError

    def forward(self, x: Tensor, lengths: Tensor, state: None = None) -> tuple[list[Tensor], None]:
        """Each layer's output. *Shape:* (B, T, P), (B,) -> L x (B, T, P)."""
        raise NotImplementedError
