"""The vendor's words: chat completions as OpenAI's clients write and read them, plain and as events. Pure."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tiebreak.mockprovider import tokens

FINGERPRINT = "tiebreak-mock-provider"
DONE = b"data: [DONE]\n\n"
_MOST_PIECES = 16
_LEAST_PIECE = 8

Limit = Annotated[int, Meta(ge=1)]


class Refusal(Exception):
    """A request answered with an error document."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, retry_after: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after


class Part(Struct):
    """One part of a message; only text is read."""

    type: str
    text: str = ""


class Message(Struct):
    """One turn."""

    role: str
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or ())


class StreamOptions(Struct):
    """What to add to a stream."""

    include_usage: bool = False


class ChatRequest(Struct):
    """The fields that the mock heeds; it ignores the rest, as a vendor would heed them."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    n: Annotated[int, Meta(ge=1, le=1)] | None = None

    @property
    def question(self) -> str:
        """The text of the last user message."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        raise Refusal(
            400, "the request has no message with the role 'user'; the mock provider answers that one"
        )

    @property
    def limit(self) -> int | None:
        """The most tokens that the answer may have."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answers, and when: seconds after the request arrived."""

    text: str
    finish_reason: Literal["stop", "length"]
    question: str | None
    first_token: float
    seconds: float


_decoder = msgspec.json.Decoder(ChatRequest)
_encode = msgspec.json.Encoder().encode


def decode(body: bytes) -> ChatRequest:
    """The request; Refusal names what is wrong with it."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the request body cannot be read: {error}") from error


def error_document(refusal: Refusal) -> bytes:
    """The error in OpenAI's dialect."""
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    return _encode({"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}})


def models_document(names: list[str]) -> bytes:
    """The list of models."""
    return _encode({"object": "list", "data": [_model(name) for name in names]})


def model_document(name: str) -> bytes:
    """One model."""
    return _encode(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": FINGERPRINT}


def usage(request: ChatRequest, reply: Reply) -> dict[str, int]:
    """Tokens by the approximate count of `tokens`."""
    asked = sum(tokens.count(message.text) for message in request.messages)
    answered = tokens.count(reply.text)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def completion(request: ChatRequest, reply: Reply, number: int, created: int) -> bytes:
    """The whole answer as one document."""
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    answer = _envelope(request, "chat.completion", number, created, [choice])
    return _encode(answer | {"usage": usage(request, reply)})


def events(request: ChatRequest, reply: Reply, number: int, created: int) -> list[tuple[float, bytes]]:
    """The answer as server-sent events, each with its moment in seconds after the request arrived."""

    def event(choices: list[Any], counted: dict[str, int] | None = None) -> bytes:
        chunk = _envelope(request, "chat.completion.chunk", number, created, choices)
        return b"data: " + _encode(chunk | ({"usage": counted} if request.include_usage else {})) + b"\n\n"

    def choice(delta: dict[str, str], finish_reason: str | None = None) -> list[Any]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]

    said = pieces(reply.text)
    gap = (reply.seconds - reply.first_token) / max(1, len(said) - 1)
    timed = [
        (reply.first_token + gap * turn, event(choice({"content": piece}))) for turn, piece in enumerate(said)
    ]
    last = event(choice({}, reply.finish_reason))
    if request.include_usage:
        last += event([], usage(request, reply))
    opening = event(choice({"role": "assistant", "content": ""}))
    return [(reply.first_token, opening), *timed, (reply.seconds, last + DONE)]


def pieces(text: str) -> list[str]:
    """The text in up to sixteen pieces of eight characters or more (the last may be shorter)."""
    size = max(_LEAST_PIECE, -(-len(text) // _MOST_PIECES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _envelope(
    request: ChatRequest, kind: str, number: int, created: int, choices: list[Any]
) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-mock-{number}",
        "object": kind,
        "created": created,
        "model": request.model,
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    }


def health_document(calls: int) -> bytes:
    """What the mock says of itself."""
    return _encode({"status": "ok", "kind": FINGERPRINT, "calls": calls})
