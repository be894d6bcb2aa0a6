"""Anthropic's messages as callers write them. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from tiebreak.gateway.fields import Fields
from tiebreak.gateway.surfaces.errors import anthropic as failed
from tiebreak.gateway.surfaces.messages_answers import answer, writer
from tiebreak.gateway.surfaces.reading import SIGNED, Whole, Words, choice_of, decoded, refused
from tiebreak.providers.model import (
    ChatRequest,
    ImagePart,
    JsonSchema,
    Message,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)

__all__ = ["answer", "failed", "to_neutral", "untranslatable", "writer"]

WORDS: Final = Words(
    said=frozenset(
        [
            "model",
            "messages",
            "system",
            "max_tokens",
            "stream",
            "tools",
            "tool_choice",
            "temperature",
            "top_p",
            "stop_sequences",
        ]
    ),
    dropped=frozenset(("metadata", "cache_control")),
    idle={
        "thinking": ({"type": "disabled"},),
        "service_tier": ("auto", "standard_only"),
        "speed": ("standard",),
        "mcp_servers": ([],),
    },
    partly={"output_config": "format"},
)


class _Source(msgspec.Struct):
    type: str
    data: str | None = None
    media_type: str | None = None
    url: str | None = None


class _Inner(msgspec.Struct):
    """A block inside a tool's result."""

    type: str
    text: str | None = None
    source: _Source | None = None


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    source: _Source | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    tool_use_id: str | None = None
    content: msgspec.Raw = msgspec.Raw()
    thinking: str | None = None
    signature: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool = False


class _Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] | None = None


class _Output(msgspec.Struct):
    format: _Format | None = None


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: Whole
    system: str | list[_Inner] | None = None
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    output_config: _Output | None = None


_bodies = msgspec.json.Decoder(_Body)
_results = msgspec.json.Decoder(str | list[_Inner] | None)
_inputs = msgspec.json.Decoder(dict[str, Any])

_CHOICES: Final[dict[str, ToolChoice]] = {"auto": "auto", "none": "none", "any": "required"}
# The dialect's schemas have no name, and others want one.
SCHEMA_NAME: Final = "answer"


def untranslatable(fields: Fields) -> list[str]:
    """See `Surface.untranslatable`."""
    return WORDS.names(WORDS.beyond(fields))


def to_neutral(fields: Fields, *, same_family: bool = False) -> ChatRequest:
    """See `Surface.to_neutral`."""
    body = decoded(_bodies, fields.body)
    messages: list[Message] = []
    if body.system:
        messages.append(Message("system", _content(body.system, "system")))
    for number, message in enumerate(body.messages):
        messages += _turn(message, f"messages[{number}]")
    return ChatRequest(
        model=body.model,
        messages=tuple(messages),
        parameters=WORDS.parameters(fields, same_family=same_family),
        stream=bool(body.stream),
        tools=tuple(_tool(tool, f"tools[{place}]") for place, tool in enumerate(body.tools or ())),
        tool_choice=_choice(body.tool_choice),
        output=_output(body.output_config),
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=body.max_tokens,
        stop=tuple(body.stop_sequences or ()),
    )


def _turn(message: _Message, place: str) -> Iterator[Message]:
    match message.role:
        case "user":
            return _user(message.content, place)
        case "assistant":
            return iter((_assistant(message.content, place),))
        case "system":
            return iter((Message("system", _content(message.content, f"{place}.content")),))
    raise refused(f"{place}.role", f"is {message.role[:80]!r}; it may be user, assistant or system")


def _user(content: str | list[_Block], place: str) -> Iterator[Message]:
    """The results of tools are messages of their own, before what the user says."""
    if isinstance(content, str):
        yield Message("user", content)
        return
    parts = []
    for number, block in enumerate(content):
        at = f"{place}.content[{number}]"
        if block.type != "tool_result":
            parts.append(_part(block, at))
            continue
        if parts:
            raise refused(at, "is a tool's result after the user's words; put results first")
        if not block.tool_use_id:
            raise refused(f"{at}.tool_use_id", "is missing; say which call this result answers")
        result = decoded(_results, block.content) if bytes(block.content) else ""
        yield Message("tool", _content(result, f"{at}.content"), tool_call_id=block.tool_use_id)
    if parts or not content:
        yield Message("user", tuple(parts))


def _assistant(content: str | list[_Block], place: str) -> Message:
    if isinstance(content, str):
        return Message("assistant", content)
    parts: list[TextPart | ImagePart] = []
    calls: list[ToolCall] = []
    signature: str | None = None
    for number, block in enumerate(content):
        at = f"{place}.content[{number}]"
        match block.type:
            case "thinking" | "redacted_thinking":
                signature = _signature(block, at)
            case "tool_use":
                calls.append(_call(block, signature, at))
                signature = None
            case _:
                parts.append(_part(block, at))
    return Message("assistant", tuple(parts), tuple(calls))


def _signature(block: _Block, place: str) -> str:
    """Ours, which stands before the call that it belongs to; see `messages_answers`."""
    if block.signature is None or not block.signature.startswith(SIGNED):
        raise refused(
            place, "is the thinking of another model, which this one cannot read; leave thinking blocks out"
        )
    return block.signature.removeprefix(SIGNED)


def _call(block: _Block, signature: str | None, place: str) -> ToolCall:
    if not block.id or not block.name:
        raise refused(place, "is a tool_use without id or name; give both")
    raw = bytes(block.input) or b"{}"
    decoded(_inputs, raw)
    return ToolCall(block.id, block.name, raw.decode(), signature)


def _content(
    content: str | Sequence[_Block | _Inner] | None, place: str
) -> str | tuple[TextPart | ImagePart, ...]:
    if content is None or isinstance(content, str):
        return content or ""
    return tuple(_part(block, f"{place}[{number}]") for number, block in enumerate(content))


def _part(block: _Block | _Inner, place: str) -> TextPart | ImagePart:
    match block.type, block.source:
        case "text", _ if block.text is not None:
            return TextPart(block.text)
        case "text", _:
            raise refused(f"{place}.text", "is missing; a text block holds text")
        case "image", _Source(type="base64", data=str() as data, media_type=str() as kind):
            return ImagePart(data=data, media_type=kind)
        case "image", _Source(type="url", url=str() as url):
            return ImagePart(url=url)
        case "image", _:
            raise refused(
                f"{place}.source", "is no picture that others can read; give it as base64 or as a URL"
            )
    raise refused(
        place, f"is of type {block.type[:80]!r}, which has no words in other dialects; leave it out"
    )


def _tool(tool: _Tool, place: str) -> Tool:
    if tool.type not in (None, "custom"):
        raise refused(
            place,
            f"is of type {str(tool.type)[:80]!r}, which only its vendor runs; other dialects have functions only",
        )
    return Tool(tool.name, tool.input_schema or {"type": "object"}, tool.description)


def _choice(choice: _Choice | None) -> ToolChoice | None:
    if choice is None:
        return None
    if choice.disable_parallel_tool_use:
        raise refused("tool_choice.disable_parallel_tool_use", "has no words in other dialects; leave it out")
    return choice_of(choice.type, choice.name if choice.type == "tool" else None, "tool_choice", _CHOICES)


def _output(wanted: _Output | None) -> Any:
    match wanted:
        case None | _Output(format=None):
            return "text"
        case _Output(format=_Format(type="json_schema", schema=dict() as schema)):
            return JsonSchema(SCHEMA_NAME, schema)
    raise refused(
        "output_config.format", "is none that other dialects have; it may be json_schema with its schema"
    )
