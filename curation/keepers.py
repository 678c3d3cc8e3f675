"""Which of the look-alikes stays: the keep rule, as a pure function over a graph of pairs.

Rows are walked best first. A row with no kept neighbour is kept; any other row conflicts with kept rows
and is dropped, asked about, or left to a person. So a row is only ever dropped for a row that itself
stays and that it directly resembles: never both halves of a pair, never a chain of look-alikes.
Source: Platypus section 2.2 and data_similarity.ipynb; verdicts as in docs/architecture.md.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curation.earlier_pairs import Records, by_later

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
MET = np.dtype(
    [("later", "<i4"), ("earlier", "<i4"), ("number", "<i8"), ("cosine", "<f8"), ("zone", "<i1")]
)  # a place in the walk, a row before it, and their pair


class Zone(IntEnum):
    """What the default policy says of a pair."""

    DROP = 0  # alike beyond doubt
    BAND = 1  # in the gray band: ask
    RESPONSE = 2  # instructions alike beyond doubt, responses not: ask


class Ruling(IntEnum):
    """What people settled about a pair."""

    KEEP_BOTH = 0
    LEFT = 1  # the left row is the better one
    RIGHT = 2
    DROP_BOTH = 3


class Fate(IntEnum):
    """What becomes of a row, and why."""

    KEPT = 0
    NEAR_DUPLICATE = 1  # dropped: beyond doubt
    OVER_BUDGET = 2  # dropped: gray, but there was no review left to spend (the paper's rule)
    BY_VERDICT = 3  # dropped by a person
    ASKED = 4  # pending: a person is asked
    RESCUED = 5  # pending: a person put it back


DROPPED = (Fate.NEAR_DUPLICATE, Fate.OVER_BUDGET, Fate.BY_VERDICT)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some pairs of a graph, left != right. Rows are numbered by id, so that ties go to the smaller id."""

    number: Integers  # of each pair: what names it in rulings and decisions
    left: Integers
    right: Integers
    cosine: npt.NDArray[np.float64]
    zone: npt.NDArray[np.integer[Any]]


class Pairs(Protocol):
    """Pairs among the rows 0..size-1, however many: memory need not hold them at once."""

    @property
    def size(self) -> int: ...

    def pieces(self) -> Iterable[Piece]:
        """Give every pair once, numbers ascending."""

    def at(self, numbers: Integers) -> Piece:
        """Give single pairs, by ascending numbers."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Pairs in memory, numbered as they stand."""

    size: int
    left: Integers
    right: Integers
    cosine: npt.NDArray[np.float64]
    zone: Integers

    def pieces(self) -> Iterable[Piece]:
        return [self.at(np.arange(len(self.left)))]

    def at(self, numbers: Integers) -> Piece:
        return Piece(
            numbers, self.left[numbers], self.right[numbers], self.cosine[numbers], self.zone[numbers]
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """How open questions are treated."""

    middle: float  # of the gray band: the most uncertain cosine
    budget: int  # pairs that may be asked
    asked_before: frozenset[tuple[int, int]] = frozenset()  # pairs already counted against the budget
    open_pairs: str = "ask"  # or, at assembly: "drop" (the paper's rule), "keep" (gray edges do not count)
    pending: frozenset[int] = frozenset()  # with "keep": the rows whose gray edges no longer count


@dataclass
class Decisions:
    """The fate of each row, with what shows it."""

    fate: npt.NDArray[np.int8]
    edge: Integers  # row -> number of the pair that decided, or -1
    asked: list[int] = field(default_factory=list)  # numbers of the pairs to ask, most uncertain first


@dataclass(frozen=True)
class People:
    """What people settled, by row."""

    beats: Mapping[int, tuple[int, int]]  # number of a pair -> the better row, the worse one
    out: Mapping[int, Sequence[int]]  # row -> pairs of which both are to go
    chosen: frozenset[int]  # rows that a person decided to keep
    rescued: Collection[int]
    disputed: Collection[int]  # pairs on which people disagree: they stay questions, whatever the budget

    @classmethod
    def of(
        cls,
        settled: Piece,
        rulings: Mapping[int, Ruling],
        rescued: Collection[int],
        disputed: Collection[int],
    ) -> "People":
        beats: dict[int, tuple[int, int]] = {}
        out: dict[int, list[int]] = {}
        chosen: set[int] = set()
        columns = (settled.number, settled.left, settled.right)
        for number, left, right in zip(*(column.tolist() for column in columns), strict=True):
            ruling = rulings[number]
            if ruling == Ruling.KEEP_BOTH:
                chosen.update((left, right))
            elif ruling == Ruling.DROP_BOTH:
                out.setdefault(left, []).append(number)
                out.setdefault(right, []).append(number)
            else:
                beats[number] = (left, right) if ruling == Ruling.LEFT else (right, left)
                chosen.add(beats[number][0])
        return cls(beats, out, frozenset(chosen), rescued, disputed)


def decide(
    pairs: Pairs,
    order: Sequence[int],
    policy: Policy,
    rulings: Mapping[int, Ruling],
    rescued: Collection[int] = (),
    disputed: Collection[int] = (),
    spool: Path | None = None,
) -> Decisions:
    """Walk the rows of a graph best first and give the fate of each.

    `order` lists every row once, best first; `rulings` maps numbers of pairs to what people settled;
    `disputed` are pairs on which people disagree: they stay questions, whatever the budget. `spool`: a folder
    for pairs beyond what memory should hold. Raises OSError when it is full.
    """
    settled = pairs.at(np.array(sorted(rulings), dtype=np.int64))
    people = People.of(settled, rulings, rescued, disputed)
    walk = np.array(_respecting(order, list(people.beats.values())), dtype=np.int64)
    place = np.empty(pairs.size, np.int32)
    place[walk] = np.arange(pairs.size)
    counts = _counting(policy, rulings, pairs.size)

    def records() -> Iterator[Records]:
        return (_met(piece, place, counts(piece)) for piece in pairs.pieces())

    decisions = Decisions(np.zeros(pairs.size, np.int8), np.full(pairs.size, -1, np.int64))
    for row, numbers in people.out.items():
        _settle(decisions, row, Fate.BY_VERDICT, _closest(row, _of_row(settled, row, numbers)))
    gray = []
    for row, met in _conflicts(by_later(records, pairs.size, spool), walk, people.out):
        fate, closest = _judged(people, row, met)
        if fate is None:
            gray.append(Gray(row, _worth(policy, row, met), _new(policy, row, met), closest))
        else:
            _settle(decisions, row, fate, closest)
    _spend(policy, decisions, gray)
    decisions.asked = _asked(records, policy, walk, decisions)
    return decisions


def _of_row(settled: Piece, row: int, numbers: Sequence[int]) -> Records:
    """Give pairs of a row in the form of the walk."""
    wanted = np.isin(settled.number, numbers)
    met = np.zeros(int(wanted.sum()), MET)
    met["earlier"] = (settled.left + settled.right - row)[wanted]
    met["number"], met["cosine"] = settled.number[wanted], settled.cosine[wanted]
    return met


def _conflicts(
    by_row: Iterable[tuple[int, Records]], walk: Integers, out: Collection[int]
) -> Iterator[tuple[int, Records]]:
    """Give each row that resembles rows that stay and were walked before it, with its pairs with those."""
    stays = np.ones(len(walk), dtype=bool)
    stays[list(out)] = False
    for later, met in by_row:
        row = int(walk[later])
        met = met[stays[met["earlier"]]]
        if stays[row] and len(met):
            stays[row] = False
            yield row, met


def _met(piece: Piece, place: npt.NDArray[np.int32], counts: Mask) -> Records:
    """Turn pairs so that the row that is walked first is the earlier one."""
    left, right = piece.left[counts], piece.right[counts]
    is_turned = place[left] > place[right]
    met = np.empty(len(left), MET)
    met["later"] = place[np.where(is_turned, left, right)]
    met["earlier"] = np.where(is_turned, right, left)
    met["number"], met["cosine"], met["zone"] = piece.number[counts], piece.cosine[counts], piece.zone[counts]
    return met


def _counting(policy: Policy, rulings: Mapping[int, Ruling], size: int) -> Callable[[Piece], Mask]:
    """Say which pairs still say something: people have not called them different."""
    pending = np.zeros(size, dtype=bool)
    if policy.open_pairs == "keep":
        pending[list(policy.pending)] = True
    # A pair that people ruled on otherwise counts, whoever is pending.
    different = np.array([n for n, ruling in rulings.items() if ruling == Ruling.KEEP_BOTH], np.int64)
    ruled = np.array(list(rulings), np.int64)

    def counts(piece: Piece) -> Mask:
        is_open = (pending[piece.left] | pending[piece.right]) & (piece.zone != Zone.DROP)
        says = ~is_open | np.isin(piece.number, ruled)
        return np.asarray(says & ~np.isin(piece.number, different))

    return counts


@dataclass(frozen=True, slots=True)
class Gray:
    """A row of which only gray pairs speak."""

    row: int
    worth: tuple[bool, float, int, int]  # of its most uncertain pair: the smallest is asked first
    new: int  # pairs that were not asked before
    closest: int


def _judged(people: People, row: int, met: Records) -> tuple[Fate | None, int]:
    """Settle a row by the pairs that speak against it, and name the one that decides; None: all are gray."""
    numbers = met["number"].tolist() if people.beats or people.disputed else []
    lost = np.array([number in people.beats and people.beats[number][1] == row for number in numbers], bool)
    if lost.any():
        return Fate.BY_VERDICT, _closest(row, met[lost])
    if row in people.rescued:
        return Fate.RESCUED, _closest(row, met)
    if row in people.chosen:  # a person's keep is never dropped by a machine: ask instead
        return Fate.ASKED, _closest(row, met)
    sure = met["zone"] == Zone.DROP
    argued = np.array([number in people.disputed for number in numbers], bool)
    if numbers:
        sure = (sure & ~argued) | np.array([number in people.beats for number in numbers])
    if sure.any():
        return Fate.NEAR_DUPLICATE, _closest(row, met[sure])
    return Fate.ASKED if argued.any() else None, _closest(row, met)


def _closest(row: int, met: Records) -> int:
    """Give the pair of a row with the greatest cosine; ties go to the smaller ids."""
    most = met[met["cosine"] == met["cosine"].max()]
    smaller, greater = np.minimum(row, most["earlier"]), np.maximum(row, most["earlier"])
    return int(most["number"][np.lexsort((greater, smaller))[0]])


def _new(policy: Policy, row: int, met: Records) -> int:
    """Count the pairs of a row that were not asked before."""
    if not policy.asked_before:
        return len(met)
    ends = ((row, other) for other in met["earlier"].tolist())
    return sum(not ({pair, pair[::-1]} & policy.asked_before) for pair in ends)


def _worth(policy: Policy, row: int, met: Records) -> tuple[bool, float, int, int]:
    other = met["earlier"]
    first = _most_uncertain(policy, met["zone"], met["cosine"], np.full(len(other), row), other)[0]
    far = abs(float(met["cosine"][first]) - policy.middle)
    ends = sorted((row, int(other[first])))
    return bool(met["zone"][first] == Zone.RESPONSE), far, ends[0], ends[1]


def _most_uncertain(
    policy: Policy, zone: npt.NDArray[np.integer[Any]], cosine: npt.NDArray[np.float64], one: Integers,
    other: Integers,
) -> Integers:  # fmt: skip
    """Order pairs by how much a person's look is worth: nearest the middle of the band first, then
    those whose instructions agree and responses do not (design.md, the table of defaults)."""
    keys = (np.maximum(one, other), np.minimum(one, other), np.abs(cosine - policy.middle))
    return np.asarray(np.lexsort((*keys, zone == Zone.RESPONSE)))


def _asked(
    records: Callable[[], Iterable[Records]], policy: Policy, walk: Integers, decisions: Decisions
) -> list[int]:
    """Number the pairs of rows that people are asked about, the most uncertain first."""
    is_asked, stays = decisions.fate == Fate.ASKED, decisions.fate == Fate.KEPT
    if not is_asked.any():
        return []
    found = [part[is_asked[walk[part["later"]]] & stays[part["earlier"]]] for part in records()]
    asked = np.concatenate(found)
    order = _most_uncertain(policy, asked["zone"], asked["cosine"], walk[asked["later"]], asked["earlier"])
    return [int(number) for number in asked["number"][order]]


def _respecting(order: Sequence[int], better: Sequence[tuple[int, int]]) -> list[int]:
    """Keep the order, but let each winner come before its loser. Where people contradict each other
    in a circle, the order decides."""
    if not better:
        return list(order)
    rank = {row: number for number, row in enumerate(order)}
    losers_of: dict[int, list[int]] = {}
    winners_of: dict[int, list[int]] = {}
    waits = dict.fromkeys(rank, 0)
    for winner, loser in set(better):
        losers_of.setdefault(winner, []).append(loser)
        winners_of.setdefault(loser, []).append(winner)
        waits[loser] += 1
    ready = [rank[row] for row in order if not waits[row]]
    heapq.heapify(ready)
    blocked = sorted(rank[row] for row in order if waits[row])
    walk: list[int] = []
    done: set[int] = set()
    while len(walk) < len(order):
        if not ready:
            waiting = next(order[place] for place in blocked if order[place] not in done)
            heapq.heappush(ready, min(rank[row] for row in _circle_above(waiting, winners_of, done)))
        place = heapq.heappop(ready)
        row = order[place]
        if row in done:
            continue
        done.add(row)
        walk.append(row)
        for loser in losers_of.get(row, ()):
            waits[loser] -= 1
            if not waits[loser] and loser not in done:
                heapq.heappush(ready, rank[loser])
    return walk


def _circle_above(row: int, winners_of: Mapping[int, Sequence[int]], done: Collection[int]) -> set[int]:
    """Give the rows of a circle of verdicts that keeps this row waiting and itself waits for nobody else."""
    circle = _above(row, winners_of, done)
    while True:
        higher = next((r for r in sorted(circle) if row not in _above(r, winners_of, done)), None)
        if higher is None:
            return circle
        row, circle = higher, _above(higher, winners_of, done)


def _above(row: int, winners_of: Mapping[int, Sequence[int]], done: Collection[int]) -> set[int]:
    """Give the rows not walked yet that beat this one, directly or through others."""
    found: set[int] = set()
    new = [row]
    while new:
        for winner in winners_of.get(new.pop(), ()):
            if winner not in found and winner not in done:
                found.add(winner)
                new.append(winner)
    return found


def _settle(decisions: Decisions, row: int, fate: Fate, edge: int) -> None:
    decisions.fate[row] = fate
    decisions.edge[row] = edge


def _spend(policy: Policy, decisions: Decisions, gray: Sequence[Gray]) -> None:
    """Spend the review budget on the most uncertain rows; a row is asked about whole or not at all."""
    left = policy.budget
    for one in sorted(gray, key=lambda one: one.worth):
        if policy.open_pairs == "ask" and one.new <= left:
            left -= one.new
            _settle(decisions, one.row, Fate.ASKED, one.closest)
        else:
            _settle(decisions, one.row, Fate.OVER_BUDGET, one.closest)
