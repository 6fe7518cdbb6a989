"""Fine-tuning: after its network, the biLM's own layers learn the task, from the top down.

    classifier, report = tune_classifier(classifier, train, dev, TuneConfig(epochs=4))

As ULMFiT does with a language model (Howard and Ruder 2018, 3.3): *gradual unfreezing*, the top layer learns from the
first pass on, the one below it from the second; and *discriminative rates*, each layer 2.6 times more slowly than the
one above it. What reads a word's characters stays as it is, so that a word still has one vector in layer 0. The pass
that is best on dev is kept, the network before any of them included: tuning never makes dev worse.

Legend: `B` texts, `R` their sentences, `T` words of the longest with boundaries, `N` words of all, `L` layers, `W`
width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from polyseme.bilm import BiLM
from polyseme.embedder import Embedder
from polyseme.engine import with_boundaries
from polyseme.errors import OptionError
from polyseme.formats.model import Model, assemble
from polyseme.nn.lstm import LSTMStack, LSTMState
from polyseme.settle import encode
from polyseme.tasks import classify, tag
from polyseme.tasks.classify import Classifier, Ready
from polyseme.tasks.conll import TaggedData
from polyseme.tasks.features import Features, Inputs, Source, Vectors, Words, spelled
from polyseme.tasks.loop import Epoch, Group, LoopConfig, LoopReport, train
from polyseme.tasks.metrics import label_scores
from polyseme.tasks.tag import Tagger

FALL = 2.6  # Howard and Ruder 2018, 3.2
BLOCK = 1024  # words encoded together
OWN = "bilm"  # where a task's folder holds a biLM of its own


@dataclass(frozen=True)
class TuneConfig:
    """`epochs`: passes. `learning_rate`: of the biLM's top layer; `head_rate`: of the task's network."""

    epochs: int = 4
    learning_rate: float = 5e-4
    head_rate: float = 3e-4

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "head_rate"):
            if getattr(self, name) <= 0:
                raise OptionError(f"{name} must be above 0, was: {getattr(self, name)}")


class Tuned(nn.Module):
    """A task's network and the biLM under it, which learn together."""

    def __init__(self, head: nn.Module, bilm: BiLM) -> None:
        super().__init__()
        self.head, self.bilm = head, bilm


class Live:
    """Vectors of some texts by a biLM that still learns. `kept`: the other sources', and how texts are padded."""

    def __init__(self, kept: Vectors, texts: Sequence[Sequence[Words]], features: Features) -> None:
        self._kept = kept
        (self._which,) = (at for at, source in enumerate(features.sources) if source.contextual)
        embedder = features.sources[self._which].embedder
        assert isinstance(embedder, Embedder)
        model = embedder.model
        sentences = [spelled([words for words in text if words], model.text) for text in texts]
        number: dict[str, int] = {}
        self._sentences = [
            [[number.setdefault(word, len(number)) for word in with_boundaries(words, model)] for words in text]
            for text in sentences
        ]
        self._types = encoded(model, list(number))
        self._states = embedder.initial

    @property
    def lengths(self) -> list[int]:
        """Words of each text."""
        return self._kept.lengths

    def batch(self, bilm: BiLM, rows: Sequence[int]) -> Inputs:
        """The texts of these numbers, padded with zeros."""
        inputs = self._kept.batch(rows)
        device = next(bilm.parameters()).device
        sentences = [ids for row in rows for ids in self._sentences[row]]
        lengths = torch.tensor([len(ids) for ids in sentences])
        ids = torch.zeros(len(sentences), int(lengths.max()), dtype=torch.long)
        for row, sentence in enumerate(sentences):
            ids[row, : len(sentence)] = torch.tensor(sentence)
        place = torch.arange(ids.size(1))[None]
        x = self._types[ids] * (place < lengths[:, None])[:, :, None]  # Shape: (R, T, P)
        states = None
        if self._states is not None:
            states = tuple(
                LSTMState(*(v.expand(-1, len(ids), -1).contiguous().to(device) for v in s)) for s in self._states
            )
        found = bilm.contextualize(x.to(device), lengths.to(device), states)  # type: ignore[arg-type]
        words = (place > 0) & (place < lengths[:, None] - 1)
        flat = torch.stack(found.layers, dim=2)[words.to(device)]  # Shape: (N, L, W)
        # Of a text that is cut off, the words behind the cut were read, too: they are context.
        counts = [sum(len(ids) - 2 for ids in self._sentences[row]) for row in rows]
        kept = np.concatenate([
            np.arange(n) < most for n, most in zip(counts, inputs.lengths.tolist(), strict=True)
        ])  # fmt: skip
        filled = torch.zeros(*inputs.mask.shape, *flat.shape[1:], device=device)
        filled[inputs.mask.to(device)] = flat[torch.from_numpy(kept).to(device)]
        vectors = [each.to(device) for each in inputs.vectors]
        vectors[self._which] = filled
        return Inputs(tuple(vectors), inputs.mask.to(device))


@dataclass(frozen=True)
class Read:
    """`live` by one biLM, as a network reads it."""

    live: Live
    bilm: BiLM

    @property
    def lengths(self) -> list[int]:
        """Words of each text."""
        return self.live.lengths

    def batch(self, texts: Sequence[int]) -> Inputs:
        """The texts of these numbers, padded with zeros."""
        return self.live.batch(self.bilm, texts)


def encoded(model: Model, words: Sequence[str]) -> Tensor:
    """What the biLM's layers read of each word. *Shape:* (words, P), on the CPU."""
    with torch.no_grad():
        return torch.cat([encode(model, words[at : at + BLOCK]).cpu() for at in range(0, len(words), BLOCK)])


def groups(network: Tuned, config: TuneConfig) -> list[Group]:
    """The task's network and the top layer of both directions learn from the first pass on, each lower layer later."""
    stacks = [network.bilm.forward_layers, network.bilm.backward_layers]
    head = [each for each in network.head.parameters() if each.requires_grad]
    found = [Group(head, config.head_rate)]
    for depth, layers in enumerate(zip(*(reversed(list(stack.layers)) for stack in stacks), strict=True)):
        parameters = [each for layer in layers for each in layer.parameters()]
        found.append(Group(parameters, config.learning_rate / FALL**depth, begins=depth + 1))
    return found


def tune_classifier(
    classifier: Classifier,
    learn: Ready,
    dev: Ready,
    config: TuneConfig | None = None,
    loop: LoopConfig | None = None,
    *,
    balanced: bool = False,
    metric: classify.Metric = "accuracy",
    progress: Callable[[Epoch], None] | None = None,
) -> tuple[Classifier, LoopReport]:
    """The classifier with a biLM of its own, tuned together on `learn`. Raises `OptionError`, `TrainingError`."""
    tunable(classifier.features)

    def lives(part: Ready) -> list[Live]:
        texts = classify.cut(part.texts, classifier.reading).texts
        return [
            Live(vectors, [text[number] for text in texts], classifier.features)
            for number, vectors in enumerate(part.vectors)
        ]

    of_learn, of_dev = lives(learn), lives(dev)
    loss = classify.loss_over(
        learn.texts, classifier.labels, classifier.config, classifier.device,
        multi_label=classifier.multi_label, balanced=balanced,
    )  # fmt: skip
    truth = [text.labels for text in dev.texts]

    def loss_of(network: Tuned, rows: Sequence[int]) -> Tensor:
        return loss(network.head, [live.batch(network.bilm, rows) for live in of_learn], rows)

    def measure(network: Tuned) -> float:
        found = classifier.with_network(network.head).read([Read(live, network.bilm) for live in of_dev])
        return float(getattr(label_scores(truth, [each.labels for each in found], classifier.labels), metric))

    network, report = _trained(
        classifier.network, classifier.features, classify.together(learn.vectors),
        loss_of, measure, config, loop, classifier.device, progress,
    )  # fmt: skip
    return classifier.with_network(network.head, with_own_bilm(classifier.features, network.bilm)), report


def tune_tagger(
    tagger: Tagger,
    learn: tuple[TaggedData, Vectors],
    dev: tuple[TaggedData, Vectors],
    config: TuneConfig | None = None,
    loop: LoopConfig | None = None,
    *,
    progress: Callable[[Epoch], None] | None = None,
) -> tuple[Tagger, LoopReport]:
    """The tagger with a biLM of its own, tuned together on `learn`. Raises `OptionError`, `TrainingError`."""
    tunable(tagger.features)
    of_learn, of_dev = (
        Live(vectors, [[each.words] for each in data.sentences], tagger.features) for data, vectors in (learn, dev)
    )
    sentences, truth = learn[0].sentences, [sentence.tags for sentence in dev[0].sentences]

    def loss_of(network: Tuned, rows: Sequence[int]) -> Tensor:
        inputs = of_learn.batch(network.bilm, rows)
        loss: Tensor = _tags(network).loss(inputs, tag.ids_of([sentences[at] for at in rows], tagger.tags, inputs.mask))
        return loss

    def measure(network: Tuned) -> float:
        found = tagger.with_network(_tags(network)).read(Read(of_dev, network.bilm))
        return tag.measured(truth, found, has_spans=tagger.has_spans)

    network, report = _trained(
        tagger.network, tagger.features, of_learn.lengths, loss_of, measure, config, loop, tagger.device, progress
    )
    return tagger.with_network(_tags(network), with_own_bilm(tagger.features, network.bilm)), report


def _tags(network: Tuned) -> tag.TagNetwork:
    assert isinstance(network.head, tag.TagNetwork)
    return network.head


def _trained(
    head: nn.Module,
    features: Features,
    lengths: Sequence[int],
    loss_of: Callable[[Tuned, Sequence[int]], Tensor],
    measure: Callable[[Tuned], float],
    config: TuneConfig | None,
    loop: LoopConfig | None,
    device: torch.device,
    progress: Callable[[Epoch], None] | None,
) -> tuple[Tuned, LoopReport]:
    config = config or TuneConfig()
    model = tunable(features).model

    def build() -> Tuned:
        return Tuned(copy.deepcopy(head), without_softmax(model.bilm).requires_grad_(False))

    slow = replace(loop or LoopConfig(), learning_rate=config.head_rate, max_epochs=config.epochs)
    return train(
        build, lengths, loss_of, measure, slow, device=device, progress=progress,
        groups=lambda network: groups(network, config),
    )  # fmt: skip


def tunable(features: Features) -> Embedder:
    """The biLM among the features. Raises `OptionError` where there is none, or one that has no LSTM."""
    for source in features.sources:
        if isinstance(source.embedder, Embedder):
            if not isinstance(source.embedder.model.bilm.forward_layers, LSTMStack):
                raise OptionError("only an LSTM biLM can be fine-tuned, and this is a Transformer; leave it as it is")
            return source.embedder
    raise OptionError("fine-tuning was asked for, but the features have no elmo; add it, or leave the tuning out")


def without_softmax(bilm: BiLM) -> BiLM:
    """A copy of the layers alone: a softmax over layers that learn something else predicts nothing."""
    tensors = {name: value.clone() for name, value in bilm.state_dict().items() if not name.startswith("softmax")}
    return assemble(replace(bilm.config, softmax_size=0), tensors, Path(OWN))


def with_own_bilm(features: Features, bilm: BiLM) -> Features:
    """The same features with the tuned biLM, which reads at full speed; nothing of it is cached."""
    old = tunable(features)
    settled = old.initial if old.state == "settled" else old.model.settled
    tuned = bilm.cpu().requires_grad_(False).eval()
    model = replace(old.model, bilm=tuned, vocabulary=None, counts=None, settled=settled)
    sources = [
        Source.of_model(source.name, OWN, Embedder(model, state=source.state, threads=old.threads))
        if source.embedder is old
        else source
        for source in features.sources
    ]
    return Features(sources)
