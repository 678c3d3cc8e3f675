"""The review queue: what is asked, and every vote ever cast."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from curation.store.database import Database, now
from curation.store.tables import review_item, vote


def ask(connection: Connection, kind: str, items: Sequence[Mapping[str, Any]]) -> None:
    """Make these the questions of a stage; earlier ones not among them are no longer asked.

    An item known from before keeps its version unless its evidence changed: then the version goes
    up, so that a verdict on what was shown earlier is refused.
    """
    connection.execute(update(review_item).where(review_item.c.kind == kind).values(asked=False))
    known = {
        row.id: row
        for row in connection.execute(
            select(review_item.c.id, review_item.c.version, review_item.c.evidence_hash).where(
                review_item.c.kind == kind
            )
        )
    }
    for item in items:
        _ask_one(connection, kind, item, known.get(item["id"]))


def ask_also(connection: Connection, kind: str, items: Sequence[Mapping[str, Any]]) -> None:
    """Ask these questions beside those already asked (a verdict made them matter)."""
    for item in items:
        known = connection.execute(
            select(review_item.c.id, review_item.c.version, review_item.c.evidence_hash).where(
                review_item.c.id == item["id"]
            )
        ).first()
        _ask_one(connection, kind, item, known)


def know(connection: Connection, kind: str, item: Mapping[str, Any]) -> None:
    """Note a question that nobody is asked, so that a person can answer it all the same."""
    connection.execute(insert(review_item).values({**item, "kind": kind, "asked": False, "version": 1}))


def stop_asking(connection: Connection, ids: Sequence[str]) -> None:
    connection.execute(update(review_item).where(review_item.c.id.in_(list(ids))).values(asked=False))


def _ask_one(
    connection: Connection, kind: str, item: Mapping[str, Any], known: Row[str, int, str] | None
) -> None:
    values = {**item, "kind": kind, "asked": True}
    if known is None:
        connection.execute(insert(review_item).values(version=1, **values))
        return
    version = known.version + (known.evidence_hash != item["evidence_hash"])
    connection.execute(
        update(review_item).where(review_item.c.id == item["id"]).values(version=version, **values)
    )


def item(db: Database, item_id: str) -> Row[Any] | None:
    with db.reading() as connection:
        return item_in(connection, item_id)


def item_in(connection: Connection, item_id: str) -> Row[Any] | None:
    return connection.execute(select(review_item).where(review_item.c.id == item_id)).first()


def items_of_seq(connection: Connection, seq: int) -> list[Row[Any]]:
    """Give every question ever asked about a row."""
    return list(
        connection.execute(
            select(review_item).where((review_item.c.left_seq == seq) | (review_item.c.right_seq == seq))
        )
    )


def asked_items(connection: Connection) -> list[Row[Any]]:
    """Give every question now asked, most uncertain first within its stage."""
    return list(
        connection.execute(
            select(review_item)
            .where(review_item.c.asked.is_(True))
            .order_by(review_item.c.kind, review_item.c.priority, review_item.c.id)
        )
    )


def reopen(connection: Connection, ids: Collection[str]) -> None:
    """Let people decide these items anew: who voted on the version of now can vote on the next one.

    An item whose newest version nobody has voted on is open already and stays as it is.
    """
    for id in sorted(ids):
        voted = select(vote.c.id).where(
            vote.c.item_id == id, vote.c.item_version == review_item.c.version, vote.c.verdict != "undo"
        )
        connection.execute(
            update(review_item)
            .where(review_item.c.id == id, voted.exists())
            .values(version=review_item.c.version + 1)
        )


def renew(connection: Connection, item_id: str) -> None:
    """Give an item a new version: what was decided on it is open again."""
    connection.execute(
        update(review_item).where(review_item.c.id == item_id).values(version=review_item.c.version + 1)
    )


def add_vote(connection: Connection, values: Mapping[str, Any]) -> bool:
    """Append a vote. Give False when this client id was seen before: the same press, sent again."""
    statement = insert_or_ignore(vote).on_conflict_do_nothing(index_elements=["client_id"])
    result = connection.execute(statement, {"at": now(), **values})
    return bool(result.rowcount)


def votes(connection: Connection, item_id: str | None = None) -> list[Row[Any]]:
    """Give all votes in the order they were cast, undo rows included."""
    query = select(vote).order_by(vote.c.id)
    if item_id is not None:
        query = query.where(vote.c.item_id == item_id)
    return list(connection.execute(query))
