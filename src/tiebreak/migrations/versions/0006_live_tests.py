"""Live tests: which ones are, what they were resolved to, and how each phase split their traffic."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column and two tables; tests that were started so far run on datasets."""
    op.add_column("tests", sa.Column("live", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_table(
        "live_plans",
        sa.Column("test_id", sa.Uuid(), nullable=False),
        sa.Column("plan", JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["test_id"], ["tests.id"], name=op.f("fk_live_plans_test_id_tests"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("test_id", name=op.f("pk_live_plans")),
    )
    op.create_table(
        "test_phases",
        sa.Column("test_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("holdout", sa.Double(), nullable=False),
        sa.Column("ranges", JSONB(), nullable=False),
        sa.Column("weights", JSONB(), nullable=False),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.Column("who", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind in ('start', 'ramp', 'reweigh', 'share', 'ship', 'stop')",
            name=op.f("ck_test_phases_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["test_id"], ["tests.id"], name=op.f("fk_test_phases_test_id_tests"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("test_id", "number", name=op.f("pk_test_phases")),
    )
