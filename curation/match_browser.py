"""Reading contamination matches: a page at a time, with both texts."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from curation.store import matches, runs, samples
from curation.store.database import Database, Row
from curation.workspace import Workspace


@dataclass(frozen=True, slots=True)
class MatchLine:
    """One row and one benchmark task that it resembles."""

    sample: Row[Any]  # the whole row
    task: Row[Any]  # the whole benchmark item
    score: float  # joint: 1 for a long shared string, else the cosine
    side: str  # problem | solution: what of the task was met
    decision: str
    hits: list[dict[str, Any]]  # shared strings: field, span, characters, long


@dataclass(frozen=True, slots=True)
class MatchPage:
    """A page of matches, most alike first."""

    lines: list[MatchLine]
    after: str | None  # key of the next page
    before: str | None = None  # key of the previous page


def match_page(
    workspace: Workspace,
    benchmark: str | None = None,
    decision: str | None = None,
    after: str | None = None,
    size: int = 20,
    before: str | None = None,
) -> MatchPage:
    """Give matches of the current run, the strongest first: those after a key, or those before one.

    A damaged key gives the first page.
    """
    db = workspace.database
    run = runs.current(db, "decontaminate")
    if run is None:
        return MatchPage([], None)
    back = _key(before)
    if back is None:
        found = matches.page(db, run.id, benchmark, decision, _key(after), size + 1)
        more_after, more_before = len(found) > size, _key(after) is not None
        found = found[:size]
    else:
        found = matches.page(db, run.id, benchmark, decision, back, size + 1, backward=True)
        more_after, more_before = True, len(found) > size
        found = found[:size][::-1]
    return MatchPage(
        _lines(db, found),
        _name(found[-1]) if found and more_after else None,
        _name(found[0]) if found and more_before else None,
    )


def _name(match: Row[Any]) -> str:
    return f"{match.score!r}_{match.id}"


def _lines(db: Database, found: list[Row[Any]]) -> list[MatchLine]:
    rows = {row.seq: row for row in samples.read(db, sorted({match.seq for match in found}))}
    tasks = matches.tasks(db, {match.benchmark_item_id for match in found})
    return [
        MatchLine(
            rows[m.seq],
            tasks[m.benchmark_item_id],
            m.score,
            m.side,
            m.decision,
            list(m.evidence.get("hits", [])),
        )
        for m in found
    ]


def task_of(workspace: Workspace, benchmark: str, item: str) -> Row[Any] | None:
    """Give a whole benchmark item by its names."""
    return matches.task(workspace.database, benchmark, item)


def match_counts(workspace: Workspace) -> dict[tuple[str, str], int]:
    """Count rows of the current run by benchmark and decision."""
    run = runs.current(workspace.database, "decontaminate")
    return {} if run is None else matches.counts(workspace.database, run.id)


def _key(text: str | None) -> tuple[float, int] | None:
    score, _, id = (text or "").partition("_")
    try:
        key = float(score), int(id)
    except ValueError:
        return None
    return key if isfinite(key[0]) and abs(key[1]) < 1 << 63 else None  # what the database can hold
