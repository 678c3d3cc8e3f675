"""What pages read: where each sample is, the words of every sample, and indexes"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PAGE = 1_000  # rows read at a time
ORDER = ("clean", "near-duplicates", "decontaminate")
LETTERS = {"kept": "k", "pending": "p", "dropped": "d"}


def upgrade() -> None:
    _make_places()
    _make_indexes()
    _fill_places(op.get_bind())
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE sample_text USING fts5("
            "instruction, input, response, content='sample', content_rowid='seq', "
            "tokenize='unicode61', prefix='3')"
        )
        op.execute("INSERT INTO sample_text(sample_text) VALUES ('rebuild')")


def _make_places() -> None:
    facts = ("name", "source", "licence", "method")
    where = ("place", "stage", "reason")
    op.create_table(
        "sample_place",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        *(sa.Column(name, sa.Text(), nullable=False) for name in facts),
        sa.Column("instruction_chars", sa.Integer(), nullable=False),
        sa.Column("response_chars", sa.Integer(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("trail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["sample.seq"], name=op.f("fk_sample_place_seq_sample")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_sample_place")),
    )
    op.create_index("ix_sample_place_cube", "sample_place", [*facts, "trail", "reason"])
    op.create_index("ix_sample_place_response", "sample_place", ["response_chars", "seq", *facts, *where])
    op.create_index(
        "ix_sample_place_instruction", "sample_place", ["instruction_chars", "seq", *facts, *where]
    )


def _make_indexes() -> None:
    op.create_index("ix_rejection_run_id_reason", "rejection", ["run_id", "reason"])
    op.create_index("ix_rejection_file_hash_row", "rejection", ["file_hash", "row"])
    op.create_index("ix_rejection_file_hash_reason", "rejection", ["file_hash", "reason"])
    op.create_index(
        "ix_near_duplicate_pair_run_id_decision_cosine",
        "near_duplicate_pair",
        ["run_id", "decision", "cosine"],
    )
    op.create_index(
        "ix_contamination_match_run_id_detector_score",
        "contamination_match",
        ["run_id", "detector", "score"],
    )


def _fill_places(connection: sa.Connection) -> None:
    """Write the place of every sample there is, as curation/store/places.py did when this was written."""
    query = sa.text("SELECT stage, id FROM stage_run WHERE is_current")
    current = {row.stage: row.id for row in connection.execute(query)}
    ran = [(stage, current[stage]) for stage in ORDER if stage in current]
    insert = sa.text(
        "INSERT INTO sample_place (seq, name, source, licence, method, instruction_chars, response_chars, "
        "place, stage, reason, trail) VALUES (:seq, :name, :source, :licence, :method, :instruction_chars, "
        ":response_chars, :place, :stage, :reason, :trail)"
    )
    for page in _pages(connection):
        states, reasons = _decided(connection, [run_id for _, run_id in ran], page[0].seq, page[-1].seq)
        connection.execute(insert, [_place(row, ran, states, reasons) for row in page])


def _pages(connection: sa.Connection) -> Iterator[list[Any]]:
    query = sa.text(
        "SELECT seq, name, source, licence, method, instruction, response FROM sample "
        "WHERE seq > :last ORDER BY seq LIMIT :page"
    )
    last = 0
    while page := list(connection.execute(query, {"last": last, "page": PAGE})):
        yield page
        last = page[-1].seq


def _decided(
    connection: sa.Connection, run_ids: list[int], first: int, last: int
) -> tuple[dict[tuple[int, int], str], dict[tuple[int, int], str]]:
    states: dict[tuple[int, int], str] = {}
    reasons: dict[tuple[int, int], str] = {}
    for run_id in run_ids:
        asked = {"run_id": run_id, "first": first, "last": last}
        between = "WHERE run_id = :run_id AND seq BETWEEN :first AND :last"
        for seq, state in connection.execute(sa.text(f"SELECT seq, state FROM outcome {between}"), asked):
            states[run_id, seq] = state
        listed = sa.text(f"SELECT seq, reason FROM rejection {between} ORDER BY id")
        for seq, reason in connection.execute(listed, asked):
            reasons.setdefault((run_id, seq), reason)
    return states, reasons


def _place(
    row: Any, ran: list[tuple[str, int]], states: dict[tuple[int, int], str],
    reasons: dict[tuple[int, int], str],
) -> dict[str, Any]:  # fmt: skip
    place, stage, reason = ("kept" if ran else "new"), None, None
    letters = dict.fromkeys(ORDER, ".")
    for name, run_id in ran:
        letters[name] = LETTERS.get(states.get((run_id, row.seq), ""), "-")
    for number, (name, run_id) in enumerate(ran):
        if letters[name] == "-":
            place, stage = "new", (name if number else None)
            break
        if letters[name] == "d":
            place, stage, reason = "dropped", name, reasons.get((run_id, row.seq))
            break
        if letters[name] == "p" and place != "pending":
            place, stage = "pending", name
    return {
        "seq": row.seq, "name": row.name, "source": row.source, "licence": row.licence,
        "method": row.method, "instruction_chars": len(row.instruction),
        "response_chars": len(row.response), "place": place, "stage": stage, "reason": reason,
        "trail": "".join(letters.values()),
    }  # fmt: skip
