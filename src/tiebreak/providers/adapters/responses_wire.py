"""OpenAI's Responses API as bytes. Pure."""

from typing import Any, Final

import msgspec

from tiebreak.providers.account import Account
from tiebreak.providers.adapters.failures import BAD_JSON, incomplete, malformed, refused, told
from tiebreak.providers.adapters.openai_request import image_url
from tiebreak.providers.adapters.parameters import lifted
from tiebreak.providers.adapters.wire import ABSENT, believable, storable
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    ImagePart,
    JsonSchema,
    Message,
    NamedTool,
    ProviderError,
    StopReason,
    StreamEnd,
    StreamEvent,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)


class _Content(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Content] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _Why(msgspec.Struct):
    reason: str | None = None


class _Body(msgspec.Struct):
    status: str | None = None
    output: list[_Item] = msgspec.field(default_factory=list)
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    incomplete_details: _Why | None = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: str | None = None
    output_index: int = 0
    item: _Item | None = None
    response: _Body | None = None
    # The event `error` says it flat, some servers nest it.
    error: msgspec.Raw = msgspec.Raw()
    message: str | None = None
    code: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Tokens(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


_bodies = msgspec.json.Decoder(_Body)
_events = msgspec.json.Decoder(_Event)
_tokens = msgspec.json.Decoder(_Tokens)

_INCOMPLETE: Final = {
    "max_output_tokens": StopReason.LENGTH,
    "content_filter": StopReason.CONTENT_FILTER,
}
_WITHOUT: Final = {
    "stop": "stop sequences",
    "seed": "a seed",
}


def _part(part: TextPart | ImagePart, role: str) -> dict[str, Any]:
    if isinstance(part, ImagePart):
        return {"type": "input_image", "image_url": image_url(part), "detail": "auto"}
    return {"type": "output_text" if role == "assistant" else "input_text", "text": part.text}


def _words(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    if any(isinstance(part, ImagePart) for part in message.content):
        raise refused(
            "the Responses API takes no images from the assistant or a tool; put them into a user's message"
        )
    return "".join(part.text for part in message.content if isinstance(part, TextPart))


def _items(message: Message) -> list[dict[str, Any]]:
    """A turn as items of the input: a call and its result are items of their own."""
    if message.role == "tool":
        if message.tool_call_id is None:
            raise refused("a tool's message does not say which call it answers; give its tool_call_id")
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": _words(message)}]
    items: list[dict[str, Any]] = []
    if message.role == "assistant":
        if words := _words(message):
            items.append({"role": "assistant", "content": words})
    elif isinstance(message.content, str):
        items.append({"role": message.role, "content": message.content})
    else:
        items.append(
            {"role": message.role, "content": [_part(part, message.role) for part in message.content]}
        )
    items += [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    return items


def _tools(request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
                "strict": False,
            }
            for tool in request.tools
        ]
    if isinstance(request.tool_choice, NamedTool):
        body["tool_choice"] = {"type": "function", "name": request.tool_choice.name}
    elif request.tool_choice is not None:
        body["tool_choice"] = request.tool_choice
    return body


def _output(request: ChatRequest) -> dict[str, Any]:
    if request.output == "text":
        return {}
    if isinstance(request.output, JsonSchema):
        wanted = request.output
        form = {
            "type": "json_schema",
            "name": wanted.name,
            "schema": dict(wanted.schema),
            "strict": wanted.strict,
        }
        return {"text": {"format": form}}
    return {"text": {"format": {"type": "json_object"}}}


def body(request: ChatRequest) -> dict[str, Any]:
    """The body of a call.

    Raises:
        ProviderError: something the Responses API has no words for.
    """
    request = lifted(request)
    for field, what in _WITHOUT.items():
        if getattr(request, field) not in (None, ()):
            raise refused(f"the Responses API takes no {what.removeprefix('a ')}; leave `{field}` out")
    if request.n > 1:
        raise refused(f"the Responses API gives one sample a call and n is {request.n}; call again for more")
    fields = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_output_tokens": request.max_tokens,
        "stream": True if request.stream else None,
    }
    return {
        "model": request.model,
        "input": [item for message in request.messages for item in _items(message)],
        "store": False,
        **request.parameters,
        **{name: value for name, value in fields.items() if value is not None},
        **_tools(request),
        **_output(request),
    }


def _usage(raw: bytes) -> Usage | None:
    if raw in ABSENT:
        return None
    try:
        tokens = _tokens.decode(raw)
    except BAD_JSON:
        return None
    inputs, outputs = tokens.input_tokens_details, tokens.output_tokens_details
    return believable(
        tokens.input_tokens,
        tokens.output_tokens,
        inputs.cached_tokens if inputs else None,
        outputs.reasoning_tokens if outputs else None,
    )


def _calls(items: list[_Item]) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(storable(item.call_id or ""), storable(item.name), storable(item.arguments or ""))
        for item in items
        if item.type == "function_call" and item.name
    )


def _ending(answer: _Body, *, refused_text: bool, called: bool) -> tuple[StopReason, str]:
    """Our word and theirs: this API has none for a finished answer but its status."""
    word = answer.incomplete_details.reason if answer.incomplete_details else None
    if word is not None:
        return _INCOMPLETE.get(word, StopReason.OTHER), storable(word)
    word = storable(answer.status or "completed")
    if refused_text:
        return StopReason.CONTENT_FILTER, word
    if called:
        return StopReason.TOOL_CALLS, word
    return (StopReason.STOP if word == "completed" else StopReason.OTHER), word


def decode(account: Account, request: ChatRequest, body: bytes, latency: float) -> ChatResponse:
    """A successful answer that came in one piece.

    Raises:
        ProviderError: it holds no answer, or an error in spite of its status.
    """
    try:
        answer = _bodies.decode(body)
    except BAD_JSON as exc:
        raise malformed(account, f"the answer cannot be read ({exc})", body) from None
    if bytes(answer.error) not in ABSENT:
        raise told(account, bytes(answer.error))
    if answer.status is None:
        raise malformed(account, "the answer has no status", body)
    contents = [part for item in answer.output if item.type == "message" for part in item.content or ()]
    text = "".join(part.text or "" for part in contents if part.type == "output_text")
    refusal = "".join(part.refusal or "" for part in contents if part.type == "refusal")
    calls = _calls(answer.output)
    reason, word = _ending(answer, refused_text=bool(refusal) and not text, called=bool(calls))
    return ChatResponse(
        text=storable(text or refusal),
        finish_reason=reason,
        model=storable(answer.model or request.model),
        usage=_usage(bytes(answer.usage)),
        latency=latency,
        first_token=None,
        tool_calls=calls,
        vendor_reason=word,
    )


class EventsReader:
    """A streamed answer; complete only with `response.completed` or `response.incomplete`."""

    def __init__(self, account: Account, request: ChatRequest) -> None:
        self._account = account
        self._model = request.model
        self._calls: dict[int, int] = {}  # the item's place in the output → the call's among the calls

    def take(self, data: bytes) -> list[StreamEvent]:
        """See `StreamDecoder.take`."""
        try:
            event = _events.decode(data)
        except BAD_JSON as exc:
            raise malformed(self._account, f"an event of the stream cannot be read ({exc})", data) from None
        match event.type:
            case "response.output_text.delta" if event.delta:
                return [TextDelta(storable(event.delta))]
            case "response.refusal.delta" if event.delta:
                return [TextDelta(storable(event.delta), refusal=True)]
            case "response.output_item.added" if event.item is not None:
                return self._begun(event.output_index, event.item)
            case "response.function_call_arguments.delta" if event.output_index in self._calls:
                position = self._calls[event.output_index]
                return [ToolCallDelta(position, arguments=storable(event.delta or ""))]
            case "response.completed" | "response.incomplete":
                return self._ended(event.response or _Body())
            case "response.failed" | "error":
                raise self._failed(event)
            case _:
                return []

    def _begun(self, place: int, item: _Item) -> list[StreamEvent]:
        if item.type != "function_call":
            return []
        position = self._calls.setdefault(place, len(self._calls))
        return [ToolCallDelta(position, item.call_id, item.name)]

    def _ended(self, answer: _Body) -> list[StreamEvent]:
        usage = _usage(bytes(answer.usage))
        reason, word = _ending(answer, refused_text=False, called=bool(self._calls))
        end = StreamEnd(reason, word, storable(answer.model or self._model))
        return [end] if usage is None else [UsageUpdate(usage), end]

    def _failed(self, event: _Event) -> ProviderError:
        nested = event.response.error if event.response is not None else event.error
        if bytes(nested) not in ABSENT:
            return told(self._account, bytes(nested))
        return told(self._account, msgspec.json.encode({"message": event.message, "code": event.code}))

    def finish(self) -> list[StreamEvent]:
        """See `StreamDecoder.finish`."""
        raise incomplete(self._account, "it closed without response.completed")
