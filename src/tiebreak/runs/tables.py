"""Runs, and the lease table that is queue and result in one.

A task is one (item, variant, repeat). It is claimed with SKIP LOCKED under a lease token, and the same row receives
the response and the scores in the transaction that ends it.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from tiebreak.infrastructure.connections.schema import metadata

runs = Table(
    "runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("test_id", Uuid, ForeignKey("tests.id", ondelete="CASCADE"), nullable=False),
    Column("dataset_version_id", Uuid, ForeignKey("dataset_versions.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    # Everything a worker needs, resolved when the run began: variants with provider ids, prompts, checks (runs.model.Plan).
    Column("plan", JSONB, nullable=False),
    Column("concurrency", Integer, nullable=False),
    # The budget; NULL means no limit. Money is counted in nano-dollars (docs/adr/0003).
    Column("max_cost_nano", BigInteger),
    Column("max_requests", BigInteger),
    Column("max_seconds", Integer),
    # Totals, kept in the transaction that ends a task.
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False, server_default=text("0")),
    Column("failed", Integer, nullable=False, server_default=text("0")),
    Column("calls", BigInteger, nullable=False, server_default=text("0")),
    Column("cost_nano", BigInteger, nullable=False, server_default=text("0")),
    Column("tokens", BigInteger, nullable=False, server_default=text("0")),
    # Two marks of (time, done) some seconds apart: the present rate in O(1), however long the run is.
    Column("mark_at", DateTime(timezone=True)),
    Column("mark_done", Integer),
    Column("earlier_at", DateTime(timezone=True)),
    Column("earlier_done", Integer),
    # Time spent running before the latest resume, so that a pause does not use up the time budget.
    Column("active_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("started_at", DateTime(timezone=True)),
    Column("resumed_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    CheckConstraint("state in ('running', 'paused', 'completed', 'cancelled', 'failed')", name="state_known"),
    Index("ix_runs_test_id", "test_id"),
)

run_tasks = Table(
    "run_tasks",
    metadata,
    Column("run_id", Uuid, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("variant", SmallInteger, nullable=False),
    Column("repeat", SmallInteger, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'queued'")),
    Column("lease_token", Uuid),
    Column("lease_until", DateTime(timezone=True)),
    Column("claims", SmallInteger, nullable=False, server_default=text("0")),
    # The response and its scores; written once, with state = 'done'. The token stays: it says who ended the task.
    Column("model", Text),
    Column("text", Text),
    Column("finish_reason", Text),
    Column("error", Text),
    Column("error_detail", Text),
    Column("calls", SmallInteger),
    Column("latency_us", BigInteger),
    Column("first_token_us", BigInteger),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cost_nano", BigInteger),
    Column("scores", JSONB),
    # What happened on the way, as the list it was: fallbacks, a shared draw. NULL when nothing did.
    Column("events", JSONB),
    # The draw this response shares with others of its run; NULL when it is its own.
    Column("draw", Uuid),
    Column("ended_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("run_id", "position", "variant", "repeat"),
    CheckConstraint("state in ('queued', 'leased', 'done')", name="state_known"),
    Index(
        "ix_run_tasks_open",
        "run_id",
        "position",
        "repeat",
        "variant",
        postgresql_where=text("state <> 'done'"),
    ),
    # Counts what is handed out, so that a budget of requests can be reserved when tasks are claimed.
    Index("ix_run_tasks_leased", "run_id", postgresql_where=text("state = 'leased'")),
)
