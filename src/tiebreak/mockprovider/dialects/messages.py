"""Anthropic's messages: one document, or its sequence of events. Pure."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tiebreak.mockprovider import tokens
from tiebreak.mockprovider.conversation import (
    Asked,
    Limit,
    Reply,
    Said,
    Timed,
    Tool,
    ToolCall,
    Usage,
    pieces,
    spread,
)
from tiebreak.mockprovider.dialects import reading

_STOP = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "refusal": "refusal"}
_CHOICE: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "required",
    "none": "none",
}


class Block(Struct):
    """A block of a message; text and tools' results are read, images and the rest are accepted."""

    type: str
    text: str | None = None
    content: "str | list[Block] | None" = None

    @property
    def result(self) -> str:
        """The text of a tool's result."""
        if isinstance(self.content, str):
            return self.content
        return "".join(block.text or "" for block in self.content or ())


class Message(Struct):
    """One turn."""

    role: Literal["user", "assistant"]
    content: str | list[Block]

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(block.text or "" for block in self.content if block.type == "text")

    @property
    def results(self) -> tuple[str, ...]:
        """The tools' results in it."""
        if isinstance(self.content, str):
            return ()
        return tuple(block.result for block in self.content if block.type == "tool_result")


class ToolEntry(Struct):
    """A tool; those that the vendor itself runs have no schema."""

    name: str
    input_schema: Any = None


class ToolChoice(Struct):
    """Whether tools may or must be called."""

    type: Literal["auto", "any", "tool", "none"] = "auto"
    name: str | None = None
    disable_parallel_tool_use: bool = False


class OutputFormat(Struct):
    """The schema of a structured answer."""

    schema: Any = None


class OutputOptions(Struct):
    """How the answer is to be."""

    format: OutputFormat | None = None


class MessagesRequest(Struct):
    """The fields that the mock heeds."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_tokens: Limit
    system: str | list[Block] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[ToolEntry] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputOptions | None = None


_decoder = msgspec.json.Decoder(MessagesRequest)
_encode = msgspec.json.Encoder().encode


def decode(body: bytes, model: str | None, stream: bool) -> Asked:  # noqa: ARG001  (every format's signature)
    """The request."""
    request = reading.decode(_decoder, body)
    choice = request.tool_choice or ToolChoice()
    system = request.system or ""
    texts = [system if isinstance(system, str) else "".join(block.text or "" for block in system)]
    texts += [part for turn in request.messages for part in (turn.text, *turn.results)]
    shape = request.output_config.format if request.output_config else None
    return Asked(
        model=model or request.model,
        question=reading.last([turn.text for turn in request.messages if turn.role == "user"]),
        tokens=sum(map(tokens.count, texts)),
        stream=bool(request.stream),
        limit=request.max_tokens,
        stop=tuple(request.stop_sequences or ()),
        tools=tuple(Tool(tool.name, tool.input_schema) for tool in request.tools or ()),
        choice=_CHOICE[choice.type],
        named=choice.name if choice.type == "tool" else None,
        parallel=not choice.disable_parallel_tool_use,
        results=request.messages[-1].results,
        shape=shape.schema or {} if shape else None,
    )


def document(asked: Asked, said: Said) -> bytes:
    """The whole answer as one document."""
    reply = said.replies[0]
    return _encode(_message(asked, said) | {"content": _blocks(reply, said.number)} | _ending(reply))


def _message(asked: Asked, said: Said) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": f"msg_mock_{said.number}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    return body | ({"usage": _usage(said.usage)} if said.usage else {})


def _usage(usage: Usage) -> dict[str, int]:
    """This vendor counts what was read from its cache apart from the rest of the input."""
    return {
        "input_tokens": usage.asked - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.answered,
    }


def _ending(reply: Reply) -> dict[str, Any]:
    if reply.stop is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": reply.stop}
    return {"stop_reason": _STOP[reply.finish_reason], "stop_sequence": None}


def _blocks(reply: Reply, number: int) -> list[dict[str, Any]]:
    if reply.tool_calls:
        return [
            _tool_use(call, number, place) | {"input": msgspec.json.decode(call.arguments)}
            for place, call in enumerate(reply.tool_calls)
        ]
    return [{"type": "text", "text": reply.text}] if reply.text else []


def _tool_use(call: ToolCall, number: int, place: int) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_mock_{number}_{place}", "name": call.name, "input": {}}


def events(asked: Asked, said: Said) -> list[Timed]:
    """The answer as events, with a ping after the first block begins."""
    reply = said.replies[0]
    opening = _message(asked, said)
    if said.usage:
        opening["usage"] = _usage(said.usage) | {"output_tokens": 1}
    steps = list(_steps(reply, said.number))
    steps.insert(1, _event("ping"))
    end = {"delta": _ending(reply)}
    if said.usage:
        end["usage"] = {"output_tokens": said.usage.answered}
    ending = _event("message_delta", **end) + _event("message_stop")
    return [
        (reply.first_token, _event("message_start", message=opening)),
        *spread(reply, steps),
        (reply.seconds, ending),
    ]


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **fields}))


def _steps(reply: Reply, number: int) -> Iterator[bytes]:
    if not reply.tool_calls and reply.text:
        yield from _block(0, {"type": "text", "text": ""}, "text_delta", "text", reply.text)
    for place, call in enumerate(reply.tool_calls):
        begun = _tool_use(call, number, place)
        yield from _block(place, begun, "input_json_delta", "partial_json", call.arguments)


def _block(index: int, begun: dict[str, Any], kind: str, key: str, text: str) -> Iterator[bytes]:
    yield _event("content_block_start", index=index, content_block=begun)
    for piece in pieces(text):
        yield _event("content_block_delta", index=index, delta={"type": kind, key: piece})
    yield _event("content_block_stop", index=index)
