"""What `clean` made of the rows of each language: counts, reasons and examples, as the current states are."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from curation.store.tables import outcome, rejection, sample, seed

EXAMPLES = 5  # of a language and reason (recipes 1.5)
NO_SEED = "no seed"  # language of a row that was not made from a seed
BEGINNING = 80  # characters of a problem that an example shows


def by_language(connection: Connection, run_id: int) -> dict[str, dict[str, Any]]:
    """Give for each language of the seeds, the largest first: in, kept, pending, dropped {reason: n} and
    examples {reason: [{id, keeper, problem}]}: the row that stays (None: there is none) and the beginning of
    the problem. in = kept + pending + dropped."""
    found: dict[str, dict[str, Any]] = {}
    for language, state, number in connection.execute(_states(run_id)):
        one = found.setdefault(language or NO_SEED, _empty())
        one["in"] += int(number)
        if state != "dropped":
            one[state] = int(number)
    for language, reason, number in connection.execute(_reasons(run_id)):
        found[language or NO_SEED]["dropped"][reason] = int(number)
    for row in connection.execute(_examples(run_id)):
        examples = found[row.language or NO_SEED]["examples"]
        examples.setdefault(row.reason, []).append(_example(row))
    return dict(sorted(found.items(), key=lambda one: (-one[1]["in"], one[0])))


def _empty() -> dict[str, Any]:
    return {"in": 0, "kept": 0, "pending": 0, "dropped": {}, "examples": {}}


def _example(row: Row[Any]) -> dict[str, Any]:
    problem = " ".join(row.instruction[: 2 * BEGINNING].split())
    return {"id": row.id, "keeper": row.evidence.get("keeper"), "problem": problem[:BEGINNING]}


def _rows(run_id: int, columns: Sequence[Any]) -> Select[Any]:
    return (
        select(seed.c.language, *columns)
        .select_from(outcome)
        .join(sample, sample.c.seq == outcome.c.seq)
        .outerjoin(seed, seed.c.id == sample.c.seed_id)
        .where(outcome.c.run_id == run_id)
    )


def _states(run_id: int) -> Select[Any]:
    return _rows(run_id, [outcome.c.state, func.count()]).group_by(seed.c.language, outcome.c.state)


def _dropped(run_id: int, columns: Sequence[Any]) -> Select[Any]:
    joined = (rejection.c.run_id == outcome.c.run_id) & (rejection.c.seq == outcome.c.seq)
    return _rows(run_id, columns).join(rejection, joined).where(outcome.c.state == "dropped")


def _reasons(run_id: int) -> Select[Any]:
    query = _dropped(run_id, [rejection.c.reason, func.count()])
    return query.group_by(seed.c.language, rejection.c.reason).order_by(rejection.c.reason)


def _examples(run_id: int) -> Select[Any]:
    """Give the first rows of each language and reason, in the order in which the rows came."""
    order = func.row_number().over(
        partition_by=(seed.c.language, rejection.c.reason), order_by=sample.c.seq
    )  # fmt: skip
    columns = [sample.c.seq, rejection.c.reason, rejection.c.evidence, order.label("number")]
    numbered = _dropped(run_id, columns).subquery("numbered")
    return (
        select(numbered, sample.c.id, sample.c.instruction)
        .join(sample, sample.c.seq == numbered.c.seq)
        .where(numbered.c.number <= EXAMPLES)
        .order_by(numbered.c.reason, numbered.c.seq)
    )
