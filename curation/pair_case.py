"""Rows and pairs to decide on, what people said about them, and the decisions as the store keeps them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.keepers import DROPPED, Decisions, Fate, Piece, Policy, Ruling, Zone, decide
from curation.pair_rows import Rows, best_first
from curation.pair_settings import STAGE, Settings
from curation.records import digest
from curation.run_edges import Edges, RunEdges
from curation.store import decisions as store
from curation.store.database import Connection
from curation.verdicts import disputed_pairs, settled_pairs

NAMES = {
    Ruling.KEEP_BOTH: "keep-both",
    Ruling.LEFT: "keep-left",
    Ruling.RIGHT: "keep-right",
    Ruling.DROP_BOTH: "drop-both",
}


@dataclass
class Written:
    """A decided case in the form the store keeps."""

    outcomes: list[dict[str, Any]]
    rejections: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    items: list[dict[str, Any]]
    again: set[str]  # items among them that people settled in a way that contradicts other verdicts


@dataclass(frozen=True)
class ById:
    """Pairs of a run for the keep rule: rows numbered by their ids, because ties go to the smaller id."""

    rows: Rows
    edges: RunEdges
    place: npt.NDArray[np.int64]  # of each row

    @property
    def size(self) -> int:
        return len(self.place)

    def pieces(self) -> Iterator[Piece]:
        return (self._piece(*piece) for piece in self.edges.pieces())

    def at(self, numbers: npt.NDArray[np.int64]) -> Piece:
        return self._piece(numbers, self.edges.at(numbers))

    def _piece(self, numbers: npt.NDArray[np.int64], found: Edges) -> Piece:
        left, right = (self.place[self.rows.by_number(found[end])] for end in ("left", "right"))
        return Piece(numbers, left, right, found["cosine"], found["zone"])


@dataclass(frozen=True)
class Said:
    """What people settled that bears on pairs, by content."""

    verdicts: Mapping[frozenset[str], tuple[str, str | None]]
    argued: Collection[frozenset[str]]  # people disagree
    rescued: Mapping[int, str]  # seq -> who put the row back

    @classmethod
    def of(cls, connection: Connection, settings: Settings) -> "Said":
        argued = disputed_pairs(connection) if settings.asks else set()  # presets ask nothing
        return cls(settled_pairs(connection), argued, store.rescued(connection, STAGE))


@dataclass
class Case:
    """Rows and pairs to decide on: a whole run, or the clusters that a verdict touched."""

    settings: Settings
    rows: Rows
    edges: RunEdges
    rulings: dict[int, Ruling]
    rescued: Collection[int]  # seqs
    disputed: set[int]  # pairs on which people disagree
    _read: dict[int, Any] = field(default_factory=dict)  # pairs that are told about, by number

    @classmethod
    def of(cls, settings: Settings, rows: Rows, edges: RunEdges, said: Said) -> "Case":
        """Bring together what people have settled about any of these pairs, in this run or earlier."""
        rulings: dict[int, Ruling] = {}
        disputed: set[int] = set()
        if said.verdicts or said.argued:
            known = {hash for pair in (*said.verdicts, *said.argued) for hash in pair}
            is_known = np.array([hash in known for hash in rows.content])
            for numbers, found in edges.pieces():
                left, right = rows.by_number(found["left"]), rows.by_number(found["right"])
                for at in np.flatnonzero(is_known[left] & is_known[right]):
                    hashes = rows.content[left[at]], rows.content[right[at]]
                    verdict = said.verdicts.get(frozenset(hashes))
                    if verdict is not None:
                        rulings[int(numbers[at])] = _ruling(verdict, hashes[0])
                    elif frozenset(hashes) in said.argued:
                        disputed.add(int(numbers[at]))
        return cls(settings, rows, edges, rulings, said.rescued, disputed)

    def decide(
        self, budget: int, open_pairs: str = "ask",
        asked_before: frozenset[tuple[int, int]] = frozenset(), pending: frozenset[int] = frozenset(),
        spool: Path | None = None,
    ) -> Decisions:  # fmt: skip
        """Apply the keep rule. `asked_before` holds pairs of seqs, `pending` seqs."""
        place = self._place_by_id()
        numbers = {int(seq): int(place[n]) for n, seq in enumerate(self.rows.seqs)}
        policy = Policy(
            self.settings.middle,
            budget,
            frozenset((numbers[a], numbers[b]) for a, b in asked_before if a in numbers and b in numbers),
            open_pairs,
            frozenset(numbers[seq] for seq in pending if seq in numbers),
        )
        rescued = {numbers[seq] for seq in self.rescued if seq in numbers}
        decisions = decide(
            ById(self.rows, self.edges, place),
            [int(place[n]) for n in best_first(self.rows, self.settings)],
            policy,
            self.rulings,
            rescued,
            self.disputed,
            spool,
        )
        decisions.fate = decisions.fate[place]
        decisions.edge = decisions.edge[place]
        return decisions

    def _place_by_id(self) -> npt.NDArray[np.int64]:
        """Number the rows by their ids, because ties go to the smaller id."""
        place = np.empty(len(self.rows.ids), dtype=np.int64)
        place[sorted(range(len(self.rows.ids)), key=self.rows.ids.__getitem__)] = np.arange(len(place))
        return place

    def written(self, decisions: Decisions, clusters: npt.NDArray[np.integer[Any]]) -> Written:
        """Put decisions into the form the store keeps."""
        outcomes, rejections, pairs = [], [], {}
        asked = set(decisions.asked)
        self.read({*asked, *self.rulings, *decisions.edge[decisions.edge >= 0].tolist()})
        for number, seq in enumerate(self.rows.seqs):
            fate = Fate(int(decisions.fate[number]))
            edge = int(decisions.edge[number])
            state = "dropped" if fate in DROPPED else "kept" if fate == Fate.KEPT else "pending"
            cluster = int(clusters[number])
            outcomes.append({
                "seq": int(seq), "state": state, "position": int(self.rows.positions[number]),
                "cluster": cluster if cluster >= 0 else None,
            })  # fmt: skip
            if edge >= 0 and edge not in asked:
                pairs[edge] = self._pair(edge, self._deciding_as(fate))
            if state == "dropped":
                rejections.append(self._rejection(int(seq), fate, edge))
        for edge, ruling in self.rulings.items():
            pairs[edge] = self._pair(edge, NAMES[ruling])
        for edge in asked:  # last: verdicts that contradict each other in a circle are asked again
            pairs[edge] = self._pair(edge, "ask")
        items = [self.item(edge, priority) for priority, edge in enumerate(decisions.asked)]
        again = {self.item_id(edge) for edge in asked & self.rulings.keys()}
        return Written(outcomes, rejections, list(pairs.values()), _distinct(items), again)

    def read(self, numbers: Collection[int]) -> None:
        """Read the pairs that are told about from the disk, all at once."""
        wanted = np.array(sorted(numbers), dtype=np.int64)
        self._read = dict(zip(wanted.tolist(), self.edges.at(wanted), strict=True))

    def _deciding_as(self, fate: Fate) -> str:
        """Say what a pair that was not asked about did to its row."""
        if fate not in DROPPED:
            return "rescued"
        return "over budget" if fate == Fate.OVER_BUDGET and self.settings.asks else "drop"

    def _pair(self, edge: int, decision: str) -> dict[str, Any]:
        one = self._read[edge]
        return {
            "left_seq": int(one["left"]), "right_seq": int(one["right"]), "cosine": float(one["cosine"]),
            "response_cosine": _number(one["response"]), "decision": decision,
            "item_id": self.item_id(edge),
        }  # fmt: skip

    def _ends(self, edge: int) -> tuple[int, int]:
        one = self._read[edge]
        left, right = self.rows.by_number(np.array([one["left"], one["right"]]))
        return int(left), int(right)

    def item_id(self, edge: int) -> str:
        left, right = self._ends(edge)
        return digest(STAGE, *sorted((self.rows.content[left], self.rows.content[right])))[:16]

    def _rejection(self, seq: int, fate: Fate, edge: int) -> dict[str, Any]:
        left, right = self._ends(edge)
        own, other = (left, right) if int(self.rows.seqs[left]) == seq else (right, left)
        one = self._read[edge]
        evidence = {
            "keeper": self.rows.ids[other],
            "cosine": float(one["cosine"]),
            "response_cosine": _number(one["response"]),
            "rule": f"keep {self.settings.keep}",
            "response_characters": [int(self.rows.lengths[own]), int(self.rows.lengths[other])],
            "text": self.settings.text,
        }
        if self.rows.standing.shown:
            evidence["standing"] = [self.rows.standing.shown[own], self.rows.standing.shown[other]]
        ruling = self.rulings.get(edge)
        if ruling is not None:
            evidence["verdict"] = NAMES[ruling]
            evidence["item"] = self.item_id(edge)
            if ruling == Ruling.DROP_BOTH:
                evidence["keeper"], evidence["other"] = None, self.rows.ids[other]
        reason = {
            Fate.NEAR_DUPLICATE: "near_duplicate",
            Fate.OVER_BUDGET: "near_duplicate_over_budget" if self.settings.asks else "near_duplicate",
            Fate.BY_VERDICT: "verdict",
        }[fate]
        return {"seq": seq, "reason": reason, "evidence": evidence}

    def item(self, edge: int, priority: int) -> dict[str, Any]:
        """Describe the question about a pair that was read."""
        one = self._read[edge]
        left, right = self._ends(edge)
        why = {
            Zone.BAND: f"cosine {one['cosine']:.3f} lies in the gray band",
            Zone.RESPONSE: f"instructions agree ({one['cosine']:.3f}), "
            f"responses do not ({one['response']:.3f})",
            Zone.DROP: "a person kept one of them, and they are alike beyond doubt",
        }[Zone(int(one["zone"]))]
        if edge in self.rulings:
            why = "verdicts on like rows contradict one another in a circle; one of them has to change"
        evidence = {"cosine": float(one["cosine"]), "response_cosine": _number(one["response"]), "why": why}
        return {
            "id": self.item_id(edge),
            "evidence": evidence,
            # Rounded: the same texts embedded in another batch differ in the last bits. The content on
            # the left is part of it: "left" must mean the row that was shown there.
            "evidence_hash": digest(
                f"{one['cosine']:.4f}", f"{one['response']:.4f}", self.settings.text, self.rows.content[left]
            ),
            "subject": {"left": self.rows.content[left], "right": self.rows.content[right]},
            "left_seq": int(one["left"]),
            "right_seq": int(one["right"]),
            "priority": priority,
        }


def _ruling(verdict: tuple[str, str | None], left_hash: str) -> Ruling:
    name, winner = verdict
    if name == "keep-both":
        return Ruling.KEEP_BOTH
    if name == "drop-both":
        return Ruling.DROP_BOTH
    return Ruling.LEFT if winner == left_hash else Ruling.RIGHT


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _distinct(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask once where several pairs have the same contents."""
    return list({item["id"]: item for item in reversed(items)}.values())[::-1]
