"""Ids as people type them: whole, or the beginning of one that no other shares."""

from typing import Any

from sqlalchemy import Connection, Row, Table, select

SHORTEST = 6  # hex digits that may stand for an id


def find(connection: Connection, table: Table, id: str) -> Row[Any] | None:
    """Give the row of this id, or whose id begins so when only one does."""
    exact = connection.execute(select(table).where(table.c.id == id)).first()
    if exact is not None or len(id) < SHORTEST:
        return exact
    # A range instead of LIKE: ids are hex digits, and a range uses the index.
    rows = connection.execute(select(table).where(table.c.id >= id, table.c.id < id + "g").limit(2)).all()
    return rows[0] if len(rows) == 1 else None
