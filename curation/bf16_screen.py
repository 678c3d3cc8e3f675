"""The bound of curation/pair_screen.py in bfloat16: half the bytes written, quick where AMX or AVX512 has it.

With l = q + r, q what bfloat16 holds of the leading dimensions, what r adds to a product is at most
|qx||ry| + |rx||qy| + |rx||ry|: the last joins the tails, the others are bounded by the largest of all rows.
Sums are made in float32 and rounded to bfloat16 once: rounding keeps the order, so that a product which
reaches the least still reaches the rounded least.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.pair_screen import CHUNK, SLACK, Floats, one_thread_each, rotated

WIDTH = 128  # numbers a row: leading dimensions and the tail's length


@dataclass
class HalfScreen:
    """The bound in bfloat16, by torch. Products are compared as the whole numbers that their bits are: these
    have the order of the numbers where they are positive, and are below zero where they are not."""

    lead: Any  # torch.bfloat16, (rows, WIDTH)
    least: int  # bits of what a pair at the floor has at least

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int16)

    def alone(self) -> AbstractContextManager[None]:
        return one_thread_each()

    def product(self, rows: slice, columns: slice, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        import torch

        made = torch.from_numpy(out).view(torch.bfloat16)
        torch.mm(self.lead[rows], self.lead[columns].t(), out=made)
        return out


def half_screen(vectors: Floats, floor: float) -> HalfScreen | None:
    """Make the bound in bfloat16 of vectors, (rows, dimensions); None where the floor is so low that the sign
    of a product would matter."""
    import torch

    front = rotated(vectors, WIDTH - 1)
    lead = torch.empty((len(vectors), WIDTH), dtype=torch.bfloat16)
    longest = error = 0.0
    for start in range(0, len(vectors), CHUNK):
        part = slice(start, start + CHUNK)
        exact = torch.from_numpy(front.lead[part])
        held = exact.to(torch.bfloat16)
        rest = (exact.double() - held.double()).norm(dim=1)
        tail = torch.hypot(torch.from_numpy(front.tail[part]), rest)
        lead[part, :-1], lead[part, -1] = held, _rounded_up(tail)
        longest = max(longest, float(held.double().norm(dim=1).max()))
        error = max(error, float(rest.max()))
    least = floor - SLACK - 2 * longest * error
    return None if least <= 0 else HalfScreen(lead, _bits(least))


def _rounded_up(numbers: Any) -> Any:
    """Give bfloat16 numbers that are no smaller than these."""
    import torch

    near = numbers.to(torch.bfloat16)
    above = torch.nextafter(near, torch.tensor(torch.inf, dtype=torch.bfloat16))
    return torch.where(near.double() < numbers, above, near)


def _bits(number: float) -> int:
    import torch

    return int(torch.tensor(number, dtype=torch.float64).to(torch.bfloat16).view(torch.int16))
