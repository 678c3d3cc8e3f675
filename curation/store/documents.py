"""Harvested documents, their texts, and the seeds cut from them."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from curation.records import DocumentSignature
from curation.store.database import Database, now
from curation.store.tables import document, document_rescue, document_signature, document_text, harvest

KEPT, DROPPED = "kept", "dropped"
READING, COMPARING = "reading", "comparing"  # the stages that drop: a document by itself, or beside others
RESCUED = "rescued"  # the stage of a document that is kept because a person wants it
PAGE = 1_000
TEXTS = 256  # documents that are read with their texts at a time
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
    signature: DocumentSignature | None = None  # of that text; None: it is not to be compared


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
    _add_signatures(connection, judged)


def _add_signatures(connection: Connection, judged: Sequence[JudgedDocument]) -> None:
    """Keep signatures of texts that are on record just so: one that an older rule redacted stays as it was,
    and so must what it is compared by."""
    signed = [(one.hash, one.signature, one.packed) for one in judged if one.signature is not None]
    if not signed:
        return
    on_record = exists().where(
        document_text.c.hash == bindparam("hash"), document_text.c.packed == bindparam("packed")
    )
    values = select(*(bindparam(column.name, type_=column.type) for column in document_signature.c))
    statement = insert_or_ignore(document_signature).from_select(
        list(document_signature.c.keys()), values.where(on_record)
    )
    statement = statement.on_conflict_do_update(index_elements=["hash"], set_=_new(statement))
    connection.execute(statement, [
        {**_signature_row(hash, signature), "packed": packed} for hash, signature, packed in signed
    ])  # fmt: skip


def keep_signatures(connection: Connection, signed: Sequence[tuple[str, DocumentSignature]]) -> None:
    """Keep signatures by document hash, in place of those of another version."""
    statement = insert_or_ignore(document_signature)
    statement = statement.on_conflict_do_update(index_elements=["hash"], set_=_new(statement))
    if signed:
        connection.execute(statement, [_signature_row(*one) for one in signed])


def signatures(connection: Connection, version: int) -> Iterator[tuple[str, DocumentSignature]]:
    """Give (hash, signature) of every document that has one of this version, in no order."""
    columns = [document_signature.c[name] for name in ("hash", "text_key", "grams", "signature", "version")]
    query = select(*columns).where(document_signature.c.version == version)
    for hash, *facts in connection.execution_options(yield_per=PAGE).execute(query):
        yield hash, DocumentSignature(*facts)


def _signature_row(hash: str, one: DocumentSignature) -> dict[str, Any]:
    return {
        "hash": hash, "text_key": one.text_key, "grams": one.grams, "signature": one.numbers,
        "version": one.version,
    }  # fmt: skip


def _new(statement: Insert) -> dict[str, Any]:
    """Give what a row gets in place of what it had."""
    return {name: value for name, value in statement.excluded.items() if name != "hash"}


def text_of(db: Database, hash: str) -> str | None:
    """Give a document's text, secrets replaced; None: there is none."""
    with db.reading() as connection:
        return text_in(connection, hash)


def text_in(connection: Connection, hash: str) -> str | None:
    """See `text_of`."""
    query = select(document_text.c.packed).where(document_text.c.hash == hash)
    packed = connection.execute(query).scalar()
    return None if packed is None else unpack(packed)


COMPARED = (
    "seq", "harvest_id", "source", "path", "hash", "language", "licence", "licence_evidence", "cuts", "state",
    "stage", "reason", "evidence",
)  # fmt: skip


def candidates(connection: Connection) -> Iterator[Row[Any]]:
    """Give every document that nothing in itself stands against or that a person wants, whatever comparing
    made of it, by seq. `rescue` is the id of the person's word, or None."""
    columns = [document.c[name] for name in COMPARED]
    word = _word_on_it()
    query = select(*columns, document_rescue.c.id.label("rescue")).select_from(document.outerjoin(*word))
    wanted = or_(document.c.stage.is_distinct_from(READING), document_rescue.c.id.is_not(None))
    query = query.where(wanted).order_by(document.c.seq)
    found: Iterator[Row[Any]] = iter(connection.execution_options(yield_per=PAGE).execute(query))
    yield from found


def _word_on_it() -> tuple[Table, ColumnElement[bool]]:
    """Join documents to what a person said of them: by harvest, path and content."""
    same = (
        (document_rescue.c.document_hash == document.c.hash)
        & (document_rescue.c.path == document.c.path)
        & (document_rescue.c.harvest_id == document.c.harvest_id)
        & document_rescue.c.active.is_(True)
    )
    return document_rescue, same


def texts(connection: Connection, hashes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Give (hash, text) of documents, in the order asked for."""
    for hash in hashes:
        text = text_in(connection, hash)
        if text is not None:
            yield hash, text


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a document beside the others. Stage None: used; RESCUED: a person said so."""

    seq: int
    stage: str | None = None
    reason: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    cuts: Sequence[tuple[int, int]] = ()

    @property
    def state(self) -> str:
        return KEPT if self.stage in (None, RESCUED) else DROPPED


def decide(connection: Connection, decisions: Sequence[Decision]) -> None:
    """Write what became of documents, in place of what was there before."""
    names = ("state", "stage", "reason", "evidence", "cuts")
    statement = update(document).where(document.c.seq == bindparam("number"))
    statement = statement.values({name: bindparam(f"new_{name}") for name in names})
    rows = [
        {
            "number": one.seq, "new_state": one.state, "new_stage": one.stage, "new_reason": one.reason,
            "new_evidence": dict(one.evidence), "new_cuts": [list(cut) for cut in one.cuts],
        }
        for one in decisions
    ]  # fmt: skip
    if rows:
        connection.execute(statement, rows)


def find(db: Database, seq: int) -> Row[Any] | None:
    """Give a document with the settings of its harvest and what the source was given as."""
    joined = document.join(harvest, harvest.c.id == document.c.harvest_id)
    query = select(document, harvest.c.given, harvest.c.settings.label("asked")).select_from(joined)
    with db.reading() as connection:
        return connection.execute(query.where(document.c.seq == seq)).first()


def at(db: Database, source: str, path: str) -> Row[Any] | None:
    """Give the document at a place; of several harvests the first."""
    query = select(document).where(document.c.source == source, document.c.path == path)
    with db.reading() as connection:
        return connection.execute(query.order_by(document.c.seq).limit(1)).first()


def used_with(db: Database, hash: str) -> Row[Any] | None:
    """Give the document with this content that is used, if one is."""
    query = select(document).where(document.c.hash == hash, document.c.state == KEPT)
    with db.reading() as connection:
        return connection.execute(query.order_by(document.c.seq).limit(1)).first()


@dataclass(frozen=True, slots=True)
class UsedDocument:
    """A document that is used, as far as something is made of its text."""

    hash: str
    source: str
    path: str
    language: str
    licence: str
    licence_evidence: str
    packed: bytes | None  # see `unpack`; None: its text was not kept, or not asked for


def used(db: Database, language: str | None = None, texts: bool = True) -> Iterator[UsedDocument]:
    """Give every document that is used, of one language or all, in the order of their hashes. Of equal ones
    (there may be some until they are compared) the first by source and path."""
    names = ("hash", "source", "path", "language", "licence", "licence_evidence")
    packed = document_text.c.packed if texts else null()
    joined = document.outerjoin(document_text, document_text.c.hash == document.c.hash)
    query = select(*(document.c[name] for name in names), packed).select_from(joined)
    query = query.where(document.c.state == KEPT).limit(TEXTS)
    query = query.order_by(*(document.c[name] for name in ("hash", "source", "path", "harvest_id")))
    if language is not None:
        query = query.where(document.c.language == language)
    last = ""
    while True:
        with db.reading() as connection:
            page = connection.execute(query.where(document.c.hash > last)).all()
        for row in page:
            if row.hash != last:
                last = row.hash
                facts: Sequence[Any] = tuple(row)
                yield UsedDocument(*facts)
        if not page:
            return


# --- what a person said ---


def note_rescue(
    connection: Connection, row: Row[Any], overruled: Row[Any], person: str, wanted: bool
) -> None:
    """Put on record that a person wants a document used, or no longer; its newest word counts.

    `overruled` has the stage, reason and evidence that the word is about.
    """
    of_it = (
        document_rescue.c.harvest_id == row.harvest_id,
        document_rescue.c.path == row.path,
        document_rescue.c.document_hash == row.hash,
    )
    connection.execute(update(document_rescue).where(*of_it).values(active=False))
    connection.execute(insert(document_rescue).values(
        harvest_id=row.harvest_id, path=row.path, document_hash=row.hash, stage=overruled.stage,
        reason=overruled.reason, evidence=overruled.evidence, person=person, at=now(), wanted=wanted,
        active=wanted,
    ))  # fmt: skip


def rescues(db: Database, row: Row[Any]) -> list[Row[Any]]:
    """Give what persons said of a document, the newest first."""
    query = select(document_rescue).where(
        document_rescue.c.document_hash == row.hash,
        document_rescue.c.path == row.path,
        document_rescue.c.harvest_id == row.harvest_id,
    )
    with db.reading() as connection:
        return list(connection.execute(query.order_by(document_rescue.c.id.desc())).all())


def overruled(connection: Connection) -> dict[int, Row[Any]]:
    """Give what persons overruled, by the number of their word."""
    query = select(document_rescue).where(document_rescue.c.active.is_(True))
    return {row.id: row for row in connection.execute(query)}


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
