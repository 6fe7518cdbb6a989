"""Training a biLM: THEN READ THIS. One visible loop; everything it calls does one thing and lies in `training/`.

    corpus = Corpus.open("corpus")                       # polyseme prepare
    report = train(corpus, "model", "small", TrainConfig(epochs=10))

An update: read the next window of every lane in both directions, sum the losses of all targets, divide by their number,
go back, bound the gradient, step. Between updates a run may log, validate (the exact perplexity of the held-out text;
the best network so far is the model in the folder), or save a checkpoint.

    MODEL/  model.safetensors config.json vocab.txt     the best network so far, a model like any other
            log.jsonl curve.html                        one line an interval; the training curve
            checkpoints/                                the last k states; `resume=True` goes on from the newest

A loss that is no number, or that climbs far above its lowest, takes the run back to its last good state at half the
learning rate. Under torchrun every process computes its own lanes (`training/processes.py`).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyseme.bilm import BiLMConfig
from polyseme.engine import States
from polyseme.errors import DamagedModelError, OutputError, ResumeError, TrainingError
from polyseme.formats.folder import open_model
from polyseme.formats.model import Model, ModelCard
from polyseme.lm.losses import LossSums
from polyseme.nn.device import device_named
from polyseme.nn.losses import Samples, draw_samples, full_softmax, sampled_softmax
from polyseme.text.shards import Corpus
from polyseme.text.streams import UNSCORED, Window
from polyseme.text.vocab import Vocabulary
from polyseme.training import checkpoint
from polyseme.training.batches import Batches, LaneBatches, SentenceBatches
from polyseme.training.checkpoint import Position
from polyseme.training.config import TrainConfig, fitted, samples_of, sized
from polyseme.training.curve import write_curve
from polyseme.training.network import TypeRows, read_window
from polyseme.training.optimizer import Optimizer, clip, cooling, rate
from polyseme.training.outcome import Outcome, refuse_used
from polyseme.training.processes import Processes
from polyseme.training.start import new_bilm, softmax_rows, versions
from polyseme.training.typos import Typos
from polyseme.training.validate import REPORT_LANES, WORDS_IN_ONE_LANE, HeldOut, nearest_contexts, stream_of

Event = dict[str, Any]


@dataclass(frozen=True)
class TrainReport:
    """How a run ended. `losses`: exact, of all held-out text, by the best network; None where it `stopped` early."""

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
    vocabulary: Vocabulary | int | None = None,
    start: Model | None = None,
    resume: bool = False,
    device: str = "cpu",
    card: ModelCard | None = None,
    processes: Processes | None = None,
    on_event: Callable[[Event], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainReport:
    """Trains a biLM on `corpus.train` and writes the best network by `corpus.heldout` into `folder`.

    `sizes`: a preset's name, or an architecture. `vocabulary`: the words of the softmax by falling count, or how
    many of the corpus's; by default those that come twice, at most 100,000.
    `start`: a model whose weights the run begins with. `resume`: go on from the newest checkpoint; on a fresh folder,
    simply start. `on_event` is told what log.jsonl holds. After an update `should_stop` may have the run save and end.

    Raises `OutputError` where the folder holds something already, `ResumeError`, `InputError` without held-out text,
    `TrainingError` where going back did not help or another process ended.
    """
    config = config or TrainConfig()
    run = Run(
        corpus, Path(folder), sizes, config, vocabulary=vocabulary, start=start, device=device, card=card,
        processes=processes, on_event=on_event,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        run.begin(resume)
        return run.loop(should_stop)


class Run:
    """One run: the network and everything around it. Nothing is written before `begin`."""

    def __init__(
        self,
        corpus: Corpus,
        folder: Path,
        sizes: str | BiLMConfig,
        config: TrainConfig,
        *,
        vocabulary: Vocabulary | int | None = None,
        start: Model | None = None,
        device: str = "cpu",
        card: ModelCard | None = None,
        processes: Processes | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.corpus, self.folder, self.config = corpus, folder, config
        self.processes = processes or Processes()
        self.device = device_named(device)
        if start is not None and start.vocabulary is not None:
            self.vocabulary = start.vocabulary
        elif isinstance(vocabulary, Vocabulary):
            self.vocabulary = vocabulary
        else:
            self.vocabulary = corpus.vocabulary(vocabulary or corpus.usual_size)
        if start is not None:
            self.architecture = start.bilm.config
        else:
            chosen = sized(sizes) if isinstance(sizes, str) else sizes
            self.architecture = fitted(chosen, len(self.vocabulary), corpus.characters, config.dropout.inputs)
        self.bilm = (start.bilm if start else new_bilm(self.architecture, config.seed)).to(self.device)
        self.bilm.requires_grad_(True).train()
        self.softmax_rows = softmax_rows(corpus, self.vocabulary)
        self.rows = TypeRows(corpus.character_rows, corpus.characters.padding)
        self.typos = Typos(config.typos, corpus.characters) if config.typos else None
        self.dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        self.n_samples = samples_of(config, len(self.vocabulary), self.device.type == "cuda")
        self.optimizer = Optimizer(self.bilm, config, sparse_softmax=self.n_samples > 0)
        self.batches = self._batches()
        self.n_updates = min(_n_updates(self.batches, config.epochs), config.updates or sys.maxsize)
        self.heldout = HeldOut.of(corpus.heldout, self.softmax_rows, config.validation_words)
        self.on_event = on_event
        self.position = Position()
        self.went_back_to: int | None = None
        self.identity = checkpoint.identity(corpus, self.architecture, config, self.vocabulary, self.processes.world)
        self.states: list[States | None] = [None] * config.accumulate
        self.writer = Outcome(folder, corpus, self.vocabulary, card or ModelCard(), writes=self.processes.first)

    def _batches(self) -> Batches:
        stream, transformer = stream_of(self.corpus.train), self.architecture.transformer
        if transformer is not None:
            return SentenceBatches(stream, self.config, self.processes, transformer.context)
        return LaneBatches(stream, self.config, self.processes)

    # --- the loop

    def loop(self, should_stop: Callable[[], bool]) -> TrainReport:
        """Updates until the run is over, patience ends, or somebody says stop."""
        position = self.position
        epoch, size = -1, 0
        while position.update < self.n_updates and not self._out_of_patience():
            if position.epoch != epoch:
                epoch, size = position.epoch, self.batches.start_epoch(position.epoch)
            began = time.monotonic()
            good = self.update()
            position.seconds += time.monotonic() - began
            if not (good and self._between(size)):
                self._go_back()
            if self._asked(should_stop):
                self._save()
                return self._report(None, stopped=True)
        return self._finish()

    def update(self) -> bool:
        """One update of the weights; False where the loss or the gradient is no number, or has run away."""
        config, position = self.config, self.position
        number = position.update
        parts = self.batches.parts(position.update_of_epoch)
        n_targets = sum(int((part.forward_targets != UNSCORED).sum()) for part in parts)
        n_targets = int(self.processes.sum([n_targets], self.device)[0])
        # Every random number of an update comes from its own number: nothing else has to be remembered.
        torch.manual_seed(self.processes.seed(config.seed, number))
        samples = None
        if self.n_samples:
            samples = draw_samples(len(self.vocabulary), self.n_samples, np.random.default_rng([config.seed, number]))
        sums = np.zeros(2)
        for index, part in enumerate(parts):
            total, each = self._losses(part, index, samples)
            (total * (config.gradient_scale / (2 * max(1, n_targets)))).backward()
            sums += each
        self.processes.sum_gradients(self.bilm.parameters())
        forward, backward = self.processes.sum(sums, self.device)
        norm = clip(self.bilm.parameters(), config.clip_norm)
        loss = (forward + backward) / (2 * max(1, n_targets))
        if not (math.isfinite(loss) and math.isfinite(norm)) or position.diverged(loss):
            self.optimizer.forget_gradients()
            return False
        self.optimizer.step(rate(config, number, self.n_updates) * position.rate_scale)
        position.cooling = cooling(config, number, self.n_updates)
        position.update += 1
        position.update_of_epoch += 1
        position.targets += n_targets
        for name, value in (("forward", forward), ("backward", backward), ("targets", n_targets)):
            position.interval[name] = position.interval.get(name, 0.0) + value
        return True

    def _losses(self, part: Window, index: int, samples: Samples | None) -> tuple[Tensor, np.ndarray[Any, Any]]:
        """The sum of a part's losses in both directions, and each direction's; carries the part's states on."""
        mistyped = None
        if self.typos is not None:
            chance = np.random.default_rng([self.config.seed, self.position.update, self.processes.rank, index])
            mistyped = partial(self.typos.make, chance=chance)
        forward, backward, states = read_window(
            self.bilm, self.rows, part, self.states[index], self.dtype, self.config.dropout, mistyped
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

    # --- between updates

    def _between(self, size: int) -> bool:
        """What is due after an update of an epoch of `size`; False where the weights turn out to be no numbers."""
        position, config = self.position, self.config
        epoch_over = position.update_of_epoch == size
        last = position.update == self.n_updates
        if position.update % config.log_every == 0 or last:
            self._log()
        due = position.update % config.validate_every == 0 if config.validate_every else epoch_over
        if (due or last) and not self._validate():
            return False
        if epoch_over:
            position.epoch += 1
            position.update_of_epoch = 0
            self.states = [None] * config.accumulate
        if position.update % config.checkpoint_every == 0 or last or self._out_of_patience():
            return self._save()
        return True

    def _out_of_patience(self) -> bool:
        return 0 < self.config.patience <= self.position.validations_without_better

    def _asked(self, should_stop: Callable[[], bool]) -> bool:
        """Whether any process was asked to stop: all of them must know."""
        return self.processes.sum([float(should_stop())], self.device)[0] > 0

    def _log(self) -> None:
        position = self.position
        done, targets = position.interval, max(1.0, position.interval.get("targets", 0.0))
        self._tell(
            {
                "event": "train",
                "update": position.update,
                "of": self.n_updates,
                "epoch": position.epoch,
                "loss": "sampled" if self.n_samples else "full",
                "perplexity": {way: math.exp(min(700.0, done[way] / targets)) for way in ("forward", "backward")},
                "rate": rate(self.config, position.update - 1, self.n_updates) * position.rate_scale,
                "targets": position.targets,
                "seconds": position.seconds,
                "targets_per_second": position.targets / position.seconds if position.seconds else 0.0,
            }
        )
        position.interval = {}

    def _validate(self) -> bool:
        """Validates, and writes the network if it is the best so far; False where its weights are no numbers."""
        position = self.position
        if not self._finite(self.bilm.state_dict()):
            return False
        found = [0.0] * 3
        if self.processes.first:
            try:
                sums = self.heldout.losses(self.bilm, self.rows)
                found = [sums.forward, sums.backward, float(sums.targets)]
            except DamagedModelError:  # weights so large that the scores are no numbers
                found = [math.nan] * 3
        found = self.processes.from_first(found, self.device)
        if math.isnan(found[0]):
            return False
        losses = _sums(found)
        perplexity = losses.perplexity
        better = position.best is None or perplexity.mean < position.best
        position.validated = position.update
        position.validations_without_better = 0 if better else position.validations_without_better + 1
        if better:
            position.best, position.best_update = perplexity.mean, position.update
            self.writer.model(self.bilm, "validation", losses)
        self._tell(
            {
                "event": "validation",
                "update": position.update,
                "epoch": position.epoch,
                "heldout": asdict(perplexity),
                "heldout_targets": losses.targets,
                "best": better,
                "contexts": nearest_contexts(self.bilm, self.rows, self.corpus) if self.processes.first else [],
                "seconds": position.seconds,
            }
        )
        return True

    def _tell(self, event: Event) -> None:
        if self.processes.first:
            self.writer.log(event)
            if event["event"] != "train":
                write_curve(self.folder)
            if self.on_event is not None:
                self.on_event(event)

    # --- beginning, going back, ending

    def begin(self, resume: bool) -> None:
        """Starts, or goes on from the newest checkpoint. Raises `OutputError` where the folder is not empty."""
        fresh = not (resume and checkpoint.found(self.folder))
        if self.processes.first:
            if fresh:
                refuse_used(self.folder)
            self.writer.open()
        # Nobody else looks: the first process may see a folder before the others do.
        fresh = bool(self.processes.from_first([fresh], self.device)[0])
        if not fresh:
            self._restore()
            self.writer.forget_after(self.position.update)
        elif not self._save():
            raise TrainingError("the weights that the run should start from are no finite numbers; give another model")

    def _restore(self) -> None:
        """Takes up the newest checkpoint. Raises `ResumeError`."""
        loaded = checkpoint.load(self.folder, self.identity)
        if loaded is None:
            raise OutputError(f"{self.folder}: its checkpoints are gone, so there is nothing to go back to")
        tensors, position = loaded
        last = self.n_updates - self.config.cool_down
        if position.update > last and not position.cooling:
            raise ResumeError(
                f"{self.folder} holds {position.update:,} updates, and this run should end, or begin to cool down, "
                f"after {max(0, last):,}; give more updates"
            )
        checkpoint.restore(tensors, self.bilm, self.optimizer)
        vars(self.position).update(vars(position))
        self.states = checkpoint.restore_states(tensors, self.processes.rank, self.config.accumulate, self.device)
        self.processes.wait()

    def _go_back(self) -> None:
        """To the last good state, at half the rate. Raises `TrainingError` where that has been tried too often."""
        before = replace(self.position)
        if before.rollbacks >= self.config.rollbacks:
            left = "no network was validated" if before.best is None else "the best network so far is in the folder"
            raise TrainingError(
                f"the loss is no number, or has run away, at update {before.update}, also at {before.rate_scale:g} of "
                f"the learning rate; start again in another folder with a lower --learning-rate ({left})"
            )
        # A state that the run could not leave at half the rate either may have gone wrong before anybody saw it.
        if self.went_back_to == checkpoint.newest(self.folder) and self.processes.first:
            checkpoint.drop_newest(self.folder)
        self.processes.wait()
        self._restore()
        position = self.position
        self.went_back_to = position.update
        position.rate_scale, position.rollbacks = before.rate_scale / 2, before.rollbacks + 1
        if before.best is not None:  # the model in the folder stays the best, whatever became of its successors
            position.best, position.best_update = before.best, before.best_update
        self._tell(
            {
                "event": "rollback",
                "update": before.update,
                "to": position.update,
                "rate_scale": position.rate_scale,
                "why": "the loss was no number or far above its lowest",
            }
        )

    def _save(self) -> bool:
        """A checkpoint, if the state is good. Every process gives its lanes' states; the first one writes."""
        own = checkpoint.tensors_of_states(self.states)
        tensors = checkpoint.tensors_of(self.bilm, self.optimizer)
        if not self._finite(own | tensors):
            return False
        states = self.processes.gather(own, self.device)
        if self.processes.first:
            tensors |= {f"states.{name}": tensor for name, tensor in states.items()}
            checkpoint.save(self.folder, tensors, self.position, self.identity, self.config.keep)
        self.processes.wait()
        return True

    def _finite(self, tensors: dict[str, Tensor]) -> bool:
        return self.processes.sum([float(not checkpoint.finite(tensors))], self.device)[0] == 0

    def _finish(self) -> TrainReport:
        """The exact perplexity of the whole held-out part by the best network, into its card and the log."""
        found = [0.0] * 3
        if self.processes.first:
            best, part = open_model(self.folder).bilm.to(self.device), self.corpus.heldout
            lanes = 1 if part.n_words <= WORDS_IN_ONE_LANE else REPORT_LANES
            sums = HeldOut.of(part, self.softmax_rows, part.n_words).losses(best, self.rows, lanes)
            found = [sums.forward, sums.backward, float(sums.targets)]
            self.writer.model(best, "held-out text", sums)
            self._tell(
                {
                    "event": "end",
                    "update": self.position.update,
                    "heldout": asdict(sums.perplexity),
                    "heldout_targets": sums.targets,
                    "best_update": self.position.best_update,
                    "seconds": self.position.seconds,
                    "versions": versions(),
                }
            )
        return self._report(_sums(self.processes.from_first(found, self.device)), stopped=False)

    def _report(self, losses: LossSums | None, *, stopped: bool) -> TrainReport:
        position = self.position
        return TrainReport(position.update, position.targets, position.seconds, losses, stopped, position.rollbacks)


def _sums(found: list[float]) -> LossSums:
    return LossSums(found[0], found[1], int(found[2]))


def _n_updates(batches: Batches, epochs: int) -> int:
    """Of the whole run. Lanes begin elsewhere each epoch, and the longest one decides; sentences batch the same way."""
    return sum(map(batches.start_epoch, range(epochs))) if batches.carried else epochs * batches.start_epoch(0)
