"""torch's own optimisers, the rate of each update, and the bound on the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from polyseme.bilm import BiLM
from polyseme.training.config import TrainConfig


class Optimizer:
    """AdamW or Adagrad over all weights of a biLM.

    The softmax rows of a sampled loss have sparse gradients. Adagrad leaves a row without a gradient as it is, so its
    sparse form is exact; Adam's is torch's `SparseAdam`, whose moments rest while a row does.
    """

    def __init__(self, bilm: BiLM, config: TrainConfig, *, sparse_softmax: bool) -> None:
        named = list(bilm.named_parameters())
        rows = [p for name, p in named if name.startswith("softmax.") and sparse_softmax]
        others = [p for name, p in named if not (name.startswith("softmax.") and sparse_softmax)]
        self.parts: list[torch.optim.Optimizer]
        if config.optimizer == "adagrad":
            start = config.initial_accumulator
            self.parts = [
                torch.optim.Adagrad(params, initial_accumulator_value=start) for params in (others, rows) if params
            ]
        else:
            # Weight decay is for matrices: biases, norms and gates have no size to lose.
            groups = [
                {"params": [p for p in others if p.dim() > 1], "weight_decay": config.weight_decay},
                {"params": [p for p in others if p.dim() == 1], "weight_decay": 0.0},
            ]
            self.parts = [torch.optim.AdamW(groups, betas=config.betas, fused=True)]
            if rows:
                self.parts.append(torch.optim.SparseAdam(rows, betas=config.betas))

    def step(self, rate: float) -> None:
        """One update at `rate`; the gradients are gone afterwards."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            # Adagrad builds a sparse tensor without saying whether to check it, and torch warns of that.
            with torch.sparse.check_sparse_tensor_invariants(False):
                part.step()
            part.zero_grad(set_to_none=True)

    def forget_gradients(self) -> None:
        """Without an update."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The whole state by name, for a checkpoint."""
        found = {}
        for number, part in enumerate(self.parts):
            for index, state in part.state_dict()["state"].items():
                for name, value in state.items():
                    found[f"{number}.{index}.{name}"] = torch.as_tensor(value)
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Takes the state back that `tensors` gave."""
        for number, part in enumerate(self.parts):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                at, index, key = name.split(".", 2)
                if int(at) == number:
                    state.setdefault(int(index), {})[key] = value.clone()
            whole = part.state_dict()
            if isinstance(part, torch.optim.SparseAdam):  # counts its steps in plain numbers
                state = {i: {k: int(v) if k == "step" else v for k, v in s.items()} for i, s in state.items()}  # type: ignore[misc]
            part.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def rate(config: TrainConfig, update: int, n_updates: int) -> float:
    """The learning rate of update 0, 1 ... of `n_updates`."""
    if cooling(config, update, n_updates):
        begin = max(0, n_updates - config.cool_down)
        left = 1 - math.sqrt((update - begin) / config.cool_down)
        return left * rate(replace(config, cool_down=0), begin, n_updates)
    warm = min(1.0, (update + 1) / config.warm_up) if config.warm_up else 1.0
    if config.schedule == "cosine":
        done = min(1.0, update / max(1, n_updates))
        return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * done))
    if config.schedule == "inverse_sqrt":
        return config.learning_rate * min(warm, math.sqrt(max(1, config.warm_up) / (update + 1)))
    return config.learning_rate * warm


def cooling(config: TrainConfig, update: int, n_updates: int) -> bool:
    """Whether an update belongs to the cool-down: from then on a run has to end where it was to end."""
    return config.cool_down > 0 and update >= n_updates - config.cool_down


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], bound: float) -> float:
    """Scales all gradients so that their common 2-norm is at most `bound`; returns the norm before."""
    grads = [p.grad for p in parameters if p.grad is not None]
    values = [grad.coalesce().values() if grad.is_sparse else grad for grad in grads]
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in values])))
    if norm > bound:
        for grad in grads:
            grad.mul_(bound / norm)
    return norm
