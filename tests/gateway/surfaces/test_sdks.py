"""The vendors' own clients over HTTP: what they send is understood, and what they are sent they understand."""

import anthropic
import openai
import pytest
from tests.gateway.surfaces.asking import EVENTS, QUESTION, SCHEMA, answered, written
from tests.upstream import http, streamed, upstream

from tiebreak.errors import TiebreakError, Unavailable
from tiebreak.gateway.fields import read_fields
from tiebreak.gateway.surfaces import embeddings, models
from tiebreak.gateway.surfaces.surface import CHATS, Surface
from tiebreak.providers.model import (
    EmbeddingResponse,
    Failure,
    Message,
    ProviderError,
    StopReason,
    TextDelta,
    Tool,
    ToolCall,
    Usage,
)

CHAT, RESPONSES, MESSAGES = (CHATS[f"/v1/{path}"] for path in ("chat/completions", "responses", "messages"))
CALLED = answered("", StopReason.TOOL_CALLS, tool_calls=(ToolCall("c1", "weather", '{"city":"Paris"}'),))


def openai_at(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="k", base_url=url + "/v1", max_retries=2, timeout=5)


def anthropic_at(url: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=2, timeout=5)


def refused(surface: Surface, error: TiebreakError) -> bytes:
    said = surface.failed(error, "r1")
    headers = {name.decode().replace("-", "_"): value.decode() for name, value in said.headers}
    headers.pop("content_type")
    return http(said.body, said.status, **headers)


def pieces(stream: bytes) -> list[bytes]:
    return [stream[place : place + 37] for place in range(0, len(stream), 37)]


async def test_openais_client_chats_with_tools():
    tool = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}}
    said = [{"role": "user", "content": "Weather?"}]
    async with upstream(http(CHAT.answer(CALLED, QUESTION))) as server, openai_at(server.url) as client:
        read = await client.chat.completions.create(model="tests/a", messages=said, tools=[tool])
        asked = CHAT.to_neutral(read_fields(server.received[0].body))
    assert asked.messages == (Message("user", "Weather?"),)
    assert asked.tools == (Tool("weather", SCHEMA),)
    assert read.choices[0].message.tool_calls[0].function.name == "weather"


async def test_openais_client_reads_a_streamed_chat():
    answer = streamed(*pieces(written(CHAT, EVENTS)))
    said = [{"role": "user", "content": "Weather?"}]
    async with upstream(answer) as server, openai_at(server.url) as client:
        options = {"include_usage": True}
        async with client.chat.completions.stream(
            model="tests/a", messages=said, stream_options=options
        ) as stream:
            async for _ in stream:
                pass
            read = await stream.get_final_completion()
        fields = read_fields(server.received[0].body)
        assert CHAT.to_neutral(fields).stream
        assert fields.includes_usage
    assert read.choices[0].message.content == "four"
    assert [c.function.arguments for c in read.choices[0].message.tool_calls] == ['{"city":"Paris"}', "{}"]
    assert read.usage.total_tokens == 29


async def test_openais_client_reads_responses_whole_and_streamed():
    tool = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}
    script = (http(RESPONSES.answer(CALLED, QUESTION)), streamed(*pieces(written(RESPONSES, EVENTS))))
    async with upstream(*script) as server, openai_at(server.url) as client:
        whole = await client.responses.create(model="tests/a", input="Weather?", tools=[tool])
        async with client.responses.stream(model="tests/a", input="Weather?", tools=[tool]) as stream:
            async for _ in stream:
                pass
            read = await stream.get_final_response()
        asked = [RESPONSES.to_neutral(read_fields(request.body)) for request in server.received]
    assert [request.stream for request in asked] == [False, True]
    assert asked[0].tools == (Tool("weather", SCHEMA),)
    assert whole.output[0].arguments == '{"city":"Paris"}'
    assert (read.output_text, [item.type for item in read.output]) == (
        "four",
        ["message", "function_call", "function_call"],
    )


async def test_a_response_that_fails_in_its_stream_is_read_as_failed():
    writer = RESPONSES.writer(QUESTION)
    body = writer.feed(TextDelta("fo")) + writer.error(ProviderError(Failure.SERVER_ERROR, "broke off"))
    async with upstream(streamed(body)) as server, openai_at(server.url) as client:
        events = [event async for event in await client.responses.create(model="a", input="b", stream=True)]
    assert (events[-1].type, events[-1].response.error.message) == ("response.failed", "broke off")


async def test_anthropics_client_reads_messages_whole_and_streamed():
    tool = {"name": "weather", "input_schema": SCHEMA}
    said = [{"role": "user", "content": "Weather?"}]
    script = (http(MESSAGES.answer(CALLED, QUESTION)), streamed(*pieces(written(MESSAGES, EVENTS))))
    async with upstream(*script) as server, anthropic_at(server.url) as client:
        whole = await client.messages.create(model="tests/a", max_tokens=9, messages=said, tools=[tool])
        async with client.messages.stream(
            model="tests/a", max_tokens=9, messages=said, tools=[tool]
        ) as stream:
            async for _ in stream:
                pass
            read = await stream.get_final_message()
        asked = [MESSAGES.to_neutral(read_fields(request.body)) for request in server.received]
    assert [request.stream for request in asked] == [False, True]
    assert asked[0].tools == (Tool("weather", SCHEMA),)
    assert (whole.content[0].input, whole.stop_reason) == ({"city": "Paris"}, "tool_use")
    assert [block.type for block in read.content] == ["text", "tool_use", "tool_use"]
    assert read.usage.output_tokens == 9


async def test_an_error_in_a_stream_is_raised_by_both_clients():
    broken = ProviderError(Failure.SERVER_ERROR, "broke off")
    bodies = []
    for surface in (CHAT, MESSAGES):
        writer = surface.writer(QUESTION)
        bodies.append(streamed(writer.feed(TextDelta("fo")) + writer.error(broken)))
    said = [{"role": "user", "content": "Hi"}]
    async with (
        upstream(*bodies) as server,
        openai_at(server.url) as first,
        anthropic_at(server.url) as second,
    ):
        chunks = await first.chat.completions.create(model="a", messages=said, stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            [chunk async for chunk in chunks]
        events = await second.messages.create(model="a", max_tokens=9, messages=said, stream=True)
        with pytest.raises(anthropic.APIError, match="broke off"):
            [event async for event in events]


async def test_a_client_does_not_try_again_what_was_tried_and_does_where_it_was_turned_away():
    failed = ProviderError(Failure.SERVER_ERROR, "the vendor is down")
    away = Unavailable("too much to do", retry_after=0.001)
    said = [{"role": "user", "content": "Hi"}]
    script = [
        refused(CHAT, failed),
        refused(MESSAGES, failed),
        refused(CHAT, away),
        http(CHAT.answer(answered(), QUESTION)),
        refused(MESSAGES, away),
        http(MESSAGES.answer(answered(), QUESTION)),
    ]
    async with (
        upstream(*script) as server,
        openai_at(server.url) as first,
        anthropic_at(server.url) as second,
    ):
        with pytest.raises(openai.InternalServerError, match="the vendor is down"):
            await first.chat.completions.create(model="a", messages=said)
        with pytest.raises(anthropic.InternalServerError, match="the vendor is down"):
            await second.messages.create(model="a", max_tokens=9, messages=said)
        assert len(server.received) == 2
        assert (await first.chat.completions.create(model="a", messages=said)).choices[0].message.content
        assert (await second.messages.create(model="a", max_tokens=9, messages=said)).content[0].text
        assert len(server.received) == 6


async def test_openais_client_reads_vectors_as_it_asks_for_them():
    answer = EmbeddingResponse(((0.5, -0.25), (1.0, 0.0)), "answering", Usage(6, 0), 0.1)
    script = [http(embeddings.answer(answer, encoding)) for encoding in ("base64", "float")]
    async with upstream(*script) as server, openai_at(server.url) as client:
        unsaid = await client.embeddings.create(model="tests/a", input=["a", "b"])
        numbers = await client.embeddings.create(model="tests/a", input=["a", "b"], encoding_format="float")
        asked = [embeddings.to_neutral(read_fields(request.body)) for request in server.received]
    assert [encoding for _, encoding in asked] == ["base64", "float"]
    for read in (unsaid, numbers):
        assert [list(row.embedding) for row in read.data] == [[0.5, -0.25], [1.0, 0.0]]


async def test_both_clients_list_what_there_is():
    names = ["tests/a", "acme/small"]
    script = [http(models.openai(names)), http(models.anthropic(names))]
    async with (
        upstream(*script) as server,
        openai_at(server.url) as first,
        anthropic_at(server.url) as second,
    ):
        assert [model.id async for model in first.models.list()] == names
        assert [model.id async for model in second.models.list()] == names
