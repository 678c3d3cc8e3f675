"""What a judge said of samples. Of several judgements of one sample the newest counts; a sample that nobody
judged has none, and nothing here gives it a number."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, cast, func, select
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from curation.store import sample_words
from curation.store.database import Database
from curation.store.tables import generation_item, judgement, prompt, sample, sample_place

PAGE = 500


def add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep judgements: seq, call_id, model, prompt_hash, score, difficulty, reason. A call makes one."""
    if rows:
        statement = insert_or_ignore(judgement).on_conflict_do_nothing(index_elements=["call_id"])
        connection.execute(statement, [dict(row) for row in rows])


def that_count() -> Select[Any]:
    """Choose the ids of the judgements that count: of each sample the newest."""
    return select(func.max(judgement.c.id)).group_by(judgement.c.seq)


def newest_id(connection: Connection) -> int | None:
    """Name the newest judgement of all; None: nothing was judged."""
    found: int | None = connection.execute(select(func.max(judgement.c.id))).scalar()
    return found


def newest(connection: Connection, seqs: Sequence[int], upto: int | None = None) -> dict[int, Row[Any]]:
    """Give the judgement that counts of each of these samples; those without one are left out.

    `upto`: as things stood when this was the newest judgement of all.
    """
    found: dict[int, Row[Any]] = {}
    for start in range(0, len(seqs), PAGE):
        page = [int(seq) for seq in seqs[start : start + PAGE]]
        ids = that_count().where(judgement.c.seq.in_(page))
        if upto is not None:
            ids = ids.where(judgement.c.id <= upto)
        query = select(judgement).where(judgement.c.id.in_(ids))
        found |= {int(row.seq): row for row in connection.execute(query)}
    return found


def of_sample(connection: Connection, seq: int) -> list[Row[Any]]:
    """Give every judgement of a sample, the newest first, with the rubric's name as `prompt` and the flags of
    the text that was judged."""
    j, item = judgement.c, generation_item.c
    made_by = (item.call_id == j.call_id) | (item.repair_id == j.call_id)
    flags = select(item.flags).where(made_by).limit(1).scalar_subquery()
    query = select(judgement, prompt.c.name.label("prompt"), flags.label("flags"))
    query = query.outerjoin(prompt, prompt.c.hash == j.prompt_hash).where(j.seq == seq)
    return list(connection.execute(query.order_by(j.id.desc())))


def histogram(connection: Connection, field: str = "score", name: str | None = None) -> dict[int, int]:
    """Count samples by the score or the difficulty that counts; `name`: only those of this set. {} when
    nothing was judged."""
    value = judgement.c[field]
    query = select(value, func.count()).where(judgement.c.id.in_(that_count()), value.is_not(None))
    if name is not None:
        of_set = select(sample_place.c.seq).where(sample_place.c.name == name)
        query = query.where(judgement.c.seq.in_(of_set))
    found = connection.execute(query.group_by(value).order_by(value))
    return {int(score): int(number) for score, number in found}


def scores_of(connection: Connection, generation_id: str) -> dict[str, float]:
    """Give the score of every sample that a generation of the judge has judged, by the sample's id."""
    item = generation_item.c
    decisive = func.coalesce(item.repair_id, item.call_id)
    query = (
        select(item.subject, judgement.c.score)
        .join(judgement, judgement.c.call_id == decisive)
        .where(item.generation_id == generation_id)
    )
    return {str(row[0]): float(row[1]) for row in connection.execute(query)}


def flagged(connection: Connection, generation_id: str) -> set[str]:
    """Give the ids of the samples of a generation of the judge whose texts somebody should look at."""
    item = generation_item.c
    query = select(item.subject).where(item.generation_id == generation_id)
    return set(connection.execute(query.where(cast(item.flags, Text) != "{}")).scalars())


def candidates(db: Database, name: str | None, method: str | None) -> list[str]:
    """Give the ids of the samples of a set and a method (None: any) in import order, without those that a
    stage has dropped or a person rejects: a judge's word on them would change nothing."""
    with db.reading() as connection:
        return list(candidate_seqs(connection, name, method).values())


def candidate_seqs(
    connection: Connection, name: str | None, method: str | None = None, without: str | None = None
) -> dict[int, str]:
    """Give the same as {seq: id}; `without`: not those of this method."""
    place = sample_place.c
    query = select(sample.c.id, sample.c.seq).join(sample_place, place.seq == sample.c.seq)
    query = query.where(place.place != "dropped")
    for column, wanted in ((place.name, name), (place.method, method)):
        if wanted is not None:
            query = query.where(column == wanted)
    if without is not None:
        query = query.where(place.method != without)
    rejected = sample_words.rejected(connection)
    found = connection.execute(query.order_by(sample.c.seq))
    return {int(row.seq): str(row.id) for row in found if row.seq not in rejected}
