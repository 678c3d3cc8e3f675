"""Seed snippets, each with the narrow row that lists count by and its words: the three stay true together."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from curation.records import SeedSnippet
from curation.store import search
from curation.store.database import Database
from curation.store.tables import sample, seed, seed_place

PAGE = 500  # ids a query names: SQLite before 3.32 takes 999
FACTS = ("document_hash", "language", "source", "path", "licence", "licence_evidence", "method")
Facts = tuple[str, ...]  # values of FACTS: what may change of a seed whose id stays


def add(connection: Connection, wanted: Sequence[SeedSnippet]) -> int:
    """Keep seeds; those already there change nothing. Gives how many are new."""
    new = {one.id: one for one in wanted}
    for page in _pages(list(new)):
        for id in connection.execute(select(seed.c.id).where(seed.c.id.in_(page))).scalars():
            del new[id]
    if new:
        _insert(connection, list(new.values()))
    return len(new)


def replace(connection: Connection, wanted: Sequence[SeedSnippet]) -> None:
    """Keep seeds as they are now; one that was there in another form gives way.

    A seed that a sample was made from stays as it is, because the sample's origin must be readable.
    """
    remove(connection, [one.id for one in wanted])
    add(connection, wanted)


def remove(connection: Connection, ids: Sequence[str]) -> None:
    """Take seeds away, but for those that samples were made from."""
    used = in_use(connection)
    joined = seed_place.join(seed, seed.c.id == seed_place.c.seed_id)
    query = select(seed_place.c.seq, seed.c.text, seed.c.path, seed.c.source).select_from(joined)
    for page in _pages([id for id in ids if id not in used]):
        search.forget_seeds(connection, connection.execute(query.where(seed.c.id.in_(page))).all())
        connection.execute(delete(seed_place).where(seed_place.c.seed_id.in_(page)))
        connection.execute(delete(seed).where(seed.c.id.in_(page)))


def in_use(connection: Connection) -> set[str]:
    """Give the ids of the seeds that samples were made from: nothing changes those any more."""
    query = select(sample.c.seed_id).where(sample.c.seed_id.is_not(None))
    return {str(id) for id in connection.execute(query).scalars()}


def known(connection: Connection, methods: Sequence[str]) -> dict[str, Facts]:
    """Give what is on record of every seed that was cut by one of these methods, by its id."""
    columns = [seed.c[name] for name in FACTS]
    query = select(seed.c.id, *columns).where(seed.c.method.in_(methods))
    return {row[0]: tuple(row[1:]) for row in connection.execute(query)}


def find(db: Database, id: str) -> Row[Any] | None:
    with db.reading() as connection:
        return connection.execute(select(seed).where(seed.c.id == id)).first()


def read(db: Database, ids: Sequence[str]) -> list[Row[Any]]:
    """Give whole rows in the order asked for."""
    found: dict[str, Row[Any]] = {}
    with db.reading() as connection:
        for page in _pages(ids):
            found |= {row.id: row for row in connection.execute(select(seed).where(seed.c.id.in_(page)))}
    return [found[id] for id in ids if id in found]


def count(db: Database) -> int:
    with db.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(seed_place)).scalar_one())


def sizes(connection: Connection) -> dict[str, int]:
    """Give the characters of every seed's text, by its id."""
    found = connection.execute(select(seed_place.c.seed_id, seed_place.c.chars))
    return {str(row[0]): int(row[1]) for row in found}


def samples_of(db: Database, id: str) -> list[str]:
    """Give the ids of the samples that were made from a seed."""
    with db.reading() as connection:
        return list(connection.execute(select(sample.c.id).where(sample.c.seed_id == id)).scalars())


def _insert(connection: Connection, new: Sequence[SeedSnippet]) -> None:
    rows = [{name: getattr(one, name) for name in SeedSnippet.__slots__} for one in new]
    connection.execute(insert(seed), rows)
    before = int(connection.execute(select(func.coalesce(func.max(seed_place.c.seq), 0))).scalar_one())
    places = [
        {
            "seed_id": one.id, "language": one.language, "source": one.source, "licence": one.licence,
            "method": one.method, "lines": one.last_line - one.first_line + 1, "chars": len(one.text),
        }
        for one in new
    ]  # fmt: skip
    connection.execute(insert(seed_place), places)
    added = seed_place.join(seed, seed.c.id == seed_place.c.seed_id)
    query = select(seed_place.c.seq, seed.c.text, seed.c.path, seed.c.source).select_from(added)
    search.add_seeds(connection, connection.execute(query.where(seed_place.c.seq > before)).all())


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), PAGE):
        yield ids[first : first + PAGE]
