"""Batches that a teacher was given, and which calls went with each"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "teacher_batch",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=True),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=True),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["generation_id"], ["generation.id"], name=op.f("fk_teacher_batch_generation_id_generation")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_teacher_batch")),
        sa.UniqueConstraint("name", name=op.f("uq_teacher_batch_name")),
    )
    op.create_index("ix_teacher_batch_generation_id", "teacher_batch", ["generation_id"])
    op.create_table(
        "teacher_batch_call",
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch"], ["teacher_batch.name"], name=op.f("fk_teacher_batch_call_batch_teacher_batch")
        ),
        sa.PrimaryKeyConstraint("batch", "call_id", name=op.f("pk_teacher_batch_call")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_teacher_batch_call_call_id", "teacher_batch_call", ["call_id"])


def downgrade() -> None:
    op.drop_table("teacher_batch_call")
    op.drop_table("teacher_batch")
