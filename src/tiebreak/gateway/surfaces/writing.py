"""What the answers of all surfaces have in common: what they repeat of the request, frames, and streams put in order. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from tiebreak.errors import TiebreakError
from tiebreak.providers.model import (
    ChatRequest,
    Sample,
    StopReason,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
)

_encoder = msgspec.json.Encoder()

# How a vendor ends an answer whose words are a refusal that it kept apart; a filter that cuts an answer off has words of its own.
_FINISHED: Final = ("stop", "completed")


@dataclass(frozen=True, slots=True)
class Question:
    """What an answer repeats of its request. `id` is the request's own; `asked_at` in seconds since 1970; the request's model
    is the one that is called, and stands in the answer until the vendor says otherwise."""

    id: str
    asked_at: int
    request: ChatRequest
    includes_usage: bool = False  # a chat's stream ends with its usage only if asked


class StreamWriter(Protocol):
    """One streamed answer as server-sent events. The first event opens the stream; nothing follows its end."""

    def feed(self, event: StreamEvent) -> bytes:
        """What one event adds to the body; it may be nothing."""
        ...

    def error(self, error: TiebreakError) -> bytes:
        """How the body ends when the answer breaks off; the same from a fresh writer, after a stream that was relayed."""
        ...


def encoded(value: Any) -> bytes:
    """JSON."""
    return _encoder.encode(value)


def frame(data: Any, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + _encoder.encode(data) + b"\n\n"


def is_refusal(sample: Sample) -> bool:
    """Whether the words of an answer are a refusal, and not what a filter left of one."""
    return (
        sample.finish_reason is StopReason.CONTENT_FILTER
        and sample.vendor_reason in _FINISHED
        and bool(sample.text)
    )


@dataclass(slots=True)
class _Call:
    id: str | None = None
    name: str | None = None
    signature: str | None = None
    begun: bool = False
    held: list[str] = field(default_factory=list)


class Orderly:
    """The events of a stream, one thing at a time, whatever order they come in.

    Calls are numbered from 0 as they begin. Each begins once, with id and name, and its arguments follow without them.
    While a call is open, words and other calls wait until the end: only then is it known that it gets no more. What waits is
    part of the answer, whose size the client bounds.
    """

    def __init__(self, request_id: str) -> None:
        self._id = request_id
        self._calls: dict[int, _Call] = {}
        self._open: int | None = None
        self._begun = 0
        self._words: list[TextDelta] = []
        self.ended = False

    def take(self, event: StreamEvent) -> Iterator[StreamEvent]:
        """What may be written now."""
        match event:
            case TextDelta():
                if not event.text:
                    return
                if self._open is None:
                    yield event
                else:
                    self._words.append(event)
            case ToolCallDelta():
                yield from self._extend(event)
            case StreamEnd():
                yield from self._rest()
                self.ended = True
                yield event
            case _:
                yield event

    def _extend(self, delta: ToolCallDelta) -> Iterator[StreamEvent]:
        call = self._calls.setdefault(delta.position, _Call())
        if call.begun:
            if delta.arguments:
                yield ToolCallDelta(self._begun - 1, arguments=delta.arguments)
            return
        call.id = call.id or delta.id
        call.name = call.name or delta.name
        call.signature = call.signature or delta.signature
        call.held.append(delta.arguments)
        if self._open is None and call.name:
            self._open = delta.position
            yield self._begin(call)

    def _begin(self, call: _Call) -> ToolCallDelta:
        call.begun = True
        number, self._begun = self._begun, self._begun + 1
        held, call.held = "".join(call.held), []
        made = f"call_{self._id}_{number}"
        return ToolCallDelta(number, call.id or made, call.name or "", held, call.signature)

    def _rest(self) -> Iterator[StreamEvent]:
        yield from self._words
        for _, call in sorted(self._calls.items()):
            if not call.begun:
                yield self._begin(call)
