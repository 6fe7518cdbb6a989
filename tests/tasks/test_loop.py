"""The loop: it minimises what it is given, keeps the best epoch, stops, and is the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from polyseme.errors import OptionError, TrainingError
from polyseme.tasks.loop import Epoch, LoopConfig, by_length, train, train_seeds

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.tensor([1.0, -2.0, 0.5])
Y = X @ WEIGHTS


def loss_of(network: nn.Module, batch: Sequence[int]) -> Tensor:
    return (network(X[list(batch)]).squeeze(1) - Y[list(batch)]).square().mean()


def minus_error(network: nn.Module) -> float:
    return -float((network(X).squeeze(1) - Y).square().mean().detach())


def test_a_linear_map_is_recovered_and_a_seed_decides_everything() -> None:
    config = LoopConfig(learning_rate=0.05, max_epochs=150, batch_size=16, patience=150, halve_after=40)
    state = torch.get_rng_state()
    found, report = train(lambda: nn.Linear(3, 1), [1] * 64, loss_of, minus_error, config)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(found.weight[0], WEIGHTS, atol=1e-2, rtol=0)
    torch.manual_seed(99)
    again, same = train(lambda: nn.Linear(3, 1), [1] * 64, loss_of, minus_error, config)
    assert torch.equal(found.weight, again.weight)
    assert report == same


def test_the_best_epoch_is_kept_and_patience_ends_the_run() -> None:
    measured = iter([0.1, 0.5, 0.4, 0.45, 0.3, 0.9])
    weights: list[Tensor] = []

    def measure(network: nn.Module) -> float:
        weights.append(network.weight.clone())
        return next(measured)

    seen: list[Epoch] = []
    config = LoopConfig(patience=3, max_epochs=6)
    found, report = train(lambda: nn.Linear(3, 1), [1] * 64, loss_of, measure, config, progress=seen.append)
    assert [epoch.dev for epoch in report.epochs] == [0.1, 0.5, 0.4, 0.45, 0.3]
    assert report.best.number == 2
    assert torch.equal(found.weight, weights[1])
    assert tuple(seen) == report.epochs


def test_epochs_in_which_nothing_was_right_yet_do_not_count_against_patience() -> None:
    measured = iter([0.0, 0.0, 0.0, 0.2, 0.1, 0.1, 0.3])
    config = LoopConfig(patience=2, max_epochs=7)
    _, report = train(lambda: nn.Linear(3, 1), [1] * 64, loss_of, lambda _: next(measured), config)
    assert [epoch.dev for epoch in report.epochs] == [0.0, 0.0, 0.0, 0.2, 0.1, 0.1]


def test_of_several_seeds_the_best_on_dev_is_kept() -> None:
    config = LoopConfig(max_epochs=2)
    found, reports = train_seeds(lambda: nn.Linear(3, 1), [1] * 64, loss_of, minus_error, config, (1, 2, 3))
    assert [report.seed for report in reports] == [1, 2, 3]
    assert minus_error(found) == pytest.approx(max(report.best.dev for report in reports))


def test_batches_hold_every_example_once_and_like_lengths_together() -> None:
    lengths = [random.Random(1).randint(1, 50) for _ in range(500)]
    batches = by_length(lengths, 16, random.Random(2))
    assert sorted(at for batch in batches for at in batch) == list(range(500))
    padding = sum(max(lengths[at] for at in batch) * len(batch) for batch in batches) / sum(lengths)
    assert padding < 1.2
    assert by_length(lengths, 16, random.Random(2)) == batches != by_length(lengths, 16, random.Random(3))


def test_a_loss_that_is_no_number_and_a_value_out_of_range_are_errors() -> None:
    with pytest.raises(TrainingError, match=r"epoch 1 became nan; give a lower --learning-rate"):
        train(lambda: nn.Linear(3, 1), [1], lambda n, _: n.weight.sum() * torch.nan, minus_error, LoopConfig())
    with pytest.raises(OptionError, match="patience must be above 0, was: 0"):
        LoopConfig(patience=0)
