"""Looking at near-duplicates: any threshold, any page of pairs, any cluster, without waiting.

Everything that takes time was worked out by the stage (pair_tables); here files are mapped and cut.
Cosines below the run's threshold are float32; a threshold between two steps of the table shows the clusters
of the step below it.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from curation import pair_facts, pair_settings, second_opinions
from curation.errors import DamagedWorkspace, WrongInput
from curation.npy_pieces import AT_ONCE, pieces
from curation.pair_facts import KINDS, Facts
from curation.pair_list import PAIR, Pairs
from curation.pair_tables import (
    ROUNDING,
    Numbers,
    Summary,
    falls_file,
    levels_of,
    rows_file,
    thresholds_file,
)
from curation.second_opinions import KINDS as KINDS_OF_OPINION
from curation.second_opinions import OPINION, Opinions
from curation.store import pair_rows, runs
from curation.store.browsing import change_stamp
from curation.store.database import Connection, Database, Row
from curation.workspace import Workspace

BIN = 0.01
BELOW = "below the threshold"
NOT_DECIDING = "not deciding"
ORDERS = ("most", "least")  # alike first
KEPT, PENDING, DROPPED = 0, 1, 2
STATES = ("kept", "pending", "dropped")


@dataclass(frozen=True)
class PairLine:
    """Two rows that resemble each other, and what the run made of that."""

    left: Row[Any]  # whole sample rows
    right: Row[Any]
    cosine: float
    response_cosine: float | None  # None: not looked at
    decision: str  # "below the threshold", "drop", "ask", "over budget", "not deciding", or a verdict
    item: str | None  # ID@VERSION of the question about it


@dataclass(frozen=True)
class Cluster:
    """Rows that pairs connect."""

    number: int  # 0 is the largest at this threshold
    rows: int
    seq: int  # of its first row: what `cluster` takes
    example: str  # the instruction of that row
    states: dict[str, int]  # kept, pending, dropped


@dataclass(frozen=True)
class Member:
    """A row of a cluster."""

    sample: Row[Any]
    state: str
    reason: str | None  # of its rejection
    keepers: list[tuple[str, float]]  # kept rows it resembles: ids and cosines, closest first


@dataclass(frozen=True)
class Only:
    """Which pairs are wanted: those in which one of the rows is like that. "": any."""

    source: str = ""
    against: str = ""  # the source of the other row
    method: str = ""
    language: str = ""

    def __bool__(self) -> bool:
        return bool(self.source or self.against or self.method or self.language)


ANY = Only()


DECIDED = np.dtype([("left", "<i4"), ("right", "<i4"), ("cosine", "<f8")])


class Picked(NamedTuple):
    """Some pairs of a list, by the places of their rows in the run."""

    numbers: npt.NDArray[Any]  # in the list, most alike first
    pairs: Pairs

    def page(self, order: str, offset: int, size: int) -> Pairs:
        turn = slice(None) if order == "most" else slice(None, None, -1)
        return np.asarray(self.pairs[self.numbers[turn][offset : offset + size]])


class PairBrowser:
    """The pairs of the current near-duplicates run. Safe to share between threads."""

    def __init__(self, workspace: Workspace, run: Row[Any]) -> None:
        """Map the files of a run. Raises DamagedWorkspace when one is missing or damaged."""
        self._db: Database = workspace.database
        self.run_id: int = run.id
        self._folder = workspace.pairs
        self.threshold: float = run.settings["threshold"]
        self._lowest = min(self.threshold, pair_settings.settings_of(run).low)
        folder = run.report.get("pairs_folder")
        if folder is None:
            raise _too_old(run)
        place = workspace.pairs / str(folder)
        self._list = place / "pairs.npy"
        self.pairs: Pairs = _mapped(self._list, PAIR)
        self.order: Numbers = _mapped(place / "order.npy", np.dtype(np.int32))  # numbers, most alike first
        self._paired: Numbers = _mapped(place / "paired.npy", np.dtype(np.int32))
        self._clusters: Numbers = _mapped(place / "clusters.npy", np.dtype(np.int32))
        self.seqs: npt.NDArray[np.int64] = _mapped(rows_file(workspace.pairs, run.id), np.dtype(np.int64))
        self.facts = _read_facts(workspace.pairs, run.id)
        if not falls_file(workspace.pairs, run.id).is_file():
            raise _too_old(run)
        self._falls: npt.NDArray[np.bool_] = _mapped(falls_file(workspace.pairs, run.id), np.dtype(bool))
        file = thresholds_file(workspace.pairs, run.id)
        self.floor, self._steps, self.bands = _read_table(file)
        self._levels = levels_of(self.floor, self.threshold)
        if (
            len(self.order) != len(self.pairs)
            or self._clusters.shape != (len(self._steps), len(self._paired))
            or self._falls.shape != (len(self.seqs), len(self._levels))
        ):
            raise _damaged(file)
        self._counts: dict[tuple[str, str, float, float], int] = {}
        self._found: tuple[Any, Picked] | None = None
        self._states: tuple[str, npt.NDArray[np.int8]] | None = None

    @classmethod
    def open(cls, workspace: Workspace) -> "PairBrowser | None":
        """Open the current run's pairs; None when near-duplicates never ran.

        Raises DamagedWorkspace when a file of the run is missing or damaged.
        """
        run = runs.current(workspace.database, pair_settings.STAGE)
        return None if run is None else cls(workspace, run)

    @property
    def pairs_at_floor(self) -> int:
        return len(self.pairs)

    @property
    def steps(self) -> list[float]:
        """Give the floor and every hundredth above it, up to 1."""
        return [step.threshold for step in self._steps]

    @property
    def cluster_counts(self) -> list[int]:
        """Count the clusters from each step on."""
        return [step.clusters for step in self._steps]

    def samples(self, seqs: Sequence[int]) -> dict[int, Row[Any]]:
        """Give whole sample rows by their numbers."""
        with self._db.reading() as connection:
            return pair_rows.samples_of(connection, seqs)

    # --- second opinions ---

    @cached_property
    def opinions(self) -> Opinions | None:
        """Give what words and code say, by the places of the rows; None: the run was not asked.

        Raises DamagedWorkspace when the file is damaged.
        """
        try:
            return second_opinions.read(self._folder, self.run_id)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(second_opinions.opinions_file(self._folder, self.run_id)) from error

    def repeats(self, kind: str, both_stay: bool) -> Opinions:
        """Give the rows whose words or code repeat another's, the most alike first; `both_stay`: only where
        neither is dropped."""
        found = self.opinions
        if found is None:
            return np.empty(0, dtype=OPINION)
        found = found[found["kind"] == KINDS_OF_OPINION.index(kind)]
        if both_stay:
            with self._db.reading() as connection:
                states = self._states_now(connection)
            found = found[(states[found["left"]] != DROPPED) & (states[found["right"]] != DROPPED)]
        order = np.lexsort((found["left"], -found["score"]))
        return np.asarray(found[order])

    # --- thresholds ---

    def histogram(self) -> list[tuple[float, float, int]]:
        """Count the pairs in bins of 0.01 from the floor to 1: (low, high, count), high not included."""
        edges = [step.threshold for step in self._steps]
        counts = [self.count(low, high) for low, high in zip(edges, [*edges[1:], 1.0 + BIN], strict=True)]
        counts[-2:] = [sum(counts[-2:])]  # pairs of equal vectors belong to the last bin
        return list(zip(edges[:-1], edges[1:], counts, strict=True)) if len(edges) > 1 else []

    def summary(self, threshold: float) -> Summary:
        """Say what a threshold gives. Between two steps the groups are those of the lower one.

        Raises WrongInput below the floor and above 1.
        """
        step = self._steps[self._step(threshold)]
        pairs = self._at_least(threshold)
        return Summary(threshold, pairs, step.clusters, step.rows_in_clusters, step.largest_cluster,
                       step.dropped_by_paper_rule)  # fmt: skip

    def _step(self, threshold: float) -> int:
        if not self.floor <= threshold <= 1.0:
            raise WrongInput(
                f"The threshold {threshold} must lie from {self.floor}, the run's floor, to 1; "
                "for a lower one run near-duplicates with a lower --floor"
            )
        return bisect_right([step.threshold for step in self._steps], threshold + 1e-9) - 1

    def _at_least(self, cosine: float) -> int:
        """Count the pairs at or above a cosine: exactly at the steps, in float32 between them."""
        if cosine > 1.0:
            return 0
        if cosine <= self.floor:
            return len(self.pairs)
        step = self._steps[self._step(cosine)]
        if abs(step.threshold - cosine) < 1e-9:
            return step.pairs
        # A step's own count is the bound: rounding must not let a pair count above it and not at it.
        return min(self._beyond(float(np.float32(cosine))), step.pairs)

    def at_least(self, threshold: float) -> Iterator[Pairs]:
        """Give every pair that `summary` counts at a threshold, in order of left, then right, piece by piece.

        Raises WrongInput below the floor and above 1.
        """
        upto = self.summary(threshold).pairs
        lowest = np.float32(threshold - ROUNDING if threshold > self.floor else -2.0)
        below = np.sort(self.order[upto : self._beyond(float(lowest))])  # by rounding, if at all
        for start, found in pieces(self._list, PAIR):
            keep = found["cosine"] >= lowest
            first, last = np.searchsorted(below, [start, start + len(found)])
            keep[below[first:last] - start] = False
            yield found[keep]

    def _beyond(self, cosine: float) -> int:
        """Count the pairs whose stored cosine is at or above this one."""
        return bisect_right(self.order, -cosine, key=lambda number: -float(self.pairs[number]["cosine"]))

    def falls(self, threshold: float) -> npt.NDArray[np.bool_]:
        """Say of each row whether it falls by the rule alone; between two steps as at the lower one.

        Raises WrongInput below the floor and above 1.
        """
        self._step(threshold)
        return np.asarray(self._falls[:, bisect_right(self._levels, threshold + 1e-9) - 1])

    # --- pages ---

    def count(self, low: float, high: float = 1.0, decision: str | None = None, only: Only = ANY) -> int:
        """Count the pairs with low <= cosine < high; high = 1 takes in all from low on."""
        if only:
            return len(self._picked(low, high, decision, only).numbers)
        low, high, decision = self._range(low, high, decision)
        if decision is None:
            return max(0, self._at_least(low) - self._at_least(high))
        key = (change_stamp(self._db), decision, low, high)
        if key not in self._counts:
            with self._db.reading() as connection:
                number = pair_rows.count_decided(connection, self.run_id, decision, low, high)
            self._counts = {k: n for k, n in self._counts.items() if k[0] == key[0]} | {key: number}
        return self._counts[key]

    def page(
        self, low: float, high: float = 1.0, order: str = "most", offset: int = 0, size: int = 20,
        decision: str | None = None, only: Only = ANY,
    ) -> list[PairLine]:  # fmt: skip
        """Give pairs with low <= cosine < high, the most or the least alike first.

        `decision`: only pairs that decided so; `only`: only pairs of such rows. Raises WrongInput
        for an unknown order or "not deciding".
        """
        if order not in ORDERS:
            raise WrongInput(f"There is no order {order!r}; choose one of {', '.join(ORDERS)}")
        if only:
            return self._picked_page(self._picked(low, high, decision, only), order, offset, size)
        low, high, decision = self._range(low, high, decision)
        with self._db.reading() as connection:
            if decision is not None:
                return self._decided(connection, decision, low, high, order, offset, size)
            begin, end = self._at_least(high), self._at_least(low)
            first = begin + offset if order == "most" else max(begin, end - offset - size)
            last = min(end, first + size) if order == "most" else end - offset
            numbers = self.order[first : max(first, last)]
            found = self.pairs[numbers if order == "most" else numbers[::-1]]
            return self._lines(connection, found)

    def _picked(self, low: float, high: float, decision: str | None, only: Only) -> Picked:
        """Give the pairs that are wanted, most alike first. The last answer is kept: pages turn in it."""
        key = (change_stamp(self._db), low, high, decision, only)
        known = self._found
        if known is not None and known[0] == key:
            return known[1]
        low, high, decision = self._range(low, high, decision)
        if decision is None:
            picked = self._stored(low, high, only)
        else:
            with self._db.reading() as connection:
                rows = pair_rows.all_decided(connection, self.run_id, decision, low, high)
            found = np.empty(len(rows), dtype=DECIDED)
            found["left"] = np.searchsorted(self.seqs, [row.left_seq for row in rows])
            found["right"] = np.searchsorted(self.seqs, [row.right_seq for row in rows])
            found["cosine"] = [row.cosine for row in rows]
            picked = Picked(np.flatnonzero(self._are_wanted(found, only)), found)
        self._found = (key, picked)
        return picked

    def _stored(self, low: float, high: float, only: Only) -> Picked:
        """Give wanted pairs of the list: looked through as it lies on the disk, then put in order."""
        keep = np.empty(len(self.pairs), dtype=bool)
        for start, found in pieces(self._list, PAIR):
            keep[start : start + len(found)] = self._are_wanted(found, only)
        numbers = self.order[self._at_least(high) : self._at_least(low)]
        parts = (numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE))
        wanted = [part[keep[part]] for part in parts]
        return Picked(np.concatenate(wanted or [np.empty(0, np.int32)]), self.pairs)

    def _are_wanted(self, found: Pairs, only: Only) -> npt.NDArray[np.bool_]:
        left, right = self.facts.rows[found["left"]], self.facts.rows[found["right"]]
        keep = np.ones(len(left), dtype=bool)
        code = {kind: _place_in(self.facts.words[kind], getattr(only, kind)) for kind in KINDS}
        for kind in ("method", "language"):
            if code[kind] is not None:
                keep &= (left[kind] == code[kind]) | (right[kind] == code[kind])
        one, other = code["source"], _place_in(self.facts.words["source"], only.against)
        if one is not None and other is not None:
            straight = (left["source"] == one) & (right["source"] == other)
            keep &= straight | ((left["source"] == other) & (right["source"] == one))
        elif one is not None or other is not None:
            wanted = one if one is not None else other
            keep &= (left["source"] == wanted) | (right["source"] == wanted)
        return keep

    def _picked_page(self, picked: Picked, order: str, offset: int, size: int) -> list[PairLine]:
        with self._db.reading() as connection:
            return self._lines(connection, picked.page(order, offset, size))

    def _range(self, low: float, high: float, decision: str | None) -> tuple[float, float, str | None]:
        if decision == NOT_DECIDING:
            raise WrongInput(
                f"Pairs that are {NOT_DECIDING} have no list of their own; leave the decision out"
            )
        low = max(low, self.floor)
        high = high if high < 1.0 else 2.0
        if decision == BELOW:
            return low, min(high, self._lowest), None
        return low, high, decision

    def _decided(
        self,
        connection: Connection,
        decision: str,
        low: float,
        high: float,
        order: str,
        offset: int,
        size: int,
    ) -> list[PairLine]:
        found = pair_rows.decided(connection, self.run_id, decision, low, high, offset, size, order == "most")
        ends = [(row.left_seq, row.right_seq) for row in found]
        return self._described(connection, ends, [row.cosine for row in found])

    def _lines(self, connection: Connection, found: Pairs) -> list[PairLine]:
        left, right = self.seqs[found["left"]].tolist(), self.seqs[found["right"]].tolist()
        return self._described(connection, list(zip(left, right, strict=True)), found["cosine"].tolist())

    def _described(
        self, connection: Connection, ends: Sequence[tuple[int, int]], cosines: Sequence[float]
    ) -> list[PairLine]:
        decided = pair_rows.of_pairs(connection, self.run_id, ends)
        seqs = [seq for both in ends for seq in both]
        samples = pair_rows.samples_of(connection, seqs)
        versions = pair_rows.versions_of(connection, [row.item_id for row in decided.values() if row.item_id])
        lines = []
        for (left, right), cosine in zip(ends, cosines, strict=True):
            row = decided.get((left, right))
            item = (
                None
                if row is None or row.item_id not in versions
                else f"{row.item_id}@{versions[row.item_id]}"
            )
            lines.append(PairLine(
                samples[left], samples[right], cosine if row is None else row.cosine,
                None if row is None else row.response_cosine,
                self._decision(row, cosine), item,
            ))  # fmt: skip
        return lines

    def _decision(self, row: Row[Any] | None, cosine: float) -> str:
        if row is None:
            return NOT_DECIDING if cosine >= np.float32(self._lowest) else BELOW
        return str(row.decision)

    # --- clusters ---

    def clusters(self, threshold: float, offset: int = 0, size: int = 20) -> list[Cluster]:
        """Give the groups that pairs at or above a threshold connect, the largest first."""
        labels = self._clusters[self._step(threshold)]
        last = min(offset + size, self._steps[self._step(threshold)].clusters)
        found = np.flatnonzero((labels >= offset) & (labels < last))
        found = found[np.argsort(labels[found], kind="stable")]
        begins = (
            np.searchsorted(labels[found], np.arange(offset, last + 1)) if last > offset else np.zeros(1, int)
        )
        groups = [self._paired[found[a:b]] for a, b in pairwise(begins)]
        with self._db.reading() as connection:
            states = self._states_now(connection)
            firsts = [int(self.seqs[group[0]]) for group in groups]
            samples = pair_rows.samples_of(connection, firsts)
        return [
            Cluster(offset + number, len(group), seq, samples[seq].instruction, _sums(states[group]))
            for number, (group, seq) in enumerate(zip(groups, firsts, strict=True))
        ]

    def cluster_sizes(self, threshold: float) -> dict[str, int]:
        """Count the groups by how many rows they hold."""
        labels = self._clusters[self._step(threshold)]
        sizes = np.bincount(labels[labels >= 0])
        low = [2, 3, 6, 11, 51, 101]
        named = ["2", "3 to 5", "6 to 10", "11 to 50", "51 to 100", "over 100"]
        counts = np.bincount(np.searchsorted(low, sizes, side="right") - 1, minlength=len(low))
        return dict(zip(named, counts.tolist(), strict=True))

    def states_of(self, seqs: Sequence[int]) -> list[str]:
        """Say of rows of the run, by their numbers, what it made of them: kept, pending or dropped."""
        with self._db.reading() as connection:
            states = self._states_now(connection)
        return [STATES[states[place]] for place in np.searchsorted(self.seqs, list(seqs))]

    def cluster(self, threshold: float, seq: int, limit: int = 50) -> list[Member]:
        """Give rows of the cluster that holds this one: kept first, then pending, then dropped.

        Empty when no pair at or above the threshold holds the row.
        """
        group = self._group_of(threshold, seq)
        if not len(group):
            return []
        with self._db.reading() as connection:
            states = self._states_now(connection)
            shown = group[np.argsort(states[group], kind="stable")][:limit]
            seqs = [int(number) for number in self.seqs[shown]]
            samples = pair_rows.samples_of(connection, seqs)
            reasons = pair_rows.reasons(connection, self.run_id, seqs)
            near = self._keepers(threshold, shown, states)
            named = pair_rows.samples_of(connection, [one for found in near for one, _ in found])
        return [
            Member(samples[one], STATES[states[place]],
                   reasons.get(one) if states[place] == DROPPED else None,
                   [(named[keeper].id, cosine) for keeper, cosine in found])
            for one, place, found in zip(seqs, shown, near, strict=True)
        ]  # fmt: skip

    def _group_of(self, threshold: float, seq: int) -> Numbers:
        labels = self._clusters[self._step(threshold)]
        place = int(np.searchsorted(self.seqs, seq))
        at = int(np.searchsorted(self._paired, place))
        is_there = place < len(self.seqs) and self.seqs[place] == seq
        if not is_there or at >= len(self._paired) or self._paired[at] != place or labels[at] < 0:
            return np.empty(0, dtype=np.int32)
        return np.asarray(self._paired[labels == labels[at]])

    def _keepers(
        self, threshold: float, shown: Numbers, states: npt.NDArray[np.int8], most: int = 5
    ) -> list[list[tuple[int, float]]]:
        """Give the kept rows that each row resembles: seqs and cosines, the closest few first."""
        is_shown = np.zeros(len(self.seqs), dtype=bool)
        is_shown[shown] = True
        near: dict[int, list[tuple[int, float]]] = {int(place): [] for place in shown}
        for found in self.at_least(threshold):
            found = found[is_shown[found["left"]] | is_shown[found["right"]]]
            for left, right, cosine in found.tolist():
                for one, other in ((left, right), (right, left)):
                    if one in near and states[other] == KEPT:
                        near[one].append((int(self.seqs[other]), cosine))
        return [sorted(found, key=lambda one: (-one[1], one[0]))[:most] for found in near.values()]

    def _states_now(self, connection: Connection) -> npt.NDArray[np.int8]:
        """Give the state of each row of the run, kept until something changes."""
        stamp = change_stamp(self._db)
        known = self._states
        if known is not None and known[0] == stamp:
            return known[1]
        states = np.zeros(len(self.seqs), dtype=np.int8)
        for state in (PENDING, DROPPED):
            seqs = pair_rows.seqs_in_state(connection, self.run_id, STATES[state])
            states[np.searchsorted(self.seqs, np.array(seqs, dtype=np.int64))] = state
        self._states = (stamp, states)
        return states


def _place_in(words: Sequence[str], wanted: str) -> int | None:
    """Give the place of a word; None: any will do; -1: no row is like that."""
    if not wanted:
        return None
    return words.index(wanted) if wanted in words else -1


def _read_facts(pairs: Path, run_id: int) -> Facts:
    try:
        return pair_facts.read(pairs, run_id)
    except (OSError, ValueError, KeyError, EOFError, TypeError) as error:
        raise _damaged(pair_facts.files(pairs, run_id)[0]) from error


def _sums(states: npt.NDArray[np.int8]) -> dict[str, int]:
    counts = np.bincount(states, minlength=len(STATES))
    return {state: int(counts[number]) for number, state in enumerate(STATES)}


def _damaged(file: Path) -> DamagedWorkspace:
    return DamagedWorkspace(
        f"{file} is missing or damaged; remove it and run `python -m curation near-duplicates` again"
    )


def _mapped(file: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Map a file of numbers. Raises DamagedWorkspace when it is missing, cut short or of another kind."""
    try:
        found: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        try:  # a file without numbers cannot be mapped
            found = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(file) from error
    if found.dtype != dtype:
        raise _damaged(file)
    return found


def _too_old(run: Row[Any]) -> DamagedWorkspace:
    return DamagedWorkspace(
        f"Run {run.id} was made by an older Winnow, which noted less of pairs. Run near-duplicates again: "
        "texts and pairs are not computed again, and verdicts hold"
    )


def _read_table(file: Path) -> tuple[float, list[Summary], dict[str, npt.NDArray[np.int64]]]:
    try:
        table = json.loads(file.read_bytes())
        bands = {name: np.array(found, dtype=np.int64) for name, found in table["bands"].items()}
        return float(table["floor"]), [Summary(**step) for step in table["steps"]], bands
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(file) from error
