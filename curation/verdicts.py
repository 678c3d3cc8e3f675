"""What people have settled: votes in, settled verdicts out. Remembered by content, so never asked twice."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from curation.store import reviews
from curation.store.database import Connection, Row

PAIR_VERDICTS = ("keep-both", "keep-left", "keep-right", "drop-both")
CATEGORIES = ("duplicate", "gray-area", "different", "idiom")  # Platypus section 2.3, and ours: idiom
CONTAMINATION_VERDICTS = tuple(f"{c}:{action}" for c in CATEGORIES for action in ("keep", "drop"))


@dataclass
class Standing:
    """Where an item stands: the newest vote of each person that was not taken back."""

    latest: dict[str, Row[Any]] = field(default_factory=dict)  # person -> vote

    @property
    def meanings(self) -> set[tuple[str, str | None]]:
        """Give what people decided: left and right are what stood there when they voted."""
        return {_meaning(vote) for vote in self.latest.values()}

    @property
    def settled(self) -> str | None:
        """Give the verdict, as the first of them said it, when everyone who voted agrees."""
        return next(iter(self.latest.values())).verdict if len(self.meanings) == 1 else None

    @property
    def disputed(self) -> bool:
        return len(self.meanings) > 1


def _winner(vote: Row[Any]) -> str | None:
    """Give the content that a vote on a pair calls the better one."""
    side = {"keep-left": "left", "keep-right": "right"}.get(vote.verdict)
    return None if side is None else str(vote.subject[side])


def _meaning(vote: Row[Any]) -> tuple[str, str | None]:
    winner = _winner(vote)
    return (vote.verdict, None) if winner is None else ("keep", winner)


def standings(votes: Iterable[Row[Any]]) -> dict[str, Standing]:
    """Replay votes in the order they were cast."""
    found: dict[str, Standing] = {}
    for vote in votes:
        standing = found.setdefault(vote.item_id, Standing())
        if vote.verdict == "undo":
            standing.latest = {p: v for p, v in standing.latest.items() if v.id != vote.undoes}
        else:
            standing.latest[vote.person] = vote
    return found


def settled_pairs(connection: Connection) -> dict[frozenset[str], tuple[str, str | None]]:
    """Give the settled near-duplicate verdicts: contents of a pair -> (verdict, content of the winner)."""
    found: dict[frozenset[str], tuple[str, str | None]] = {}
    for standing in standings(reviews.votes(connection)).values():
        verdict = standing.settled
        vote = next(iter(standing.latest.values()), None)
        if verdict is None or vote is None or vote.kind != "near-duplicates":
            continue
        subject = vote.subject
        found[frozenset((subject["left"], subject["right"]))] = (verdict, _winner(vote))
    return found


def disputed_pairs(connection: Connection) -> set[frozenset[str]]:
    """Give the contents of the near-duplicate pairs on which people disagree."""
    found = set()
    for standing in standings(reviews.votes(connection)).values():
        vote = next(iter(standing.latest.values()), None)
        if standing.disputed and vote is not None and vote.kind == "near-duplicates":
            found.add(frozenset((vote.subject["left"], vote.subject["right"])))
    return found


@dataclass(frozen=True)
class ContaminationMemory:
    """Settled contamination verdicts."""

    keep: frozenset[tuple[str, str]]  # (content of the sample, content of the benchmark item)
    drop: dict[str, tuple[str, str]]  # content of the sample -> (verdict, item id)
    idioms: frozenset[tuple[str, str]]  # (content of the benchmark item, side): common phrases, no evidence


def settled_contamination(connection: Connection) -> ContaminationMemory:
    """Give the settled contamination verdicts by content."""
    keep: set[tuple[str, str]] = set()
    drop: dict[str, tuple[str, str]] = {}
    idioms: set[tuple[str, str]] = set()
    for item_id, standing in standings(reviews.votes(connection)).items():
        verdict = standing.settled
        vote = next(iter(standing.latest.values()), None)
        if verdict is None or vote is None or vote.kind != "decontaminate":
            continue
        category, action = verdict.split(":")
        subject = vote.subject
        if action == "keep":
            keep.update((subject["sample"], one["item"]) for one in subject["matches"])
        else:
            drop[subject["sample"]] = (verdict, item_id)
        if category == "idiom":
            idioms.update((one["item"], one["side"]) for one in subject["matches"][:1])
    return ContaminationMemory(frozenset(keep), drop, frozenset(idioms))
