"""Chat completions as OpenAI's clients, and those of everybody who copies them, write and read them. Pure."""

from itertools import takewhile
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from tiebreak.mockprovider import tokens
from tiebreak.mockprovider.conversation import (
    FINGERPRINT,
    Asked,
    Limit,
    Reply,
    Said,
    Samples,
    Timed,
    ToolCall,
    Usage,
    pieces,
    spread,
)
from tiebreak.mockprovider.dialects import reading
from tiebreak.mockprovider.dialects.reading import Function

DONE = b"data: [DONE]\n\n"
_FINISH = {"stop": "stop", "length": "length", "tools": "tool_calls", "refusal": "stop"}


class Part(Struct):
    """One part of a message; only text is read, images and the rest are accepted."""

    type: str
    text: str | None = None


class Message(Struct):
    """One turn."""

    role: str
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or "" for part in self.content or ())


class StreamOptions(Struct):
    """What to add to a stream."""

    include_usage: bool = False


class ToolEntry(Struct):
    """A tool of the request; those of other types are ignored."""

    type: str = "function"
    function: Function | None = None


class NamedTool(Struct):
    """The one tool that must be called."""

    function: Function


class JsonSchema(Struct):
    """The schema of a structured answer."""

    schema: Any = None


class ResponseFormat(Struct):
    """Text, any JSON, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None

    @property
    def shape(self) -> Any:
        """As `Asked.shape`."""
        if self.type == "text":
            return None
        return (self.json_schema.schema if self.json_schema else None) or {}


class ChatRequest(Struct):
    """The fields that the mock heeds; it ignores the rest, as a vendor would heed them."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    n: Samples | None = None
    stop: str | list[str] | None = None
    tools: list[ToolEntry] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    @property
    def wishes(self) -> bool:
        """Whether it asks for more than one text."""
        return not (
            self.n is None and self.stop is None and self.tools is None and self.response_format is None
        )


_decoder = msgspec.json.Decoder(ChatRequest)
_encode = msgspec.json.Encoder().encode


def decode(body: bytes, model: str | None, stream: bool) -> Asked:  # noqa: ARG001  (every format's signature)
    """The request; `model` is the one that the path names, if it does."""
    request = reading.decode(_decoder, body)
    asked = Asked(
        model=model or request.model,
        question=reading.last([turn.text for turn in request.messages if turn.role == "user"]),
        tokens=sum([tokens.count(turn.text) for turn in request.messages]),
        stream=bool(request.stream),
        limit=request.max_completion_tokens or request.max_tokens,
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
    )
    return _with_wishes(asked, request) if request.wishes or len(request.messages) > 1 else asked


def _with_wishes(asked: Asked, request: ChatRequest) -> Asked:
    """What few requests say; apart, because most do not."""
    named = request.tool_choice.function.name if isinstance(request.tool_choice, NamedTool) else None
    choice = "required" if isinstance(request.tool_choice, NamedTool) else request.tool_choice or "auto"
    return replace(
        asked,
        samples=request.n or 1,
        stop=reading.stops(request.stop),
        tools=tuple(entry.function.tool for entry in request.tools or () if entry.function),
        choice=choice,
        named=named,
        parallel=request.parallel_tool_calls is not False,
        results=_results(request.messages),
        shape=request.response_format.shape if request.response_format else None,
    )


def _results(messages: list[Message]) -> tuple[str, ...]:
    """The tools' answers that the conversation ends with."""
    ending = takewhile(lambda turn: turn.role == "tool", reversed(messages))
    return tuple([turn.text for turn in ending][::-1])


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens as this format counts them; details only where there are some."""
    counted: dict[str, Any] = {
        "prompt_tokens": usage.asked,
        "completion_tokens": usage.answered,
        "total_tokens": usage.total,
    }
    if usage.cached:
        counted["prompt_tokens_details"] = {"cached_tokens": usage.cached}
    if usage.reasoning:
        counted["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return counted


def document(asked: Asked, said: Said) -> bytes:
    """The whole answer as one document."""
    choices = [
        {
            "index": index,
            "message": _message(reply, said.number, index),
            "logprobs": None,
            "finish_reason": _FINISH[reply.finish_reason],
        }
        for index, reply in enumerate(said.replies)
    ]
    answer = _envelope(asked, said, "chat.completion", choices)
    if said.usage:
        answer["usage"] = usage_of(said.usage)
    return _encode(answer)


def _message(reply: Reply, number: int, index: int) -> dict[str, Any]:
    refused = reply.finish_reason == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused or reply.tool_calls else reply.text,
        "refusal": reply.text if refused else None,
    }
    if reply.tool_calls:
        message["tool_calls"] = [
            _call(call, number, index, place) for place, call in enumerate(reply.tool_calls)
        ]
    return message


def _call(call: ToolCall, number: int, index: int, place: int) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_mock_{number}_{index}_{place}", "type": "function", "function": function}


def events(asked: Asked, said: Said) -> list[Timed]:
    """The answer as server-sent events, each with its moment in seconds after the request arrived."""

    def event(choices: list[Any], usage: Usage | None = None) -> bytes:
        chunk = _envelope(asked, said, "chat.completion.chunk", choices)
        if asked.include_usage and said.usage:
            chunk["usage"] = usage_of(usage) if usage else None
        return b"data: " + _encode(chunk) + b"\n\n"

    def choice(index: int, delta: dict[str, Any], finish_reason: str | None = None) -> list[Any]:
        return [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]

    timed: list[Timed] = []
    for index, reply in enumerate(said.replies):
        opening = choice(index, {"role": "assistant", "content": ""})
        timed.append((reply.first_token, event(opening)))
        timed += [(at, event(choice(index, delta))) for at, delta in _deltas(reply, said.number, index)]
        timed.append((reply.seconds, event(choice(index, {}, _FINISH[reply.finish_reason]))))
    timed.sort(key=lambda each: each[0])
    at, ending = timed.pop()
    if asked.include_usage and said.usage:
        ending += event([], said.usage)
    return [*timed, (at, ending + DONE)]


def _deltas(reply: Reply, number: int, index: int) -> list[tuple[float, dict[str, Any]]]:
    if not reply.tool_calls:
        key = "refusal" if reply.finish_reason == "refusal" else "content"
        return spread(reply, [{key: piece} for piece in pieces(reply.text)])
    deltas: list[dict[str, Any]] = []
    for place, call in enumerate(reply.tool_calls):
        opening = _call(ToolCall(call.name, ""), number, index, place) | {"index": place}
        arguments = [{"index": place, "function": {"arguments": piece}} for piece in pieces(call.arguments)]
        deltas += [{"tool_calls": [part]} for part in (opening, *arguments)]
    return spread(reply, deltas)


def _envelope(asked: Asked, said: Said, kind: str, choices: list[Any]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-mock-{said.number}",
        "object": kind,
        "created": said.created,
        "model": asked.model,
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    }
