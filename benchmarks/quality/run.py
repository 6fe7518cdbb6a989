"""What every task gets, and what it gives back: a flat list of scores, each saying what it measures and over what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.text.tokenize import Tokenizer

from .cache import Cache
from .vectors import SentenceTransformer, Source

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sizes:
    """How much of the data is used. `quick` caps every part of every set, for a look.

    Each seed of a linear probe trains on a random four fifths of the training sentences (its solution depends on
    nothing else); a seed of the tagger sets the initial weights, the dropout and the order. A seed of the robustness
    test also sets which characters are damaged.
    """

    train_sentences: int = 2000
    train_texts: int = 4000
    test_sentences: int = 2000
    seeds: int = 3
    quick: int | None = None
    probe_sentences: int = 1000

    def train(self, *, texts: bool = False) -> int:
        """Training sentences of the tagger, or texts."""
        return min(self.train_texts if texts else self.train_sentences, self.quick or 1 << 30)

    def probe(self) -> int:
        """Training sentences of the linear probe of words, whose windows are wide."""
        return min(self.probe_sentences, self.train())

    def dev(self) -> int:
        """Sentences or texts on which choices are made."""
        return min(self.test_sentences // 2, self.quick or 1 << 30)

    def test(self) -> int:
        """Test sentences or texts."""
        return min(self.test_sentences, self.quick or 1 << 30)


@dataclass(frozen=True)
class Score:
    """One number. `view`: what was made of the vectors (a layer, the window of static vectors ...).

    `values`: one a seed, whose mean is `value` and whose standard deviation `deviation` (of a sample; 0 for one).
    `interval`: 95 %, with `n` test items. `chosen`: the view that the dev part chose; tables show this one.
    """

    data: str
    vectors: str
    view: str
    metric: str
    value: float
    values: Sequence[float] = ()
    interval: tuple[float, float] | None = None
    n: int = 0
    chosen: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def deviation(self) -> float:
        """The standard deviation over the seeds."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0

    def row(self) -> dict[str, Any]:
        """For the JSON file."""
        return {**asdict(self), "values": [round(value, 6) for value in self.values], "deviation": self.deviation}


@dataclass(frozen=True)
class Result:
    """A task's scores, and how much data they rest on."""

    scores: list[Score]
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Everything that tasks share. `model`: the path or name of the biLM, for perplexity.

    `word_scores`: vectors -> what `polyseme static evaluate --json` printed for them.
    """

    language: str
    sources: Sequence[Source]
    tokenizer: Tokenizer
    cache: Cache
    sizes: Sizes
    say: Callable[[str], None]
    model: str = ""
    upper: SentenceTransformer | None = None
    word_scores: Mapping[str, Path] = field(default_factory=dict)

    @property
    def contextual(self) -> list[Source]:
        """The biLMs."""
        return [source for source in self.sources if source.kind == "contextual"]


def seeded(values: Sequence[float], **about: Any) -> Score:
    """The score of several seeds."""
    return Score(value=float(np.mean(values)), values=tuple(values), **about)


def layer_views(source: Source, rows: npt.NDArray[Any]) -> dict[str, Floats]:
    """Each layer, and the plain mean of all where there are several. *Shape:* (N, L, W) -> (N, W) each."""
    views = {name: np.asarray(rows[:, number], dtype=np.float32) for number, name in enumerate(source.layers)}
    if len(views) > 1:
        views["average"] = np.asarray(rows.mean(axis=1, dtype=np.float32))
    return views


def chosen(views: dict[str, float]) -> str:
    """The view with the best dev value; the first one of equals."""
    return max(views, key=lambda view: views[view])
