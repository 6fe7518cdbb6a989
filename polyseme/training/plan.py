"""What a run will cost, before it begins: parameters, memory, updates, and the time by a short trial on the real text.

`--hours` turns the question round: which preset, how many epochs, for the hours there are?
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from polyseme.bilm import BiLM, BiLMConfig
from polyseme.text.chars import UNKNOWN_WORD
from polyseme.text.shards import Corpus
from polyseme.text.vocab import Vocabulary
from polyseme.train import Run
from polyseme.training.config import TrainConfig
from polyseme.training.processes import Processes

# ELMoForManyLangs trained on 20 M words a language; with that much a German model stood behind a newer one by a point
# of NER F1 and more (delft#155). Less text than this makes a weak model, however long it trains.
ENOUGH_WORDS = 20_000_000
TRIAL_SECONDS = 10.0
MOST_EPOCHS = 40
BY_RISING_SIZE = ("tiny", "small", "medium", "original")


@dataclass(frozen=True)
class Plan:
    """What a run will cost.

    `memory`: bytes a process, about. `targets`: of one epoch, a direction. `seconds`: of the whole run, at the trial's
    speed. `long_sentences`: beyond a Transformer's context, so read in pieces.
    """

    preset: str
    parameters: int
    softmax_parameters: int
    vocabulary: int
    unknown_share: float
    memory: int
    words: int
    targets: int
    epochs: int
    updates: int
    samples: int
    targets_per_second: float
    seconds: float
    long_sentences: int = 0

    @property
    def small_text(self) -> str | None:
        """What to expect of little text; None where there is enough."""
        if self.words >= ENOUGH_WORDS:
            return None
        return (
            f"{self.words:,} words are little to train a language model from nothing (from {ENOUGH_WORDS:,} on, "
            "vectors become good): `polyseme adapt` moves a trained model to this text, and static vectors (word2vec, "
            "GloVe) learn from less"
        )


def plan(
    corpus: Corpus,
    preset: str,
    sizes: BiLMConfig,
    config: TrainConfig,
    vocabulary: Vocabulary,
    device: str = "cpu",
    processes: Processes | None = None,
) -> Plan:
    """Counts what can be counted, and times a few updates of a scratch network for the rest; nothing is written.

    Each process computes all lanes alone, at the same time as the others; together they will be as fast as their sum.
    """
    run = Run(corpus, Path(), sizes, config, vocabulary=vocabulary, device=device)
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        speed = (processes or Processes()).sum([_speed(run)], run.device)[0]
    parameters, of_softmax = count_parameters(run.architecture)
    targets = corpus.train.n_targets
    return Plan(
        preset=preset,
        parameters=parameters,
        softmax_parameters=of_softmax,
        vocabulary=len(run.vocabulary),
        unknown_share=_unknown_share(run),
        memory=_memory(run.architecture, config, parameters),
        words=corpus.train.n_words,
        targets=targets,
        epochs=config.epochs,
        updates=run.n_updates,
        samples=run.n_samples,
        targets_per_second=speed,
        seconds=min(targets * config.epochs, run.n_updates * config.lanes * config.steps) / speed,
        long_sentences=_long_sentences(corpus, run.architecture),
    )


def plan_hours(
    corpus: Corpus,
    hours: float,
    sizes: dict[str, BiLMConfig],
    config: TrainConfig,
    vocabulary: Vocabulary,
    device: str = "cpu",
    processes: Processes | None = None,
) -> Plan:
    """The largest preset that reads the text often enough in `hours`, and as many epochs as then fit, at least one.

    Small text is worth more epochs than large text, and a large network more text: a preset is taken if it can read
    100 M words in all, or ten epochs where the text is smaller than 10 M words.
    """
    chosen = None
    for preset in BY_RISING_SIZE:
        found = plan(corpus, preset, sizes[preset], replace(config, epochs=1), vocabulary, device, processes)
        epochs = math.floor(hours * 3600 / found.seconds)
        if chosen is not None and epochs < wanted_epochs(corpus.train.n_words):
            break
        epochs = max(1, min(MOST_EPOCHS, epochs))
        chosen = replace(found, epochs=epochs, updates=found.updates * epochs, seconds=found.seconds * epochs)
    assert chosen is not None
    return chosen


def wanted_epochs(words: int) -> int:
    """How often a text of so many words should be read at least."""
    return max(1, min(10, math.ceil(100_000_000 / max(1, words))))


def count_parameters(architecture: BiLMConfig) -> tuple[int, int]:
    """Of the whole network, and of its softmax alone."""
    with torch.device("meta"):
        bilm = BiLM(architecture)
    softmax = sum(p.numel() for p in bilm.softmax.parameters()) if bilm.softmax is not None else 0
    return sum(p.numel() for p in bilm.parameters()), softmax


def _speed(run: Run) -> float:
    """Targets a second, of updates after the first two; a trial is no longer than a tenth of its run."""
    size = run.batches.start_epoch(0)
    most = max(6, run.n_updates // 10)
    began, before = 0.0, 0
    for number in range(most):
        if number == 2:
            began, before = time.monotonic(), run.position.targets
        if number >= 4 and time.monotonic() - began > TRIAL_SECONDS:
            break
        run.position.update_of_epoch %= size
        run.update()
    return max(1.0, run.position.targets - before) / (time.monotonic() - began)


def _unknown_share(run: Run) -> float:
    """Of the training words; those that are spelled <UNK> are outside, too."""
    known = int(run.corpus.counts[run.softmax_rows != run.vocabulary.id(UNKNOWN_WORD)].sum())
    n_words = run.corpus.train.n_words
    return (n_words - known) / n_words if n_words else 0.0


def _long_sentences(corpus: Corpus, architecture: BiLMConfig) -> int:
    if architecture.transformer is None:
        return 0
    most = architecture.transformer.context - 2
    return sum(int((np.diff(part.starts) > most).sum()) for part in (corpus.train, corpus.heldout))


def _memory(architecture: BiLMConfig, config: TrainConfig, parameters: int) -> int:
    """Weights, gradients and the optimiser's two moments; what layers keep for their way back; the rest of a process.

    Measured with "tiny" and "transformer-small" after a hundred updates: 1.3 GB, of which PyTorch, the code of its
    kernels and the allocator's slack are 850 MB (docs/log.md).
    """
    tokens = config.lanes * config.steps // config.accumulate
    if architecture.transformer is not None:
        kept = architecture.n_layers * (12 * architecture.projection_size + 3 * architecture.transformer.inner_size)
    else:
        kept = architecture.n_layers * (7 * architecture.cell_size + 4 * architecture.projection_size)
    filters = architecture.char_cnn.n_filters if architecture.char_cnn else 0
    activations = 2 * tokens * kept + tokens * filters * 40
    return 4 * (4 * parameters + activations) + (850 << 20)
