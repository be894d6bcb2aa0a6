"""Google's generateContent: one document, or the same document piece by piece as events. Pure."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tiebreak.mockprovider import tokens
from tiebreak.mockprovider.conversation import (
    Asked,
    Limit,
    Reply,
    Said,
    Samples,
    Timed,
    Tool,
    Usage,
    pieces,
    spread,
)
from tiebreak.mockprovider.dialects import reading

_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "refusal": "SAFETY"}
_CHOICE: dict[str, Literal["auto", "none", "required"]] = {"ANY": "required", "NONE": "none"}


class FunctionResponse(Struct):
    """A tool's answer."""

    name: str
    response: Any = None


class Part(Struct, rename="camel"):
    """A part of a turn; only text and tools' answers are read, images and files are accepted."""

    text: str | None = None
    function_response: FunctionResponse | None = None


class Content(Struct):
    """One turn."""

    parts: list[Part] = []
    role: str = "user"

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(part.text or "" for part in self.parts)

    @property
    def results(self) -> tuple[str, ...]:
        """The tools' answers in it, as JSON."""
        said = [part.function_response for part in self.parts if part.function_response]
        return tuple(msgspec.json.encode(answer.response).decode() for answer in said)


class Declaration(Struct):
    """A function with its schema in any of the keys that the vendor knows; its SDK writes the last."""

    name: str
    parameters: Any = None
    parametersJsonSchema: Any = None  # noqa: N815  (the vendor takes both spellings)
    parameters_json_schema: Any = None

    @property
    def tool(self) -> Tool:
        """The tool it is."""
        return Tool(self.name, self.parametersJsonSchema or self.parameters_json_schema or self.parameters)


class ToolEntry(Struct, rename="camel"):
    """Functions; tools that the vendor itself runs are ignored."""

    function_declarations: list[Declaration] = []


class CallingConfig(Struct, rename="camel"):
    """Whether tools may or must be called."""

    mode: str = "AUTO"
    allowed_function_names: list[str] = []


class ToolConfig(Struct, rename="camel"):
    """How tools are used."""

    function_calling_config: CallingConfig | None = None


class GenerationConfig(Struct, rename="camel"):
    """How the answer is to be."""

    max_output_tokens: Limit | None = None
    stop_sequences: list[str] | None = None
    candidate_count: Samples | None = None
    response_mime_type: str | None = None
    response_schema: Any = None
    response_json_schema: Any = None


class GenerateRequest(Struct, rename="camel"):
    """The fields that the mock heeds."""

    contents: Annotated[list[Content], Meta(min_length=1)]
    system_instruction: Content | None = None
    tools: list[ToolEntry] | None = None
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None


_decoder = msgspec.json.Decoder(GenerateRequest)
_encode = msgspec.json.Encoder().encode


def decode(body: bytes, model: str | None, stream: bool) -> Asked:
    """The request; model and streaming are words of the path here."""
    request = reading.decode(_decoder, body)
    config = request.generation_config or GenerationConfig()
    calling = (
        request.tool_config.function_calling_config if request.tool_config else None
    ) or CallingConfig()
    turns = [*request.contents, *([request.system_instruction] if request.system_instruction else [])]
    return Asked(
        model=model or "",
        question=reading.last([turn.text for turn in request.contents if turn.role == "user"]),
        tokens=sum(tokens.count(text) for turn in turns for text in (turn.text, *turn.results)),
        stream=stream,
        limit=config.max_output_tokens,
        samples=config.candidate_count or 1,
        stop=reading.stops(config.stop_sequences),
        tools=tuple(each.tool for entry in request.tools or () for each in entry.function_declarations),
        choice=_CHOICE.get(calling.mode, "auto"),
        named=calling.allowed_function_names[0] if calling.allowed_function_names else None,
        results=request.contents[-1].results,
        shape=_shape(config),
    )


def _shape(config: GenerationConfig) -> Any:
    if config.response_mime_type != "application/json":
        return None
    return config.response_json_schema or config.response_schema or {}


def document(asked: Asked, said: Said) -> bytes:
    """The whole answer as one document."""
    candidates = [_candidate(index, _parts(reply), reply) for index, reply in enumerate(said.replies)]
    return _encode(_body(asked, said, candidates))


def events(asked: Asked, said: Said) -> list[Timed]:
    """Partial documents; the last of each candidate says how it ended and counts the tokens."""
    timed: list[Timed] = []
    for index, reply in enumerate(said.replies):
        partial = _parts(reply) if reply.tool_calls else [{"text": piece} for piece in pieces(reply.text)]
        said_parts = [] if reply.finish_reason == "refusal" else partial
        for at, part in spread(reply, said_parts):
            timed.append((at, _event(_body(asked, said, [_candidate(index, [part], None)]))))
        last = [] if reply.finish_reason == "refusal" else [{"text": ""}]
        timed.append((reply.seconds, _event(_body(asked, said, [_candidate(index, last, reply)]))))
    return sorted(timed, key=lambda each: each[0])


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + _encode(body) + b"\r\n\r\n"


def _parts(reply: Reply) -> list[dict[str, Any]]:
    if reply.finish_reason == "refusal":
        return []
    if reply.tool_calls:
        calls = [(call.name, msgspec.json.decode(call.arguments)) for call in reply.tool_calls]
        return [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls]
    return [{"text": reply.text}]


def _candidate(index: int, parts: list[dict[str, Any]], ended: Reply | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": index}
    if parts:
        candidate["content"] = {"parts": parts, "role": "model"}
    if ended is not None:
        candidate["finishReason"] = _FINISH[ended.finish_reason]
    return candidate


def _body(asked: Asked, said: Said, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    body: dict[str, Any] = {"candidates": candidates}
    if said.usage:
        body["usageMetadata"] = _usage(said.usage)
    return body | {"modelVersion": asked.model, "responseId": f"mock-{said.number}"}


def _usage(usage: Usage) -> dict[str, int]:
    """This vendor counts thoughts apart from the rest of the answer."""
    counted = {
        "promptTokenCount": usage.asked,
        "candidatesTokenCount": usage.answered - usage.reasoning,
        "totalTokenCount": usage.total,
    }
    cached = {"cachedContentTokenCount": usage.cached} if usage.cached else {}
    thoughts = {"thoughtsTokenCount": usage.reasoning} if usage.reasoning else {}
    return counted | cached | thoughts
