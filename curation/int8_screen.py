"""The bound of curation/pair_screen.py in bytes: where a processor multiplies them quickly, half the time.

Leading dimensions are rotated once more, at random, so that no number stands out, and written as bytes of one
step. With l = s q + r, what r adds to a product is at most |s qx||ry| + |rx||s qy| + |rx||ry|: the last joins
the tails, the others are bounded by the largest of all rows. Products of bytes are exact.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.pair_screen import CHUNK, SLACK, Floats, Rotated, one_thread_each, rotated

WIDTH = 128  # bytes a row: leading dimensions and the columns of the tail
TAILS = (4, 8, 16)  # columns that the tail's length is spread over, as few as hold it in bytes
MOST = 127
RANDOM_SEED = 976


@dataclass
class ByteScreen:
    """The bound in bytes, by torch."""

    codes: Any  # torch.int8, (rows, WIDTH)
    least: float

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int32)

    def alone(self) -> AbstractContextManager[None]:
        return one_thread_each()

    def product(self, rows: slice, columns: slice, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        import torch

        torch._int_mm(self.codes[rows], self.codes[columns].t(), out=torch.from_numpy(out))
        return out


def byte_screen(vectors: Floats, floor: float) -> ByteScreen | None:
    """Make the bound in bytes of vectors, (rows, dimensions); None where their tails are too long for it."""
    import torch

    for columns in TAILS:
        front = rotated(vectors, WIDTH - columns)
        if (made := _codes(front, columns)) is not None:
            codes, step, error = made
            return ByteScreen(torch.from_numpy(codes), ceil((floor - SLACK - error) / step**2 - 1e-6))
    return None


def _codes(front: Rotated, columns: int) -> tuple[npt.NDArray[np.int8], float, float] | None:
    """Write rows as bytes. Gives them, their step, and what the product of two may miss; None: no room."""
    size = front.lead.shape[1]
    mix = np.linalg.qr(np.random.default_rng(RANDOM_SEED).standard_normal((size, size)))[0]
    parts = [slice(start, start + CHUNK) for start in range(0, len(front.lead), CHUNK)]
    step = max((float(np.abs(front.lead[part] @ mix).max()) for part in parts), default=0) / MOST or 1.0
    codes = np.empty((len(front.lead), WIDTH), np.int8)
    longest = error = 0.0
    for part in parts:
        mixed = front.lead[part] @ mix
        whole = np.rint(mixed / step)
        rest = _length(mixed - step * whole)
        spread = np.ceil(np.hypot(front.tail[part], rest) / (step * sqrt(columns)))
        if spread.max() > MOST:
            return None
        codes[part, :size], codes[part, size:] = whole, spread[:, None]
        longest, error = max(longest, step * float(_length(whole).max())), max(error, float(rest.max()))
    return codes, step, 2 * longest * error


def _length(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lengths: npt.NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths
