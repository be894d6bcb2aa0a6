"""The vendors' own SDKs as clients of the mock: each dialect, plain and streaming."""

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from tests.mockprovider.served import client_of, lines

from tiebreak.mockprovider.description import Fault, Recorded, Simulated
from tiebreak.mockprovider.server import running

# google-genai derives its session from aiohttp's, which aiohttp would rather it did not.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

SIX = "What is six times seven, please?"
PLANET = "Which planet is closest to the sun?"
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 5}},
    "required": ["city"],
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
COUNTING = {"oracle": Simulated(skill=1.0, cached_share=0.5, reasoning_tokens=9)}


def user(text):
    return [{"role": "user", "content": text}]


@asynccontextmanager
async def anthropic_of(config, key="any"):
    async with running(config) as base_url:
        root = base_url.removesuffix("/v1")
        async with anthropic.AsyncAnthropic(base_url=root, api_key=key, max_retries=0, timeout=10) as client:
            yield client


@asynccontextmanager
async def google_of(config, key="any"):
    async with running(config) as base_url:
        options = google.HttpOptions(base_url=base_url.removesuffix("/v1"), timeout=10_000)
        client = genai.Client(api_key=key, http_options=options)
        try:
            yield client.aio
        finally:
            await client.aio.aclose()
            client.close()


@asynccontextmanager
async def azure_of(config, key="any"):
    async with (
        running(config) as base_url,
        openai.AsyncAzureOpenAI(
            azure_endpoint=base_url.removesuffix("/v1"),
            api_key=key,
            api_version="2024-10-21",
            max_retries=0,
            timeout=10,
        ) as client,
    ):
        yield client


async def test_openai_samples_are_draws_of_their_own_and_the_first_is_the_lone_one(config):
    half = replace(config, models={"half": Simulated(skill=0.5)})
    async with client_of(half) as client:
        alone = await client.chat.completions.create(model="half", messages=user(SIX))
        several = await client.chat.completions.create(model="half", messages=user(SIX), n=32)
        stream = await client.chat.completions.create(model="half", messages=user(SIX), n=32, stream=True)
        streamed = [""] * 32
        async for chunk in stream:
            for choice in chunk.choices:
                streamed[choice.index] += choice.delta.content or ""
    texts = [choice.message.content for choice in several.choices]
    assert texts[0] == alone.choices[0].message.content
    assert streamed == texts
    right = sum(text.endswith("A: 42") for text in texts)
    assert 4 <= right <= 28  # a half, four standard errors
    assert several.usage.completion_tokens == sum(-(-len(text) // 4) for text in texts)


@pytest.mark.parametrize(
    "choice", ["auto", "required", {"type": "function", "function": {"name": "weather"}}]
)
async def test_openai_tools_are_called_when_named_or_forced_and_their_results_answered(config, choice):
    question = f"{SIX} Use the weather tool." if choice == "auto" else SIX
    asked = {"model": "oracle", "messages": user(question), "tools": [TOOL], "tool_choice": choice}
    async with client_of(config) as client:
        whole = (await client.chat.completions.create(**asked)).choices[0]
        arguments, finish = "", None
        async for chunk in await client.chat.completions.create(**asked, stream=True):
            for delta in chunk.choices[0].delta.tool_calls or ():
                arguments += delta.function.arguments or ""
            finish = chunk.choices[0].finish_reason or finish
        (call,) = whole.message.tool_calls
        result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        follow = [*user(question), whole.message.model_dump(exclude_none=True), result]
        after = await client.chat.completions.create(**asked | {"messages": follow, "tool_choice": "auto"})
    assert (whole.finish_reason, whole.message.content) == ("tool_calls", None)
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "42", "days": 5})
    assert (arguments, finish) == (call.function.arguments, "tool_calls")
    assert after.choices[0].finish_reason == "stop"
    assert after.choices[0].message.content.startswith("The tools said: sunny\n")


async def test_openai_tools_that_nobody_names_are_not_called(config):
    other = {"type": "function", "function": {"name": "clock"}}
    named = f"{SIX} Ask weather and clock."
    async with client_of(config) as client:

        async def calls(question, **more):
            answer = await client.chat.completions.create(
                model="oracle", messages=user(question), tools=[TOOL, other], **more
            )
            return [call.function.name for call in answer.choices[0].message.tool_calls or ()]

        assert await calls(SIX) == []
        assert await calls(named, tool_choice="none") == []
        assert await calls(named) == ["weather", "clock"]
        assert await calls(named, parallel_tool_calls=False) == ["weather"]
        with pytest.raises(openai.BadRequestError, match="'oven', which is not among the tools"):
            await calls(SIX, tool_choice={"type": "function", "function": {"name": "oven"}})


async def test_openai_json_is_json_of_the_schema(config):
    shape = {"type": "json_schema", "json_schema": {"name": "a", "schema": WEATHER}}
    async with client_of(config) as client:

        async def answer(shape, model="oracle"):
            said = await client.chat.completions.create(
                model=model, messages=user(SIX), response_format=shape
            )
            return json.loads(said.choices[0].message.content)

        assert await answer({"type": "json_object"}) == {"answer": "42"}
        assert await answer({"type": "json_object"}, "echo") == {"answer": "36"}
        assert await answer(shape) == {"city": "42", "days": 5}


async def test_openai_images_stops_and_refusals(config):
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    seen = [{"role": "user", "content": [image, {"type": "text", "text": SIX}]}]
    async with client_of(config) as client:
        looked = await client.chat.completions.create(model="big", messages=seen)
        stopped = await client.chat.completions.create(model="big", messages=user(SIX), stop=["\nA", "is"])
        refused = await client.chat.completions.create(model="big", messages=user(f"{SIX} [mock: refuse]"))
        stream = await client.chat.completions.create(
            model="big", messages=user(f"{SIX} [mock: refuse]"), stream=True
        )
        deltas = [chunk.choices[0].delta async for chunk in stream]
    assert looked.choices[0].message.content == "Six times seven is\nA: 42"
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == (
        "Six times seven ",
        "stop",
    )
    assert refused.choices[0].message.content is None
    assert refused.choices[0].message.refusal.startswith("This text is simulated.")
    assert (
        "".join(getattr(delta, "refusal", None) or "" for delta in deltas)
        == refused.choices[0].message.refusal
    )


async def test_openai_counts_cached_and_reasoning_tokens_where_configured(config):
    async with client_of(replace(config, models=COUNTING)) as client:
        chat = await client.chat.completions.create(model="oracle", messages=user(SIX))
        responses = await client.responses.create(model="oracle", input=SIX)
    assert chat.usage.prompt_tokens_details.cached_tokens == chat.usage.prompt_tokens // 2 == 4
    assert chat.usage.completion_tokens_details.reasoning_tokens == 9
    assert responses.usage.input_tokens_details.cached_tokens == 4
    assert responses.usage.output_tokens_details.reasoning_tokens == 9
    assert (
        responses.usage.output_tokens
        == chat.usage.completion_tokens
        == 9 + -(-len(chat.choices[0].message.content) // 4)
    )
    ChatCompletion.model_validate_json(chat.model_dump_json())


async def test_openai_embeddings_are_the_same_for_the_same_text_in_both_encodings(config):
    async with client_of(config) as client:
        packed = await client.embeddings.create(model="oracle", input=["one", "two"])
        listed = await client.embeddings.create(model="oracle", input=["two", "one"], encoding_format="float")
        short = await client.embeddings.create(model="oracle", input="one", dimensions=8)
        ids = await client.embeddings.create(model="oracle", input=[1, 2, 3])
        other = await client.embeddings.create(model="fool", input="one")
    one, two = [each.embedding for each in packed.data]
    assert [len(one), len(short.data[0].embedding), len(ids.data)] == [256, 8, 1]
    assert one == pytest.approx(listed.data[1].embedding, abs=1e-6)
    assert two == pytest.approx(listed.data[0].embedding, abs=1e-6)
    assert abs(sum(a * b for a, b in zip(one, two, strict=True))) < 0.5
    assert sum(a * a for a in one) == pytest.approx(1, abs=1e-5)
    assert other.data[0].embedding != one
    assert (packed.usage.total_tokens, ids.usage.prompt_tokens) == (2, 3)


async def test_openai_responses_plain_and_as_numbered_events(config):
    async with client_of(config) as client:
        whole = await client.responses.create(model="big", input=SIX, instructions="Be brief.")
        events = [e async for e in await client.responses.create(model="big", input=user(SIX), stream=True)]
        cut = await client.responses.create(model="big", input=SIX, max_output_tokens=2)
        refused = await client.responses.create(model="big", input=f"{SIX} [mock: refuse]")
        with pytest.raises(openai.BadRequestError, match="stores none") as stored:
            await client.responses.create(model="big", input=SIX, previous_response_id="resp_1")
    assert whole.output_text == "Six times seven is\nA: 42"
    Response.model_validate_json(whole.model_dump_json())
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    said = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(said) > 2
    assert "".join(said) == events[-1].response.output_text == whole.output_text
    assert (cut.status, cut.incomplete_details.reason, cut.output_text) == (
        "incomplete",
        "max_output_tokens",
        "Six time",
    )
    assert refused.output[0].content[0].type == "refusal"
    assert stored.value.code == "previous_response_not_found"


async def test_openai_responses_with_tools_and_json(config):
    tool = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}
    shape = {"format": {"type": "json_schema", "name": "a", "schema": WEATHER}}
    async with client_of(config) as client:
        asked = {"model": "oracle", "tools": [tool]}
        called = await client.responses.create(**asked, input=SIX, tool_choice="required")
        async with client.responses.stream(**asked, input=SIX, tool_choice={"type": "function", "name": "weather"}) as stream:  # fmt: skip
            streamed = (await stream.get_final_response()).output[0]
        (call,) = called.output
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        after = await client.responses.create(**asked, input=[*user(SIX), call.model_dump(), result])
        answered = await client.responses.create(model="oracle", input=SIX, text=shape)
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "42", "days": 5})
    assert (streamed.name, streamed.arguments) == (call.name, call.arguments)
    assert after.output_text.startswith("The tools said: sunny\n")
    assert json.loads(answered.output_text) == {"city": "42", "days": 5}


async def test_anthropic_plain_and_streaming(config):
    asked = {"model": "big", "max_tokens": 100, "messages": user(SIX), "system": "Be brief."}
    async with anthropic_of(config) as client:
        whole = await client.messages.create(**asked)
        cut = await client.messages.create(**asked | {"max_tokens": 2})
        stopped = await client.messages.create(**asked, stop_sequences=["\nA"])
        refused = await client.messages.create(**asked | {"messages": user(f"{SIX} [mock: refuse]")})
        kinds = [event.type async for event in await client.messages.create(**asked, stream=True)]
        async with client.messages.stream(**asked) as stream:
            final = await stream.get_final_message()
        names = [model.id async for model in client.models.list()]
    assert whole.content[0].text == final.content[0].text == "Six times seven is\nA: 42"
    assert (
        (whole.stop_reason, whole.usage.output_tokens)
        == (final.stop_reason, final.usage.output_tokens)
        == ("end_turn", 6)
    )
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert (cut.stop_reason, stopped.stop_reason, stopped.stop_sequence) == (
        "max_tokens",
        "stop_sequence",
        "\nA",
    )
    assert refused.stop_reason == "refusal"
    assert names == ["oracle", "fool", "big", "echo"]


async def test_anthropic_sends_its_ping_and_insists_on_its_version(config):
    body = {"model": "big", "max_tokens": 9, "messages": user(SIX), "stream": True}
    async with running(config) as base_url, aiohttp.ClientSession() as session:
        async with session.post(f"{base_url}/messages", json=body) as response:
            refused = await response.json()
        async with session.post(f"{base_url}/messages", json=body, headers={"anthropic-version": "2023-06-01"}) as response:  # fmt: skip
            said = (await response.read()).decode()
    assert (refused["type"], refused["error"]["type"]) == ("error", "invalid_request_error")
    assert "anthropic-version" in refused["error"]["message"]
    assert said.index("content_block_start") < said.index("event: ping") < said.index("content_block_delta")


async def test_anthropic_tools_images_and_json(config):
    tool = {"name": "weather", "input_schema": WEATHER}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    seen = [{"role": "user", "content": [image, {"type": "text", "text": SIX}]}]
    asked = {"model": "oracle", "max_tokens": 500, "messages": seen, "tools": [tool]}
    async with anthropic_of(config) as client:
        forced = {"type": "tool", "name": "weather"}
        called = await client.messages.create(**asked, tool_choice=forced)
        async with client.messages.stream(**asked, tool_choice={"type": "any"}) as stream:
            streamed = await stream.get_final_message()
        result = {"type": "tool_result", "tool_use_id": called.content[0].id, "content": "sunny"}
        follow = [
            *seen,
            {"role": "assistant", "content": called.content},
            {"role": "user", "content": [result]},
        ]
        after = await client.messages.create(**asked | {"messages": follow})
        shape = {"format": {"type": "json_schema", "schema": WEATHER}}
        answered = await client.messages.create(
            model="oracle", max_tokens=99, messages=user(SIX), output_config=shape
        )
    assert (called.stop_reason, called.content[0].name) == ("tool_use", "weather")
    assert called.content[0].input == streamed.content[0].input == {"city": "42", "days": 5}
    assert after.content[0].text.startswith("The tools said: sunny\n")
    assert json.loads(answered.content[0].text) == {"city": "42", "days": 5}


async def test_anthropic_counts_cached_tokens_apart(config):
    async with anthropic_of(replace(config, models=COUNTING)) as client:
        said = await client.messages.create(model="oracle", max_tokens=500, messages=user(SIX))
    assert (said.usage.input_tokens, said.usage.cache_read_input_tokens) == (4, 4)


async def test_anthropic_errors_are_its_own(config):
    async with anthropic_of(replace(config, api_key="right"), key="wrong") as client:
        with pytest.raises(anthropic.AuthenticationError, match="send `x-api-key"):
            await client.messages.create(model="big", max_tokens=9, messages=user(SIX))
    async with anthropic_of(replace(config, api_key="right"), key="right") as client:
        with pytest.raises(anthropic.NotFoundError, match="there is no model 'gone'") as gone:
            await client.messages.create(model="gone", max_tokens=9, messages=user(SIX))
    assert gone.value.body["error"]["type"] == "not_found_error"


async def test_gemini_plain_and_streaming(config):
    async with google_of(replace(config, models=config.models | COUNTING)) as client:
        ask = client.models.generate_content
        whole = await ask(model="big", contents=SIX)
        cut = await ask(model="big", contents=SIX, config={"max_output_tokens": 2})
        refused = await ask(model="big", contents=f"{SIX} [mock: refuse]")
        several = await ask(model="big", contents=SIX, config={"candidate_count": 3})
        counted = await ask(model="oracle", contents=SIX)
        stream = await client.models.generate_content_stream(model="big", contents=SIX)
        chunks = [chunk async for chunk in stream]
        names = [model.name async for model in await client.models.list()]
    assert whole.text == "".join(chunk.text or "" for chunk in chunks) == "Six times seven is\nA: 42"
    assert len(chunks) > 3
    assert chunks[-1].candidates[0].finish_reason == "STOP"
    assert whole.usage_metadata.candidates_token_count == 6
    assert chunks[-1].usage_metadata == whole.usage_metadata
    assert (cut.text, cut.candidates[0].finish_reason) == ("Six time", "MAX_TOKENS")
    assert (refused.candidates[0].finish_reason, refused.candidates[0].content) == ("SAFETY", None)
    assert [candidate.index for candidate in several.candidates] == [0, 1, 2]
    assert counted.usage_metadata.cached_content_token_count == 4
    assert counted.usage_metadata.thoughts_token_count == 9
    assert names == ["models/oracle", "models/fool", "models/big", "models/echo"]


async def test_gemini_tools_json_images_and_vectors(config):
    declared = google.FunctionDeclaration(name="weather", parameters_json_schema=WEATHER)
    tools = [google.Tool(function_declarations=[declared])]
    must = google.ToolConfig(function_calling_config=google.FunctionCallingConfig(mode="ANY"))
    image = google.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    asked = google.Content(role="user", parts=[image, google.Part(text=SIX)])
    forced = google.GenerateContentConfig(tools=tools, tool_config=must)
    async with google_of(config) as client:
        ask = client.models.generate_content
        called = await ask(model="oracle", contents=[asked], config=forced)
        stream = await client.models.generate_content_stream(model="oracle", contents=[asked], config=forced)
        streamed = [call for chunk in await collect(stream) for call in chunk.function_calls or ()]
        result = google.Part.from_function_response(name="weather", response={"sky": "sunny"})
        follow = [asked, called.candidates[0].content, google.Content(role="user", parts=[result])]
        after = await ask(model="oracle", contents=follow, config=google.GenerateContentConfig(tools=tools))
        shape = {"response_mime_type": "application/json", "response_json_schema": WEATHER}
        answered = await ask(model="oracle", contents=SIX, config=shape)
        vectors = await client.models.embed_content(
            model="oracle", contents=["one", "two"], config={"output_dimensionality": 8}
        )
    (call,) = called.function_calls
    assert (call.name, call.args) == ("weather", {"city": "42", "days": 5})
    assert [(each.name, each.args) for each in streamed] == [(call.name, call.args)]
    assert after.text.startswith('The tools said: {"sky":"sunny"}\n')
    assert json.loads(answered.text) == {"city": "42", "days": 5}
    assert [len(each.values) for each in vectors.embeddings] == [8, 8]


async def collect(stream):
    return [chunk async for chunk in stream]


async def test_gemini_errors_are_its_own(config):
    async with google_of(replace(config, api_key="right"), key="wrong") as client:
        with pytest.raises(google_errors.ClientError, match="send `x-goog-api-key") as wrong:
            await client.models.generate_content(model="big", contents=SIX)
    async with google_of(replace(config, api_key="right"), key="right") as client:
        with pytest.raises(google_errors.ClientError, match="there is no model 'gone'") as gone:
            await client.models.generate_content(model="gone", contents=SIX)
    assert (wrong.value.code, gone.value.status) == (401, "NOT_FOUND")


async def test_azure_deployments_and_its_newer_paths(config):
    async with azure_of(replace(config, api_key="right"), key="right") as client:
        whole = await client.chat.completions.create(model="big", messages=user(SIX))
        stream = await client.chat.completions.create(model="big", messages=user(SIX), stream=True)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream]
        vectors = await client.embeddings.create(model="big", input="one")
        with pytest.raises(openai.AuthenticationError, match="send `api-key"):
            await client.with_options(api_key="wrong").chat.completions.create(
                model="big", messages=user(SIX)
            )
        newer = str(client.base_url).removesuffix("/openai/") + "/openai/v1"
        async with openai.AsyncOpenAI(base_url=newer, api_key="right", max_retries=0) as plain:
            again = await plain.chat.completions.create(model="big", messages=user(SIX))
            response = await plain.responses.create(model="big", input=SIX)
            same = await plain.embeddings.create(model="big", input="one")
    assert whole.choices[0].message.content == "".join(said) == "Six times seven is\nA: 42"
    assert again.choices[0].message.content == response.output_text == whole.choices[0].message.content
    assert whole.model == "big"
    assert vectors.data[0].embedding == same.data[0].embedding


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/openai/deployments/big/chat/completions", {"messages": user(SIX)}, 404, "?api-version="),
        ("/v1beta/models/big:streamGenerateContent", {"contents": []}, 400, "?alt=sse"),
        ("/v1beta/models/big:countTokens", {}, 404, "unknown path"),
        ("/v1beta/models/big:generateContent", {"contents": []}, 400, "`$.contents`"),
        ("/v1/embeddings", {"model": "big", "input": []}, 400, "`$.input`"),
        ("/v1/embeddings", {"input": "one"}, 400, "names no `model`"),
        ("/v1/responses", {"model": "big", "input": []}, 400, "role 'user'"),
        ("/v1/chat/completions", {"messages": user(SIX)}, 400, "names no `model`"),
    ],
)
async def test_what_no_dialect_takes_is_refused(config, path, body, status, text):
    async with (
        running(config) as base_url,
        aiohttp.ClientSession() as session,
        session.post(base_url.removesuffix("/v1") + path, json=body) as response,
    ):
        assert response.status == status
        assert text in (await response.json())["error"]["message"]
        assert response.headers["x-mock-provider"] == "tiebreak-mock-provider"


async def test_limits_of_length_hold_for_fitted_answers_too(config):
    shape = {"type": "json_object"}
    async with client_of(config) as client:
        cut = await client.chat.completions.create(
            model="oracle", messages=user(SIX), response_format=shape, max_tokens=2, stop=["}"]
        )
        text = {"type": "text"}
        plain = await client.chat.completions.create(model="big", messages=user(SIX), response_format=text)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ('{"answer', "length")
    assert plain.choices[0].message.content == "Six times seven is\nA: 42"


async def test_google_embeds_one_text_without_its_batch(config):
    body = {"content": {"parts": [{"text": "one"}]}, "outputDimensionality": 3}
    async with (
        running(config) as base_url,
        aiohttp.ClientSession() as session,
        session.post(f"{base_url}beta/models/oracle:embedContent", json=body) as response,
    ):
        assert len((await response.json())["embedding"]["values"]) == 3


async def test_a_fixed_delay_is_that_of_vectors_too(config, tmp_path):
    log = tmp_path / "calls.jsonl"
    async with client_of(replace(config, delay_ms=30, log=log)) as client:
        await client.embeddings.create(model="oracle", input="one")
    (call,) = lines(log)
    assert call["ended"] - call["started"] >= 0.03


async def test_a_message_too_long_to_be_remembered_is_answered_all_the_same(config):
    async with client_of(config) as client:
        answer = await client.chat.completions.create(model="big", messages=user("." * 9000 + SIX))
    assert answer.choices[0].message.content == "Six times seven is\nA: 42"


async def test_usage_that_a_fault_hides_is_in_no_stream_either(config):
    hidden = Recorded(model="big", faults=(Fault(body="usage", usage="missing", share=1),))
    served = replace(config, models={"big": hidden})
    async with google_of(served) as client:
        stream = await client.models.generate_content_stream(model="big", contents=SIX)
        assert [chunk.usage_metadata for chunk in await collect(stream) if chunk.usage_metadata] == []
    body = {"model": "big", "max_tokens": 9, "messages": user(SIX), "stream": True}
    headers = {"anthropic-version": "2023-06-01"}
    async with running(served) as base_url, aiohttp.ClientSession(headers=headers) as session:
        for path in ("messages", "responses"):
            asked = body | {"input": SIX}
            async with session.post(f"{base_url}/{path}", json=asked) as response:
                said = await response.read()
            assert b'"usage":{' not in said
            assert b"event: " in said


async def test_anthropic_system_and_tool_results_come_in_blocks_too(config):
    block = {"type": "text", "text": "Be brief."}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "rain"}]}
    turns = [*user(SIX), {"role": "assistant", "content": "…"}, {"role": "user", "content": [result]}]
    async with anthropic_of(config) as client:
        said = await client.messages.create(model="oracle", max_tokens=500, messages=turns, system=[block])
    assert said.content[0].text.startswith("The tools said: rain\n")


async def test_empty_answers_have_no_block_and_no_piece(config):
    async with anthropic_of(config) as client:
        kinds = [
            event.type
            async for event in await client.messages.create(
                model="big", max_tokens=9, messages=user(PLANET), stream=True
            )
        ]
    assert kinds == ["message_start", "message_delta", "message_stop"]
