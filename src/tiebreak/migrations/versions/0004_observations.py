"""Live traffic: events in daily partitions, feedback, and running sums per unit and per arm."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; the partitions of the days are made as they come."""
    _keep_events()
    _keep_feedback()
    _keep_sums()
    _keep_progress()


def _keep_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("worker", sa.Uuid(), nullable=False),
        sa.Column("surface", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("test_id", sa.Uuid(), nullable=True),
        sa.Column("phase", sa.Integer(), nullable=True),
        sa.Column("variant", sa.SmallInteger(), nullable=True),
        sa.Column("unit_key", sa.Uuid(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("probability", sa.Float(53), nullable=True),
        sa.Column("config_version", sa.BigInteger(), nullable=True),
        sa.Column("carried_over", sa.Boolean(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("served", sa.Text(), nullable=True),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("latency_us", sa.BigInteger(), nullable=False),
        sa.Column("overhead_us", sa.BigInteger(), nullable=False),
        sa.Column("first_token_us", sa.BigInteger(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=True),
        sa.Column("usage_estimated", sa.Boolean(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=True),
        sa.Column("cache", sa.Text(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("fallbacks", JSONB(), nullable=True),
        sa.Column("draw", sa.Uuid(), nullable=True),
        sa.Column("api_key", sa.Uuid(), nullable=True),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("session_key", sa.Uuid(), nullable=True),
        sa.Column("tags", JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        postgresql_partition_by="RANGE (id)",
    )
    for column in ("test_id", "session_key"):
        op.create_index(
            f"ix_events_{column}", "events", [column, "id"], postgresql_where=sa.text(f"{column} is not null")
        )
    op.create_table(
        "event_bodies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request", sa.Text(), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_bodies")),
        postgresql_partition_by="RANGE (id)",
    )


def _keep_feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("target", sa.Uuid(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("test_id", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("upto", sa.Uuid(), nullable=False),
        sa.Column("micro", sa.BigInteger(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("counted_test", sa.Uuid(), nullable=True),
        sa.Column("counted_phase", sa.Integer(), nullable=True),
        sa.Column("counted_variant", sa.SmallInteger(), nullable=True),
        sa.Column("counted_unit", sa.Uuid(), nullable=True),
        sa.Column("counted_micro", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind in ('request', 'unit', 'session')", name=op.f("ck_feedback_kind_known")),
        sa.PrimaryKeyConstraint("target", "metric", "source", name=op.f("pk_feedback")),
    )
    op.create_index("ix_feedback_counted_test", "feedback", ["counted_test"])
    op.create_index("ix_feedback_at", "feedback", ["at"])


def _keep_sums() -> None:
    arm = ("phase", sa.Integer()), ("variant", sa.SmallInteger())
    sums = (
        "requests",
        "answered",
        "errors",
        "fallbacks",
        "cache_hits",
        "attempts",
        "latency_us",
        "streamed",
        "first_token_us",
        "priced",
        "cost_nano",
        "counted",
        "input_tokens",
        "output_tokens",
    )
    op.create_table(
        "unit_sums",
        sa.Column("test_id", sa.Uuid(), nullable=False),
        sa.Column("unit", sa.Uuid(), nullable=False),
        *(sa.Column(name, kind, nullable=False) for name, kind in arm),
        sa.Column("first_event", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums),
        sa.PrimaryKeyConstraint("test_id", "unit", "phase", "variant", name=op.f("pk_unit_sums")),
    )
    op.create_table(
        "unit_scores",
        sa.Column("test_id", sa.Uuid(), nullable=False),
        sa.Column("unit", sa.Uuid(), nullable=False),
        *(sa.Column(name, kind, nullable=False) for name, kind in arm),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("test_id", "unit", "phase", "variant", "metric", name=op.f("pk_unit_scores")),
    )
    op.create_table(
        "arm_moments",
        sa.Column("test_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, kind, nullable=False) for name, kind in arm),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        *(
            sa.Column(name, sa.Numeric(60, 0), nullable=False)
            for name in ("count", "total", "count_squares", "total_squares", "products")
        ),
        sa.PrimaryKeyConstraint("test_id", "phase", "variant", "metric", name=op.f("pk_arm_moments")),
    )


def _keep_progress() -> None:
    op.create_table(
        "observed_tests",
        sa.Column("test_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("first_event", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("test_id", name=op.f("pk_observed_tests")),
    )
    op.create_table(
        "spool_offsets",
        sa.Column("worker", sa.Uuid(), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("worker", name=op.f("pk_spool_offsets")),
    )
    op.create_table(
        "refolds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("test_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("differences", JSONB(), nullable=False),
        sa.CheckConstraint(
            "outcome in ('equal', 'repaired', 'partial')", name=op.f("ck_refolds_outcome_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refolds")),
    )
    op.create_index("ix_refolds_test_id", "refolds", ["test_id"])
