"""OpenAI's responses: one document, or named events with sequence numbers. Pure."""

from collections.abc import Iterator
from itertools import count, takewhile
from typing import Any, Literal

import msgspec
from msgspec import Struct

from tiebreak.mockprovider import tokens
from tiebreak.mockprovider.conversation import (
    Asked,
    Limit,
    Refusal,
    Reply,
    Said,
    Timed,
    Tool,
    Usage,
    pieces,
    spread,
)
from tiebreak.mockprovider.dialects import reading


class Part(Struct):
    """A part of an item's content; only text is read, images and files are accepted."""

    type: str
    text: str | None = None


class Item(Struct):
    """A message, a tool's call or a tool's answer."""

    type: str = "message"
    role: str | None = None
    content: str | list[Part] | None = None
    output: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        said = self.output if self.type == "function_call_output" else self.content
        return said if isinstance(said, str) else "".join(part.text or "" for part in said or ())


class ToolEntry(Struct):
    """A function; tools of other types are ignored."""

    type: str
    name: str | None = None
    parameters: Any = None


class NamedTool(Struct):
    """The one tool that must be called."""

    type: str
    name: str | None = None


class TextFormat(Struct):
    """Text, any JSON, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    schema: Any = None


class TextOptions(Struct):
    """How the text is to be."""

    format: TextFormat | None = None


class ResponsesRequest(Struct):
    """The fields that the mock heeds."""

    model: str
    input: str | list[Item]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Limit | None = None
    tools: list[ToolEntry] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    previous_response_id: str | None = None

    @property
    def items(self) -> list[Item]:
        """The input as items."""
        if isinstance(self.input, str):
            return [Item(role="user", content=self.input)]
        return self.input


_decoder = msgspec.json.Decoder(ResponsesRequest)
_encode = msgspec.json.Encoder().encode


def decode(body: bytes, model: str | None, stream: bool) -> Asked:  # noqa: ARG001  (every format's signature)
    """The request. Refusal for one that continues a stored response: the mock keeps none."""
    request = reading.decode(_decoder, body)
    if request.previous_response_id is not None:
        message = f"there is no response {request.previous_response_id!r}: the mock provider stores none; send all of the input"
        raise Refusal(400, message, code="previous_response_not_found")
    named = request.tool_choice if isinstance(request.tool_choice, NamedTool) else None
    shape = request.text.format if request.text else None
    items = request.items
    return Asked(
        model=model or request.model,
        question=reading.last([item.text for item in items if item.role == "user"]),
        tokens=tokens.count(request.instructions or "") + sum(tokens.count(item.text) for item in items),
        stream=bool(request.stream),
        limit=request.max_output_tokens,
        tools=tuple(Tool(tool.name, tool.parameters) for tool in request.tools or () if tool.name),
        choice="required" if named else request.tool_choice or "auto",  # type: ignore[arg-type]
        named=named.name if named else None,
        parallel=request.parallel_tool_calls is not False,
        results=_results(items),
        shape=None if shape is None or shape.type == "text" else shape.schema or {},
    )


def _results(items: list[Item]) -> tuple[str, ...]:
    ending = takewhile(lambda item: item.type == "function_call_output", reversed(items))
    return tuple([item.text for item in ending][::-1])


def document(asked: Asked, said: Said) -> bytes:
    """The whole answer as one document."""
    return _encode(_response(asked, said, _items(said)))


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.asked,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.answered,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def _response(asked: Asked, said: Said, output: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The response; without output it is in progress."""
    cut = said.replies[0].finish_reason == "length"
    ended = "incomplete" if cut else "completed"
    body: dict[str, Any] = {
        "id": f"resp_mock_{said.number}",
        "object": "response",
        "created_at": said.created,
        "status": "in_progress" if output is None else ended,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut and output is not None else None,
        "instructions": None,
        "max_output_tokens": asked.limit,
        "metadata": {},
        "model": asked.model,
        "output": output or [],
        "parallel_tool_calls": asked.parallel,
        "previous_response_id": None,
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": asked.choice,
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
    }
    if output is not None and said.usage:
        body["usage"] = _usage(said.usage)
    return body


def _items(said: Said) -> list[dict[str, Any]]:
    reply = said.replies[0]
    if reply.tool_calls:
        return [
            {
                "type": "function_call",
                "id": f"fc_mock_{said.number}_{place}",
                "call_id": f"call_mock_{said.number}_{place}",
                "name": call.name,
                "arguments": call.arguments,
                "status": "completed",
            }
            for place, call in enumerate(reply.tool_calls)
        ]
    status = "incomplete" if reply.finish_reason == "length" else "completed"
    return [
        {
            "type": "message",
            "id": f"msg_mock_{said.number}",
            "status": status,
            "role": "assistant",
            "content": [_part(reply)],
        }
    ]


def _part(reply: Reply, text: str | None = None) -> dict[str, Any]:
    said = reply.text if text is None else text
    if reply.finish_reason == "refusal":
        return {"type": "refusal", "refusal": said}
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


def events(asked: Asked, said: Said) -> list[Timed]:
    """The answer as named events, numbered from zero."""
    numbers = count()

    def event(kind: str, **fields: Any) -> bytes:
        body = {"type": kind, "sequence_number": next(numbers), **fields}
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(body))

    reply, items = said.replies[0], _items(said)
    begun = _response(asked, said, None)
    opening = event("response.created", response=begun) + event("response.in_progress", response=begun)
    said_of = _call_events if reply.tool_calls else _message_events
    steps = [
        event(kind, output_index=place, **fields)
        for place, item in enumerate(items)
        for kind, fields in said_of(item, reply)
    ]
    ending = event(
        "response.incomplete" if reply.finish_reason == "length" else "response.completed",
        response=_response(asked, said, items),
    )
    return [(reply.first_token, opening), *spread(reply, steps), (reply.seconds, ending)]


def _call_events(item: dict[str, Any], reply: Reply) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG001  (as its sibling)
    begun = item | {"arguments": "", "status": "in_progress"}
    yield "response.output_item.added", {"item": begun}
    for piece in pieces(item["arguments"]):
        yield "response.function_call_arguments.delta", {"item_id": item["id"], "delta": piece}
    done = {"item_id": item["id"], "name": item["name"], "arguments": item["arguments"]}
    yield "response.function_call_arguments.done", done
    yield "response.output_item.done", {"item": item}


def _message_events(item: dict[str, Any], reply: Reply) -> Iterator[tuple[str, dict[str, Any]]]:
    refused = reply.finish_reason == "refusal"
    kind, key = ("refusal", "refusal") if refused else ("output_text", "text")
    more: dict[str, Any] = {} if refused else {"logprobs": []}
    where = {"item_id": item["id"], "content_index": 0}
    yield "response.output_item.added", {"item": item | {"content": [], "status": "in_progress"}}
    yield "response.content_part.added", where | {"part": _part(reply, "")}
    for piece in pieces(reply.text):
        yield f"response.{kind}.delta", where | more | {"delta": piece}
    yield f"response.{kind}.done", where | more | {key: reply.text}
    yield "response.content_part.done", where | {"part": _part(reply)}
    yield "response.output_item.done", {"item": item}
