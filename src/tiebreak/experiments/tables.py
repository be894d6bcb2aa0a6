"""A/B tests and their live phases. The table is called `tests`, as users call them; in code the class is Experiment."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from tiebreak.infrastructure.connections.schema import metadata

tests = Table(
    "tests",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("definition", JSONB, nullable=False),
    Column("definition_hash", Text, nullable=False),
    # Counts edits and transitions; a writer that read an older one is refused.
    Column("revision", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("started_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("live", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint(
        "state in ('draft', 'running', 'paused', 'completed', 'cancelled', 'failed')", name="state_known"
    ),
)
Index("ix_tests_definition_hash", tests.c.definition_hash)

# Apart from `tests`, because lists of tests are read often and plans hold whole prompts.
live_plans = Table(
    "live_plans",
    metadata,
    Column("test_id", Uuid, ForeignKey("tests.id", ondelete="CASCADE"), primary_key=True),
    Column("plan", JSONB, nullable=False),
)

# Rows are added and, once, ended; nothing else of them ever changes.
test_phases = Table(
    "test_phases",
    metadata,
    Column("test_id", Uuid, ForeignKey("tests.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("share", Double, nullable=False),
    Column("holdout", Double, nullable=False),
    Column("ranges", JSONB, nullable=False),  # [[first bucket, bucket after the last, variant], …]
    Column("weights", JSONB, nullable=False),
    Column("config_version", Integer, nullable=False),  # the test's revision that opened the phase
    Column("who", Text),
    Column("why", Text),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    CheckConstraint("kind in ('start', 'ramp', 'reweigh', 'share', 'ship', 'stop')", name="kind_known"),
)
