"""Review: what people are asked, their votes, and what a settled verdict changes at once."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation import decontaminate, near_duplicates
from curation.atomic import atomic_write
from curation.errors import WrongInput
from curation.store import reviews, samples
from curation.store.database import Connection, Row
from curation.verdicts import CONTAMINATION_VERDICTS, PAIR_VERDICTS, Standing, standings
from curation.workspace import Workspace

VERDICTS = {near_duplicates.STAGE: PAIR_VERDICTS, decontaminate.STAGE: CONTAMINATION_VERDICTS}
EXPORTED = ("client_id", "item_id", "item_version", "verdict", "person", "note", "at", "kind", "subject")


@dataclass(frozen=True)
class Voted:
    """What a vote came to."""

    item: str  # ID@VERSION as it is now
    changed: bool  # False when the press was a repeat and nothing changed
    message: str


def counts(workspace: Workspace) -> dict[str, Any]:
    """Count the questions: open, settled, disputed, and the share of items with several voters who agree."""
    with workspace.database.reading() as connection:
        asked = reviews.asked_items(connection)
        standing = standings(reviews.votes(connection))
    states = [_state(standing.get(item.id)) for item in asked]
    several = [s for s in standing.values() if len(s.latest) > 1]
    return {
        "open": states.count("open"),
        "settled": sum(s.settled is not None for s in standing.values()),
        "disputed": sum(s.disputed for s in standing.values()),
        "agreement": round(sum(not s.disputed for s in several) / len(several), 4) if several else None,
    }


def _state(standing: Standing | None) -> str:
    if standing is None or not standing.latest:
        return "open"
    return "disputed" if standing.disputed else "settled"


def items(workspace: Workspace, state: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """List the questions, most uncertain first, near-duplicates before contamination, disputed ones included."""
    with workspace.database.reading() as connection:
        asked = reviews.asked_items(connection)
        standing = standings(reviews.votes(connection))
    # Near-duplicates first: settling them can take rows out of the contamination queue.
    asked.sort(key=lambda item: (item.kind != near_duplicates.STAGE, item.priority, item.id))
    listed = []
    for item in asked:
        now = _state(standing.get(item.id))
        if state is None or now == state:
            listed.append(_listed(workspace, item, now, standing.get(item.id)))
        if limit is not None and len(listed) >= limit:
            break
    return listed


def _listed(workspace: Workspace, item: Row[Any], state: str, standing: Standing | None) -> dict[str, Any]:
    seqs = [seq for seq in (item.left_seq, item.right_seq) if seq is not None]
    rows = [
        {"id": row.id, "source": row.source, "row": row.row, "instruction": row.instruction,
         "input": row.input, "response": row.response}
        for row in samples.read(workspace.database, seqs)
    ]  # fmt: skip
    votes = {person: vote.verdict for person, vote in standing.latest.items()} if standing else {}
    return {
        "item": f"{item.id}@{item.version}",
        "kind": item.kind,
        "state": state,
        "evidence": item.evidence,
        "left": rows[0],
        "right": rows[1] if len(rows) > 1 else None,
        "votes": votes,
        "verdicts": list(VERDICTS[item.kind]),
    }


def vote(
    workspace: Workspace,
    reference: str,
    verdict: str,
    person: str = "me",
    note: str = "",
    client_id: str | None = None,
) -> Voted:
    """Cast a vote on ID@VERSION, and let what it settles take effect, in one transaction.

    A second press on a version this person decided already is a success that changes nothing. Raises
    WrongInput for an unknown item or verdict, and for a version that is no longer the current one.
    """
    item_id, version = _parse(reference)
    with workspace.database.transaction() as connection:
        item = reviews.item_in(connection, item_id)
        if item is None:
            raise WrongInput(f"There is no review item {item_id!r}; `review list` shows those that are open")
        if verdict not in VERDICTS[item.kind]:
            raise WrongInput(
                f"{verdict!r} is no verdict for {item.kind}; choose one of {', '.join(VERDICTS[item.kind])}"
            )
        if version != item.version:
            raise WrongInput(
                f"{reference} is out of date: the item is now {item_id}@{item.version}; look at it again (`review list`)"
            )
        own = standings(reviews.votes(connection, item_id)).get(item_id, Standing()).latest.get(person)
        if own is not None and own.item_version == version:
            same = own.verdict == verdict
            hint = "" if same else "; take it back with `review undo` to change it"
            return Voted(reference, False, f"{person} decided {reference} already: {own.verdict}{hint}")
        _add(connection, item, verdict, person, note, client_id or uuid.uuid4().hex, None)
        _take_effect(connection, workspace, item)
    return Voted(reference, True, f"{verdict} on {reference} by {person}")


def undo(workspace: Workspace, person: str = "me", reference: str | None = None) -> Voted:
    """Take back a person's newest vote (on one item, if named). The item is open again, as a new version."""
    only = None if reference is None else reference.split("@")[0]
    with workspace.database.transaction() as connection:
        standing = standings(reviews.votes(connection, only))
        own = [s.latest[person] for s in standing.values() if person in s.latest]
        if not own:
            where = "" if only is None else f" on {only}"
            raise WrongInput(f"{person} has no vote{where} to take back")
        last = max(own, key=lambda vote: vote.id)
        item = reviews.item_in(connection, last.item_id)
        if item is None:
            raise WrongInput(f"The item {last.item_id} is not in this workspace")
        _add(connection, item, "undo", person, "", uuid.uuid4().hex, last.id)
        reviews.renew(connection, item.id)
        _take_effect(connection, workspace, item)
    return Voted(f"{item.id}@{item.version + 1}", True, f"took back {last.verdict} on {item.id} by {person}")


def _parse(reference: str) -> tuple[str, int]:
    item_id, at, version = reference.partition("@")
    if not at or not version.isdigit():
        raise WrongInput(f"{reference!r} must be ID@VERSION, as `review list` prints it")
    return item_id, int(version)


def _add(
    connection: Connection,
    item: Row[Any],
    verdict: str,
    person: str,
    note: str,
    client_id: str,
    undoes: int | None,
) -> None:
    values = {
        "client_id": client_id, "item_id": item.id, "item_version": item.version, "verdict": verdict,
        "person": person, "note": note, "kind": item.kind, "subject": item.subject, "undoes": undoes,
    }  # fmt: skip
    reviews.add_vote(connection, values)


def _take_effect(connection: Connection, workspace: Workspace, item: Row[Any]) -> None:
    if item.kind == near_duplicates.STAGE:
        near_duplicates.redecide(connection, workspace, [item.left_seq, item.right_seq])
    else:
        decontaminate.redecide(connection)


def export_votes(workspace: Workspace, file: Path) -> int:
    """Write every vote, undo rows included, as JSON lines, and give their number."""
    with workspace.database.reading() as connection:
        votes = reviews.votes(connection)
    client_of = {vote.id: vote.client_id for vote in votes}
    with atomic_write(file) as out:
        for vote in votes:
            line = {name: getattr(vote, name) for name in EXPORTED} | {"undoes": client_of.get(vote.undoes)}
            out.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return len(votes)


def import_votes(workspace: Workspace, file: Path) -> dict[str, int]:
    """Add the votes of another workspace; they count wherever the same contents meet again.

    Votes known already (by client id) change nothing. Raises WrongInput naming the line that is wrong.
    """
    lines = list(_read_votes(file))
    new = 0
    with workspace.database.transaction() as connection:
        id_of = {vote.client_id: vote.id for vote in reviews.votes(connection)}
        for line in lines:
            values = {**line, "undoes": id_of.get(line["undoes"])}
            if reviews.add_vote(connection, values):
                new += 1
                id_of[line["client_id"]] = reviews.votes(connection, line["item_id"])[-1].id
        _apply_all(connection, workspace, {line["item_id"] for line in lines})
    return {"votes": len(lines), "new": new}


def _apply_all(connection: Connection, workspace: Workspace, item_ids: set[str]) -> None:
    found = [
        item for item in (reviews.item_in(connection, id) for id in sorted(item_ids)) if item is not None
    ]
    pairs = [
        seq for item in found if item.kind == near_duplicates.STAGE for seq in (item.left_seq, item.right_seq)
    ]
    if pairs:
        near_duplicates.redecide(connection, workspace, pairs)
    if any(item.kind == decontaminate.STAGE for item in found):
        decontaminate.redecide(connection)


def _read_votes(file: Path) -> Iterator[dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongInput(
            f"{file} could not be read as votes: {error}; give a file that `review export` wrote"
        ) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            yield {name: value[name] for name in (*EXPORTED, "undoes")}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise WrongInput(
                f"{file}, line {number} is not a vote ({error}); nothing was imported"
            ) from error
