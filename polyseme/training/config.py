"""What can be chosen about a training run, and the presets: sizes by name, recipes by name."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from polyseme.bilm import BiLMConfig
from polyseme.errors import OptionError
from polyseme.nn.char_cnn import CharCNNConfig
from polyseme.nn.transformer import TransformerConfig
from polyseme.text.chars import Characters
from polyseme.training.network import Dropout

# Kim et al. 2016, the small character network: 525 filters.
FEW_FILTERS = ((1, 25), (2, 50), (3, 75), (4, 100), (5, 125), (6, 150))
# The sizes of published ELMo models: https://allenai.org/allennlp/software/elmo
SIZES = {
    "tiny": BiLMConfig(projection_size=64, cell_size=256, char_cnn=CharCNNConfig(filters=FEW_FILTERS, n_highway=1)),
    "small": BiLMConfig(projection_size=128, cell_size=1024, char_cnn=CharCNNConfig(n_highway=1)),
    "medium": BiLMConfig(projection_size=256, cell_size=2048, char_cnn=CharCNNConfig(n_highway=1)),
    "original": BiLMConfig(projection_size=512, cell_size=4096, char_cnn=CharCNNConfig(n_highway=2)),
    "transformer-small": BiLMConfig(
        layers="transformer",
        n_layers=4,
        projection_size=256,
        cell_size=1,
        char_cnn=CharCNNConfig(filters=FEW_FILTERS, n_highway=1, layer_norm=True),
        transformer=TransformerConfig(inner_size=1024, n_heads=8, context=512),
    ),
    # Peters et al. 2018b; allennlp-models `bidirectional_language_model.jsonnet`
    "transformer-base": BiLMConfig(
        layers="transformer",
        n_layers=6,
        projection_size=512,
        cell_size=1,
        char_cnn=CharCNNConfig(n_highway=2, layer_norm=True),
        transformer=TransformerConfig(inner_size=2048, n_heads=8, context=512),
    ),
}


@dataclass(frozen=True)
class TrainConfig:
    """How a biLM is trained; everything that decides the result but the text and the sizes of the network.

    `lanes` x `steps`: tokens of an update (B x T); a Transformer's updates hold as many tokens in whole sentences.
    `accumulate`: parts that an update is computed in, one after the other, to save memory. `loss`: "full", "sampled"
    against `samples` words, or "auto": full up to `FULL_UP_TO` words (ten times that on a GPU).
    `passages`: an LSTM reads the text in passages of about so many words, in another order each epoch, so that no long
    book or file fills a lane for thousands of updates; 0 is the order of the text.
    `updates`: ends the run early, after so many; 0 is the end of the last epoch.
    `schedule`: after `warm_up` updates the rate stays ("constant"), falls along half a cosine to nothing at the run's
    end ("cosine"), or with the square root of the update ("inverse_sqrt"). The last `cool_down` updates of the other
    two fall to nothing as 1 - sqrt (Hägele et al. 2024, section 3): until then a run does not know where it ends.
    `gradient_scale` multiplies the gradient of the mean loss before `clip_norm` bounds it (bilm-tf trains on 20 times
    its mean). `typos`: share of the words that are read with typing mistakes (`training/typos.py`).
    `validate_every`, `checkpoint_every`: in updates; 0 is once an epoch. `patience`: validations without a better
    perplexity that end the run, 0 for never. `keep`: checkpoints that stay. `validation_words`: of the held-out part,
    read at each validation. `rollbacks`: how often a run may go back to its last good state at half the rate.
    """

    epochs: int = 10
    updates: int = 0
    lanes: int = 128
    steps: int = 20
    passages: int = 0
    accumulate: int = 1
    optimizer: Literal["adamw", "adagrad"] = "adamw"
    learning_rate: float = 1e-3
    warm_up: int = 500
    schedule: Literal["constant", "cosine", "inverse_sqrt"] = "cosine"
    cool_down: int = 0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    initial_accumulator: float = 1.0
    clip_norm: float = 1.0
    gradient_scale: float = 1.0
    loss: Literal["auto", "full", "sampled"] = "auto"
    samples: int = 8192
    dropout: Dropout = field(default_factory=lambda: Dropout(inputs=0.1, outputs=0.1))
    typos: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 1
    log_every: int = 100
    validate_every: int = 0
    validation_words: int = 250_000
    checkpoint_every: int = 500
    keep: int = 2
    patience: int = 0
    rollbacks: int = 5

    def __post_init__(self) -> None:
        counts = ("epochs", "lanes", "steps", "accumulate", "samples", "log_every", "checkpoint_every", "keep")
        for name in (*counts, "validation_words"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, was: {getattr(self, name)}")
        for name in (
            "passages",
            "updates",
            "warm_up",
            "cool_down",
            "weight_decay",
            "initial_accumulator",
            "seed",
            "validate_every",
            "patience",
            "rollbacks",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(f"{name} must be 0 or more, was: {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm", "gradient_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise OptionError(f"{name} must be above 0, was: {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise OptionError(f"betas must be from 0 to below 1, were: {self.betas}")
        for name, share in asdict(self.dropout).items():
            if not 0 <= share < 1:
                raise OptionError(f"dropout is a share from 0 to below 1, was: {share} of {name}")
        if not 0 <= self.typos <= 1:
            raise OptionError(f"typos is a share from 0 to 1, was: {self.typos}")
        for name, known in (
            ("optimizer", ("adamw", "adagrad")),
            ("schedule", ("constant", "cosine", "inverse_sqrt")),
            ("loss", ("auto", "full", "sampled")),
            ("precision", ("float32", "bfloat16")),
        ):
            if getattr(self, name) not in known:
                raise OptionError(f"{name} must be one of {', '.join(known)}, was: {getattr(self, name)!r}")
        if self.cool_down and self.schedule == "cosine":
            raise OptionError("a cosine needs no cool_down: take the constant or the inverse_sqrt schedule")
        if self.accumulate > self.lanes:
            raise OptionError(f"{self.lanes} lanes cannot be computed in {self.accumulate} parts")


RECIPES = {
    "adamw": TrainConfig(),
    # Peters et al. 2018: bilm-tf `bin/train_elmo.py`, `bilm/training.py`
    "published": TrainConfig(
        optimizer="adagrad",
        learning_rate=0.2,
        warm_up=0,
        schedule="constant",
        weight_decay=0.0,
        clip_norm=10.0,
        gradient_scale=20.0,
        loss="sampled",
    ),
}
FULL_UP_TO = 16_384


def sized(preset: str) -> BiLMConfig:
    """The architecture of a preset. Raises `OptionError`."""
    if preset not in SIZES:
        raise OptionError(f"the preset must be one of {', '.join(SIZES)}, was: {preset!r}")
    return SIZES[preset]


def fitted(config: BiLMConfig, n_words: int, characters: Characters, dropout: float) -> BiLMConfig:
    """An architecture with a softmax of `n_words` words, for an alphabet. Raises `OptionError`."""
    if config.char_cnn is None or config.reads_words:
        raise OptionError(f"only a model that reads characters alone can be trained; its encoder is {config.encoder!r}")
    cnn = replace(config.char_cnn, n_rows=characters.n_rows, max_characters=characters.max_characters)
    return replace(config, softmax_size=n_words, char_cnn=cnn, dropout=dropout)


def samples_of(config: TrainConfig, n_words: int, on_gpu: bool) -> int:
    """How many words each target is scored against: 0 for all of them."""
    if config.loss == "auto":
        full = n_words <= FULL_UP_TO * (10 if on_gpu else 1) or config.samples > n_words // 2
        return 0 if full else config.samples
    if config.loss == "sampled" and config.samples > n_words // 2:
        raise OptionError(
            f"loss is sampled with {config.samples} words of {n_words}; more than half of them cost more than all: "
            "take fewer samples, or the full loss"
        )
    return config.samples if config.loss == "sampled" else 0
