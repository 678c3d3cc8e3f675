"""What rounds came to: survival, growth, length, difficulty, tokens, by round and by heuristic, beside what
was published."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import Any

from curation.stage import Report
from curation.store import evolutions
from curation.store.database import Database, Row
from curation.store.evolutions import FAILED, KEPT, REDONE, REJECTED, STATES, WAITING
from curation.workspace import Workspace

# The set after each round, in rows, and the new rows of each: WizardCoder, section 3.1 and v2 Table 5
# (recipes 2.4). The best of them by its dev set was the third round.
PUBLISHED_SIZES = (20_000, 38_000, 58_000, 78_000, 98_000)
PUBLISHED_NEW = (20_000, 18_800, 19_700, 19_300, 19_000)
ALIKE = 0.8  # cosine from which Platypus calls two tasks near-duplicates (recipes 4)


@dataclass(frozen=True)
class Line:
    """What a round came to, or a heuristic in it. Counts add up: parents = evolved + rejected + failed +
    waiting. None: not measured."""

    round: int
    heuristic: str | None  # "": all of the round; None: of which nobody knows it
    parents: int
    evolved: int
    rejected: Mapping[str, int]
    failed: Mapping[str, int]
    waiting: int
    pruned: int  # of those evolved, that a person has cut since
    redone: int  # attempts beside these, in whose place another one stands
    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0
    words_before: float | None = None  # median words of the parents of those that live
    words: float | None = None  # of these
    answer_words: float | None = None
    growth: float | None = None  # median of words over words of the parent
    difficulty: float | None = None  # mean, 1 to 5, of those that a judge looked at
    judged: int = 0
    alike: int | None = None  # tasks at or above ALIKE to their parent
    measured: int = 0  # of how many that was measured

    @property
    def survival(self) -> float | None:
        """Give the share of those decided that lived."""
        decided = self.parents - self.waiting
        return self.evolved / decided if decided else None

    @property
    def alive(self) -> int:
        return self.evolved - self.pruned


@dataclass(frozen=True)
class RoundReport:
    """An evolution by rounds."""

    seeds: int  # trees
    rounds: Sequence[Line]
    heuristics: Sequence[Line] = field(default_factory=tuple)  # by round, then as they are listed
    seed_difficulty: float | None = None

    def sizes(self) -> list[int]:
        """Give the rows of the seed set and all living children after each round, the seed set first."""
        found = [self.seeds]
        for line in self.rounds:
            found.append(found[-1] + line.alive)
        return found


def counted(db: Database, id: str) -> RoundReport:
    """Count rounds from the store; nothing is measured, and no call is looked at."""
    with db.reading() as connection:
        rows = evolutions.counts(connection, id)
        seeds = len(evolutions.roots_of(connection, id))
    return RoundReport(seeds, _by(rows, lambda row: (row.round, "")))


def report_of(db: Database, id: str) -> Report:
    """Tell rounds as `evolve` does, with the tokens of all calls."""
    told = counted(db, id)
    sizes = told.sizes()
    with db.reading() as connection:
        tokens = evolutions.tokens(connection, id)
    return {
        "evolution": id,
        "seeds": told.seeds,
        "rounds": [
            {"round": line.round, "parents": line.parents, "evolved": line.evolved,
             "rejected": dict(line.rejected), "failed": dict(line.failed), "waiting": line.waiting,
             "pruned": line.pruned, "redone": line.redone, "size": size}
            for line, size in zip(told.rounds, sizes[1:], strict=True)
        ],
        "size": sizes[-1],
        "tokens": tokens,
        "calls": 0,
    }  # fmt: skip


def _by(rows: Sequence[Row[Any]], key: Callable[[Row[Any]], tuple[int, str | None]]) -> list[Line]:
    """Add counts up by a key."""
    groups: dict[tuple[int, str | None], list[Row[Any]]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return [
        _line(*at, group) for at, group in sorted(groups.items(), key=lambda one: (one[0][0], str(one[0][1])))
    ]


def _line(round: int, heuristic: str | None, rows: Sequence[Row[Any]]) -> Line:
    states: dict[str, Counter[str]] = {state: Counter() for state in STATES}
    for row in rows:
        if row.cut != REDONE:
            states[row.state][row.rule or ""] += row.steps
    return Line(
        round, heuristic,
        parents=sum(sum(one.values()) for one in states.values()),
        evolved=states[KEPT].total(),
        rejected=dict(states[REJECTED].most_common()),
        failed=dict(states[FAILED].most_common()),
        waiting=states[WAITING].total(),
        pruned=sum(row.steps for row in rows if row.cut == evolutions.PRUNED and row.state == KEPT),
        redone=sum(row.steps for row in rows if row.cut == REDONE),
    )  # fmt: skip


def round_report(workspace: Workspace, id: str) -> RoundReport:
    """Measure rounds and their heuristics: what the page shows. No text is read."""
    db = workspace.database
    with db.reading() as connection:
        rows = evolutions.counts(connection, id)
        roots = evolutions.roots_of(connection, id)
        steps = evolutions.measured(connection, id)
        judged = evolutions.difficulties(connection, id)
        of_seeds = evolutions.root_difficulties(connection, roots)
    seen = _Seen(steps, judged)
    return RoundReport(
        len(roots),
        [seen.fill(line) for line in _by(rows, lambda row: (row.round, ""))],
        [seen.fill(line) for line in _by(rows, lambda row: (row.round, row.heuristic))],
        fmean(of_seeds) if of_seeds else None,
    )


def full_report(workspace: Workspace, id: str) -> Report:
    """Say a round report as JSON: every line with its measures, beside the published sizes."""
    told = round_report(workspace, id)
    sizes = told.sizes()
    return {
        "evolution": id,
        "seeds": told.seeds,
        **({"seed_difficulty": round(told.seed_difficulty, 3)} if told.seed_difficulty is not None else {}),
        "rounds": [_said(line, size=size) for line, size in zip(told.rounds, sizes[1:], strict=True)],
        "heuristics": [_said(line, heuristic=line.heuristic or "unknown") for line in told.heuristics],
        "published": {"sizes": list(PUBLISHED_SIZES), "new": list(PUBLISHED_NEW)},
    }


def _said(line: Line, **more: Any) -> dict[str, Any]:
    """Say a line; what was not measured is absent."""
    measures = {
        "survival": line.survival, "words_before": line.words_before, "words": line.words,
        "growth": line.growth, "answer_words": line.answer_words, "difficulty": line.difficulty,
    }  # fmt: skip
    return {
        "round": line.round, **more, "parents": line.parents, "evolved": line.evolved,
        "rejected": dict(line.rejected), "failed": dict(line.failed), "waiting": line.waiting,
        "pruned": line.pruned, "redone": line.redone, "calls": line.calls, "tokens_in": line.tokens_in,
        "tokens_out": line.tokens_out,
        **{name: round(value, 4) for name, value in measures.items() if value is not None},
        **({"judged": line.judged} if line.judged else {}),
        **({"alike": line.alike, "measured": line.measured} if line.alike is not None else {}),
    }  # fmt: skip


Key = tuple[int, str | None]  # round, heuristic


class _Seen:
    """What was measured of steps, by round and heuristic, and by round ("")."""

    def __init__(self, steps: Sequence[Row[Any]], judged: Sequence[Row[Any]]) -> None:
        self.steps, self.judged = _by_key(steps), _by_key(judged)

    def fill(self, line: Line) -> Line:
        """Give a line with what was measured of its steps; lengths and nearness are of those that live."""
        at = (line.round, line.heuristic)
        every = self.steps.get(at, [])
        alive = [row for row in every if row.state == KEPT and row.cut is None]
        hard = [float(row.difficulty) for row in self.judged.get(at, [])]
        cosines = [row.parent_cosine for row in alive if row.parent_cosine is not None]
        more: dict[str, Any] = {
            "tokens_in": sum(row.tokens_in for row in every),
            "tokens_out": sum(row.tokens_out for row in every),
            "calls": sum(row.replies for row in every),
            "words_before": _middle([row.words_before for row in alive if row.words_before is not None]),
            "words": _middle([row.words for row in alive if row.words is not None]),
            "answer_words": _middle([row.answer_words for row in alive if row.answer_words is not None]),
            "growth": _middle([row.words / row.words_before for row in alive if row.words_before]),
            "difficulty": fmean(hard) if hard else None, "judged": len(hard),
            "alike": sum(one >= ALIKE for one in cosines) if cosines else None, "measured": len(cosines),
        }  # fmt: skip
        return replace(line, **more)


def _by_key(rows: Sequence[Row[Any]]) -> dict[Key, list[Row[Any]]]:
    found: dict[Key, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        found[row.round, row.heuristic].append(row)
        found[row.round, ""].append(row)
    return dict(found)


def _middle(values: Sequence[float]) -> float | None:
    return float(median(values)) if values else None
