"""The vendors' own SDK types as judges of the wire: they parse what we send, and write what we must understand."""

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_type_hints

from anthropic.types import Message as AnthropicMessage
from anthropic.types import RawMessageStreamEvent
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from google.genai import types as google
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python


@dataclass(frozen=True)
class Said:
    """A vendor's answer, in words that every one of them has."""

    text: str = ""
    ending: str = "stop"  # or length, tool_calls, content_filter
    calls: tuple[tuple[str, str, str], ...] = ()  # call_id, name, arguments
    tokens: tuple[int, int, int, int] = (
        20,
        9,
        4,
        5,
    )  # input with cached, output with reasoning, cached, reasoning
    refusal: str = ""
    more: tuple[str, ...] = field(default=())  # further samples


def typed(kind: Any, body: dict[str, Any], beyond: frozenset[str] = frozenset()) -> None:
    """The body is of the SDK's request type, lazily checked parts included, and holds nothing the type does not."""
    judge = TypeAdapter(kind)  # kept by name while its lazy iterators are walked
    to_jsonable_python(judge.validate_python(body))
    assert body.keys() <= get_type_hints(kind).keys() | beyond


def event(data: Any, name: str | None = None) -> bytes:
    head = b"" if name is None else f"event: {name}\n".encode()
    return head + b"data: " + json.dumps(data).encode() + b"\n\n"


def dumped(value: Any) -> dict[str, Any]:
    return value.model_dump(mode="json", exclude_none=True, by_alias=True)


def halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


class Chat:
    """Chat completions, at OpenAI itself and at those who speak like it."""

    key = ("authorization", "Bearer ")
    base = "/v1"
    path = "/v1/chat/completions"
    stream_path = path
    errors: ClassVar[dict[str, Any]] = {
        "error": {"message": "because", "type": "invalid_request_error", "param": None, "code": None}
    }

    def judge(self, body: dict[str, Any]) -> None:
        typed(
            CompletionCreateParamsStreaming if body.get("stream") else CompletionCreateParamsNonStreaming,
            body,
        )

    def judge_embeddings(self, body: dict[str, Any]) -> None:
        typed(EmbeddingCreateParams, body)

    def _usage(self, said: Said) -> dict[str, Any]:
        given, made, cached, reasoned = said.tokens
        return {
            "prompt_tokens": given,
            "completion_tokens": made,
            "total_tokens": given + made,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoned},
        }

    def plain(self, said: Said) -> bytes:
        def choice(index: int, text: str) -> dict[str, Any]:
            calls = [
                {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for call_id, name, arguments in said.calls
            ]
            message = {"role": "assistant", "content": text or None, "refusal": said.refusal or None}
            if calls:
                message["tool_calls"] = calls
            return {"index": index, "message": message, "finish_reason": said.ending, "logprobs": None}

        answer = ChatCompletion.model_validate(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "answering",
                "choices": [choice(i, text) for i, text in enumerate((said.text, *said.more))],
                "usage": self._usage(said),
            }
        )
        return json.dumps(answer.model_dump(mode="json")).encode()

    def streamed(self, said: Said) -> list[bytes]:
        def chunk(delta: dict[str, Any], ending: str | None = None, **more: Any) -> bytes:
            base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "answering"}
            choices = [{"index": 0, "delta": delta, "finish_reason": ending}]
            made = ChatCompletionChunk.model_validate({**base, "choices": choices, **more})
            return event(made.model_dump(mode="json"))

        pieces = [chunk({"role": "assistant", "content": ""})]
        pieces += [chunk({"content": piece}) for piece in halves(said.text)]
        pieces += [chunk({"refusal": piece}) for piece in halves(said.refusal)]
        for place, (call_id, name, arguments) in enumerate(said.calls):
            opening = {
                "index": place,
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
            pieces.append(chunk({"tool_calls": [opening]}))
            pieces += [
                chunk({"tool_calls": [{"index": place, "function": {"arguments": piece}}]})
                for piece in halves(arguments)
            ]
        pieces.append(chunk({}, said.ending))
        pieces.append(chunk({}, choices=[], usage=self._usage(said)))
        return [*pieces, b"data: [DONE]\n\n"]

    def vectors(self, rows: list[list[float]]) -> bytes:
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
        usage = {"prompt_tokens": 6, "total_tokens": 6}
        answer = CreateEmbeddingResponse.model_validate(
            {"object": "list", "model": "answering", "data": data[::-1], "usage": usage}
        )
        return answer.model_dump_json().encode()

    def models(self) -> bytes:
        return json.dumps({"object": "list", "data": [{"id": "b"}, {"id": "a"}]}).encode()


class Azure(Chat):
    key = ("api-key", "")
    base = ""
    path = "/openai/deployments/asked/chat/completions?api-version=2024-10-21"
    stream_path = path


class Responses(Chat):
    path = "/v1/responses"
    stream_path = path

    def judge(self, body: dict[str, Any]) -> None:
        typed(ResponseCreateParamsStreaming if body.get("stream") else ResponseCreateParamsNonStreaming, body)

    def _answer(self, said: Said) -> dict[str, Any]:
        given, made, cached, reasoned = said.tokens
        why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(said.ending)
        if said.refusal:
            why = None
        content = [{"type": "output_text", "text": said.text, "annotations": []}] if said.text else []
        content += [{"type": "refusal", "refusal": said.refusal}] if said.refusal else []
        output: list[dict[str, Any]] = [{"id": "r", "type": "reasoning", "summary": []}]
        if content:
            message = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
            output.append({**message, "content": content})
        output += [
            {
                "id": f"fc_{call_id}",
                "type": "function_call",
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
            }
            for call_id, name, arguments in said.calls
        ]
        answer = Response.model_validate(
            {
                "id": "resp_1",
                "object": "response",
                "created_at": 1,
                "model": "answering",
                "status": "incomplete" if why else "completed",
                "incomplete_details": {"reason": why} if why else None,
                "error": None,
                "output": output,
                "tools": [],
                "tool_choice": "auto",
                "parallel_tool_calls": True,
                "usage": {
                    "input_tokens": given,
                    "output_tokens": made,
                    "total_tokens": given + made,
                    "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
                    "output_tokens_details": {"reasoning_tokens": reasoned},
                },
            }
        )
        return answer.model_dump(mode="json")

    def plain(self, said: Said) -> bytes:
        return json.dumps(self._answer(said)).encode()

    def streamed(self, said: Said) -> list[bytes]:
        judge: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
        numbered: list[bytes] = []

        def add(kind: str, **more: Any) -> None:
            made = judge.validate_python({"type": kind, "sequence_number": len(numbered), **more})
            numbered.append(event(made.model_dump(mode="json"), kind))

        whole = self._answer(said)
        add("response.created", response={**whole, "output": [], "status": "in_progress", "usage": None})
        place = {"output_index": 1, "content_index": 0, "item_id": "m"}
        for piece in halves(said.text):
            add("response.output_text.delta", delta=piece, logprobs=[], **place)
        for piece in halves(said.refusal):
            add("response.refusal.delta", delta=piece, **place)
        for at, item in enumerate(whole["output"]):
            if item["type"] == "function_call":
                add("response.output_item.added", output_index=at, item={**item, "arguments": ""})
                for piece in halves(item["arguments"]):
                    add("response.function_call_arguments.delta", output_index=at, item_id="f", delta=piece)
            else:
                add("response.output_item.added", output_index=at, item=item)
        add(f"response.{whole['status']}", response=whole)
        return numbered


class Anthropic:
    key = ("x-api-key", "")
    base = ""
    path = "/v1/messages"
    stream_path = path
    errors: ClassVar[dict[str, Any]] = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "because"},
        "request_id": "r",
    }
    _reasons: ClassVar[dict[str, str]] = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
    }

    def judge(self, body: dict[str, Any]) -> None:
        # The SDK's second major version left these two out of its types; the API takes them from the models before.
        beyond = frozenset({"temperature", "top_p"})
        typed(
            MessageCreateParamsStreaming if body.get("stream") else MessageCreateParamsNonStreaming,
            body,
            beyond,
        )

    def _usage(self, said: Said) -> dict[str, Any]:
        given, made, cached, reasoned = said.tokens
        return {
            "input_tokens": given - cached - 3,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 3,
            "output_tokens": made,
            "output_tokens_details": {"thinking_tokens": reasoned},
        }

    def _message(self, said: Said, content: list[dict[str, Any]], ending: str | None) -> dict[str, Any]:
        made = AnthropicMessage.model_validate(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "answering",
                "content": content,
                "stop_reason": ending,
                "stop_sequence": None,
                "usage": self._usage(said),
            }
        )
        return made.model_dump(mode="json")

    def plain(self, said: Said) -> bytes:
        text = said.text or said.refusal
        content: list[dict[str, Any]] = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
        content += [{"type": "text", "text": text}] if text else []
        content += [
            {"type": "tool_use", "id": call_id, "name": name, "input": json.loads(arguments)}
            for call_id, name, arguments in said.calls
        ]
        return json.dumps(self._message(said, content, self._reasons[said.ending])).encode()

    def streamed(self, said: Said) -> list[bytes]:
        judge: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

        def add(kind: str, **more: Any) -> bytes:
            made = judge.validate_python({"type": kind, **more})
            return event(made.model_dump(mode="json"), kind)

        pieces = [
            add("message_start", message=self._message(said, [], None)),
            b'event: ping\ndata: {"type": "ping"}\n\n',
        ]
        thought = {"type": "thinking", "thinking": "", "signature": ""}
        pieces.append(add("content_block_start", index=0, content_block=thought))
        pieces.append(add("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"}))
        pieces.append(add("content_block_stop", index=0))
        block = {"type": "text", "text": "", "citations": None}
        pieces.append(add("content_block_start", index=1, content_block=block))
        pieces += [
            add("content_block_delta", index=1, delta={"type": "text_delta", "text": piece})
            for piece in halves(said.text or said.refusal)
        ]
        pieces.append(add("content_block_stop", index=1))
        for place, (call_id, name, arguments) in enumerate(said.calls, 2):
            block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
            pieces.append(add("content_block_start", index=place, content_block=block))
            for piece in halves(arguments):
                delta = {"type": "input_json_delta", "partial_json": piece}
                pieces.append(add("content_block_delta", index=place, delta=delta))
            pieces.append(add("content_block_stop", index=place))
        ending = {"stop_reason": self._reasons[said.ending], "stop_sequence": None}
        pieces.append(add("message_delta", delta=ending, usage=self._usage(said)))
        return [*pieces, add("message_stop")]

    def models(self) -> bytes:
        return json.dumps({"data": [{"type": "model", "id": "b"}, {"id": "a"}], "has_more": False}).encode()


class Gemini:
    key = ("x-goog-api-key", "")
    base = ""
    path = "/v1beta/models/asked:generateContent"
    stream_path = "/v1beta/models/asked:streamGenerateContent?alt=sse"
    errors: ClassVar[dict[str, Any]] = {
        "error": {"code": 400, "message": "because", "status": "INVALID_ARGUMENT"}
    }
    _reasons: ClassVar[dict[str, str]] = {
        "stop": "STOP",
        "length": "MAX_TOKENS",
        "tool_calls": "STOP",
        "content_filter": "SAFETY",
    }

    def judge(self, body: dict[str, Any]) -> None:
        known = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings"}
        assert body.keys() <= known
        for content in body["contents"]:
            google.Content.model_validate(content)
        google.Content.model_validate(body.get("systemInstruction", {}))
        for tool in body.get("tools", ()):
            google.Tool.model_validate(tool)
        google.ToolConfig.model_validate(body.get("toolConfig", {}))
        google.GenerationConfig.model_validate(body.get("generationConfig", {}))

    def judge_embeddings(self, body: dict[str, Any]) -> None:
        for call in body["requests"]:
            assert call.keys() == {"model", "content", "outputDimensionality"}
            google.Content.model_validate(call["content"])

    def _answer(self, said: Said, parts: list[dict[str, Any]], ending: str | None) -> dict[str, Any]:
        given, made, cached, reasoned = said.tokens
        first = {"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": ending}
        more = [
            {"index": i, "content": {"role": "model", "parts": [{"text": text}]}, "finishReason": ending}
            for i, text in enumerate(said.more, 1)
        ]
        answer = google.GenerateContentResponse.model_validate(
            {
                "candidates": [first, *more],
                "modelVersion": "answering",
                "usageMetadata": {
                    "promptTokenCount": given,
                    "candidatesTokenCount": made - reasoned,
                    "thoughtsTokenCount": reasoned,
                    "cachedContentTokenCount": cached,
                    "totalTokenCount": given + made,
                },
            }
        )
        return dumped(answer)

    def _call(self, call: tuple[str, str, str]) -> dict[str, Any]:
        call_id, name, arguments = call
        return {"functionCall": {"id": call_id, "name": name, "args": json.loads(arguments)}}

    def plain(self, said: Said) -> bytes:
        text = said.text or said.refusal
        parts = [{"text": "hm", "thought": True}, *([{"text": text}] if text else [])]
        parts += [self._call(call) for call in said.calls]
        return json.dumps(self._answer(said, parts, self._reasons[said.ending])).encode()

    def streamed(self, said: Said) -> list[bytes]:
        pieces = [[{"text": "hm", "thought": True}]]
        pieces += [[{"text": piece}] for piece in halves(said.text or said.refusal)]
        pieces += [[self._call(call)] for call in said.calls]
        answers = [self._answer(said, parts, None) for parts in pieces]
        answers.append(self._answer(said, [{"text": ""}], self._reasons[said.ending]))
        return [event(answer) for answer in answers]

    def vectors(self, rows: list[list[float]]) -> bytes:
        made = google.EmbedContentResponse.model_validate({"embeddings": [{"values": row} for row in rows]})
        return json.dumps(dumped(made)).encode()

    def models(self) -> bytes:
        return json.dumps({"models": [{"name": "models/b"}, {"name": "models/a"}]}).encode()


VENDORS: dict[str, Any] = {
    "openai_compatible": Chat(),
    "openai": Chat(),
    "openai_responses": Responses(),
    "anthropic": Anthropic(),
    "gemini": Gemini(),
    "azure_openai": Azure(),
}
