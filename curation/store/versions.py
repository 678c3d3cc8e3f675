"""Frozen dataset versions."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from curation.store.database import Database, now
from curation.store.tables import dataset_version, outcome


def find(db: Database, name: str) -> Row[Any] | None:
    with db.reading() as connection:
        return connection.execute(select(dataset_version).where(dataset_version.c.name == name)).first()


def names(db: Database) -> list[str]:
    with db.reading() as connection:
        return list(
            connection.execute(select(dataset_version.c.name).order_by(dataset_version.c.run_id)).scalars()
        )


def add(
    connection: Connection, name: str, run_id: int, sha256: str, rows: int, manifest: Mapping[str, Any]
) -> None:
    connection.execute(
        insert(dataset_version).values(
            name=name, run_id=run_id, sha256=sha256, rows=rows, manifest=dict(manifest), created_at=now()
        )
    )


def holding(db: Database, seq: int) -> list[Row[Any]]:
    """Give what each version decided on a row: name, run, state."""
    with db.reading() as connection:
        return list(
            connection.execute(
                select(dataset_version.c.name, dataset_version.c.run_id, outcome.c.state)
                .join(outcome, outcome.c.run_id == dataset_version.c.run_id)
                .where(outcome.c.seq == seq)
                .order_by(dataset_version.c.run_id)
            )
        )
