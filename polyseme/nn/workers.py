"""Threads that each own one core: a matrix product then has the same bits however many threads there are.

torch splits a product over its threads, and the split decides how sums are rounded. Here a task (a tile of words, one
direction of a batch) is computed by one thread with one core, and the tasks are spread over the threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from polyseme.errors import OptionError

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """`threads` threads with one torch thread each; the caller's own torch threads stay as they were."""

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise OptionError(f"threads must be at least 1, was: {threads}")
        self.threads = threads
        before = torch.get_num_threads()
        together = threading.Barrier(threads + 1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="polyseme", initializer=_one_core)
        for _ in range(threads):
            self._pool.submit(together.wait)  # keeps each thread busy until all have been started
        together.wait()
        torch.set_num_threads(before)

    def map(self, task: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The results in order, under inference mode. The first exception of a task is raised here."""

        def run(item: T) -> R:
            with torch.inference_mode():
                return task(item)

        return list(self._pool.map(run, items))


def _one_core() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # torch reads its process-wide setting once a thread: let that happen now, not later


# Two threads for the process, made when training first needs them; each computes with one core.
_pair: list[Workers] = []


def side_by_side(task: Callable[..., R], runs: Sequence[tuple[Any, ...]], device: torch.device) -> list[R]:
    """The task for each of `runs`, without gradients: on two threads where machine and caller allow, else in turn."""
    if len(runs) < 2 or device.type != "cpu" or torch.get_num_threads() < 2:
        return [task(*run) for run in runs]
    if not _pair:
        _pair.append(Workers(2))

    def quiet(run: tuple[Any, ...]) -> R:
        with torch.inference_mode(False), torch.no_grad():  # what a backward pass needs is no inference tensor
            return task(*run)

    return _pair[0].map(quiet, runs)
