"""Harvested documents, their texts, and the seeds cut from them."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from curation.records import SeedSnippet
from curation.store.database import Database
from curation.store.tables import document, document_text, harvest, sample, seed

KEPT, DROPPED = "kept", "dropped"
READING, COMPARING = "reading", "comparing"  # the stages that drop: a document by itself, or beside others
PAGE = 1_000
LEVEL = 6  # of zlib: its default; half the size of level 1 at a third of the speed


@dataclass(frozen=True, slots=True)
class JudgedDocument:
    """A document as it was read: where it is from, what is taken of it, or why nothing is."""

    source: str
    path: str
    hash: str
    language: str
    licence: str
    licence_evidence: str
    size: int  # bytes
    lines: int
    cuts: Sequence[tuple[int, int]] = ()  # first and last line, from 1
    redacted: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None  # None: used, as far as this document by itself is concerned
    evidence: Mapping[str, Any] = field(default_factory=dict)
    packed: bytes | None = None  # its text, secrets replaced; None: it has none


def pack(text: str) -> bytes:
    return zlib.compress(text.encode(), LEVEL)


def unpack(packed: bytes) -> str:
    return zlib.decompress(packed).decode()


# --- harvests ---


def harvests(db: Database) -> list[Row[Any]]:
    with db.reading() as connection:
        return list(connection.execute(select(harvest).order_by(harvest.c.given)).all())


def find_harvest(db: Database, id: str) -> Row[Any] | None:
    with db.reading() as connection:
        return connection.execute(select(harvest).where(harvest.c.id == id)).first()


def open_harvest(connection: Connection, id: str, given: str, settings: Mapping[str, Any]) -> None:
    """Begin a harvest, or go on with it."""
    values = {"id": id, "given": given, "settings": dict(settings), "state": "harvesting", "skipped": {}}
    statement = insert_or_ignore(harvest).values(values)
    changed = {"settings": dict(settings), "state": "harvesting"}
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changed))


def forget_documents(connection: Connection, id: str) -> None:
    """Take back what a harvest read, so that it is read anew. Seeds that samples were made from stay."""
    connection.execute(delete(document).where(document.c.harvest_id == id))
    connection.execute(update(harvest).where(harvest.c.id == id).values(position=None, skipped={}))


def note_position(connection: Connection, id: str, position: Any, skipped: Mapping[str, int]) -> None:
    """Say up to where a harvest is on record."""
    values = {"position": position, "skipped": dict(skipped)}
    connection.execute(update(harvest).where(harvest.c.id == id).values(values))


def finish_harvest(connection: Connection, id: str) -> None:
    connection.execute(update(harvest).where(harvest.c.id == id).values(state="complete"))


# --- documents ---


def add(connection: Connection, harvest_id: str, judged: Sequence[JudgedDocument]) -> None:
    """Keep documents; those of the same harvest, source and path change nothing."""
    if not judged:
        return
    rows = [
        {
            "harvest_id": harvest_id, "source": one.source, "path": one.path, "hash": one.hash,
            "language": one.language, "licence": one.licence, "licence_evidence": one.licence_evidence,
            "bytes": one.size, "lines": one.lines, "cuts": [list(cut) for cut in one.cuts],
            "redacted": dict(one.redacted), "state": DROPPED if one.reason else KEPT,
            "stage": READING if one.reason else None, "reason": one.reason, "evidence": dict(one.evidence),
        }
        for one in judged
    ]  # fmt: skip
    same = ["harvest_id", "source", "path"]
    connection.execute(insert_or_ignore(document).on_conflict_do_nothing(index_elements=same), rows)
    texts = [{"hash": one.hash, "packed": one.packed} for one in judged if one.packed is not None]
    if texts:
        connection.execute(insert_or_ignore(document_text).on_conflict_do_nothing(), texts)


def text_of(db: Database, hash: str) -> str | None:
    """Give a document's text, secrets replaced; None: there is none."""
    with db.reading() as connection:
        return _text(connection, hash)


def _text(connection: Connection, hash: str) -> str | None:
    query = select(document_text.c.packed).where(document_text.c.hash == hash)
    packed = connection.execute(query).scalar()
    return None if packed is None else unpack(packed)


COMPARED = (
    "seq", "harvest_id", "source", "path", "hash", "language", "licence", "licence_evidence", "cuts", "state",
)  # fmt: skip


def candidates(connection: Connection) -> Iterator[Row[Any]]:
    """Give every document that nothing in itself stands against, whatever comparing made of it, by seq."""
    columns = [document.c[name] for name in COMPARED]
    query = select(*columns).where(document.c.stage.is_distinct_from(READING)).order_by(document.c.seq)
    yield from connection.execution_options(yield_per=PAGE).execute(query)


def texts(connection: Connection, hashes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Give (hash, text) of documents, in the order asked for."""
    for hash in hashes:
        text = _text(connection, hash)
        if text is not None:
            yield hash, text


@dataclass(frozen=True, slots=True)
class Decision:
    """What comparing made of a document; no reason: it is used."""

    seq: int
    reason: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


def decide(connection: Connection, decisions: Sequence[Decision]) -> None:
    """Write what comparing made of documents, in place of what it made before."""
    statement = (
        update(document)
        .where(document.c.seq == bindparam("number"))
        .values(
            state=bindparam("new_state"), stage=bindparam("new_stage"), reason=bindparam("new_reason"),
            evidence=bindparam("new_evidence"),
        )
    )  # fmt: skip
    rows = [
        {
            "number": one.seq, "new_state": DROPPED if one.reason else KEPT,
            "new_stage": COMPARING if one.reason else None, "new_reason": one.reason,
            "new_evidence": dict(one.evidence),
        }
        for one in decisions
    ]  # fmt: skip
    if rows:
        connection.execute(statement, rows)


# --- seeds ---


def renew_seeds(connection: Connection, wanted: Sequence[SeedSnippet], methods: Sequence[str]) -> None:
    """Make the seeds of these methods these: add what is new, take away what no document brings any more.

    A seed that a sample was made from stays as it is, because the sample's origin must be readable.
    """
    used_ids = select(sample.c.seed_id).where(sample.c.seed_id.is_not(None))
    used = set(connection.execute(used_ids).scalars())
    ids = {one.id for one in wanted} | used
    known = select(seed.c.id).where(seed.c.method.in_(methods))
    stale = [id for id in connection.execute(known).scalars() if id not in ids]
    for first in range(0, len(stale), PAGE):
        connection.execute(delete(seed).where(seed.c.id.in_(stale[first : first + PAGE])))
    new = [one for one in wanted if one.id not in used]
    for first in range(0, len(new), PAGE):
        _put_seeds(connection, new[first : first + PAGE])


def _put_seeds(connection: Connection, seeds: Sequence[SeedSnippet]) -> None:
    """Write seeds; of equal documents another one may be the keeper by now."""
    names = SeedSnippet.__slots__
    statement = insert_or_ignore(seed)
    changed = {name: statement.excluded[name] for name in names if name != "id"}
    rows = [{name: getattr(one, name) for name in names} for one in seeds]
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changed), rows)


# --- counts ---


def counts(db: Database, harvest_id: str | None = None) -> dict[str, Any]:
    """Count documents, by reason when left out; None: of all harvests."""
    query = select(document.c.state, document.c.reason, func.count(), func.sum(document.c.bytes))
    if harvest_id is not None:
        query = query.where(document.c.harvest_id == harvest_id)
    found: dict[str, Any] = {"documents": 0, "kept": 0, "dropped": {}, "bytes": 0}
    with db.reading() as connection:
        for state, reason, number, size in connection.execute(
            query.group_by(document.c.state, document.c.reason).order_by(document.c.reason)
        ):
            found["documents"] += int(number)
            found["bytes"] += int(size or 0)
            if state == KEPT:
                found["kept"] += int(number)
            else:
                found["dropped"][str(reason)] = int(number)
    return found


def languages(db: Database, harvest_id: str | None = None) -> dict[str, int]:
    """Count snippets by language, the most first; None: of all harvests."""
    query = select(document.c.language, func.sum(func.json_array_length(document.c.cuts)))
    query = query.where(document.c.state == KEPT)
    if harvest_id is not None:
        query = query.where(document.c.harvest_id == harvest_id)
    with db.reading() as connection:
        rows = connection.execute(query.group_by(document.c.language)).all()
    return dict(sorted(((name, int(n)) for name, n in rows), key=lambda one: (-one[1], one[0])))
