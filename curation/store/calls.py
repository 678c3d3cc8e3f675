"""Calls to a teacher: written before they are sent, completed with what came back."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, case, func, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_update

from curation.store.database import Database, now
from curation.store.tables import generation, teacher_batch, teacher_batch_call, teacher_call

PAGE = 500
LEVEL = 6  # of zlib; requests of one generation are much alike
SENT, DONE, FAILED, LOST = "sent", "done", "failed", "lost"


@dataclass(frozen=True, slots=True)
class SentCall:
    """A call as it is written down before it is sent."""

    id: str
    draw: str
    model: str
    endpoint: str
    prompt_hash: str
    request: str  # JSON: messages and parameters
    worst_in: int
    worst_out: int


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """What came of a call, as it is written down."""

    id: str
    state: str  # done | failed | lost: not answered, nobody knows whether it is billed
    reply: str | None = None  # the body as it came
    reason: str | None = None
    message: str | None = None
    finish_reason: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    is_guessed: bool = False
    is_lost: bool = False  # this attempt may have been billed, and its reply never came
    seconds: float | None = None  # None: it was answered in a batch


def pack(text: str) -> bytes:
    return zlib.compress(text.encode("utf-8", "surrogatepass"), LEVEL)


def unpack(packed: bytes) -> str:
    return zlib.decompress(packed).decode("utf-8", "surrogatepass")


def _insert_sent() -> Any:
    statement = insert_or_update(teacher_call)
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={
            "state": SENT, "attempts": teacher_call.c.attempts + 1, "sent_at": statement.excluded.sent_at,
            "generation_id": statement.excluded.generation_id,
        },
        where=teacher_call.c.state != DONE,
    )  # fmt: skip


FACTS = ("state", "reason", "message", "finish_reason", "tokens_cached", "is_guessed", "seconds")


def _update_answered() -> Any:
    c = teacher_call.c
    return (
        update(teacher_call)
        .where(c.id == bindparam("call"))
        .values(
            **{name: bindparam(f"new_{name}") for name in FACTS},
            reply=func.coalesce(bindparam("new_reply"), c.reply),
            # Added up: a useless reply before this one was paid for, too.
            tokens_in=c.tokens_in + bindparam("more_in"),
            tokens_out=c.tokens_out + bindparam("more_out"),
            lost_in=c.lost_in + bindparam("times_lost") * c.worst_in,
            lost_out=c.lost_out + bindparam("times_lost") * c.worst_out,
            answered_at=bindparam("at"),
        )
    )


# Made once: they run for every few calls, and making one takes longer than running it.
INSERT_SENT, UPDATE_ANSWERED = _insert_sent(), _update_answered()


def write_sent(connection: Connection, generation_id: str, calls: Sequence[SentCall]) -> None:
    """Note that these are about to be sent; one that was sent before counts another attempt.

    Who asks again pays for all of it. A call that was answered stays as it is.
    """
    if not calls:
        return
    at = now()
    connection.execute(INSERT_SENT, [
        {
            "id": one.id, "generation_id": generation_id, "state": SENT, "draw": one.draw, "attempts": 1,
            "model": one.model, "endpoint": one.endpoint, "prompt_hash": one.prompt_hash,
            "request": pack(one.request), "worst_in": one.worst_in, "worst_out": one.worst_out,
            "tokens_in": 0, "tokens_out": 0, "tokens_cached": 0, "lost_in": 0, "lost_out": 0,
            "is_guessed": False, "sent_at": at,
        }
        for one in calls
    ])  # fmt: skip


def write_answered(connection: Connection, calls: Sequence[AnsweredCall]) -> None:
    """Note what came back. Attempts of one call come one after the other, in any number of groups."""
    if not calls:
        return
    at = now()
    connection.execute(UPDATE_ANSWERED, [
        {
            "call": one.id, "times_lost": int(one.is_lost), "at": at,
            "more_in": one.tokens_in, "more_out": one.tokens_out,
            "new_reply": None if one.reply is None else pack(one.reply),
            **{f"new_{name}": getattr(one, name) for name in FACTS},
        }
        for one in calls
    ])  # fmt: skip


def in_living_batch() -> Select[Any]:
    """Select the ids of all calls that belong to a batch which has not ended."""
    joined = teacher_batch_call.join(teacher_batch, teacher_batch.c.name == teacher_batch_call.c.batch)
    return select(teacher_batch_call.c.call_id).select_from(joined).where(teacher_batch.c.ended_at.is_(None))


def settle_orphans(connection: Connection, generation_id: str) -> int:
    """Note that the replies to calls of a process that died are lost: they may be billed. Gives how many.
    Calls in a living batch are none of these: the teacher holds their replies for whoever asks."""
    changed = connection.execute(
        update(teacher_call)
        .where(teacher_call.c.generation_id == generation_id, teacher_call.c.state == SENT)
        .where(teacher_call.c.id.not_in(in_living_batch()))
        .values(
            state=LOST,
            lost_in=teacher_call.c.lost_in + teacher_call.c.worst_in,
            lost_out=teacher_call.c.lost_out + teacher_call.c.worst_out,
        )
    )
    return int(changed.rowcount)


def spent(connection: Connection, generation_id: str) -> tuple[int, int]:
    """Give the tokens that a generation used, in and out; lost replies count with their worst case."""
    row = connection.execute(
        select(
            func.coalesce(func.sum(teacher_call.c.tokens_in + teacher_call.c.lost_in), 0),
            func.coalesce(func.sum(teacher_call.c.tokens_out + teacher_call.c.lost_out), 0),
        ).where(teacher_call.c.generation_id == generation_id)
    ).one()
    return int(row[0]), int(row[1])


def done(connection: Connection, ids: Iterable[str]) -> list[Row[Any]]:
    """Give those of these calls that were answered as they should be, whole."""
    wanted = list(ids)
    found: list[Row[Any]] = []
    for start in range(0, len(wanted), PAGE):
        page = wanted[start : start + PAGE]
        query = select(teacher_call).where(teacher_call.c.id.in_(page), teacher_call.c.state == DONE)
        found += connection.execute(query).all()
    return found


def find(db: Database, id: str) -> Row[Any] | None:
    with db.reading() as connection:
        return connection.execute(select(teacher_call).where(teacher_call.c.id == id)).first()


def find_in(connection: Connection, id: str) -> Row[Any] | None:
    return connection.execute(select(teacher_call).where(teacher_call.c.id == id)).first()


def totals(connection: Connection, generation_id: str) -> Row[Any]:
    """Sum a generation's calls: calls, attempts, tokens_in, tokens_out, tokens_cached, lost_in, lost_out,
    answered, seconds (mean of those answered)."""
    c = teacher_call.c
    return connection.execute(
        select(
            func.count().label("calls"),
            *(
                func.coalesce(func.sum(c[name]), 0).label(name)
                for name in ("attempts", "tokens_in", "tokens_out", "tokens_cached", "lost_in", "lost_out")
            ),
            func.coalesce(func.sum(case((c.state == DONE, 1), else_=0)), 0).label("answered"),
            func.avg(c.seconds).label("seconds"),
        ).where(c.generation_id == generation_id)
    ).one()


def ledger(db: Database) -> list[Row[Any]]:
    """Give what was used, a line for each generation, model and prompt, the newest generation first: name,
    method, model, endpoint, prompt_hash, calls, attempts, tokens, lost, first and last time."""
    c, g = teacher_call.c, generation.c
    with db.reading() as connection:
        return list(
            connection.execute(
                select(
                    c.generation_id,
                    g.name,
                    g.method,
                    c.model,
                    c.endpoint,
                    c.prompt_hash,
                    g.settings,
                    func.count().label("calls"),
                    func.sum(c.attempts).label("attempts"),
                    func.sum(c.tokens_in).label("tokens_in"),
                    func.sum(c.tokens_out).label("tokens_out"),
                    func.sum(c.lost_in).label("lost_in"),
                    func.sum(c.lost_out).label("lost_out"),
                    func.min(c.sent_at).label("first"),
                    func.max(c.answered_at).label("last"),
                )
                .join(generation, g.id == c.generation_id)
                .group_by(c.generation_id, g.name, g.method, c.model, c.endpoint, c.prompt_hash, g.settings)
                .order_by(func.min(c.sent_at).desc(), c.generation_id)
            )
        )


def measured(connection: Connection, generation_id: str) -> Iterator[tuple[int, int, float]]:
    """Give tokens in, tokens out and seconds of every answered call of a generation."""
    c = teacher_call.c
    query = select(c.tokens_in, c.tokens_out, c.seconds).where(
        c.generation_id == generation_id, c.state == DONE
    )
    for row in connection.execute(query):
        yield int(row[0]), int(row[1]), float(row[2] or 0.0)
