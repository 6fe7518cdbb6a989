"""The processes of one run: who we are, and the sums that we share. One process needs no launcher.

    torchrun --nproc-per-node 2 -m polyseme train ...        gloo on CPU, nccl on GPU

Each process reads its own lanes and sums its gradients with the others'. What is dense goes as one buffer. The softmax
of a sampled loss has gradients for the rows that took part and no others: only these rows travel, so a vocabulary of
800,000 words costs what its samples cost.

Where one process dies, the others' next sum fails, and each says so in a `TrainingError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

# Optimisers import this module. Its default arguments keep the group that there is at its import: were that ours, the
# group's threads would outlive it, and now and then abort the process at its exit.
import torch.distributed.nn
from safetensors.torch import load as unpacked
from safetensors.torch import save as packed
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from polyseme.errors import TrainingError

# One process validates, or cuts the text into words, while the others wait. A dead one is noticed at once.
TIMEOUT = timedelta(hours=12)


@dataclass(frozen=True)
class Processes:
    """`rank` of `world`; `local`: the rank on this machine, which names its GPU. What is summed needs all of them."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def seed(self, seed: int, update: int) -> int:
        """For torch's generator: far apart for neighbouring updates, and another one in each process."""
        return int(np.random.SeedSequence([seed, update, self.rank]).generate_state(1, np.uint64)[0] >> 1)

    def sum(self, values: Iterable[float], device: torch.device) -> list[float]:
        """Each value summed over all processes."""
        numbers = torch.tensor(list(values), dtype=torch.float64, device=device)
        if self.world > 1:
            with _others():
                dist.all_reduce(numbers)
        return [float(number) for number in numbers.tolist()]

    def from_first(self, values: Iterable[float], device: torch.device) -> list[float]:
        """The values of the first process; as many everywhere."""
        numbers = torch.tensor(list(values), dtype=torch.float64, device=device)
        if self.world > 1:
            with _others():
                dist.broadcast(numbers, src=0)
        return [float(number) for number in numbers.tolist()]

    def gather(self, tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """Everybody's tensors under "RANK.name", on the CPU. Their names and shapes may differ."""
        own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        if self.world == 1:
            return {f"0.{name}": tensor for name, tensor in own.items()}
        data = torch.frombuffer(bytearray(packed(own)), dtype=torch.uint8).to(device)
        everyone = (unpacked(each.cpu().numpy().tobytes()) for each in self._gather_rows(data))
        return {f"{rank}.{name}": tensor for rank, found in enumerate(everyone) for name, tensor in found.items()}

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            with _others():
                dist.barrier()

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replaces each gradient by its sum over all processes."""
        if self.world == 1:
            return
        dense = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad.is_sparse:
                parameter.grad = self._sum_rows(parameter.grad)
            else:
                dense.append(parameter.grad)
        if not dense:
            return
        together = torch.cat([grad.reshape(-1) for grad in dense])
        with _others():
            dist.all_reduce(together)
        for grad, summed in zip(dense, together.split([grad.numel() for grad in dense]), strict=True):
            grad.copy_(summed.view_as(grad))

    def _sum_rows(self, grad: Tensor) -> Tensor:
        """The sum of sparse gradients with other rows in each process."""
        grad = grad.coalesce()
        rows, values = self._gather_rows(grad.indices()[0]), self._gather_rows(grad.values())
        together = torch.sparse_coo_tensor(
            torch.cat(rows).unsqueeze(0), torch.cat(values), grad.shape, check_invariants=False
        )
        return together.coalesce()

    def _gather_rows(self, own: Tensor) -> list[Tensor]:
        """Everybody's tensor; their first dimensions may differ. *Shape:* (n, ...) -> (m, ...) of each process."""
        with _others():
            counts = [torch.zeros(1, dtype=torch.int64, device=own.device) for _ in range(self.world)]
            dist.all_gather(counts, torch.tensor([len(own)], dtype=torch.int64, device=own.device))
            sizes = [int(count) for count in counts]
            padded = own.new_zeros(max(sizes), *own.shape[1:])
            padded[: len(own)] = own
            found = [torch.empty_like(padded) for _ in sizes]
            dist.all_gather(found, padded)
        return [each[:size] for each, size in zip(found, sizes, strict=True)]


@contextmanager
def _others() -> Iterator[None]:
    """Says what the failure of a sum means: the others are not there any more."""
    try:
        yield
    except RuntimeError as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise TrainingError(
            f"another process of this run ended, or cannot be reached ({reason}); what it said stands above, if it "
            "could say anything; go on from the last checkpoint with --resume"
        ) from error


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, connected until the block ends; a lone one without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        torch.cuda.set_device(local)
    with _others():
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT, **_meeting_place())
    try:
        yield Processes(dist.get_rank(), world, local)
    finally:
        dist.destroy_process_group()


def _meeting_place() -> dict[str, Any]:
    """Where the processes find each other: not among the addresses of those that torchrun started before.

    Its store outlives them (pytorch/pytorch#135712, #167288), so a process that is early would look for a dead one.
    Machines count their restarts each for itself: several of them meet where torch says.
    """
    if os.environ.get("GROUP_WORLD_SIZE") != "1":
        return {}
    store, rank, world = next(rendezvous("env://", timeout=TIMEOUT))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return {"store": PrefixStore(f"attempt {attempt}", store), "rank": rank, "world_size": world}
