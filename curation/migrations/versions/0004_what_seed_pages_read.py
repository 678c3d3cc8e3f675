"""What pages of seeds read: the facts and the words of every seed; documents that a person wants
used; what documents are compared by"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PAGE = 1_000  # rows read at a time
FACTS = ("state", "stage", "reason", "language", "source", "licence", "harvest_id", "lines", "bytes")


def upgrade() -> None:
    _make_places()
    _make_rescues()
    _make_signatures()
    op.drop_index("ix_document_state_reason", table_name="document")
    op.create_index("ix_document_facts", "document", list(FACTS))
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        op.execute(
            "CREATE VIRTUAL TABLE seed_text USING fts5("
            "text, path, source, content='', tokenize='unicode61', prefix='3')"
        )
    _fill(op.get_bind(), is_sqlite)


def _number() -> sa.Column:  # type: ignore[type-arg]
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("seq", number, autoincrement=True, nullable=False)


def _make_places() -> None:
    op.create_table(
        "seed_place",
        _number(),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("seed_id", "language", "source", "licence")),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("chars", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["seed_id"], ["seed.id"], name=op.f("fk_seed_place_seed_id_seed")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_seed_place")),
        sa.UniqueConstraint("seed_id", name=op.f("uq_seed_place_seed_id")),
        sqlite_autoincrement=True,
    )


def _make_rescues() -> None:
    op.create_table(
        "document_rescue",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("harvest_id", "path", "document_hash")),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("stage", "reason")),
        sa.Column("evidence", sa.JSON(), nullable=False),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("person", "at")),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["harvest_id"], ["harvest.id"], name=op.f("fk_document_rescue_harvest_id_harvest")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document_rescue")),
    )
    op.create_index(op.f("ix_document_rescue_document_hash"), "document_rescue", ["document_hash"])


def _make_signatures() -> None:
    """Make their table, empty: the next comparing makes the signatures that it lacks."""
    op.create_table(
        "document_signature",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("text_key", sa.LargeBinary(), nullable=False),
        sa.Column("grams", sa.Integer(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_document_signature")),
    )


def _fill(connection: sa.Connection, has_words: bool) -> None:
    """Give the seeds that are there their places and words, in the order in which they were kept."""
    names = ("id", "language", "source", "licence", "method", "first_line", "last_line", "text", "path")
    seed = sa.table("seed", sa.column("rowid"), *(sa.column(name) for name in names))
    place = sa.table("seed_place", *(sa.column(n) for n in (
        "seq", "seed_id", "language", "source", "licence", "method", "lines", "chars"
    )))  # fmt: skip
    order = seed.c.rowid if has_words else seed.c.id
    rows = connection.execute(sa.select(*(seed.c[name] for name in names)).order_by(order)).all()
    for start in range(0, len(rows), PAGE):
        page = list(enumerate(rows[start : start + PAGE], start + 1))
        connection.execute(sa.insert(place), [
            {
                "seq": seq, "seed_id": one.id, "language": one.language, "source": one.source,
                "licence": one.licence, "method": one.method,
                "lines": one.last_line - one.first_line + 1, "chars": len(one.text),
            }
            for seq, one in page
        ])  # fmt: skip
        if has_words:
            connection.execute(
                sa.text(
                    "INSERT INTO seed_text(rowid, text, path, source) VALUES (:seq, :text, :path, :source)"
                ),
                [{"seq": seq, "text": one.text, "path": one.path, "source": one.source} for seq, one in page],
            )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE seed_text")
    op.drop_table("document_signature")
    op.drop_table("document_rescue")
    op.drop_table("seed_place")
    op.drop_index("ix_document_facts", table_name="document")
    op.create_index("ix_document_state_reason", "document", ["state", "reason", "language"])
