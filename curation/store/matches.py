"""Contamination matches as pages read them: by decision and benchmark, strongest first."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, and_, func, or_, select

from curation.store.database import Database
from curation.store.tables import benchmark_item, contamination_match


def page(
    db: Database,
    run_id: int,
    benchmark: str | None,
    decision: str | None,
    key: tuple[float, int] | None,
    size: int,
    backward: bool = False,
) -> list[Row[Any]]:
    """Give joint matches after a key (score, id), in falling order of score; ties by id.

    `backward`: those before the key, the nearest first.
    """
    match = contamination_match
    query = select(match).where(match.c.run_id == run_id, match.c.detector == "joint")
    if decision is not None:
        query = query.where(match.c.decision == decision)
    if benchmark is not None:
        query = query.join(benchmark_item, benchmark_item.c.id == match.c.benchmark_item_id).where(
            benchmark_item.c.benchmark == benchmark
        )
    order = (match.c.score, match.c.id.desc()) if backward else (match.c.score.desc(), match.c.id)
    if key is not None:
        score, id = key
        beyond = match.c.score > score if backward else match.c.score < score
        tied = match.c.id < id if backward else match.c.id > id
        query = query.where(or_(beyond, and_(match.c.score == score, tied)))
    with db.reading() as connection:
        return list(connection.execute(query.order_by(*order).limit(size)))


def tasks(db: Database, ids: Iterable[int]) -> dict[int, Row[Any]]:
    """Give whole benchmark items by their numbers."""
    with db.reading() as connection:
        found = connection.execute(select(benchmark_item).where(benchmark_item.c.id.in_(sorted(ids))))
        return {row.id: row for row in found}


def task(db: Database, benchmark: str, item: str) -> Row[Any] | None:
    """Give one benchmark item by its names."""
    query = select(benchmark_item).where(
        benchmark_item.c.benchmark == benchmark, benchmark_item.c.item == item
    )
    with db.reading() as connection:
        return connection.execute(query).first()


def counts(db: Database, run_id: int) -> dict[tuple[str, str], int]:
    """Count the rows of a run that matched something, by benchmark and decision."""
    match = contamination_match
    query = (
        select(benchmark_item.c.benchmark, match.c.decision, func.count(match.c.seq.distinct()))
        .join(benchmark_item, benchmark_item.c.id == match.c.benchmark_item_id)
        .where(match.c.run_id == run_id, match.c.detector == "joint")
        .group_by(benchmark_item.c.benchmark, match.c.decision)
    )
    with db.reading() as connection:
        return {
            (benchmark, decision): int(number) for benchmark, decision, number in connection.execute(query)
        }
