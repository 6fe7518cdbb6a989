"""A model with a softmax, made ready to predict: words in, hidden vectors and losses out.

    lm = load("path/of/a/bilm-tf/checkpoint")
    lm.hidden(["We", "sat"], "settled")       # what the softmax sees before each word, in both directions

A word enters as its makers' encoder reads it (characters: any word at all) and is predicted as one of the softmax's
words; a word that is none of those counts as <UNK>.

Legend: `n` words of a sentence, `V` words of the softmax, `P` projection width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polyseme.encoder import WordEncoder
from polyseme.engine import States
from polyseme.errors import InputError, OptionError, UnsupportedModelError
from polyseme.fetch import resolve
from polyseme.formats.folder import open_model
from polyseme.formats.model import Model
from polyseme.lm.losses import NO_SOFTMAX, Directions, IntArray, TypedText
from polyseme.nn.device import device_named
from polyseme.nn.lstm import LSTMState
from polyseme.nn.packed import Arithmetic, default_kernel
from polyseme.nn.workers import Workers
from polyseme.settle import settled_states
from polyseme.text.chars import SENTENCE_END, SENTENCE_START, UNKNOWN_WORD
from polyseme.text.streams import Stream

Words = Sequence[str]

CACHE_WORDS = 100_000
BLOCK_TOKENS = 32_768  # of a text, boundaries included, that are in memory together
NO_WORD = "@@PADDING@@"  # the last row of an AllenNLP softmax, which no word ever had
TREEBANK_UNKNOWN = "<unk>"  # a word of these texts (WikiText too) like any other, but nobody wants to read it
UNKNOWN_SHARE = 0.05  # above which a score says little about the words


def load(source: str | Path, *, device: str = "cpu", threads: int | None = None) -> LanguageModel:
    """Opens any published model that holds a softmax: a bilm-tf checkpoint, an AllenNLP archive, a Polyseme folder.

    Raises what opening raises, and `UnsupportedModelError` for a model without a softmax.
    """
    return LanguageModel(open_model(resolve(source)), device=device, threads=threads)


class LanguageModel:
    """A biLM ready to predict words. Not for use from several threads at once; it uses several itself."""

    def __init__(
        self,
        model: Model,
        *,
        device: str = "cpu",
        threads: int | None = None,
        cache_words: int = CACHE_WORDS,
        kernel: str | None = None,
    ) -> None:
        """`threads`: cores to use, torch's own number by default; `kernel`: as in `polyseme.load`.

        Raises `UnsupportedModelError` without a softmax, or where nobody knows its words.
        """
        if model.bilm.softmax is None:
            raise UnsupportedModelError(NO_SOFTMAX)
        if model.vocabulary is None:
            raise UnsupportedModelError(
                "this model's softmax has no list of words with sentence boundaries, so nobody knows what it predicts; "
                "put its vocab.txt beside it, or give a model that was trained with <S> and </S>"
            )
        self.model, self.vocabulary, self.softmax = model, model.vocabulary, model.bilm.softmax
        self.device = device_named(device)
        model.bilm.to(self.device).eval()
        kernel = kernel or (default_kernel() if self.device.type == "cpu" else "torch")
        self.workers = Workers(threads or (torch.get_num_threads() if self.device.type == "cpu" else 1))
        self.encoder = WordEncoder(model, self.workers, Arithmetic(kernel), cache_words)
        self.directions = Directions(model.bilm, self.workers, kernel)
        self._settled: States | None = None

    @property
    def recurrent(self) -> bool:
        """Whether there is a state to carry; a Transformer has none."""
        return self.directions.recurrent

    def state(self, name: str | None) -> States | None:
        """What a sentence starts from: "settled" (an LSTM's default) or "zero"; None for a Transformer.

        Raises `OptionError` for other names, and for any name at all with a Transformer.
        """
        if not self.recurrent:
            if name is not None:
                raise OptionError(f"state={name!r} was given, but a Transformer carries no state; leave the option out")
            return None
        if name not in (None, "settled", "zero"):
            raise OptionError(f"state must be settled or zero here, was: {name!r}")
        if name == "zero":
            return self.directions.zero_states()
        if self._settled is None:
            left, right = self.model.settled or settled_states(self.model)[0]
            self._settled = (_moved(left, self.device), _moved(right, self.device))
        return self._settled

    def rows(self, words: Words) -> IntArray:
        """The softmax row of each word, that of <UNK> for a word outside. *Shape:* (n,).

        Raises `InputError` for such a word where the vocabulary has no <UNK>.
        """
        return self.vocabulary.ids(words).astype(np.int64)

    @property
    def unknown_row(self) -> int:
        """The softmax row of <UNK>; -1 where there is none."""
        return self.vocabulary.id(UNKNOWN_WORD) if UNKNOWN_WORD in self.vocabulary else -1

    @property
    def boundary_rows(self) -> tuple[int, int]:
        """The softmax rows of <S> and </S>."""
        return self.vocabulary.id(SENTENCE_START), self.vocabulary.id(SENTENCE_END)

    @property
    def never_words(self) -> list[int]:
        """Softmax rows that stand for no word: <S>, </S>, <UNK>, what Penn Treebank writes for it, AllenNLP's row."""
        marks = (SENTENCE_START, SENTENCE_END, UNKNOWN_WORD, TREEBANK_UNKNOWN, NO_WORD)
        return [self.vocabulary.id(mark) for mark in marks if mark in self.vocabulary]

    def vectors(self, words: Words) -> Tensor:
        """The context-free vector of each word. *Shape:* (n,) -> (n, P)."""
        with torch.inference_mode():
            vectors, index = self.encoder.lookup(words)
            return vectors[torch.from_numpy(index).to(self.device)]

    def hidden(self, words: Words, state: str | None = None) -> tuple[Tensor, Tensor]:
        """What the softmax sees before each target of one sentence.

        *Shape:* forward (n + 1, P): before w1 ... wn and </S>; backward (n + 1, P): before <S> and w1 ... wn.
        """
        return self.directions.hidden(Block.of(self, [words]).text, self.state(state))

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """log p of every word of the softmax. *Shape:* (n, P) -> (n, V) float64, on the CPU."""
        # In a worker, which has one core: the bits then do not depend on the number of threads.
        scores: Tensor = self.workers.map(
            lambda h: torch.addmm(self.softmax.bias, h, self.softmax.weight.t()), [hidden]
        )[0]
        with torch.inference_mode():
            return torch.log_softmax(scores.cpu().double(), dim=1)


@dataclass(frozen=True)
class Block:
    """Some sentences as ids of the words that occur in them, ready to be scored. `words[type]` are distinct.

    `counts[type]`: how often a word occurs (0 for the boundaries, which are types 0 and 1).
    """

    sentences: Sequence[Words]
    words: list[str]
    counts: IntArray
    text: TypedText

    @classmethod
    def of(cls, lm: LanguageModel, sentences: Sequence[Words]) -> Block:
        """Raises `OptionError` for a string where a list of words belongs, and what `LanguageModel.rows` raises."""
        number: dict[str, int] = {}
        ids = [number.setdefault(word, len(number) + 2) for words in sentences for word in checked(words)]
        starts = np.concatenate([[0], np.cumsum([len(words) for words in sentences])]).astype(np.int64)
        words = [*lm.model.boundaries, *number]
        rows = np.concatenate([np.asarray(lm.boundary_rows), lm.rows(list(number))])
        text = TypedText(
            Stream(np.asarray(ids, dtype=np.int64), starts),
            rows,
            lambda types: lm.vectors([words[type] for type in types.tolist()]),
        )
        return cls(sentences, words, np.bincount(np.asarray(ids, dtype=np.int64), minlength=len(words)), text)

    @property
    def n_words(self) -> int:
        """Running words."""
        return int(self.text.stream.starts[-1])

    @property
    def n_targets(self) -> int:
        """Words, and one boundary a sentence."""
        return self.n_words + len(self.sentences)


def checked(words: Words) -> Words:
    """The same words. Raises `OptionError` for a string, `InputError` for an empty word."""
    if isinstance(words, str):
        raise OptionError(f"{words[:40]!r} is a string; a sentence is a list of words")
    if "" in words:
        raise InputError(f"word {list(words).index('') + 1} of a sentence is empty; leave it out")
    return words


def blocks(sentences: Iterable[Words], tokens: int = BLOCK_TOKENS) -> Iterator[list[Words]]:
    """Sentences in order, in lists of about `tokens` tokens, boundaries included."""
    block: list[Words] = []
    size = 0
    for sentence in sentences:
        block.append(sentence)
        size += len(sentence) + 2
        if size >= tokens:
            yield block
            block, size = [], 0
    if block:
        yield block


def _moved(state: LSTMState, device: torch.device) -> LSTMState:
    return LSTMState(state.hidden.to(device), state.cell.to(device))
