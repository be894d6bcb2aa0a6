"""A/B tests. The table is called `tests`, as users call them; in code the class is Experiment."""

from sqlalchemy import CheckConstraint, Column, DateTime, Index, Integer, Table, Text, Uuid, func
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
    CheckConstraint(
        "state in ('draft', 'running', 'paused', 'completed', 'cancelled', 'failed')", name="state_known"
    ),
)
Index("ix_tests_definition_hash", tests.c.definition_hash)
