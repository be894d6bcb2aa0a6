"""Answers as OpenAI's chat completions have them, whole and streamed. Pure."""

from typing import Any, Final

from tiebreak.errors import TiebreakError
from tiebreak.gateway.surfaces.errors import openai_error
from tiebreak.gateway.surfaces.writing import Orderly, Question, encoded, frame, is_refusal
from tiebreak.providers.model import (
    ChatResponse,
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

# There is no word for endings that are none of these; the answer is over all the same.
_REASONS: Final = {
    StopReason.LENGTH: "length",
    StopReason.TOOL_CALLS: "tool_calls",
    StopReason.CONTENT_FILTER: "content_filter",
}
_DONE: Final = b"data: [DONE]\n\n"


def _usage(usage: Usage) -> dict[str, Any]:
    written: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens is not None:
        written["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        written["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return written


def _signed(signature: str | None) -> dict[str, Any]:
    """As the one vendor that signs calls writes it where it speaks this dialect; callers send it back with the call."""
    return {} if signature is None else {"extra_content": {"google": {"thought_signature": signature}}}


def _call(call: ToolCall, made: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id or made, "type": "function", "function": function, **_signed(call.signature)}


def _choice(index: int, sample: Sample, question: Question) -> dict[str, Any]:
    refusal = is_refusal(sample)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refusal or (sample.tool_calls and not sample.text) else sample.text,
        "refusal": sample.text if refusal else None,
    }
    if sample.tool_calls:
        message["tool_calls"] = [
            _call(call, f"call_{question.id}_{index}_{number}")
            for number, call in enumerate(sample.tool_calls)
        ]
    reason = sample.finish_reason
    ending = "stop" if refusal or reason is None else _REASONS.get(reason, "stop")
    return {"index": index, "message": message, "logprobs": None, "finish_reason": ending}


def answer(response: ChatResponse, question: Question) -> bytes:
    """See `Surface.answer`."""
    body: dict[str, Any] = {
        "id": f"chatcmpl-{question.id}",
        "object": "chat.completion",
        "created": question.asked_at,
        "model": response.model,
        "choices": [_choice(index, sample, question) for index, sample in enumerate(response.samples)],
    }
    if response.usage is not None:
        body["usage"] = _usage(response.usage)
    return encoded(body)


class _Writer:
    def __init__(self, question: Question) -> None:
        self._question = question
        self._order = Orderly(question.id)
        self._model = question.request.model
        self._usage: Usage | None = None
        self._begun = self._refused = self._over = False

    def feed(self, event: StreamEvent) -> bytes:
        if self._over:
            return b""
        pieces = [] if self._begun else [self._chunk({"role": "assistant", "content": "", "refusal": None})]
        self._begun = True
        for now in self._order.take(event):
            match now:
                case TextDelta(refusal=True):
                    self._refused = True
                    pieces.append(self._chunk({"refusal": now.text}))
                case TextDelta():
                    pieces.append(self._chunk({"content": now.text}))
                case ToolCallDelta():
                    pieces.append(self._chunk({"tool_calls": [_delta(now)]}))
                case UsageUpdate():
                    self._usage = now.usage
                case StreamEnd():
                    pieces.append(self._end(now))
        return b"".join(pieces)

    def _chunk(self, delta: dict[str, Any], ending: str | None = None) -> bytes:
        return self._frame(
            [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": ending}],
            {"usage": None} if self._question.includes_usage else {},
        )

    def _frame(self, choices: list[Any], more: dict[str, Any]) -> bytes:
        return frame(
            {
                "id": f"chatcmpl-{self._question.id}",
                "object": "chat.completion.chunk",
                "created": self._question.asked_at,
                "model": self._model,
                "choices": choices,
                **more,
            }
        )

    def _end(self, end: StreamEnd) -> bytes:
        self._over = True
        self._model = end.model or self._model
        filtered = end.finish_reason is StopReason.CONTENT_FILTER
        ending = "stop" if filtered and self._refused else _REASONS.get(end.finish_reason, "stop")
        last = self._chunk({}, ending)
        if self._question.includes_usage and self._usage is not None:
            last += self._frame([], {"usage": _usage(self._usage)})
        return last + _DONE

    def error(self, error: TiebreakError) -> bytes:
        if self._over:
            return b""
        self._over = True
        return frame({"error": openai_error(error)})


def _delta(call: ToolCallDelta) -> dict[str, Any]:
    if call.id is None:
        return {"index": call.position, "function": {"arguments": call.arguments}}
    return {
        "index": call.position,
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
        **_signed(call.signature),
    }


def writer(question: Question) -> _Writer:
    """See `Surface.writer`."""
    return _Writer(question)
