"""The processes of one run: who we are, and the sums that we share. One process needs no launcher.

    torchrun --nproc-per-node 2 -m polyseme train ...        gloo on CPU, nccl on GPU

Each process reads its own lanes and sums its gradients with the others'. What is dense goes as one buffer. The softmax
of a sampled loss has gradients for the rows that took part and no others: only these rows travel, so a vocabulary of
800,000 words costs what its samples cost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

TIMEOUT = timedelta(minutes=30)  # one process validates while the others wait


@dataclass(frozen=True)
class Processes:
    """`rank` of `world`; `local`: the rank on this machine, which names its GPU."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sum(self, values: Iterable[float], device: torch.device) -> list[float]:
        """Each value summed over all processes."""
        numbers = torch.tensor(list(values), dtype=torch.float64, device=device)
        if self.world > 1:
            dist.all_reduce(numbers)
        return [float(number) for number in numbers.tolist()]

    def from_first(self, values: Iterable[float], device: torch.device) -> list[float]:
        """The values of the first process; as many everywhere."""
        numbers = torch.tensor(list(values), dtype=torch.float64, device=device)
        if self.world > 1:
            dist.broadcast(numbers, src=0)
        return [float(number) for number in numbers.tolist()]

    def gather(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Everybody's tensors under "RANK.name", on the CPU; empty but in the first process."""
        own = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        if self.world == 1:
            return {f"0.{name}": tensor for name, tensor in own.items()}
        everyone: list[dict[str, Tensor]] | None = [{} for _ in range(self.world)] if self.first else None
        dist.gather_object(own, everyone)
        return {f"{rank}.{name}": t for rank, tensors in enumerate(everyone or []) for name, t in tensors.items()}

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
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
        dist.all_reduce(together)
        for grad, summed in zip(dense, together.split([grad.numel() for grad in dense]), strict=True):
            grad.copy_(summed.view_as(grad))

    def _sum_rows(self, grad: Tensor) -> Tensor:
        """The sum of sparse gradients with other rows in each process."""
        grad = grad.coalesce()
        rows, values = grad.indices()[0], grad.values()
        counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.world)]
        dist.all_gather(counts, torch.tensor([len(rows)], dtype=torch.int64, device=rows.device))
        most = max(int(count) for count in counts)
        padded_rows = rows.new_zeros(most)
        padded_rows[: len(rows)] = rows
        padded = values.new_zeros(most, *values.shape[1:])
        padded[: len(values)] = values
        all_rows = [torch.empty_like(padded_rows) for _ in range(self.world)]
        all_values = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(all_rows, padded_rows)
        dist.all_gather(all_values, padded)
        kept = [slice(0, int(count)) for count in counts]
        together = torch.cat([r[k] for r, k in zip(all_rows, kept, strict=True)])
        return torch.sparse_coo_tensor(
            together.unsqueeze(0), torch.cat([v[k] for v, k in zip(all_values, kept, strict=True)]), grad.shape
        ).coalesce()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, connected until the block ends; a lone one without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=TIMEOUT)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        dist.destroy_process_group()
