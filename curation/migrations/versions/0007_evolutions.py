"""Evolutions, their steps, and what their rounds scored on a held-out set"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evolution",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parents", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("paused", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("worked_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evolution")),
    )
    _steps()
    op.create_table(
        "evolution_score",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("evolution_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("benchmark", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evolution_id"], ["evolution.id"], name=op.f("fk_evolution_score_evolution_id_evolution")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evolution_score")),
    )
    op.create_index("ix_evolution_score_evolution_id", "evolution_score", ["evolution_id"])
    op.create_index("ix_generation_item_subject", "generation_item", ["subject"])


def _steps() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    texts = ("rewrite_call", "compare_call", "answer_call")
    op.create_table(
        "evolution_step",
        sa.Column("seq", number, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("evolution_id", sa.Text(), nullable=False),
        sa.Column("root", number, nullable=False),
        sa.Column("parent", number, nullable=True),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("redo", sa.Integer(), nullable=False),
        sa.Column("heuristic", sa.Text(), nullable=True),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("overruled", sa.JSON(), nullable=False),
        sa.Column("task", sa.Text(), nullable=True),
        *[sa.Column(name, sa.Text(), nullable=True) for name in texts],
        sa.Column("child", number, nullable=True),
        *[sa.Column(name, sa.Integer(), nullable=True) for name in ("words_before", "words", "answer_words")],
        sa.Column("parent_cosine", sa.Float(), nullable=True),
        *[sa.Column(name, sa.Integer(), nullable=False) for name in ("tokens_in", "tokens_out", "replies")],
        sa.Column("cut", sa.Text(), nullable=True),
        sa.Column("cut_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["evolution_id"], ["evolution.id"], name=op.f("fk_evolution_step_evolution_id_evolution")
        ),
        *[
            sa.ForeignKeyConstraint([name], ["sample.seq"], name=op.f(f"fk_evolution_step_{name}_sample"))
            for name in ("root", "parent", "child")
        ],
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_evolution_step")),
        sa.UniqueConstraint("id", name=op.f("uq_evolution_step_id")),
    )
    for name in ("parent", "child"):
        op.create_index(f"ix_evolution_step_{name}", "evolution_step", [name])
    op.create_index("ix_evolution_step_tree", "evolution_step", ["evolution_id", "root", "round", "redo"])
    op.create_index(
        "ix_evolution_step_counts",
        "evolution_step",
        ["evolution_id", "round", "state", "heuristic", "rule", "cut", "phase", "root"],
    )


def downgrade() -> None:
    op.drop_index("ix_generation_item_subject", "generation_item")
    for name in ("evolution_score", "evolution_step", "evolution"):
        op.drop_table(name)
