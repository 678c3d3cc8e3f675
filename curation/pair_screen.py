"""A bound on the cosine of every pair of rows in a fraction of the time the cosine takes; none is lost.

After a rotation most of what vectors of text have lies in their leading dimensions. With x = (l, t), leading
and tail dimensions, x.y = lx.ly + tx.ty <= lx.ly + |tx||ty| (Cauchy-Schwarz). The tails' lengths are one more
dimension, so that the bound of all pairs is one thin matrix product; what it leaves is verified elsewhere.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

WIDTHS = (48, 64, 80, 96, 112, 128, 160, 224)  # numbers a row may have, the tail's length among them
# What a pair left by the bound costs, in numbers that all pairs would multiply instead: fits the seconds of
# 110,000 rows at floors of 0.5 to 0.9 (docs/performance.md). Twice or half of it chooses a neighbour.
LEFT_COSTS = 9_000
LOOKED_AT = 1_024  # rows, at least, whose pairs say how many a bound leaves: half a million pairs
SMALL = 2_048  # rows up to which the rotation takes longer than it saves
SAMPLE = (
    16_384  # rows that the rotation is found from; any rotation gives a true bound, a good one a near one
)
CHUNK = 2_048  # rows rotated at a time: 6 MB in float64
# What float32 may get wrong in a product of two vectors of length 1, of 384 numbers each: 384 x 2^-24, twice.
SLACK = 5e-5


class Screen(Protocol):
    """Says which pairs may reach a floor. Threads may share it; each has a `Tile` of its own."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of products."""

    def product(self, rows: slice, columns: slice, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give what is compared with `least`, (rows, columns), in `out`, which is of that shape."""

    def alone(self) -> AbstractContextManager[None]:
        """Keep the libraries beneath from using threads of their own: ours do the same work side by side."""

    @property
    def least(self) -> float:
        """What a pair at the floor has at least."""


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep numpy's library, and torch where it is loaded, from using threads of their own."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)  # what threads that begin later take over
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        if torch:
            torch.set_num_threads(before)


class Tile:
    """Memory for one product and the hits in it, used again and again by one thread."""

    def __init__(self, screen: Screen, rows: int, columns: int) -> None:
        self._screen = screen
        self._product = np.empty(rows * columns, screen.dtype)
        self._hits = np.empty(rows * columns, np.bool_)

    def hits(self, rows: slice, columns: slice) -> tuple[Places, Places]:
        """Give the pairs of these rows and columns that may reach the floor, by column, then row.

        The columns stand first in the product, because they are more: libraries pack its second matrix anew
        for each tile, and a small one takes less (a third of the time of a tile in bfloat16).
        """
        shape = (columns.stop - columns.start, rows.stop - rows.start)
        size = shape[0] * shape[1]
        product = self._screen.product(columns, rows, self._product[:size].reshape(shape))
        hits = np.greater_equal(product, self._screen.least, out=self._hits[:size].reshape(shape))
        some = np.flatnonzero(hits.any(axis=1))  # an eighth, say: to seek places in all takes twice as long
        column, row = np.divmod(np.flatnonzero(hits[some]), shape[1])
        return row + rows.start, some[column] + columns.start


@dataclass
class FloatScreen:
    """The bound in float32: needs nothing but numpy."""

    lead: Floats  # (rows, leading dimensions and the tail's length)
    least: float

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    def alone(self) -> AbstractContextManager[None]:
        return one_thread_each()

    def product(self, rows: slice, columns: slice, out: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.matmul(self.lead[rows], self.lead[columns].T, out=out)


@dataclass
class Rotated:
    """Vectors of length 1, or 0, after the rotation: what lies in front and how long the rest is."""

    lead: Floats  # (rows, leading dimensions)
    tail: npt.NDArray[np.float64]  # (rows,)


def float_screen(vectors: Floats, floor: float) -> FloatScreen:
    """Make the float32 bound of vectors, (rows, dimensions), as wide as is quickest at this floor."""
    least = floor - SLACK
    if len(vectors) > SMALL:
        turn = _rotation(vectors)
        if (width := _quickest_width(vectors, turn, least)) < vectors.shape[1]:
            front = _turned(vectors, turn[:, : width - 1])
            return FloatScreen(_with_tails(front.lead, front.tail), least)
    return FloatScreen(np.concatenate(list(_of_length_one(vectors)) or [vectors]), least)


def _with_tails(lead: Floats, tail: npt.NDArray[np.float64]) -> Floats:
    return np.concatenate([lead, tail[:, None].astype(np.float32)], axis=1)


def _quickest_width(vectors: Floats, turn: npt.NDArray[np.float64], least: float) -> int:
    """Choose how many numbers a row has: fewer make the product thinner and leave more pairs to look at.

    The higher the floor, the fewer do. All of a vector are one choice: where a bound would leave too much.
    """
    sample = vectors[:: max(1, len(vectors) // LOOKED_AT)]
    whole = _turned(sample, turn).lead
    squares = np.cumsum(np.square(whole, dtype=np.float64), axis=1)

    def cost(width: int) -> float:
        tail = np.sqrt(np.maximum(squares[:, -1] - squares[:, width - 2], 0.0))
        lead = whole if width == whole.shape[1] else _with_tails(whole[:, : width - 1], tail)
        return width + LEFT_COSTS * float(np.mean(lead @ lead.T >= least))

    size: int = whole.shape[1]
    widths = [width for width in WIDTHS if width < size]
    return min([*widths, size], key=cost)


def _of_length_one(vectors: Floats) -> "list[Floats]":
    parts = []
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK].astype(np.float64)
        parts.append((part / _lengths(part)[:, None]).astype(np.float32))
    return parts


def _lengths(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lengths: npt.NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    lengths[lengths == 0] = 1.0  # a row of nothing stays one: it is like no other
    return lengths


def rotated(vectors: Floats, dimensions: int) -> Rotated:
    """Rotate vectors so that their leading dimensions hold most of them. In float64: what the bound promises
    must not hang on how a product was added up."""
    return _turned(vectors, _rotation(vectors)[:, :dimensions])


def _turned(vectors: Floats, turn: npt.NDArray[np.float64]) -> Rotated:
    lead = np.empty((len(vectors), turn.shape[1]), np.float32)
    tail = np.empty(len(vectors))

    def turned(start: int) -> None:
        part = vectors[start : start + CHUNK].astype(np.float64)
        part /= _lengths(part)[:, None]
        front = part @ turn
        rest = np.einsum("ij,ij->i", part, part) - np.einsum("ij,ij->i", front, front)
        lead[start : start + CHUNK] = front
        tail[start : start + CHUNK] = np.sqrt(np.maximum(rest, 0.0))

    with one_thread_each(), ThreadPoolExecutor(os.cpu_count(), "rotate") as pool:
        list(pool.map(turned, range(0, len(vectors), CHUNK)))
    return Rotated(lead, tail)


def _rotation(vectors: Floats) -> npt.NDArray[np.float64]:
    """Give the directions of vectors, most important first: eigenvectors of their second moment."""
    step = max(1, len(vectors) // SAMPLE)
    sample = vectors[::step]
    moment = (sample.T @ sample).astype(np.float64)
    _, directions = np.linalg.eigh(moment)
    # Orthonormal to the last bits, whatever was wrong with the moment.
    turn: npt.NDArray[np.float64] = np.linalg.qr(directions[:, ::-1])[0]
    return turn
