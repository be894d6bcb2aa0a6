"""The words of calling a model: one neutral request and response, and errors by whose fault it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from tiebreak.errors import TiebreakError

NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Provider:
    """An account at a vendor. The secret never leaves the store in clear except inside `Credential`."""

    id: UUID
    name: str
    dialect: str
    base_url: str
    has_secret: bool
    concurrency: int
    timeout_seconds: float
    max_retries: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """What a call needs of a provider: where, how long, how often, and the key in clear. Never shown, never logged."""

    provider_id: UUID
    name: str
    dialect: str
    base_url: str
    concurrency: int
    timeout_seconds: float
    max_retries: int
    secret: str | None

    def __repr__(self) -> str:
        return f"Account({self.name!r}, {self.base_url!r})"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: Decimal
    output: Decimal
    source: Literal["override", "list"]

    def cost_nano(self, usage: "Usage") -> int:
        """What these tokens cost, in nano-dollars, rounded half up once."""
        micro_dollars = self.input * usage.input_tokens + self.output * usage.output_tokens
        return int((micro_dollars * 1000).to_integral_value(rounding="ROUND_HALF_UP"))


@dataclass(frozen=True, slots=True)
class PricedModel:
    """One of a provider's models with the price that counts; `id` is the nil UUID when nothing is stored of it."""

    id: UUID
    name: str
    price: Price | None


@dataclass(frozen=True, slots=True)
class Probe:
    """What one connection test found. `latency` in seconds; `detail` says in a sentence what happened."""

    ok: bool
    latency: float
    models: tuple[str, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion in no vendor's words. `parameters` go to the vendor as they are."""

    model: str
    messages: tuple[Message, ...]
    parameters: Mapping[str, Any]
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the vendor counted them."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """What came back. Times in seconds; `first_token` only when streamed; `calls` counts attempts on the wire."""

    text: str
    finish_reason: str | None
    model: str
    usage: Usage | None
    latency: float
    first_token: float | None
    calls: int = 1


class Failure(StrEnum):
    """Why a call failed, by whose fault it was."""

    BAD_REQUEST = "bad_request"  # ours or the test's: the vendor refused the request as written
    AUTHENTICATION = "authentication"  # the key
    NOT_FOUND = "not_found"  # the model or the path
    QUOTA = "quota"  # money is out; waiting does not help
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    MALFORMED = "malformed"  # an answer that does not hold what the dialect promises
    ADDRESS_REFUSED = "address_refused"  # policy: the connected address is not allowed


RETRYABLE = frozenset(
    {Failure.RATE_LIMITED, Failure.SERVER_ERROR, Failure.TIMEOUT, Failure.CONNECTION, Failure.MALFORMED}
)


class ProviderError(TiebreakError):
    """A call to a vendor failed. `retry_after` is the vendor's minimum wait in seconds; `calls` counts attempts;
    `body` is the beginning of what it answered, redacted, at most 4,096 characters."""

    status, code, title = 502, "provider_error", "The provider failed"

    def __init__(
        self,
        failure: Failure,
        detail: str,
        *,
        retry_after: float | None = None,
        calls: int = 1,
        body: str = "",
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.failure = failure
        self.calls = calls
        self.body = body

    @property
    def retryable(self) -> bool:
        """Whether the same request may be sent again."""
        return self.failure in RETRYABLE
