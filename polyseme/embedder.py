"""`load` a model, `embed` sentences: the path that most users take.

    raw text --tokenizer--> tokens --distinct sentences--> batches by length --engine--> one Embedding a sentence

A sentence's vectors depend on the sentence and the model only (`state="settled"` or `"zero"`): not on its
neighbours, the batch, earlier calls, threads. `state="carry"` reproduces the published systems, where they do.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polyseme.batching import plan, rows_in_order
from polyseme.embedding import Embedding, FloatArray
from polyseme.engine import Batch, Engine, States, with_boundaries
from polyseme.errors import InputError, OptionError
from polyseme.fetch import resolve
from polyseme.formats.folder import open_model
from polyseme.formats.model import Model
from polyseme.nn.device import device_named
from polyseme.nn.lstm import LSTMStack, LSTMState
from polyseme.nn.packed import Arithmetic, default_kernel
from polyseme.settle import settled_states
from polyseme.text.languages import suggest_language
from polyseme.text.processing import apply
from polyseme.text.tokenize import Sentence, Tokenizer, tokenizer_for

Reduce = Callable[[Tensor], FloatArray]

STATES = ("settled", "zero", "carry")
MAX_TOKENS = 8192
CACHE_WORDS = 100_000


@dataclass(frozen=True)
class Counts:
    """What an embedder has read so far; nothing that was lost is silent.

    `cut_words`: running words of which the model saw only the beginning. `unknown_words`: running words outside the
    word table of a model that has one. `repeated_sentences`: computed once, returned several times.
    """

    sentences: int = 0
    tokens: int = 0
    repeated_sentences: int = 0
    cut_words: int = 0
    unknown_words: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))


def load(
    source: str | Path,
    *,
    state: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    max_tokens: int = MAX_TOKENS,
    cache_words: int = CACHE_WORDS,
    kernel: str | None = None,
    precision: str = "float32",
) -> Embedder:
    """Opens any published ELMo: a folder, weight file, archive, zip, URL or hub id.

    `state`: what a sentence starts from: "settled" (default), "zero" or "carry"; a Transformer has none. `threads`:
    cores to use, torch's own number by default; vectors do not depend on it. `max_tokens`: tokens computed together.
    `cache_words`: distinct words whose context-free vectors are kept. `kernel`: "torch" or "onednn"; by default what
    suits the CPU. `precision`: "bfloat16" is faster and rounds (a Transformer's layers stay float32).

    Raises `UnknownFormatError`, `DamagedModelError`, `UnsupportedModelError`, `NotConvergedError`, `OptionError`.
    """
    model = open_model(resolve(source))
    return Embedder(
        model,
        state=state,
        device=device,
        threads=threads,
        max_tokens=max_tokens,
        cache_words=cache_words,
        kernel=kernel,
        precision=precision,
    )


class Embedder:
    """A model made ready to embed. Not for use from several threads at once; it uses several itself."""

    def __init__(
        self,
        model: Model,
        *,
        state: str | None = None,
        device: str = "cpu",
        threads: int | None = None,
        max_tokens: int = MAX_TOKENS,
        cache_words: int = CACHE_WORDS,
        kernel: str | None = None,
        precision: str = "float32",
    ) -> None:
        if max_tokens < 1:
            raise OptionError(f"max_tokens must be at least 1, was: {max_tokens}")
        recurrent = isinstance(model.bilm.forward_layers, LSTMStack)
        if state is not None and not recurrent:
            raise OptionError(f"state={state!r} was given, but a Transformer carries no state; leave the option out")
        if state not in (None, *STATES):
            raise OptionError(f"state must be one of {', '.join(STATES)}, was: {state!r}")
        self.state = (state or "settled") if recurrent else "none"
        self.device = device_named(device)
        self.kernel = kernel or (default_kernel() if self.device.type == "cpu" else "torch")
        self.threads = threads or (torch.get_num_threads() if self.device.type == "cpu" else 1)
        self.max_tokens = max_tokens
        self.model = model
        self.model.bilm.to(self.device)
        self.precision = precision
        self.engine = Engine(model, Arithmetic(self.kernel, precision), self.threads, cache_words)
        self.counts = Counts()
        self.initial = self._initial()
        self._opened = self._open()
        self.carried: States | None = None

    @property
    def width(self) -> int:
        """2P, the size of one word's vector in one layer."""
        return self.model.bilm.config.width

    @property
    def n_layers(self) -> int:
        """L + 1: the context-free layer and those above it."""
        return self.model.bilm.config.n_layers + 1

    def embed(self, sentences: Sequence[Sequence[str]], *, batch_size: int | None = None) -> list[Embedding]:
        """One `Embedding` a sentence, in input order; the sentences are lists of words. Repeated ones share an array.

        `batch_size`: sentences computed together at most. With `state="carry"` it is needed, and sentence i of a batch
        goes on from where sentence i of the batch before ended, also from call to call (`reset` forgets).

        Raises `OptionError` for a string where a list of words belongs, `TooLongError` (Transformers only).
        """
        given = [_checked(sentence, place) for place, sentence in enumerate(sentences)]
        arrays = self.reduced(given, _numpy, batch_size=batch_size)
        return [Embedding(tokens, array) for tokens, array in zip(given, arrays, strict=True)]

    def reduced(
        self, sentences: Sequence[tuple[str, ...]], reduce: Reduce, *, batch_size: int | None = None
    ) -> list[FloatArray]:
        """`reduce` of each sentence's layers (L + 1, T, 2P), in input order; a repeated sentence is computed once.

        Only what `reduce` returns is kept, so that a large corpus needs no memory for layers that are not wanted.
        """
        if batch_size is not None and batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, was: {batch_size}")
        if self.state == "carry":
            if batch_size is None:
                raise OptionError('state="carry" needs batch_size: row i goes on from row i of the batch before')
            arrays = [reduce(layers) for layers in self._carry(sentences, batch_size)]
            self.count(sentences, sentences)
            return arrays
        distinct = list(dict.fromkeys(sentences))
        found = dict(zip(distinct, self._independent(distinct, reduce, batch_size), strict=True))
        self.count(sentences, distinct)
        return [found[sentence] for sentence in sentences]

    def embed_text(self, text: str, *, language: str | None = None) -> list[Embedding]:
        """Raw text -> one `Embedding` a sentence, with the character offsets of each word.

        The tokenizer is that of `language` where one is given, otherwise the model's own, otherwise that of the
        language which the script suggests. Raises `OptionError` under `state="carry"`, which needs batches of rows.
        """
        if self.state == "carry":
            raise OptionError('embed_text cannot carry state from sentence to sentence; use state="settled" or embed()')
        sentences = self.sentences(text, language=language)
        embedded = self.embed([sentence.tokens for sentence in sentences])
        return [
            Embedding(each.tokens, each.layers, sentence.offsets)
            for each, sentence in zip(embedded, sentences, strict=True)
        ]

    def sentences(self, text: str, *, language: str | None = None) -> list[Sentence]:
        """The sentences of `text` as the model was trained on them: cut, and processed where its makers did so.

        Offsets count characters of the normalized text where the model asks for normalization (`TextConfig`).
        """
        own = self.model.text
        if own.normalize != "none":
            text = unicodedata.normalize("NFC" if own.normalize == "nfc" else "NFKC", text)
        tokenizer = self.tokenizer(text, language=language)
        return [apply(sentence, own, tokenizer.language) for sentence in tokenizer.sentences(text)]

    def tokenizer(self, sample: str, *, language: str | None = None) -> Tokenizer:
        """The tokenizer for text like `sample`."""
        return tokenizer_for(language or self.model.text.tokenizer or suggest_language(sample))

    @cached_property
    def model_hash(self) -> str:
        """SHA-256 of the weights (see `Model.hash`)."""
        return self.model.hash()

    def count(self, given: Sequence[tuple[str, ...]], distinct: Sequence[tuple[str, ...]]) -> None:
        """Adds sentences that were read, of which only the `distinct` ones were computed, to `counts`."""
        words = Counter(chain.from_iterable(given))
        characters, table = self.model.characters, self.model.words
        self.counts += Counts(
            sentences=len(given),
            tokens=words.total(),
            repeated_sentences=len(given) - len(distinct),
            cut_words=sum(n for word, n in words.items() if characters.is_cut(word)) if characters else 0,
            unknown_words=sum(n for word, n in words.items() if word not in table) if table else 0,
        )

    def reset(self) -> None:
        """Forgets the carried state."""
        self.carried = None

    # --- the three ways of starting a sentence

    def _initial(self) -> States | None:
        """The state that every sentence starts from: one row."""
        if self.state == "none":
            return None
        if self.state == "settled":
            states = self.model.settled or settled_states(self.model)[0]
        else:
            stack = self.model.bilm.forward_layers
            assert isinstance(stack, LSTMStack)
            states = (stack.zero_state(1), stack.zero_state(1))
        left, right = (LSTMState(s.hidden.to(self.device), s.cell.to(self.device)) for s in states)
        return left, right

    def _independent(
        self, sentences: Sequence[tuple[str, ...]], reduce: Reduce, batch_size: int | None
    ) -> list[FloatArray]:
        """Reduced layers of sentences that know nothing of each other, batched by length."""
        nothing = torch.zeros(self.n_layers, 0, self.width)
        arrays = {place: reduce(nothing) for place, sentence in enumerate(sentences) if not sentence}
        spoken = [place for place, sentence in enumerate(sentences) if sentence]
        lengths = [len(sentences[place]) for place in spoken]
        planned = plan(lengths, self.max_tokens, batch_size, padded=self.state == "none")
        batches = [[spoken[at] for at in batch] for batch in planned]
        # A batch keeps two threads busy, one a direction; with two batches neither waits for what is done once a batch.
        side_by_side = max(min(self.threads, 2), -(-self.threads // 2))
        for at in range(0, len(batches), side_by_side):
            group = batches[at : at + side_by_side]
            reduced = self.engine.workers.map(lambda found: list(map(reduce, found)), self._run(group, sentences))
            for batch, found in zip(group, reduced, strict=True):
                arrays.update(zip(batch, found, strict=True))
        return [arrays[place] for place in range(len(sentences))]

    def _run(self, batches: list[list[int]], sentences: Sequence[tuple[str, ...]]) -> list[list[Tensor]]:
        """Runs some batches together; where memory does not suffice, one by one, and then by halves."""
        try:
            jobs = [self._batch([sentences[place] for place in places]) for places in batches]
            return [layers for layers, _ in self.engine.run(jobs)]
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if len(batches) > 1:
                return [self._run([batch], sentences)[0] for batch in batches]
            batch = batches[0]
            if len(batch) == 1:
                raise InputError(
                    f"a sentence of {len(sentences[batch[0]]):,} tokens does not fit the memory; "
                    f"embed_file reads sentences of any length in constant memory"
                ) from error
        # Smaller batches from now on, so that the next one does not fail first.
        self.max_tokens = max(1, self.max_tokens // 2)
        half = len(batch) // 2
        return [self._run([batch[:half]], sentences)[0] + self._run([batch[half:]], sentences)[0]]

    def _open(self) -> States | None:
        """The states after the boundary that opens a sentence, the same for every sentence: one row."""
        if self.initial is None or self.state == "carry":
            return None
        left, right = (
            self.engine.read_chunk(direction, [boundary], state)[1]
            for direction, (boundary, state) in enumerate(zip(self.model.boundaries, self.initial, strict=True))
        )
        return left, right

    def _batch(self, sentences: list[tuple[str, ...]]) -> Batch:
        """Sentences that all start alike. A Transformer reads the boundaries with the words."""
        if self._opened is None:
            return Batch([with_boundaries(sentence, self.model) for sentence in sentences], None)
        return Batch(sentences, _repeated(self._opened, len(sentences)), bounded=False)

    def _carry(self, sentences: Sequence[tuple[str, ...]], batch_size: int) -> Iterator[Tensor]:
        """Batches in input order; rows that a smaller batch does not have keep their state (as AllenNLP's do)."""
        assert self.initial is not None
        for places in rows_in_order(len(sentences), batch_size):
            rows = len(places)
            carried = self.carried
            have = carried[0].hidden.size(1) if carried else 0
            if carried is None or have < rows:
                fresh = _repeated(self.initial, rows - have)
                carried = fresh if carried is None else _beside(carried, fresh)
            batch = Batch(
                [with_boundaries(sentences[place], self.model) for place in places], _some_rows(carried, 0, rows)
            )
            layers, end = self.engine.run([batch])[0]
            assert end is not None
            self.carried = _beside(end, _some_rows(carried, rows, None))
            yield from layers


def _repeated(states: States, rows: int) -> States:
    """One row of state for each of `rows` sentences."""
    left, right = (LSTMState(state.hidden.expand(-1, rows, -1), state.cell.expand(-1, rows, -1)) for state in states)
    return left, right


def _beside(first: States, second: States) -> States:
    left, right = (
        LSTMState(torch.cat([a.hidden, b.hidden], dim=1), torch.cat([a.cell, b.cell], dim=1))
        for a, b in zip(first, second, strict=True)
    )
    return left, right


def _some_rows(states: States, begin: int, end: int | None) -> States:
    left, right = (LSTMState(state.hidden[:, begin:end], state.cell[:, begin:end]) for state in states)
    return left, right


def _numpy(layers: Tensor) -> FloatArray:
    """A copy of its own: a view would keep the whole batch alive."""
    return np.array(layers.cpu().numpy(), dtype=np.float32, order="C")


def _checked(sentence: Sequence[str], place: int) -> tuple[str, ...]:
    if isinstance(sentence, str):
        raise OptionError(f"sentence {place} is a string; embed() takes lists of words, embed_text() takes raw text")
    words = tuple(sentence)
    for word in words:
        if not isinstance(word, str):
            raise OptionError(f"sentence {place} holds {word!r}, which is no word; embed() takes lists of strings")
    return words


def _out_of_memory(error: Exception) -> bool:
    """Whether torch, on a GPU or a CPU, ran out of memory."""
    named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return named or ("alloc" in str(error) and "memory" in str(error))
