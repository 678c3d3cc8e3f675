"""Where each sample is now: kept, pending, dropped, or new to a stage. One narrow row a sample.

Everything here is derived from the outcomes of the current runs, in the transaction that changes them.
A row is followed through the stages in the order of data until one has dropped it or has not seen it.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    Subquery,
    Text,
    and_,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from curation.records import Sample
from curation.store.tables import outcome, rejection, sample, sample_place

PLACES = ("new", "kept", "pending", "dropped")
LETTERS = {"kept": "k", "pending": "p", "dropped": "d"}  # of a stage's state in a row's trail
UNSEEN, NEVER_RAN = "-", "."
PAGE = 500  # rows whose places are refreshed at a time

Runs = Sequence[tuple[str, int | None]]  # every stage that judges rows, in order, with its current run


def add(connection: Connection, samples: Sequence[Sample], after: int, trail: str) -> None:
    """Give the samples numbered above `after` their places: no stage has seen them."""
    lengths = {s.id: (len(s.instruction), len(s.response)) for s in samples}
    columns = [sample.c[name] for name in ("seq", "id", "name", "source", "licence", "method")]
    rows = [
        {
            "seq": row.seq, "name": row.name, "source": row.source, "licence": row.licence,
            "method": row.method, "instruction_chars": lengths[row.id][0],
            "response_chars": lengths[row.id][1], "place": "new", "stage": None, "reason": None,
            "trail": trail,
        }
        for row in connection.execute(select(*columns).where(sample.c.seq > after))
    ]  # fmt: skip
    if rows:
        connection.execute(insert(sample_place), rows)


def origins(connection: Connection, seqs: Sequence[int]) -> dict[int, Row[Any]]:
    """Give source, name, licence and method of these samples."""
    found: dict[int, Row[Any]] = {}
    columns = [sample_place.c[name] for name in ("seq", "source", "name", "licence", "method")]
    for start in range(0, len(seqs), PAGE):
        page = [int(seq) for seq in seqs[start : start + PAGE]]
        query = select(*columns).where(sample_place.c.seq.in_(page))
        found |= {int(row.seq): row for row in connection.execute(query)}
    return found


def sources(connection: Connection) -> set[str]:
    """Name every source and every set that samples come from."""
    query = select(sample_place.c.source, sample_place.c.name).distinct()
    return {str(word) for row in connection.execute(query) for word in row}


def sets(connection: Connection) -> dict[str, int]:
    """Count the rows of each set that were not dropped, in the order in which the sets came."""
    place = sample_place.c
    query = (
        select(place.name, func.sum(case((place.place != "dropped", 1), else_=0)))
        .group_by(place.name)
        .order_by(func.min(place.seq))
    )
    return {str(name): int(rows) for name, rows in connection.execute(query)}


def refresh(connection: Connection, runs: Runs, seqs: Sequence[int] | None = None) -> None:
    """Derive the places of these rows anew, or of all. Rows whose place stays are not written."""
    if seqs is None:
        _refresh(connection, runs, None)
        return
    for start in range(0, len(seqs), PAGE):
        _refresh(connection, runs, [int(seq) for seq in seqs[start : start + PAGE]])


def of_trail(trail: str, stages: Sequence[str]) -> tuple[str, str | None]:
    """Give place and stage of a row from its trail (a letter for each of these stages): see `_derived`."""
    ran = [(stage, letter) for stage, letter in zip(stages, trail, strict=True) if letter != NEVER_RAN]
    for number, (stage, letter) in enumerate(ran):
        if letter == UNSEEN:
            return "new", stage if number else None
        if letter == LETTERS["dropped"]:
            return "dropped", stage
    pending = [stage for stage, letter in ran if letter == LETTERS["pending"]]
    if pending:
        return "pending", pending[0]
    return ("kept" if ran else "new"), None


def _refresh(connection: Connection, runs: Runs, seqs: Sequence[int] | None) -> None:
    derived = _derived(runs, _states(runs, seqs)).subquery("derived")
    # One after the other: most rows change only their trail, which stands in one index of three.
    for columns in (("place", "stage", "reason"), ("trail",)):
        # NULL counts as "": neither is a stage or a reason.
        differs = [
            func.coalesce(sample_place.c[name], "") != func.coalesce(derived.c[name], "") for name in columns
        ]
        connection.execute(
            update(sample_place)
            .values({name: derived.c[name] for name in columns})
            .where(sample_place.c.seq == derived.c.seq, or_(*differs))
        )


def _states(runs: Runs, seqs: Sequence[int] | None) -> Subquery:
    """Give the letter that each stage earns a row, in columns named letter_0 and so on."""
    row = sample_place.alias("row")
    source: FromClause = row
    letters: list[ColumnElement[str]] = []
    for number, (_, run_id) in enumerate(runs):
        letter: ColumnElement[str] = literal(NEVER_RAN)
        if run_id is not None:
            one = outcome.alias(f"outcome_{number}")
            source = source.outerjoin(one, and_(one.c.run_id == run_id, one.c.seq == row.c.seq))
            letter = case(
                *((one.c.state == state, letter) for state, letter in LETTERS.items()), else_=UNSEEN
            )
        letters.append(letter.label(f"letter_{number}"))
    query = select(row.c.seq, *letters).select_from(source)
    if seqs is not None:
        query = query.where(row.c.seq.in_(seqs))
    return query.subquery("states")


def _derived(runs: Runs, states: Subquery) -> Select[Any]:
    """Follow each row through the stages: the first that dropped it or has not seen it ends its way."""
    letters = [states.c[f"letter_{number}"] for number in range(len(runs))]
    places, stages, reasons = [], [], []
    ran = [(stage, run_id, letters[n]) for n, (stage, run_id) in enumerate(runs) if run_id is not None]
    for number, (stage, run_id, letter) in enumerate(ran):
        places += [(letter == UNSEEN, "new"), (letter == "d", "dropped")]
        stages += [(letter == UNSEEN, literal(stage) if number else null()), (letter == "d", literal(stage))]
        reasons += [(letter == UNSEEN, null()), (letter == "d", _reason(run_id, states))]
    places += [(letter == "p", "pending") for _, _, letter in ran]
    stages += [(letter == "p", literal(stage)) for stage, _, letter in ran]
    trail: ColumnElement[str] = letters[0]
    for letter in letters[1:]:
        trail = trail.concat(letter)
    return select(
        states.c.seq,
        (case(*places, else_="kept") if ran else literal("new")).label("place"),
        (case(*stages, else_=null()) if ran else cast(null(), Text)).label("stage"),
        (case(*reasons, else_=null()) if ran else cast(null(), Text)).label("reason"),
        trail.label("trail"),
    )


def _reason(run_id: int, states: Subquery) -> ColumnElement[Any]:
    return (
        select(rejection.c.reason)
        .where(rejection.c.run_id == run_id, rejection.c.seq == states.c.seq)
        .order_by(rejection.c.id)
        .limit(1)
        .scalar_subquery()
    )
