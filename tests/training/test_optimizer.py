"""Sparse gradients against dense ones, the bound against torch's, rates by hand, and states that go on bit by bit."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from tiny import random_model
from torch import Tensor, nn

from polyseme.bilm import BiLM
from polyseme.nn.softmax import Softmax
from polyseme.training.config import TrainConfig
from polyseme.training.optimizer import Optimizer, clip, rate

ROWS = (0, 3, 8)
VARIANTS = [("adamw", False), ("adamw", True), ("adagrad", False), ("adagrad", True)]


def bilm(seed: int = 1) -> BiLM:
    return random_model(seed, softmax=True).bilm.requires_grad_(True)


def softmax(model: BiLM) -> Softmax:
    assert model.softmax is not None
    return model.softmax


def optimizer(model: BiLM, name: str, sparse: bool, **changes: object) -> Optimizer:
    return Optimizer(model, TrainConfig(optimizer=name, **changes), sparse_softmax=sparse)  # type: ignore[arg-type]


def only_rows(dense: Tensor, rows: tuple[int, ...] = ROWS) -> Tensor:
    """The rows of a gradient, sparse."""
    index = torch.tensor(rows)
    return torch.sparse_coo_tensor(index.unsqueeze(0), dense[index], dense.shape, check_invariants=False)


def give_gradients(model: BiLM, step: int, sparse: bool) -> None:
    """Random ones; of the softmax those of ROWS alone, the same numbers sparse or dense."""
    generator = torch.Generator().manual_seed(step)
    for name, parameter in model.named_parameters():
        grad = torch.randn(parameter.shape, generator=generator)
        if name.startswith("softmax."):
            grad = only_rows(grad)
            grad = grad if sparse else grad.to_dense()
        parameter.grad = grad


def assert_same_bits(left: BiLM, right: BiLM) -> None:
    for (name, a), (_, b) in zip(left.state_dict().items(), right.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


# --- steps


def test_sparse_adagrad_is_dense_adagrad() -> None:
    results = []
    for sparse in (True, False):
        model = bilm()
        made = optimizer(model, "adagrad", sparse, initial_accumulator=0.5)
        for step in range(4):
            give_gradients(model, step, sparse)
            made.step(0.3)
        results.append(model)
    assert not torch.equal(softmax(results[0]).weight, softmax(bilm()).weight)
    for a, b in zip(results[0].parameters(), results[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_adagrad_divides_by_the_root_of_all_squares_so_far() -> None:
    model = bilm()
    made, start = optimizer(model, "adagrad", sparse=True, initial_accumulator=0.5), softmax(model).bias[3].item()
    for grad, expected in ((2.0, 2 / math.sqrt(4.5)), (-1.0, 2 / math.sqrt(4.5) - 1 / math.sqrt(5.5))):
        give_gradients(model, 1, sparse=True)
        softmax(model).bias.grad = only_rows(torch.full((10,), grad))
        made.step(0.1)
        assert start - softmax(model).bias[3].item() == pytest.approx(0.1 * expected, rel=1e-5)


def test_the_first_step_of_adam_is_the_rate_and_decay_is_for_matrices_alone() -> None:
    for sparse in (False, True):
        model, before = bilm(), bilm()
        made = optimizer(model, "adamw", sparse, weight_decay=0.5)
        give_gradients(model, 1, sparse)
        grads = {name: p.grad.to_dense().clone() for name, p in model.named_parameters() if p.grad is not None}
        made.step(0.01)
        old = dict(before.named_parameters())
        for name, parameter in model.named_parameters():
            decays = parameter.dim() > 1 and not (sparse and name.startswith("softmax."))
            expected = old[name] * (1 - 0.01 * 0.5 * decays) - 0.01 * grads[name].sign()
            torch.testing.assert_close(parameter, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["adamw", "adagrad"])
def test_rows_that_took_no_part_keep_their_bits(name: str) -> None:
    model, before = bilm(), bilm()
    made = optimizer(model, name, sparse=True)
    for step in range(3):
        give_gradients(model, step, sparse=True)
        made.step(0.1)
    others = [row for row in range(10) if row not in ROWS]
    for now, then in zip(softmax(model).parameters(), softmax(before).parameters(), strict=True):
        assert torch.equal(now[others], then[others])
        assert not (now[list(ROWS)] == then[list(ROWS)]).any()


@pytest.mark.parametrize(("name", "sparse"), VARIANTS)
def test_gradients_are_gone_after_a_step_or_without_one(name: str, sparse: bool) -> None:
    model = bilm()
    made = optimizer(model, name, sparse)
    for forget in (lambda: made.step(0.1), made.forget_gradients):
        give_gradients(model, 1, sparse)
        forget()
        assert all(parameter.grad is None for parameter in model.parameters())


def test_forgetting_gradients_changes_nothing() -> None:
    model = bilm()
    made = optimizer(model, "adamw", sparse=False)
    give_gradients(model, 1, sparse=False)
    made.forget_gradients()
    assert_same_bits(model, bilm())
    assert made.tensors() == {}


# --- states


@pytest.mark.parametrize(("name", "sparse"), VARIANTS)
@pytest.mark.parametrize("steps_before", [0, 3])
def test_what_is_restored_goes_on_bit_by_bit(name: str, sparse: bool, steps_before: int) -> None:
    model = bilm()
    made = optimizer(model, name, sparse)
    for step in range(steps_before):
        give_gradients(model, step, sparse)
        made.step(0.1)
    stored = {key: tensor.clone() for key, tensor in made.tensors().items()}
    fresh = copy.deepcopy(model)
    used = copy.deepcopy(model)
    others = [optimizer(fresh, name, sparse), optimizer(used, name, sparse)]
    give_gradients(used, 77, sparse)
    others[1].step(0.5)  # a run that went wrong and goes back
    used.load_state_dict(model.state_dict())
    for other in others:
        other.restore(stored)
        assert {key: tensor.tolist() for key, tensor in other.tensors().items()} == {
            key: tensor.tolist() for key, tensor in stored.items()
        }
    for step in range(10, 12):
        for each, its in ((model, made), (fresh, others[0]), (used, others[1])):
            give_gradients(each, step, sparse)
            its.step(0.05)
    assert_same_bits(fresh, model)
    assert_same_bits(used, model)


@pytest.mark.parametrize(("name", "sparse"), VARIANTS)
def test_a_state_that_is_forgotten_makes_a_difference(name: str, sparse: bool) -> None:
    """Otherwise the test above would prove nothing."""
    model = bilm()
    made = optimizer(model, name, sparse)
    give_gradients(model, 1, sparse)
    made.step(0.1)
    fresh = copy.deepcopy(model)
    for each, its in ((model, made), (fresh, optimizer(fresh, name, sparse))):
        give_gradients(each, 2, sparse)
        its.step(0.05)
    assert not torch.equal(softmax(fresh).weight, softmax(model).weight)
    assert not torch.equal(next(fresh.parameters()), next(model.parameters()))


def test_restoring_shares_no_memory_with_what_was_stored() -> None:
    model = bilm()
    made = optimizer(model, "adamw", sparse=True)
    give_gradients(model, 1, sparse=True)
    made.step(0.1)
    stored = {key: tensor.clone() for key, tensor in made.tensors().items()}
    kept = {key: tensor.clone() for key, tensor in stored.items()}
    made.restore(stored)
    give_gradients(model, 2, sparse=True)
    made.step(0.1)
    assert all(torch.equal(stored[key], kept[key]) for key in kept)


# --- the rate


@pytest.mark.parametrize(
    ("schedule", "warm_up", "expected"),
    [
        # 2 x: updates 0, 1, 2, 3, 4, 6 and 8 of 8
        ("constant", 0, (1, 1, 1, 1, 1, 1, 1)),
        ("constant", 4, (0.25, 0.5, 0.75, 1, 1, 1, 1)),
        ("cosine", 0, (1, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.1464466, 0)),
        ("cosine", 2, (0.5, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.1464466, 0)),
        ("inverse_sqrt", 4, (0.25, 0.5, 0.75, 1, 0.8944272, 0.7559289, 0.6666667)),
        ("inverse_sqrt", 0, (1, 0.7071068, 0.5773503, 0.5, 0.4472136, 0.3779645, 0.3333333)),
    ],
)
def test_the_rate_of_an_update(schedule: str, warm_up: int, expected: tuple[float, ...]) -> None:
    config = TrainConfig(learning_rate=2.0, schedule=schedule, warm_up=warm_up)  # type: ignore[arg-type]
    found = [rate(config, update, 8) / 2 for update in (0, 1, 2, 3, 4, 6, 8)]
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("schedule", "cool_down", "expected"),
    [
        # 2 x: updates 0 ... 5 of 6; 1 - sqrt(0), 1 - sqrt(1/4), 1 - sqrt(2/4), 1 - sqrt(3/4) of the rate before
        ("constant", 4, (0.5, 1, 1, 0.5, 0.2928932, 0.1339746)),
        ("inverse_sqrt", 4, (0.5, 1, 0.8164966, 0.4082483, 0.2391463, 0.1093898)),
        ("constant", 6, (0.5, 0.2958759, 0.2113249, 0.1464466, 0.0917517, 0.0435645)),
        ("constant", 9, (0.5, 1 / 3, 0.2642977, 0.2113249, 0.1666667, 0.1273220)),  # longer than the run
    ],
)
def test_the_last_updates_cool_down(schedule: str, cool_down: int, expected: tuple[float, ...]) -> None:
    config = TrainConfig(learning_rate=2.0, schedule=schedule, warm_up=2, cool_down=cool_down)  # type: ignore[arg-type]
    found = [rate(config, update, 6) / 2 for update in range(6)]
    assert found == pytest.approx(expected, abs=1e-7)


def test_a_cosine_that_is_over_stays_at_nothing() -> None:
    assert rate(TrainConfig(), 1000, 900) == rate(TrainConfig(), 900, 900) == 0


# --- the bound


def parameters(sparse: bool, scale: float = 1.0) -> list[nn.Parameter]:
    """Three with gradients, one without; a sparse one names a row twice, as two parts of an update do."""
    generator = torch.Generator().manual_seed(1)
    found = [nn.Parameter(torch.zeros(shape)) for shape in ((4, 3), (5,), (6, 2), (3,))]
    for parameter in found[:3]:
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale
    twice = torch.randn(6, 2, generator=generator) * scale
    found[2].grad = only_rows(twice, (1, 4, 0, 4))
    assert float(found[2].grad.to_dense()[4, 0]) == float(2 * twice[4, 0])
    found[2].grad = found[2].grad if sparse else found[2].grad.to_dense()
    return found


def dense(found: list[nn.Parameter]) -> list[Tensor]:
    return [p.grad.to_dense() for p in found if p.grad is not None]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("bound", [0.01, 1.0, 3.0])
def test_gradients_are_bounded_as_torch_bounds_them(sparse: bool, bound: float) -> None:
    ours, theirs = parameters(sparse), parameters(sparse=False)
    expected = torch.nn.utils.clip_grad_norm_(theirs, bound)
    assert float(expected) > 3
    assert clip(ours, bound) == pytest.approx(float(expected), rel=1e-6)
    assert [p.grad.is_sparse for p in ours if p.grad is not None] == [False, False, sparse]
    for a, b in zip(dense(ours), dense(theirs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    assert clip(ours, 1e9) == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize("sparse", [False, True])
def test_small_gradients_keep_their_bits(sparse: bool) -> None:
    ours = parameters(sparse)
    norm = clip(ours, 1e9)
    assert norm == pytest.approx(math.sqrt(sum(float((grad**2).sum()) for grad in dense(ours))), rel=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(dense(ours), dense(parameters(sparse)), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_gradient_that_is_no_number_shows_in_the_norm(value: float, sparse: bool) -> None:
    ours = parameters(sparse)
    assert ours[2].grad is not None
    (ours[2].grad._values() if sparse else ours[2].grad)[0] = value
    assert not math.isfinite(clip(ours, 1.0))
