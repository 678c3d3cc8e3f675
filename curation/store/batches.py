"""Batches of calls: what a teacher's batch API was given, and what became of it.

A batch lives from the moment it is written down until it has ended here, whatever happened to the process.
While it lives its calls belong to it: nobody sends them otherwise, and nobody takes them for lost.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from curation.store.calls import LOST, PAGE, SENT, in_living_batch
from curation.store.database import Database, now
from curation.store.tables import generation_item, teacher_batch, teacher_batch_call, teacher_call

# While it lives. `written`: nothing of it is known to the teacher, or its requests at most. `uploaded`: its
# requests are there, and nobody knows whether it was created. `created`: it has the teacher's id.
WRITTEN, UPLOADED, CREATED = "written", "uploaded", "created"
# How it ended: as the teacher says (completed | failed | expired | cancelled), or one of these.
REFUSED, DROPPED, GIVEN_UP = "refused", "dropped", "given_up"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a batch ended, and what that means for its calls without an answer."""

    state: str
    message: str | None  # why it did not end well
    reason: str  # of those calls, a short word
    why: str  # of those calls, for people
    is_lost: bool  # they may have been billed


@dataclass(frozen=True, slots=True)
class Released:
    """Calls of a batch that got no answer, and the tokens that were reserved for them."""

    calls: int
    worst_in: int
    worst_out: int


def begin(connection: Connection, name: str, generation_id: str) -> None:
    """Note that a batch is about to be made."""
    connection.execute(
        insert(teacher_batch).values(
            name=name, generation_id=generation_id, state=WRITTEN, calls=0, report={}, created_at=now()
        )
    )


def add_calls(connection: Connection, name: str, calls: Sequence[tuple[str, int]]) -> None:
    """Put calls into a batch: id, and position of the item that each answers."""
    b = teacher_batch.c
    connection.execute(
        insert(teacher_batch_call),
        [{"batch": name, "call_id": id, "position": position} for id, position in calls],
    )
    connection.execute(update(teacher_batch).where(b.name == name).values(calls=b.calls + len(calls)))


def note(connection: Connection, name: str, state: str, **facts: str) -> None:
    """Say how far a batch is: `file_id`, `id`."""
    connection.execute(update(teacher_batch).where(teacher_batch.c.name == name).values(state=state, **facts))


def end(connection: Connection, name: str, ending: Ending, report: Mapping[str, int]) -> Released:
    """Close a batch. Its calls without an answer are free again. `report`: {what: n} of its lines."""
    t = teacher_call.c
    unanswered = [t.state == SENT, t.id.in_(_calls_of(name))]
    sums = [func.coalesce(func.sum(column), 0) for column in (t.worst_in, t.worst_out)]
    row = connection.execute(select(func.count(), *sums).where(*unanswered)).one()
    left, lost = Released(*map(int, row)), int(ending.is_lost)
    connection.execute(
        update(teacher_call)
        .where(*unanswered)
        .values(
            state=LOST,
            reason=ending.reason,
            message=ending.why,
            lost_in=t.lost_in + lost * t.worst_in,
            lost_out=t.lost_out + lost * t.worst_out,
        )
    )
    connection.execute(
        update(teacher_batch)
        .where(teacher_batch.c.name == name)
        .values(
            state=ending.state,
            report={**report, **({"without_answer": left.calls} if left.calls else {})},
            message=ending.message,
            ended_at=now(),
        )
    )
    return left


def _calls_of(name: str) -> Select[Any]:
    return select(teacher_batch_call.c.call_id).where(teacher_batch_call.c.batch == name)


def living(connection: Connection, generation_id: str) -> list[Row[Any]]:
    """Give a generation's batches that have not ended, the oldest first."""
    return [one for one in of_generation(connection, generation_id) if one.ended_at is None]


def of_generation(connection: Connection, generation_id: str) -> list[Row[Any]]:
    """Give a generation's batches, the oldest first."""
    b = teacher_batch.c
    query = select(teacher_batch).where(b.generation_id == generation_id)
    return list(connection.execute(query.order_by(b.number)))


def held(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Give those of these calls that belong to a living batch of any generation."""
    wanted, found = list(ids), set[str]()
    for start in range(0, len(wanted), PAGE):
        page = teacher_batch_call.c.call_id.in_(wanted[start : start + PAGE])
        found |= set(connection.execute(in_living_batch().where(page)).scalars())
    return found


def reserved(connection: Connection, generation_id: str) -> tuple[int, int]:
    """Give the tokens, in and out, that calls in a generation's living batches can cost at most."""
    t = teacher_call.c
    mine = in_living_batch().where(teacher_batch.c.generation_id == generation_id)
    sums = [func.coalesce(func.sum(column), 0) for column in (t.worst_in, t.worst_out)]
    row = connection.execute(select(*sums).where(t.state == SENT, t.id.in_(mine))).one()
    return int(row[0]), int(row[1])


def unanswered(connection: Connection, name: str, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Give those of these calls that the batch still owes an answer, whole, by id."""
    t = teacher_call.c
    query = select(teacher_call).where(t.id.in_(ids), t.state == SENT, t.id.in_(_calls_of(name)))
    return {row.id: row for row in connection.execute(query)}


def batches_of(connection: Connection, ids: Sequence[str]) -> dict[str, set[str]]:
    """Give the names of all batches that these calls were ever in, by call."""
    c = teacher_batch_call.c
    found: dict[str, set[str]] = {}
    for id, name in connection.execute(select(c.call_id, c.batch).where(c.call_id.in_(ids))):
        found.setdefault(id, set()).add(name)
    return found


def items_of(connection: Connection, generation_id: str, ids: Sequence[str]) -> list[Row[Any]]:
    """Give the items that calls in a generation's living batches answer, each with the call (`asked_id`)."""
    i, c, b = generation_item.c, teacher_batch_call.c, teacher_batch.c
    query = (
        select(generation_item, c.call_id.label("asked_id"))
        .join(teacher_batch_call, c.position == i.position)
        .join(teacher_batch, b.name == c.batch)
        .where(i.generation_id == generation_id, b.generation_id == generation_id)
        .where(b.ended_at.is_(None), c.call_id.in_(ids))
    )
    return list(connection.execute(query))


def stream_calls(db: Database, name: str) -> Iterator[Row[Any]]:
    """Give the calls of a batch whole, by pages."""
    c, last = teacher_batch_call.c, ""
    while True:
        with db.reading() as connection:
            page = connection.execute(
                select(teacher_call)
                .join(teacher_batch_call, c.call_id == teacher_call.c.id)
                .where(c.batch == name, c.call_id > last)
                .order_by(c.call_id)
                .limit(PAGE)
            ).all()
        if not page:
            return
        yield from page
        last = page[-1].id
