"""What a page asks of a run's pairs, worked out once: their order by cosine, and what each threshold gives.

Written by the near-duplicates stage beside the pairs; read by `pair_browser`. Of pairs/HASH (the same
for every run over these vectors): order.npy, paired.npy, clusters.npy. Of the run: run-N-rows.npy, its facts
(pair_facts.py) and, written last, run-N-thresholds.json.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation import pair_facts
from curation.atomic import atomic_write
from curation.embedding import Vectors
from curation.keep_walk import walk
from curation.pair_facts import Facts
from curation.pair_list import Pairs
from curation.pairs import exact_cosines

STEPS = 100  # thresholds in a unit of cosine: 0.01 apart
ROUNDING = 1e-6  # cosines this near a step are computed again: the list holds them in float32
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Summary:
    """What a threshold gives: pairs at or above it, and the groups that they connect."""

    threshold: float
    pairs: int
    clusters: int
    rows_in_clusters: int
    largest_cluster: int
    dropped_by_paper_rule: int  # rows that fall when every pair counts and nobody is asked


def rows_file(pairs: Path, run_id: int) -> Path:
    return pairs / f"run-{run_id}-rows.npy"


def thresholds_file(pairs: Path, run_id: int) -> Path:
    return pairs / f"run-{run_id}-thresholds.json"


def are_there(pairs: Path, run_id: int, folder: str | None) -> bool:
    """Say whether every file of a run's tables exists. `folder` is None for runs older than the tables."""
    if folder is None:
        return False
    named = [pairs / folder / f"{name}.npy" for name in ("pairs", "order", "paired", "clusters")]
    own = [rows_file(pairs, run_id), *pair_facts.files(pairs, run_id), thresholds_file(pairs, run_id)]
    return all(file.is_file() for file in [*named, *own])


def steps_from(floor: float) -> list[float]:
    """Give the floor and every hundredth above it, up to 1."""
    first = int(np.floor(floor * STEPS + 1e-9)) + 1
    return [floor, *(number / STEPS for number in range(first, STEPS + 1))]


def write_tables(
    pairs_folder: Path, run_id: int, folder: str, found: Pairs, vectors: Vectors, floor: float,
    seqs: npt.NDArray[np.int64], facts: Facts,
) -> None:  # fmt: skip
    """Work out and keep the tables of a run.

    Seconds for 110,000 rows and 450,000 pairs; memory: about 100 bytes a pair.
    """
    order = np.argsort(-found["cosine"], kind="stable").astype(np.int32)
    cosine = _cosines_to_compare(found, vectors)
    # Pairs moved by rounding would break the order; the steps cut by their own cosines.
    by_cosine = np.argsort(-cosine, kind="stable")
    left, right, cosine = found["left"][by_cosine], found["right"][by_cosine], cosine[by_cosine]
    paired = np.unique(np.concatenate([left, right]))
    left, right = np.searchsorted(paired, left), np.searchsorted(paired, right)
    better, worse = _best_first(left, right, facts.rows["rank"][paired])

    summaries, clusters = [], np.full((len(steps_from(floor)), len(paired)), -1, dtype=np.int32)
    for step, threshold in enumerate(steps_from(floor)):
        upto = len(cosine) if step == 0 else int(np.searchsorted(-cosine, -threshold, side="right"))
        clusters[step] = _clusters(left[:upto], right[:upto], len(paired))
        sizes = np.bincount(clusters[step][clusters[step] >= 0])
        dropped = count_dropped(better[:upto], worse[:upto], len(paired))
        largest = int(sizes[0]) if len(sizes) else 0
        summaries.append(Summary(threshold, upto, len(sizes), int(sizes.sum()), largest, dropped))

    _save(pairs_folder / folder / "order.npy", order)
    _save(pairs_folder / folder / "paired.npy", paired.astype(np.int32))
    _save(pairs_folder / folder / "clusters.npy", clusters)
    _save(rows_file(pairs_folder, run_id), seqs.astype(np.int64))
    pair_facts.write(pairs_folder, run_id, facts)
    table = {"folder": folder, "floor": floor, "steps": [asdict(one) for one in summaries]}
    with atomic_write(thresholds_file(pairs_folder, run_id)) as file:
        file.write(json.dumps(table).encode())


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    with atomic_write(path) as file:
        np.save(file, array, allow_pickle=False)


def _cosines_to_compare(found: Pairs, vectors: Vectors) -> npt.NDArray[np.float64]:
    """Give the cosines of the pairs, those near a step from the vectors, so that counts are exact.

    Equal vectors stay at 1, whatever the last bit of their computed cosine is.
    """
    cosine = found["cosine"].astype(np.float64)
    step = np.round(cosine * STEPS) / STEPS
    near = np.flatnonzero((np.abs(cosine - step) < ROUNDING) & (step < 1.0))
    cosine[near] = exact_cosines(vectors, found["left"][near], found["right"][near])
    return cosine


def _best_first(
    left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], rank: Numbers
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Turn each pair so that the row that the keep rule meets first comes first."""
    turned = rank[left] > rank[right]
    return np.where(turned, right, left), np.where(turned, left, right)


def _clusters(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], size: int) -> Numbers:
    """Number the groups that these pairs connect, the largest 0, ties by their first row; -1: no pair."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers = np.full(size, -1, dtype=np.int32)
    if not len(left):
        return numbers
    ones = np.ones(len(left), dtype=np.int8)
    _, label = connected_components(coo_array((ones, (left, right)), shape=(size, size)), directed=False)
    is_paired = np.zeros(size, dtype=bool)
    is_paired[left] = is_paired[right] = True
    _, first, inverse, sizes = np.unique(
        label[is_paired], return_index=True, return_inverse=True, return_counts=True
    )
    place = np.empty(len(sizes), dtype=np.int32)
    place[np.lexsort((first, -sizes))] = np.arange(len(sizes), dtype=np.int32)
    numbers[is_paired] = place[inverse]
    return numbers


def count_dropped(better: npt.NDArray[np.int64], worse: npt.NDArray[np.int64], size: int) -> int:
    """Count the rows that the keep rule drops when every pair is beyond doubt."""
    return int(np.count_nonzero(walk(better, worse, size)[1]))
