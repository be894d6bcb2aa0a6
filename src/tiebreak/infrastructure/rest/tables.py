"""Answers kept for repeated requests with the same Idempotency-Key."""

from sqlalchemy import Column, DateTime, Integer, PrimaryKeyConstraint, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB

from tiebreak.infrastructure.connections.schema import metadata

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("route", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("body_hash", Text, nullable=False),
    Column("status", Integer),
    Column("answer", JSONB),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("route", "key"),
)
