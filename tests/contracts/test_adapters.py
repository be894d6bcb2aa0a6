"""One contract for every adapter: the same neutral request and answer, with the vendors' own SDK types as judges."""

import json
from contextlib import aclosing

import pytest
from pydantic import ValidationError
from tests.accounts import account_at
from tests.contracts.vendors import VENDORS, Said, event
from tests.upstream import SECRET, http, streamed, upstream

from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.providers import attempt
from tiebreak.providers.account import Account
from tiebreak.providers.dialects import PLAIN, adapter_of
from tiebreak.providers.model import (
    Blame,
    ChatRequest,
    EmbeddingRequest,
    Failure,
    ImagePart,
    JsonSchema,
    Message,
    NamedTool,
    ProviderError,
    StopReason,
    StreamEnd,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    Usage,
    Window,
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASK = ChatRequest("asked", (Message("system", "Be brief."), Message("user", "2 + 2?")), {})
PARIS = ToolCall("call_1", "weather", '{"city": "Paris"}')
OSLO = ToolCall("call_2", "weather", '{"city": "Oslo"}')
TALK = (
    Message("system", "Be brief."),
    Message("user", (TextPart("What is this, and what is the weather?"), ImagePart(data=PIXEL))),
    Message("assistant", "Let me see.", tool_calls=(PARIS, OSLO)),
    Message("tool", '{"sky": "grey"}', tool_call_id="call_1"),
    Message("tool", "rain", tool_call_id="call_2"),
    Message("assistant", "Grey, and rain."),
    Message("user", "Thanks."),
)
SCHEMA = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}

dialects = pytest.mark.parametrize("dialect", PLAIN)


def test_every_dialect_has_its_judge():
    assert VENDORS.keys() == PLAIN.keys()


@pytest.fixture
async def client():
    opened = Http1Client("loopback")
    yield opened
    await opened.close()


def account(dialect: str, url: str = "http://vendor.example") -> Account:
    return account_at(url + VENDORS[dialect].base, dialect=dialect)


def changed(**changes) -> ChatRequest:
    values = {"model": "asked", "messages": ASK.messages, "parameters": {}} | changes
    return ChatRequest(**values)


def sent(dialect: str, request: ChatRequest) -> dict:
    """The body on the wire, found good by the vendor's own types."""
    body = json.loads(adapter_of(dialect).encode(account(dialect), request).body or b"")
    VENDORS[dialect].judge(body)
    return body


@dialects
def test_the_judge_refuses_what_is_not_the_vendors(dialect):
    body = sent(dialect, ASK)
    words = json.dumps(body)
    for wrong in (body | {"unheard_of": 1}, json.loads(words.replace('"user"', "7"))):
        with pytest.raises((AssertionError, ValidationError)):
            VENDORS[dialect].judge(wrong)


@dialects
def test_the_call_goes_where_the_vendor_listens_with_the_key_where_it_looks(dialect):
    vendor = VENDORS[dialect]
    name, prefix = vendor.key
    for request, path in ((ASK, vendor.path), (changed(stream=True), vendor.stream_path)):
        outgoing = adapter_of(dialect).encode(account(dialect), request)
        assert outgoing.url == "http://vendor.example" + path
        assert outgoing.headers[name] == prefix + SECRET
        assert SECRET not in outgoing.url


@dialects
def test_without_a_secret_no_key_is_sent(dialect):
    open_account = account_at("http://vendor.example", dialect=dialect, secret=None)
    assert VENDORS[dialect].key[0] not in adapter_of(dialect).encode(open_account, ASK).headers


@dialects
def test_a_plain_request_is_one_the_vendors_sdk_could_have_made(dialect):
    words = json.dumps(sent(dialect, ASK))
    assert "2 + 2?" in words
    assert "Be brief." in words


@dialects
@pytest.mark.parametrize("choice", ["auto", "none", "required", NamedTool("weather")], ids=str)
def test_a_whole_conversation_with_an_image_and_tools_has_words_in_every_dialect(dialect, choice):
    tools = (Tool("weather", WEATHER, "The weather in a city"), Tool("now", {"type": "object"}))
    words = json.dumps(sent(dialect, changed(messages=TALK, tools=tools, tool_choice=choice)))
    for said in (PIXEL, "weather", "Paris", "Oslo", "grey", "rain", "The weather in a city", "Thanks."):
        assert said in words


@dialects
def test_sampling_in_neutral_fields_and_in_openais_names_is_the_same_request(dialect):
    fields = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 77}
    named = sent(dialect, changed(parameters=fields))
    assert named == sent(dialect, changed(**fields))
    assert all(str(value) in json.dumps(named) for value in fields.values())


STOPPING = ("openai_compatible", "openai", "azure_openai", "anthropic", "gemini")
SEEDED = ("openai_compatible", "openai", "azure_openai", "gemini")


@dialects
@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"stop": ("END",)}, STOPPING),
        ({"parameters": {"stop": "END"}}, STOPPING),
        ({"seed": 7}, SEEDED),
        ({"n": 3}, ("openai", "azure_openai", "gemini")),
        ({"output": "json"}, ("openai_compatible", "openai", "openai_responses", "azure_openai", "gemini")),
        ({"output": JsonSchema("sum", SCHEMA)}, tuple(PLAIN)),
        ({"messages": (Message("user", (ImagePart(url="https://x.example/a.png"),)),)}, set(PLAIN) - {"gemini"}),
        ({"messages": (Message("user", "a"), Message("system", "b"))}, set(PLAIN) - {"anthropic", "gemini"}),
        ({"n": 3, "stream": True}, ()),
        ({"messages": (Message("user", (ImagePart(),)),)}, ()),
        ({"messages": (Message("tool", "alone"),)}, ()),
        ({"parameters": {"n": 3}}, ()),
        ({"parameters": {"stream": True}}, ()),
    ],
    ids=[
        "stop", "stop-parameter", "seed", "n", "json", "schema", "image-url", "late-system", "n-streamed",
        "empty-image", "lone-tool", "n-parameter", "stream-parameter",
    ],
)  # fmt: skip
def test_what_a_dialect_cannot_say_is_refused_before_anything_is_sent(dialect, changes, where):
    request = changed(**changes)
    if dialect in where:
        sent(dialect, request)
        return
    with pytest.raises(ProviderError) as caught:
        adapter_of(dialect).encode(account(dialect), request)
    assert (caught.value.failure, caught.value.fault, caught.value.calls) == (
        Failure.BAD_REQUEST,
        Blame.CALLER,
        0,
    )
    assert len(caught.value.detail) > 20


ANSWERS = {
    "plain": (Said("four ✓"), StopReason.STOP),
    "cut": (Said("four and", "length"), StopReason.LENGTH),
    "refused": (Said(ending="content_filter", refusal="I cannot."), StopReason.CONTENT_FILTER),
    "tools": (
        Said(
            "Let me see.",
            "tool_calls",
            (("call_1", "weather", '{"city":"Paris"}'), ("call_2", "weather", '{"city":"Oslo"}')),
        ),
        StopReason.TOOL_CALLS,
    ),
    "bare-tool": (Said("", "tool_calls", (("call_1", "now", "{}"),)), StopReason.TOOL_CALLS),
}
answers = pytest.mark.parametrize("case", ANSWERS)


def require_said(answer, said: Said, reason: StopReason) -> None:
    assert answer.text == (said.text or said.refusal)
    assert answer.finish_reason is reason
    assert answer.vendor_reason
    assert [(call.id, call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [
        (call_id, name, json.loads(arguments)) for call_id, name, arguments in said.calls
    ]
    assert answer.usage == Usage(20, 9, cached_tokens=4, reasoning_tokens=5)
    assert answer.model == "answering"


@dialects
@answers
async def test_an_answer_of_the_vendors_own_types_is_the_same_answer_from_everyone(client, dialect, case):
    said, reason = ANSWERS[case]
    async with upstream(http(VENDORS[dialect].plain(said))) as vendor:
        answer = await attempt.call(client, account(dialect, vendor.url), ASK, SystemClock())
    require_said(answer, said, reason)
    assert answer.first_token is None


@dialects
@answers
async def test_a_streamed_answer_is_the_same_answer(client, dialect, case):
    said, reason = ANSWERS[case]
    async with upstream(streamed(*VENDORS[dialect].streamed(said))) as vendor:
        shop = account(dialect, vendor.url)
        answer = await attempt.call(client, shop, changed(stream=True), SystemClock())
        again = await attempt.call(client, shop, changed(stream=True), SystemClock())
        assert vendor.connections == 1
    require_said(answer, said, reason)
    require_said(again, said, reason)
    assert (answer.first_token is None) == (
        not said.text and not said.calls and dialect not in ("anthropic", "gemini")
    )


@dialects
async def test_a_stream_comes_event_by_event_and_ends_with_its_end(client, dialect):
    for answer in (
        streamed(*VENDORS[dialect].streamed(Said("four"))),
        http(VENDORS[dialect].plain(Said("four"))),
    ):
        async with upstream(answer) as vendor:
            shop = account(dialect, vendor.url)
            async with aclosing(attempt.stream(client, shop, changed(stream=True), SystemClock())) as stream:
                events = [found async for found in stream]
        assert "".join(found.text for found in events if isinstance(found, TextDelta)) == "four"
        assert [isinstance(found, StreamEnd) for found in events].index(True) == len(events) - 1


@dialects
async def test_no_part_of_a_stream_is_taken_for_the_whole(client, dialect):
    pieces = VENDORS[dialect].streamed(ANSWERS["tools"][0])
    last = len(pieces) if dialect == "gemini" else len(pieces) - 1
    for kept in range(1, last):
        for ending in (True, False):
            async with upstream(streamed(*pieces[:kept], ending=ending)) as vendor:
                with pytest.raises(ProviderError, match="incomplete") as caught:
                    await attempt.call(
                        client, account(dialect, vendor.url), changed(stream=True), SystemClock()
                    )
            assert caught.value.failure is Failure.MALFORMED


@pytest.mark.parametrize("dialect", ["openai", "azure_openai", "gemini"])
async def test_several_samples_come_in_one_answer(client, dialect):
    async with upstream(http(VENDORS[dialect].plain(Said("one", more=("two", "three"))))) as vendor:
        answer = await attempt.call(client, account(dialect, vendor.url), changed(n=3), SystemClock())
        single = await attempt.call(client, account(dialect, vendor.url), ASK, SystemClock())
    assert [sample.text for sample in answer.samples] == ["one", "two", "three"]
    assert [sample.text for sample in single.samples] == ["one"]


@dialects
@pytest.mark.parametrize(
    ("status", "failure", "fault"),
    [
        (400, Failure.BAD_REQUEST, Blame.CALLER),
        (401, Failure.AUTHENTICATION, Blame.US),
        (402, Failure.QUOTA, Blame.US),
        (404, Failure.NOT_FOUND, Blame.CALLER),
        (429, Failure.RATE_LIMITED, Blame.PROVIDER),
        (500, Failure.SERVER_ERROR, Blame.PROVIDER),
        (529, Failure.SERVER_ERROR, Blame.PROVIDER),
    ],
)
async def test_an_error_in_the_vendors_shape_says_whose_fault_it_was(client, dialect, status, failure, fault):
    async with upstream(http(json.dumps(VENDORS[dialect].errors), status, retry_after="7")) as vendor:
        with pytest.raises(ProviderError, match="because") as caught:
            await attempt.call(client, account(dialect, vendor.url), ASK, SystemClock())
    error = caught.value
    assert (error.failure, error.fault, error.http_status, error.retry_after) == (failure, fault, status, 7.0)


@dialects
async def test_an_error_inside_a_stream_is_the_outcome(client, dialect):
    begun = VENDORS[dialect].streamed(Said("four"))[:2]
    error = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "too busy", "code": "overloaded"},
    }
    async with upstream(streamed(*begun, event(error))) as vendor:
        with pytest.raises(ProviderError, match="too busy") as caught:
            await attempt.call(client, account(dialect, vendor.url), changed(stream=True), SystemClock())
    assert (caught.value.failure, caught.value.fault) == (Failure.SERVER_ERROR, Blame.PROVIDER)


@dialects
@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b"<html>", b'{"x": ' + b"[" * 10_000], ids=range(6)
)
async def test_an_answer_that_holds_none_is_malformed(client, dialect, body):
    for answer, request in ((http(body), ASK), (streamed(b"data: " + body + b"\n\n"), changed(stream=True))):
        async with upstream(answer) as vendor:
            with pytest.raises(ProviderError) as caught:
                await attempt.call(client, account(dialect, vendor.url), request, SystemClock())
        assert caught.value.failure is Failure.MALFORMED


@dialects
async def test_rate_limits_come_with_the_answer(client, dialect):
    names = {"x_ratelimit_limit_requests": "60", "x_ratelimit_remaining_requests": "59"}
    async with upstream(http(VENDORS[dialect].plain(Said("four")), **names)) as vendor:
        answer = await attempt.call(client, account(dialect, vendor.url), ASK, SystemClock())
    assert answer.limits is not None
    assert answer.limits.requests == Window(60, 59, None)


@dialects
async def test_models_are_listed_without_their_folders(client, dialect):
    async with upstream(http(VENDORS[dialect].models())) as vendor:
        assert await attempt.models(client, account(dialect, vendor.url), SystemClock()) == ["a", "b"]


TEXTS = EmbeddingRequest("asked", ("one", "two"), dimensions=3)
VECTORS = [[0.25, 0.5, -1.0], [1.0, 0.0, 2.5]]


@pytest.mark.parametrize("dialect", sorted(PLAIN.keys() - {"anthropic"}))
async def test_texts_become_vectors_in_their_order(client, dialect):
    async with upstream(http(VENDORS[dialect].vectors(VECTORS))) as vendor:
        answer = await attempt.embed(client, account(dialect, vendor.url), TEXTS, SystemClock())
        VENDORS[dialect].judge_embeddings(vendor.received[0].json())
        with pytest.raises(ProviderError, match="2 vectors came for 3 texts"):
            three = EmbeddingRequest("asked", ("one", "two", "three"))
            await attempt.embed(client, account(dialect, vendor.url), three, SystemClock())
    assert [list(vector) for vector in answer.vectors] == VECTORS
    assert answer.usage == (None if dialect == "gemini" else Usage(6, 0))


def test_a_vendor_without_embeddings_says_so_before_anything_is_sent():
    with pytest.raises(ProviderError, match="has no embeddings") as caught:
        adapter_of("anthropic").encode_embeddings(account("anthropic"), TEXTS)
    assert (caught.value.failure, caught.value.calls) == (Failure.BAD_REQUEST, 0)
