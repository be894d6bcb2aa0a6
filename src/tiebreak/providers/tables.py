"""Accounts at vendors and the models reached through them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)

from tiebreak.infrastructure.connections.schema import metadata

providers = Table(
    "providers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("dialect", Text, nullable=False),
    Column("base_url", Text, nullable=False),
    # AES-GCM: nonce and ciphertext in one value; the key id says which key opens it.
    Column("secret", LargeBinary),
    Column("secret_key_id", Text),
    Column("concurrency", Integer, nullable=False),
    Column("timeout_seconds", Double, nullable=False),
    Column("max_retries", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("concurrency > 0", name="concurrency_positive"),
)

# A row holds what the user says of a model; prices left NULL come from the price list in the package.
models = Table(
    "models",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("provider_id", Uuid, ForeignKey("providers.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    # US dollars per million tokens.
    Column("input_price", Numeric(18, 9)),
    Column("output_price", Numeric(18, 9)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("provider_id", "name"),
    CheckConstraint("input_price >= 0 and output_price >= 0", name="prices_not_negative"),
)
