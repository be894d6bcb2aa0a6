"""Accounts at vendors and the models reached through them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

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
    Column("max_batch_size", Integer, nullable=False, server_default=text("10")),
    Column("batch_timeout_ms", Integer, nullable=False, server_default=text("100")),
    Column("cache_enabled", Boolean, nullable=False, server_default=text("true")),
    Column("cache_ttl_seconds", Integer, nullable=False, server_default=text("300")),
    # Sealed as the secret is: a proxy's URL may hold a password. The rest are paths of PEM files on the calling machine.
    Column("proxy", LargeBinary),
    Column("proxy_key_id", Text),
    Column("ca_bundle", Text),
    Column("client_certificate", Text),
    Column("client_key", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("concurrency > 0", name="concurrency_positive"),
)

# A row for every model the user said something of. Without a price in force, the price list in the package counts.
models = Table(
    "models",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("provider_id", Uuid, ForeignKey("providers.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("provider_id", "name"),
)

# US dollars per million tokens, from a moment on until the next row's.
model_prices = Table(
    "model_prices",
    metadata,
    Column("model_id", Uuid, ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("valid_from", DateTime(timezone=True), nullable=False),
    Column("input_price", Numeric(18, 9), nullable=False),
    Column("output_price", Numeric(18, 9), nullable=False),
    Column("cached_input_price", Numeric(18, 9)),
    PrimaryKeyConstraint("model_id", "valid_from"),
    CheckConstraint(
        "input_price >= 0 and output_price >= 0 and cached_input_price >= 0", name="prices_not_negative"
    ),
)

# What went through a provider, an hour and a model at a time: counts and tokens as billed, added up by every process.
provider_hours = Table(
    "provider_hours",
    metadata,
    Column("provider_id", Uuid, ForeignKey("providers.id", ondelete="CASCADE"), nullable=False),
    Column("hour", DateTime(timezone=True), nullable=False),
    Column("model", Text, nullable=False),
    Column("calls", BigInteger, nullable=False),  # attempts on the wire
    Column("answers", BigInteger, nullable=False),  # of them, with an answer
    Column("retries", BigInteger, nullable=False),
    Column("cached", BigInteger, nullable=False),  # requests answered by the cache
    Column("joined", BigInteger, nullable=False),  # requests answered by a call that another one made
    Column(
        "refused", BigInteger, nullable=False
    ),  # requests that the breaker or a full queue kept from the wire
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("failures", JSONB, nullable=False),  # {failure: count}
    Column("latency", JSONB, nullable=False),  # of answers, in seconds: a `statistics.sketch` document
    PrimaryKeyConstraint("provider_id", "hour", "model"),
)

# The last two hours of the same, a minute at a time and all models together: what a provider's health is read from.
provider_minutes = Table(
    "provider_minutes",
    metadata,
    Column("provider_id", Uuid, ForeignKey("providers.id", ondelete="CASCADE"), nullable=False),
    Column("minute", DateTime(timezone=True), nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("answers", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("failures", JSONB, nullable=False),
    Column("latency", JSONB, nullable=False),
    PrimaryKeyConstraint("provider_id", "minute"),
)

# How each living process stands to a provider now. A row that nobody renews is of a process that has ended.
provider_circuits = Table(
    "provider_circuits",
    metadata,
    Column("process", Uuid, nullable=False),
    Column("provider_id", Uuid, ForeignKey("providers.id", ondelete="CASCADE"), nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("next_probe", DateTime(timezone=True)),
    Column("calls", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("slots", Integer, nullable=False),  # calls at once that the adaptive limit allows now
    Column("held", Integer, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("process", "provider_id", "endpoint", "credential"),
)
