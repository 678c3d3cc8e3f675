"""The groups of rows that pairs connect, at several thresholds at once, in one look at any number of pairs.

What connects at a threshold is what the strongest edges of a spanning forest connect there (single linkage):
so no more than one edge a row has to be remembered.
"""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int32]


class Clusters:
    """Grows as pairs come. A pair of level n connects at the levels 0..n."""

    def __init__(self, size: int, levels: int) -> None:
        self._size, self._levels = size, levels
        self._forest = tuple(np.empty(0, np.int32) for _ in range(3))  # left, right, level
        self._label = np.tile(np.arange(size, dtype=np.int32), (levels, 1))

    def add(self, left: Numbers, right: Numbers, level: Numbers) -> None:
        """Take in pairs; each comes once, in whatever order."""
        joins = self._label[level, left] != self._label[level, right]
        if not joins.any():
            return
        new = (left[joins], right[joins], level[joins])
        self._forest = self._strongest(
            *(np.concatenate(both) for both in zip(self._forest, new, strict=True))
        )
        for at in range(self._levels):
            self._label[at] = self._connected(at)

    def _strongest(self, left: Numbers, right: Numbers, level: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import minimum_spanning_tree

        cost = self._levels - level.astype(np.float64)  # 1 or more: 0 would be no edge
        edges = coo_array((cost, (left, right)), shape=(self._size, self._size))
        tree = minimum_spanning_tree(edges.tocsr()).tocoo()
        strongest = self._levels - tree.data.astype(np.int32)
        return tree.row.astype(np.int32), tree.col.astype(np.int32), strongest

    def _connected(self, at: int) -> Numbers:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        left, right, level = (column[self._forest[2] >= at] for column in self._forest)
        ones = np.ones(len(level), dtype=np.int8)
        edges = coo_array((ones, (left, right)), shape=(self._size, self._size))
        return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int32)

    def largest_first(self, at: int) -> Numbers:
        """Number the groups at a level, the largest 0, ties by their first row; -1: in no pair."""
        first, inverse, sizes, is_paired = self._groups(at)
        place = np.empty(len(sizes), dtype=np.int32)
        place[np.lexsort((first, -sizes))] = np.arange(len(sizes), dtype=np.int32)
        return self._told(place, inverse, is_paired)

    def first_seen(self, at: int) -> Numbers:
        """Number the groups at a level by their first rows; -1: in no pair."""
        first, inverse, _, is_paired = self._groups(at)
        return self._told(np.argsort(np.argsort(first)), inverse, is_paired)

    def _told(
        self, place: npt.NDArray[np.integer], inverse: npt.NDArray[np.int64], is_paired: npt.NDArray[np.bool_]
    ) -> Numbers:
        numbers = np.full(self._size, -1, dtype=np.int32)
        numbers[is_paired] = place[inverse]
        return numbers

    def _groups(
        self, at: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Give of each group its first row and its size; of each row in a pair its group."""
        left, right, _ = (column[self._forest[2] >= at] for column in self._forest)
        is_paired = np.zeros(self._size, dtype=bool)
        is_paired[left] = is_paired[right] = True
        _, first, inverse, sizes = np.unique(
            self._label[at][is_paired], return_index=True, return_inverse=True, return_counts=True
        )
        return first, inverse, sizes, is_paired
