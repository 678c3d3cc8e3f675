"""Products of pairs of rows: in float32 to look at what a bound left, in float64 to decide on the rest.

In float32 torch makes them where the rows lie, in a tenth of the time that it takes to copy the rows of each.
"""

import sys
import warnings
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curation.pair_list import Numbers
from curation.pair_screen import Floats

CHUNK = 512  # pairs whose rows are copied at a time: 3 MB, in memory that is asked for once


def exact_products(vectors: Floats, left: Numbers, right: Numbers) -> npt.NDArray[np.float64]:
    """Give vectors[left] . vectors[right] of each pair in float64, whatever pairs are asked for beside it."""
    found = np.empty(len(left), np.float64)
    _fill(found, vectors, left, right)
    return found


def _fill(found: npt.NDArray[Any], vectors: Floats, left: Numbers, right: Numbers) -> None:
    """Write the products of pairs, computed in the type of `found`.

    Rows are copied and multiplied in memory that stays: new memory for each step takes several times as long
    as what is done in it.
    """
    rows = np.empty((2, min(CHUNK, len(left)), vectors.shape[1]), vectors.dtype)
    wide = rows if found.dtype == vectors.dtype else np.empty(rows.shape, found.dtype)
    for start in range(0, len(left), CHUNK):
        part = slice(start, min(start + CHUNK, len(left)))
        size = part.stop - part.start
        for side, numbers in enumerate((left, right)):  # another mode would copy once more
            np.take(vectors, numbers[part], axis=0, out=rows[side, :size], mode="clip")
        if wide is not rows:  # a sum in float64 over float32 would depend on where numpy's buffers end
            wide[:, :size] = rows[:, :size]
        np.einsum("ij,ij->i", wide[0, :size], wide[1, :size], out=found[part])


class Products(Protocol):
    """Made once for all vectors; threads may share it."""

    def of(self, left: Numbers, right: Numbers) -> Floats:
        """Give the product of each (left, right) in float32; `right` must ascend, no pair come twice."""


def products(vectors: Floats) -> Products:
    """Choose how to make products of vectors, (rows, dimensions): with torch where it is loaded already."""
    if "torch" in sys.modules:
        try:
            return SampledProducts(vectors)
        except RuntimeError:  # torch was built without it for this processor
            pass
    return CopiedProducts(vectors)


class CopiedProducts:
    """By numpy, from copies of the rows."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors

    def of(self, left: Numbers, right: Numbers) -> Floats:
        found = np.empty(len(left), np.float32)
        _fill(found, self._vectors, left, right)
        return found


class SampledProducts:
    """By torch: pairs are the places of a sparse matrix, of which only those are computed."""

    def __init__(self, vectors: Floats) -> None:
        """Raises RuntimeError where this torch cannot do it."""
        import torch

        with warnings.catch_warnings():  # said once: that vectors may be read-only, that sparse ones are new
            warnings.simplefilter("ignore")
            self._vectors: Any = torch.from_numpy(vectors)
            one = torch.sparse_csr_tensor([0, 1], [0], [0.0], (1, 1), check_invariants=False)
            torch.sparse.sampled_addmm(one, torch.ones(1, 1), torch.ones(1, 1), beta=0.0)

    def of(self, left: Numbers, right: Numbers) -> Floats:
        if not len(left):
            return np.empty(0, np.float32)
        import torch

        rows = slice(int(left.min()), int(left.max()) + 1)
        columns = slice(int(right[0]), int(right[-1]) + 1)
        ends = np.cumsum(np.bincount(right - columns.start), dtype=np.int32)  # of the pairs of each column
        places = torch.sparse_csr_tensor(
            torch.from_numpy(np.concatenate([np.zeros(1, np.int32), ends])),
            torch.from_numpy(left - np.int32(rows.start)),
            torch.zeros(len(left)),
            (columns.stop - columns.start, rows.stop - rows.start),
            check_invariants=False,
        )
        found = torch.sparse.sampled_addmm(
            places, self._vectors[columns], self._vectors[rows].t(), beta=0.0, out=places
        )
        made: Floats = found.values().numpy()
        return made
