"""The OpenAI-compatible dialect as bytes: pure, so that every malformed answer can be tried without a server."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

import tiebreak
from tiebreak.infrastructure.connections.http import HttpRequest, Timeouts
from tiebreak.infrastructure.resilience.retry import retry_after
from tiebreak.providers.model import (
    Account,
    ChatRequest,
    ChatResponse,
    Failure,
    ProviderError,
    Usage,
)
from tiebreak.providers.redaction import excerpt

DONE: Final = b"[DONE]"
# A vendor that counts more than this for one answer is not believed.
MOST_TOKENS: Final = 1_000_000_000
DETAIL_CHARACTERS: Final = 400
BODY_CHARACTERS: Final = 4096

RESERVED: Final[Mapping[str, str]] = {
    "model": "the variant names it",
    "messages": "the prompt makes them",
    "stream": "the metrics of the test decide it",
    "stream_options": "the metrics of the test decide it",
    "n": "use `repeats` for more than one answer",
}


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _ChunkChoice(msgspec.Struct):
    delta: _Delta | None = None
    index: int = 0
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice] = msgspec.field(default_factory=list)
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Chunk(msgspec.Struct):
    choices: list[_ChunkChoice] = msgspec.field(default_factory=list)
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Tokens(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Fault(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _FaultBody(msgspec.Struct):
    # OpenAI nests it, some write a bare string, FastAPI-made vendors say `detail`, others only `message`.
    error: _Fault | str | None = None
    detail: msgspec.Raw = msgspec.Raw()
    message: str | None = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_bodies = msgspec.json.Decoder(_Body)
_chunks = msgspec.json.Decoder(_Chunk)
_tokens = msgspec.json.Decoder(_Tokens)
_fault_bodies = msgspec.json.Decoder(_FaultBody)
_faults = msgspec.json.Decoder(_Fault | str)
_models = msgspec.json.Decoder(_Models)
_encoder = msgspec.json.Encoder()
_ABSENT: Final = (b"", b"null")

# msgspec's own errors are ValueErrors, and so is invalid UTF-8; nesting over its limit is a RecursionError.
BAD_JSON: Final = (ValueError, RecursionError)


def _headers(account: Account) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        # No compression: answers are small, streams must not wait for a block, and nothing can be a bomb.
        "accept-encoding": "identity",
        "user-agent": f"tiebreak/{tiebreak.__version__}",
    }
    if account.secret is not None:
        headers["authorization"] = f"Bearer {account.secret}"
    return headers


def _timeouts(account: Account) -> Timeouts:
    # Reasoning models are silent for as long as they think, so silence has the limit of the call.
    return Timeouts(idle=account.timeout_seconds, total=account.timeout_seconds)


def encode(account: Account, request: ChatRequest) -> HttpRequest:
    """The call on the wire.

    Raises:
        ProviderError: a parameter that is not the test's to set, or text that is no Unicode; nothing was sent.
    """
    for name in request.parameters:
        if name in RESERVED:
            raise ProviderError(
                Failure.BAD_REQUEST, f"parameter {name!r} cannot be set: {RESERVED[name]}", calls=0
            )
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        **request.parameters,
    }
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    try:
        encoded = _encoder.encode(body)
    except (TypeError, *BAD_JSON) as exc:
        raise ProviderError(
            Failure.BAD_REQUEST, f"the request cannot be written as JSON: {exc}", calls=0
        ) from exc
    return HttpRequest(
        method="POST",
        url=account.base_url + "/chat/completions",
        headers=_headers(account),
        body=encoded,
        timeouts=_timeouts(account),
    )


def encode_models(account: Account) -> HttpRequest:
    """The question which models the account reaches."""
    return HttpRequest(
        method="GET",
        url=account.base_url + "/models",
        headers=_headers(account),
        timeouts=_timeouts(account),
        max_bytes=4 * 1024 * 1024,
    )


def decode_models(account: Account, body: bytes) -> list[str]:
    """The names of the models, sorted.

    Raises:
        ProviderError: malformed.
    """
    try:
        return sorted({excerpt(model.id, account.secret, 200) for model in _models.decode(body).data})
    except BAD_JSON as exc:
        raise malformed(account, f"the list of models cannot be read ({exc})", body) from None


def usage_of(raw: bytes) -> Usage | None:
    """The tokens as counted by the vendor, or None when it did not say or says what cannot be."""
    if raw in _ABSENT:
        return None
    try:
        tokens = _tokens.decode(raw)
    except BAD_JSON:
        return None
    if not (0 <= tokens.prompt_tokens <= MOST_TOKENS and 0 <= tokens.completion_tokens <= MOST_TOKENS):
        return None
    return Usage(input_tokens=tokens.prompt_tokens, output_tokens=tokens.completion_tokens)


def storable(text: str) -> str:
    """PostgreSQL keeps no NUL; it becomes the replacement character, as in HTML."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def _text(message: _Message) -> str | None:
    """The words of an answer; None when it has none (only tool calls, say)."""
    if isinstance(message.content, list):
        parts = [part.get("text") for part in message.content if part.get("type", "text") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    return message.content


def finished(text: str | None, refusal: str | None, reason: str | None) -> tuple[str, str | None]:
    """Text and finish reason; a refusal said in its own field reads like one said by the filter."""
    if not text and refusal:
        return storable(refusal), "content_filter"
    return storable(text or ""), None if reason is None else storable(reason)


def decode(account: Account, request: ChatRequest, body: bytes, latency: float) -> ChatResponse:
    """A successful answer that came in one piece.

    Raises:
        ProviderError: it holds no answer, or an error in spite of its status.
    """
    try:
        answer = _bodies.decode(body)
    except BAD_JSON as exc:
        raise malformed(account, f"the answer cannot be read ({exc})", body) from None
    if not answer.choices:
        if bytes(answer.error) not in _ABSENT:
            raise told(account, bytes(answer.error))
        raise malformed(account, "the answer has no choices", body)
    choice = answer.choices[0]
    text, reason = finished(_text(choice.message), choice.message.refusal, choice.finish_reason)
    return ChatResponse(
        text=text,
        finish_reason=reason,
        model=storable(answer.model or request.model),
        usage=usage_of(bytes(answer.usage)),
        latency=latency,
        first_token=None,
    )


def decode_chunk(account: Account, data: bytes) -> _Chunk:
    """One event of a stream.

    Raises:
        ProviderError: malformed, or an error inside the stream.
    """
    try:
        chunk = _chunks.decode(data)
    except BAD_JSON as exc:
        raise malformed(account, f"an event of the stream cannot be read ({exc})", data) from None
    if bytes(chunk.error) not in _ABSENT:
        raise told(account, bytes(chunk.error))
    return chunk


def malformed(account: Account, what: str, body: bytes) -> ProviderError:
    """An answer that does not hold what the dialect promises.

    Raised without its cause: a decoder's error keeps the whole answer, which may repeat the key.
    """
    seen = excerpt(body, account.secret, 120)
    return ProviderError(
        Failure.MALFORMED,
        f"provider {account.name!r}: {what}; it begins with {seen!r}"
        if seen
        else f"provider {account.name!r}: {what}; it is empty",
        body=excerpt(body, account.secret, BODY_CHARACTERS),
    )


_QUOTA: Final = ("insufficient_quota", "billing", "credit", "payment")


def classify(status: int, marks: str) -> Failure:
    """Whose fault an error status is. `marks` is the error's type and code, in lower case."""
    if status == 402 or (status in (403, 429) and any(mark in marks for mark in _QUOTA)):
        return Failure.QUOTA
    if status in (401, 403):
        return Failure.AUTHENTICATION
    if status == 404 or 300 <= status < 400:
        return Failure.NOT_FOUND
    if status == 408:
        return Failure.TIMEOUT
    if status == 429:
        return Failure.RATE_LIMITED
    if status >= 500 or status in (409, 425):
        return Failure.SERVER_ERROR
    return Failure.BAD_REQUEST


# Statuses for errors told inside a 200, by type or code.
_TOLD: Final = (
    ("insufficient_quota", 402),
    ("rate_limit", 429),
    ("overloaded", 503),
    ("authentication", 401),
    ("invalid_api_key", 401),
    ("permission", 403),
    ("not_found", 404),
    ("invalid_request", 400),
)


def told(account: Account, raw: bytes) -> ProviderError:
    """An error that came in spite of a 200, in a stream or in place of the choices."""
    try:
        fault = _faults.decode(raw)
    except BAD_JSON:
        return malformed(account, "it sent an error that cannot be read", raw)
    if isinstance(fault, str):
        fault = _Fault(message=fault)
    marks = f"{fault.type} {fault.code}".lower()
    status = next((status for mark, status in _TOLD if mark in marks), 500)
    if isinstance(fault.code, int) and 400 <= fault.code < 600:
        status = fault.code
    message = excerpt(fault.message or marks, account.secret, DETAIL_CHARACTERS)
    return ProviderError(
        classify(status, marks),
        f"provider {account.name!r} answered with an error: {message}",
        body=excerpt(raw, account.secret, BODY_CHARACTERS),
    )


def _complaint(account: Account, body: bytes) -> tuple[str, str]:
    """What an error body says, and its type and code in lower case."""
    try:
        parsed = _fault_bodies.decode(body)
    except BAD_JSON:
        return excerpt(body, account.secret, DETAIL_CHARACTERS), ""
    fault = parsed.error if isinstance(parsed.error, _Fault) else _Fault(message=parsed.error)
    said: bytes | str = fault.message or parsed.message or bytes(parsed.detail) or body
    return excerpt(said, account.secret, DETAIL_CHARACTERS), f"{fault.type} {fault.code}".lower()


def error_of(
    account: Account, status: int, headers: Mapping[str, str], body: bytes, now: datetime
) -> ProviderError:
    """An answer whose status says no."""
    message, marks = _complaint(account, body)
    if 300 <= status < 400:
        target = excerpt(headers.get("location", "nowhere"), account.secret, 200)
        message = f"a redirect to {target}, which is not followed; set base_url to the final address"
    return ProviderError(
        classify(status, marks),
        f"provider {account.name!r} answered {status}: {message or 'with an empty body'}",
        retry_after=retry_after(headers, now),
        body=excerpt(body, account.secret, BODY_CHARACTERS),
    )
