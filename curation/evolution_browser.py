"""What the page of Evol-Instruct shows before a round is paid for: what it will take, and previews."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.evolution_tree import why
from curation.evolve import Settings, evolution_id, prompts_of, wanted_roots
from curation.evolve_calls import task_of
from curation.generation_estimate import Estimate, Reply, estimate
from curation.heuristics import heuristics, title_of
from curation.store import evolutions, samples
from curation.store.database import Row
from curation.store.evolutions import PREVIEW, REDONE, WAITING
from curation.workspace import Workspace

CALLS_A_STEP = 3  # rewrite, compare, answer
MOST_MEASURED = 2_000  # steps that an estimate rests on, the newest


@dataclass(frozen=True)
class Foreseen:
    """What the rounds that are asked for will take."""

    evolution: str  # its id
    samples: int
    attempts: int  # of all rounds
    left: int  # of them, that nothing was decided on
    most_calls: int  # that these take at most
    failed: int
    is_known: bool  # whether this evolution has run before
    paused: str | None
    estimate: Estimate | None


def foresee(workspace: Workspace, settings: Settings) -> Foreseen:
    """Say what is left to do, and what it will take by what was measured so far. Raises WrongInput."""
    roots = wanted_roots(workspace, settings)
    id = evolution_id(settings, prompts_of(workspace, settings))
    row = evolutions.find(workspace.database, id)
    wanted = len(roots) * settings.rounds
    with workspace.database.reading() as connection:
        counted = evolutions.counts(connection, id) if row is not None else []
        there = sum(
            len(roots.keys() & evolutions.decided_roots(connection, id, round))
            for round in range(1, settings.rounds + 1)
        )
        costs = evolutions.costs(connection, id, MOST_MEASURED) if row is not None else []
    alive = [one for one in counted if one.cut != REDONE]
    decided = sum(one.steps for one in alive if one.state != WAITING)
    kept = sum(one.steps for one in alive if one.state == evolutions.KEPT)
    replies = [Reply(1, int(one.tokens_in), int(one.tokens_out), float(one.seconds)) for one in costs]
    told = estimate(
        replies, there, round(kept * there / decided) if decided else 0, wanted, wanted,
        settings.concurrency, settings.prices,
    )  # fmt: skip
    left = wanted - there
    failed = sum(one.steps for one in alive if one.state == evolutions.FAILED)
    return Foreseen(
        id, len(roots), wanted, left, left * (CALLS_A_STEP if settings.compares else CALLS_A_STEP - 1),
        failed, row is not None, row.paused if row is not None else None, told,
    )  # fmt: skip


@dataclass(frozen=True)
class Rewriting:
    """One heuristic's rewriting of a task."""

    heuristic: str
    title: str
    text: str  # "" where there is none
    told: str  # what became of it
    is_good: bool
    step: Row[Any]


@dataclass(frozen=True)
class Previewed:
    """A task and its rewritings, one by each heuristic."""

    sample: Row[Any]
    task: str
    rewritings: Sequence[Rewriting]


def previews(workspace: Workspace, settings: Settings) -> list[Previewed]:
    """Give what was previewed of `settings.ids` with these settings, in their order."""
    id = evolution_id(settings, prompts_of(workspace, settings), PREVIEW)
    with workspace.database.reading() as connection:
        known = samples.by_id(connection, list(settings.ids))
        found = [
            (known[one], evolutions.of_root(connection, id, known[one].seq))
            for one in settings.ids
            if one in known
        ]
    order = list(heuristics())
    return [
        Previewed(
            row, task_of(row), sorted(map(_rewriting, steps), key=lambda one: order.index(one.heuristic))
        )
        for row, steps in found
    ]


def _rewriting(step: Row[Any]) -> Rewriting:
    is_good = step.state == evolutions.KEPT
    told = "passes the first rules" if is_good else why(step)
    return Rewriting(step.heuristic, title_of(step.heuristic), step.task or "", told, is_good, step)


def reasons(workspace: Workspace, id: str) -> Mapping[str, int]:
    """Count the steps of an evolution by the rule they failed by, the most first."""
    with workspace.database.reading() as connection:
        rows = evolutions.counts(connection, id)
    found: dict[str, int] = {}
    for row in rows:
        if row.rule:
            found[row.rule] = found.get(row.rule, 0) + row.steps
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))
