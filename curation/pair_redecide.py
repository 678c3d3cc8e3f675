"""Decisions of a near-duplicates run made again: after a vote, for a question, or with open ones kept."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from curation.pair_case import Case, Said, Written
from curation.pair_rows import members_in_order, rows_of
from curation.pair_settings import STAGE, settings_of
from curation.run_edges import RunEdges
from curation.store import decisions as store
from curation.store import reviews, runs
from curation.store.database import Connection
from curation.workspace import Workspace


def redecide(connection: Connection, workspace: Workspace, seqs: Sequence[int]) -> None:
    """Apply the keep rule again to the clusters of these rows, in the transaction of the vote."""
    run = runs.current_in(connection, STAGE)
    if run is None:
        return
    members = store.cluster_members(connection, run.id, seqs)
    if not members:
        return
    settings = settings_of(run)
    rows = rows_of(connection, settings, members)
    edges = RunEdges.of(workspace, run.id, settings.low, rows.seqs)
    case = Case.of(settings, rows, edges, Said.of(connection, settings))
    asked = [item for item in reviews.asked_items(connection) if item.kind == STAGE]
    decisions = case.decide(
        max(0, settings.budget - len(asked)),
        asked_before=frozenset((item.left_seq, item.right_seq) for item in asked),
        spool=workspace.pairs,
    )
    found = case.written(decisions, np.array([row.cluster for row in members_in_order(members)]))
    states = {one["seq"]: one["state"] for one in found.outcomes}
    store.replace(connection, run.id, states, found.rejections, found.pairs)
    _ask_again(connection, run.id, case, found, asked, states)


def item_of_pair(
    connection: Connection, workspace: Workspace, run: Any, one: int, other: int
) -> dict[str, Any] | None:
    """Describe the question of two rows (seqs) as a run would ask it; None: the run does not compare them."""
    settings = settings_of(run)
    edges = RunEdges.of(workspace, run.id, settings.low, np.array([one, other]))
    found = [number for numbers, _ in edges.pieces() for number in numbers.tolist()]
    if not found:
        return None
    members = [row for row in store.outcomes_in(connection, run.id) if row.seq in (one, other)]
    rows = rows_of(connection, settings, members)
    case = Case.of(settings, rows, edges, Said.of(connection, settings))
    case.read(found)
    return case.item(found[0], 0)


def _ask_again(
    connection: Connection,
    run_id: int,
    case: Case,
    found: Written,
    asked: Sequence[Any],
    states: dict[int, str],
) -> None:
    """Ask what a verdict made matter, and no longer ask what it settled on the way."""
    wanted = {item["id"] for item in found.items}
    settled = {case.item_id(edge) for edge in case.rulings}
    known = {item.id for item in asked}
    reviews.ask_also(
        connection,
        STAGE,
        [{**i, "run_id": run_id} for i in found.items if i["id"] not in known or i["id"] in found.again],
    )
    reviews.reopen(connection, found.again)
    moot = [i.id for i in asked if i.left_seq in states and i.id not in wanted and i.id not in settled]
    reviews.stop_asking(connection, moot)


def fates_with_open_kept(
    connection: Connection, workspace: Workspace, run: Any, outcomes: Sequence[Any]
) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """Decide a whole run again as if every open question were answered with keep-both.

    Gives the state of each row, and the rejections. Pending rows are kept unless another kept row
    resembles them beyond doubt.
    """
    settings = settings_of(run)
    rows = rows_of(connection, settings, outcomes)
    edges = RunEdges.of(workspace, run.id, settings.low)
    case = Case.of(settings, rows, edges, Said.of(connection, settings))
    pending = frozenset(int(row.seq) for row in outcomes if row.state == "pending")
    decisions = case.decide(0, "keep", pending=pending, spool=workspace.pairs)
    found = case.written(decisions, np.full(len(rows.ids), -1))
    return {one["seq"]: one["state"] for one in found.outcomes}, found.rejections
