"""Tags for words: a BiLSTM-CRF over a biLM's layers and static vectors. Entities, parts of speech, chunks.

    vectors --layers weighed, dropout--> BiLSTM, BiLSTM --linear--> a score a tag --CRF--> the best sequence of tags

As in Peters et al. 2018 (3.1 of the supplement; Lample et al. 2016): two layers, variational dropout before each, the
loss of a conditional random field, Viterbi decoding in which only valid sequences of BIO tags are possible. Their
character CNN and the vectors of Senna are what `features` stand for here.

Legend: `B` sentences, `T` words, `K` tags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from polyseme.batching import plan
from polyseme.errors import InputError, MissingExtraError, OptionError
from polyseme.nn.device import device_named
from polyseme.tasks.conll import Tagged, TaggedData
from polyseme.tasks.features import Batches, Features, Inputs, Vectors, Words
from polyseme.tasks.layers import BiLSTM, LockedDropout, TokenInput
from polyseme.tasks.loop import Epoch, LoopConfig, LoopReport, train_seeds
from polyseme.tasks.metrics import TagScores, span_f1, tag_scores
from polyseme.tasks.spans import Scheme, Span, may_follow, spans
from polyseme.text.tokenize import Tokenizer

READ_WORDS, READ_SENTENCES = 16_384, 64  # of a batch, where nothing is learned
FORBIDDEN = -1e4


@dataclass(frozen=True)
class TagConfig:
    """Sizes of the network. `cells`: of one direction of each BiLSTM. `mix_l2`: the lambda of Peters et al. 2018, 3.3.

    `elmo_output`: the biLM's layers once more, weighed anew, beside what the last BiLSTM gives.
    """

    cells: tuple[int, ...] = (200, 100)
    input_dropout: float = 0.5
    dropout: float = 0.33
    mix_l2: float = 1e-3
    elmo_output: bool = False

    def __post_init__(self) -> None:
        if not self.cells or min(self.cells) < 1:
            raise OptionError(f"cells should be the sizes of one or more layers, was: {self.cells}")
        if not (0 <= self.input_dropout < 1 and 0 <= self.dropout < 1):
            raise OptionError(f"dropout lies from 0 to below 1, was: {self.input_dropout}, {self.dropout}")


class TagNetwork(nn.Module):
    """Scores of tags, and the CRF over them. `allowed`: (K + 1, K + 1), whether tag j may follow tag i; the last row
    is the sentence's beginning, the last column its end."""

    def __init__(
        self, inputs: TokenInput, output_inputs: TokenInput | None, allowed: Tensor, config: TagConfig
    ) -> None:
        super().__init__()
        self.inputs, self.output_inputs, self.mix_l2 = inputs, output_inputs, config.mix_l2
        sizes = [inputs.size, *(2 * cells for cells in config.cells)]
        self.lstms = nn.ModuleList(BiLSTM(size, cells) for size, cells in zip(sizes[:-1], config.cells, strict=True))
        self.dropout = LockedDropout(config.dropout)
        n_tags = len(allowed) - 1
        self.output = nn.Linear(sizes[-1] + (output_inputs.size if output_inputs else 0), n_tags)
        self.crf = conditional_random_field(n_tags)
        penalty = torch.zeros(allowed.shape).masked_fill(~allowed, FORBIDDEN)
        self.between = nn.Parameter(penalty[:-1, :-1].clone(), requires_grad=False)
        self.first = nn.Parameter(penalty[-1, :-1].clone(), requires_grad=False)
        self.last = nn.Parameter(penalty[:-1, -1].clone(), requires_grad=False)

    def scores(self, inputs: Inputs) -> Tensor:
        """*Shape:* texts of B sentences -> (B, T, K)."""
        words = self.inputs(inputs)
        for lstm in self.lstms:
            words = self.dropout(lstm(words, inputs.mask))
        if self.output_inputs is not None:
            words = torch.cat([words, self.output_inputs(inputs)], dim=2)
        found: Tensor = self.output(words)
        return found

    def loss(self, inputs: Inputs, tags: Tensor) -> Tensor:
        """The mean over sentences of -log p(tags), with the penalty of the mixes. *Shape:* tags (B, T)."""
        likelihood: Tensor = self.crf(self.scores(inputs), tags, mask=inputs.mask, reduction="mean")
        loss = self.mix_l2 * self.inputs.penalty() - likelihood
        return loss if self.output_inputs is None else loss + self.mix_l2 * self.output_inputs.penalty()

    def decode(self, inputs: Inputs) -> list[list[int]]:
        """The best sequence of tags of each sentence that the scheme allows."""
        scores = self.scores(inputs).clone()
        last = inputs.lengths - 1
        scores[:, 0] += self.first
        scores[torch.arange(len(last), device=last.device), last] += self.last
        learned = self.crf.transitions.data
        self.crf.transitions.data = learned + self.between
        try:
            found: list[list[int]] = self.crf.decode(scores, mask=inputs.mask)
        finally:
            self.crf.transitions.data = learned
        return found


def conditional_random_field(n_tags: int) -> Any:
    """pytorch-crf's, whose likelihood and decoding tests/tasks/test_tag.py compares with brute force."""
    if find_spec("torchcrf") is None:
        raise MissingExtraError("a tagger", "tasks")
    return import_module("torchcrf").CRF(n_tags, batch_first=True)


@dataclass(frozen=True)
class Entity:
    """A span of a text: its kind, its characters from `start` to before `end`, and what stands there."""

    label: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class TaggedText:
    """One sentence of a raw text. `offsets`: (start, end) of each word in the text, in Python characters."""

    words: Words
    offsets: tuple[tuple[int, int], ...]
    tags: Words
    entities: tuple[Entity, ...]


class Tagger:
    """A trained network with its vectors and tags. `scheme`: bio for spans, plain for others."""

    kind = "tag"

    def __init__(
        self, network: TagNetwork, config: TagConfig, tags: Sequence[str], features: Features, device: str = "cpu"
    ) -> None:
        self.device = device_named(device)
        self.network, self.config, self.tags, self.features = network.to(self.device), config, tuple(tags), features
        self.has_spans = any(tag.startswith("B-") for tag in self.tags)

    def with_network(self, network: TagNetwork, features: Features | None = None) -> Tagger:
        """The same with another network, and other features where they are given."""
        return Tagger(network, self.config, self.tags, features or self.features, str(self.device))

    def tag(self, sentences: Sequence[Words]) -> list[Words]:
        """A tag for every word of sentences that are cut into words already."""
        found: list[Words] = [()] * len(sentences)
        spoken = [at for at, sentence in enumerate(sentences) if sentence]
        vectors = self.features.vectors([[tuple(sentences[at])] for at in spoken])
        for at, tags in zip(spoken, self.read(vectors), strict=True):
            found[at] = tags
        return found

    def tag_text(self, text: str, tokenizer: Tokenizer) -> list[TaggedText]:
        """Raw text -> its sentences, with tags and, where tags mark spans, the spans as characters of `text`."""
        sentences = tokenizer.sentences(text)
        tagged = self.tag([sentence.tokens for sentence in sentences])
        return [
            TaggedText(s.tokens, s.offsets, tags, self._entities(text, s.offsets, tags))
            for s, tags in zip(sentences, tagged, strict=True)
        ]

    def evaluate(self, sentences: Sequence[Tagged]) -> TagScores:
        """Raises `InputError` with file and line for a tag that training did not have."""
        check_tags(sentences, self.tags)
        found = self.tag([sentence.words for sentence in sentences])
        return tag_scores([sentence.tags for sentence in sentences], found, spans=self.has_spans)

    def read(self, vectors: Batches) -> list[Words]:
        """A tag for every word, from vectors."""
        self.network.eval()
        found: dict[int, Words] = {}
        with torch.inference_mode():
            for batch in plan(vectors.lengths, READ_WORDS, READ_SENTENCES, padded=True):
                best = self.network.decode(vectors.batch(batch).to(self.device))
                found.update({at: tuple(self.tags[tag] for tag in row) for at, row in zip(batch, best, strict=True)})
        return [found[at] for at in range(len(vectors.lengths))]

    def _entities(self, text: str, offsets: Sequence[tuple[int, int]], tags: Words) -> tuple[Entity, ...]:
        return tuple(_entity(text, offsets, span) for span in spans(tags)) if self.has_spans else ()


def _entity(text: str, offsets: Sequence[tuple[int, int]], span: Span) -> Entity:
    start, end = offsets[span.start][0], offsets[span.end - 1][1]
    return Entity(span.label, start, end, text[start:end])


def fit(
    train: TaggedData,
    dev: TaggedData,
    features: Features,
    config: TagConfig | None = None,
    loop: LoopConfig | None = None,
    *,
    seeds: Sequence[int] = (1,),
    device: str = "cpu",
    progress: Callable[[Epoch], None] | None = None,
) -> tuple[Tagger, tuple[LoopReport, ...]]:
    """The tagger that is best on `dev` by F1 of spans (accuracy where there are none), and how each seed went.

    Raises `InputError` where training has one tag only, `MissingExtraError`, `TrainingError`.
    """
    tag_set(train, dev)
    ready = [(part, vectors_of(part, features)) for part in (train, dev)]
    return fit_ready(ready[0], ready[1], features, config, loop, seeds=seeds, device=device, progress=progress)


def fit_ready(
    with_train: tuple[TaggedData, Vectors],
    with_dev: tuple[TaggedData, Vectors],
    features: Features,
    config: TagConfig | None = None,
    loop: LoopConfig | None = None,
    *,
    seeds: Sequence[int] = (1,),
    device: str = "cpu",
    progress: Callable[[Epoch], None] | None = None,
) -> tuple[Tagger, tuple[LoopReport, ...]]:
    """`fit` from vectors that are computed already."""
    config, loop = config or TagConfig(), loop or LoopConfig()
    (train, vectors), (dev, dev_vectors) = with_train, with_dev
    tags = tag_set(train, dev)
    where = device_named(device)
    scales = vectors.scales()
    truth = [sentence.tags for sentence in dev.sentences]
    has_spans = any(tag.startswith("B-") for tag in tags)

    def build() -> TagNetwork:
        return network_of(features, scales, tags, config)

    def loss_of(network: TagNetwork, batch: Sequence[int]) -> Tensor:
        inputs = vectors.batch(batch).to(where)
        return network.loss(inputs, ids_of([train.sentences[at] for at in batch], tags, inputs.mask))

    def measure(network: TagNetwork) -> float:
        found = Tagger(network, config, tags, features, device).read(dev_vectors)
        return measured(truth, found, has_spans=has_spans)

    network, reports = train_seeds(
        build, vectors.lengths, loss_of, measure, loop, seeds, device=where, progress=progress
    )
    return Tagger(network, config, tags, features, device), reports


def ids_of(sentences: Sequence[Tagged], tags: Sequence[str], mask: Tensor) -> Tensor:
    """The numbers of the sentences' tags, 0 where there is no word. *Shape:* mask (B, T) -> (B, T)."""
    number = {tag: at for at, tag in enumerate(tags)}
    ids = torch.zeros(mask.shape, dtype=torch.long, device=mask.device)
    ids[mask] = torch.tensor([number[tag] for each in sentences for tag in each.tags], device=mask.device)
    return ids


def measured(truth: Sequence[Words], found: Sequence[Words], *, has_spans: bool) -> float:
    """The F1 of spans; accuracy where tags mark none."""
    return span_f1(truth, found) if has_spans else tag_scores(truth, found, spans=False).accuracy


def network_of(features: Features, scales: Sequence[Tensor], tags: Sequence[str], config: TagConfig) -> TagNetwork:
    """A network for these vectors and tags, its weights random."""
    inputs = TokenInput([source.width for source in features.sources], scales, config.input_dropout)
    again = [at for at, source in enumerate(features.sources) if source.contextual]
    if config.elmo_output and not again:
        raise OptionError("elmo_output was asked for, but the features have no elmo; add it, or leave the option out")
    output_inputs = (
        TokenInput([source.width for source in features.sources], scales, config.input_dropout, chosen=again)
        if config.elmo_output
        else None
    )
    return TagNetwork(inputs, output_inputs, allowed_transitions(tags), config)


def allowed_transitions(tags: Sequence[str]) -> Tensor:
    """Which tag may follow which. *Shape:* (K + 1, K + 1) bool, the last for the sentence's two ends."""
    ends = [*tags, None]
    scheme: Scheme = "bio" if any(tag.startswith("B-") for tag in tags) else "plain"
    return torch.tensor([[may_follow(before, tag, scheme) for tag in ends] for before in ends])


def tag_set(train: TaggedData, dev: TaggedData) -> tuple[str, ...]:
    """All tags in a fixed order; with B-X also I-X, which longer spans of test data need."""
    found = {tag for part in (train, dev) for sentence in part.sentences for tag in sentence.tags}
    if len({tag for sentence in train.sentences for tag in sentence.tags}) < 2:
        raise InputError(
            f"{train.sentences[0].place()}: all words from here on have one tag ({train.sentences[0].tags[0]!r}); give "
            "sentences with at least two, or another --tag-column"
        )
    if train.scheme != "plain":
        found |= {f"{mark}-{tag[2:]}" for tag in found if tag != "O" for mark in "BI"} | {"O"}
    return tuple(sorted(found))


def check_tags(sentences: Sequence[Tagged], tags: Sequence[str]) -> None:
    """Raises `InputError` with the line of the first tag that training did not have."""
    known = set(tags)
    for sentence in sentences:
        for at, tag in enumerate(sentence.tags):
            if tag not in known:
                raise InputError(
                    f"{sentence.place(at)}: the tag {tag!r} was not in the training data, whose tags are "
                    f"{', '.join(tags[:20])}{' ...' if len(tags) > 20 else ''}"
                )


def vectors_of(data: TaggedData, features: Features) -> Vectors:
    """Of every sentence. Raises `OutputError` where they do not fit on the disk."""
    return features.vectors([[sentence.words] for sentence in data.sentences])
