"""What generation keeps: prompts, what was wanted of a teacher and what became of it, judgements, what
people said of samples; and calls as they are made now (nothing ever wrote the table of before)"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _make_prompts()
    _make_generations()
    _make_choices()
    _make_items()
    _make_words()
    op.drop_table("teacher_call")
    _make_calls()


def _make_prompts() -> None:
    op.create_table(
        "prompt",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("repair", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_prompt")),
    )


def _make_generations() -> None:
    op.create_table(
        "generation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("prompt_hash", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("paused", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("worked_at", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["prompt_hash"], ["prompt.hash"], name=op.f("fk_generation_prompt_hash_prompt")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
    )


def _make_choices() -> None:
    op.create_table(
        "prompt_choice",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("prompt_hash", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prompt_hash"], ["prompt.hash"], name=op.f("fk_prompt_choice_prompt_hash_prompt")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt_choice")),
    )


def _make_items() -> None:
    op.create_table(
        "generation_item",
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("draw", sa.Integer(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("repair_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=True),
        sa.Column("parser", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["generation_id"], ["generation.id"], name=op.f("fk_generation_item_generation_id_generation")
        ),
        sa.PrimaryKeyConstraint("generation_id", "position", name=op.f("pk_generation_item")),
        sa.UniqueConstraint(
            "generation_id", "subject", "draw", name=op.f("uq_generation_item_generation_id_subject_draw")
        ),
    )
    op.create_index("ix_generation_item_call_id", "generation_item", ["call_id"])
    op.create_index("ix_generation_item_state", "generation_item", ["generation_id", "state", "reason"])


def _make_words() -> None:
    op.create_table(
        "judgement",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt_hash", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("difficulty", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["sample.seq"], name=op.f("fk_judgement_seq_sample")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judgement")),
        sa.UniqueConstraint("call_id", name=op.f("uq_judgement_call_id")),
    )
    op.create_index("ix_judgement_seq", "judgement", ["seq"])

    op.create_table(
        "sample_word",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["sample.seq"], name=op.f("fk_sample_word_seq_sample")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sample_word")),
    )
    op.create_index("ix_sample_word_seq", "sample_word", ["seq"])


def _make_calls() -> None:
    op.create_table(
        "teacher_call",
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("id", "generation_id", "state", "draw")),
        sa.Column("attempts", sa.Integer(), nullable=False),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("model", "endpoint", "prompt_hash")),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("reply", sa.LargeBinary(), nullable=True),
        *(sa.Column(n, sa.Text(), nullable=True) for n in ("reason", "message", "finish_reason")),
        *(sa.Column(f"worst_{n}", sa.Integer(), nullable=False) for n in ("in", "out")),
        *(sa.Column(f"tokens_{n}", sa.Integer(), nullable=False) for n in ("in", "out", "cached")),
        *(sa.Column(f"lost_{n}", sa.Integer(), nullable=False) for n in ("in", "out")),
        sa.Column("is_guessed", sa.Boolean(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("sent_at", sa.Text(), nullable=False),
        sa.Column("answered_at", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["generation_id"], ["generation.id"], name=op.f("fk_teacher_call_generation_id_generation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teacher_call")),
    )
    op.create_index("ix_teacher_call_generation_id_state", "teacher_call", ["generation_id", "state"])


def downgrade() -> None:
    op.drop_table("teacher_call")
    for name in ("sample_word", "judgement", "generation_item", "generation", "prompt_choice", "prompt"):
        op.drop_table(name)
    op.create_table(
        "teacher_call",
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("id", "state", "draw")),
        sa.Column("attempts", sa.Integer(), nullable=False),
        *(sa.Column(n, sa.Text(), nullable=False) for n in ("model", "endpoint")),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=True),
        *(sa.Column(f"tokens_{n}", sa.Integer(), nullable=True) for n in ("in", "out")),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teacher_call")),
    )
