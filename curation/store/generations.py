"""Generations, what was wanted of each, and what became of it. Prompts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, Text, bindparam, cast, func, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from curation.store.database import Database, now
from curation.store.tables import (
    generation,
    generation_item,
    prompt,
    prompt_choice,
    sample,
    seed,
    teacher_call,
)

PAGE = 500
WAITING, KEPT, REJECTED, FAILED = "waiting", "kept", "rejected", "failed"
STATES = (KEPT, REJECTED, FAILED, WAITING)
REPAIR = "repair"  # in an item's evidence: what came of asking once more, when it did not help


# --- prompts ---


def keep_prompt(connection: Connection, facts: Mapping[str, str]) -> None:
    """Keep a prompt: hash, method, name, system, user, repair. One that is there stays as it is."""
    connection.execute(
        insert_or_ignore(prompt).on_conflict_do_nothing(index_elements=["hash"]), {**facts, "at": now()}
    )


def prompts(db: Database, method: str) -> list[Row[Any]]:
    """Give the prompts that were kept for a method, the newest last."""
    with db.reading() as connection:
        return list(
            connection.execute(
                select(prompt).where(prompt.c.method == method).order_by(prompt.c.at, prompt.c.hash)
            )
        )


def find_prompt(db: Database, hash: str) -> Row[Any] | None:
    with db.reading() as connection:
        return connection.execute(select(prompt).where(prompt.c.hash == hash)).first()


def choose_prompt(connection: Connection, method: str, hash: str, person: str) -> None:
    """Let a method use this prompt from now on."""
    connection.execute(
        insert_or_ignore(prompt_choice).values(method=method, prompt_hash=hash, person=person, at=now())
    )


def chosen_prompt(db: Database, method: str) -> Row[Any] | None:
    """Give the prompt that somebody chose last for a method."""
    with db.reading() as connection:
        return connection.execute(
            select(prompt)
            .join(prompt_choice, prompt_choice.c.prompt_hash == prompt.c.hash)
            .where(prompt_choice.c.method == method)
            .order_by(prompt_choice.c.id.desc())
            .limit(1)
        ).first()


# --- generations ---


def open_generation(connection: Connection, id: str, facts: Mapping[str, Any]) -> None:
    """Note that a generation is at work: method, name, model, endpoint, prompt_hash, settings."""
    values = {"id": id, **facts, "paused": None, "created_at": now(), "worked_at": now()}
    statement = insert_or_ignore(generation).on_conflict_do_update(
        index_elements=["id"],
        set_={"paused": None, "worked_at": values["worked_at"], "settings": values["settings"]},
    )
    connection.execute(statement, values)


def pause(connection: Connection, id: str, why: str | None) -> None:
    """Say why a generation stands still; None: it does not."""
    connection.execute(update(generation).where(generation.c.id == id).values(paused=why))


def find(db: Database, id: str) -> Row[Any] | None:
    with db.reading() as connection:
        return connection.execute(select(generation).where(generation.c.id == id)).first()


def all_of(db: Database, method: str | None = None) -> list[Row[Any]]:
    """Give the generations, the one that worked last first."""
    query = select(generation).order_by(generation.c.worked_at.desc(), generation.c.created_at.desc())
    with db.reading() as connection:
        return list(
            connection.execute(query if method is None else query.where(generation.c.method == method))
        )


# --- items ---


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing wanted: of which subject, and which draw."""

    subject: str
    draw: int
    call_id: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of an item."""

    position: int
    state: str  # kept | rejected | failed
    reason: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, int] = field(default_factory=dict)
    sample_id: str | None = None
    parser: str | None = None
    repair_id: str | None = None


def known_items(connection: Connection, id: str) -> set[tuple[str, int]]:
    """Give subject and draw of every item of a generation."""
    c = generation_item.c
    query = select(c.subject, c.draw).where(c.generation_id == id)
    return {(one.subject, one.draw) for one in connection.execute(query)}


def want(connection: Connection, id: str, wanted: Sequence[Wanted]) -> None:
    """Add items that are not there yet, behind those that are, in the order given."""
    before = _items(connection, id)
    rows = [
        {"generation_id": id, "position": before + number, "subject": one.subject, "draw": one.draw,
         "call_id": one.call_id, "state": WAITING, "evidence": {}, "flags": {}}
        for number, one in enumerate(wanted)
    ]  # fmt: skip
    if rows:
        connection.execute(insert_or_ignore(generation_item), rows)


def _items(connection: Connection, id: str) -> int:
    query = select(func.count()).select_from(generation_item).where(generation_item.c.generation_id == id)
    return int(connection.execute(query).scalar_one())


def items(connection: Connection, id: str, subjects: Sequence[str] | None = None) -> list[Row[Any]]:
    """Give position, subject, draw, call_id, repair_id, state, reason of a generation's items, in order."""
    c = generation_item.c
    query = select(c.position, c.subject, c.draw, c.call_id, c.repair_id, c.state, c.reason, c.sample_id)
    rows: list[Row[Any]] = list(connection.execute(query.where(c.generation_id == id).order_by(c.position)))
    if subjects is None:
        return rows
    wanted = set(subjects)
    return [one for one in rows if one.subject in wanted]


def decide(connection: Connection, id: str, decided: Sequence[Decided]) -> None:
    """Write down what became of items."""
    if not decided:
        return
    c = generation_item.c
    statement = (
        update(generation_item)
        .where(c.generation_id == id, c.position == bindparam("at"))
        .values(**{name: bindparam(f"new_{name}") for name in (
            "state", "reason", "evidence", "flags", "sample_id", "parser", "repair_id"
        )})
    )  # fmt: skip
    connection.execute(statement, [
        {
            "at": one.position, "new_state": one.state, "new_reason": one.reason,
            "new_evidence": dict(one.evidence), "new_flags": dict(one.flags),
            "new_sample_id": one.sample_id, "new_parser": one.parser, "new_repair_id": one.repair_id,
        }
        for one in decided
    ])  # fmt: skip


def counts(connection: Connection, id: str) -> dict[str, dict[str, int]]:
    """Count a generation's items: {state: {reason or "": n}}."""
    c = generation_item.c
    query = select(c.state, func.coalesce(c.reason, ""), func.count()).where(c.generation_id == id)
    found: dict[str, dict[str, int]] = {state: {} for state in STATES}
    for state, reason, number in connection.execute(query.group_by(c.state, c.reason)):
        found[state][reason] = int(number)
    return found


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """Which items of a generation a list shows. None: any."""

    state: str | None = None
    reason: str | None = None
    flag: bool = False  # only those that somebody should look at


def _of(id: str, query: ItemQuery) -> list[Any]:
    c = generation_item.c
    found = [c.generation_id == id]
    if query.state is not None:
        found.append(c.state == query.state)
    if query.reason is not None:
        found.append(func.coalesce(c.reason, "") == query.reason)
    if query.flag:
        found.append(cast(c.flags, Text) != "{}")
    return found


def item_page(
    db: Database,
    id: str,
    query: ItemQuery,
    after: int | None = None,
    before: int | None = None,
    size: int = 50,
) -> tuple[list[Row[Any]], int | None, int | None]:
    """Give items after or before a position, each with its call (state, reply, message, tokens, attempts);
    and the positions to go back to and on from (None: nothing there)."""
    c, t = generation_item.c, teacher_call.c
    picked = (
        select(
            generation_item, t.state.label("call_state"), t.reply, t.message, t.tokens_in, t.tokens_out,
            t.finish_reason, t.attempts, t.seconds,
        )
        .join(teacher_call, t.id == func.coalesce(c.repair_id, c.call_id), isouter=True)
        .where(*_of(id, query))
        .limit(size + 1)
    )  # fmt: skip
    with db.reading() as connection:
        if before is not None:
            rows = list(connection.execute(picked.where(c.position < before).order_by(c.position.desc())))
            has_more, rows = len(rows) > size, rows[:size][::-1]
            return rows, (rows[0].position if has_more else None), (rows[-1].position if rows else None)
        start = -1 if after is None else after
        rows = list(connection.execute(picked.where(c.position > start).order_by(c.position)))
    has_more, rows = len(rows) > size, rows[:size]
    is_first = after is None or not rows
    return rows, (None if is_first else rows[0].position), (rows[-1].position if has_more else None)


def count_items(connection: Connection, id: str, query: ItemQuery) -> int:
    found = select(func.count()).select_from(generation_item).where(*_of(id, query))
    return int(connection.execute(found).scalar_one())


def item_at(db: Database, id: str, position: int) -> Row[Any] | None:
    """Give one item with its call: request, reply and all."""
    c, t = generation_item.c, teacher_call.c
    with db.reading() as connection:
        return connection.execute(
            select(
                generation_item,
                t.state.label("call_state"),
                t.request,
                t.reply,
                t.message,
                t.tokens_in,
                t.tokens_out,
                t.finish_reason,
                t.attempts,
                t.seconds,
                t.model,
                t.endpoint,
                t.prompt_hash,
            )
            .join(teacher_call, t.id == func.coalesce(c.repair_id, c.call_id), isouter=True)
            .where(c.generation_id == id, c.position == position)
        ).first()


def answered(connection: Connection, id: str) -> list[Row[Any]]:
    """Give subject, draw, tokens_in, tokens_out and seconds of a generation's answered items; what a repair
    or a useless reply took is counted with its item."""
    c, t = generation_item.c, teacher_call.c
    return list(
        connection.execute(
            select(
                c.subject,
                c.draw,
                func.sum(t.tokens_in).label("tokens_in"),
                func.sum(t.tokens_out).label("tokens_out"),
                func.sum(t.seconds).label("seconds"),
            )
            .join(teacher_call, (t.id == c.call_id) | (t.id == c.repair_id))
            .where(c.generation_id == id, (t.state == "done") | (t.tokens_in + t.tokens_out > 0))
            .group_by(c.position)
        )
    )


def item_of_sample(db: Database, sample_id: str) -> Row[Any] | None:
    """Give the item that a sample was made of."""
    with db.reading() as connection:
        return connection.execute(
            select(generation_item).where(
                (generation_item.c.call_id == sample_id) | (generation_item.c.repair_id == sample_id)
            )
        ).first()


def items_of_subject(connection: Connection, subject: str) -> list[Row[Any]]:
    """Give method, call_id and repair_id of everything that was asked about a subject."""
    item = generation_item.c
    query = (
        select(generation.c.method, item.call_id, item.repair_id)
        .join(generation, generation.c.id == item.generation_id)
        .where(item.subject == subject)
    )
    return list(connection.execute(query))


def prompt_name(connection: Connection, hash: str) -> str:
    """Give the name of a prompt; "" for one that is gone."""
    return connection.execute(select(prompt.c.name).where(prompt.c.hash == hash)).scalar() or ""


def stream_items(db: Database, id: str, states: Sequence[str]) -> Iterator[Row[Any]]:
    """Give a generation's items in some states, with request and reply of the call that decided, by pages."""
    c, t = generation_item.c, teacher_call.c
    decisive = func.coalesce(c.repair_id, c.call_id)
    last = -1
    while True:
        with db.reading() as connection:
            page = connection.execute(
                select(generation_item, t.reply, t.state.label("call_state"), t.id.label("decisive_id"))
                .join(teacher_call, t.id == decisive)
                .where(c.generation_id == id, c.position > last, c.state.in_(states))
                .order_by(c.position)
                .limit(PAGE)
            ).all()
        if not page:
            return
        yield from page
        last = page[-1].position


def seeds_of(connection: Connection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Give these seeds whole, by their ids."""
    found: dict[str, Row[Any]] = {}
    for start in range(0, len(ids), PAGE):
        page = list(ids[start : start + PAGE])
        found |= {one.id: one for one in connection.execute(select(seed).where(seed.c.id.in_(page)))}
    return found


def alike(connection: Connection, id: str) -> tuple[int, int]:
    """Count a generation's samples, and those of its commonest content (faults.md F24)."""
    joined = generation_item.join(sample, sample.c.id == generation_item.c.sample_id)
    rows = (
        connection.execute(
            select(func.count())
            .select_from(joined)
            .where(generation_item.c.generation_id == id, generation_item.c.state == KEPT)
            .group_by(sample.c.content_hash)
        )
        .scalars()
        .all()
    )
    return sum(rows), max(rows, default=0)


def of_other_names(connection: Connection, id: str) -> dict[str, int]:
    """Count those of a generation's samples that stand under another name than its own: {name: n}. Another
    generation with the same calls made them first."""
    own = select(generation.c.name).where(generation.c.id == id).scalar_subquery()
    query = (
        select(sample.c.name, func.count())
        .select_from(generation_item.join(sample, sample.c.id == generation_item.c.sample_id))
        .where(generation_item.c.generation_id == id, sample.c.name != own)
        .group_by(sample.c.name)
        .order_by(sample.c.name)
    )
    return {name: int(number) for name, number in connection.execute(query)}
