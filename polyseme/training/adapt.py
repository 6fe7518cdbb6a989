"""A trained model goes on with the text of a domain: what it starts from, and what that cost the text it knew.

    report = adapt(open_model("elmo"), Corpus.open("law"), "elmo-law")      # prepare(..., characters=model.characters)

The text enters by the model's own characters. Its softmax is kept, or its vocabulary replaced by the corpus's (rows of
shared words are kept, others predicted: `new_rows.py`), or, where the published files hold none, made new. Then the
ordinary loop trains everything, at a tenth of the ordinary rate, and stops when held-out text no longer gains.

The guard is text of the kind that the model knew before: its perplexity is measured before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polyseme.errors import OptionError, UnsupportedModelError
from polyseme.formats.folder import open_model
from polyseme.formats.model import Model, ModelCard, assemble
from polyseme.lm.losses import LossSums
from polyseme.lm.network import LanguageModel, Words
from polyseme.lm.perplexity import PerplexityReport, evaluate
from polyseme.nn.device import device_named
from polyseme.text.chars import UNKNOWN_WORD
from polyseme.text.shards import Corpus
from polyseme.text.streams import END, START, UNKNOWN
from polyseme.text.vocab import Vocabulary
from polyseme.train import Event, TrainReport, train
from polyseme.training.config import TrainConfig
from polyseme.training.network import TypeRows
from polyseme.training.new_rows import Contexts, Softmax, joined, lanes_for, moved_biases, new_softmax, read_contexts
from polyseme.training.outcome import refuse_used
from polyseme.training.processes import Processes
from polyseme.training.start import softmax_rows
from polyseme.training.validate import HeldOut

IntArray = npt.NDArray[np.int64]
SoftmaxKind = Literal["kept", "new vocabulary", "new"]

FEW_SHARED = 10  # words below which nothing can be learned from the rows of a vocabulary


@dataclass(frozen=True)
class Start:
    """A model ready to go on. `softmax`: what became of it; `kept` and `made`: rows as they were, and new ones.

    `biases`: of a new vocabulary, for the frequencies of the new text; the model still has those of the old one.
    """

    model: Model
    softmax: SoftmaxKind
    kept: int
    made: int
    biases: Tensor | None = None


@dataclass(frozen=True)
class AdaptReport:
    """What adapting did. Both measures of a text are over the same vocabulary: that of the adapted model.

    `before`, `after`: exact losses of the corpus's held-out text, `guard_...`: of the text that the model knew. None is
    what was not measured: by another process than the first, or after a run that was stopped.
    """

    training: TrainReport
    softmax: SoftmaxKind
    kept: int
    made: int
    before: LossSums | None
    after: LossSums | None
    guard_before: PerplexityReport | None
    guard_after: PerplexityReport | None
    guard_limit: float

    @property
    def guard_factor(self) -> float | None:
        """How much worse the old text became: mean perplexity after, divided by before."""
        if self.guard_before is None or self.guard_after is None:
            return None
        return self.guard_after.perplexity.mean / self.guard_before.perplexity.mean

    def warnings(self) -> list[str]:
        """One sentence for everything that a user should know before using the adapted model."""
        found = []
        factor = self.guard_factor
        if factor is not None and factor > self.guard_limit:
            found.append(
                f"the perplexity of the old text grew to {factor:.3f} times what it was, beyond the limit of "
                f"{self.guard_limit:g}: the model has forgotten; adapt again with fewer --epochs, a lower "
                "--learning-rate, or some text of the old kind among the new"
            )
        if self.before and self.after and self.after.perplexity.mean >= self.before.perplexity.mean:
            found.append(
                "the held-out text of the domain gained nothing: the model as it was is at least as good; give more "
                "text, or another --learning-rate"
            )
        if self.guard_after is not None:
            found += [f"of the old text, {warning}" for warning in self.guard_after.warnings()]
        return found


def gentle(corpus: Corpus) -> TrainConfig:
    """How a trained model goes on: a tenth of the rate, three epochs at most, as many lanes as the text deserves."""
    return TrainConfig(epochs=3, lanes=lanes_for(corpus), learning_rate=1e-4, warm_up=50, patience=1)


def adapt(
    model: Model,
    corpus: Corpus,
    folder: str | Path,
    config: TrainConfig | None = None,
    *,
    new_vocabulary: bool = False,
    vocabulary: int | None = None,
    guard: Callable[[], Iterable[Words]] | None = None,
    guard_limit: float = 1.1,
    resume: bool = False,
    device: str = "cpu",
    card: ModelCard | None = None,
    processes: Processes | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
    on_start: Callable[[Start], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> AdaptReport:
    """Trains `model` on `corpus.train` and writes the best network by `corpus.heldout` into `folder`.

    `new_vocabulary`: predict the corpus's words instead of the model's; `vocabulary`: how many, where they are new.
    `guard`: gives the sentences of old held-out text, and is asked twice. The model that was given stays as it is.

    Raises what `check`, `started` and `train` raise.
    """
    check(model, new_vocabulary=new_vocabulary, vocabulary=vocabulary, guard_limit=guard_limit)
    processes = processes or Processes()
    if processes.first and not resume:
        refuse_used(Path(folder))
    start = started(model, corpus, new_vocabulary=new_vocabulary, vocabulary=vocabulary, device=device)
    if processes.first:
        on_start(start)
    before = guard_before = guard_after = None
    if processes.first:
        before = heldout_losses(start.model, corpus, device)
        guard_before = _guarded(start.model, guard, device)
    if start.biases is not None:
        assert start.model.bilm.softmax is not None
        start.model.bilm.softmax.bias.data = start.biases.to(device_named(device))
    processes.wait()
    report = train(
        corpus, folder, start.model.bilm.config, config or gentle(corpus), start=start.model, resume=resume,
        device=device, card=card, processes=processes, on_event=on_event, should_stop=should_stop,
    )  # fmt: skip
    if processes.first and not report.stopped:
        guard_after = _guarded(open_model(folder), guard, device)
    processes.wait()
    return AdaptReport(
        report, start.softmax, start.kept, start.made, before, report.losses, guard_before, guard_after, guard_limit
    )


def heldout_losses(model: Model, corpus: Corpus, device: str = "cpu") -> LossSums:
    """Exact losses of the whole held-out part, as a run reports them at its end."""
    assert model.vocabulary is not None
    part = HeldOut.of(corpus.heldout, softmax_rows(corpus, model.vocabulary), corpus.heldout.n_words)
    return part.losses(model.bilm.to(device_named(device)), _types(corpus), lanes=1)


def _guarded(model: Model, guard: Callable[[], Iterable[Words]] | None, device: str) -> PerplexityReport | None:
    return evaluate(LanguageModel(model, device=device), guard()) if guard is not None else None


# --- what to start from


def check(model: Model, *, new_vocabulary: bool, vocabulary: int | None, guard_limit: float = 1.1) -> None:
    """What would stop a run and can be known before the text is read.

    Raises `UnsupportedModelError` for a model that looks words up in a table, or one whose vocabulary stays and has no
    <UNK> to score unknown words by; `OptionError` for a size of a vocabulary that stays, and a limit that is no factor.
    """
    if not guard_limit > 0:
        raise OptionError(f"the limit of the guard is a factor above 0 (1.1: a tenth worse), was: {guard_limit}")
    if model.bilm.config.encoder != "char_cnn":
        raise UnsupportedModelError(
            "this model looks words up in a table that new text does not fit; only a model that reads characters alone "
            "can be adapted: give another model, or train one"
        )
    if new_vocabulary or not _predicts(model):
        return
    if vocabulary is not None:
        raise OptionError("a vocabulary size was given, but the model keeps its own words; pass --new-vocabulary, too")
    assert model.vocabulary is not None
    if UNKNOWN_WORD not in model.vocabulary:
        raise UnsupportedModelError(
            "this model's vocabulary has no <UNK>, so words outside it cannot be scored; pass --new-vocabulary"
        )


def _predicts(model: Model) -> bool:
    """Whether there is a softmax whose words are known."""
    return model.bilm.softmax is not None and model.vocabulary is not None


def started(
    model: Model, corpus: Corpus, *, new_vocabulary: bool = False, vocabulary: int | None = None, device: str = "cpu"
) -> Start:
    """A copy of the model that reads the corpus and predicts words.

    Raises what `check` raises, and `OptionError` for a corpus of other characters.
    """
    check(model, new_vocabulary=new_vocabulary, vocabulary=vocabulary)
    if model.characters != corpus.characters:
        raise OptionError(
            f"the corpus was prepared for {_described(corpus)}, the model reads {_described(model)}: give the text "
            "itself, which is then prepared for the model"
        )
    if _predicts(model) and not new_vocabulary:
        assert model.vocabulary is not None
        return Start(_copied(model, corpus, model.vocabulary, None), "kept", len(model.vocabulary), 0)
    words = corpus.vocabulary(vocabulary or corpus.usual_size)
    types = softmax_rows(corpus, words)
    contexts = read_contexts(model.bilm.to(device_named(device)), corpus, types, len(words))
    counts = _counts(corpus, types, len(words))
    if not _predicts(model):
        return Start(_copied(model, corpus, words, new_softmax(contexts, counts)), "new", 0, len(words))
    return _with_words(model, corpus, words, contexts, counts)


def _with_words(model: Model, corpus: Corpus, words: Vocabulary, contexts: Contexts, counts: Tensor) -> Start:
    """The rows of shared words, and made ones between them. Raises `UnsupportedModelError` if hardly any are shared."""
    old, softmax = model.vocabulary, model.bilm.softmax
    assert old is not None
    assert softmax is not None
    is_shared = torch.tensor([word in old for word in words.words])
    shared, wanted = torch.nonzero(is_shared)[:, 0], torch.nonzero(~is_shared)[:, 0]
    if len(shared) < FEW_SHARED:
        raise UnsupportedModelError(
            f"only {len(shared)} of the {len(words):,} words are in the model's vocabulary, so its softmax is of no "
            "use here; is the text in the model's language?"
        )
    places = torch.from_numpy(old.ids([words.words[index] for index in shared.tolist()]).astype(np.int64))
    rows, biases = softmax.weight.detach().cpu(), softmax.bias.detach().cpu()
    kept = rows[places], biases[places]
    found = torch.empty(len(words), rows.size(1)), torch.empty(len(words))
    made = joined(contexts, counts, wanted, kept) if len(wanted) else kept
    for into, of_shared, of_wanted in zip(found, kept, made, strict=True):
        into[shared], into[wanted] = of_shared, of_wanted[: len(wanted)]
    moved = moved_biases(found, contexts, counts)
    return Start(_copied(model, corpus, words, found), "new vocabulary", len(shared), len(wanted), moved)


def _counts(corpus: Corpus, rows: IntArray, n_words: int) -> Tensor:
    """How often each row is a target of either direction, halved. *Shape:* (V,)."""
    counts = np.bincount(rows, weights=corpus.counts, minlength=n_words)
    counts[rows[[START, END]]] = corpus.train.n_sentences / 2
    # Where every word of the text has a row, unseen words are as frequent as those seen once (Good and Turing).
    outside = counts[rows[UNKNOWN]] + corpus.train.n_words - corpus.counts.sum()
    counts[rows[UNKNOWN]] = max(outside, np.count_nonzero(corpus.counts == 1))
    return torch.from_numpy(counts).float()


def _copied(model: Model, corpus: Corpus, words: Vocabulary, softmax: Softmax | None) -> Model:
    """The model with its own tensors, and another softmax if one is given."""
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in model.bilm.state_dict().items()}
    config = replace(model.bilm.config, softmax_size=len(words))
    if softmax is not None:
        tensors |= {"softmax.weight": softmax[0].contiguous(), "softmax.bias": softmax[1].contiguous()}
    bilm = assemble(config, tensors, Path(model.card.name or "the model"))
    return Model(bilm, characters=model.characters, vocabulary=words, text=corpus.text, card=model.card)


def _types(corpus: Corpus) -> TypeRows:
    return TypeRows(corpus.character_rows, corpus.characters.padding)


def _described(holder: Model | Corpus) -> str:
    characters = holder.characters
    assert characters is not None
    kind = f"an alphabet of {len(characters.alphabet)} characters" if characters.alphabet else "UTF-8 bytes"
    return f"{kind}, {characters.max_characters} a word"
