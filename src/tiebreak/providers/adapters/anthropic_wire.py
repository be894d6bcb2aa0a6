"""Anthropic's messages as bytes. Pure."""

from itertools import groupby
from typing import Any, Final

import msgspec

from tiebreak.providers.account import Account
from tiebreak.providers.adapters.failures import BAD_JSON, incomplete, malformed, refused, told
from tiebreak.providers.adapters.parameters import lifted
from tiebreak.providers.adapters.wire import ABSENT, believable, storable
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    ImagePart,
    JsonSchema,
    Message,
    NamedTool,
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

# The vendor wants a limit; this one is used where nobody names one, and every model of theirs takes it.
DEFAULT_MAX_TOKENS: Final = 4096


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Tokens(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Body(msgspec.Struct):
    type: str = ""
    content: list[_Block] | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Body | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_bodies = msgspec.json.Decoder(_Body)
_events = msgspec.json.Decoder(_Event)
_tokens = msgspec.json.Decoder(_Tokens)

_REASONS: Final = {
    "end_turn": StopReason.STOP,
    "stop_sequence": StopReason.STOP,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "tool_use": StopReason.TOOL_CALLS,
    "refusal": StopReason.CONTENT_FILTER,
}
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if part.data is not None:
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    elif part.url is not None:
        source = {"type": "url", "url": part.url}
    else:
        raise refused("an image has neither a URL nor data; give one of them")
    return {"type": "image", "source": source}


def _blocks(message: Message) -> list[dict[str, Any]]:
    parts = (TextPart(message.content),) if isinstance(message.content, str) else message.content
    # Empty text blocks are refused by the vendor.
    return [_part(part) for part in parts if not isinstance(part, TextPart) or part.text]


def _tool_use(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except BAD_JSON as exc:
        raise refused(
            f"the arguments of tool call {call.id!r} are no JSON ({exc}); Anthropic takes an object"
        ) from exc
    if not isinstance(arguments, dict):
        raise refused(
            f"the arguments of tool call {call.id!r} are no JSON object; Anthropic takes nothing else"
        )
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _content(message: Message) -> str | list[dict[str, Any]]:
    if message.role == "tool":
        if message.tool_call_id is None:
            raise refused("a tool's message does not say which call it answers; give its tool_call_id")
        result = message.content if isinstance(message.content, str) else _blocks(message)
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": result}]
    if message.tool_calls:
        return _blocks(message) + [_tool_use(call) for call in message.tool_calls]
    return message.content if isinstance(message.content, str) else _blocks(message)


def _turns(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """The conversation; the results of several tools are one user's turn, as the vendor wants them."""
    turns: list[dict[str, Any]] = []
    for is_tool, group in groupby(messages, lambda message: message.role == "tool"):
        if is_tool:
            turns.append({"role": "user", "content": [block for m in group for block in _content(m)]})
        else:
            turns += [{"role": message.role, "content": _content(message)} for message in group]
    return turns


def _system(messages: tuple[Message, ...]) -> tuple[str | list[dict[str, Any]] | None, tuple[Message, ...]]:
    """The system's words, which stand apart, and the rest."""
    count = next((place for place, m in enumerate(messages) if m.role != "system"), len(messages))
    leading, rest = messages[:count], messages[count:]
    if any(message.role == "system" for message in rest):
        raise refused(
            "Anthropic takes system messages only before the conversation; move them to its beginning"
        )
    blocks = [block for message in leading for block in _blocks(message)]
    if any(block["type"] != "text" for block in blocks):
        raise refused("Anthropic takes no images in system messages; put them into a user's")
    if len(blocks) == 1:
        return str(blocks[0]["text"]), rest
    return blocks or None, rest


def _tools(request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if request.tools:
        body["tools"] = [
            {"name": tool.name, "input_schema": dict(tool.parameters)}
            | ({} if tool.description is None else {"description": tool.description})
            for tool in request.tools
        ]
    if isinstance(request.tool_choice, NamedTool):
        body["tool_choice"] = {"type": "tool", "name": request.tool_choice.name}
    elif request.tool_choice is not None:
        body["tool_choice"] = {"type": _CHOICES[request.tool_choice]}
    return body


def _output(request: ChatRequest) -> dict[str, Any]:
    if request.output == "text":
        return {}
    if not isinstance(request.output, JsonSchema):
        raise refused(
            "Anthropic has no JSON mode without a schema; give a JSON schema, or ask for JSON in the prompt"
        )
    config = dict(request.parameters.get("output_config") or {})
    config["format"] = {"type": "json_schema", "schema": dict(request.output.schema)}
    return {"output_config": config}


def body(request: ChatRequest) -> dict[str, Any]:
    """The body of a call.

    Raises:
        ProviderError: something Anthropic has no words for.
    """
    request = lifted(request)
    if request.seed is not None:
        raise refused("Anthropic takes no seed; leave `seed` out")
    if request.n > 1:
        raise refused(f"Anthropic gives one sample a call and n is {request.n}; call again for more")
    system, messages = _system(request.messages)
    fields = {
        "system": system,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop_sequences": list(request.stop) or None,
        "stream": True if request.stream else None,
    }
    return {
        "model": request.model,
        "max_tokens": DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
        "messages": _turns(messages),
        **request.parameters,
        **{name: value for name, value in fields.items() if value is not None},
        **_tools(request),
        **_output(request),
    }


def _parsed(raw: bytes) -> _Tokens:
    if raw in ABSENT:
        return _Tokens()
    try:
        return _tokens.decode(raw)
    except BAD_JSON:
        return _Tokens()


def _usage(tokens: _Tokens) -> Usage | None:
    """Ours counts cached tokens among the input; theirs counts them apart."""
    if tokens.input_tokens is None or tokens.output_tokens is None:
        return None
    written, read = tokens.cache_creation_input_tokens or 0, tokens.cache_read_input_tokens
    if min(tokens.input_tokens, written, read or 0) < 0:
        return None
    details = tokens.output_tokens_details
    return believable(
        tokens.input_tokens + written + (read or 0),
        tokens.output_tokens,
        read,
        None if details is None else details.thinking_tokens,
    )


def decode(account: Account, request: ChatRequest, body: bytes, latency: float) -> ChatResponse:
    """A successful answer that came in one piece.

    Raises:
        ProviderError: it holds no answer, or an error in spite of its status.
    """
    try:
        answer = _bodies.decode(body)
    except BAD_JSON as exc:
        raise malformed(account, f"the answer cannot be read ({exc})", body) from None
    if answer.content is None:
        if bytes(answer.error) not in ABSENT:
            raise told(account, bytes(answer.error))
        raise malformed(account, "the answer has no content", body)
    return ChatResponse(
        text=storable("".join(block.text or "" for block in answer.content if block.type == "text")),
        finish_reason=_reason(answer.stop_reason),
        model=storable(answer.model or request.model),
        usage=_usage(_parsed(bytes(answer.usage))),
        latency=latency,
        first_token=None,
        tool_calls=tuple(
            ToolCall(storable(block.id or ""), storable(block.name), _arguments(block))
            for block in answer.content
            if block.type == "tool_use" and block.name
        ),
        vendor_reason=None if answer.stop_reason is None else storable(answer.stop_reason),
    )


def _reason(word: str | None) -> StopReason | None:
    return None if word is None else _REASONS.get(word, StopReason.OTHER)


def _arguments(block: _Block) -> str:
    raw = bytes(block.input)
    return "{}" if raw in ABSENT else storable(raw.decode("utf-8", "replace"))


class BlockReader:
    """A streamed answer; complete only with a stop reason and `message_stop`."""

    def __init__(self, account: Account, request: ChatRequest) -> None:
        self._account = account
        self._model = request.model
        self._reason: str | None = None
        self._tokens = _Tokens()
        self._calls: dict[int, int] = {}  # the block's place → the call's among the calls

    def take(self, data: bytes) -> list[StreamEvent]:
        """See `StreamDecoder.take`."""
        try:
            event = _events.decode(data)
        except BAD_JSON as exc:
            raise malformed(self._account, f"an event of the stream cannot be read ({exc})", data) from None
        match event.type:
            case "message_start" if event.message is not None:
                self._model = event.message.model or self._model
                return self._counted(bytes(event.message.usage))
            case "content_block_start" if event.content_block is not None:
                return self._begun(event.index, event.content_block)
            case "content_block_delta" if event.delta is not None:
                return self._grown(event.index, event.delta)
            case "message_delta":
                if event.delta is not None:
                    self._reason = event.delta.stop_reason or self._reason
                return self._counted(bytes(event.usage))
            case "message_stop":
                return [self._end()]
            case "error":
                raise told(self._account, bytes(event.error))
            case _:  # ping, the end of a block, and what they think of next
                return []

    def _counted(self, raw: bytes) -> list[StreamEvent]:
        """Counts are cumulative; one that is left out stands."""
        later, sooner = _parsed(raw), self._tokens
        self._tokens = _Tokens(
            **{
                name: getattr(sooner, name) if getattr(later, name) is None else getattr(later, name)
                for name in _Tokens.__struct_fields__
            }
        )
        usage = _usage(self._tokens)
        return [] if usage is None else [UsageUpdate(usage)]

    def _begun(self, place: int, block: _Block) -> list[StreamEvent]:
        if block.type == "text" and block.text:
            return [TextDelta(storable(block.text))]
        if block.type != "tool_use":
            return []
        position = self._calls.setdefault(place, len(self._calls))
        return [ToolCallDelta(position, block.id, block.name)]

    def _grown(self, place: int, delta: _Delta) -> list[StreamEvent]:
        if delta.type == "text_delta" and delta.text:
            return [TextDelta(storable(delta.text))]
        if delta.type == "input_json_delta" and place in self._calls:
            return [ToolCallDelta(self._calls[place], arguments=storable(delta.partial_json or ""))]
        return []

    def _end(self) -> StreamEnd:
        reason = _reason(self._reason)
        if reason is None or self._reason is None:
            raise incomplete(self._account, "it has no stop_reason")
        return StreamEnd(reason, storable(self._reason), storable(self._model))

    def finish(self) -> list[StreamEvent]:
        """See `StreamDecoder.finish`."""
        raise incomplete(self._account, "it closed without message_stop")
