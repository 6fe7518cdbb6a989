"""AllenNLP archives: Transformer (and one-layer LSTM) language models, and the ELMo inside a task model. Read only.

Sources: allennlp `models/language_model.py`, `modules/token_embedders/language_model_token_embedder.py`,
`modules/seq2vec_encoders/cnn_highway_encoder.py`, `modules/elmo.py`. Facts that a reader must know:

* a contextualizer's sizes are read off the tensors; the configuration is only compared with them. It alone knows the
  activation and whether the projection stands before or behind the highway;
* the published Transformers have eight heads and 5,000 positions, whatever their size;
* the softmax has a row for each line of tokens.txt (`@@UNKNOWN@@` first) and ONE MORE at the end that no word ever
  reaches, because the vocabulary's size counts the padding; it takes part in the normalisation and is kept;
* an ELMo inside a task model has its forget bias of +1 in its biases; its clips and activation are not stored, except
  in archives old enough to carry `fta/*.options_file`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from polyseme.bilm import BiLMConfig
from polyseme.errors import DamagedModelError, InputError, OptionError, UnsupportedModelError
from polyseme.formats.allennlp_archive import PADDING, UNKNOWN, Archive, looks_like, open_archive
from polyseme.formats.allennlp_names import (
    ELMO_NAMES,
    LANGUAGE_MODEL_NAMES,
    Tensors,
    below,
    language_models_inside,
    renamed,
)
from polyseme.formats.model import REFETCH, Model, ModelCard, assemble, damage_named
from polyseme.nn.char_cnn import ACTIVATIONS, CharCNNConfig
from polyseme.nn.mix import ScalarMix
from polyseme.nn.transformer import TransformerConfig, positions
from polyseme.text.chars import SENTENCE_END, SENTENCE_START, UNKNOWN_WORD, Characters
from polyseme.text.vocab import Vocabulary

__all__ = ["looks_like", "read", "read_scalar_mixes"]

LANGUAGE_MODELS = ("language_model", "bidirectional_language_model")
NOT_BIDIRECTIONAL = ("masked_language_model", "next_token_lm")
TRANSFORMER = "bidirectional_language_model_transformer"
N_HEADS, CONTEXT = 8, 5000  # fixed in AllenNLP's make_model() and PositionalEncoding
PUBLISHED_CLIP = 3.0
POSITION_TOLERANCE = 1e-3  # another machine's exp() moves a sine at position 5,000 by 3e-4


def read(path: Path) -> Model:
    """The biLM in an archive or serialization directory: the language model itself, or the one inside a task model.

    Raises `DamagedModelError`, `UnknownFormatError`, and `UnsupportedModelError` where it holds no ELMo-like biLM.
    """
    archive = open_archive(path)
    with damage_named(archive.path, "reading the model"):
        try:
            return _model(archive)
        except OptionError as error:
            raise DamagedModelError(f"{archive.path}: {error}; {REFETCH}") from error


def _model(archive: Archive) -> Model:
    kind = archive.model.get("type")
    if kind in LANGUAGE_MODELS:
        return _language_model(archive, "", archive.model)
    if kind in NOT_BIDIRECTIONAL:
        raise UnsupportedModelError(
            f"{archive.path} is a {kind}, which is no bidirectional language model; give a language_model archive"
        )
    parts = language_models_inside(archive.weights)
    if len(parts) != 1:
        raise UnsupportedModelError(
            f"{archive.path} is a {kind} with {len(parts)} ELMos inside ({', '.join(parts) or 'none'}); "
            "one can be opened: give that ELMo's own files"
        )
    return _language_model(archive, parts[0], {}) if parts[0].endswith("_lm.") else _elmo(archive, parts[0])


def read_scalar_mixes(path: Path) -> tuple[ScalarMix, ...]:
    """The layer weights (gamma, scalar parameters) that a task model has learned for its ELMo, in their order.

    Empty for a language model. Raises as `read` does for a broken archive.
    """
    archive = open_archive(path)
    with damage_named(archive.path, "reading the scalar mix"):
        found = (re.fullmatch(r"(.*scalar_mix(?:_\d+)?\.)gamma", name) for name in archive.weights)
        return tuple(_scalar_mix(archive, prefix) for prefix in sorted(match[1] for match in found if match))


def _scalar_mix(archive: Archive, prefix: str) -> ScalarMix:
    values = below(archive.weights, prefix)
    n_layers = len(values) - 1
    embedder = re.search(r"text_field_embedder\.token_embedder_([^.]+)\.", prefix)
    options = _embedders(archive.model).get(embedder[1], {}) if embedder else {}
    mix = ScalarMix(n_layers, layer_norm=bool(_section(options).get("do_layer_norm", False)))
    expected = {name: tuple(tensor.shape) for name, tensor in mix.state_dict().items()}
    if expected != {name: tuple(tensor.shape) for name, tensor in values.items()}:
        raise DamagedModelError(f"{archive.path}: {prefix} holds {sorted(values)}, not the weights of a mix; {REFETCH}")
    mix.load_state_dict(values)
    return mix


# --- a language model


def _language_model(archive: Archive, prefix: str, options: Mapping[str, Any]) -> Model:
    """The language model at `prefix`; `options` are its section of the configuration, empty inside a task model."""
    weights = below(archive.weights, prefix)
    contextualizer, embedder = _section(options.get("contextualizer")), _embedder(archive, weights, options)
    _refuse_other_contextualizers(archive, weights, contextualizer)
    tensors = renamed(weights, LANGUAGE_MODEL_NAMES, archive.path)
    if any(name.startswith("_contextualizer._module.") for name in weights):
        tensors = _one_lstm_layer(tensors)
    encoder = _section(embedder.get("encoder"))
    cnn, size = _char_cnn(archive, tensors, encoder)
    rows = _softmax(archive, tensors, size, options)
    vocabulary = _vocabulary(archive, rows) if rows else None
    if vocabulary is None:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("softmax.")}
    transformer = "forward_layers.norm.weight" in tensors
    config = BiLMConfig(
        layers="transformer" if transformer else "lstm",
        n_layers=_count(tensors, r"forward_layers\.layers\.(\d+)\..*"),
        projection_size=size,
        cell_size=size,
        cell_clip=None,
        projection_clip=None,
        forget_bias=0.0,
        char_cnn=cnn,
        transformer=_transformer(archive, tensors, size) if transformer else None,
        softmax_size=rows if vocabulary is not None else 0,
        dropout=float(contextualizer.get("dropout") or 0.0),
    )
    _compare_with_config(archive, config, contextualizer, embedder)
    left_out = f"its softmax is left out: its words lack {SENTENCE_START}" if rows and vocabulary is None else ""
    card = ModelCard(name=_name(archive), source_format="allennlp-archive", recipe=left_out)
    bilm = assemble(config, tensors, archive.path)
    return Model(bilm, characters=Characters(), vocabulary=vocabulary, card=card)


def _embedder(archive: Archive, weights: Tensors, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of the one token embedder, which must be a character network over ELMo's ids."""
    names = {name.split(".")[1] for name in weights if name.startswith("_text_field_embedder.token_embedder_")}
    if len(names) != 1:
        found = ", ".join(sorted(names)) or "none"
        raise UnsupportedModelError(f"{archive.path}: reads words through {len(names)} embedders ({found}), not one")
    name = names.pop().removeprefix("token_embedder_")
    options = _section(_embedders(options).get(name))
    kind = options.get("type", "character_encoding")
    if kind != "character_encoding":
        raise UnsupportedModelError(f"{archive.path}: words enter as {kind!r}; only character_encoding can be read")
    network = _section(options.get("encoder")).get("type", "cnn-highway")
    if network != "cnn-highway":
        raise UnsupportedModelError(f"{archive.path}: characters go through {network!r}; only cnn-highway can be read")
    _refuse_other_characters(archive, name)
    return options


def _refuse_other_characters(archive: Archive, name: str) -> None:
    """Published models index bytes ("elmo_characters"); AllenNLP knows other indexers, with alphabets of their own."""
    reader = _section(archive.config.get("dataset_reader"))
    reader = _section(reader.get("base_reader", reader))  # inside a "multiprocess" reader
    indexer = _section(_section(reader.get("token_indexers")).get(name))
    kind = indexer.get("type", "elmo_characters")
    if kind != "elmo_characters" or indexer.get("tokens_to_add"):
        what = "words with ids of their own (tokens_to_add)" if kind == "elmo_characters" else f"{kind!r} ids"
        raise UnsupportedModelError(f"{archive.path}: reads {what}; only plain elmo_characters can be read")


def _refuse_other_contextualizers(archive: Archive, weights: Tensors, options: Mapping[str, Any]) -> None:
    kind = options.get("type", TRANSFORMER)
    inner = below(weights, "_contextualizer.")
    if kind == TRANSFORMER and any(name.startswith("_forward_transformer.") for name in inner):
        return
    if kind == "lstm" and "_module.weight_ih_l0" in inner:
        if "_module.weight_ih_l0_reverse" not in inner:
            reason = "reads in one direction only"
        elif "_module.weight_ih_l1" in inner:
            reason = "has several layers, of which the second already reads both directions"
        elif inner["_module.weight_ih_l0"].shape != inner["_module.weight_hh_l0"].shape:
            reason = "has another width than its inputs"
        else:
            return
        raise UnsupportedModelError(f"{archive.path}: its contextualizer 'lstm' {reason}, which is no ELMo biLM")
    raise UnsupportedModelError(
        f"{archive.path}: its contextualizer {kind!r} cannot be read; known are {TRANSFORMER} and a one-layer lstm"
    )


def _one_lstm_layer(tensors: Tensors) -> Tensors:
    """PyTorch's LSTM as ours: the two biases are one, and what is not projected is projected by the identity."""
    out = dict(tensors)
    for at in ("forward_layers.layers.0.", "backward_layers.layers.0."):
        out[at + "input_weight"], out[at + "state_weight"] = out.pop(at + "weight_ih"), out.pop(at + "weight_hh")
        out[at + "bias"] = out.pop(at + "bias_ih") + out.pop(at + "bias_hh")
        out[at + "projection_weight"] = torch.eye(out[at + "state_weight"].size(1))
    return out


def _transformer(archive: Archive, tensors: Tensors, size: int) -> TransformerConfig:
    """The Transformer's sizes. Its table of positions is computed, not stored; the file's must be the same."""
    if size % N_HEADS:
        raise DamagedModelError(f"{archive.path}: a width of {size} does not split into {N_HEADS} heads; {REFETCH}")
    (inner_size,) = _shape(archive, tensors, "forward_layers.layers.0.expand.bias", 1)
    stored = tensors.pop("positions", None)
    if stored is not None:
        sane = stored.ndim == 3 and stored.size(0) == 1 and stored.size(2) == size
        if not sane or not torch.allclose(
            stored[0], positions(torch.arange(stored.size(1)), size), rtol=0, atol=POSITION_TOLERANCE
        ):
            raise DamagedModelError(f"{archive.path}: its positional encoding is not the published one; {REFETCH}")
    return TransformerConfig(inner_size, N_HEADS, CONTEXT if stored is None else stored.size(1))


def _softmax(archive: Archive, tensors: Tensors, size: int, options: Mapping[str, Any]) -> int:
    """Brings the output layer into our layout in `tensors`; returns its number of rows, 0 where there is none."""
    if "softmax.weight" not in tensors:
        return 0
    weight, bias = tensors["softmax.weight"], tensors.get("softmax.bias")
    if bias is None or weight.ndim != 2 or size not in weight.shape:
        raise DamagedModelError(f"{archive.path}: its softmax has shape {tuple(weight.shape)}; {REFETCH}")
    # A sampled softmax is stored (V, P), with a bias (V, 1) where it is sparse; a full one (P, V).
    if options.get("num_samples") is None:
        tensors["softmax.weight"] = weight = weight.T.contiguous()
    tensors["softmax.bias"] = bias.flatten()
    return weight.size(0)


def _vocabulary(archive: Archive, rows: int) -> Vocabulary | None:
    """The softmax's words; None where AllenNLP was never told of sentence boundaries, so that their rows are missing.

    The last row is nobody's; it keeps the name that AllenNLP gives to id 0.
    """
    if archive.words is None:
        raise DamagedModelError(f"{archive.path}: lacks vocabulary/tokens.txt, the words of its softmax; {REFETCH}")
    if len(archive.words) + 1 != rows:
        raise DamagedModelError(
            f"{archive.path}: vocabulary/tokens.txt lists {len(archive.words):,} words, its softmax has {rows:,} rows "
            f"(one more is expected); {REFETCH}"
        )
    if not {SENTENCE_START, SENTENCE_END, UNKNOWN} <= set(archive.words):
        return None
    # A literal <UNK> of the corpus is an ordinary word there: the two exchange their names.
    exchanged = {UNKNOWN: UNKNOWN_WORD, UNKNOWN_WORD: UNKNOWN}
    try:
        return Vocabulary(tuple(exchanged.get(word, word) for word in (*archive.words, PADDING)))
    except InputError as error:
        raise DamagedModelError(f"{archive.path}: vocabulary/tokens.txt: {error}; {REFETCH}") from error


# --- an ELMo inside a task model


def _elmo(archive: Archive, prefix: str) -> Model:
    tensors = renamed(below(archive.weights, prefix + "_elmo_lstm."), ELMO_NAMES, archive.path)
    options = archive.elmo_options or {}
    lstm, char_cnn = _section(options.get("lstm")), _section(options.get("char_cnn"))
    if lstm.get("use_skip_connections", True) is not True:
        raise UnsupportedModelError(f"{archive.path}: an ELMo without residual connections; AllenNLP never ran one")
    cnn, size = _char_cnn(archive, tensors, char_cnn)
    _, cell_size = _shape(archive, tensors, "forward_layers.layers.0.projection_weight", 2)
    config = BiLMConfig(
        n_layers=_count(tensors, r"forward_layers\.layers\.(\d+)\..*"),
        projection_size=size,
        cell_size=cell_size,
        cell_clip=float(lstm.get("cell_clip", PUBLISHED_CLIP)) or None,
        projection_clip=float(lstm.get("proj_clip", PUBLISHED_CLIP)) or None,
        forget_bias=0.0,
        char_cnn=cnn,
    )
    stated = "" if options else "clips of 3 and relu are assumed as in every published ELMo: the archive does not say"
    card = ModelCard(name=_name(archive), source_format="allennlp-archive", recipe=stated)
    return Model(assemble(config, tensors, archive.path), characters=Characters(), card=card)


# --- both


def _char_cnn(archive: Archive, tensors: Tensors, options: Mapping[str, Any]) -> tuple[CharCNNConfig, int]:
    """The character network's sizes, read off its tensors, and the width of its output."""
    at = "encoder.char_cnn."
    rows, char_size = _shape(archive, tensors, at + "table.weight", 2)
    if rows != Characters().n_rows:
        raise UnsupportedModelError(f"{archive.path}: has {rows} characters; elmo_characters are {Characters().n_rows}")
    kernels = [
        _shape(archive, tensors, f"{at}convolutions.{index}.weight", 3)
        for index in range(_count(tensors, re.escape(at) + r"convolutions\.(\d+)\.weight"))
    ]
    activation = options.get("activation", "relu")
    if activation not in ACTIVATIONS:
        raise UnsupportedModelError(f"{archive.path}: activation {activation!r}; known are {', '.join(ACTIVATIONS)}")
    size, n_filters = _shape(archive, tensors, at + "projection.weight", 2)
    location = options.get("projection_location", _location(tensors, at, n_filters))
    if location is None:  # AllenNLP stores a projection that it does not use
        size = n_filters
        del tensors[at + "projection.weight"], tensors[at + "projection.bias"]
    config = CharCNNConfig(
        n_rows=rows,
        char_size=char_size,
        filters=tuple((width, count) for count, _, width in kernels),
        n_highway=_count(tensors, re.escape(at) + r"highways\.(\d+)\..*"),
        activation=activation,
        projection_location=location or "none",
        layer_norm=at + "norm.weight" in tensors,
    )
    return config, size


def _location(tensors: Tensors, at: str, n_filters: int) -> str:
    """Where the projection stands, from the highway's width; AllenNLP's default where that does not tell."""
    highway = tensors.get(at + "highways.0.linear.weight")
    narrow = highway is not None and highway.ndim == 2 and highway.size(1) != n_filters
    return "after_cnn" if narrow else "after_highway"


def _compare_with_config(
    archive: Archive, config: BiLMConfig, contextualizer: Mapping[str, Any], embedder: Mapping[str, Any]
) -> None:
    """Raises `DamagedModelError` where the configuration states another size than the tensors have."""
    cnn, encoder, table = config.char_cnn, _section(embedder.get("encoder")), _section(embedder.get("embedding"))
    assert cnn is not None
    inner = config.transformer.inner_size if config.transformer else config.cell_size
    hidden = "hidden_dim" if config.transformer else "hidden_size"
    input_name = "input_dim" if config.transformer else "input_size"
    for section, name, found in (
        (contextualizer, "num_layers", config.n_layers),
        (contextualizer, input_name, config.projection_size),
        (contextualizer, hidden, inner),
        (table, "num_embeddings", cnn.n_rows),
        (table, "embedding_dim", cnn.char_size),
        (encoder, "filters", [list(pair) for pair in cnn.filters]),
        (encoder, "num_highway", cnn.n_highway),
        (encoder, "projection_dim", config.projection_size),
        (encoder, "do_layer_norm", cnn.layer_norm),
    ):
        if section.get(name, found) != found:
            raise DamagedModelError(
                f"{archive.path}: config.json says {name} = {section[name]}, the weights have {found}; {REFETCH}"
            )


def _count(tensors: Tensors, pattern: str) -> int:
    """How many different numbers stand in the names; a hole among them shows when the network is assembled."""
    return len({match[1] for match in (re.fullmatch(pattern, name) for name in tensors) if match})


def _shape(archive: Archive, tensors: Tensors, name: str, ndim: int) -> tuple[int, ...]:
    if name not in tensors:
        raise DamagedModelError(f"{archive.path}: lacks the tensor behind {name}; {REFETCH}")
    shape = tuple(tensors[name].shape)
    if len(shape) != ndim or min(shape) < 1:
        raise DamagedModelError(f"{archive.path}: {name} has shape {shape}, {ndim} axes are expected; {REFETCH}")
    return shape


def _embedders(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section of the token embedders, in the spelling of every AllenNLP version."""
    section = _section(model.get("text_field_embedder"))
    return _section(section.get("token_embedders", section))


def _section(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(archive: Archive) -> str:
    """The archive's own name; `model.tar.gz` is called by its folder."""
    stem = archive.path.name.removesuffix(".tar.gz")
    return archive.path.resolve().parent.name if stem == "model" else stem
