"""The options of `polyseme train` and `polyseme adapt`, declared once each; see `cli/options.py` for the others."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from polyseme.cli.options import _flag, _value

Recipe = StrEnum("Recipe", ["adamw", "published"])
OptimizerName = StrEnum("OptimizerName", ["adamw", "adagrad"])
LossName = StrEnum("LossName", ["auto", "full", "sampled"])
ScheduleName = StrEnum("ScheduleName", ["cosine", "constant", "inverse_sqrt"])


class Preset(StrEnum):
    """The sizes of `polyseme.training.config`."""

    TINY = "tiny"
    SMALL = "small"
    MEDIUM = "medium"
    ORIGINAL = "original"
    TRANSFORMER_SMALL = "transformer-small"
    TRANSFORMER_BASE = "transformer-base"


TextOrCorpus = Annotated[
    list[str],
    typer.Argument(metavar="TEXT_OR_CORPUS", help="Text files, directories, patterns or -; or one prepared corpus."),
]
ModelOut = Annotated[str, typer.Option("--out", "-o", metavar="MODEL", help="The folder to write.")]

# --- the run

PlanOnly = Annotated[bool, _flag("--plan", "Print what the run will cost, by a short trial, and stop there.")]
Hours = Annotated[
    float | None, _value("--hours", "H", "Choose preset, vocabulary and epochs for this machine and so many hours.")
]
TrainResume = Annotated[bool, _flag("--resume", "Go on at the very batch; on a fresh folder, simply start.")]
TensorBoard = Annotated[bool, _flag("--tensorboard", "Write TensorBoard's files too, into MODEL/tensorboard.")]
Licence = Annotated[str, _value("--licence", "TEXT", "Of the model, for its card.")]
DataName = Annotated[str, _value("--data", "TEXT", "What the text is, for the model's card. By default its path.")]

# --- sizes

PresetName = Annotated[Preset | None, typer.Option("--preset", help="The sizes of the network; small by default.")]
SoftmaxWords = Annotated[
    int | None, _value("--vocab-size", "V", "Words to predict. By default all that come twice, at most 100,000.", min=4)
]
VocabularyFile = Annotated[
    str | None,
    _value("--vocab", "FILE", "The words to predict, one a line by falling count, as vocab.txt of another model."),
]
CellSize = Annotated[int | None, _value("--cells", "H", "Cells of an LSTM layer, instead of the preset's.", min=1)]
ProjectionSize = Annotated[
    int | None, _value("--projection", "P", "Width of a direction's vectors, instead of the preset's.", min=2)
]
StartFrom = Annotated[
    str | None,
    _value("--start-from", "MODEL", "Begin with the weights of a model, whose sizes and words stay (a warm start)."),
]
LayerCount = Annotated[int | None, _value("--layers", "L", "Layers of a direction, instead of the preset's.", min=1)]

# --- the recipe

RecipeName = Annotated[
    Recipe,
    typer.Option(
        "--recipe", help="AdamW along a cosine, or what trained the published ELMo: Adagrad at 0.2, sampled loss."
    ),
]
Epochs = Annotated[int | None, _value("--epochs", "N", "How often the text is read.", min=1)]
Updates = Annotated[int | None, _value("--updates", "N", "End after so many updates, within the epochs.", min=1)]
Lanes = Annotated[int | None, _value("--batch-size", "B", "Lanes: stretches of text that are read together.", min=1)]
Steps = Annotated[int | None, _value("--steps", "T", "Tokens of a lane in one update.", min=1)]
Accumulate = Annotated[int | None, _value("--accumulate", "N", "Parts of an update, to save memory.", min=1)]
Optimizer = Annotated[OptimizerName | None, typer.Option("--optimizer", help="By default what the recipe says.")]
LearningRate = Annotated[float | None, _value("--learning-rate", "X", "The highest one.")]
WarmUp = Annotated[int | None, _value("--warm-up", "N", "Updates until the rate is reached.", min=0)]
Schedule = Annotated[ScheduleName | None, typer.Option("--schedule", help="How the rate falls.")]
CoolDown = Annotated[
    int | None, _value("--cool-down", "N", "Updates at the end, in which a rate that is no cosine falls to 0.", min=0)
]
WeightDecay = Annotated[float | None, _value("--weight-decay", "X", "Of AdamW, on matrices.")]
Clip = Annotated[float | None, _value("--clip", "X", "The bound on the gradient's norm.")]
Loss = Annotated[
    LossName | None,
    typer.Option("--loss", help="All words, or a sample; auto: all of a small vocabulary. Evaluation is always exact."),
]
Samples = Annotated[int | None, _value("--samples", "S", "Words of a sampled loss.", min=1)]
DropoutInputs = Annotated[float | None, _value("--dropout", "X", "Share of each layer's inputs set to zero.")]
DropoutOutputs = Annotated[float | None, _value("--dropout-output", "X", "The same of what the softmax reads.")]
DropoutWords = Annotated[float | None, _value("--dropout-words", "X", "Share of whole word vectors set to zero.")]
DropoutWeights = Annotated[float | None, _value("--dropout-weights", "X", "The same of the recurrent weights.")]
Passages = Annotated[
    int | None,
    _value("--passages", "N", "Read in passages of about N words, in another order each epoch; an LSTM's.", min=0),
]
Typos = Annotated[
    float | None,
    _value("--typos", "X", "Share of the words that are read with typing mistakes, so that the model learns to."),
]
TrainPrecision = Annotated[
    str | None,
    _value("--precision", "NAME", "Of the products' factors: float32, or bfloat16 (faster where supported)."),
]
ValidateEvery = Annotated[int | None, _value("--validate-every", "N", "In updates; 0: once an epoch.", min=0)]
CheckpointEvery = Annotated[int | None, _value("--checkpoint-every", "N", "In updates.", min=1)]
Keep = Annotated[int | None, _value("--keep", "K", "Checkpoints that stay.", min=1)]
Patience = Annotated[
    int | None, _value("--patience", "N", "Stop after N validations without a better perplexity; 0: never.", min=0)
]
LogEvery = Annotated[int | None, _value("--log-every", "N", "In updates.", min=1)]
