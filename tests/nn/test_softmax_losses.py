"""The two training losses against torch's cross entropy, and against TensorFlow's formula written out row by row."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from polyseme.errors import OptionError
from polyseme.nn import losses as library
from polyseme.nn.losses import Samples, draw_samples, full_softmax, log_expected_counts, sampled_softmax
from polyseme.nn.softmax import Softmax

Case = tuple[Softmax, Tensor, Tensor]


def case(seed: int, n_targets: int, n_words: int, size: int, dtype: torch.dtype = torch.float64) -> Case:
    generator = torch.Generator().manual_seed(seed)
    softmax = Softmax(n_words, size).to(dtype)
    softmax.weight.data.copy_(torch.randn(n_words, size, generator=generator))
    softmax.bias.data.copy_(torch.randn(n_words, generator=generator))
    hidden = torch.randn(n_targets, size, generator=generator).to(dtype).requires_grad_()
    return softmax, hidden, torch.randint(n_words, (n_targets,), generator=generator)


def gradients(total: Tensor, softmax: Softmax, hidden: Tensor) -> list[Tensor]:
    """Of hidden, weight and bias; sparse ones made dense."""
    found = torch.autograd.grad(total, [hidden, softmax.weight, softmax.bias])
    return [grad.to_dense() if grad.is_sparse else grad for grad in found]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-12) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


# --- the full softmax


@settings(max_examples=40, deadline=None)
@given(
    n_targets=st.integers(0, 12),
    n_words=st.integers(1, 30),
    size=st.integers(1, 6),
    at_once=st.sampled_from([1, 7, 60, 1 << 22]),
    scale=st.sampled_from([1.0, -0.3]),
    seed=st.integers(0, 9),
)
def test_the_full_loss_is_the_cross_entropy_whatever_the_size_of_a_block(
    n_targets: int, n_words: int, size: int, at_once: int, scale: float, seed: int
) -> None:
    softmax, hidden, targets = case(seed, n_targets, n_words, size)
    expected = F.cross_entropy(F.linear(hidden, softmax.weight, softmax.bias), targets, reduction="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "SCORES_AT_ONCE", at_once)
        patch.setattr(library, "ROWS_AT_LEAST", 1)
        found = full_softmax(softmax, hidden, targets, torch.float64)
    assert not found.each.requires_grad
    assert_close([found.total, found.each], [expected.sum(), expected])
    assert_close(gradients(scale * found.total, softmax, hidden), gradients(scale * expected.sum(), softmax, hidden))


def test_scores_of_any_height_are_no_danger() -> None:
    softmax, hidden, targets = case(1, 5, 9, 3, torch.float32)
    hidden = (hidden.detach() * 1e4).requires_grad_()
    expected = F.cross_entropy(F.linear(hidden, softmax.weight, softmax.bias).double(), targets, reduction="none")
    samples = draw_samples(9, 4, np.random.default_rng(1))
    assert expected.max() > 1e3
    for loss in (full_softmax(softmax, hidden, targets), sampled_softmax(softmax, hidden, targets, samples)):
        assert torch.isfinite(loss.each).all()
        assert all(torch.isfinite(grad).all() for grad in gradients(loss.total, softmax, hidden))
    torch.testing.assert_close(full_softmax(softmax, hidden, targets).each.double(), expected.detach())


# --- the sampled softmax


def expected_count(word: int, n_words: int, tries: int) -> float:
    p = (math.log(word + 2) - math.log(word + 1)) / math.log(n_words + 1)
    return 1 - (1 - p) ** tries


def tensorflow(softmax: Softmax, hidden: Tensor, targets: Tensor, samples: Samples) -> Tensor:
    """tf.nn.sampled_softmax_loss with `subtract_log_q` and `remove_accidental_hits`, a row at a time. *Shape:* (N,)."""
    n_words, losses = softmax.bias.numel(), []
    for row, target in zip(hidden, targets.tolist(), strict=True):
        words = [target, *(word for word in samples.words.tolist() if word != target)]
        scores = torch.stack([row @ softmax.weight[word] + softmax.bias[word] for word in words])
        log_q = [math.log(expected_count(word, n_words, samples.tries)) for word in words]
        losses.append(-torch.log_softmax(scores - torch.tensor(log_q, dtype=scores.dtype), dim=0)[0])
    return torch.stack(losses)


@settings(max_examples=40, deadline=None)
@given(
    n_targets=st.integers(1, 8),
    n_words=st.integers(2, 30),
    share=st.floats(0, 1),
    size=st.integers(1, 6),
    at_once=st.sampled_from([1, 7, 60, 1 << 22]),
    scale=st.sampled_from([1.0, -0.3]),
    seed=st.integers(0, 9),
)
def test_the_sampled_loss_is_tensorflows_whatever_the_size_of_a_block(
    n_targets: int, n_words: int, share: float, size: int, at_once: int, scale: float, seed: int
) -> None:
    softmax, hidden, targets = case(seed, n_targets, n_words, size)
    samples = draw_samples(n_words, max(1, int(share * (n_words // 2))), np.random.default_rng(seed))
    expected = tensorflow(softmax, hidden, targets, samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "SCORES_AT_ONCE", at_once)
        patch.setattr(library, "ROWS_AT_LEAST", 1)
        found = sampled_softmax(softmax, hidden, targets, samples, torch.float64)
    assert not found.each.requires_grad
    assert_close([found.total, found.each], [expected.sum(), expected], 1e-10)
    assert_close(
        gradients(scale * found.total, softmax, hidden), gradients(scale * expected.sum(), softmax, hidden), 1e-10
    )


def test_the_gradient_holds_the_rows_that_took_part_and_no_others() -> None:
    softmax, hidden, targets = case(1, 6, 1000, 4)
    samples = draw_samples(1000, 20, np.random.default_rng(1))
    sampled_softmax(softmax, hidden, targets, samples, torch.float64).total.backward()
    for grad in (softmax.weight.grad, softmax.bias.grad):
        assert grad is not None
        assert grad.is_sparse
        assert grad._indices()[0].tolist() == sorted({*samples.words.tolist(), *targets.tolist()})
    assert softmax.weight.grad is not None
    assert softmax.weight.grad.shape == (1000, 4)


def test_a_sample_that_is_the_target_is_left_out() -> None:
    softmax, hidden, _ = case(1, 3, 10, 4)
    found = sampled_softmax(softmax, hidden, torch.tensor([7, 7, 7]), Samples(torch.tensor([7]), 1), torch.float64)
    assert found.each.tolist() == [0, 0, 0]  # nothing is left to be confused with
    assert not any(grad.any() for grad in gradients(found.total, softmax, hidden))


def test_a_part_of_an_update_may_have_no_targets() -> None:
    softmax, hidden, targets = case(1, 0, 20, 4)
    samples = draw_samples(20, 5, np.random.default_rng(1))
    for loss in (full_softmax(softmax, hidden, targets), sampled_softmax(softmax, hidden, targets, samples)):
        assert loss.total == 0
        assert loss.each.shape == (0,)
        assert not any(grad.any() for grad in gradients(loss.total, softmax, hidden))


def test_the_mean_sampled_gradient_points_where_the_full_one_does() -> None:
    """No sampled gradient is unbiased; its mean comes nearer to the full one with more samples, and points downhill."""
    softmax, hidden, targets = case(5, 16, 60, 4)
    full = torch.cat([g.flatten() for g in gradients(full_softmax(softmax, hidden, targets).total, softmax, hidden)])

    def likeness(n_samples: int) -> float:
        generator, mean = np.random.default_rng(1), torch.zeros_like(full)
        for _ in range(200):
            loss = sampled_softmax(softmax, hidden, targets, draw_samples(60, n_samples, generator), torch.float64)
            mean += torch.cat([grad.flatten() for grad in gradients(loss.total, softmax, hidden)])
        return float(F.cosine_similarity(mean, full, dim=0))

    few, some, many = likeness(2), likeness(8), likeness(30)
    assert 0.7 < few < some < many
    assert many > 0.99


# --- samples


class Scripted:
    """A generator whose numbers are known beforehand."""

    def __init__(self, seed: int) -> None:
        self.numbers = np.random.default_rng(seed).random(20_000)
        self.at = 0

    def random(self, size: int, /) -> Any:
        self.at += size
        return self.numbers[self.at - size : self.at]


@settings(deadline=None)
@given(n_words=st.integers(2, 40), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_samples_are_drawn_one_by_one_until_there_are_enough(n_words: int, share: float, seed: int) -> None:
    wanted, script = max(1, int(share * (n_words // 2))), Scripted(seed)
    found = draw_samples(n_words, wanted, script)
    seen: set[int] = set()
    tries = 0
    while len(seen) < wanted:  # TensorFlow's LogUniformSampler: floor(exp(u log(V + 1))) - 1
        seen.add(math.floor(math.exp(script.numbers[tries] * math.log(n_words + 1))) - 1)
        tries += 1
    assert found.words.tolist() == sorted(seen)
    assert found.tries == tries
    assert max(seen) < n_words


def test_single_draws_are_log_uniform() -> None:
    generator, counts = np.random.default_rng(1), np.zeros(20)
    for _ in range(4000):
        counts[draw_samples(20, 1, generator).words] += 1
    expected = 4000 * np.diff(np.log(np.arange(1, 22))) / np.log(21)
    assert ((counts - expected) ** 2 / expected).sum() < 43.8  # chi-square, 19 degrees of freedom, p = 0.001


def test_expected_counts_are_how_often_a_word_is_met() -> None:
    n_words, tries, rounds = 50, 30, 4000
    p = np.diff(np.log(np.arange(1, n_words + 2))) / np.log(n_words + 1)
    drawn = np.random.default_rng(1).choice(n_words, size=(rounds, tries), p=p)
    met = np.asarray([(drawn == word).any(axis=1).mean() for word in range(n_words)])
    found = log_expected_counts(torch.arange(n_words), n_words, tries).exp().numpy()
    spread = np.sqrt(found * (1 - found) / rounds)
    assert np.abs((met - found) / spread).max() < 4
    assert found.sum() == pytest.approx(met.sum(), rel=0.01)


def test_expected_counts_of_rare_words_do_not_drown_in_rounding() -> None:
    one_draw = log_expected_counts(torch.arange(1_000_000), 1_000_000, 1).exp()
    assert float(one_draw.sum()) == pytest.approx(1, abs=1e-12)
    rarest = log_expected_counts(torch.tensor([10_000_000 - 1]), 10_000_000, 1)
    assert float(rarest) == pytest.approx(-math.log(10_000_000.5) - math.log(math.log(10_000_001)), rel=1e-12)


def test_the_same_generator_gives_the_same_samples() -> None:
    first, again, other = (draw_samples(500, 60, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.words, again.words)
    assert first.tries == again.tries
    assert not torch.equal(first.words, other.words)


@pytest.mark.parametrize("n_samples", [0, 6])
def test_more_samples_than_half_of_the_words_are_refused(n_samples: int) -> None:
    with pytest.raises(OptionError, match=f"1 to 5 can be sampled, asked for: {n_samples}"):
        draw_samples(11, n_samples, np.random.default_rng(1))


# --- precision and memory


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_single_precision_is_that_of_single_precision(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever kernel this CPU prefers."""
    monkeypatch.setattr(library, "SCORES_AT_ONCE", 128 * 300)
    results = []
    for dtype in (torch.float64, torch.float32):
        softmax, hidden, targets = case(3, 500, 300, 40, dtype)
        samples = draw_samples(300, 100, np.random.default_rng(1))
        found = (
            full_softmax(softmax, hidden, targets, dtype)
            if loss == "full"
            else sampled_softmax(softmax, hidden, targets, samples, dtype)
        )
        results.append([found.total.detach(), found.each, *gradients(found.total, softmax, hidden)])
    for double, single in zip(*results, strict=True):
        assert single.dtype == torch.float32
        assert (single - double).norm() < 2e-6 * double.norm()


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_half_precision_is_within_a_hundredth_of_single(loss: str) -> None:
    softmax, hidden, targets = case(3, 40, 200, 16, torch.float32)
    softmax.weight.data *= 0.5
    samples = draw_samples(200, 60, np.random.default_rng(1))
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        found = (
            full_softmax(softmax, hidden, targets, dtype)
            if loss == "full"
            else sampled_softmax(softmax, hidden, targets, samples, dtype)
        )
        results.append([found.total.detach(), found.each, *gradients(found.total, softmax, hidden)])
    for single, half in zip(*results, strict=True):
        assert half.dtype == torch.float32
        assert not torch.equal(half, single)
        assert (half - single).norm() < 0.01 * single.norm()


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor held that any operation gave."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.size = max(self.size, tensor._values().numel() if tensor.is_sparse else tensor.numel())
        return result


def test_no_more_scores_are_ever_made_than_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "SCORES_AT_ONCE", 5000)
    monkeypatch.setattr(library, "ROWS_AT_LEAST", 1)
    softmax, hidden, targets = case(1, 300, 1000, 4, torch.float32)
    with Largest() as largest:
        full_softmax(softmax, hidden, targets).total.backward()
    assert largest.size == 5 * 1000
    samples = draw_samples(1000, 400, np.random.default_rng(1))
    with Largest() as largest:
        sampled_softmax(softmax, hidden, targets, samples).total.backward()
    assert largest.size == 12 * 400
    with Largest() as largest:  # the plain way makes them all
        F.cross_entropy(F.linear(hidden, softmax.weight, softmax.bias), targets).backward()
    assert largest.size == 300 * 1000


@pytest.mark.slow
def test_a_large_vocabulary_takes_the_memory_of_its_weights_and_one_block() -> None:
    pytest.importorskip("resource")
    code = """
import resource, torch
from polyseme.nn.losses import full_softmax
from polyseme.nn.softmax import Softmax
softmax, hidden = Softmax(60_000, 8), torch.randn(1500, 8, requires_grad=True)
full_softmax(softmax, hidden[:2], torch.zeros(2, dtype=torch.long)).total.backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
full_softmax(softmax, hidden, torch.arange(1500)).total.backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(shown.stdout) * unit < 120e6  # all scores at once: 360 MB, and their gradient as much again
