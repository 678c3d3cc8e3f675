"""The numbers of pairs, the most alike first, sorted on the disk: memory does not grow with them."""

from collections.abc import Iterator
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

Cosines = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int32]
STEP = 1024  # every so many-th cosine of a sorted run is looked at to cut the runs into like shares
SHARE = 1 << 20  # pairs merged at a time, about


class Sorter:
    """Takes cosines a piece at a time, and gives their numbers in order: falling, equal ones as they came."""

    def __init__(self, cosines: IO[bytes], numbers: IO[bytes]) -> None:
        """Takes two empty files, open for reading and writing, that nobody else uses."""
        self._cosines, self._numbers = cosines, numbers
        self._runs: list[tuple[int, int]] = []  # first and beyond
        self._looked_at: list[Cosines] = []  # of each run every STEP-th cosine

    def add(self, cosine: Cosines) -> None:
        """Take in the cosines of the next pairs."""
        if not len(cosine):
            return
        first = self._runs[-1][1] if self._runs else 0
        order = np.argsort(-cosine, kind="stable")
        sorted_ = cosine[order]
        self._cosines.write(sorted_.tobytes())
        self._numbers.write((order + first).astype(np.int32).tobytes())
        self._runs.append((first, first + len(cosine)))
        self._looked_at.append(sorted_[::STEP].copy())

    def numbers(self) -> Iterator[Numbers]:
        """Give the numbers of all pairs in order, a piece at a time."""
        self._cosines.flush()
        self._numbers.flush()
        begins = [first for first, _ in self._runs]
        for value in self._cuts():
            beyond = [self._find(run, value, "left") for run in range(len(self._runs))]  # those above it
            yield self._merged(begins, beyond)
            begins = beyond
            beyond = [self._find(run, value, "right") for run in range(len(self._runs))]
            for one, other in zip(begins, beyond, strict=True):  # equal ones: as they came
                for start in range(one, other, SHARE):
                    yield self._read(self._numbers, start, min(other, start + SHARE), np.dtype(np.int32))
            begins = beyond
        yield self._merged(begins, [beyond for _, beyond in self._runs])

    def _cuts(self) -> Cosines:
        """Choose cosines, falling, between any two of which lie few pairs."""
        if not self._looked_at:
            return np.empty(0)
        looked_at = np.sort(np.concatenate(self._looked_at))[::-1]
        falling: Cosines = -np.unique(-looked_at[max(1, SHARE // STEP) - 1 :: max(1, SHARE // STEP)])
        return falling

    def _find(self, run: int, value: float, side: Literal["left", "right"]) -> int:
        """Find in a falling run the first cosine below a value ("right"), or not above it ("left")."""
        first, beyond = self._runs[run]
        near = int(np.searchsorted(-self._looked_at[run], -value, side))
        low = first + max(0, near - 1) * STEP
        high = min(beyond, first + near * STEP)
        part = self._read(self._cosines, low, high, np.dtype(np.float64))
        return low + int(np.searchsorted(-part, -value, side))

    def _merged(self, begins: list[int], ends: list[int]) -> Numbers:
        """Sort what lies between two cosines; equal ones stay as they came, since runs come in order."""
        spans = [(one, other) for one, other in zip(begins, ends, strict=True) if one < other]
        if not spans:
            return np.empty(0, np.int32)
        cosine = np.concatenate([self._read(self._cosines, *span, np.dtype(np.float64)) for span in spans])
        number = np.concatenate([self._read(self._numbers, *span, np.dtype(np.int32)) for span in spans])
        return np.asarray(number[np.argsort(-cosine, kind="stable")])

    @staticmethod
    def _read(file: IO[bytes], begin: int, end: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        file.seek(begin * dtype.itemsize)
        return np.fromfile(file, dtype, end - begin)
