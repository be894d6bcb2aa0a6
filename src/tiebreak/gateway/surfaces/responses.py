"""OpenAI's Responses API as callers write it. Pure."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from tiebreak.gateway.fields import Fields
from tiebreak.gateway.surfaces.errors import openai as failed
from tiebreak.gateway.surfaces.reading import (
    EMPTY_SCHEMA,
    OPENAI_CHOICES,
    OPENAI_DROPPED,
    SIGNED,
    Whole,
    Words,
    choice_of,
    decoded,
    image_at,
    refused,
)
from tiebreak.gateway.surfaces.responses_answers import answer, writer
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
            "input",
            "instructions",
            "stream",
            "tools",
            "tool_choice",
            "temperature",
            "top_p",
            "max_output_tokens",
        ]
    ),
    dropped=OPENAI_DROPPED,
    idle={
        "background": (False,),
        "include": ([], ["reasoning.encrypted_content"]),
        "parallel_tool_calls": (True,),
        "reasoning": ({}, {"effort": None}, {"summary": None}, {"effort": None, "summary": None}),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "text.verbosity": ("medium",),
        "top_logprobs": (0,),
        "truncation": ("disabled",),
    },
    partly={"text": "format"},
)


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None


class _Item(msgspec.Struct):
    type: str = "message"
    role: str | None = None
    content: str | list[_Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[_Part] | None = None
    encrypted_content: str | None = None


class _Tool(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None


class _Format(msgspec.Struct):
    type: str
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Body(msgspec.Struct):
    model: str
    input: str | list[_Item]
    instructions: str | None = None
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: Whole | None = None
    text: _Text | None = None


_bodies = msgspec.json.Decoder(_Body)


def untranslatable(fields: Fields) -> list[str]:
    """See `Surface.untranslatable`."""
    return WORDS.names(WORDS.beyond(fields))


def to_neutral(fields: Fields, *, same_family: bool = False) -> ChatRequest:
    """See `Surface.to_neutral`."""
    body = decoded(_bodies, fields.body)
    messages = [Message("system", body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        messages.append(Message("user", body.input))
    else:
        messages += _turns(body.input)
    output = _output(body.text.format if body.text is not None else None)
    parameters = WORDS.parameters(fields, same_family=same_family)
    if "text" in parameters and output != "text":
        raise refused(
            "text", "asks for a format and for more, which a rewritten request cannot say; give one of them"
        )
    return ChatRequest(
        model=body.model,
        messages=tuple(messages),
        parameters=parameters,
        stream=bool(body.stream),
        tools=tuple(_tool(tool, f"tools[{place}]") for place, tool in enumerate(body.tools or ())),
        tool_choice=_choice(body.tool_choice),
        output=output,
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=body.max_output_tokens,
    )


def _turns(items: list[_Item]) -> Iterator[Message]:
    """The items as turns: an assistant's words and the calls after them are one, and a signature belongs to the call
    that follows it."""
    said: Message | None = None  # the assistant's words that calls may follow
    calls: list[ToolCall] = []
    signature: str | None = None
    for number, item in enumerate(items):
        place = f"input[{number}]"
        if item.type == "reasoning":
            signature = _signature(item, place)
        elif item.type == "function_call":
            calls.append(_call(item, signature, place))
            signature = None
        else:
            yield from _turn(said, calls)
            said, calls, signature = _said(item, place), [], None
            if said.role != "assistant":
                yield said
                said = None
    yield from _turn(said, calls)


def _turn(said: Message | None, calls: list[ToolCall]) -> Iterator[Message]:
    """An assistant's turn, if there is one."""
    if said is not None or calls:
        yield Message("assistant", "" if said is None else said.content, tuple(calls))


def _call(item: _Item, signature: str | None, place: str) -> ToolCall:
    if not item.call_id or not item.name:
        raise refused(place, "is a function_call without call_id or name; give both")
    return ToolCall(item.call_id, item.name, item.arguments or "", signature)


def _signature(item: _Item, place: str) -> str:
    if item.encrypted_content is None or not item.encrypted_content.startswith(SIGNED):
        raise refused(
            place, "is the reasoning of another model, which this one cannot read; leave reasoning items out"
        )
    return item.encrypted_content.removeprefix(SIGNED)


def _said(item: _Item, place: str) -> Message:
    match item.type, item.role:
        case "message", "system" | "developer":
            return Message("system", _content(item.content, f"{place}.content"))
        case "message", "user":
            return Message("user", _content(item.content, f"{place}.content"))
        case "message", "assistant":
            return Message("assistant", _content(item.content, f"{place}.content"))
        case "message", role:
            raise refused(
                f"{place}.role", f"is {str(role)[:80]!r}; it may be system, developer, user or assistant"
            )
        case "function_call_output", _:
            if not item.call_id:
                raise refused(f"{place}.call_id", "is missing; say which call this output answers")
            return Message("tool", _content(item.output, f"{place}.output"), tool_call_id=item.call_id)
    raise refused(
        place,
        f"is of type {item.type[:80]!r}; other dialects take message, function_call and function_call_output only",
    )


def _content(content: str | list[_Part] | None, place: str) -> str | tuple[TextPart | ImagePart, ...]:
    if content is None or isinstance(content, str):
        return content or ""
    return tuple(_part(part, f"{place}[{number}]") for number, part in enumerate(content))


def _part(part: _Part, place: str) -> TextPart | ImagePart:
    match part.type:
        case "input_text" | "output_text" | "text" if part.text is not None:
            return TextPart(part.text)
        case "refusal" if part.refusal is not None:
            return TextPart(part.refusal)
        case "input_image" if part.image_url is not None:
            return image_at(part.image_url, f"{place}.image_url")
        case "input_image":
            raise refused(
                place, "is an image without `image_url`; files at a vendor are known to that vendor only"
            )
        case "input_text" | "output_text" | "text" | "refusal":
            raise refused(place, f"is of type {part.type!r} and does not hold it; give its text")
    raise refused(place, f"is of type {part.type[:80]!r}; other dialects take text and images only")


def _tool(tool: _Tool, place: str) -> Tool:
    if tool.type != "function" or not tool.name:
        raise refused(place, f"is of type {tool.type[:80]!r}; other dialects have functions with names only")
    return Tool(tool.name, EMPTY_SCHEMA if tool.parameters is None else tool.parameters, tool.description)


def _choice(choice: str | _Choice | None) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        return choice_of(choice, None, "tool_choice", OPENAI_CHOICES)
    named = choice.name if choice.type == "function" else None
    return choice_of(choice.type, named, "tool_choice", OPENAI_CHOICES)


def _output(wanted: _Format | None) -> Any:
    match wanted:
        case None | _Format(type="text"):
            return "text"
        case _Format(type="json_object"):
            return "json"
        case _Format(type="json_schema", name=str() as name):
            return JsonSchema(name, wanted.schema or {}, bool(wanted.strict))
    raise refused(
        "text.format",
        f"is {wanted.type[:80]!r}; it may be text, json_object, or json_schema with name and schema",
    )
