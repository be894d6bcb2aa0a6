"""Answers as Anthropic's messages have them, whole and streamed. Pure."""

from typing import Any, Final

import msgspec

from tiebreak.errors import TiebreakError
from tiebreak.gateway.surfaces.errors import anthropic_error
from tiebreak.gateway.surfaces.reading import SIGNED
from tiebreak.gateway.surfaces.writing import Orderly, Question, encoded, frame
from tiebreak.providers.model import (
    ChatResponse,
    Failure,
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

_REASONS: Final = {
    StopReason.LENGTH: "max_tokens",
    StopReason.TOOL_CALLS: "tool_use",
    StopReason.CONTENT_FILTER: "refusal",
}
# These come from a vendor of this dialect, where an answer of its own was kept or translated, and say more than ours.
_THEIRS: Final = frozenset(
    {
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    }
)
_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _ending(reason: StopReason | None, vendor: str | None) -> str:
    if vendor in _THEIRS:
        return str(vendor)
    return "end_turn" if reason is None else _REASONS.get(reason, "end_turn")


def _usage(usage: Usage | None) -> dict[str, Any]:
    """Theirs counts cached tokens apart from the input; it must say something, also where the vendor said nothing."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    cached = min(usage.cached_tokens or 0, usage.input_tokens)
    written: dict[str, Any] = {
        "input_tokens": usage.input_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens is not None:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return written


def _message(
    question: Question, model: str, content: list[dict[str, Any]], ending: str | None, usage: Usage | None
) -> dict[str, Any]:
    return {
        "id": f"msg_{question.id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": ending,
        "stop_sequence": None,
        "usage": _usage(usage),
    }


def _signed(signature: str) -> dict[str, Any]:
    """A call's signature, which goes through the caller's hands as the thinking before it."""
    return {"type": "thinking", "thinking": "", "signature": SIGNED + signature}


def _input(call: ToolCall) -> dict[str, msgspec.Raw] | None:
    try:
        return _arguments.decode(call.arguments or "{}")
    except (ValueError, RecursionError):
        return None


def _calls(sample: Sample, question: Question) -> list[dict[str, Any]]:
    """A call that was cut off is left out, so that nobody makes half of it; the answer says that its limit was reached."""
    blocks: list[dict[str, Any]] = []
    for number, call in enumerate(sample.tool_calls):
        arguments = _input(call)
        if arguments is None and sample.finish_reason is StopReason.LENGTH:
            continue
        if arguments is None:
            raise ProviderError(
                Failure.MALFORMED,
                f"the model called the tool {call.name[:80]!r} with arguments that are no JSON object, and messages have no words "
                "for that; ask again, or use /v1/chat/completions, which passes them on",
            )
        if call.signature is not None:
            blocks.append(_signed(call.signature))
        made = call.id or f"call_{question.id}_{number}"
        blocks.append({"type": "tool_use", "id": made, "name": call.name, "input": arguments})
    return blocks


def answer(response: ChatResponse, question: Question) -> bytes:
    """See `Surface.answer`. The dialect has one sample."""
    first = response.samples[0]
    content: list[dict[str, Any]] = [{"type": "text", "text": first.text}] if first.text else []
    content += _calls(first, question)
    ending = _ending(first.finish_reason, first.vendor_reason)
    return encoded(_message(question, response.model, content, ending, response.usage))


class _Writer:
    def __init__(self, question: Question) -> None:
        self._question = question
        self._order = Orderly(question.id)
        self._usage: Usage | None = None
        self._block = -1  # the last one's place
        self._open: str | None = None  # its type, while it is open
        self._begun = self._over = self._said = self._refused = False

    def feed(self, event: StreamEvent) -> bytes:
        if self._over:
            return b""
        if isinstance(event, UsageUpdate):
            self._usage = event.usage
        pieces = [] if self._begun else [self._opening()]
        self._begun = True
        for now in self._order.take(event):
            match now:
                case TextDelta():
                    pieces += self._text(now)
                case ToolCallDelta():
                    pieces += self._call(now)
                case StreamEnd():
                    pieces += self._end(now)
        return b"".join(pieces)

    def _opening(self) -> bytes:
        message = _message(self._question, self._question.request.model, [], None, self._usage)
        return frame({"type": "message_start", "message": message}, "message_start")

    def _start(self, block: dict[str, Any]) -> list[bytes]:
        pieces = self._stop()
        self._block += 1
        self._open = block["type"]
        start = {"type": "content_block_start", "index": self._block, "content_block": block}
        return [*pieces, frame(start, "content_block_start")]

    def _stop(self) -> list[bytes]:
        if self._open is None:
            return []
        self._open = None
        return [frame({"type": "content_block_stop", "index": self._block}, "content_block_stop")]

    def _delta(self, kind: str, **what: str) -> bytes:
        delta = {"type": "content_block_delta", "index": self._block, "delta": {"type": kind, **what}}
        return frame(delta, "content_block_delta")

    def _text(self, delta: TextDelta) -> list[bytes]:
        self._refused, self._said = self._refused or delta.refusal, self._said or not delta.refusal
        pieces = [] if self._open == "text" else self._start({"type": "text", "text": ""})
        return [*pieces, self._delta("text_delta", text=delta.text)]

    def _call(self, delta: ToolCallDelta) -> list[bytes]:
        pieces: list[bytes] = []
        if delta.id is not None:
            if delta.signature is not None:
                pieces += self._start({"type": "thinking", "thinking": "", "signature": ""})
                pieces.append(self._delta("signature_delta", signature=SIGNED + delta.signature))
            pieces += self._start({"type": "tool_use", "id": delta.id, "name": delta.name, "input": {}})
        if delta.arguments:
            pieces.append(self._delta("input_json_delta", partial_json=delta.arguments))
        return pieces

    def _end(self, end: StreamEnd) -> list[bytes]:
        self._over = True
        # Vendors that keep a refusal's words apart end such a stream like any other.
        reason = StopReason.CONTENT_FILTER if self._refused and not self._said else end.finish_reason
        ending = {"stop_reason": _ending(reason, end.vendor_reason), "stop_sequence": None}
        last = {"type": "message_delta", "delta": ending, "usage": _usage(self._usage)}
        return [*self._stop(), frame(last, "message_delta"), frame({"type": "message_stop"}, "message_stop")]

    def error(self, error: TiebreakError) -> bytes:
        if self._over:
            return b""
        self._over = True
        return frame(anthropic_error(error, self._question.id), "error")


def writer(question: Question) -> _Writer:
    """See `Surface.writer`."""
    return _Writer(question)
