"""Which of the look-alikes stays: the keep rule, as a pure function over a graph of pairs.

Rows are walked best first. A row with no kept neighbour is kept; any other row conflicts with kept rows
and is dropped, asked about, or left to a person. So a row is only ever dropped for a row that itself
stays and that it directly resembles: never both halves of a pair, never a chain of look-alikes.
Source: Platypus section 2.2 and data_similarity.ipynb; verdicts as in docs/architecture.md.
"""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


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
class Graph:
    """Rows 0..size-1, numbered by id so that ties go to the smaller id, and pairs with left != right."""

    size: int
    left: Integers
    right: Integers
    cosine: npt.NDArray[np.float64]
    zone: Integers


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


def decide(
    graph: Graph,
    order: Sequence[int],
    policy: Policy,
    rulings: Mapping[int, Ruling],
    rescued: Collection[int] = (),
    disputed: Collection[int] = (),
) -> Decisions:
    """Walk the rows of a graph best first and give the fate of each.

    `order` lists every row once, best first; `rulings` maps numbers of pairs to what people settled;
    `disputed` are pairs on which people disagree: they stay questions, whatever the budget.
    """
    out = {
        row for pair, ruling in rulings.items() if ruling == Ruling.DROP_BOTH for row in _ends(graph, pair)
    }
    better = {
        pair: _winner_first(graph, pair, ruling) for pair, ruling in rulings.items() if ruling in (1, 2)
    }
    counts = _edges_that_count(graph, policy, rulings)
    walk = _respecting(order, list(better.values()))
    conflicts = _walk(graph, counts, walk, out)

    decisions = Decisions(np.zeros(graph.size, np.int8), np.full(graph.size, -1, np.int64))
    for row in out:
        both = [p for p, r in rulings.items() if r == Ruling.DROP_BOTH and row in _ends(graph, p)]
        _settle(decisions, row, Fate.BY_VERDICT, _closest(graph, both))
    chosen_by_people = _chosen_by_people(graph, rulings)
    gray: list[tuple[int, list[int]]] = []
    for row, edges in conflicts.items():
        lost = [e for e in edges if e in better and better[e][1] == row]
        sure = [e for e in edges if (graph.zone[e] == Zone.DROP and e not in disputed) or e in better]
        if lost:
            _settle(decisions, row, Fate.BY_VERDICT, _closest(graph, lost))
        elif row in rescued:
            _settle(decisions, row, Fate.RESCUED, _closest(graph, edges))
        elif row in chosen_by_people:  # a person's keep is never dropped by a machine: ask instead
            _settle(decisions, row, Fate.ASKED, _closest(graph, edges))
            decisions.asked.extend(edges)
        elif sure:
            _settle(decisions, row, Fate.NEAR_DUPLICATE, _closest(graph, sure))
        elif any(edge in disputed for edge in edges):
            _settle(decisions, row, Fate.ASKED, _closest(graph, edges))
            decisions.asked.extend(edges)
        else:
            gray.append((row, edges))
    _spend(graph, policy, decisions, gray)
    decisions.asked.sort(key=lambda edge: _uncertainty(graph, policy, edge))
    return decisions


def _ends(graph: Graph, pair: int) -> tuple[int, int]:
    return int(graph.left[pair]), int(graph.right[pair])


def _winner_first(graph: Graph, pair: int, ruling: Ruling) -> tuple[int, int]:
    left, right = _ends(graph, pair)
    return (left, right) if ruling == Ruling.LEFT else (right, left)


def _chosen_by_people(graph: Graph, rulings: Mapping[int, Ruling]) -> set[int]:
    chosen: set[int] = set()
    for pair, ruling in rulings.items():
        if ruling == Ruling.KEEP_BOTH:
            chosen.update(_ends(graph, pair))
        elif ruling != Ruling.DROP_BOTH:
            chosen.add(_winner_first(graph, pair, ruling)[0])
    return chosen


def _edges_that_count(graph: Graph, policy: Policy, rulings: Mapping[int, Ruling]) -> npt.NDArray[np.bool_]:
    counts = np.ones(len(graph.left), dtype=bool)
    if policy.open_pairs == "keep" and policy.pending:
        pending = np.zeros(graph.size, dtype=bool)
        pending[list(policy.pending)] = True
        touches = pending[graph.left] | pending[graph.right]
        counts &= ~(touches & (graph.zone != Zone.DROP))
    for pair, ruling in rulings.items():
        counts[pair] = ruling != Ruling.KEEP_BOTH
    return counts


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


def _walk(
    graph: Graph, counts: npt.NDArray[np.bool_], walk: Sequence[int], out: Collection[int]
) -> dict[int, list[int]]:
    """Give each row that conflicts with kept rows, with the numbers of the pairs that say so."""
    edges = np.flatnonzero(counts)
    source = np.concatenate([graph.left[edges], graph.right[edges]])
    target = np.concatenate([graph.right[edges], graph.left[edges]])
    number = np.concatenate([edges, edges])
    by_source = np.argsort(source, kind="stable")
    target, number = target[by_source], number[by_source]
    begin = np.searchsorted(source[by_source], np.arange(graph.size + 1))

    kept = np.zeros(graph.size, dtype=bool)
    conflicts: dict[int, list[int]] = {}
    for row in walk:
        if row in out:
            continue
        around = slice(begin[row], begin[row + 1])
        hits = number[around][kept[target[around]]] if begin[row] < begin[row + 1] else ()
        if len(hits):
            conflicts[row] = [int(edge) for edge in hits]
        else:
            kept[row] = True
    return conflicts


def _settle(decisions: Decisions, row: int, fate: Fate, edge: int) -> None:
    decisions.fate[row] = fate
    decisions.edge[row] = edge


def _closest(graph: Graph, edges: Sequence[int]) -> int:
    """Give the pair with the greatest cosine; ties go to the smaller ids."""
    return min(edges, key=lambda e: (-graph.cosine[e], sorted(_ends(graph, e))))


def _uncertainty(graph: Graph, policy: Policy, edge: int) -> tuple[bool, float, int, int]:
    """Order pairs by how much a person's look is worth: nearest the middle of the band first, then
    those whose instructions agree and responses do not (design.md, the table of defaults)."""
    far = abs(float(graph.cosine[edge]) - policy.middle)
    smaller, greater = sorted(_ends(graph, edge))
    return bool(graph.zone[edge] == Zone.RESPONSE), far, smaller, greater


def _spend(graph: Graph, policy: Policy, decisions: Decisions, gray: Sequence[tuple[int, list[int]]]) -> None:
    """Spend the review budget on the most uncertain rows; a row is asked about whole or not at all."""
    left = policy.budget if policy.open_pairs == "ask" else 0
    by_worth = sorted(gray, key=lambda one: min(_uncertainty(graph, policy, edge) for edge in one[1]))
    for row, edges in by_worth:
        new = [e for e in edges if (int(graph.left[e]), int(graph.right[e])) not in policy.asked_before]
        if policy.open_pairs == "ask" and len(new) <= left:
            left -= len(new)
            decisions.asked.extend(edges)
            _settle(decisions, row, Fate.ASKED, _closest(graph, edges))
        else:
            _settle(decisions, row, Fate.OVER_BUDGET, _closest(graph, edges))
