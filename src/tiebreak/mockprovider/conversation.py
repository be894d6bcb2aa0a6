"""What is asked and what is said, whichever dialect carries it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct

from tiebreak.mockprovider import tokens

_T = TypeVar("_T")

FINGERPRINT = "tiebreak-mock-provider"
MOST_SAMPLES = 128
_MOST_PIECES = 16
_LEAST_PIECE = 8

Limit = Annotated[int, Meta(ge=1)]
Samples = Annotated[int, Meta(ge=1, le=MOST_SAMPLES)]
Finish = Literal["stop", "length", "tools", "refusal"]


class Refusal(Exception):
    """A request answered with an error document. `retry_after` is a header as it stands, `wait` is in seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        retry_after: str | None = None,
        wait: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after
        self.wait = wait


class Tool(Struct, frozen=True):
    """A function that the model may call, with the JSON schema of its arguments."""

    name: str
    parameters: Any = None


class Asked(Struct, frozen=True):
    """A request for text. `tokens` counts everything sent; `results` are what the tools have just answered.

    `choice` is the vendor's wish about tools in the words of OpenAI, `named` the only tool it may be. `shape` is the
    JSON schema of the answer, `{}` for any JSON, None for text.
    """

    model: str
    question: str
    tokens: int
    stream: bool = False
    limit: int | None = None
    samples: int = 1
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    named: str | None = None
    parallel: bool = True
    results: tuple[str, ...] = ()
    shape: Any = None
    include_usage: bool = False


class Embed(Struct, frozen=True):
    """A request for vectors. Texts may be lists of token ids; `dimensions` replaces the model's own."""

    model: str
    texts: tuple[str, ...]
    tokens: int
    dimensions: int | None = None
    base64: bool = False


class ToolCall(Struct, frozen=True):
    """A call of a tool; `arguments` is the text of a JSON object."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answers, and when: seconds after the request arrived. A refusal's text says so."""

    text: str
    finish_reason: Finish
    question: str | None
    first_token: float
    seconds: float
    stop: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def tokens(self) -> int:
        """What the answer counts, tool calls included."""
        called = sum(tokens.count(call.arguments) for call in self.tool_calls) if self.tool_calls else 0
        return tokens.count(self.text) + called


class Usage(Struct, frozen=True):
    """Tokens; `cached` are among those asked, `reasoning` among those answered."""

    asked: int
    answered: int
    cached: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.asked + self.answered


class Said(Struct, frozen=True):
    """One answer to a request: a reply for each sample, its number and time of day. No usage where a fault hides it."""

    replies: Sequence[Reply]
    usage: Usage | None
    number: int
    created: int

    @property
    def seconds(self) -> float:
        """When the last sample ends."""
        return max([reply.seconds for reply in self.replies])


Timed = tuple[float, bytes]


def pieces(text: str) -> list[str]:
    """The text in up to sixteen pieces of eight characters or more (the last may be shorter)."""
    size = max(_LEAST_PIECE, -(-len(text) // _MOST_PIECES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def spread(reply: Reply, things: Sequence[_T]) -> list[tuple[float, _T]]:
    """The things, evenly from the reply's first token to its last."""
    gap = (reply.seconds - reply.first_token) / max(1, len(things) - 1)
    return [(reply.first_token + gap * turn, thing) for turn, thing in enumerate(things)]
