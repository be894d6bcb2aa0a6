"""Answers to chat completions in OpenAI's dialect, as bytes: pure, so that every malformed answer can be tried without a server."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tiebreak.providers.account import Account
from tiebreak.providers.adapters.failures import BAD_JSON, error_of, incomplete, malformed, told
from tiebreak.providers.adapters.wire import ABSENT, believable, storable
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    ProviderError,
    Sample,
    StopReason,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)
from tiebreak.providers.redaction import excerpt

__all__ = ["Chunk", "ChunkReader", "decode", "decode_chunk", "decode_models", "error_of", "usage_of"]

DONE: Final = b"[DONE]"


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _ChunkChoice(msgspec.Struct):
    delta: _Delta | None = None
    index: int = 0
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice] = msgspec.field(default_factory=list)
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class Chunk(msgspec.Struct):
    """One event of a stream."""

    choices: list[_ChunkChoice] = msgspec.field(default_factory=list)
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Tokens(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: msgspec.Raw = msgspec.Raw()
    completion_tokens_details: msgspec.Raw = msgspec.Raw()


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_bodies = msgspec.json.Decoder(_Body)
_chunks = msgspec.json.Decoder(Chunk)
_tokens = msgspec.json.Decoder(_Tokens)
_details = msgspec.json.Decoder(_Details)
_models = msgspec.json.Decoder(_Models)

_REASONS: Final = {
    "stop": StopReason.STOP,
    "eos": StopReason.STOP,  # Together
    "length": StopReason.LENGTH,
    "model_length": StopReason.LENGTH,  # Mistral
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.CONTENT_FILTER,
}


def decode_models(account: Account, body: bytes) -> list[str]:
    """The names of the models, sorted.

    Raises:
        ProviderError: malformed.
    """
    try:
        return sorted({excerpt(model.id, account.secret, 200) for model in _models.decode(body).data})
    except BAD_JSON as exc:
        raise malformed(account, f"the list of models cannot be read ({exc})", body) from None


def _detail(raw: bytes) -> _Details:
    if raw in ABSENT:
        return _Details()
    try:
        return _details.decode(raw)
    except BAD_JSON:
        return _Details()


def usage_of(raw: bytes) -> Usage | None:
    """The tokens as counted by the vendor, or None when it did not say or says what cannot be."""
    if raw in ABSENT:
        return None
    try:
        tokens = _tokens.decode(raw)
    except BAD_JSON:
        return None
    return believable(
        tokens.prompt_tokens,
        tokens.completion_tokens,
        _detail(bytes(tokens.prompt_tokens_details)).cached_tokens,
        _detail(bytes(tokens.completion_tokens_details)).reasoning_tokens,
    )


def _text(message: _Message) -> str | None:
    """The words of an answer; None when it has none (only tool calls, say)."""
    if isinstance(message.content, list):
        parts = [part.get("text") for part in message.content if part.get("type", "text") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    return message.content


def _arguments(function: _Function) -> str:
    if isinstance(function.arguments, dict):
        return msgspec.json.encode(function.arguments).decode()
    return function.arguments or ""


def _calls(calls: Sequence[_ToolCall] | None) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(storable(call.id or ""), storable(call.function.name), storable(_arguments(call.function)))
        for call in calls or ()
        if call.function is not None and call.function.name
    )


def reason_of(word: str | None, *, called: bool) -> StopReason | None:
    """Our word for theirs; an answer that calls tools ends with them, also where the vendor says "stop"."""
    if word is None:
        return None
    reason = _REASONS.get(word, StopReason.OTHER)
    return StopReason.TOOL_CALLS if called and reason is StopReason.STOP else reason


def _sample(choice: _Choice) -> Sample:
    """A refusal said in its own field reads like one said by the filter."""
    text, refusal, calls = _text(choice.message), choice.message.refusal, _calls(choice.message.tool_calls)
    vendor_reason = None if choice.finish_reason is None else storable(choice.finish_reason)
    if not text and refusal:
        return Sample(storable(refusal), StopReason.CONTENT_FILTER, calls, vendor_reason)
    return Sample(
        storable(text or ""), reason_of(choice.finish_reason, called=bool(calls)), calls, vendor_reason
    )


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
        if bytes(answer.error) not in ABSENT:
            raise told(account, bytes(answer.error))
        raise malformed(account, "the answer has no choices", body)
    first, *further = (_sample(choice) for choice in answer.choices[: request.n])
    return ChatResponse(
        text=first.text,
        finish_reason=first.finish_reason,
        model=storable(answer.model or request.model),
        usage=usage_of(bytes(answer.usage)),
        latency=latency,
        first_token=None,
        tool_calls=first.tool_calls,
        vendor_reason=first.vendor_reason,
        further=tuple(further),
    )


def decode_chunk(account: Account, data: bytes) -> Chunk:
    """One event of a stream.

    Raises:
        ProviderError: malformed, or an error inside the stream.
    """
    try:
        chunk = _chunks.decode(data)
    except BAD_JSON as exc:
        raise malformed(account, f"an event of the stream cannot be read ({exc})", data) from None
    if bytes(chunk.error) not in ABSENT:
        raise told(account, bytes(chunk.error))
    return chunk


class ChunkReader:
    """A streamed answer; complete only with a finish reason and the end mark."""

    def __init__(self, account: Account, request: ChatRequest) -> None:
        self._account = account
        self._model = request.model
        self._reason: str | None = None
        self._called = False

    def take(self, data: bytes) -> list[StreamEvent]:
        """See `StreamDecoder.take`."""
        if data == DONE:
            return [self._end()]
        chunk = decode_chunk(self._account, data)
        self._model = chunk.model or self._model
        events: list[StreamEvent] = []
        for choice in chunk.choices:
            if choice.index == 0:
                self._reason = choice.finish_reason or self._reason
                if choice.delta is not None:
                    self._add(choice.delta, events)
        usage = usage_of(bytes(chunk.usage))
        if usage is not None:
            events.append(UsageUpdate(usage))
        return events

    def _add(self, delta: _Delta, events: list[StreamEvent]) -> None:
        if delta.content:
            events.append(TextDelta(storable(delta.content)))
        if delta.refusal:
            events.append(TextDelta(storable(delta.refusal), refusal=True))
        for place, call in enumerate(delta.tool_calls or ()):
            self._called = True
            function = call.function or _Function()
            position = place if call.index is None else call.index
            events.append(ToolCallDelta(position, call.id, function.name, _arguments(function)))

    def _end(self) -> StreamEnd:
        reason = reason_of(self._reason, called=self._called)
        if reason is None or self._reason is None:
            raise incomplete(self._account, "it has no finish_reason")
        return StreamEnd(reason, storable(self._reason), storable(self._model))

    def finish(self) -> list[StreamEvent]:
        """See `StreamDecoder.finish`."""
        raise self.cut()

    def cut(self) -> ProviderError:
        """The body ended before the end mark."""
        return incomplete(self._account, "it closed without [DONE]")
