"""Gemini's generateContent as bytes. Pure."""

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
    Sample,
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

MOST_SAMPLES: Final = 8
# Parameters that stand beside `generationConfig`; every other one belongs into it.
_BESIDE: Final = frozenset(
    {"cachedContent", "labels", "safetySettings", "serviceTier", "store", "toolConfig", "tools"}
)
# Where an image may stay; other addresses are not fetched by the vendor.
_FETCHED: Final = ("gs://", "https://generativelanguage.googleapis.com/")


class _FunctionCall(msgspec.Struct):
    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int = 0


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Body(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] = msgspec.field(default_factory=list)
    prompt_feedback: _Feedback | None = None
    usage_metadata: msgspec.Raw = msgspec.Raw()
    model_version: str | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Tokens(msgspec.Struct, rename="camel"):
    prompt_token_count: int
    candidates_token_count: int = 0
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int = 0


_bodies = msgspec.json.Decoder(_Body)
_tokens = msgspec.json.Decoder(_Tokens)

_FILTERED: Final = (
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
)
_REASONS: Final = {
    "STOP": StopReason.STOP,
    "MAX_TOKENS": StopReason.LENGTH,
    **dict.fromkeys(_FILTERED, StopReason.CONTENT_FILTER),
}
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"text": part.text}
    if part.data is not None:
        return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
    if part.url is None:
        raise refused("an image has neither a URL nor data; give one of them")
    if not part.url.startswith(_FETCHED):
        raise refused(
            f"Gemini fetches no images from elsewhere ({part.url[:100]!r}); give the image's data in base64"
        )
    return {"fileData": {"mimeType": part.media_type, "fileUri": part.url}}


def _parts(message: Message) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"text": message.content}] if message.content or not message.tool_calls else []
    return [_part(part) for part in message.content]


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except BAD_JSON as exc:
        raise refused(
            f"the arguments of tool call {call.id!r} are no JSON ({exc}); Gemini takes an object"
        ) from exc
    if not isinstance(arguments, dict):
        raise refused(f"the arguments of tool call {call.id!r} are no JSON object; Gemini takes nothing else")
    part: dict[str, Any] = {"functionCall": {"name": call.name, "args": arguments}}
    if call.signature is not None:
        part["thoughtSignature"] = call.signature
    return part


def _result(message: Message, names: dict[str, str]) -> dict[str, Any]:
    """A tool's answer, which this vendor knows by the tool's name; text that is no object becomes one."""
    name = names.get(message.tool_call_id or "")
    if name is None:
        raise refused(
            f"a tool's message answers call {message.tool_call_id!r}, which no message before it makes; "
            "keep the assistant's message with the call"
        )
    parts = message.content if isinstance(message.content, tuple) else (TextPart(message.content),)
    if any(isinstance(part, ImagePart) for part in parts):
        raise refused("Gemini takes no images from a tool; put them into a user's message")
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    try:
        found = msgspec.json.decode(text)
    except BAD_JSON:
        found = text
    return {
        "functionResponse": {
            "name": name,
            "response": found if isinstance(found, dict) else {"result": found},
        }
    }


def _contents(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """The conversation; the results of several tools are one turn."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    contents: list[dict[str, Any]] = []
    for is_tool, group in groupby(messages, lambda message: message.role == "tool"):
        if is_tool:
            contents.append({"role": "user", "parts": [_result(message, names) for message in group]})
            continue
        for message in group:
            role = "model" if message.role == "assistant" else "user"
            parts = _parts(message) + [_call(call) for call in message.tool_calls]
            contents.append({"role": role, "parts": parts})
    return contents


def _system(messages: tuple[Message, ...]) -> tuple[dict[str, Any], tuple[Message, ...]]:
    """The system's words, which stand apart, and the rest."""
    count = next((place for place, m in enumerate(messages) if m.role != "system"), len(messages))
    leading, rest = messages[:count], messages[count:]
    if any(message.role == "system" for message in rest):
        raise refused("Gemini takes system messages only before the conversation; move them to its beginning")
    parts = [part for message in leading for part in _parts(message)]
    return ({"systemInstruction": {"parts": parts}} if parts else {}), rest


def _tools(request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if request.tools:
        declared = [
            {"name": tool.name, "parametersJsonSchema": dict(tool.parameters)}
            | ({} if tool.description is None else {"description": tool.description})
            for tool in request.tools
        ]
        body["tools"] = [{"functionDeclarations": declared}]
    if isinstance(request.tool_choice, NamedTool):
        calling = {"mode": "ANY", "allowedFunctionNames": [request.tool_choice.name]}
        body["toolConfig"] = {"functionCallingConfig": calling}
    elif request.tool_choice is not None:
        body["toolConfig"] = {"functionCallingConfig": {"mode": _MODES[request.tool_choice]}}
    return body


def _generation(request: ChatRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "maxOutputTokens": request.max_tokens,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed,
        "candidateCount": request.n if request.n > 1 else None,
    }
    if request.output != "text":
        fields["responseMimeType"] = "application/json"
    if isinstance(request.output, JsonSchema):
        fields["responseJsonSchema"] = dict(request.output.schema)
    given = {name: value for name, value in request.parameters.items() if name not in _BESIDE}
    return given | {name: value for name, value in fields.items() if value is not None}


def body(request: ChatRequest) -> dict[str, Any]:
    """The body of a call.

    Raises:
        ProviderError: something Gemini has no words for.
    """
    request = lifted(request)
    if request.n > 1 and request.stream:
        raise refused("several samples are not streamed; ask for them without a stream, or one by one")
    if request.n > MOST_SAMPLES:
        raise refused(f"Gemini gives {MOST_SAMPLES} samples a call and n is {request.n}; call again for more")
    system, messages = _system(request.messages)
    beside = {name: value for name, value in request.parameters.items() if name in _BESIDE}
    generation = _generation(request)
    return {
        "contents": _contents(messages),
        **system,
        **beside,
        **_tools(request),
        **({"generationConfig": generation} if generation else {}),
    }


def _usage(raw: bytes) -> Usage | None:
    """Ours counts thoughts among the output; theirs counts them apart."""
    if raw in ABSENT:
        return None
    try:
        tokens = _tokens.decode(raw)
    except BAD_JSON:
        return None
    thoughts = tokens.thoughts_token_count
    if min(tokens.candidates_token_count, tokens.tool_use_prompt_token_count, thoughts or 0) < 0:
        return None
    return believable(
        tokens.prompt_token_count + tokens.tool_use_prompt_token_count,
        tokens.candidates_token_count + (thoughts or 0),
        tokens.cached_content_token_count,
        thoughts,
    )


def _words(parts: list[_Part]) -> str:
    return storable("".join(part.text or "" for part in parts if not part.thought))


def _calls(parts: list[_Part], first: int = 0) -> tuple[ToolCall, ...]:
    """The tool calls; those the vendor did not number are numbered from `first`."""
    return tuple(
        ToolCall(
            storable(part.function_call.id or f"call_{place}"),
            storable(part.function_call.name),
            _arguments(part.function_call),
            part.thought_signature,
        )
        for place, part in enumerate((p for p in parts if p.function_call is not None), first)
        if part.function_call is not None and part.function_call.name
    )


def _arguments(call: _FunctionCall) -> str:
    raw = bytes(call.args)
    return "{}" if raw in ABSENT else storable(raw.decode("utf-8", "replace"))


def _reason(word: str | None, *, called: bool) -> StopReason | None:
    if word is None:
        return None
    reason = _REASONS.get(word, StopReason.OTHER)
    return StopReason.TOOL_CALLS if called and reason is StopReason.STOP else reason


def _sample(candidate: _Candidate) -> Sample:
    parts = (candidate.content.parts if candidate.content else None) or []
    calls, word = _calls(parts), candidate.finish_reason
    return Sample(
        _words(parts), _reason(word, called=bool(calls)), calls, None if word is None else storable(word)
    )


def _read(account: Account, raw: bytes, what: str) -> _Body:
    try:
        answer = _bodies.decode(raw)
    except BAD_JSON as exc:
        raise malformed(account, f"{what} cannot be read ({exc})", raw) from None
    if bytes(answer.error) not in ABSENT:
        raise told(account, bytes(answer.error))
    return answer


def _blocked(answer: _Body) -> str | None:
    """Why the prompt was not taken, in the vendor's word; None when it was."""
    return answer.prompt_feedback.block_reason if answer.prompt_feedback else None


def decode(account: Account, request: ChatRequest, body: bytes, latency: float) -> ChatResponse:
    """A successful answer that came in one piece. A blocked prompt is an answer without words, refused.

    Raises:
        ProviderError: it holds no answer, or an error in spite of its status.
    """
    answer = _read(account, body, "the answer")
    samples = [_sample(candidate) for candidate in answer.candidates[: request.n]]
    if not samples:
        blocked = _blocked(answer)
        if blocked is None:
            raise malformed(account, "the answer has no candidates", body)
        samples = [Sample("", StopReason.CONTENT_FILTER, vendor_reason=storable(blocked))]
    first, *further = samples
    return ChatResponse(
        text=first.text,
        finish_reason=first.finish_reason,
        model=storable(answer.model_version or request.model),
        usage=_usage(bytes(answer.usage_metadata)),
        latency=latency,
        first_token=None,
        tool_calls=first.tool_calls,
        vendor_reason=first.vendor_reason,
        further=tuple(further),
    )


class AnswerReader:
    """A streamed answer; it has no end mark, so it is complete when the body ends after a finish reason."""

    def __init__(self, account: Account, request: ChatRequest) -> None:
        self._account = account
        self._model = request.model
        self._reason: str | None = None
        self._blocked: str | None = None
        self._calls = 0

    def take(self, data: bytes) -> list[StreamEvent]:
        """See `StreamDecoder.take`."""
        answer = _read(self._account, data, "an event of the stream")
        self._model = answer.model_version or self._model
        self._blocked = _blocked(answer) or self._blocked
        events: list[StreamEvent] = []
        for candidate in answer.candidates:
            if candidate.index == 0:
                self._reason = candidate.finish_reason or self._reason
                self._add((candidate.content.parts if candidate.content else None) or [], events)
        usage = _usage(bytes(answer.usage_metadata))
        if usage is not None:
            events.append(UsageUpdate(usage))
        return events

    def _add(self, parts: list[_Part], events: list[StreamEvent]) -> None:
        if words := _words(parts):
            events.append(TextDelta(words))
        for call in _calls(parts, self._calls):
            events.append(ToolCallDelta(self._calls, call.id, call.name, call.arguments, call.signature))
            self._calls += 1

    def finish(self) -> list[StreamEvent]:
        """See `StreamDecoder.finish`."""
        model = storable(self._model)
        if self._reason is None and self._blocked is not None:
            return [StreamEnd(StopReason.CONTENT_FILTER, storable(self._blocked), model)]
        reason = _reason(self._reason, called=self._calls > 0)
        if reason is None or self._reason is None:
            raise incomplete(self._account, "it closed without a finishReason")
        return [StreamEnd(reason, storable(self._reason), model)]
