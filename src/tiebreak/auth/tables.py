"""API keys. A row stays when its key is revoked: once a key was made, the server never answers without one again."""

from sqlalchemy import ARRAY, CheckConstraint, Column, DateTime, LargeBinary, Table, Text, Uuid, func

from tiebreak.infrastructure.connections.schema import metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("prefix", Text, nullable=False, unique=True),
    Column("secret_hash", LargeBinary, nullable=False),  # SHA-256
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    CheckConstraint("length(secret_hash) = 32", name="secret_hash_is_sha256"),
    CheckConstraint("cardinality(scopes) > 0", name="some_scope"),
)
