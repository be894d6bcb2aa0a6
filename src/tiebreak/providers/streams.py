"""What the events of a streamed answer add up to, and the other way round."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tiebreak.clock import Clock
from tiebreak.providers.model import (
    ChatResponse,
    StopReason,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    signature: str | None = None


class Assembly:
    """One streamed answer as it grows."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._usage: Usage | None = None
        self._first: float | None = None

    def add(self, event: StreamEvent) -> None:
        """Take one event; the last, `StreamEnd`, belongs to `answer`."""
        match event:
            case TextDelta(refusal=True):
                self._refusal.append(event.text)
            case TextDelta():
                self._note_first()
                self._text.append(event.text)
            case ToolCallDelta():
                self._note_first()
                self._extend(event)
            case UsageUpdate():
                self._usage = event.usage
            case StreamEnd():
                pass

    def _note_first(self) -> None:
        if self._first is None:
            self._first = self._clock.monotonic()

    def _extend(self, delta: ToolCallDelta) -> None:
        call = self._calls.setdefault(delta.position, _Call())
        call.id = delta.id or call.id
        call.name = delta.name or call.name
        call.signature = delta.signature or call.signature
        call.arguments.append(delta.arguments)

    def answer(self, end: StreamEnd, began: float) -> ChatResponse:
        """The whole answer; `began` is when the call did, on the same clock."""
        text, reason = "".join(self._text), end.finish_reason
        if not text and self._refusal:
            text, reason = "".join(self._refusal), StopReason.CONTENT_FILTER
        return ChatResponse(
            text=text,
            finish_reason=reason,
            model=end.model,
            usage=self._usage,
            latency=self._clock.monotonic() - began,
            first_token=None if self._first is None else self._first - began,
            tool_calls=tuple(
                ToolCall(call.id, call.name, "".join(call.arguments) or "{}", call.signature)
                for _, call in sorted(self._calls.items())
            ),
            vendor_reason=end.vendor_reason,
        )


def events_of(response: ChatResponse) -> Iterator[StreamEvent]:
    """A whole answer as the events of one that was streamed, for a vendor that did not."""
    if response.text:
        yield TextDelta(response.text)
    for position, call in enumerate(response.tool_calls):
        yield ToolCallDelta(position, call.id, call.name, call.arguments, call.signature)
    if response.usage is not None:
        yield UsageUpdate(response.usage)
    yield StreamEnd(response.finish_reason or StopReason.OTHER, response.vendor_reason or "", response.model)
