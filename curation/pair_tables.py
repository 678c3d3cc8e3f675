"""What a page asks of a run's pairs, worked out once: their order by cosine, and what each threshold gives.

Written by the near-duplicates stage beside the pairs; read by `pair_browser`. Of pairs/HASH (the same
for every run over these vectors): order.npy, paired.npy, clusters.npy. Of the run: run-N-rows.npy, its facts
(pair_facts.py), run-N-falls.npy (which rows fall at which level) and, written last, run-N-thresholds.json.
Pairs are read a piece at a time: memory does not grow with their number.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt

from curation import pair_facts
from curation.atomic import atomic_write
from curation.embedding import Vectors
from curation.keep_walk import MET, Walked, walk
from curation.npy_pieces import length_of, pieces, write_pieces
from curation.pair_clusters import Clusters
from curation.pair_facts import Facts
from curation.pair_list import PAIR, Pairs
from curation.pair_order import Sorter
from curation.pairs import exact_cosines
from curation.stage import Progress

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


def falls_file(pairs: Path, run_id: int) -> Path:
    return pairs / f"run-{run_id}-falls.npy"


def thresholds_file(pairs: Path, run_id: int) -> Path:
    return pairs / f"run-{run_id}-thresholds.json"


def are_there(pairs: Path, run_id: int, folder: str | None) -> bool:
    """Say whether every file of a run's tables exists. `folder` is None for runs older than the tables."""
    if folder is None:
        return False
    named = [pairs / folder / f"{name}.npy" for name in ("pairs", "order", "paired", "clusters")]
    own = [
        rows_file(pairs, run_id), *pair_facts.files(pairs, run_id), falls_file(pairs, run_id),
        thresholds_file(pairs, run_id),
    ]  # fmt: skip
    return all(file.is_file() for file in [*named, *own])


def steps_from(floor: float) -> list[float]:
    """Give the floor and every hundredth above it, up to 1."""
    first = int(np.floor(floor * STEPS + 1e-9)) + 1
    return [floor, *(number / STEPS for number in range(first, STEPS + 1))]


def levels_of(floor: float, threshold: float) -> list[float]:
    """Give the cosines at which the keep rule is walked: the steps, and the threshold of the run."""
    return sorted({*steps_from(floor), threshold})


@dataclass(frozen=True)
class Listed:
    """The pairs of a run on the disk, each with the highest level that it reaches."""

    file: Path  # pairs.npy
    vectors: Vectors
    levels: npt.NDArray[np.float64]

    def pieces(self) -> Iterator[tuple[Pairs, npt.NDArray[np.float64], Numbers]]:
        """Give pairs with their cosines as far as levels tell them apart, and the levels."""
        for _, found in pieces(self.file, PAIR):
            cosine = self._cosines_to_compare(found)
            level = np.searchsorted(self.levels, cosine, side="right") - 1
            yield found, cosine, np.maximum(level, 0).astype(np.int32)

    def _cosines_to_compare(self, found: Pairs) -> npt.NDArray[np.float64]:
        """Give the cosines of the pairs, those near a level from the vectors, so that counts are exact.

        Equal vectors stay at 1, whatever the last bit of their computed cosine is.
        """
        cosine = found["cosine"].astype(np.float64)
        above = np.minimum(np.searchsorted(self.levels, cosine), len(self.levels) - 1)
        is_near = (np.abs(cosine - self.levels[above]) < ROUNDING) & (self.levels[above] < 1.0)
        is_near |= np.abs(cosine - self.levels[np.maximum(above - 1, 0)]) < ROUNDING
        near = np.flatnonzero(is_near)
        cosine[near] = exact_cosines(self.vectors, found["left"][near], found["right"][near])
        return cosine

    def by_rank(self, rank: Numbers) -> Iterator[npt.NDArray[np.void]]:
        """Give pairs by the ranks of their rows, as the walk asks for them."""
        for found, _, level in self.pieces():
            one, other = rank[found["left"]], rank[found["right"]]
            met = np.empty(len(found), MET)
            met["earlier"], met["later"] = np.minimum(one, other), np.maximum(one, other)
            met["level"] = level
            yield met


def write_tables(
    pairs_folder: Path, run_id: int, folder: str, vectors: Vectors, floor: float, threshold: float,
    seqs: npt.NDArray[np.int64], facts: Facts, progress: Progress,
) -> None:  # fmt: skip
    """Work out and keep the tables of a run. Raises OSError when the disk is full.

    Memory: about 20 bytes a row and step, and 100 MB; on the disk 10 to 16 bytes a pair meanwhile.
    """
    place, size = pairs_folder / folder, len(seqs)
    listed = Listed(place / "pairs.npy", vectors, np.array(levels_of(floor, threshold)))
    steps = np.searchsorted(listed.levels, steps_from(floor))
    counts, clusters = _sorted_and_grouped(listed, size, place, progress)

    progress("walking the keep rule at every threshold", 0, 0)
    rank = np.asarray(facts.rows["rank"])
    walked = walk(lambda: listed.by_rank(rank), size, len(listed.levels), pairs_folder)
    _save(falls_file(pairs_folder, run_id), walked.falls[rank])

    by_step = np.stack([clusters.largest_first(int(step)) for step in steps])
    paired = np.flatnonzero(by_step[0] >= 0)
    _save(place / "paired.npy", paired.astype(np.int32))
    _save(place / "clusters.npy", by_step[:, paired])
    _save(rows_file(pairs_folder, run_id), seqs.astype(np.int64))
    pair_facts.write(pairs_folder, run_id, facts)
    table = {
        "folder": folder,
        "floor": floor,
        "threshold": threshold,
        "steps": [
            asdict(one)
            for one in _summaries(listed.levels[steps], counts[steps], by_step, walked.falls[:, steps])
        ],
        "bands": _bands(walked, steps),
    }
    with atomic_write(thresholds_file(pairs_folder, run_id)) as file:
        file.write(json.dumps(table).encode())


def _sorted_and_grouped(
    listed: Listed, size: int, place: Path, progress: Progress
) -> tuple[npt.NDArray[np.int64], Clusters]:
    """Write the order of the pairs; give the number at or above each level, and what they connect."""
    counts = np.zeros(len(listed.levels), np.int64)
    clusters, done, total = Clusters(size, len(listed.levels)), 0, length_of(listed.file, PAIR) or 0
    with TemporaryFile(dir=place) as cosines, TemporaryFile(dir=place) as numbers:
        sorter = Sorter(cosines, numbers)
        for found, cosine, level in listed.pieces():
            progress("sorting pairs", done, total)
            sorter.add(cosine)
            clusters.add(found["left"], found["right"], level)
            counts += np.bincount(level, minlength=len(counts))
            done += len(found)
        write_pieces(place / "order.npy", np.dtype(np.int32), sorter.numbers())
    return np.cumsum(counts[::-1])[::-1], clusters


def _summaries(
    steps: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], clusters: Numbers,
    falls: npt.NDArray[np.bool_],
) -> Iterator[Summary]:  # fmt: skip
    for number, step in enumerate(steps.tolist()):
        sizes = np.bincount(clusters[number][clusters[number] >= 0])
        largest = int(sizes[0]) if len(sizes) else 0
        dropped = int(np.count_nonzero(falls[:, number]))
        yield Summary(step, int(counts[number]), len(sizes), int(sizes.sum()), largest, dropped)


def _bands(walked: Walked, steps: npt.NDArray[np.int64]) -> dict[str, list[list[int]]]:
    """Say of every band from a step up to another one what it would bring (`pair_what_if.Bands`)."""
    below = [np.cumsum(table, axis=1) - table for table in (walked.rows, walked.questions)]
    gray, questions = (table[np.ix_(steps, steps)] for table in below)
    sure = walked.rows.sum(axis=1)[steps][:, None] - gray
    return {"sure": sure.tolist(), "gray": gray.tolist(), "questions": questions.tolist()}


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    with atomic_write(path) as file:
        np.save(file, array, allow_pickle=False)
