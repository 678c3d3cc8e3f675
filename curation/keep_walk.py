"""The keep rule at every threshold at once, when every pair counts: which rows fall, what bands would ask.

Walking rows at one threshold (keepers.py) gives the same there: a row falls when a row before it that stays
is its neighbour. So one walk tells a page what any other threshold would do.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.earlier_pairs import Records, by_later

MET = np.dtype([("later", "<i4"), ("earlier", "<i4"), ("level", "<i2")])  # ranks of two rows, and their level
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Walked:
    """What the rule does at each level, and what bands between two of them would ask.

    A pair of level n counts at the levels 0..n. Both tables: (lower level, level of the most alike row that
    stays there): rows that fall at the lower level, and their pairs with rows that stay.
    """

    falls: npt.NDArray[np.bool_]  # (rows by rank, levels)
    rows: Counts
    questions: Counts


def walk(
    records: Callable[[], Iterable[Records]], size: int, levels: int, spool: Path | None = None
) -> Walked:
    """Walk rows by their ranks, 0 first. `records`: pairs as MET, asked for twice."""
    stays = np.ones((size, levels), dtype=bool)
    counts_at = np.tri(levels, dtype=bool)  # (level of a pair, level at which it counts)
    rows, questions = (np.zeros((levels, levels), np.int64) for _ in range(2))
    for place, pairs in by_later(records, size, spool):
        decides = stays[pairs["earlier"]] & counts_at[pairs["level"]]
        falls = decides.any(axis=0)
        stays[place] = ~falls
        at = np.flatnonzero(falls)
        closest = (decides[:, at] * (pairs["level"][:, None] + 1)).max(axis=0) - 1
        rows[at, closest] += 1
        questions[at, closest] += decides[:, at].sum(axis=0)
    return Walked(~stays, rows, questions)
