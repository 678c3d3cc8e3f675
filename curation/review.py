"""Review: what people are asked, their votes, and what a settled verdict changes at once."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation import clean, decontaminate, pair_redecide, pair_settings
from curation.atomic import atomic_write
from curation.errors import WrongInput
from curation.store import decisions, reviews, runs, samples
from curation.store.database import Connection, Row
from curation.verdicts import CONTAMINATION_VERDICTS, PAIR_VERDICTS, Standing, standings
from curation.workspace import Workspace

VERDICTS = {pair_settings.STAGE: PAIR_VERDICTS, decontaminate.STAGE: CONTAMINATION_VERDICTS}
EXPORTED = ("client_id", "item_id", "item_version", "verdict", "person", "note", "at", "kind", "subject")


@dataclass(frozen=True)
class Voted:
    """What a vote came to."""

    item: str  # ID@VERSION as it is now
    changed: bool  # False when the press was a repeat and nothing changed
    message: str


@dataclass(frozen=True)
class Question:
    """What is asked, and where it stands."""

    item: Row[Any]
    standing: Standing
    is_asked: bool  # the current run of its stage still waits for an answer

    @property
    def state(self) -> str:
        if self.standing.disputed:
            return "disputed"
        return "open" if self.is_asked else "settled"


def questions(connection: Connection) -> list[Question]:
    """Give the questions that matter now, near-duplicates first, most uncertain first.

    Near-duplicates come first because settling them takes rows out of the contamination queue: what
    was asked about a row that an earlier stage has dropped since is no longer a question. Whether a
    question is open is read from what the current runs decided, never from the votes alone: evidence
    that is new since a vote asks again.
    """
    standing = standings(reviews.votes(connection))
    waiting = _waiting(connection)
    found = []
    for item in reviews.asked_items(connection):
        one = Question(item, standing.get(item.id, Standing()), _subject(item) in waiting)
        if one.is_asked or one.standing.latest:
            found.append(one)
    found.sort(key=lambda q: (q.item.kind != pair_settings.STAGE, q.item.priority, q.item.id))
    return found


def _subject(item: Row[Any]) -> tuple[str, str]:
    """Give what decides whether an item is still asked: the pair, or the content of the row."""
    if item.kind == pair_settings.STAGE:
        return item.kind, item.id
    return item.kind, item.subject["sample"]


def _waiting(connection: Connection) -> set[tuple[str, str]]:
    waiting: set[tuple[str, str]] = set()
    near = runs.current_in(connection, pair_settings.STAGE)
    if near is not None:
        waiting |= {(near.stage, id) for id in decisions.asked_pair_items(connection, near.id)}
    checked = runs.current_in(connection, decontaminate.STAGE)
    if checked is not None:
        before = None if near is None else near.id
        waiting |= {
            (checked.stage, content) for content in decisions.asked_contents(connection, checked.id, before)
        }
    return waiting


def counts(workspace: Workspace) -> dict[str, Any]:
    """Count the questions: open, settled, disputed; items with several voters, and the share who agree.

    Open and disputed ones are those that wait now. Settled counts every verdict people have reached, also on
    what is no longer asked: it is remembered, and counts again where the same contents meet.
    """
    with workspace.database.reading() as connection:
        states = [question.state for question in questions(connection)]
        standing = standings(reviews.votes(connection)).values()
    several = [one for one in standing if len(one.latest) > 1]
    return {
        "open": states.count("open"),
        "settled": sum(one.settled is not None for one in standing),
        "disputed": states.count("disputed"),
        "several": len(several),
        "agreement": round(sum(not s.disputed for s in several) / len(several), 4) if several else None,
    }


def items(workspace: Workspace, state: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """List the questions that matter now, in the order of `questions`."""
    with workspace.database.reading() as connection:
        found = [one for one in questions(connection) if state is None or one.state == state]
    return [_listed(workspace, question) for question in found[:limit]]


@dataclass(frozen=True)
class Case:
    """A question as a person sees it, with its place in the queue."""

    reference: str  # ID@VERSION: what a vote names
    kind: str
    state: str  # open | settled | disputed
    evidence: Mapping[str, Any]
    left: Row[Any]  # whole row
    right: Row[Any] | None  # whole row; None for contamination
    votes: Mapping[str, str]  # person -> verdict, the newest of each
    position: int  # among the questions of the view, from 1
    total: int
    before: str | None  # id of the question before this one in the view
    after: str | None  # id of the next one that is not settled

    @property
    def id(self) -> str:
        return self.reference.partition("@")[0]


def case(workspace: Workspace, wanted: str | None = None, kind: str | None = None) -> Case | None:
    """Give a question by id, else the first that is not settled; None when nothing is left to ask.

    `kind` keeps to one stage's questions, or to those that are "disputed". A settled question can be looked
    at by its id.
    """
    with workspace.database.reading() as connection:
        found = [one for one in questions(connection) if kind in (None, one.item.kind, one.state)]
    unsettled = [n for n, one in enumerate(found) if one.state != "settled"]
    at = next((n for n, one in enumerate(found) if one.item.id == wanted), None)
    if at is None:
        if not unsettled:
            return None
        at = unsettled[0]
    one = found[at]
    seqs = [seq for seq in (one.item.left_seq, one.item.right_seq) if seq is not None]
    rows = samples.read(workspace.database, seqs)
    later = next((n for n in unsettled if n > at), next((n for n in unsettled if n != at), None))
    return Case(
        f"{one.item.id}@{one.item.version}", one.item.kind, one.state, one.item.evidence, rows[0],
        rows[1] if len(rows) > 1 else None,
        {person: vote.verdict for person, vote in one.standing.latest.items()},
        at + 1, len(found), found[at - 1].item.id if at else None,
        None if later is None else found[later].item.id,
    )  # fmt: skip


def _listed(workspace: Workspace, question: Question) -> dict[str, Any]:
    item = question.item
    seqs = [seq for seq in (item.left_seq, item.right_seq) if seq is not None]
    texts = ("id", "source", "row", "instruction", "input", "response")
    rows = [{name: getattr(row, name) for name in texts} for row in samples.read(workspace.database, seqs)]
    return {
        "item": f"{item.id}@{item.version}",
        "kind": item.kind,
        "state": question.state,
        "evidence": item.evidence,
        "left": rows[0],
        "right": rows[1] if len(rows) > 1 else None,
        "votes": {person: vote.verdict for person, vote in question.standing.latest.items()},
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
    with workspace.database.transaction() as connection:
        return vote_in(connection, workspace, reference, verdict, person, note, client_id)


def vote_in(
    connection: Connection,
    workspace: Workspace,
    reference: str,
    verdict: str,
    person: str,
    note: str,
    client_id: str | None = None,
) -> Voted:
    """Do what `vote` does, in a transaction that is open already."""
    item_id, version = _parse(reference)
    item = reviews.item_in(connection, item_id)
    if item is None:
        raise WrongInput(f"There is no review item {item_id!r}; `review list` shows those that are open")
    if verdict not in VERDICTS[item.kind]:
        raise WrongInput(
            f"{verdict!r} is no verdict for {item.kind}; choose one of {', '.join(VERDICTS[item.kind])}"
        )
    if version != item.version:
        raise WrongInput(
            f"{reference} is out of date: the item is now {item_id}@{item.version}; "
            "look at it again (`review list`)"
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
        own = [vote for vote in own if reviews.item_in(connection, vote.item_id) is not None]
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
    if not at or not version.isdecimal() or len(version) > 9:
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
    if item.kind == pair_settings.STAGE:
        pair_redecide.redecide(connection, workspace, _rows_of_pairs(connection, [item.subject]))
    else:
        decontaminate.redecide(connection)


def _rows_of_pairs(connection: Connection, subjects: Iterable[Mapping[str, str]]) -> list[int]:
    """Give every row that has a content of these pairs: a verdict counts for all of them."""
    contents = {subject[side] for subject in subjects for side in ("left", "right")}
    return samples.seqs_of_contents(connection, contents)


def rescue(
    workspace: Workspace, id: str, person: str = "me", stage: str | None = None, undo: bool = False
) -> Voted:
    """Put a dropped row back as pending for the next stage, or take that back.

    The stages after it have not seen the row and are stale until they run again. Raises WrongInput when
    there is no such sample, or the stage (by default the one that dropped it) did not drop it.
    """
    row = samples.find(workspace.database, id)
    if row is None:
        raise WrongInput(f"No sample, or more than one, has an id that begins with {id!r}")
    with workspace.database.transaction() as connection:
        where = _stage_to_rescue_from(connection, row.seq, stage, undo)
        if where is None:
            done = "is not rescued" if undo else "was not dropped"
            raise WrongInput(
                f"{row.id} {done} by {stage or 'any stage'}; `explain {row.id[:12]}` tells where it is"
            )
        decisions.set_rescue(connection, row.seq, where, person, not undo)
        if where == clean.STAGE:
            clean.redecide(connection, row.seq, not undo)
        elif where == pair_settings.STAGE:
            pair_redecide.redecide(connection, workspace, [row.seq])
        else:
            decontaminate.redecide(connection)
    what = "is dropped again by" if undo else "is put back as pending in"
    return Voted(row.id, True, f"{row.id} {what} {where}; run the stages after it again")


def _stage_to_rescue_from(connection: Connection, seq: int, only: str | None, undo: bool) -> str | None:
    for stage in runs.ORDER:
        run = runs.current_in(connection, stage)
        if run is None or (only is not None and stage != only):
            continue
        if undo and seq in decisions.rescued(connection, stage):
            return stage
        states = {one.seq: one.state for one in decisions.outcomes_in(connection, run.id)}
        if not undo and states.get(seq) == "dropped":
            _refuse_to_overrule(connection, run.id, seq)
            return stage
    return None


def _refuse_to_overrule(connection: Connection, run_id: int, seq: int) -> None:
    for rejection in decisions.rejections_in(connection, run_id, seq):
        if rejection.reason.endswith("verdict"):
            item = rejection.evidence.get("item") or rejection.evidence.get("item_id")
            raise WrongInput(
                f"A person dropped this row; take that vote back with `review undo {item} --as NAME`"
            )


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
            item = reviews.item_in(connection, line["item_id"])
            if item is not None and item.kind != line["kind"]:
                raise WrongInput(
                    f"{file}: {line['item_id']} is a question of {item.kind}; nothing was imported"
                )
            values = {**line, "undoes": id_of.get(line["undoes"])}
            if reviews.add_vote(connection, values):
                new += 1
                id_of[line["client_id"]] = reviews.votes(connection, line["item_id"])[-1].id
        _apply_all(connection, workspace, lines)
    return {"votes": len(lines), "new": new}


def _apply_all(connection: Connection, workspace: Workspace, lines: Sequence[Mapping[str, Any]]) -> None:
    pairs = [line["subject"] for line in lines if line["kind"] == pair_settings.STAGE]
    if pairs:
        pair_redecide.redecide(connection, workspace, _rows_of_pairs(connection, pairs))
    items = {line["item_id"] for line in lines if line["kind"] == decontaminate.STAGE}
    if any(reviews.item_in(connection, id) is not None for id in items):
        decontaminate.redecide(connection)


def _read_votes(file: Path) -> Iterator[dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongInput(
            f"{file} could not be read as votes: {error}; give a file that `review export` wrote"
        ) from error
    for number, line in enumerate(text.split("\n"), start=1):  # a note may hold other line ends
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            yield _checked({name: value[name] for name in (*EXPORTED, "undoes")})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise WrongInput(
                f"{file}, line {number} is not a vote ({error}); nothing was imported"
            ) from error


def _checked(vote: dict[str, Any]) -> dict[str, Any]:
    """Give the vote when it is one that `vote` or `undo` could have written; else ValueError or KeyError."""
    for name, value in vote.items():
        wanted = {"item_version": int, "subject": dict, "undoes": str | None}.get(name, str)
        if not isinstance(value, wanted):
            raise ValueError(f"{name} is {value!r}")
    if vote["kind"] not in VERDICTS:
        raise ValueError(f"there are no votes on {vote['kind']!r}")
    if vote["verdict"] not in (*VERDICTS[vote["kind"]], "undo"):
        raise ValueError(f"{vote['verdict']!r} is no verdict for {vote['kind']}")
    json.dumps(vote, ensure_ascii=False).encode()  # raises UnicodeEncodeError, a ValueError
    if not 0 < vote["item_version"] < 1 << 31:
        raise ValueError(f"item_version is {vote['item_version']}")
    subject = vote["subject"]
    if vote["kind"] == pair_settings.STAGE:
        contents = [subject["left"], subject["right"]]
    else:
        matches = [one[name] for one in subject["matches"] for name in ("item", "side")]
        contents = [subject["sample"], *matches]
    if not all(isinstance(content, str) for content in contents):
        raise ValueError(f"its subject is {subject!r}")
    return vote
