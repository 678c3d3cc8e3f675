"""When to stop: a held-out score for each round, entered by hand, and the round that scored best.

WizardCoder trains on the seed set and on the set after each round, and keeps the round that its dev set likes
best; the fourth was worse than the third (section 3.1 and v2; recipes 2.4). The reported test decides
nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from curation.benchmarks import KNOWN
from curation.errors import WrongInput
from curation.evolution_report import counted
from curation.store import evolutions
from curation.workspace import Workspace

DEV = "mbpp train+dev"  # what WizardCoder v2 holds out (recipes 2.4)
# Names of tests that results are reported on. A part of one that is no test may be named: "mbpp train+dev".
PARTS = re.compile(r"\b(?:train|dev|valid|validation|prompt|held[ -]?out)\b", re.I)
TESTS = ("humaneval", *KNOWN, "ds1000", "multiple", "livecodebench", "bigcodebench")


@dataclass(frozen=True)
class Standing:
    """How the rounds scored."""

    scores: Mapping[int, float]  # percent, by round; 0: the seed set alone
    benchmark: str  # "" where nothing was entered
    best: int | None  # the earliest round of the highest score
    sizes: Mapping[int, int]  # rows of the set after each round
    advice: str  # what to do next, for people


def enter_score(
    workspace: Workspace, id: str, round: int, score: float | None, benchmark: str = DEV, person: str = "me"
) -> Standing:
    """Note what a model scored that was trained on the set after a round (0: the seeds). None takes it back.

    Raises WrongInput for a round that is not there, a score that is no percentage, another set than the
    rounds before were scored on, or a set that results are reported on.
    """
    sizes = _sizes(workspace, id)
    if round not in sizes:
        raise WrongInput(f"There is no round {round}; there are {', '.join(map(str, sizes))} (0: the seeds)")
    if score is not None and not 0 <= score <= 100:
        raise WrongInput(f"A score of {score} is none; give a percentage, such as 52.4")
    name = " ".join(benchmark.split())
    _check_held_out(name)
    before = standing(workspace, id)
    others = set(before.scores) - {round}
    if others and score is not None and before.benchmark != name:
        raise WrongInput(
            f"The other rounds were scored on {before.benchmark!r}: scores of two sets cannot be compared"
        )
    with workspace.database.transaction() as connection:
        evolutions.add_score(connection, id, round, name, score, person)
    return standing(workspace, id)


def _check_held_out(name: str) -> None:
    if not name:
        raise WrongInput(f"Name the held-out set that was scored, such as {DEV!r}")
    plain = re.sub(r"[^a-z0-9]", "", name.casefold())
    is_test = any(re.sub(r"[^a-z0-9]", "", test) in plain for test in TESTS) and not PARTS.search(name)
    if is_test or re.search(r"\btest\b", name, re.I):
        raise WrongInput(
            f"{name!r} is what results are reported on: choosing a round by it would make them look better "
            f"than they are. Score a held-out part, such as {DEV!r}"
        )


def standing(workspace: Workspace, id: str) -> Standing:
    """Say which round scored best, and what to do next."""
    with workspace.database.reading() as connection:
        rows = evolutions.scores(connection, id)
    scores = {int(row.round): float(row.score) for row in rows}
    sizes = _sizes(workspace, id)
    best = min(scores, key=lambda one: (-scores[one], one)) if scores else None
    return Standing(
        scores, rows[-1].benchmark if rows else "", best, sizes, _advice(scores, best, max(sizes))
    )


def _advice(scores: Mapping[int, float], best: int | None, last: int) -> str:
    if best is None:
        return "No round was scored yet: train on each, score it on held-out tasks and enter the number."
    if missing := [round for round in range(last + 1) if round not in scores]:
        return f"Round {missing[0]} has no score yet; the best so far is round {best}."
    if best < last:
        return f"Stop: round {last} scored no better than round {best}. Freeze round {best}."
    return f"Round {best} scored best so far: one more round may bring more."


def _sizes(workspace: Workspace, id: str) -> dict[int, int]:
    told = counted(workspace.database, id)
    return dict(zip([0, *(line.round for line in told.rounds)], told.sizes(), strict=True))
