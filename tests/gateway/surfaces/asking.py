"""Requests on a surface, and answers read by the vendors' own SDKs, in one line each."""

import json
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as AnthropicMessage
from anthropic.types import RawMessageStreamEvent
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tiebreak.gateway.fields import Fields, read_fields
from tiebreak.gateway.surfaces.writing import Question
from tiebreak.providers.adapters.events import EventReader
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    Message,
    StopReason,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

ASK = ChatRequest("asked", (Message("user", "2 + 2?"),), {})
QUESTION = Question("r1", 1_700_000_000, ASK, includes_usage=True)
RESPONSE_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
MESSAGE_EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
USAGE = Usage(20, 9, 4, 5)
EVENTS = [
    TextDelta("fo"),
    TextDelta("ur"),
    ToolCallDelta(0, "c1", "weather", ""),
    ToolCallDelta(0, arguments='{"city":'),
    ToolCallDelta(0, arguments='"Paris"}'),
    ToolCallDelta(1, "c2", "time", "{}"),
    UsageUpdate(USAGE),
    StreamEnd(StopReason.TOOL_CALLS, "tool_calls", "answering"),
]


def fields(**body: Any) -> Fields:
    return read_fields(json.dumps({"model": "tests/a"} | body).encode())


def written(surface, events: list[StreamEvent], question: Question = QUESTION) -> bytes:
    writer = surface.writer(question)
    return b"".join(writer.feed(event) for event in events)


def datas(stream: bytes) -> list[Any]:
    """The data of a stream's events; each frame is named by its type, where the dialect names them."""
    reader = EventReader()
    events = [data for piece in (stream[:7], stream[7:]) for data in reader.feed(piece)]
    assert reader.finish() == []  # every frame has its end
    return [data if data == b"[DONE]" else json.loads(data) for data in events]


def named(stream: bytes) -> list[dict[str, Any]]:
    events = datas(stream)
    frames = stream.split(b"\n\n")[:-1]
    assert [frame.partition(b"\n")[0] for frame in frames] == [f"event: {e['type']}".encode() for e in events]
    return events


def chat_completion(stream: bytes):
    """What OpenAI's SDK adds the chunks of a chat up to."""
    *chunks, done = datas(stream)
    assert done == b"[DONE]"
    state = ChatCompletionStreamState()
    for chunk in chunks:
        list(state.handle_chunk(ChatCompletionChunk.model_validate(chunk)))
    return state.current_completion_snapshot


def response(stream: bytes) -> Response:
    """The last event's response, after every event was found to be of its type, numbered, and in agreement with the last."""
    events = [RESPONSE_EVENTS.validate_python(event) for event in named(stream)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    whole = events[-1].response
    assert isinstance(whole, Response)
    done = {e.output_index: e.item for e in events if e.type == "response.output_item.done"}
    if whole.status != "failed":
        assert [done[place] for place in range(len(done))] == whole.output
        added = [e.output_index for e in events if e.type == "response.output_item.added"]
        assert added == list(range(len(whole.output)))
        for place, item in enumerate(whole.output):
            pieces = "".join(e.delta for e in events if e.type.endswith(".delta") and e.output_index == place)
            if item.type == "message":
                assert pieces == "".join(getattr(p, "text", None) or p.refusal for p in item.content)
            elif item.type == "function_call":
                assert pieces == item.arguments
    return whole


def message(stream: bytes) -> AnthropicMessage:
    """What Anthropic's SDK adds the events of a message up to; one block is open at a time."""
    events = named(stream)
    snapshot, buffers, is_open = None, {}, None
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert is_open is None
                is_open = event["index"]
            case "content_block_delta":
                assert event["index"] == is_open
            case "content_block_stop":
                assert event["index"] == is_open
                is_open = None
        snapshot = accumulate_event(
            event=MESSAGE_EVENTS.validate_python(event), current_snapshot=snapshot, json_bufs=buffers
        )
    assert events[-1]["type"] == "message_stop"
    assert snapshot is not None
    return AnthropicMessage.model_validate(snapshot.model_dump())


def answered(text="four", reason=StopReason.STOP, **more) -> ChatResponse:
    return ChatResponse(text, reason, "answering", USAGE, 0.1, None, **more)
