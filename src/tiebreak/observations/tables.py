"""Live traffic: events in daily partitions, what was said of them, and the running sums.

Events are partitioned by their own id: a UUIDv7 carries its time, so that the id alone is the key over all partitions, a
lookup goes to one of them, and a replayed event meets its first copy. No table refers to `tests`: events may come after
their test was deleted.
"""

from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    Numeric,
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

events = Table(
    "events",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("worker", Uuid, nullable=False),
    Column("surface", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    # The exposure; all NULL for a call of a model.
    Column("test_id", Uuid),
    Column("phase", Integer),
    Column("variant", SmallInteger),
    Column("unit_key", Uuid),
    Column("unit", Text),
    Column("reason", Text),
    Column("probability", Float(53)),
    Column("config_version", BigInteger),
    Column("carried_over", Boolean, nullable=False),
    # The response.
    Column("provider", Text),
    Column("model", Text),
    Column("served", Text),
    Column("stream", Boolean, nullable=False),
    Column("error", Text),
    Column("latency_us", BigInteger, nullable=False),
    Column("overhead_us", BigInteger, nullable=False),
    Column("first_token_us", BigInteger),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("usage_estimated", Boolean, nullable=False),
    Column("cost_nano", BigInteger),
    Column("cache", Text, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("fallbacks", JSONB),
    Column("draw", Uuid),
    Column("api_key", Uuid),
    Column("session", Text),
    Column("session_key", Uuid),
    Column("tags", JSONB),
    PrimaryKeyConstraint("id"),
    postgresql_partition_by="RANGE (id)",
)
Index("ix_events_test_id", events.c.test_id, events.c.id, postgresql_where=text("test_id is not null"))
Index(
    "ix_events_session_key",
    events.c.session_key,
    events.c.id,
    postgresql_where=text("session_key is not null"),
)

event_bodies = Table(
    "event_bodies",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("request", Text),
    Column("response", Text),
    PrimaryKeyConstraint("id"),
    postgresql_partition_by="RANGE (id)",
)

# The last word of each source on each target and metric, and where it is counted at present.
feedback = Table(
    "feedback",
    metadata,
    Column("target", Uuid, nullable=False),
    Column("metric", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("test_id", Uuid),
    Column("id", Uuid, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("upto", Uuid, nullable=False),  # it is about nothing later than this id
    Column("micro", BigInteger),
    Column("text", Text),
    Column("comment", Text),
    Column("counted_test", Uuid),
    Column("counted_phase", Integer),
    Column("counted_variant", SmallInteger),
    Column("counted_unit", Uuid),
    Column("counted_micro", BigInteger),
    PrimaryKeyConstraint("target", "metric", "source"),
    CheckConstraint("kind in ('request', 'unit', 'session')", name="kind_known"),
    Index("ix_feedback_counted_test", "counted_test"),
    Index("ix_feedback_at", "at"),
)


def _sum(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


# Whole numbers, so that they are the same in whatever order events arrive.
unit_sums = Table(
    "unit_sums",
    metadata,
    Column("test_id", Uuid, nullable=False),
    Column("unit", Uuid, nullable=False),
    Column("phase", Integer, nullable=False),
    Column("variant", SmallInteger, nullable=False),
    Column("first_event", Uuid, nullable=False),
    _sum("requests"),
    _sum("answered"),  # without an error; latency, first token, tokens and cost are theirs
    _sum("errors"),
    _sum("fallbacks"),
    _sum("cache_hits"),
    _sum("attempts"),
    _sum("latency_us"),
    _sum("streamed"),  # with a first token
    _sum("first_token_us"),
    _sum("priced"),  # with a known cost
    _sum("cost_nano"),
    _sum("counted"),  # with known tokens
    _sum("input_tokens"),
    _sum("output_tokens"),
    PrimaryKeyConstraint("test_id", "unit", "phase", "variant"),
)

unit_scores = Table(
    "unit_scores",
    metadata,
    Column("test_id", Uuid, nullable=False),
    Column("unit", Uuid, nullable=False),
    Column("phase", Integer, nullable=False),
    Column("variant", SmallInteger, nullable=False),
    Column("metric", Text, nullable=False),
    _sum("count"),
    _sum("total"),  # in 1e-6
    PrimaryKeyConstraint("test_id", "unit", "phase", "variant", "metric"),
)


def _exact(name: str) -> Column[Decimal]:
    return Column(name, Numeric(60, 0), nullable=False)


# Sums over the units of an arm of their counts c and totals x: exact, so that variances do not cancel (docs/adr/0018).
arm_moments = Table(
    "arm_moments",
    metadata,
    Column("test_id", Uuid, nullable=False),
    Column("phase", Integer, nullable=False),
    Column("variant", SmallInteger, nullable=False),
    Column("metric", Text, nullable=False),
    Column("units", BigInteger, nullable=False),  # with c > 0
    _exact("count"),
    _exact("total"),
    _exact("count_squares"),
    _exact("total_squares"),
    _exact("products"),
    PrimaryKeyConstraint("test_id", "phase", "variant", "metric"),
)

observed_tests = Table(
    "observed_tests",
    metadata,
    Column("test_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False),  # rises with every change of its sums
    Column("first_event", Uuid),
)

# How far the spool of each worker has been taken over; moved in the transaction that takes it.
spool_offsets = Table(
    "spool_offsets",
    metadata,
    Column("worker", Uuid, primary_key=True),
    Column("segment", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# What the nightly recount found, one row a test.
refolds = Table(
    "refolds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("test_id", Uuid, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("outcome", Text, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("differences", JSONB, nullable=False),
    CheckConstraint("outcome in ('equal', 'repaired', 'partial')", name="outcome_known"),
    Index("ix_refolds_test_id", "test_id"),
)
