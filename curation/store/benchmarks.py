"""Benchmarks, pinned at first load."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from curation.records import BenchmarkItem
from curation.store.database import Database, now
from curation.store.tables import benchmark, benchmark_item


def pinned(db: Database, name: str) -> Row[Any] | None:
    """Give what was recorded when this benchmark was first loaded."""
    with db.reading() as connection:
        return connection.execute(select(benchmark).where(benchmark.c.name == name)).first()


def all_pinned(db: Database) -> list[Row[Any]]:
    """Give every benchmark that was ever loaded, by name."""
    with db.reading() as connection:
        return list(connection.execute(select(benchmark).order_by(benchmark.c.name)))


def pin(
    db: Database, name: str, sha256: str, revision: str | None, origin: str, verified: bool,
    items: Sequence[BenchmarkItem],
) -> None:  # fmt: skip
    """Record a benchmark and its items; from now on another content under this name is refused."""
    with db.transaction() as connection:
        if connection.execute(select(benchmark).where(benchmark.c.name == name)).first() is not None:
            return  # another process pinned it meanwhile; the caller compares hashes
        connection.execute(
            insert(benchmark).values(
                name=name,
                sha256=sha256,
                revision=revision,
                origin=origin,
                verified=verified,
                items=len(items),
                loaded_at=now(),
            )
        )
        connection.execute(
            insert(benchmark_item),
            [
                {
                    "benchmark": name,
                    "item": i.item,
                    "problem": i.problem,
                    "solution": i.solution,
                    "problem_string": i.problem_string,
                    "solution_string": i.solution_string,
                    "content_hash": i.content_hash,
                }
                for i in items
            ],
        )


def items(db: Database, names: Sequence[str]) -> list[Row[Any]]:
    """Give the items of these benchmarks in the order of their numbers."""
    with db.reading() as connection:
        return items_in(connection, names)


def items_in(connection: Connection, names: Sequence[str]) -> list[Row[Any]]:
    return list(
        connection.execute(
            select(benchmark_item)
            .where(benchmark_item.c.benchmark.in_(list(names)))
            .order_by(benchmark_item.c.id)
        )
    )


def item(db: Database, id: int) -> Row[Any]:
    with db.reading() as connection:
        return connection.execute(select(benchmark_item).where(benchmark_item.c.id == id)).one()
