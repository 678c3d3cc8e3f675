"""Rescue: a person wants a document used that was left out, or takes that word back.

A rescued document goes before every rule but one, at once and in all later harvests: only an equal document
that is used already stands in its way, for then its snippet is there. Nothing is compared anew: what other
documents come to does not change by it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from curation.cutting import NoCut
from curation.errors import WrongInput
from curation.file_lock import tried
from curation.seed_comparison import LOCK, SAME, cut_anew, snippet_of
from curation.store import documents, seeds
from curation.store.database import Connection, Row
from curation.store.documents import COMPARING, KEPT, READING, RESCUED, Decision
from curation.workspace import Workspace


@dataclass(frozen=True)
class Rescued:
    """What came of a person's word."""

    changed: bool  # False: it was so already
    message: str
    seeds: int = 0  # that came, or went


def rescue_document(workspace: Workspace, seq: int, person: str, hash: str | None = None) -> Rescued:
    """Use a document whatever the rules say. `hash` is what the person saw, if that is to be held against it.

    Raises WrongInput when that cannot be, with the reason.
    """
    with _changing(workspace), workspace.database.transaction() as connection:
        row = _found(workspace, seq, hash)
        if row.state == KEPT:
            return Rescued(False, "This document is used already.")
        _refuse_a_copy(workspace, row)
        cuts = _cuts(connection, row)
        documents.note_rescue(connection, row, row, person, True)
        documents.decide(connection, [Decision(seq, RESCUED, row.reason, row.evidence, cuts)])
        text = documents.text_in(connection, row.hash) or ""  # there is one: it was cut just now
        number = seeds.add(connection, [snippet_of(row, one, text, row.asked["policy"]) for one in cuts])
    return Rescued(True, "The document is used now; its snippet is among the seeds.", number)


def leave_out_again(workspace: Workspace, seq: int, person: str, hash: str | None = None) -> Rescued:
    """Take back that a person wanted a document. A seed that a sample was made from stays.

    `hash` as in `rescue_document`. Raises WrongInput when nobody wanted it.
    """
    with _changing(workspace), workspace.database.transaction() as connection:
        row = _found(workspace, seq, hash)
        word = next((one for one in documents.rescues(workspace.database, row) if one.active), None)
        if word is None:
            raise WrongInput("Nobody put this document back, so there is nothing to take back; read it again")
        documents.note_rescue(connection, row, word, person, False)
        stage = READING if word.stage == READING else COMPARING
        cuts = [] if stage == READING else row.cuts
        if row.stage == RESCUED or stage == READING:  # else an equal one keeps it out, as is on record
            documents.decide(connection, [Decision(seq, stage, word.reason, word.evidence, cuts)])
        if row.stage != RESCUED:
            return Rescued(True, "The word is taken back. An equal document is used in this one's place.")
        ids = [snippet_of(row, (first, last), "", "").id for first, last in row.cuts]
        seeds.remove(connection, ids)
    return Rescued(True, "The document is left out again.", len(ids))


@contextmanager
def _changing(workspace: Workspace) -> Iterator[None]:
    with tried(workspace.folder / LOCK) as is_ours:
        if not is_ours:
            raise WrongInput("Documents are being compared at this moment; try again when that is done")
        yield


def _found(workspace: Workspace, seq: int, hash: str | None) -> Row[Any]:
    row = documents.find(workspace.database, seq)
    if row is None or (hash is not None and row.hash != hash):  # numbers are given again
        raise WrongInput("This document is gone: its source was read again. Look for it in the list")
    return row


def _refuse_a_copy(workspace: Workspace, row: Row[Any]) -> None:
    twin = documents.used_with(workspace.database, row.hash) if row.hash else None
    if twin is not None:
        raise WrongInput(
            f"An equal document is used already ({twin.source}: {twin.path}), so its snippet is there"
        )
    if row.reason == SAME:
        kept = row.evidence["kept"]
        raise WrongInput(
            f"An equal document stands for this one ({kept['source']}: {kept['path']}); put that one back"
        )


def _cuts(connection: Connection, row: Row[Any]) -> list[tuple[int, int]]:
    if row.cuts:
        return [(first, last) for first, last in row.cuts]
    if documents.text_in(connection, row.hash) is None:
        raise WrongInput(
            f"The text of this document was not kept ({row.reason.replace('_', ' ')}), so nothing can be cut "
            "from it; mend the source and harvest it again"
        )
    found = cut_anew(connection, row, row.asked)
    if isinstance(found, NoCut):
        raise WrongInput(
            f"Nothing can be cut from this document ({found.reason.replace('_', ' ')}); "
            "other lengths or the other policy may find something"
        )
    return found
