"""A verdict on any pair of the current run, asked about or not: change the keeper, cut an edge, drop both.

It is a vote like any other: kept by content, counted with those of others, taken back the same way.
"""

from typing import Any

from curation import pair_redecide, pair_settings, review
from curation.errors import WrongInput
from curation.pair_settings import STAGE
from curation.review import Voted
from curation.store import reviews, runs, samples
from curation.store.database import Connection, Row
from curation.verdicts import PAIR_VERDICTS
from curation.workspace import Workspace

TURNED = {"keep-left": "keep-right", "keep-right": "keep-left"}
WHY = "a person looked at this pair on the page of pairs"


def judge_pair(
    workspace: Workspace, left_id: str, right_id: str, verdict: str, person: str = "me", note: str = ""
) -> Voted:
    """Cast a vote on two samples, and let what it settles take effect, in one transaction.

    Left and right are as named here, whatever their order in the run. Raises WrongInput for an unknown sample
    or verdict, and for two rows that the current run does not hold against each other.
    """
    if verdict not in PAIR_VERDICTS:
        raise WrongInput(f"{verdict!r} is no verdict on a pair; choose one of {', '.join(PAIR_VERDICTS)}")
    left, right = (_row(workspace, id) for id in (left_id, right_id))
    with workspace.database.transaction() as connection:
        item = _item_of(connection, workspace, left, right)
        if item.subject["left"] != left.content_hash:
            verdict = TURNED.get(verdict, verdict)
        return review.vote_in(connection, workspace, f"{item.id}@{item.version}", verdict, person, note)


def _row(workspace: Workspace, id: str) -> Row[Any]:
    row = samples.find(workspace.database, id)
    if row is None:
        raise WrongInput(f"No sample, or more than one, has an id that begins with {id!r}")
    return row


def _item_of(connection: Connection, workspace: Workspace, left: Row[Any], right: Row[Any]) -> Row[Any]:
    """Give the review item of a pair; one that was never asked about is noted, and is still not asked."""
    run = runs.current_in(connection, STAGE)
    if run is None:
        raise WrongInput("Near-duplicates never ran here; run `near-duplicates` first")
    made = pair_redecide.item_of_pair(connection, workspace, run, left.seq, right.seq)
    if made is None:
        lowest = min(run.settings["threshold"], pair_settings.settings_of(run).low)
        raise WrongInput(
            f"{left.id[:12]} and {right.id[:12]} are not held against each other: the run decides on pairs "
            f"from {lowest:.2f} on. Run near-duplicates with a lower threshold to decide on this one"
        )
    known = reviews.item_in(connection, made["id"])
    if known is None:
        evidence = {**made["evidence"], "why": WHY}
        reviews.know(connection, STAGE, {**made, "evidence": evidence, "run_id": run.id})
        known = reviews.item_in(connection, made["id"])
    assert known is not None  # it was just written
    return known
