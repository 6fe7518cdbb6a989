"""What AllenNLP calls the tensors of a language model, and of an ELMo inside a task model, and what we call them.

Weights come in by these tables alone: a tensor that no row knows refuses the model, so nothing is silently left out.
Sources: the attribute names in allennlp `models/language_model.py`, `modules/elmo.py`, `modules/elmo_lstm.py`,
`modules/seq2vec_encoders/cnn_highway_encoder.py`, `modules/seq2seq_encoders/
bidirectional_language_model_transformer.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from polyseme.errors import UnsupportedModelError

Names = tuple[tuple[str, str], ...]
Tensors = dict[str, Tensor]

# Each row: a pattern of AllenNLP's name, our name; "" is left out.
_CNN: Names = (
    (r"char_conv_(\d+)\.(weight|bias)", r"convolutions.\1.\2"),
    (r"_highways\._layers\.(\d+)\.(weight|bias)", r"highways.\1.linear.\2"),
    (r"_projection\.(weight|bias)", r"projection.\1"),
    (r"_layer_norm\.gamma", "norm.weight"),
    (r"_layer_norm\.beta", "norm.bias"),
)
_EMBEDDER = r"_text_field_embedder\.token_embedder_[^.]+\."
_LAYER = r"_contextualizer\._(forward|backward)_transformer\.layers\.(\d+)\."
_LAYER_PARTS: Names = (
    (r"self_attn\.linears\.0\.(weight|bias)", r"query.\3"),
    (r"self_attn\.linears\.1\.(weight|bias)", r"key.\3"),
    (r"self_attn\.linears\.2\.(weight|bias)", r"value.\3"),
    (r"self_attn\.linears\.3\.(weight|bias)", r"output.\3"),
    (r"feed_forward\.w_1\.(weight|bias)", r"expand.\3"),
    (r"feed_forward\.w_2\.(weight|bias)", r"contract.\3"),
    (r"sublayer\.0\.norm\.gamma", "attention_norm.weight"),
    (r"sublayer\.0\.norm\.beta", "attention_norm.bias"),
    (r"sublayer\.1\.norm\.gamma", "feed_forward_norm.weight"),
    (r"sublayer\.1\.norm\.beta", "feed_forward_norm.bias"),
)
LANGUAGE_MODEL_NAMES: Names = (
    (_EMBEDDER + r"_embedding\._module\.weight", "encoder.char_cnn.table.weight"),
    *((_EMBEDDER + r"_encoder\._module\." + theirs, "encoder.char_cnn." + ours) for theirs, ours in _CNN),
    *((_LAYER + theirs, r"\1_layers.layers.\2." + ours) for theirs, ours in _LAYER_PARTS),
    (r"_contextualizer\._(forward|backward)_transformer\.norm\.gamma", r"\1_layers.norm.weight"),
    (r"_contextualizer\._(forward|backward)_transformer\.norm\.beta", r"\1_layers.norm.bias"),
    (r"_contextualizer\._position\.positional_encoding", "positions"),
    (r"_contextualizer\._module\.(\w+)_l0", r"forward_layers.layers.0.\1"),
    (r"_contextualizer\._module\.(\w+)_l0_reverse", r"backward_layers.layers.0.\1"),
    (r"_softmax_loss\.softmax_w(\.weight)?", "softmax.weight"),
    (r"_softmax_loss\.softmax_b(\.weight)?", "softmax.bias"),
    (r"_last_average_loss", ""),
)
ELMO_NAMES: Names = (
    (r"_token_embedder\._char_embedding_weights", "encoder.char_cnn.table.weight"),
    *((r"_token_embedder\." + theirs, "encoder.char_cnn." + ours) for theirs, ours in _CNN),
    (r"_elmo_lstm\.(forward|backward)_layer_(\d+)\.input_linearity\.weight", r"\1_layers.layers.\2.input_weight"),
    (r"_elmo_lstm\.(forward|backward)_layer_(\d+)\.state_linearity\.weight", r"\1_layers.layers.\2.state_weight"),
    (r"_elmo_lstm\.(forward|backward)_layer_(\d+)\.state_linearity\.bias", r"\1_layers.layers.\2.bias"),
    (r"_elmo_lstm\.(forward|backward)_layer_(\d+)\.state_projection\.weight", r"\1_layers.layers.\2.projection_weight"),
    (r"_word_embedding\.weight", ""),  # `vocab_to_cache`: the same vectors, computed once
)


def renamed(weights: Tensors, names: Names, source: Path) -> Tensors:
    """`weights` by our names. Raises `UnsupportedModelError` for a name that no row knows."""
    out = {}
    for name, tensor in weights.items():
        for theirs, ours in names:
            match = re.fullmatch(theirs, name)
            if match:
                out[match.expand(ours)] = tensor
                break
        else:
            raise UnsupportedModelError(
                f"{source}: the model has {name}, a part that cannot be expressed here; open another archive"
            )
    out.pop("", None)
    return out


def below(weights: Tensors, prefix: str) -> Tensors:
    """The tensors under `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def language_models_inside(names: Iterable[str]) -> list[str]:
    """The prefixes of the ELMos and language models inside a task model; those of the latter end in `_lm.`."""
    found = (re.match(r"(.*?)(?:_elmo_lstm\._token_embedder\.|(_lm\.)_text_field_embedder\.)", name) for name in names)
    return sorted({match[1] + (match[2] or "") for match in found if match})
