"""ELMoForManyLangs: a folder, or one of the NLPL repository's zips (vectors 11/136 to 11/179); read only.

    config.json          the arguments of training; `config_path` names the file with the architecture
    char.dic, word.dic   character or word, tab, id
    token_embedder.pkl   state dict of `ConvTokenEmbedder` (`modules/token_embedder.py`)
    encoder.pkl          state dict of `ElmobiLm` (`modules/elmo.py`, `modules/lstm_cell_with_projection.py`)

Facts that a reader must know, read in HIT-SCIR/ELMoForManyLangs (`elmo.py`, `frontend.py`, `biLM.py`):

* `config_path` is the author's, often absolute; the package falls back on the name alone, then on files that it ships.
* batches begin words with the id of `<eow>` and end them with that of `<bow>`: trained so, so it is kept.
* a dictionary line with one field means the ideographic space U+3000, which `str.strip` took away.
* a word of more than `max_characters_per_token` - 2 characters is cut BEFORE its row in the word table is looked up.
* the forget bias of +1 was the initial value of the stored bias: nothing is added.
* there is no mask: the character table gets a row of zeros in front, so ids are those of char.dic plus one.
* words are projected together with the character vectors, [word ; characters].
* nothing is folded to lower case, nor between traditional and simplified characters.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polyseme.bilm import BiLMConfig
from polyseme.errors import DamagedModelError, OptionError, UnsupportedModelError
from polyseme.formats.bilm_tf import clip
from polyseme.formats.model import REFETCH, Model, ModelCard, assemble, damage_named
from polyseme.formats.parts import Parts
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.text.chars import Characters
from polyseme.text.word_table import WordTable

NEEDED = ("config.json", "token_embedder.pkl", "encoder.pkl")
SPACE = "\u3000"

# The files in the package's configs/; both hold the same.
SHIPPED_NAMES = ("cnn_50_100_512_4096_sample.json", "cnn_0_100_512_4096_sample.json")
SHIPPED_CONFIG: dict[str, Any] = {
    "encoder": {"name": "elmo", "projection_dim": 512, "cell_clip": 3, "proj_clip": 3, "dim": 4096, "n_layers": 2},
    "token_embedder": {
        "name": "cnn",
        "activation": "relu",
        "filters": [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]],
        "n_highway": 2,
        "word_dim": 100,
        "char_dim": 50,
        "max_characters_per_token": 50,
    },
    "dropout": 0.1,
}

CHARACTER_MARKS = ("<bos>", "<eos>", "<oov>", "<pad>", "<bow>", "<eow>")
EMBEDDER_NAMES = (
    (r"^word_emb_layer\.embedding\.", "encoder.words."),
    (r"^char_emb_layer\.embedding\.", "encoder.char_cnn.table."),
    (r"^convolutions\.", "encoder.char_cnn.convolutions."),
    (r"^highways\._layers\.(\d+)\.", r"encoder.char_cnn.highways.\1.linear."),
    (r"^projection\.", "encoder.projection."),
)
ENCODER_NAMES = (
    (r"^(forward|backward)_layer_(\d+)\.", r"\1_layers.layers.\2."),
    (r"input_linearity\.weight$", "input_weight"),
    (r"state_linearity\.weight$", "state_weight"),
    (r"state_linearity\.bias$", "bias"),
    (r"state_projection\.weight$", "projection_weight"),
)


def looks_like(path: Path) -> bool:
    """Whether `path` is a folder or zip with the files of ELMoForManyLangs."""
    return Parts.find(path, NEEDED) is not None


def read(path: Path) -> Model:
    """The model at `path`, a folder or a zip (its files may lie in a folder inside).

    Raises `UnknownFormatError`, `DamagedModelError`, `UnsupportedModelError` (the package's other two networks).
    """
    with Parts.open(path, NEEDED) as parts:
        settings, source, recipe = _settings(parts)
        _refuse_other_networks(settings, source)
        embedder, encoder = parts.tensors("token_embedder.pkl"), parts.tensors("encoder.pkl")
        with damage_named(source, "reading the architecture"):
            try:
                config = _config(settings, embedder, encoder, parts)
                if settings is not SHIPPED_CONFIG:
                    _compare_sizes(settings, config, source)
                characters = _characters(parts, config)
                words = _words(parts, config, settings)
            except OptionError as error:
                raise DamagedModelError(f"{source}: {error}; {REFETCH}") from error
    with damage_named(path, "arranging the weights"):
        bilm = assemble(config, _embedder_state(embedder, config) | _renamed(encoder, ENCODER_NAMES), path)
    card = ModelCard(name=path.stem, source_format="elmo-for-many-langs", recipe=recipe)
    return Model(bilm, characters=characters, words=words, card=card)


# --- configuration


def _settings(parts: Parts) -> tuple[dict[str, Any], Path, str]:
    """The architecture that config.json names, the file it stands in, and what was assumed where that is missing.

    Then the settings are those that the package ships, whose sizes the weights may overrule.
    """
    named = parts.json("config.json").get("config_path")
    # The path was written on another machine, with its separators.
    pieces = re.split(r"[/\\]", named) if isinstance(named, str) else [""]
    name, inside = pieces[-1], "/".join(pieces)
    relative = inside if not ({"", ".."} & set(pieces) or ":" in pieces[0]) else name
    for candidate in (relative, name, f"configs/{name}"):
        if name not in ("", ".", "..", "config.json") and "\0" not in candidate and parts.has(candidate):
            return parts.json(candidate), parts.path(candidate), ""
    assumed = (
        "" if name in SHIPPED_NAMES else f"without {name}: sizes from the weights, the published clips and lengths"
    )
    return SHIPPED_CONFIG, parts.path("config.json"), assumed


def _refuse_other_networks(settings: dict[str, Any], source: Path) -> None:
    for section, supported in (("encoder", "elmo"), ("token_embedder", "cnn")):
        if not isinstance(settings.get(section), dict):
            raise DamagedModelError(f"{source}: has no section {section!r}, so this is not an architecture; {REFETCH}")
        name = settings[section].get("name", supported)
        if str(name).lower() != supported:
            raise UnsupportedModelError(
                f"{source}: the {section} is {name!r}; Polyseme runs {supported!r}, which all published models have"
            )


def _config(
    settings: dict[str, Any], embedder: dict[str, Tensor], encoder: dict[str, Tensor], parts: Parts
) -> BiLMConfig:
    """Sizes from the shapes of the tensors; activation, clips and the longest word from the settings."""
    size, cells = _shape(encoder, "forward_layer_0.state_projection.weight", parts.path("encoder.pkl"), 2)
    file, cnn = parts.path("token_embedder.pkl"), None
    table = "word_emb_layer.embedding.weight"
    n_words, word_size = _shape(embedder, table, file, 2) if table in embedder else (0, 0)
    table = "char_emb_layer.embedding.weight"
    if table in embedder:
        rows, char_size = _shape(embedder, table, file, 2)
        shapes = [_shape(embedder, name, file, 3) for name in _numbered(embedder, "convolutions.{}.weight")]
        cnn = CharCNNConfig(
            n_rows=rows + 1,
            char_size=char_size,
            filters=tuple((width, count) for count, _, width in shapes),
            n_highway=len(_numbered(embedder, "highways._layers.{}.weight")),
            activation=str(settings["token_embedder"].get("activation", "relu")),
            max_characters=int(settings["token_embedder"].get("max_characters_per_token", 50)),
            projection_location="none" if word_size else "after_highway",
        )
    return BiLMConfig(
        encoder="+".join(kind for kind, there in (("char_cnn", cnn), ("word", word_size)) if there),
        n_layers=len(_numbered(encoder, "forward_layer_{}.state_projection.weight")),
        projection_size=size,
        cell_size=cells,
        cell_clip=clip(settings["encoder"].get("cell_clip")),
        projection_clip=clip(settings["encoder"].get("proj_clip")),
        residual=True,
        forget_bias=0.0,
        char_cnn=cnn,
        n_words=n_words,
        word_size=word_size,
        dropout=float(settings.get("dropout", 0.0)),
    )


def _compare_sizes(settings: dict[str, Any], config: BiLMConfig, source: Path) -> None:
    """Raises `DamagedModelError` where the architecture file speaks of another network than the weights."""
    encoder, embedder, cnn = settings["encoder"], settings["token_embedder"], config.char_cnn
    pairs: list[tuple[str, object, object]] = [
        ("projection_dim", encoder.get("projection_dim"), config.projection_size),
        ("dim", encoder.get("dim"), config.cell_size),
        ("n_layers", encoder.get("n_layers"), config.n_layers),
        ("word_dim", embedder.get("word_dim"), config.word_size),
        ("char_dim", embedder.get("char_dim"), cnn.char_size if cnn else 0),
    ]
    if cnn:
        pairs.append(("filters", embedder.get("filters"), [list(pair) for pair in cnn.filters]))
        pairs.append(("n_highway", embedder.get("n_highway"), cnn.n_highway))
    for name, said, found in pairs:
        if said != found:
            raise DamagedModelError(f"{source}: says {name} {said}, but the weights have {found}; {REFETCH}")


def _numbered(state: dict[str, Tensor], pattern: str) -> list[str]:
    """The names `pattern` with 0, 1, 2... as far as they go."""
    names: list[str] = []
    while (name := pattern.format(len(names))) in state:
        names.append(name)
    return names


def _shape(state: dict[str, Tensor], name: str, source: Path, dimensions: int) -> tuple[int, ...]:
    if name not in state or state[name].dim() != dimensions:
        found = f"has shape {tuple(state[name].shape)}" if name in state else "is missing"
        raise DamagedModelError(f"{source}: {name} {found}; {REFETCH}")
    return tuple(state[name].shape)


# --- dictionaries


def _dictionary(parts: Parts, name: str, rows: int) -> tuple[str, ...]:
    """The tokens of char.dic or word.dic in the order of their ids, which must be those of `rows` rows."""
    tokens, raw, source = {}, {}, parts.path(name)
    for number, line in enumerate(parts.text(name).split("\n"), 1):
        *token, identity = line.strip().split("\t")
        if not identity:
            continue
        if not (identity.isascii() and identity.isdigit() and len(identity) < 10):
            raise DamagedModelError(f"{source}: line {number} ends in {identity[:40]!r}, not in an id; {REFETCH}")
        tokens[int(identity)] = "\t".join(token) if token else SPACE
        raw[int(identity)] = line.rpartition("\t")[0]
    if sorted(tokens) != list(range(rows)):
        raise DamagedModelError(f"{source}: lists {len(tokens):,} ids for a table of {rows:,} rows; {REFETCH}")
    # Stripped lines may fall together where a token is white space itself; the package cannot open such a model.
    times = Counter(tokens.values())
    return tuple(tokens[i] if times[tokens[i]] == 1 else raw[i] for i in range(rows))


def _characters(parts: Parts, config: BiLMConfig) -> Characters | None:
    if config.char_cnn is None:
        return None
    alphabet = _dictionary(parts, "char.dic", config.char_cnn.n_rows - 1)
    mark = {name: _row(alphabet, name, parts.path("char.dic")) + 1 for name in CHARACTER_MARKS}
    return Characters(
        max_characters=config.char_cnn.max_characters,
        alphabet=alphabet,
        sentence_start=mark["<bos>"],
        sentence_end=mark["<eos>"],
        word_start=mark["<eow>"],  # swapped, as in the package's batches (`create_one_batch`)
        word_end=mark["<bow>"],
        padding=mark["<pad>"],
        unknown=mark["<oov>"],
        boundaries=("<bos>", "<eos>"),
    )


def _words(parts: Parts, config: BiLMConfig, settings: dict[str, Any]) -> WordTable | None:
    if not config.reads_words:
        return None
    words = _dictionary(parts, "word.dic", config.n_words)
    start, end, unknown = (_row(words, name, parts.path("word.dic")) for name in ("<bos>", "<eos>", "<oov>"))
    room = int(settings["token_embedder"].get("max_characters_per_token", 50)) - 2
    return WordTable(words, start, end, unknown, boundaries=("<bos>", "<eos>"), max_characters=room)


def _row(tokens: tuple[str, ...], token: str, source: Path) -> int:
    if token not in tokens:
        raise DamagedModelError(f"{source}: does not list {token}; {REFETCH}")
    return tokens.index(token)


# --- state dicts -> ours


def _embedder_state(state: dict[str, Tensor], config: BiLMConfig) -> dict[str, Tensor]:
    """`ConvTokenEmbedder` in our names; tensors of other names stay as they are, for `assemble` to refuse."""
    renamed = _renamed(state, EMBEDDER_NAMES)
    if config.char_cnn:
        table = renamed["encoder.char_cnn.table.weight"]
        renamed["encoder.char_cnn.table.weight"] = torch.cat([table.new_zeros(1, table.size(1)), table])
    if config.encoder == "char_cnn":
        for part in ("weight", "bias"):
            renamed[f"encoder.char_cnn.projection.{part}"] = renamed.pop(f"encoder.projection.{part}")
    if config.encoder == "word" and config.word_size == config.projection_size:
        # Our word encoder projects only where the widths differ: the projection moves into the table.
        weight, bias = renamed.pop("encoder.projection.weight"), renamed.pop("encoder.projection.bias")
        renamed["encoder.words.weight"] = renamed["encoder.words.weight"] @ weight.T + bias
    return renamed


def _renamed(state: dict[str, Tensor], names: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """The same tensors in our names. The encoder needs no more: its gates lie in our order."""
    renamed = {}
    for name, tensor in state.items():
        ours = name
        for pattern, replacement in names:
            ours = re.sub(pattern, replacement, ours)
        renamed[ours] = tensor
    return renamed
