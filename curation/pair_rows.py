"""The rows of a near-duplicates run, and the order in which its keep rule walks them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation import keep_rules
from curation.keep_rules import Standing
from curation.pair_settings import Settings
from curation.store import samples
from curation.store.database import Connection


@dataclass
class Rows:
    """The rows of a run in import order, with what the rules look at."""

    seqs: npt.NDArray[np.int64]
    ids: list[str]
    positions: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]  # characters of the response
    content: list[str]  # content hashes
    standing: Standing  # by the keep rule

    def by_number(self, seqs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Give the place of each seq among these rows."""
        return np.searchsorted(self.seqs, seqs)


def best_first(rows: Rows, settings: Settings) -> list[int]:
    """List the places of the rows as the keep rule walks them."""
    if settings.keep == "first":
        return sorted(range(len(rows.ids)), key=lambda n: rows.positions[n])
    rank = rows.standing.rank
    return sorted(range(len(rows.ids)), key=lambda n: (rank[n], -rows.lengths[n], rows.ids[n]))


def standing_of(connection: Connection, settings: Settings, seqs: Sequence[int]) -> Standing:
    return keep_rules.standing(connection, settings.keep, settings.sources, settings.judged_to, seqs)


def members_in_order(outcomes: Sequence[Any]) -> list[Any]:
    return sorted(outcomes, key=lambda row: row.seq)


def rows_of(connection: Connection, settings: Settings, outcomes: Sequence[Any]) -> Rows:
    """Read what the rules look at for rows that are already part of a run."""
    found = members_in_order(outcomes)
    facts = samples.rule_facts(connection, [row.seq for row in found])
    return Rows(
        np.array([row.seq for row in found]),
        [facts[row.seq].id for row in found],
        np.array([row.position for row in found]),
        np.array([facts[row.seq].length for row in found]),
        [facts[row.seq].content_hash for row in found],
        standing_of(connection, settings, [row.seq for row in found]),
    )
