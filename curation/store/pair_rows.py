"""What the page of pairs reads of a run: the pairs that decided, and the states of the rows in them."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, tuple_

from curation.store.tables import near_duplicate_pair, outcome, rejection, review_item, sample

PAGE = 500  # pairs or rows named in one query

pair = near_duplicate_pair


def decided(
    connection: Connection, run_id: int, decision: str, low: float, high: float, offset: int, size: int,
    most_first: bool,
) -> list[Row[Any]]:  # fmt: skip
    """Give pairs with this decision and low <= cosine < high, by cosine."""
    order = pair.c.cosine.desc() if most_first else pair.c.cosine.asc()
    query = _of(select(pair), run_id, decision, low, high)
    # By cosine alone: the index goes on with the pair, so that ties have an order, too.
    return list(connection.execute(query.order_by(order).offset(offset).limit(size)))


def all_decided(
    connection: Connection, run_id: int, decision: str, low: float, high: float
) -> list[Row[Any]]:
    """Give left_seq, right_seq and cosine of every pair with this decision and low <= cosine < high."""
    columns = (pair.c.left_seq, pair.c.right_seq, pair.c.cosine)
    query = _of(select(*columns), run_id, decision, low, high)
    return list(connection.execute(query.order_by(pair.c.cosine.desc(), pair.c.left_seq, pair.c.right_seq)))


def count_decided(connection: Connection, run_id: int, decision: str, low: float, high: float) -> int:
    query = _of(select(func.count()).select_from(pair), run_id, decision, low, high)
    return int(connection.execute(query).scalar_one())


def _of(query: Select[Any], run_id: int, decision: str, low: float, high: float) -> Select[Any]:
    return query.where(
        pair.c.run_id == run_id, pair.c.decision == decision, pair.c.cosine >= low, pair.c.cosine < high
    )


def of_pairs(
    connection: Connection, run_id: int, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], Row[Any]]:
    """Give what decided on these pairs of seqs, where anything did."""
    found = {}
    for start in range(0, len(pairs), PAGE):
        wanted = tuple_(pair.c.left_seq, pair.c.right_seq).in_(pairs[start : start + PAGE])
        for row in connection.execute(select(pair).where(pair.c.run_id == run_id, wanted)):
            found[row.left_seq, row.right_seq] = row
    return found


def reasons(connection: Connection, run_id: int, seqs: Iterable[int]) -> dict[int, str]:
    """Give why rows were dropped, of those that were."""
    wanted = sorted(set(seqs))
    found = {}
    for start in range(0, len(wanted), PAGE):
        query = select(rejection.c.seq, rejection.c.reason).where(
            rejection.c.run_id == run_id, rejection.c.seq.in_(wanted[start : start + PAGE])
        )
        found.update({row.seq: row.reason for row in connection.execute(query)})
    return found


def seqs_in_state(connection: Connection, run_id: int, state: str) -> list[int]:
    query = select(outcome.c.seq).where(outcome.c.run_id == run_id, outcome.c.state == state)
    return list(connection.execute(query).scalars())


def samples_of(connection: Connection, seqs: Iterable[int]) -> dict[int, Row[Any]]:
    """Give whole sample rows by their numbers."""
    wanted = sorted(set(seqs))
    found = {}
    for start in range(0, len(wanted), PAGE):
        query = select(sample).where(sample.c.seq.in_(wanted[start : start + PAGE]))
        found.update({row.seq: row for row in connection.execute(query)})
    return found


def versions_of(connection: Connection, item_ids: Iterable[str]) -> dict[str, int]:
    """Give the versions of review items by their ids."""
    query = select(review_item.c.id, review_item.c.version).where(review_item.c.id.in_(sorted(set(item_ids))))
    return {row.id: row.version for row in connection.execute(query)}
