"""Answers as OpenAI's Responses API has them, whole and streamed. Pure."""

from typing import Any, Final

from tiebreak.errors import TiebreakError
from tiebreak.gateway.surfaces.errors import status_of
from tiebreak.gateway.surfaces.reading import SIGNED
from tiebreak.gateway.surfaces.writing import Orderly, Question, encoded, frame, is_refusal
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    JsonSchema,
    NamedTool,
    StopReason,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

_INCOMPLETE: Final = {
    StopReason.LENGTH: "max_output_tokens",
    StopReason.CONTENT_FILTER: "content_filter",
}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _format(request: ChatRequest) -> dict[str, Any]:
    if isinstance(request.output, JsonSchema):
        wanted = request.output
        return {
            "type": "json_schema",
            "name": wanted.name,
            "schema": dict(wanted.schema),
            "strict": wanted.strict,
        }
    return {"type": "text" if request.output == "text" else "json_object"}


def _repeated(question: Question) -> dict[str, Any]:
    """What the API repeats of a request. The answer is kept nowhere, so it cannot be continued by its id."""
    request = question.request
    choice = request.tool_choice or "auto"
    return {
        "id": f"resp_{question.id}",
        "object": "response",
        "created_at": question.asked_at,
        "background": False,
        "instructions": None,
        "max_output_tokens": request.max_tokens,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "temperature": request.temperature,
        "text": {"format": _format(request)},
        "tool_choice": {"type": "function", "name": choice.name} if isinstance(choice, NamedTool) else choice,
        "tools": [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
                "strict": False,
            }
            for tool in request.tools
        ],
        "top_p": request.top_p,
        "truncation": "disabled",
    }


def _message(made: str, parts: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"id": made, "type": "message", "role": "assistant", "status": status, "content": parts}


def _words(text: str, *, refusal: bool) -> dict[str, Any]:
    if refusal:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call(made: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    return {
        "id": made,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def _signed(made: str, signature: str) -> dict[str, Any]:
    """A call's signature, which goes through the caller's hands as the reasoning before it."""
    return {"id": made, "type": "reasoning", "summary": [], "encrypted_content": SIGNED + signature}


def _whole(
    question: Question,
    model: str,
    output: list[dict[str, Any]],
    usage: Usage | None,
    *,
    status: str,
    incomplete: str | None = None,
    error: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        **_repeated(question),
        "model": model,
        "status": status,
        "output": output,
        "usage": None if usage is None else _usage(usage),
        "incomplete_details": None if incomplete is None else {"reason": incomplete},
        "error": error,
    }


def answer(response: ChatResponse, question: Question) -> bytes:
    """See `Surface.answer`. The API has one sample."""
    first = response.samples[0]
    refusal = is_refusal(first)
    reason = None if refusal or first.finish_reason is None else _INCOMPLETE.get(first.finish_reason)
    status = "completed" if reason is None else "incomplete"
    output: list[dict[str, Any]] = []
    if first.text or not first.tool_calls:
        parts = [_words(first.text, refusal=refusal)] if first.text else []
        output.append(_message(f"msg_{question.id}_0", parts, status))
    for number, call in enumerate(first.tool_calls):
        if call.signature is not None:
            output.append(_signed(f"rs_{question.id}_{len(output)}", call.signature))
        made, call_id = f"fc_{question.id}_{len(output)}", call.id or f"call_{question.id}_{number}"
        output.append(_call(made, call_id, call.name, call.arguments, status))
    return encoded(_whole(question, response.model, output, response.usage, status=status, incomplete=reason))


class _Writer:
    def __init__(self, question: Question) -> None:
        self._question = question
        self._order = Orderly(question.id)
        self._model = question.request.model
        self._usage: Usage | None = None
        self._number = 0
        self._output: list[dict[str, Any]] = []  # the last may be open
        self._open: list[str] | None = None  # the pieces of the last part or of the last call's arguments
        self._begun = self._over = self._refused = False

    def feed(self, event: StreamEvent) -> bytes:
        if self._over:
            return b""
        pieces = self._opening()
        for now in self._order.take(event):
            match now:
                case TextDelta():
                    pieces += self._text(now)
                case ToolCallDelta():
                    pieces += self._call(now)
                case UsageUpdate():
                    self._usage = now.usage
                case StreamEnd():
                    pieces += self._end(now)
        return b"".join(pieces)

    def _event(self, kind: str, **more: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return frame({"type": kind, "sequence_number": number, **more}, kind)

    def _opening(self) -> list[bytes]:
        if self._begun:
            return []
        self._begun = True
        whole = _whole(self._question, self._model, [], None, status="in_progress")
        return [
            self._event("response.created", response=whole),
            self._event("response.in_progress", response=whole),
        ]

    def _place(self) -> dict[str, Any]:
        return {"output_index": len(self._output) - 1, "item_id": self._output[-1]["id"]}

    def _part_place(self) -> dict[str, Any]:
        return {**self._place(), "content_index": len(self._output[-1]["content"]) - 1}

    def _add(self, item: dict[str, Any]) -> bytes:
        self._output.append(item)
        return self._event("response.output_item.added", output_index=len(self._output) - 1, item=item)

    def _text(self, delta: TextDelta) -> list[bytes]:
        self._refused = self._refused or delta.refusal
        kind = "refusal" if delta.refusal else "output_text"
        pieces: list[bytes] = []
        if not self._output or self._output[-1]["type"] != "message":
            pieces += self._close("completed")
            pieces.append(
                self._add(_message(f"msg_{self._question.id}_{len(self._output)}", [], "in_progress"))
            )
        content = self._output[-1]["content"]
        if not content or content[-1]["type"] != kind:
            pieces += self._close_part()
            content.append(_words("", refusal=delta.refusal))
            self._open = []
            pieces.append(self._event("response.content_part.added", **self._part_place(), part=content[-1]))
        assert self._open is not None
        self._open.append(delta.text)
        more: dict[str, Any] = {} if delta.refusal else {"logprobs": []}
        pieces.append(self._event(f"response.{kind}.delta", **self._part_place(), delta=delta.text, **more))
        return pieces

    def _close_part(self) -> list[bytes]:
        """End the part of the message that is open."""
        if self._open is None:
            return []
        part, text = self._output[-1]["content"][-1], "".join(self._open)
        self._open = None
        place = self._part_place()
        if part["type"] == "refusal":
            part["refusal"] = text
            done = self._event("response.refusal.done", **place, refusal=text)
        else:
            part["text"] = text
            done = self._event("response.output_text.done", **place, text=text, logprobs=[])
        return [done, self._event("response.content_part.done", **place, part=part)]

    def _call(self, delta: ToolCallDelta) -> list[bytes]:
        pieces: list[bytes] = []
        if delta.id is not None:
            pieces += self._close("completed")
            if delta.signature is not None:
                pieces.append(
                    self._add(_signed(f"rs_{self._question.id}_{len(self._output)}", delta.signature))
                )
                pieces += self._close("completed")
            made = f"fc_{self._question.id}_{len(self._output)}"
            pieces.append(self._add(_call(made, delta.id, delta.name or "", "", "in_progress")))
            self._open = []
        if delta.arguments:
            assert self._open is not None
            self._open.append(delta.arguments)
            pieces.append(
                self._event("response.function_call_arguments.delta", **self._place(), delta=delta.arguments)
            )
        return pieces

    def _close(self, status: str) -> list[bytes]:
        """End the item that is open."""
        if not self._output:
            return []
        item, pieces = self._output[-1], []
        match item["type"]:
            case "message":
                pieces = self._close_part()
                item["status"] = status
            case "function_call":
                item["arguments"], item["status"] = "".join(self._open or ()), status
                self._open = None
                pieces = [
                    self._event(
                        "response.function_call_arguments.done",
                        **self._place(),
                        name=item["name"],
                        arguments=item["arguments"],
                    )
                ]
        place = len(self._output) - 1
        return [*pieces, self._event("response.output_item.done", output_index=place, item=item)]

    def _end(self, end: StreamEnd) -> list[bytes]:
        self._over = True
        filtered = end.finish_reason is StopReason.CONTENT_FILTER
        reason = None if filtered and self._refused else _INCOMPLETE.get(end.finish_reason)
        status = "completed" if reason is None else "incomplete"
        pieces = self._close(status)
        whole = _whole(
            self._question,
            end.model or self._model,
            self._output,
            self._usage,
            status=status,
            incomplete=reason,
        )
        return [*pieces, self._event(f"response.{status}", response=whole)]

    def error(self, error: TiebreakError) -> bytes:
        if self._over:
            return b""
        self._over = True
        status = status_of(error)
        code = (
            "rate_limit_exceeded" if status == 429 else "server_error" if status >= 500 else "invalid_prompt"
        )
        said = {"code": code, "message": error.detail}
        whole = _whole(self._question, self._model, [], self._usage, status="failed", error=said)
        return self._event("response.failed", response=whole)


def writer(question: Question) -> _Writer:
    """See `Surface.writer`."""
    return _Writer(question)
