"""The two training losses of a language model's output layer. Evaluation never comes here: it is always exact.

`full_softmax`     every word of the vocabulary is scored. Scores are made in blocks of rows, and their gradients at
                   once, so that memory holds one block however many targets there are (the idea of cut cross-entropy,
                   Wijmans et al. 2024, arXiv 2411.09009).
`sampled_softmax`  the target against S words drawn log-uniformly, the same ones for all targets (Jean et al. 2015,
                   arXiv 1412.2007; tf.nn.sampled_softmax_loss, which trained the published ELMo with S = 8,192). A
                   score is lowered by the log of how often its word is expected among the samples, a sample that is a
                   row's own target is left out, and the gradient holds the rows that took part and no others.

Both give the sum of -log p over the rows, in nats, and the single values beside it. The full loss of the same weights
is what `evaluate` reports; the sampled one is lower and means nothing by itself.

Legend: `N` targets, `V` words, `S` samples, `P` projection width.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from polyseme.errors import OptionError
from polyseme.nn.packed import product
from polyseme.nn.softmax import Softmax

SCORES_AT_ONCE = 1 << 22  # 16 MiB of float32
ROWS_AT_LEAST = 128  # every block goes through the whole weight: with 41 rows, 100,000 words took twice as long


class Loss(NamedTuple):
    """`total`: the sum, with a gradient. `each`: (N,), without."""

    total: Tensor
    each: Tensor


class Samples(NamedTuple):
    """Words drawn for one batch. `words`: (S,), distinct, rising. `tries`: draws that it took to find them."""

    words: Tensor
    tries: int


class Uniform(Protocol):
    """What draws; a `numpy.random.Generator` is one."""

    def random(self, size: int, /) -> Any:
        """An array of `size` numbers of float64, uniform in [0, 1)."""


def full_softmax(softmax: Softmax, hidden: Tensor, targets: Tensor, dtype: torch.dtype = torch.float32) -> Loss:
    """Against the whole vocabulary. `dtype`: of the products' factors. *Shape:* (N, P), (N,) below V."""
    found = _FullSoftmax.apply(hidden, softmax.weight, softmax.bias, targets, dtype)  # type: ignore[no-untyped-call]
    return Loss(*found)


def sampled_softmax(
    softmax: Softmax, hidden: Tensor, targets: Tensor, samples: Samples, dtype: torch.dtype = torch.float32
) -> Loss:
    """Against `samples`; the gradients of the weight and the bias are sparse. *Shape:* (N, P), (N,) below V."""
    words = samples.words.to(hidden.device)
    n_words = softmax.bias.numel()
    log_counts = log_expected_counts(torch.cat([words, targets]), n_words, samples.tries).to(hidden.dtype)
    everything = (hidden, softmax.weight, softmax.bias, targets, words, log_counts, dtype)
    return Loss(*_SampledSoftmax.apply(*everything))  # type: ignore[no-untyped-call]


def draw_samples(n_words: int, n_samples: int, generator: Uniform) -> Samples:
    """`n_samples` distinct words of a vocabulary sorted by falling count.

    Word k is drawn with probability log((k + 2) / (k + 1)) / log(V + 1), again and again until there are enough
    (tf.random.log_uniform_candidate_sampler with unique=True). Raises `OptionError` for more samples than half of the
    words: the full softmax is then cheaper and better.
    """
    if not 1 <= n_samples <= n_words // 2:
        raise OptionError(f"of {n_words} words, 1 to {n_words // 2} can be sampled, asked for: {n_samples}")
    drawn = torch.empty(0, dtype=torch.int64)
    while True:
        uniform = torch.as_tensor(generator.random(2 * n_samples), dtype=torch.float64)
        fresh = torch.expm1(uniform * math.log(n_words + 1)).long().clamp_(max=n_words - 1)
        drawn = torch.cat([drawn, fresh])
        words, places = torch.sort(drawn, stable=True)
        first = places[torch.cat([words.new_ones(1, dtype=torch.bool), words[1:] != words[:-1]])]
        if len(first) >= n_samples:
            kept = first.sort().values[:n_samples]  # where each word was first drawn
            return Samples(drawn[kept].sort().values, int(kept[-1]) + 1)


def log_expected_counts(words: Tensor, n_words: int, tries: int) -> Tensor:
    """log of the chance that `tries` draws meet each word: log(1 - (1 - p)^tries). *Shape:* (n,) -> (n,) float64."""
    ranks = words.double()
    p = torch.log1p(1 / (ranks + 1)) / math.log(n_words + 1)
    return torch.log(-torch.expm1(tries * torch.log1p(-p)))


class _FullSoftmax(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Losses, and all gradients with them: the backward pass only scales them."""
        each = hidden.new_empty(len(hidden))
        of_hidden, of_weight, of_bias = torch.empty_like(hidden), torch.zeros_like(weight), torch.zeros_like(bias)
        factors, columns = hidden.to(dtype), weight.to(dtype)
        block = max(ROWS_AT_LEAST, SCORES_AT_ONCE // len(weight))
        for at in range(0, len(hidden), block):
            rows, wanted = slice(at, at + block), targets[at : at + block].unsqueeze(1)
            scores = product(factors[rows], columns.t()).to(hidden.dtype).add_(bias)
            scores = torch.log_softmax(scores, dim=-1)
            each[rows] = -scores.gather(1, wanted).squeeze(1)
            slopes = scores.exp_().scatter_add_(1, wanted, scores.new_full(wanted.shape, -1.0))
            of_bias += slopes.sum(dim=0)
            slopes = slopes.to(dtype)
            of_hidden[rows] = product(slopes, columns).to(hidden.dtype)
            of_weight += torch.mm(slopes.t(), factors[rows])
        ctx.save_for_backward(of_hidden, of_weight, of_bias)
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Scales what the forward pass found."""
        of_hidden, of_weight, of_bias = ctx.saved_tensors
        return of_hidden * of_total, of_weight * of_total, of_bias * of_total, None, None


class _SampledSoftmax(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, words: Tensor, log_counts: Tensor,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Losses, and all gradients with them."""
        n_samples = len(words)
        factors, rows = hidden.to(dtype), weight[words].to(dtype)
        own = weight[targets]  # Shape: (N, P)
        of_target = (hidden * own).sum(dim=1) + bias[targets] - log_counts[n_samples:]
        shift = bias[words] - log_counts[:n_samples]
        place = torch.searchsorted(words, targets).clamp_(max=n_samples - 1)
        hit = words[place] == targets
        each, of_true, of_hidden = torch.empty_like(of_target), torch.empty_like(of_target), torch.empty_like(hidden)
        of_rows, of_shift = torch.zeros_like(weight[words]), torch.zeros_like(shift)
        block = max(ROWS_AT_LEAST, SCORES_AT_ONCE // n_samples)
        for at in range(0, len(hidden), block):
            some = slice(at, at + block)
            scores = product(factors[some], rows.t()).to(hidden.dtype).add_(shift)
            own_sample = hit[some].nonzero().squeeze(1)
            scores[own_sample, place[some][own_sample]] = -torch.inf
            most = torch.maximum(scores.amax(dim=1), of_target[some])
            scores = scores.sub_(most.unsqueeze(1)).exp_()
            true = (of_target[some] - most).exp_()
            whole = scores.sum(dim=1).add_(true)
            each[some] = whole.log() + most - of_target[some]
            of_true[some] = true.div_(whole).sub_(1)
            scores.div_(whole.unsqueeze(1))
            of_shift += scores.sum(dim=0)
            slopes = scores.to(dtype)
            of_hidden[some] = product(slopes, rows).to(hidden.dtype)
            of_rows += torch.mm(slopes.t(), factors[some])
        of_hidden.addcmul_(of_true.unsqueeze(1), own)
        distinct, inverse = torch.unique(torch.cat([words, targets]), return_inverse=True)
        of_weight = hidden.new_zeros(len(distinct), hidden.size(1))
        of_weight[inverse[:n_samples]] = of_rows
        of_weight.index_add_(0, inverse[n_samples:], hidden * of_true.unsqueeze(1))
        of_bias = hidden.new_zeros(len(distinct))
        of_bias[inverse[:n_samples]] = of_shift
        of_bias.index_add_(0, inverse[n_samples:], of_true)
        ctx.save_for_backward(of_hidden, distinct, of_weight, of_bias)
        ctx.n_words = len(weight)
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Scales what the forward pass found; rows that took no part have no entry."""
        of_hidden, words, of_weight, of_bias = ctx.saved_tensors

        def rows(values: Tensor) -> Tensor:
            shape = (ctx.n_words, *values.shape[1:])
            return torch.sparse_coo_tensor(
                words.unsqueeze(0), values * of_total, shape, is_coalesced=True, check_invariants=False
            )

        return of_hidden * of_total, rows(of_weight), rows(of_bias), None, None, None, None
