"""OpenAI's chat completions as callers write them. Pure."""

from typing import Any, Final

import msgspec

from tiebreak.gateway.fields import Fields
from tiebreak.gateway.surfaces.chat_answers import answer, writer
from tiebreak.gateway.surfaces.errors import openai as failed
from tiebreak.gateway.surfaces.reading import (
    EMPTY_SCHEMA,
    OPENAI_CHOICES,
    OPENAI_DROPPED,
    Whole,
    Words,
    choice_of,
    decoded,
    image_at,
    refused,
)
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
            "stream",
            "tools",
            "tool_choice",
            "response_format",
            "temperature",
            "top_p",
            "max_tokens",
            "max_completion_tokens",
            "stop",
            "seed",
            "n",
        ]
    ),
    dropped=OPENAI_DROPPED,
    idle={
        "logprobs": (False,),
        "top_logprobs": (0,),
        "frequency_penalty": (0,),
        "presence_penalty": (0,),
        "logit_bias": ({},),
        "parallel_tool_calls": (True,),
        "modalities": (["text"],),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "verbosity": ("medium",),
        "functions": ([],),
    },
)


class _Url(msgspec.Struct):
    url: str


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Url | None = None


class _Called(msgspec.Struct):
    name: str
    arguments: str = ""


class _Google(msgspec.Struct):
    thought_signature: str | None = None


class _Extra(msgspec.Struct):
    google: _Google | None = None


class _Call(msgspec.Struct):
    id: str
    type: str = "function"
    function: _Called | None = None
    extra_content: _Extra | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    function_call: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _Named(msgspec.Struct):
    name: str


class _Choice(msgspec.Struct):
    type: str
    function: _Named | None = None


class _Schema(msgspec.Struct):
    name: str
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    response_format: _Format | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: Whole | None = None
    max_completion_tokens: Whole | None = None
    stop: str | list[str] | None = None
    seed: Whole | None = None
    n: Whole | None = None


_bodies = msgspec.json.Decoder(_Body)


def untranslatable(fields: Fields) -> list[str]:
    """See `Surface.untranslatable`."""
    return WORDS.names(WORDS.beyond(fields))


def to_neutral(fields: Fields, *, same_family: bool = False) -> ChatRequest:
    """See `Surface.to_neutral`."""
    body = decoded(_bodies, fields.body)
    if body.n is not None and body.n < 1:
        raise refused("n", f"is {body.n}; ask for at least one answer")
    limit = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    return ChatRequest(
        model=body.model,
        messages=tuple(_message(m, f"messages[{place}]") for place, m in enumerate(body.messages)),
        parameters=WORDS.parameters(fields, same_family=same_family),
        stream=bool(body.stream),
        tools=tuple(_tool(tool, f"tools[{place}]") for place, tool in enumerate(body.tools or ())),
        tool_choice=_choice(body.tool_choice),
        output=_output(body.response_format),
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=limit,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        seed=body.seed,
        n=1 if body.n is None else body.n,
    )


def _message(message: _Message, place: str) -> Message:
    for name in ("name", "function_call", "audio"):
        if getattr(message, name) is not None:
            raise refused(f"{place}.{name}", "has no words in other dialects; leave it out")
    content: str | tuple[TextPart | ImagePart, ...] = message.refusal or ""
    if isinstance(message.content, str):
        content = message.content or content
    elif message.content:
        content = tuple(_part(p, f"{place}.content[{number}]") for number, p in enumerate(message.content))
    match message.role:
        case "system" | "developer":
            return Message("system", content)
        case "user":
            return Message("user", content)
        case "assistant":
            calls = enumerate(message.tool_calls or ())
            return Message(
                "assistant", content, tuple(_call(call, f"{place}.tool_calls[{n}]") for n, call in calls)
            )
        case "tool":
            if not message.tool_call_id:
                raise refused(f"{place}.tool_call_id", "is missing; say which call this message answers")
            return Message("tool", content, tool_call_id=message.tool_call_id)
    raise refused(
        f"{place}.role", f"is {message.role[:80]!r}; it may be system, developer, user, assistant or tool"
    )


def _part(part: _Part, place: str) -> TextPart | ImagePart:
    match part.type:
        case "text" if part.text is not None:
            return TextPart(part.text)
        case "refusal" if part.refusal is not None:
            return TextPart(part.refusal)
        case "image_url" if part.image_url is not None:
            return image_at(part.image_url.url, f"{place}.image_url.url")
        case "text" | "refusal" | "image_url":
            raise refused(f"{place}.{part.type}", "is missing; a part holds what its type says")
    raise refused(place, f"is of type {part.type[:80]!r}; other dialects take text and image_url only")


def _call(call: _Call, place: str) -> ToolCall:
    if call.function is None:
        raise refused(place, f"is of type {call.type[:80]!r}; other dialects have calls of functions only")
    google = call.extra_content.google if call.extra_content else None
    signature = google.thought_signature if google else None
    return ToolCall(call.id, call.function.name, call.function.arguments, signature)


def _tool(tool: _Tool, place: str) -> Tool:
    if tool.type != "function" or tool.function is None:
        raise refused(place, f"is of type {tool.type[:80]!r}; other dialects have functions only")
    function = tool.function
    parameters = EMPTY_SCHEMA if function.parameters is None else function.parameters
    return Tool(function.name, parameters, function.description)


def _choice(choice: str | _Choice | None) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        return choice_of(choice, None, "tool_choice", OPENAI_CHOICES)
    named = choice.function.name if choice.function is not None else None
    return choice_of(choice.type, named, "tool_choice", OPENAI_CHOICES)


def _output(wanted: _Format | None) -> Any:
    match wanted:
        case None | _Format(type="text"):
            return "text"
        case _Format(type="json_object"):
            return "json"
        case _Format(type="json_schema", json_schema=_Schema() as schema):
            return JsonSchema(schema.name, schema.schema or {}, bool(schema.strict))
    raise refused(
        "response_format",
        f"is {wanted.type[:80]!r}; it may be text, json_object, or json_schema with its schema",
    )
