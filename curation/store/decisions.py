"""What stages decided: outcomes, rejections, near-duplicate pairs, contamination matches, rescues."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, case, delete, func, insert, select, update

from curation.store import runs
from curation.store.database import Database, now
from curation.store.tables import (
    benchmark_item,
    contamination_match,
    near_duplicate_pair,
    outcome,
    rejection,
    rescue,
    sample,
    sample_place,
)

Values = Sequence[Mapping[str, Any]]


def keep_all(connection: Connection, run_id: int, outcomes: Values, rejections: Values) -> None:
    """Write the whole result of a run: one outcome a row that entered, one rejection a dropped row."""
    _insert(connection, outcome, run_id, outcomes)
    _insert(connection, rejection, run_id, rejections)


def keep_pairs(connection: Connection, run_id: int, pairs: Values) -> None:
    _insert(connection, near_duplicate_pair, run_id, pairs)


def keep_matches(connection: Connection, run_id: int, matches: Values) -> None:
    _insert(connection, contamination_match, run_id, matches)


def _insert(connection: Connection, table: Table, run_id: int, rows: Values) -> None:
    if rows:
        connection.execute(insert(table), [{"run_id": run_id, **row} for row in rows])


def replace(
    connection: Connection, run_id: int, states: Mapping[int, str], rejections: Values, pairs: Values
) -> None:
    """Decide some rows of a run anew: their states, rejections and deciding pairs, after a verdict."""
    seqs = list(states)
    for start in range(0, len(seqs), 500):
        part = seqs[start : start + 500]
        connection.execute(delete(rejection).where(rejection.c.run_id == run_id, rejection.c.seq.in_(part)))
        connection.execute(
            delete(near_duplicate_pair).where(
                near_duplicate_pair.c.run_id == run_id,
                near_duplicate_pair.c.left_seq.in_(part) | near_duplicate_pair.c.right_seq.in_(part),
            )
        )
    for seq, state in states.items():
        connection.execute(
            update(outcome).where(outcome.c.run_id == run_id, outcome.c.seq == seq).values(state=state)
        )
    _insert(connection, rejection, run_id, rejections)
    _insert(connection, near_duplicate_pair, run_id, pairs)
    runs.refresh_places(connection, seqs)


def outcomes(db: Database, run_id: int) -> list[Row[Any]]:
    """Give seq, state, position and cluster of every row of a run, in order of position."""
    with db.reading() as connection:
        return outcomes_in(connection, run_id)


def outcomes_in(connection: Connection, run_id: int) -> list[Row[Any]]:
    return list(
        connection.execute(
            select(outcome.c.seq, outcome.c.state, outcome.c.position, outcome.c.cluster)
            .where(outcome.c.run_id == run_id)
            .order_by(outcome.c.position)
        )
    )


def cluster_members(connection: Connection, run_id: int, seqs: Sequence[int]) -> list[Row[Any]]:
    """Give the rows of a run that are in the same clusters as these."""
    clusters = (
        select(outcome.c.cluster)
        .where(outcome.c.run_id == run_id, outcome.c.seq.in_(list(seqs)), outcome.c.cluster.is_not(None))
        .distinct()
    )
    return list(
        connection.execute(
            select(outcome.c.seq, outcome.c.state, outcome.c.position, outcome.c.cluster).where(
                outcome.c.run_id == run_id, outcome.c.cluster.in_(clusters)
            )
        )
    )


def outcome_of(db: Database, run_id: int, seq: int) -> Row[Any] | None:
    with db.reading() as connection:
        return connection.execute(
            select(outcome).where(outcome.c.run_id == run_id, outcome.c.seq == seq)
        ).first()


def rejections_of(db: Database, run_id: int, seq: int) -> list[Row[Any]]:
    with db.reading() as connection:
        return list(
            connection.execute(select(rejection).where(rejection.c.run_id == run_id, rejection.c.seq == seq))
        )


def rejections_in(connection: Connection, run_id: int, seq: int) -> list[Row[Any]]:
    return list(
        connection.execute(select(rejection).where(rejection.c.run_id == run_id, rejection.c.seq == seq))
    )


def rejected_for(db: Database, run_id: int, keeper_id: str) -> list[Row[Any]]:
    """Give the rejections of a run that name this sample as the keeper."""
    with db.reading() as connection:
        return list(
            connection.execute(
                select(sample.c.id, rejection.c.reason, rejection.c.evidence)
                .join(sample, sample.c.seq == rejection.c.seq)
                .where(
                    rejection.c.run_id == run_id,
                    rejection.c.evidence["keeper"].as_string() == keeper_id,
                )
                .order_by(sample.c.seq)
            )
        )


def state_counts_of(connection: Connection, run_id: int) -> dict[str, int]:
    """Count the rows of a run: in, kept, dropped, pending; in is the sum of the other three."""
    found = connection.execute(
        select(outcome.c.state, func.count()).where(outcome.c.run_id == run_id).group_by(outcome.c.state)
    )
    counts = {"kept": 0, "dropped": 0, "pending": 0} | {state: int(number) for state, number in found}
    return {"in": sum(counts.values()), **counts}


def live_counts(connection: Connection, run_id: int) -> dict[str, int]:
    """Count what verdicts and rescues may have changed since a run: kept, dropped, pending."""
    counts = state_counts_of(connection, run_id)
    return {name: counts[name] for name in ("kept", "dropped", "pending")}


def counts_by_source(connection: Connection, run_id: int) -> list[Row[Any]]:
    """Count for each source the rows that a run looked at and those it dropped: source, seen, dropped."""
    place = sample_place.c
    dropped = func.sum(case((outcome.c.state == "dropped", 1), else_=0))
    query = select(place.source, func.count().label("seen"), dropped.label("dropped"))
    query = query.join(outcome, outcome.c.seq == place.seq).where(outcome.c.run_id == run_id)
    return list(connection.execute(query.group_by(place.source).order_by(place.source)))


def rejection_counts(connection: Connection, run_id: int) -> dict[str, int]:
    """Count the dropped rows of a run by the reason of their rejection."""
    rows = connection.execute(
        select(rejection.c.reason, func.count())
        .join(outcome, and_(outcome.c.run_id == rejection.c.run_id, outcome.c.seq == rejection.c.seq))
        .where(rejection.c.run_id == run_id, outcome.c.state == "dropped")
        .group_by(rejection.c.reason)
        .order_by(rejection.c.reason)
    )
    return {reason: int(number) for reason, number in rows}


def set_state(connection: Connection, run_id: int, seq: int, state: str) -> None:
    """Change what a run says of one row, after a person overruled it."""
    connection.execute(
        update(outcome).where(outcome.c.run_id == run_id, outcome.c.seq == seq).values(state=state)
    )
    runs.refresh_places(connection, [seq])


def file_rejections(connection: Connection, file_hash: str) -> dict[str, int]:
    """Count the rows of a file that never became samples, by reason."""
    rows = connection.execute(
        select(rejection.c.reason, func.count())
        .where(rejection.c.file_hash == file_hash)
        .group_by(rejection.c.reason)
        .order_by(rejection.c.reason)
    )
    return {reason: int(number) for reason, number in rows}


def first_file_rejection(db: Database, file_hash: str) -> Row[Any] | None:
    """Give the first row of a file that never became a sample."""
    with db.reading() as connection:
        return connection.execute(
            select(rejection).where(rejection.c.file_hash == file_hash).order_by(rejection.c.row).limit(1)
        ).first()


def file_rejection_list(db: Database, file_hash: str, limit: int) -> list[Row[Any]]:
    """Give the first rows of a file that never became samples."""
    with db.reading() as connection:
        return list(
            connection.execute(
                select(rejection)
                .where(rejection.c.file_hash == file_hash)
                .order_by(rejection.c.row)
                .limit(limit)
            )
        )


def forget_file_rejections(connection: Connection, file_hash: str) -> None:
    """Drop the list of bad rows of a file before it is read again from the start."""
    connection.execute(delete(rejection).where(rejection.c.file_hash == file_hash))


def pairs_of(db: Database, run_id: int, seq: int) -> list[Row[Any]]:
    """Give the pairs that decided on a row, most alike first."""
    pair = near_duplicate_pair
    with db.reading() as connection:
        return list(
            connection.execute(
                select(pair)
                .where(pair.c.run_id == run_id, (pair.c.left_seq == seq) | (pair.c.right_seq == seq))
                .order_by(pair.c.cosine.desc(), pair.c.left_seq, pair.c.right_seq)
            )
        )


def asked_pair_items(connection: Connection, run_id: int) -> list[str]:
    """Name the review items of the pairs that wait for an answer."""
    pair = near_duplicate_pair
    query = select(pair.c.item_id).where(pair.c.run_id == run_id, pair.c.decision == "ask")
    return [item_id for item_id in connection.execute(query).scalars() if item_id is not None]


def asked_contents(connection: Connection, run_id: int, before: int | None) -> set[str]:
    """Give the contents of the rows that wait for an answer and that the run `before` has not dropped."""
    match = contamination_match
    query = (
        select(match.c.seq, sample.c.content_hash)
        .join(sample, sample.c.seq == match.c.seq)
        .where(match.c.run_id == run_id, match.c.decision == "ask")
        .distinct()
    )
    gone: set[int] = set()
    if before is not None:
        dropped = select(outcome.c.seq).where(outcome.c.run_id == before, outcome.c.state == "dropped")
        gone = set(connection.execute(dropped).scalars())
    return {content for seq, content in connection.execute(query) if seq not in gone}


def asked_pairs(connection: Connection, run_id: int) -> int:
    return connection.execute(
        select(func.count())
        .select_from(near_duplicate_pair)
        .where(near_duplicate_pair.c.run_id == run_id, near_duplicate_pair.c.decision == "ask")
    ).scalar_one()


def matches_of(db: Database, run_id: int, seq: int) -> list[Row[Any]]:
    """Give the contamination matches of a row with their benchmark items, strongest first."""
    match = contamination_match
    with db.reading() as connection:
        return list(
            connection.execute(
                select(match, benchmark_item.c.benchmark, benchmark_item.c.item)
                .join(benchmark_item, benchmark_item.c.id == match.c.benchmark_item_id)
                .where(match.c.run_id == run_id, match.c.seq == seq)
                .order_by(match.c.score.desc(), match.c.id)
            )
        )


def asked_rows(connection: Connection, run_id: int) -> int:
    """Count the rows of a run that people are asked about and have not settled."""
    match = contamination_match
    return connection.execute(
        select(func.count(match.c.seq.distinct())).where(match.c.run_id == run_id, match.c.decision == "ask")
    ).scalar_one()


def all_matches(db: Database, run_id: int) -> Iterator[Row[Any]]:
    """Give the matches of a run with their rows and items, in import order of the rows."""
    with db.reading() as connection:
        yield from all_matches_in(connection, run_id)


def all_matches_in(connection: Connection, run_id: int) -> Iterator[Row[Any]]:
    match = contamination_match
    query = (
        select(match, sample.c.id.label("sample_id"), sample.c.source, sample.c.row, sample.c.content_hash,
               benchmark_item.c.benchmark, benchmark_item.c.item)
        .join(sample, sample.c.seq == match.c.seq)
        .join(benchmark_item, benchmark_item.c.id == match.c.benchmark_item_id)
        .where(match.c.run_id == run_id)
        .order_by(match.c.seq, match.c.id)
    )  # fmt: skip
    yield from connection.execution_options(yield_per=1000).execute(query)


def set_match_decision(connection: Connection, run_id: int, seq: int, decision: str) -> None:
    """Write the decision on a row into its matches, after a verdict."""
    connection.execute(
        update(contamination_match)
        .where(and_(contamination_match.c.run_id == run_id, contamination_match.c.seq == seq))
        .values(decision=decision)
    )


def set_rescue(connection: Connection, seq: int, stage: str, person: str, active: bool) -> None:
    """Note that a person puts a dropped row back (or takes that back)."""
    connection.execute(insert(rescue).values(seq=seq, stage=stage, person=person, at=now(), active=active))


def rescued(connection: Connection, stage: str) -> dict[int, str]:
    """Give the rows that people put back into a stage, and who did."""
    rows = connection.execute(
        select(rescue.c.seq, rescue.c.person, rescue.c.active)
        .where(rescue.c.stage == stage)
        .order_by(rescue.c.id)
    )
    found: dict[int, str] = {}
    for seq, person, active in rows:
        found.pop(seq, None)
        if active:
            found[seq] = person
    return found
