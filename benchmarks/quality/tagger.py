"""The same small BiLSTM tagger over any frozen vectors: POS, NER and chunking, clean and with damaged test words.

    layers --learned mix (Peters et al. 2018, eq. 1), dropout--> BiLSTM, 100 cells a direction --dropout, linear--> tags

The layers of a biLM are mixed; static vectors are a mix of one. Every layer is first divided by the root mean square of
its training values, so that no kind of vectors has an advantage of scale. The epoch that is best on dev is kept.

Legend: `B` sentences of a batch, `T` words of the longest, `L` layers, `W` width of one layer, `K` tags.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from polyseme.nn.mix import ScalarMix

from .cache import TokenVectors
from .probes import TAG_TASKS, damaged_sentences, metric_of, tag_parts
from .readers import DATA, Tagged, Words
from .run import Result, Run, Score, seeded
from .vectors import Source


@dataclass(frozen=True)
class TaggerConfig:
    """Sizes and training of the tagger: one for all, chosen on CoNLL-2003's dev part (docs/log.md)."""

    cells: int = 100
    dropout: float = 0.5
    learning_rate: float = 2e-3
    batch_sentences: int = 16
    max_epochs: int = 40
    patience: int = 8


class Tagger(nn.Module):
    """One BiLSTM layer over mixed layers of frozen vectors."""

    def __init__(self, n_layers: int, width: int, n_tags: int, config: TaggerConfig) -> None:
        super().__init__()
        self.mix = ScalarMix(n_layers)
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = nn.LSTM(width, config.cells, bidirectional=True, batch_first=True)
        self.output = nn.Linear(2 * config.cells, n_tags)

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """*Shape:* (L, B, T, W), (B,) on the CPU -> (B, T, K)."""
        mixed = self.dropout(self.mix(list(vectors)))
        packed = pack_padded_sequence(mixed, lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        scores: Tensor = self.output(self.dropout(hidden))
        return scores


@dataclass(frozen=True)
class Part:
    """Vectors and tags of some sentences. `ids`: a tag's number for each word, -1 for one that training never saw."""

    vectors: TokenVectors
    tags: Sequence[Words]
    ids: np.ndarray[Any, np.dtype[np.int64]]

    def batch(self, sentences: Sequence[int], scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Padded vectors (L, B, T, W), lengths (B,) and tag numbers (B, T), -1 where there is no word."""
        starts = self.vectors.starts
        lengths = [int(starts[s + 1] - starts[s]) for s in sentences]
        rows = self.vectors.rows
        vectors = torch.zeros(len(sentences), max(lengths), rows.shape[1], rows.shape[2])
        ids = torch.full((len(sentences), max(lengths)), -1, dtype=torch.long)
        for place, (sentence, length) in enumerate(zip(sentences, lengths, strict=True)):
            words = slice(int(starts[sentence]), int(starts[sentence + 1]))
            vectors[place, :length] = torch.from_numpy(np.asarray(rows[words], dtype=np.float32))
            ids[place, :length] = torch.from_numpy(self.ids[words])
        # Shape: (B, T, L, W) -> (L, B, T, W)
        return vectors.permute(2, 0, 1, 3) / scale, torch.tensor(lengths), ids


def part_of(run: Run, source: Source, items: Sequence[Tagged], tags: Sequence[str]) -> Part:
    """Vectors of the words (through the cache) and numbers of the tags."""
    number = {tag: index for index, tag in enumerate(tags)}
    ids = np.asarray([number.get(tag, -1) for item in items for tag in item.tags], dtype=np.int64)
    return Part(run.cache.tokens(source, [item.words for item in items]), [item.tags for item in items], ids)


@dataclass
class Trained:
    """A tagger after training, with what it needs to read vectors."""

    tagger: Tagger
    scale: Tensor
    tags: Sequence[str]
    epochs: int

    def tag(self, part: Part, batch_sentences: int = 64) -> list[Words]:
        """The best tag of each word."""
        self.tagger.eval()
        lengths = np.diff(part.vectors.starts)
        order = np.argsort(lengths, kind="stable").tolist()
        found: dict[int, Words] = {}
        with torch.inference_mode():
            for at in range(0, len(order), batch_sentences):
                chosen = order[at : at + batch_sentences]
                vectors, sizes, _ = part.batch(chosen, self.scale)
                best = self.tagger(vectors, sizes).argmax(dim=2).tolist()
                for sentence, row, size in zip(chosen, best, sizes.tolist(), strict=True):
                    found[sentence] = tuple(self.tags[tag] for tag in row[:size])
        return [found[sentence] for sentence in range(len(lengths))]


def train(part: Part, dev: Part, tags: Sequence[str], measure: Any, config: TaggerConfig, seed: int) -> Trained:
    """Adam on the cross-entropy of every word; stops after `patience` epochs that were no better on dev."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    _, n_layers, width = part.vectors.rows.shape
    tagger = Tagger(n_layers, width, len(tags), config)
    trained = Trained(tagger, layer_scale(part.vectors), tags, 0)
    optimizer = torch.optim.Adam(tagger.parameters(), lr=config.learning_rate)
    best, best_state, since = -1.0, copy.deepcopy(tagger.state_dict()), 0
    for epoch in range(config.max_epochs):
        tagger.train()
        for sentences in _batches(part, config.batch_sentences, rng):
            vectors, lengths, ids = part.batch(sentences, trained.scale)
            scores = tagger(vectors, lengths)
            loss = nn.functional.cross_entropy(scores.flatten(0, 1), ids.flatten(), ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(tagger.parameters(), 5.0)
            optimizer.step()
        value = measure(dev.tags, trained.tag(dev))
        since = 0 if value > best or best <= 0 else since + 1  # F1 may stay at 0 for some epochs
        if value > best:
            best, best_state, trained.epochs = value, copy.deepcopy(tagger.state_dict()), epoch + 1
        if since >= config.patience:
            break
    tagger.load_state_dict(best_state)
    return trained


def layer_scale(vectors: TokenVectors) -> Tensor:
    """The root mean square of each layer's values, of 10,000 words at most. *Shape:* (L, 1, 1, 1)."""
    some = np.asarray(vectors.rows[:: max(1, len(vectors.rows) // 10_000)], dtype=np.float32)
    scale = np.sqrt((some**2).mean(axis=(0, 2)))
    return torch.from_numpy(np.where(scale == 0, 1, scale).astype(np.float32)).view(-1, 1, 1, 1)


def _batches(part: Part, size: int, rng: random.Random) -> list[list[int]]:
    """Sentences of like lengths together (little padding), batches in random order."""
    lengths = np.diff(part.vectors.starts)
    order = sorted(range(len(lengths)), key=lambda s: lengths[s] + rng.random() * 4)
    batches = [order[at : at + size] for at in range(0, len(order), size)]
    rng.shuffle(batches)
    return batches


# --- the task


def taggers(run: Run) -> Result:
    """Each tagging task over each kind of vectors, with several seeds; the test part clean and with damaged words."""
    scores: list[Score] = []
    config = TaggerConfig()
    data: dict[str, Any] = {"tagger": config.__dict__}
    for task in TAG_TASKS:
        for name in DATA[run.language].get(task, ()):
            parts = tag_parts(run, task, name, run.sizes.train())
            data[name] = {split: [len(items), sum(len(i.words) for i in items)] for split, items in parts.items()}
            noisy = [damaged_sentences(parts["test"], seed) for seed in range(run.sizes.seeds)]
            for source in run.sources:
                scores += _tagged(run, source, task, name, parts, noisy, config)
    return Result(scores, data)


def _tagged(
    run: Run,
    source: Source,
    task: str,
    name: str,
    items: dict[str, list[Tagged]],
    noisy: Sequence[list[Tagged]],
    config: TaggerConfig,
) -> list[Score]:
    tags = sorted({tag for item in items["train"] for tag in item.tags})
    part = {split: part_of(run, source, some, tags) for split, some in items.items()}
    metric, measure = metric_of(task)
    clean, after, mixes, epochs = [], [], [], []
    for seed, damaged in enumerate(noisy):
        trained = train(part["train"], part["dev"], tags, measure, config, seed)
        clean.append(measure(part["test"].tags, trained.tag(part["test"])))
        after.append(measure(part["test"].tags, trained.tag(part_of(run, source, damaged, tags))))
        mixes.append([round(weight, 4) for weight in trained.tagger.mix.weights().tolist()])
        epochs.append(trained.epochs)
    run.say(f"    {name}, {source.name}: {np.mean(clean):.4f}, damaged {np.mean(after):.4f}, epochs {epochs}")
    view = "learned mix" if len(source.layers) > 1 else "word"
    about = {"data": name, "vectors": source.name, "view": view, "chosen": True, "n": len(part["test"].ids)}
    return [
        seeded(clean, metric=metric, facts={"mix": mixes, "epochs": epochs}, **about),
        seeded(after, metric=f"{metric}, damaged words", **about),
    ]
