"""What people say of samples before any stage. Rows are only added; the newest of a sample counts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select

from curation.store.database import now
from curation.store.tables import outcome, rejection, sample, sample_place, sample_word

ACCEPT, REJECT, NONE = "accept", "reject", "none"  # none: what was said before is taken back
WORDS = (ACCEPT, REJECT, NONE)
REJECTED = "rejected_by_person"  # reason of the rejection by which `clean` drops a row
EDITED = "edited"  # method of a row that a person made out of another one
PAGE = 500


def add(connection: Connection, seq: int, word: str, person: str, note: str) -> None:
    values = {"seq": seq, "word": word, "person": person, "note": note, "at": now()}
    connection.execute(insert(sample_word).values(values))


def history(connection: Connection, seq: int) -> list[Row[Any]]:
    """Give every word on a sample, the oldest first."""
    query = select(sample_word).where(sample_word.c.seq == seq).order_by(sample_word.c.id)
    return list(connection.execute(query))


def newest(connection: Connection, seq: int) -> Row[Any] | None:
    """Give the word on a sample that counts."""
    query = select(sample_word).where(sample_word.c.seq == seq).order_by(sample_word.c.id.desc())
    return connection.execute(query.limit(1)).first()


def rejected(connection: Connection) -> dict[int, Row[Any]]:
    """Give the rows that people reject, each with the word that counts: id, seq, person, note, at."""
    query = _that_count().where(sample_word.c.word == REJECT)
    return {int(row.seq): row for row in connection.execute(query)}


def counts(connection: Connection) -> dict[str, int]:
    """Count the samples that people accept and reject."""
    found = Counter(row.word for row in connection.execute(_that_count()))
    return {word: found[word] for word in (ACCEPT, REJECT)}


def _that_count() -> Select[Any]:
    ids = select(func.max(sample_word.c.id)).group_by(sample_word.c.seq)
    return select(sample_word).where(sample_word.c.id.in_(ids)).order_by(sample_word.c.seq)


def changed_since(connection: Connection, run_id: int) -> int:
    """Count the rows of a run of `clean` on which people have changed their mind since: rejected now and not
    for it, or the other way round. Rows that it has not seen are not among them."""
    dropped = select(rejection.c.seq).where(rejection.c.run_id == run_id, rejection.c.reason == REJECTED)
    then = set(connection.execute(dropped).scalars())
    now_rejected = set(rejected(connection))
    return len(then - now_rejected) + _seen(connection, run_id, sorted(now_rejected - then))


def _seen(connection: Connection, run_id: int, seqs: Sequence[int]) -> int:
    total = 0
    for start in range(0, len(seqs), PAGE):
        page = seqs[start : start + PAGE]
        query = select(func.count()).where(outcome.c.run_id == run_id, outcome.c.seq.in_(page))
        total += int(connection.execute(query.select_from(outcome)).scalar_one())
    return total


def edits_of(connection: Connection, row: Row[Any]) -> list[str]:
    """Give the ids of the rows that people made out of a sample, the oldest first."""
    place = sample_place  # narrow and indexed by these: an edit has set, source and licence of its parent
    query = (
        select(sample.c.id)
        .join(place, place.c.seq == sample.c.seq)
        .where(
            place.c.name == row.name,
            place.c.source == row.source,
            place.c.licence == row.licence,
            place.c.method == EDITED,
            sample.c.extra["parent"].as_string() == row.id,
        )
        .order_by(sample.c.seq)
    )
    return list(connection.execute(query).scalars())
