"""Work on many things in processes of its own, in their order: quicker, and a thing may kill its process."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")
MOST = 4  # processes, where nobody says how many
CHUNK = 16  # things a process is handed at a time


class WorkProcesses(Generic[Given, Made]):
    """Does work on batches, in their order: in this process, or in several where there is work for them."""

    def __init__(
        self, work: Callable[[Given], Made], lost: Callable[[Given], Made], number: int, enough: int
    ) -> None:
        """`work` must be importable by name (a partial of such a function is). `lost` says what comes of a
        thing that killed its process. `number` of processes, 0: one a processor. A batch below `enough` is
        done here: starting others takes longer."""
        self._work = work
        self._lost = lost
        self._number = number or min(MOST, os.cpu_count() or 1)
        self._enough = enough
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "WorkProcesses[Given, Made]":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, batch: Sequence[Given]) -> list[Made]:
        if self._pool is None and (self._number == 1 or len(batch) < self._enough):
            return [self._work(one) for one in batch]
        self._pool = self._pool or _started(self._number)
        try:
            return list(self._pool.map(self._work, batch, chunksize=CHUNK))
        except BrokenProcessPool:  # a grammar is compiled code, and may die of what a stranger wrote
            self._pool = None
            return [self._alone(one) for one in batch]

    def _alone(self, one: Given) -> Made:
        """Work on one thing in a process that may die of it."""
        self._pool = self._pool or _started(1)
        try:
            return self._pool.submit(self._work, one).result()
        except BrokenProcessPool:
            self._pool = None
            return self._lost(one)


def _started(number: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # this process may have threads
    return ProcessPoolExecutor(number, context, _end_with_parent)


def _end_with_parent() -> None:
    """Let a process end with the one it works for: its queue alone would never tell."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
