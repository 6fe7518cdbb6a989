"""Labels for texts and pairs of texts: topics, sentiment, inference; one label a text, or any number of them.

    classifier, reports = fit(train, dev, features, Reading("ptb"), HeadConfig("bcn"))
    classifier.evaluate(test)
    classifier.predict(texts)            # [Prediction(labels=("positive",), probabilities=(0.03, 0.97)), ...]

A text is cut into sentences and words; the biLM reads each sentence, and the network all words of the text together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, cast

import torch
from torch import Tensor, nn

from polyseme.batching import plan
from polyseme.errors import InputError, OptionError
from polyseme.nn.device import device_named
from polyseme.tasks.data import Text
from polyseme.tasks.features import Batches, Features, Inputs, Vectors, Words
from polyseme.tasks.heads import BCN, AttentionHead, HeadConfig
from polyseme.tasks.labels import check_known, label_set
from polyseme.tasks.layers import TokenInput
from polyseme.tasks.loop import Epoch, LoopConfig, LoopReport, train_seeds
from polyseme.tasks.metrics import Labels, LabelScores, label_scores
from polyseme.tasks.nli import ESIM
from polyseme.text.tokenize import tokenizer_for

HEADS = ("attention", "bcn", "esim")
Metric = Literal["accuracy", "macro_f1", "micro_f1"]
METRICS = ("accuracy", "macro_f1", "micro_f1")
READ_WORDS, READ_TEXTS = 16_384, 64  # of a batch, where nothing is learned
THRESHOLD = 0.5  # of a label's probability, where a text may have several


@dataclass(frozen=True)
class Reading:
    """How a text becomes words. `tokenizer`: a name of `polyseme.text.tokenize`; of a text `max_words` are read."""

    tokenizer: str = "whitespace"
    version: str = ""
    max_words: int = 500

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise OptionError(f"max_words must be at least 1, was: {self.max_words}")


@dataclass(frozen=True)
class Prediction:
    """What a text is. `probabilities`: one a label of the classifier, in its order."""

    labels: Labels
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Cut:
    """Texts as sentences of words, the texts of a pair one after the other; `warnings` tell what was cut off."""

    texts: tuple[tuple[tuple[Words, ...], ...], ...]
    warnings: tuple[str, ...]


def cut(texts: Sequence[Text], reading: Reading) -> Cut:
    """Raises `InputError` with file and line for a text in which the tokenizer finds no word, or one text of a pair."""
    tokenizer = tokenizer_for(reading.tokenizer)
    found, long = [], []
    n_texts = len(texts[0].texts) if texts else 1
    for text in texts:
        if len(text.texts) != n_texts:
            raise InputError(f"{text.place}: {len(text.texts)} texts where the others have {n_texts}")
        sentences = tuple(tuple(each.tokens for each in tokenizer.sentences(raw)) for raw in text.texts)
        lengths = [sum(map(len, each)) for each in sentences]
        if not all(lengths):
            raise InputError(f"{text.place}: no word in {text.texts[lengths.index(0)]!r:.60}; remove the row")
        if max(lengths) > reading.max_words:
            long.append((text.place, max(lengths)))
        found.append(sentences)
    if not long:
        return Cut(tuple(found), ())
    place, length = long[0]
    return Cut(
        tuple(found),
        (
            f"{place}: of {length:,} words the first {reading.max_words:,} are read; so with {len(long):,} of "
            f"{len(texts):,} texts (--max-words)",
        ),
    )


class Classifier:
    """A trained network with its vectors and labels. `kind`: classify, or nli."""

    def __init__(
        self,
        network: nn.Module,
        config: HeadConfig,
        labels: Sequence[str],
        features: Features,
        reading: Reading,
        *,
        n_texts: int = 1,
        multi_label: bool = False,
        device: str = "cpu",
    ) -> None:
        self.device = device_named(device)
        self.network, self.config, self.labels = network.to(self.device), config, tuple(labels)
        self.features, self.reading, self.n_texts, self.multi_label = features, reading, n_texts, multi_label

    def with_network(self, network: nn.Module, features: Features | None = None) -> Classifier:
        """The same with another network, and other features where they are given."""
        return Classifier(
            network, self.config, self.labels, features or self.features, self.reading, n_texts=self.n_texts,
            multi_label=self.multi_label, device=str(self.device),
        )  # fmt: skip

    @property
    def kind(self) -> str:
        """The KIND of the command line."""
        return "nli" if self.config.head == "esim" else "classify"

    def predict(self, texts: Sequence[Text]) -> list[Prediction]:
        """One prediction a text, in order."""
        if texts and len(texts[0].texts) != self.n_texts:
            wanted = "pairs of texts; say --second-column" if self.n_texts == 2 else "single texts"
            raise InputError(f"{texts[0].place}: this classifier reads {wanted}")
        return self.read(vectors_of(cut(texts, self.reading), self.features, self.reading))

    def evaluate(self, texts: Sequence[Text]) -> LabelScores:
        """Raises `InputError` with file and line for a label that training did not have."""
        check_known(texts, self.labels)
        found = self.predict(texts)
        return label_scores([text.labels for text in texts], [each.labels for each in found], self.labels)

    def read(self, vectors: Sequence[Batches]) -> list[Prediction]:
        """One prediction a text, from the vectors of its one or two texts."""
        self.network.eval()
        found: dict[int, Prediction] = {}
        lengths = together(vectors)
        with torch.inference_mode():
            for batch in plan(lengths, READ_WORDS, READ_TEXTS, padded=True):
                scores = self.network([each.batch(batch).to(self.device) for each in vectors]).cpu()
                for at, row in zip(batch, scores, strict=True):
                    found[at] = self._prediction(row)
        return [found[at] for at in range(len(lengths))]

    def _prediction(self, scores: Tensor) -> Prediction:
        """*Shape:* (K,)."""
        probabilities = torch.sigmoid(scores) if self.multi_label else torch.softmax(scores, dim=0)
        if self.multi_label:
            best: Labels = tuple(
                label for label, p in zip(self.labels, probabilities.tolist(), strict=True) if p > THRESHOLD
            )
        else:
            best = (self.labels[int(probabilities.argmax())],)
        return Prediction(best, tuple(probabilities.tolist()))


@dataclass(frozen=True)
class Ready:
    """Labelled texts with the vectors of their first texts, and of the second ones of pairs."""

    texts: tuple[Text, ...]
    vectors: tuple[Vectors, ...]

    @classmethod
    def of(cls, texts: Sequence[Text], features: Features, reading: Reading) -> Ready:
        """Cuts the texts and computes the vectors; raises what `cut` raises, and `OutputError` (a full disk)."""
        return cls(tuple(texts), tuple(vectors_of(cut(texts, reading), features, reading)))

    def some(self, rows: Sequence[int]) -> Ready:
        """Those of these numbers."""
        return Ready(tuple(self.texts[row] for row in rows), tuple(each.some(rows) for each in self.vectors))


def vectors_of(cut_texts: Cut, features: Features, reading: Reading) -> list[Vectors]:
    """The vectors of the first texts, and of the second ones of pairs."""
    n_texts = len(cut_texts.texts[0]) if cut_texts.texts else 1
    everything = features.vectors([each for text in cut_texts.texts for each in text], reading.max_words)
    return [everything.part(slice(number, None, n_texts)) for number in range(n_texts)]


def together(vectors: Sequence[Batches]) -> list[int]:
    """Words of each text or pair."""
    return [sum(lengths) for lengths in zip(*(each.lengths for each in vectors), strict=True)]


def fit(
    train: Sequence[Text],
    dev: Sequence[Text],
    features: Features,
    reading: Reading,
    config: HeadConfig | None = None,
    loop: LoopConfig | None = None,
    *,
    multi_label: bool = False,
    balanced: bool = False,
    metric: Metric = "accuracy",
    seeds: Sequence[int] = (1,),
    device: str = "cpu",
    progress: Callable[[Epoch], None] | None = None,
) -> tuple[Classifier, tuple[LoopReport, ...]]:
    """The classifier that is best on `dev` by `metric`, and how each seed went.

    `balanced`: each label weighs as much as any other, however rare (scikit-learn's "balanced" weights).
    Raises `InputError` where training has one label only, `OptionError`, `MissingExtraError`, `TrainingError`.
    """
    label_set(train)
    ready = [Ready.of(part, features, reading) for part in (train, dev)]
    return fit_ready(
        ready[0], ready[1], features, reading, config, loop, multi_label=multi_label, balanced=balanced, metric=metric,
        seeds=seeds, device=device, progress=progress,
    )  # fmt: skip


def fit_ready(
    train: Ready,
    dev: Ready,
    features: Features,
    reading: Reading,
    config: HeadConfig | None = None,
    loop: LoopConfig | None = None,
    *,
    multi_label: bool = False,
    balanced: bool = False,
    metric: Metric = "accuracy",
    seeds: Sequence[int] = (1,),
    device: str = "cpu",
    progress: Callable[[Epoch], None] | None = None,
) -> tuple[Classifier, tuple[LoopReport, ...]]:
    """`fit` from vectors that are computed already."""
    config, loop = config or HeadConfig(), loop or LoopConfig()
    if metric not in METRICS:
        raise OptionError(f"metric must be one of {', '.join(METRICS)}, was: {metric!r}")
    label_set(train.texts)
    labels = label_set([*train.texts, *dev.texts])
    where, vectors = device_named(device), train.vectors
    n_texts, scales = len(vectors), vectors[0].scales()
    loss = loss_over(train.texts, labels, config, where, multi_label=multi_label, balanced=balanced)
    truth = [text.labels for text in dev.texts]

    def build() -> nn.Module:
        return network_of(features, scales, len(labels), n_texts, config)

    def loss_of(network: nn.Module, batch: Sequence[int]) -> Tensor:
        return loss(network, [each.batch(batch).to(where) for each in vectors], batch)

    def classifier(network: nn.Module) -> Classifier:
        return Classifier(
            network, config, labels, features, reading, n_texts=n_texts, multi_label=multi_label, device=device
        )

    def measure(network: nn.Module) -> float:
        found = [each.labels for each in classifier(network).read(dev.vectors)]
        return float(getattr(label_scores(truth, found, labels), metric))

    network, reports = train_seeds(
        build, together(vectors), loss_of, measure, loop, seeds, device=where, progress=progress
    )
    return classifier(network), reports


def loss_over(
    texts: Sequence[Text],
    labels: Sequence[str],
    config: HeadConfig,
    device: torch.device,
    *,
    multi_label: bool,
    balanced: bool,
) -> Callable[[nn.Module, Sequence[Inputs], Sequence[int]], Tensor]:
    """The mean loss of a network on some texts, given their inputs and numbers, with the penalty of the mixes."""
    wanted = targets(texts, labels).to(device)
    weights = label_weights(texts, labels).to(device) if balanced else None

    def loss(network: nn.Module, inputs: Sequence[Inputs], rows: Sequence[int]) -> Tensor:
        scores = network(inputs)
        if multi_label:
            found = nn.functional.binary_cross_entropy_with_logits(scores, wanted[list(rows)], weight=weights)
        else:
            found = nn.functional.cross_entropy(scores, wanted[list(rows)].argmax(dim=1), weight=weights)
        return found + config.mix_l2 * cast(AttentionHead, network).penalty()

    return loss


def network_of(
    features: Features, scales: Sequence[Tensor], n_labels: int, n_texts: int, config: HeadConfig
) -> nn.Module:
    """A network for these vectors, its weights random. Raises `OptionError` for a head that does not fit them."""
    widths = [source.width for source in features.sources]
    inputs = TokenInput(widths, scales, config.input_dropout)
    if config.head == "attention":
        return AttentionHead(inputs, n_labels, n_texts, config)
    if config.head == "bcn":
        chosen = [at for at, source in enumerate(features.sources) if source.contextual]
        if config.elmo_output and not chosen:
            raise OptionError(
                "elmo_output was asked for, but the features have no elmo; add it, or leave the option out"
            )
        again = TokenInput(widths, scales, config.input_dropout, chosen=chosen) if config.elmo_output else None
        return BCN(inputs, again, n_labels, n_texts, config)
    if config.head == "esim":
        if n_texts != 2:
            raise OptionError("the head esim reads pairs of texts; give --second-column, or another --head")
        return ESIM(inputs, n_labels, config)
    raise OptionError(f"head must be one of {', '.join(HEADS)}, was: {config.head!r}")


def targets(texts: Sequence[Text], labels: Sequence[str]) -> Tensor:
    """1 for the labels of each text. *Shape:* (texts, K) float32."""
    number = {label: at for at, label in enumerate(labels)}
    found = torch.zeros(len(texts), len(labels))
    for row, text in enumerate(texts):
        for label in text.labels:
            found[row, number[label]] = 1
    return found


def label_weights(texts: Sequence[Text], labels: Sequence[str]) -> Tensor:
    """n / (K count of a label), as scikit-learn's "balanced"; 0 for a label that never comes. *Shape:* (K,)."""
    counts = Counter(chain.from_iterable(text.labels for text in texts))
    total = counts.total()
    return torch.tensor([total / (len(counts) * counts[label]) if counts[label] else 0.0 for label in labels])
