"""The processes that train one run together, seen from within one of them.

A team of one is the plain case: it talks to nobody, and loads nothing for it. In a larger one the first
(rank 0) writes the run's files and decides; the others compute, wait and follow.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.run import LoraRun


@dataclass(frozen=True)
class Team:
    """This process's number, from 0, and how many there are. Methods are called by all, in one order."""

    rank: int = 0
    size: int = 1

    @classmethod
    def of_environment(cls) -> "Team":
        """Read what `accelerate launch` told this process."""
        return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, rows: int) -> range:
        """Name this process's part of so many rows."""
        return range(self.rank, rows, self.size)

    def wait(self) -> None:
        """Go on when all have come this far."""
        if self.size > 1:
            import torch

            torch.distributed.barrier()

    def spread_chance(self, seed: int) -> None:
        """Let each process draw other numbers from now on: equal ones would drop the same of every row."""
        if self.size > 1:
            import torch

            torch.manual_seed(seed + self.rank)

    def agreed(self, value: int) -> int:
        """Give what the first process says, whatever the others found."""
        if self.size == 1:
            return value
        import torch

        said = torch.tensor([value], device=_device())
        torch.distributed.broadcast(said, 0)
        return int(said)

    def gathered(self, values: Sequence[float]) -> list[float]:
        """Give all values where each process knows those of its share and has 0 elsewhere."""
        if self.size == 1:
            return list(values)
        import torch

        sums = torch.tensor(values, dtype=torch.float64, device=_device())
        torch.distributed.all_reduce(sums)
        found: list[float] = sums.tolist()
        return found


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"  # the current one: training/rank.py chose it


class Onlooker(LoraRun):
    """A run for the processes that are not the first: they read its files and write none."""

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        pass

    def measure(self, **values: Any) -> None:
        pass

    def forget_after(self, step: int) -> None:
        pass
