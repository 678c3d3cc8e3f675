"""Samples, seeds and the files they came from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from curation.records import Sample
from curation.store import places, runs, search, short_ids
from curation.store.database import Database
from curation.store.tables import sample, sample_place, seed, source_file

PAGE = 1_000  # rows a query fetches at a time; bounds memory, not a result


def add(connection: Connection, samples: Sequence[Sample]) -> int:
    """Keep samples; those already there change nothing. Give how many are new."""
    rows = [
        {
            "id": s.id,
            "content_hash": s.content_hash,
            "instruction": s.instruction,
            "input": s.input,
            "response": s.response,
            "source": s.source,
            "row": s.row,
            "name": s.name,
            "licence": s.licence,
            "method": s.method,
            "file_hash": s.file_hash,
            "file_id": s.file_id,
            "seed_id": s.seed_id,
            "extra": dict(s.extra),
        }
        for s in samples
    ]
    if not rows:
        return 0
    before = _count(connection)
    connection.execute(insert_or_ignore(sample).on_conflict_do_nothing(index_elements=["id"]), rows)
    places.add(connection, samples, before, runs.trail_of_new_rows(connection))
    search.add(connection, before)
    return _count(connection) - before


def _count(connection: Connection) -> int:
    # Rows are never deleted, so the highest number counts them without a scan.
    return int(connection.execute(select(func.coalesce(func.max(sample.c.seq), 0))).scalar_one())


def read(db: Database, seqs: Sequence[int]) -> list[Row[Any]]:
    """Give whole sample rows in the order asked for."""
    with db.reading() as connection:
        found = {row.seq: row for row in whole(connection, seqs)}
    return [found[int(seq)] for seq in seqs]


def whole(connection: Connection, seqs: Sequence[int]) -> list[Row[Any]]:
    """Give these samples whole, in no order."""
    found: list[Row[Any]] = []
    for start in range(0, len(seqs), PAGE):
        page = [int(seq) for seq in seqs[start : start + PAGE]]
        found += connection.execute(select(sample).where(sample.c.seq.in_(page)))
    return found


def all_seqs(connection: Connection) -> list[int]:
    """Give the number of every sample in import order."""
    return list(connection.execute(select(sample.c.seq).order_by(sample.c.seq)).scalars())


def seqs_of_contents(connection: Connection, hashes: Iterable[str]) -> list[int]:
    """Give the numbers of all rows with these contents."""
    wanted = sorted(set(hashes))
    found: list[int] = []
    for start in range(0, len(wanted), PAGE):
        page = wanted[start : start + PAGE]
        found += connection.execute(select(sample.c.seq).where(sample.c.content_hash.in_(page))).scalars()
    return found


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """What the keep rule looks at in a row."""

    id: str
    content_hash: str
    length: int  # characters of the response


def rule_facts(connection: Connection, seqs: Sequence[int]) -> dict[int, RuleFacts]:
    """Give id, content hash and response length of these rows."""
    found: dict[int, RuleFacts] = {}
    columns = (sample.c.seq, sample.c.id, sample.c.content_hash, sample.c.response)
    for start in range(0, len(seqs), PAGE):
        page = [int(seq) for seq in seqs[start : start + PAGE]]
        for row in connection.execute(select(*columns).where(sample.c.seq.in_(page))):
            # Counted here: SQLite's length() stops at a zero byte.
            found[row.seq] = RuleFacts(row.id, row.content_hash, len(row.response))
    return found


def seed_languages(db: Database) -> dict[int, str]:
    """Give the language of the seed of every sample that has a seed, by seq."""
    query = select(sample.c.seq, seed.c.language).join(seed, seed.c.id == sample.c.seed_id)
    with db.reading() as connection:
        return {int(row.seq): row.language for row in connection.execute(query)}


def stream(db: Database, columns: Sequence[str]) -> Iterator[Row[Any]]:
    """Give some columns of every sample in import order, `seq` first, by keyset pages."""
    return _stream(db, select(sample.c.seq, *(sample.c[name] for name in columns)))


def stream_with_seeds(db: Database, columns: Sequence[str]) -> Iterator[Row[Any]]:
    """Give the same with the text of each sample's seed as `seed_text`; None: it has no seed."""
    wanted = select(sample.c.seq, *(sample.c[name] for name in columns), seed.c.text.label("seed_text"))
    return _stream(db, wanted.select_from(sample.outerjoin(seed, seed.c.id == sample.c.seed_id)))


def _stream(db: Database, query: Select[Any]) -> Iterator[Row[Any]]:
    last = 0
    while True:
        with db.reading() as connection:
            page = connection.execute(
                query.where(sample.c.seq > last).order_by(sample.c.seq).limit(PAGE)
            ).all()
        if not page:
            return
        yield from page
        last = page[-1].seq


def find(db: Database, id: str) -> Row[Any] | None:
    """Give the sample of this id, or whose id begins so when only one does."""
    with db.reading() as connection:
        return short_ids.find(connection, sample, id)


def seq_of(connection: Connection, id: str) -> int | None:
    """Give the number of the sample of this id."""
    return connection.execute(select(sample.c.seq).where(sample.c.id == id)).scalar()


def of_file(connection: Connection, file_hash: str) -> list[Row[Any]]:
    """Give the samples that came from one file, whole, in its order."""
    query = select(sample).where(sample.c.file_hash == file_hash).order_by(sample.c.seq)
    return list(connection.execute(query))


def of_set(connection: Connection, name: str) -> list[Row[Any]]:
    """Give the samples of a set, whole, in import order."""
    query = select(sample).where(sample.c.name == name).order_by(sample.c.seq)
    return list(connection.execute(query))


def has_set(connection: Connection, name: str) -> bool:
    query = select(sample_place.c.seq).where(sample_place.c.name == name).limit(1)
    return connection.execute(query).first() is not None


def ids_of(connection: Connection, seqs: Sequence[int]) -> dict[int, str]:
    """Give the ids of these samples, by number."""
    found: dict[int, str] = {}
    for start in range(0, len(seqs), PAGE):
        page = [int(seq) for seq in seqs[start : start + PAGE]]
        rows = connection.execute(select(sample.c.seq, sample.c.id).where(sample.c.seq.in_(page)))
        found |= {int(row.seq): str(row.id) for row in rows}
    return found


def by_id(connection: Connection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Give these samples whole, by their ids; one that is not there is left out."""
    found: dict[str, Row[Any]] = {}
    for start in range(0, len(ids), PAGE):
        page = list(ids[start : start + PAGE])
        found |= {row.id: row for row in connection.execute(select(sample).where(sample.c.id.in_(page)))}
    return found


def count(db: Database) -> int:
    with db.reading() as connection:
        return _count(connection)


def count_of_file(db: Database, file_hash: str) -> int:
    """Count the samples that came from one file."""
    with db.reading() as connection:
        return connection.execute(
            select(func.count()).select_from(sample).where(sample.c.file_hash == file_hash)
        ).scalar_one()


def repeated_file_ids(db: Database, file_hash: str) -> tuple[int, str | None]:
    """Count the ids that a file gives to more than one row, with one of them as an example."""
    repeated = (
        select(sample.c.file_id)
        .where(sample.c.file_hash == file_hash, sample.c.file_id.is_not(None))
        .group_by(sample.c.file_id)
        .having(func.count() > 1)
    ).subquery()
    with db.reading() as connection:
        number, example = connection.execute(select(func.count(), func.min(repeated.c.file_id))).one()
    return number, example


def file(db: Database, file_hash: str) -> Row[Any] | None:
    with db.reading() as connection:
        return connection.execute(select(source_file).where(source_file.c.hash == file_hash)).first()


def files(db: Database) -> list[Row[Any]]:
    """Give every imported file, in the order of their hashes."""
    with db.reading() as connection:
        return list(connection.execute(select(source_file).order_by(source_file.c.hash)))


def open_file(connection: Connection, values: Mapping[str, Any]) -> None:
    """Note that a file is being imported, or is being imported again."""
    asked = {**values, "state": "importing", "rows": 0, "warnings": []}
    statement = insert_or_ignore(source_file).on_conflict_do_update(index_elements=["hash"], set_=asked)
    connection.execute(statement, asked)


def close_file(connection: Connection, file_hash: str, rows: int, warnings: Iterable[str]) -> None:
    """Note that a file is in the store as a whole."""
    connection.execute(
        update(source_file)
        .where(source_file.c.hash == file_hash)
        .values(state="complete", rows=rows, warnings=list(warnings))
    )
