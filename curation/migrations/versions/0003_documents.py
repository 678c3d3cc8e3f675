"""Documents that seeds are cut from: harvests, documents used or left out, and their texts"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("seed", sa.Column("method", sa.Text(), nullable=False, server_default="comment-function"))
    op.create_table(
        "harvest",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("given", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("position", sa.JSON(), nullable=True),
        sa.Column("skipped", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_harvest")),
    )
    _make_documents()
    op.create_table(
        "document_text",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_document_text")),
    )


def _make_documents() -> None:
    texts = ("harvest_id", "source", "path", "hash", "language", "licence", "licence_evidence")
    op.create_table(
        "document",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("cuts", sa.JSON(), nullable=False),
        sa.Column("redacted", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["harvest_id"], ["harvest.id"], name=op.f("fk_document_harvest_id_harvest")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_document")),
        sa.UniqueConstraint("harvest_id", "source", "path", name=op.f("uq_document_harvest_id_source_path")),
    )
    op.create_index(op.f("ix_document_hash"), "document", ["hash"])
    op.create_index("ix_document_state_reason", "document", ["state", "reason", "language"])


def downgrade() -> None:
    op.drop_table("document_text")
    op.drop_table("document")
    op.drop_table("harvest")
    op.drop_column("seed", "method")
