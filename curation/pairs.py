"""Every pair of rows at or above a cosine, exactly.

Exact means: the set that a float64 computation over the same float32 vectors gives. A bound that loses no
pair (curation/pair_screen.py) proposes, and every proposal is computed again in float64 before it counts.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.embedding import Vectors
from curation.known_pairs import Known
from curation.pair_list import PAIR, Numbers, Pairs, join, keep_part, length_of, mapped, part_file
from curation.pair_products import exact_products, products
from curation.pair_screen import Tile
from curation.screen_choice import quickest_screen
from curation.stage import Progress

ROWS = 1024  # rows of a block; its result is saved before the next block starts
STRIP = 1024  # rows of a tile
COLUMNS = 1024  # rows met at a time: 2 to 4 MB of products, which stay in the cache until they are looked at
MARGIN = 1e-4  # a float32 product of unit vectors of d numbers errs by at most d x 2^-24: 2.3e-5 for d = 384
ROUNDING = 1e-6  # cosines this near a floor are computed again: the list holds them in float32
AT_ONCE = 1 << 16  # pairs verified between two looks whether to stop: a tenth of a second; fewer, and
# threads wait for each other more than they compute
MOST = 1 << 21  # pairs of a strip held at once: 25 MB, four times over while they are sorted


class Stopped(Exception):
    """The search was given up by its owner."""


class TooMany(Exception):
    """Rows have more pairs than memory should hold: fewer rows at a time."""


def exact_cosines(vectors: Vectors, left: Numbers, right: Numbers) -> npt.NDArray[np.float64]:
    """Compute the cosine of each (left, right) in float64, norms included; NaN for a row of nothing."""
    rows = np.unique(np.concatenate([left, right]))
    squares = np.empty(int(rows[-1]) + 1 if len(rows) else 0)
    squares[rows] = exact_products(vectors, rows, rows)
    return _cosines(vectors, squares, left, right)


def _cosines(
    vectors: Vectors, squares: npt.NDArray[np.float64], left: Numbers, right: Numbers
) -> npt.NDArray[np.float64]:
    """`squares`: of the length of each row."""
    with np.errstate(invalid="ignore"):
        found: npt.NDArray[np.float64] = exact_products(vectors, left, right) / np.sqrt(
            squares[left] * squares[right]
        )
    return found


class Search:
    """What threads share while they look for pairs. `vectors`: (rows, dimensions), of length 1, or 0."""

    def __init__(self, vectors: Vectors, floor: float, known: Known | None = None) -> None:
        """`known`: pairs of some of these rows that an earlier search found."""
        self.vectors, self.floor, self.known = vectors, floor, known
        every = np.arange(len(vectors), dtype=np.int32)
        self.squares = exact_products(vectors, every, every)
        self.screen = (
            None
            if known is not None and known.covers(floor)
            else quickest_screen(vectors, floor, STRIP, COLUMNS)
        )
        self._products = products(vectors)
        self._own = threading.local()
        self._is_stopped = threading.Event()

    def stop(self) -> None:
        """Let blocks that are being computed end with Stopped, soon."""
        self._is_stopped.set()

    def alone(self) -> AbstractContextManager[None]:
        """Keep the libraries beneath from using threads of their own."""
        return nullcontext() if self.screen is None else self.screen.alone()

    def block(self, start: int) -> Iterator[Pairs]:
        """Give the pairs whose left row is in [start, start + ROWS), by left, then right, in pieces."""
        beyond = min(start + ROWS, len(self.vectors))
        rows = STRIP
        while start < beyond:
            try:
                yield self._strip(slice(start, min(start + rows, beyond)))
            except TooMany:
                rows = max(1, rows // 8)
            else:
                start += rows

    def _strip(self, rows: slice) -> Pairs:
        """Raises TooMany when memory should not hold the pairs of so many rows."""
        most = MOST if rows.stop - rows.start > 1 else sys.maxsize  # one row cannot be cut
        if self.known is not None and self.known.count(rows) > most:
            raise TooMany
        known = None if self.known is None else self.known.of(rows)
        names = None if known is None else self._names(known["left"], known["right"])
        tiles: list[Pairs] = []
        for left, right in self._left_by_bound(rows, names):
            if len(left) > most - sum(map(len, tiles)):
                raise TooMany
            tiles.append(self._verified(*self._near(left, right)))
        if known is not None:
            tiles.append(self._at_floor(known))
        whole = np.concatenate(tiles)
        if known is not None:
            by_name: Pairs = whole[np.argsort(self._names(whole["left"], whole["right"]), kind="stable")]
            return by_name
        sorted_: Pairs = whole[np.argsort(whole["left"], kind="stable")]  # tiles follow each other by right
        return sorted_

    def _names(self, left: Numbers, right: Numbers) -> npt.NDArray[np.int64]:
        """Give each pair as one number, in the order of the list."""
        return left.astype(np.int64) * len(self.vectors) + right

    def _unknown(self, rows: slice, columns: slice) -> slice:
        """Leave of the columns those that these rows have not met, down to this floor."""
        if self.known is None or self.known.floor > self.floor or self.known.has_new(rows):
            return columns
        return self.known.new_within(columns)

    def _at_floor(self, known: Pairs) -> Pairs:
        """Leave of known pairs, down to a lower floor perhaps, those at this one."""
        if self.known is None or self.known.floor >= self.floor:
            return known
        near = np.abs(known["cosine"] - self.floor) <= ROUNDING
        sure = known[(known["cosine"] > self.floor) & ~near]
        return np.concatenate([sure, self._verified(known["left"][near], known["right"][near])])

    def _look_up(self) -> None:
        if self._is_stopped.is_set():
            raise Stopped

    def _left_by_bound(
        self, rows: slice, known: npt.NDArray[np.int64] | None
    ) -> Iterator[tuple[Numbers, Numbers]]:
        """Give what the bound leaves of these rows and later ones, by right, then left, in pieces."""
        waiting: list[tuple[Numbers, Numbers]] = []
        for first in range(rows.start, len(self.vectors), COLUMNS):
            self._look_up()
            columns = self._unknown(rows, slice(first, min(first + COLUMNS, len(self.vectors))))
            if columns.start < columns.stop:
                waiting.append(self._tile(rows, columns, known))
            if sum(len(left) for left, _ in waiting) >= AT_ONCE:
                yield _joined(waiting)
                waiting = []
        if waiting:
            yield _joined(waiting)

    def _tile(
        self, rows: slice, columns: slice, known: npt.NDArray[np.int64] | None
    ) -> tuple[Numbers, Numbers]:
        left, right = (places.astype(np.int32) for places in self._tiles.hits(rows, columns))
        if columns.start < rows.stop:
            later = right > left
            left, right = left[later], right[later]
        if known is not None:
            is_new = ~np.isin(self._names(left, right), known, assume_unique=True)
            left, right = left[is_new], right[is_new]
        return left, right

    @property
    def _tiles(self) -> Tile:
        if not hasattr(self._own, "tile"):
            assert self.screen is not None  # nobody asks for a tile when all is known
            self._own.tile = Tile(self.screen, STRIP, COLUMNS)
        tile: Tile = self._own.tile
        return tile

    def _near(self, left: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
        """Leave of pairs, by right, those that float32 puts at the floor or near it."""
        found = []
        for start in range(0, len(left), AT_ONCE):
            self._look_up()
            one, other = left[start : start + AT_ONCE], right[start : start + AT_ONCE]
            near = np.flatnonzero(self._products.of(one, other) >= self.floor - MARGIN)
            found.append((one[near], other[near]))
        return _joined(found)

    def _verified(self, left: Numbers, right: Numbers) -> Pairs:
        found = []
        for start in range(0, len(left), AT_ONCE):  # heavy tiles take a while: look up now and then
            self._look_up()
            one, other = left[start : start + AT_ONCE], right[start : start + AT_ONCE]
            cosine = _cosines(self.vectors, self.squares, one, other)
            keep = cosine >= self.floor
            part = np.empty(int(keep.sum()), dtype=PAIR)
            part["left"], part["right"], part["cosine"] = one[keep], other[keep], cosine[keep]
            found.append(part)
        return np.concatenate(found or [np.empty(0, PAIR)])


def _joined(pairs: Sequence[tuple[Numbers, Numbers]]) -> tuple[Numbers, Numbers]:
    if not pairs:
        return np.empty(0, np.int32), np.empty(0, np.int32)
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def search_pairs(
    vectors: Vectors, floor: float, folder: Path, progress: Progress, known: Known | None = None
) -> Pairs:
    """Find every pair with cosine >= floor and keep the list in `folder`; resumes by block.

    The folder must belong to exactly these vectors in this order and this floor. `known`: what an earlier
    search found; the list is the same with it, byte for byte. Gives a read-only memory map of PAIR, sorted
    by left, then right (row numbers of `vectors`).
    """
    whole = folder / "pairs.npy"
    if length_of(whole) is None:  # missing, or cut short by something other than us
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(vectors), ROWS)
        missing = [start for start in starts if length_of(part_file(folder, start // ROWS)) is None]
        _find(vectors, floor, missing, folder, progress, known)
        join(folder, len(starts))
        progress("comparing rows", len(vectors), len(vectors))
    for part in folder.glob("part-*.npy"):  # joined; here rather than in `join`, so that a kill leaves none
        part.unlink()
    return mapped(folder)


def _find(
    vectors: Vectors, floor: float, starts: Sequence[int], folder: Path, progress: Progress,
    known: Known | None,
) -> None:  # fmt: skip
    """Compute blocks in threads, each of which keeps what it finds."""
    if not starts:
        return
    progress("comparing rows", starts[0], len(vectors))
    search = Search(vectors, floor, known)
    threads = os.cpu_count() or 1
    under_way: deque[tuple[int, Future[None]]] = deque()
    with search.alone(), ThreadPoolExecutor(threads, "pairs") as pool:
        try:
            for start in starts:
                under_way.append((start, pool.submit(keep_block, search, start, folder)))
                if len(under_way) > threads:
                    _next(under_way, progress, len(vectors))
            while under_way:
                _next(under_way, progress, len(vectors))
        finally:
            search.stop()  # whoever waits for no more blocks wants none


def _next(under_way: "deque[tuple[int, Future[None]]]", progress: Progress, total: int) -> None:
    start, future = under_way.popleft()
    progress("comparing rows", start, total)
    future.result()


def keep_block(search: Search, start: int, folder: Path) -> None:
    """Keep the pairs whose left row is in [start, start + ROWS)."""
    keep_part(folder, start // ROWS, search.block(start))
