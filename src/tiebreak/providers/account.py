"""A provider as it is stored and called: its account, how calls to it behave, and what they cost."""

import hmac
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from tiebreak.infrastructure.connections.http import Route
from tiebreak.providers.model import Usage

NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How concurrent calls of one kind go together: so many at most, and none waits longer for others to come.

    A size of 1 turns batching off.
    """

    max_batch_size: int = 10
    batch_timeout_ms: int = 100


@dataclass(frozen=True, slots=True)
class ExternalServiceConfig:
    """How calls to one provider behave.

    `timeout_seconds` bounds one attempt from end to end; `max_retries` come after the first. The cache holds answers to
    deterministic requests outside tests, each for `cache_ttl_seconds`.
    """

    service_name: str
    timeout_seconds: float = 60.0
    max_retries: int = 3
    batch_config: BatchConfig = BatchConfig()
    cache_enabled: bool = True
    cache_ttl_seconds: int = 300


@dataclass(frozen=True, slots=True)
class Provider:
    """An account at a vendor. The secret never leaves the store in clear except inside `Account`, and a proxy's URL,
    which may hold a password, only inside its `route`."""

    id: UUID
    dialect: str
    base_url: str
    has_secret: bool
    concurrency: int
    service: ExternalServiceConfig
    has_proxy: bool
    ca_bundle: str | None
    client_certificate: str | None
    client_key: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.service.service_name


@dataclass(frozen=True, slots=True)
class Account:
    """What a call needs of a provider: where and how, and the key in clear. Never shown, never logged.

    `credential` is a fingerprint that tells two keys of one provider apart and gives none of them away.
    """

    provider_id: UUID
    dialect: str
    base_url: str
    concurrency: int
    secret: str | None
    service: ExternalServiceConfig
    route: Route | None = None
    credential: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mark = hmac.digest(self.provider_id.bytes, (self.secret or "").encode(), "sha256")
        object.__setattr__(self, "credential", mark[:6].hex())

    @property
    def name(self) -> str:
        """The provider's."""
        return self.service.service_name

    def __repr__(self) -> str:
        return f"Account({self.name!r}, {self.base_url!r})"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens. `cached_input` is the price of input that the vendor read from its own cache; None
    where it costs what all input costs."""

    input: Decimal
    output: Decimal
    source: Literal["override", "list"]
    cached_input: Decimal | None = None

    def cost_nano(self, usage: Usage) -> int:
        """What these tokens cost, in nano-dollars, rounded half up once."""
        cached = 0 if self.cached_input is None else min(usage.cached_tokens or 0, usage.input_tokens)
        micro_dollars = self.input * (usage.input_tokens - cached) + self.output * usage.output_tokens
        if self.cached_input is not None:
            micro_dollars += self.cached_input * cached
        return int((micro_dollars * 1000).to_integral_value(rounding="ROUND_HALF_UP"))


@dataclass(frozen=True, slots=True)
class DatedPrice:
    """A price of the user's own from a moment on, until the next one's; None is since ever."""

    price: Price
    valid_from: datetime | None


@dataclass(frozen=True, slots=True)
class PricedModel:
    """One of a provider's models with the price that counts, and since when if it is an own one; `own` has every own
    price, the oldest first. `id` is the nil UUID when nothing is stored of the model."""

    id: UUID
    name: str
    price: Price | None
    valid_from: datetime | None = None
    own: tuple[DatedPrice, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """What one connection test found. `latency` in seconds; `detail` says in a sentence what happened."""

    ok: bool
    latency: float
    models: tuple[str, ...]
    detail: str
