"""The one loop that trains every task's network: Adam, stopping early by a measure on dev data, the best weights kept.

    network, report = train(build, lengths, loss_of, measure, LoopConfig(seed=1))

The same seed, data and number of threads give the same weights. The caller's own random state is left as it was.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from polyseme.errors import OptionError, TrainingError

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class LoopConfig:
    """How a network is trained; the same for all tasks but where a task says otherwise.

    `patience`: epochs without a better dev figure after which training stops. `halve_after`: epochs without one after
    which the learning rate is halved. `clip`: of the gradient's norm. `weight_decay`: AdamW's, apart from the loss.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 32
    max_epochs: int = 30
    patience: int = 5
    halve_after: int = 2
    clip: float = 5.0
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "max_epochs", "patience", "halve_after", "clip"):
            if getattr(self, name) <= 0:
                raise OptionError(f"{name} must be above 0, was: {getattr(self, name)}")
        if self.weight_decay < 0 or self.seed < 0:
            raise OptionError(f"weight_decay and seed cannot be negative: {self.weight_decay}, {self.seed}")


@dataclass(frozen=True)
class Group:
    """Weights that learn at a rate of their own, from the epoch `begins` on."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float
    begins: int = 1


@dataclass(frozen=True)
class Epoch:
    """One pass: the mean loss of a batch, and the measure on dev data after it."""

    number: int
    loss: float
    dev: float


@dataclass(frozen=True)
class LoopReport:
    """What a training went through; `best` is the epoch whose weights were kept."""

    seed: int
    epochs: tuple[Epoch, ...]
    best: Epoch


def train(
    build: Callable[[], Network],
    lengths: Sequence[int],
    loss_of: Callable[[Network, Sequence[int]], Tensor],
    measure: Callable[[Network], float],
    config: LoopConfig,
    *,
    device: torch.device | None = None,
    progress: Callable[[Epoch], None] | None = None,
    groups: Callable[[Network], Sequence[Group]] | None = None,
) -> tuple[Network, LoopReport]:
    """A network with the weights of its best epoch, ready to be used, and how that went.

    `lengths`: of each training example, so that like ones share a batch. `loss_of` a batch of examples, given as their
    numbers. `measure`: higher is better. `groups`: which weights learn when and how fast, of a network that knows
    something already: it is measured first, and stays where nothing gets better.
    Raises `TrainingError` for a loss that is no number.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        rng = random.Random(config.seed)
        network = build().to(device or torch.device("cpu"))
        everything = [each for each in network.parameters() if each.requires_grad]
        found = [Group(everything, config.learning_rate)] if groups is None else groups(network)
        optimizer = torch.optim.AdamW(_learning(found, 1), lr=config.learning_rate, weight_decay=config.weight_decay)
        epochs: list[Epoch] = []
        nothing_until = 0  # a figure of 0 says nothing yet: F1 of spans may stay there for some epochs
        best = Epoch(0, math.inf, -math.inf if groups is None else _measured(network, measure))
        best_state = copy.deepcopy(network.state_dict())
        for number in range(1, config.max_epochs + 1):
            if number > 1:
                for each in _learning(found, number):
                    optimizer.add_param_group(each)
            # One pass over the data
            network.train()
            total, batches = 0.0, by_length(lengths, config.batch_size, rng)
            for batch in batches:
                loss = loss_of(network, batch)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise TrainingError(f"the loss of epoch {number} became {value}; give a lower --learning-rate")
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), config.clip)
                optimizer.step()
                total += value
            epoch = Epoch(number, total / len(batches), _measured(network, measure))
            epochs.append(epoch)
            if progress is not None:
                progress(epoch)
            # Keep the best, slow down, or stop
            if epoch.dev > best.dev:
                best, best_state = epoch, copy.deepcopy(network.state_dict())
            nothing_until = number if epoch.dev == 0 else nothing_until
            since = number - max(best.number, nothing_until)
            if since >= config.patience:
                break
            if since and since % config.halve_after == 0:
                for group in optimizer.param_groups:
                    group["lr"] *= 0.5
    network.load_state_dict(best_state)
    return network.eval(), LoopReport(config.seed, tuple(epochs), best)


def _learning(groups: Sequence[Group], epoch: int) -> list[dict[str, Any]]:
    """The groups that begin to learn in an epoch, as the optimiser takes them; the others' gradients are off."""
    for each in groups:
        for parameter in each.parameters:
            parameter.requires_grad_(each.begins <= epoch)
    return [{"params": list(g.parameters), "lr": g.learning_rate} for g in groups if g.begins == epoch]


def _measured(network: Network, measure: Callable[[Network], float]) -> float:
    network.eval()
    with torch.inference_mode():
        return measure(network)


def by_length(lengths: Sequence[int], size: int, rng: random.Random) -> list[list[int]]:
    """Numbers of the examples of each batch: like lengths together, which saves padding, in random order."""
    order = sorted(range(len(lengths)), key=lambda at: lengths[at] * (1 + 0.1 * rng.random()) + rng.random())
    batches = [order[at : at + size] for at in range(0, len(order), size)]
    rng.shuffle(batches)
    return batches


def train_seeds(
    build: Callable[[], Network],
    lengths: Sequence[int],
    loss_of: Callable[[Network, Sequence[int]], Tensor],
    measure: Callable[[Network], float],
    config: LoopConfig,
    seeds: Sequence[int],
    *,
    device: torch.device | None = None,
    progress: Callable[[Epoch], None] | None = None,
) -> tuple[Network, tuple[LoopReport, ...]]:
    """`train` once a seed; the network that is best on dev (the first of equal ones), and every report."""
    if not seeds:
        raise OptionError("give at least one seed")
    kept: tuple[Network, LoopReport] | None = None
    reports = []
    for seed in seeds:
        chosen = replace(config, seed=seed)
        found = train(build, lengths, loss_of, measure, chosen, device=device, progress=progress)
        reports.append(found[1])
        if kept is None or found[1].best.dev > kept[1].best.dev:
            kept = found
    assert kept is not None
    return kept[0], tuple(reports)
