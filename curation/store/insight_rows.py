"""What the insights read of samples: which rows there are, their texts, where they stand now."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row, Select, func, select

from curation.store.database import Database
from curation.store.samples import PAGE
from curation.store.tables import sample, sample_place, seed


def rows(db: Database, sets: Sequence[str] = ()) -> list[Row[Any]]:
    """Give seq, id, name and the seed's language (None: no seed) of the rows of these sets, in import order.

    No set named: all rows.
    """
    query = (
        select(sample.c.seq, sample.c.id, sample.c.name, seed.c.language)
        .outerjoin(seed, seed.c.id == sample.c.seed_id)
        .order_by(sample.c.seq)
    )
    with db.reading() as connection:
        return list(connection.execute(_of_sets(query, sample.c.name, sets)))


def texts(db: Database, seqs: Sequence[int]) -> Iterator[list[Row[Any]]]:
    """Give seq, instruction, input and response of these rows, in their order, a page at a time."""
    wanted = select(*(sample.c[name] for name in ("seq", "instruction", "input", "response")))
    for start in range(0, len(seqs), PAGE):
        page = [int(seq) for seq in seqs[start : start + PAGE]]
        with db.reading() as connection:
            rows = connection.execute(wanted.where(sample.c.seq.in_(page))).all()
        found = {row.seq: row for row in rows}
        yield [found[seq] for seq in page]


def places(db: Database) -> dict[int, str]:
    """Give where every sample stands now: new, kept, pending or dropped."""
    with db.reading() as connection:
        query = select(sample_place.c.seq, sample_place.c.place)
        return {row.seq: row.place for row in connection.execute(query)}


def count_after(db: Database, seq: int, sets: Sequence[str] = ()) -> int:
    """Count the rows of these sets (none named: of all) that came after this one."""
    query = select(func.count()).select_from(sample_place).where(sample_place.c.seq > seq)
    with db.reading() as connection:
        return int(connection.execute(_of_sets(query, sample_place.c.name, sets)).scalar_one())


def _of_sets(query: Select[Any], name: Any, sets: Sequence[str]) -> Select[Any]:
    return query.where(name.in_(list(sets))) if sets else query
