"""The words of calling a model: one neutral request and response, and errors by whose fault it was."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from tiebreak.errors import TiebreakError


@dataclass(frozen=True, slots=True)
class TextPart:
    """Words."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture: where it is, or its bytes in base64 with their media type ("image/png")."""

    url: str | None = None
    data: str | None = None
    media_type: str = "image/png"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function the model wants called. `arguments` is JSON text, as it came; `signature` is what some vendors want
    back unread with the conversation."""

    id: str
    name: str
    arguments: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. An assistant's may hold tool calls, a tool's answers the call `tool_call_id`."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | tuple[TextPart | ImagePart, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may ask for; `parameters` is the JSON schema of its arguments."""

    name: str
    parameters: Mapping[str, Any]
    description: str | None = None


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The one tool that must be called."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The answer must be JSON of this schema; `strict` asks the vendor to enforce it."""

    name: str
    schema: Mapping[str, Any]
    strict: bool = True


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion in no vendor's words. `parameters` go to the vendor as they are, except that the common ones
    ("max_tokens") are translated where a dialect has another name for them; None means the vendor's default."""

    model: str
    messages: tuple[Message, ...]
    parameters: Mapping[str, Any]
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    output: Literal["text", "json"] | JsonSchema = "text"
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the vendor counted them. Cached ones are among the input, reasoning ones among the output, whatever
    the vendor's own sums; None where it does not tell them apart."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class StopReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"  # it was finished, or a stop sequence came
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"  # the model refused, or a filter did
    OTHER = "other"  # the vendor's own word says what


@dataclass(frozen=True, slots=True)
class Window:
    """One of the vendor's rate limits; `reset` in seconds from the answer."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What an answer says of the vendor's rate limits; None where it says nothing."""

    requests: Window | None = None
    tokens: Window | None = None
    input_tokens: Window | None = None
    output_tokens: Window | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the answers to one request. A refusal's words are its text."""

    text: str
    finish_reason: StopReason | None
    tool_calls: tuple[ToolCall, ...] = ()
    vendor_reason: str | None = None  # why it ended, in the vendor's own word


class Origin(StrEnum):
    """How a request got its answer."""

    CALL = "call"  # a call of its own
    BATCH = "batch"  # a call that several requests shared, each with a part of its own
    FLIGHT = "flight"  # the answer to an equal request that was under way
    CACHE = "cache"  # the answer to an equal request that had been answered


NOTHING = Usage(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """What came back. Times in seconds; `first_token` only when streamed; `calls` counts attempts on the wire that this
    request made; `usage` covers every sample and `billed`, where it differs, is the part of it that this request pays for.
    Answers with one `draw` are one answer of the model; only shared ones have it."""

    text: str
    finish_reason: StopReason | None
    model: str
    usage: Usage | None
    latency: float
    first_token: float | None
    calls: int = 1
    tool_calls: tuple[ToolCall, ...] = ()
    vendor_reason: str | None = None
    further: tuple[Sample, ...] = ()  # beside the first, when `n` asked for more
    limits: RateLimits | None = None
    billed: Usage | None = None
    origin: Origin = Origin.CALL
    draw: UUID | None = None

    @property
    def paid(self) -> Usage | None:
        """The tokens that this request pays for."""
        return self.usage if self.billed is None else self.billed

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All answers; a vendor may give fewer than were asked for."""
        first = Sample(self.text, self.finish_reason, self.tool_calls, self.vendor_reason)
        return (first, *self.further)

    @property
    def ending(self) -> str | None:
        """Why it ended, in our word where there is one, else in the vendor's."""
        if self.finish_reason is StopReason.OTHER and self.vendor_reason is not None:
            return self.vendor_reason
        return None if self.finish_reason is None else str(self.finish_reason)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of a streamed answer's text; `refusal` when they are the words of a refusal kept apart by the vendor."""

    text: str
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of the tool call at `position`: its id and name when it begins, then its arguments in pieces."""

    position: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class UsageUpdate:
    """The tokens so far; the last one counts."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The answer is whole. Nothing comes after it."""

    finish_reason: StopReason
    vendor_reason: str
    model: str


StreamEvent = TextDelta | ToolCallDelta | UsageUpdate | StreamEnd


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to be turned into vectors, in order. `parameters` go to the vendor as they are."""

    model: str
    inputs: tuple[str, ...]
    dimensions: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbeddingResponse:
    """One vector for each text, in the order of the texts. Latency in seconds."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    usage: Usage | None
    latency: float
    calls: int = 1
    limits: RateLimits | None = None
    billed: Usage | None = None
    origin: Origin = Origin.CALL
    draw: UUID | None = None

    @property
    def paid(self) -> Usage | None:
        """The tokens that this request pays for."""
        return self.usage if self.billed is None else self.billed


class Blame(StrEnum):
    """Whose fault a failure is."""

    CALLER = "caller"  # who wrote the request
    POLICY = "policy"  # somebody's rules: ours on addresses, the vendor's on content
    PROVIDER = "provider"
    US = "us"  # who runs this installation: the key, the money


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
    CONTENT_REFUSED = "content_refused"  # policy: the vendor's filter did not take the prompt
    CIRCUIT_OPEN = "circuit_open"  # held back by the breaker: the vendor failed just before

    @property
    def fault(self) -> Blame:
        """Whose fault it was."""
        return _BLAME.get(self, Blame.PROVIDER)


_BLAME = {
    Failure.BAD_REQUEST: Blame.CALLER,
    Failure.NOT_FOUND: Blame.CALLER,
    Failure.AUTHENTICATION: Blame.US,
    Failure.QUOTA: Blame.US,
    Failure.ADDRESS_REFUSED: Blame.POLICY,
    Failure.CONTENT_REFUSED: Blame.POLICY,
}
RETRYABLE = frozenset(
    {
        Failure.RATE_LIMITED,
        Failure.SERVER_ERROR,
        Failure.TIMEOUT,
        Failure.CONNECTION,
        Failure.MALFORMED,
        Failure.CIRCUIT_OPEN,
    }
)


class ProviderError(TiebreakError):
    """A call to a vendor failed. `retry_after` is the vendor's minimum wait in seconds; `calls` counts attempts;
    `body` is the beginning of what it answered, redacted, at most 4,096 characters; `http_status` is what it answered
    with, if it answered."""

    status, code, title = 502, "provider_error", "The provider failed"

    def __init__(
        self,
        failure: Failure,
        detail: str,
        *,
        retry_after: float | None = None,
        calls: int = 1,
        body: str = "",
        http_status: int | None = None,
        limits: RateLimits | None = None,
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.failure = failure
        self.calls = calls
        self.body = body
        self.http_status = http_status
        self.limits = limits

    @property
    def fault(self) -> Blame:
        """Whose fault it was."""
        return self.failure.fault

    @property
    def retryable(self) -> bool:
        """Whether the same request may be sent again."""
        return self.failure in RETRYABLE


class StaleConnection(ProviderError):
    """The vendor had closed the connection as idle; the request may be sent again at once."""
