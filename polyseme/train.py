"""Training a biLM: THEN READ THIS. One visible loop; everything it calls does one thing and lies in `training/`.

    corpus = Corpus.open("corpus")                       # polyseme prepare
    model, report = train(corpus, "model", "small", TrainConfig(epochs=10))

An update: read the next window of every lane in both directions, sum the losses of all targets, divide by their number,
go back, bound the gradient, step. Between updates a run may log, save a checkpoint, or validate: the exact perplexity
of the held-out text; the best network so far is the model in the folder.

    MODEL/  model.safetensors config.json vocab.txt     the best network so far, a model like any other
            log.jsonl curve.html                        one line an interval; the training curve
            checkpoints/                                the last k states; `resume=True` goes on from the newest

A loss that is no number, or that climbs far above its lowest, takes the run back to its last good state at half the
learning rate. Under torchrun every process computes its own lanes (`training/processes.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polyseme.bilm import BiLM, BiLMConfig
from polyseme.engine import States
from polyseme.errors import OutputError, TrainingError
from polyseme.formats.folder import open_model
from polyseme.formats.model import Model, ModelCard
from polyseme.lm.losses import LossSums
from polyseme.nn.device import device_named
from polyseme.nn.losses import Samples, draw_samples, full_softmax, sampled_softmax
from polyseme.nn.lstm import LSTMState
from polyseme.text.shards import Corpus
from polyseme.text.chars import SENTENCE_END, SENTENCE_START
from polyseme.text.streams import END, START, UNKNOWN, UNSCORED, Window
from polyseme.text.vocab import Vocabulary
from polyseme.training import checkpoint, outcome
from polyseme.training.batches import Batches, LaneBatches, SentenceBatches
from polyseme.training.checkpoint import Position
from polyseme.training.config import TrainConfig, samples_of, sized
from polyseme.training.network import TypeRows, read_window
from polyseme.training.optimizer import Optimizer, clip, rate
from polyseme.training.processes import Processes
from polyseme.training.start import new_bilm, versions
from polyseme.training.validate import HeldOut, nearest_contexts, stream_of

# A smoothed loss this far (in nats) above its lowest is divergence, not noise.
DIVERGED = 1.5
CORPUS = "corpus"  # what a folder may hold before its run begins: the text, prepared
SMOOTHING = 0.98

Event = dict[str, Any]


@dataclass(frozen=True)
class TrainReport:
    """How a run ended. `perplexity`: exact, of the whole held-out part, by the best network. `stopped`: before its time."""

    updates: int
    targets: int
    seconds: float
    losses: LossSums | None
    stopped: bool
    rollbacks: int


def train(
    corpus: Corpus,
    folder: str | Path,
    sizes: str | BiLMConfig,
    config: TrainConfig | None = None,
    *,
    vocabulary: int | None = None,
    start: Model | None = None,
    resume: bool = False,
    device: str = "cpu",
    card: ModelCard | None = None,
    processes: Processes | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainReport:
    """Trains a biLM on `corpus.train` and writes the best network by `corpus.heldout` into `folder`.

    `sizes`: a preset's name, or an architecture. `vocabulary`: softmax words, all types up to 100,000 by default.
    `start`: a model whose weights the run begins with. `resume`: go on from the newest checkpoint; on a fresh folder,
    simply start. `on_event` is told what log.jsonl holds. `should_stop` is asked after every update: the run saves and ends.

    Raises `OutputError` where the folder holds something already, `ResumeError`, `InputError` without held-out text,
    `TrainingError` where going back did not help.
    """
    run = Run(
        corpus, Path(folder), sizes, config or TrainConfig(), vocabulary=vocabulary, start=start, device=device, card=card,
        processes=processes, on_event=on_event,
    )  # fmt: skip
    run.begin(resume)
    return run.loop(should_stop)


class Run:
    """One run: the network and everything around it."""

    def __init__(
        self,
        corpus: Corpus,
        folder: Path,
        sizes: str | BiLMConfig,
        config: TrainConfig,
        *,
        vocabulary: int | None = None,
        start: Model | None = None,
        device: str = "cpu",
        card: ModelCard | None = None,
        processes: Processes | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.corpus, self.folder, self.config = corpus, folder, config
        self.processes = processes or Processes()
        self.device = device_named(device)
        if start is not None and start.vocabulary is not None:
            self.vocabulary = start.vocabulary
        else:
            self.vocabulary = corpus.vocabulary(min(vocabulary or 100_000, len(corpus)))
        if isinstance(sizes, str):
            sizes = sized(sizes, len(self.vocabulary), corpus.characters, config.dropout.inputs)
        self.architecture = start.bilm.config if start is not None else sizes
        self.bilm = (start.bilm if start else new_bilm(self.architecture, config.seed)).to(self.device)
        self.bilm.requires_grad_(True).train()
        self.softmax_rows = _softmax_rows(corpus, self.vocabulary, start)
        self.rows = TypeRows(corpus.character_rows, corpus.characters.padding)
        self.dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        self.n_samples = samples_of(config, len(self.vocabulary), self.device.type == "cuda")
        self.optimizer = Optimizer(self.bilm, config, sparse_softmax=self.n_samples > 0)
        self.batches = self._batches()
        self.heldout = HeldOut.of(corpus.heldout, self.softmax_rows, config.validation_words)
        self.card, self.on_event = card or ModelCard(), on_event
        self.position = Position()
        self.states: list[States | None] = [None] * config.accumulate
        self.writer = outcome.Outcome(folder, self.processes.first)

    def _batches(self) -> Batches:
        stream = stream_of(self.corpus.train)
        transformer = self.architecture.transformer
        if transformer is not None:
            return SentenceBatches(stream, self.config, self.processes, transformer.context)
        return LaneBatches(stream, self.config, self.processes)

    # --- the loop

    def loop(self, should_stop: Callable[[], bool]) -> TrainReport:
        """Updates until the epochs are over, patience ends, or somebody says stop."""
        position, config = self.position, self.config
        stopped = False
        while position.epoch < config.epochs and not stopped:
            size = self.batches.start_epoch(position.epoch)
            while position.update_of_epoch < size:
                began = time.monotonic()
                if not self.update(position.epoch * size + position.update_of_epoch, config.epochs * size):
                    self._go_back()
                    size = self.batches.start_epoch(position.epoch)
                    continue
                position.seconds += time.monotonic() - began
                position.update += 1
                position.update_of_epoch += 1
                epoch_over = position.update_of_epoch == size
                if position.update % config.log_every == 0:
                    self._log(config.epochs * size)
                if self._due(config.validate_every, epoch_over) and self._validate():
                    stopped = True
                if epoch_over:
                    self._next_epoch()
                if self._due(config.checkpoint_every, epoch_over) or stopped:
                    self._save()
                if epoch_over or stopped:
                    break
                if self._asked(should_stop):
                    self._save()
                    return self._report(None, stopped=True)
        return self._finish()

    def _due(self, every: int, epoch_over: bool) -> bool:
        return epoch_over if every == 0 else self.position.update % every == 0

    def _asked(self, should_stop: Callable[[], bool]) -> bool:
        """Whether any process was asked to stop: all of them must know."""
        return self.processes.sum([float(should_stop())], self.device)[0] > 0

    def _next_epoch(self) -> None:
        self.position.epoch += 1
        self.position.update_of_epoch = 0
        self.states = [None] * self.config.accumulate

    def update(self, number: int, n_updates: int) -> bool:
        """One update of the weights; False where the loss or the gradient is no number, or has run away."""
        config, position = self.config, self.position
        parts = self.batches.parts(position.update_of_epoch)
        n_targets = sum(int((part.forward_targets != UNSCORED).sum()) for part in parts)
        n_targets = int(self.processes.sum([n_targets], self.device)[0])
        # Every random number of an update comes from its own number: nothing else has to be remembered.
        torch.manual_seed(_mixed(config.seed, number, self.processes.rank))
        samples = None
        if self.n_samples:
            samples = draw_samples(len(self.vocabulary), self.n_samples, np.random.default_rng([config.seed, number]))
        sums = np.zeros(2)
        for index, part in enumerate(parts):
            total, each = self._losses(part, index, samples)
            (total * (config.gradient_scale / (2 * max(1, n_targets)))).backward()  # type: ignore[no-untyped-call]
            sums += each
        self.processes.sum_gradients(self.bilm.parameters())
        forward, backward = self.processes.sum(sums, self.device)
        norm = clip(self.bilm.parameters(), config.clip_norm)
        loss = (forward + backward) / (2 * max(1, n_targets))
        if not (math.isfinite(loss) and math.isfinite(norm)) or self._diverged(loss):
            self.optimizer.forget_gradients()
            return False
        self.optimizer.step(rate(config, number, n_updates) * position.rate_scale)
        position.targets += n_targets
        interval = position.interval
        for name, value in (("forward", forward), ("backward", backward), ("targets", n_targets)):
            interval[name] = interval.get(name, 0.0) + value
        return True

    def _losses(self, part: Window, index: int, samples: Samples | None) -> tuple[Tensor, np.ndarray[Any, Any]]:
        """The sum of a part's losses in both directions, and each direction's; carries the part's states on."""
        forward, backward, states = read_window(
            self.bilm, self.rows, part, self.states[index], self.dtype, self.config.dropout
        )
        if self.batches.carried:
            self.states[index] = states
        hidden, wanted = [], []
        for top, targets in ((forward, part.forward_targets), (backward, part.backward_targets)):
            scored = np.flatnonzero(targets != UNSCORED)
            hidden.append(top.flatten(0, 1)[torch.from_numpy(scored).to(self.device)])
            wanted.append(torch.from_numpy(self.softmax_rows[targets.reshape(-1)[scored]]))
        softmax, targets_ = self.bilm.softmax, torch.cat(wanted).to(self.device)
        assert softmax is not None
        if samples is not None:
            loss = sampled_softmax(softmax, torch.cat(hidden), targets_, samples, self.dtype)
        else:
            loss = full_softmax(softmax, torch.cat(hidden), targets_, self.dtype)
        each = loss.each.split([len(part_) for part_ in wanted])
        return loss.total, np.array([float(part_.double().sum()) for part_ in each])

    def _diverged(self, loss: float) -> bool:
        position = self.position
        smoothed = loss if position.smoothed is None else SMOOTHING * position.smoothed + (1 - SMOOTHING) * loss
        if position.lowest is not None and smoothed > position.lowest + DIVERGED:
            return True
        position.smoothed = smoothed
        position.lowest = smoothed if position.lowest is None else min(position.lowest, smoothed)
        return False

    # --- between updates

    def _log(self, n_updates: int) -> None:
        position = self.position
        done, targets = position.interval, max(1.0, position.interval.get("targets", 0.0))
        self._tell(
            {
                "event": "train",
                "update": position.update,
                "of": n_updates,
                "epoch": position.epoch,
                "loss": "sampled" if self.n_samples else "full",
                "perplexity": {way: math.exp(min(700.0, done[way] / targets)) for way in ("forward", "backward")},
                "rate": rate(self.config, position.update, n_updates) * position.rate_scale,
                "targets": position.targets,
                "seconds": position.seconds,
                "targets_per_second": position.targets / position.seconds if position.seconds else 0.0,
            }
        )
        position.interval = {}

    def _validate(self) -> bool:
        """Validates, writes the model if it is the best so far; whether patience is over."""
        position = self.position
        found = [0.0] * 3
        if self.processes.first:
            sums = self.heldout.losses(self.bilm, self.rows)
            found = [sums.forward, sums.backward, float(sums.targets)]
        found = self.processes.from_first(found, self.device)
        perplexity = LossSums(found[0], found[1], int(found[2])).perplexity
        better = position.best is None or perplexity.mean < position.best
        if better:
            position.best, position.best_update, position.validations_without_better = perplexity.mean, position.update, 0
            if self.processes.first:
                self.writer.model(self._model(f"validation, {int(found[2]):,} targets", LossSums(*found[:2], int(found[2]))))
        else:
            position.validations_without_better += 1
        self._tell(
            {
                "event": "validation",
                "update": position.update,
                "epoch": position.epoch,
                "heldout": asdict(perplexity),
                "heldout_targets": int(found[2]),
                "best": better,
                "contexts": nearest_contexts(self.bilm, self.rows, self.corpus) if self.processes.first else [],
                "seconds": position.seconds,
            }
        )
        return bool(self.config.patience) and position.validations_without_better >= self.config.patience

    def _tell(self, event: Event) -> None:
        if self.processes.first:
            self.writer.log(event)
            self.on_event(event)

    def _model(self, what: str, losses: LossSums) -> Model:
        said = losses.perplexity
        text = f"forward {said.forward:.2f}, backward {said.backward:.2f}, mean {said.mean:.2f} ({what})"
        return Model(
            self.bilm,
            characters=self.corpus.characters,
            vocabulary=self.vocabulary,
            text=self.corpus.text,
            card=replace(self.card, source_format="polyseme", perplexity=text),
        )

    # --- beginning, going back, ending

    def begin(self, resume: bool) -> None:
        """Starts, or goes on from the newest checkpoint. Raises `OutputError` where the folder is not empty."""
        if self.processes.first:
            self.folder.mkdir(parents=True, exist_ok=True)
        if not resume and self.processes.first:
            refuse_used(self.folder)
        self.processes.wait()
        if not self._restore():
            self._save()
        self.writer.forget_after(self.position.update)

    def _restore(self) -> bool:
        """Takes up the newest checkpoint; False where there is none."""
        loaded = checkpoint.load(self.folder, self._identity())
        if loaded is None:
            return False
        tensors, position = loaded
        state = self.bilm.state_dict()
        for name, tensor in state.items():
            tensor.copy_(tensors[f"network.{name}"])
        self.optimizer.restore(_below(tensors, "optimizer."))
        self.optimizer.forget_gradients()
        vars(self.position).update(vars(position))
        self.states = self._states_from(_below(tensors, "states."))
        return True

    def _go_back(self) -> None:
        """To the last good state, at half the rate. Raises `TrainingError` where that has been tried too often."""
        at, scale, times = self.position.update, self.position.rate_scale, self.position.rollbacks
        if times >= self.config.rollbacks:
            raise TrainingError(
                f"the loss is no number, or has run away, at update {at}, also at {scale:g} of the learning rate; start "
                "with a lower --learning-rate; the best network so far is in the folder"
            )
        self.processes.wait()
        self._restore()
        self.position.rate_scale, self.position.rollbacks = scale / 2, times + 1
        self._tell(
            {
                "event": "rollback",
                "update": at,
                "to": self.position.update,
                "rate_scale": self.position.rate_scale,
                "why": "the loss was no number or far above its lowest",
            }
        )

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        config = asdict(self.config)
        for free in ("epochs", "log_every", "keep", "patience", "rollbacks", "checkpoint_every"):
            if free != "epochs" or self.config.schedule != "cosine":
                config.pop(free)
        return {
            "corpus": self.corpus.identity,
            "architecture": asdict(self.architecture),
            "training": config,
            "processes": self.processes.world,
            "vocabulary": len(self.vocabulary),
        }

    def _save(self) -> None:
        """A checkpoint, if the state is good. Every process gives its lanes' states; the first one writes."""
        tensors = {f"network.{name}": tensor for name, tensor in self.bilm.state_dict().items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()}
        if not checkpoint.finite(tensors):
            return
        tensors |= {f"states.{name}": tensor for name, tensor in self._states_of_all().items()}
        if self.processes.first:
            checkpoint.save(self.folder, tensors, self.position, self._identity(), self.config.keep)
        self.processes.wait()

    def _states_of_all(self) -> dict[str, Tensor]:
        own = {}
        for index, states in enumerate(self.states):
            for direction, state in zip(("forward", "backward"), states or (), strict=False):
                own[f"{index}.{direction}.hidden"], own[f"{index}.{direction}.cell"] = state.hidden, state.cell
        return self.processes.gather(own)

    def _states_from(self, tensors: dict[str, Tensor]) -> list[States | None]:
        own = _below(tensors, f"{self.processes.rank}.")
        found: list[States | None] = []
        for index in range(self.config.accumulate):
            if f"{index}.forward.hidden" not in own:
                found.append(None)
                continue
            left, right = (
                LSTMState(own[f"{index}.{way}.hidden"].to(self.device), own[f"{index}.{way}.cell"].to(self.device))
                for way in ("forward", "backward")
            )
            found.append((left, right))
        return found

    def _finish(self) -> TrainReport:
        """The exact perplexity of the whole held-out part by the best network, into its card and the log."""
        losses = None
        self._save()
        if self.processes.first:
            if self.position.best is None:
                self._validate()
            best = open_model(self.folder)
            whole = HeldOut.of(self.corpus.heldout, self.softmax_rows, self.corpus.heldout.n_words)
            losses = whole.losses(best.bilm.to(self.device), self.rows, lanes=1)
            self.bilm = best.bilm
            self.writer.model(self._model(f"held-out text, {losses.targets:,} targets", losses))
            self._tell({"event": "end", "update": self.position.update, "heldout": asdict(losses.perplexity),
                        "heldout_targets": losses.targets, "seconds": self.position.seconds, "versions": versions()})  # fmt: skip
        self.processes.wait()
        return self._report(losses, stopped=False)

    def _report(self, losses: LossSums | None, *, stopped: bool) -> TrainReport:
        position = self.position
        return TrainReport(
            position.update, position.targets, position.seconds, losses, stopped, position.rollbacks
        )


def refuse_used(folder: Path) -> None:
    """Raises `OutputError` where a folder holds anything but a corpus: no run is ever written over."""
    others = sorted(entry.name for entry in folder.iterdir() if entry.name != CORPUS) if folder.is_dir() else []
    if others:
        raise OutputError(
            f"{folder} is not empty (it holds {others[0]!r}): pass --resume to go on with the run that is there, or "
            "give another folder"
        )


def _softmax_rows(corpus: Corpus, vocabulary: Vocabulary, start: Model | None) -> npt.NDArray[np.int64]:
    """The softmax row that scores each word type; that of <UNK> for types outside the vocabulary. *Shape:* (n_types,)."""
    if start is None:
        types = np.arange(len(corpus), dtype=np.int64)
        return np.where(types < len(vocabulary), types, UNKNOWN)
    rows = vocabulary.ids(corpus.words).astype(np.int64)
    rows[[START, END]] = vocabulary.id(SENTENCE_START), vocabulary.id(SENTENCE_END)
    return rows


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _mixed(seed: int, update: int, rank: int) -> int:
    """One number for torch's generator, far apart for neighbouring updates."""
    return int(np.random.SeedSequence([seed, update, rank]).generate_state(1, np.uint64)[0] >> 1)
