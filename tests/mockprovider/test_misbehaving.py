"""Answers sent wrongly, read byte by byte as a client gets them."""

import asyncio
import json
import zlib
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import anthropic
import msgspec
import openai
import pytest
from tests.clocks import ManualClock
from tests.mockprovider.served import client_of, lines

from tiebreak.mockprovider import faults
from tiebreak.mockprovider.description import Fault, Fixed, Limits, Recorded, Simulated
from tiebreak.mockprovider.server import running

ASK = {"model": "m", "messages": [{"role": "user", "content": "What is six times seven, please?"}]}
STREAM = ASK | {"stream": True}


def faulty(config, *scripted, **more):
    return replace(config, models={"m": Recorded(model="big", faults=scripted)}, **more)


@asynccontextmanager
async def sent(config, body=ASK, path="/v1/chat/completions", headers=""):
    """The connection of a request that was sent."""
    async with running(config) as base_url, asyncio.timeout(20):
        port = int(base_url.split(":")[2].removesuffix("/v1"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = json.dumps(body).encode()
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: m\r\n{headers}content-length: {len(data)}\r\n\r\n".encode() + data
        )
        try:
            yield reader, writer
        finally:
            writer.close()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


async def head_of(reader):
    return (await reader.readuntil(b"\r\n\r\n")).decode().lower()


async def whole(config, body=ASK):
    """Status, headers and body of the first answer."""
    async with (
        running(config) as base_url,
        aiohttp.ClientSession() as session,
        session.post(f"{base_url}/chat/completions", json=body) as response,
    ):
        return response.status, response.headers, await response.read()


async def test_a_stream_is_cut_after_its_chunks_without_an_end(config, tmp_path):
    log = tmp_path / "log.jsonl"
    async with sent(faulty(config, Fault(body="cut", first=1, chunks=2), log=log), STREAM) as (reader, _):
        assert (await head_of(reader)).startswith("http/1.1 200")
        rest = await reader.read()
    assert rest.count(b"data: ") == 2
    assert b"0\r\n\r\n" not in rest
    assert [call["status"] for call in lines(log)] == [200]


async def test_a_document_is_cut_short_of_its_length(config):
    async with sent(faulty(config, Fault(body="cut", first=1, chunks=99))) as (reader, _):
        length = int((await head_of(reader)).split("content-length: ")[1].split("\r\n")[0])
        rest = await reader.read()
    assert 0 < len(rest) < length


@pytest.mark.parametrize("chunks", [0, 3])
async def test_a_connection_is_reset(config, chunks):
    async with sent(faulty(config, Fault(body="reset", first=1, chunks=chunks)), STREAM) as (reader, _):
        if chunks:
            await head_of(reader)
        with pytest.raises(ConnectionResetError):
            await reader.read()


@pytest.mark.parametrize("body", ["blackhole", "stall", "slow", "drip", "endless_headers", "keep_alive"])
async def test_what_takes_for_ever_ends_with_the_client_and_is_logged(config, tmp_path, body):
    log = tmp_path / "log.jsonl"
    async with sent(faulty(config, Fault(body=body, first=1), log=log), STREAM) as (reader, writer):
        first = b""
        if body not in {"blackhole", "slow"}:
            first = await reader.readuntil(b"\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                while data := await reader.read(65536):
                    first += data
        writer.close()
        while not log.read_text():
            await asyncio.sleep(0.01)
    assert [call["status"] for call in lines(log)] == [499]
    assert first.startswith(b"HTTP/1.1 200") == (body not in {"blackhole", "slow"})
    assert first.count(b"data: ") == (1 if body == "stall" else 0) or body == "drip"
    assert (b": keep-alive\n\n" in first) == (body == "keep_alive")
    assert (b"\r\n\r\n" in first) == (body in {"stall", "drip", "keep_alive"})


@pytest.mark.parametrize("body", ["blackhole", "stall", "endless_headers", "keep_alive"])
async def test_what_takes_for_ever_ends_after_an_hour_too(config, body):
    fault = Fault(
        body=body, first=1, **({"wait_ms": 600_000} if body in {"endless_headers", "keep_alive"} else {})
    )
    async with (
        running(faulty(config, fault), clock=ManualClock()) as base_url,
        asyncio.timeout(20),
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(aiohttp.ClientError):
            async with session.post(f"{base_url}/chat/completions", json=STREAM) as response:
                await response.read()


async def test_a_stalled_document_has_begun(config):
    async with sent(faulty(config, Fault(body="stall", first=1, chunks=1))) as (reader, _):
        assert "content-length" in await head_of(reader)
        assert (await reader.read(9)).startswith(b'{"id"')


async def test_a_slow_answer_is_the_right_one(config):
    loop = asyncio.get_running_loop()
    started = loop.time()
    status, _, body = await whole(faulty(config, Fault(body="slow", first=1, wait_ms=150)))
    assert loop.time() - started >= 0.15
    assert (status, json.loads(body)["choices"][0]["finish_reason"]) == (200, "stop")


@pytest.mark.parametrize("asked", [ASK, STREAM], ids=["plain", "stream"])
async def test_a_dripping_answer_is_the_right_one(config, asked):
    dripped = await whole(faulty(config, Fault(body="drip", first=1, wait_ms=0), delay_ms=0), asked)
    right = await whole(faulty(config, delay_ms=0), asked)
    assert times_aside(dripped[2]) == times_aside(right[2])


def times_aside(body):
    head, _, rest = body.partition(b'"created":')
    return head + rest[10:] if b"data: " not in body else body.count(b"data: ")


async def test_dripping_bytes_come_one_at_a_time(config):
    async with sent(faulty(config, Fault(body="drip", first=1, wait_ms=30)), STREAM) as (reader, _):
        await head_of(reader)
        assert [await reader.readexactly(6) for _ in range(6)] == [
            b"1\r\n%c\r\n" % byte for byte in b"data: "
        ]


async def test_an_error_within_a_stream_is_the_vendors_own(config):
    served = faulty(config, Fault(body="error_frame", first=9, chunks=3, status=529, code="overloaded"))
    async with client_of(served) as client:
        said = []
        with pytest.raises(openai.APIError, match="told to fail here"):
            async for chunk in await client.chat.completions.create(**STREAM):
                said.append(chunk)  # noqa: PERF401  (what came before the error is kept)
        events = [
            event
            async for event in await client.responses.create(model="m", input=ASK["messages"], stream=True)
        ]
        root = str(client.base_url).removesuffix("/v1/")
        async with anthropic.AsyncAnthropic(base_url=root, api_key="k", max_retries=0) as other:
            with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
                async for _ in await other.messages.create(**STREAM, max_tokens=99):
                    pass
    assert len(said) == 3
    assert (events[-1].type, events[-1].code) == ("error", "overloaded")


async def test_an_error_within_a_document_has_a_good_status(config):
    status, _, body = await whole(faulty(config, Fault(body="error_frame", first=1)))
    assert (status, json.loads(body)["error"]["type"]) == (200, "server_error")


VARIANTS = [
    "unclosed",
    "garbage",
    "nan",
    "nesting",
    "bom",
    "invalid_utf8",
    "list",
    "duplicate_keys",
    "wrong_types",
]


@pytest.mark.parametrize("asked", [ASK, STREAM], ids=["plain", "stream"])
@pytest.mark.parametrize("variant", VARIANTS)
async def test_json_goes_wrong_in_the_way_that_was_asked_for(config, variant, asked):
    fault = Fault(body="malformed", first=1, variant=variant, chunks=1)
    status, _, body = await whole(faulty(config, fault), asked)
    spoilt = body.split(b"\n\n")[1].removeprefix(b"data: ") if "stream" in asked else body
    assert status == 200
    if "stream" in asked:
        assert body.endswith(b"data: [DONE]\n\n")
        json.loads(body.split(b"\n\n")[0].removeprefix(b"data: "))
    if variant in {"list", "duplicate_keys", "wrong_types"}:
        value = json.loads(spoilt)
        assert {"list": isinstance(value, list), "wrong_types": value["id"] == 7 if isinstance(value, dict) else None}.get(variant, spoilt.count(b'"choices"') == 2)  # fmt: skip
    else:
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
            msgspec.json.decode(spoilt, type=dict)


async def test_a_line_is_five_megabytes_long_and_right_otherwise(config):
    _, _, streamed = await whole(faulty(config, Fault(body="long_line", first=1, chunks=2)), STREAM)
    _, _, plain = await whole(faulty(config, Fault(body="long_line", first=1, size=1000)))
    events = [line for line in streamed.split(b"\n\n") if line]
    assert [len(event) > 5_000_000 for event in events[:4]] == [False, False, True, False]
    assert json.loads(events[2].removeprefix(b"data: "))["object"] == "chat.completion.chunk"
    assert len(json.loads(plain)["mock"]) == 1000


async def test_pieces_end_within_characters_and_line_ends(config):
    async with sent(faulty(config, Fault(body="split", first=1, wait_ms=0)), STREAM) as (reader, _):
        await head_of(reader)
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
    said = b"".join(pieces).decode()
    events = [json.loads(line.removeprefix("data: ")) for line in said.split("\r\n\r\n")[:-2]]
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert text == "Größe → 大 🙂 Six times seven is\nA: 42"
    assert sum(piece.endswith(b"\r") for piece in pieces) == said.count("\r")
    assert any(piece.endswith(b"\xf0\x9f\x99") or piece == b"\x9f" for piece in pieces)


@pytest.mark.parametrize("size", [5, 3_000_000])
async def test_a_bomb_decodes_to_its_size_and_is_small_on_the_wire(config, size):
    async with sent(faulty(config, Fault(body="gzip_bomb", first=1, size=size)), headers="connection: close\r\n") as (reader, _):  # fmt: skip
        assert "content-encoding: gzip" in await head_of(reader)
        rest, data = await reader.read(), b""
    wire = len(rest)
    while rest:
        length, _, rest = rest.partition(b"\r\n")
        data, rest = data + rest[: int(length, 16)], rest[int(length, 16) + 2 :]
    assert zlib.decompress(data, wbits=31) == b" " * size
    assert wire < 100 + size / 200


async def test_a_bomb_that_nobody_reads_waits_and_others_are_served(config, tmp_path):
    log = tmp_path / "log.jsonl"
    bomb = Fault(body="gzip_bomb", first=1, size=10 * 2**30)
    async with (
        running(faulty(config, bomb, log=log)) as base_url,
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(f"{base_url}/chat/completions", json=ASK) as unread,
    ):
        assert unread.headers["content-encoding"] == "gzip"
        async with session.post(f"{base_url}/chat/completions", json=ASK) as response:
            assert (await response.json())["choices"][0]["finish_reason"] == "stop"
        assert [call["status"] for call in lines(log)] == [200]
        unread.close()
        async with asyncio.timeout(5):
            while len(lines(log)) < 2:
                await asyncio.sleep(0.01)
    assert [call["status"] for call in lines(log)] == [200, 499]


@pytest.mark.parametrize("how", ["negative", "huge", "missing"])
async def test_usage_is_lied_about_in_every_way(config, how):
    served = faulty(config, Fault(body="usage", first=99, usage=how))
    expected = {"negative": -7, "huge": 10**12, "missing": None}[how]
    async with client_of(served) as client:
        chat = await client.chat.completions.create(**ASK)
        wish = {"include_usage": True}
        stream = await client.chat.completions.create(**STREAM, stream_options=wish)
        last = [chunk async for chunk in stream][-1]
        response = await client.responses.create(model="m", input=ASK["messages"])
        vectors = await client.embeddings.create(model="m", input="one")
        root = str(client.base_url).removesuffix("/v1/")
        async with anthropic.AsyncAnthropic(base_url=root, api_key="k", max_retries=0) as other:
            message = await other.messages.create(**ASK, max_tokens=99)
    said = [(each.usage and each.usage.prompt_tokens) for each in (chat, last)]
    said += [each.usage and each.usage.input_tokens for each in (response, message)]
    assert [*said, getattr(vectors, "usage", None) and vectors.usage.prompt_tokens] == [expected] * 5


async def test_a_redirect_goes_where_it_is_told(config):
    fault = Fault(body="redirect", first=1, location="http://169.254.169.254/latest/meta-data")
    async with sent(faulty(config, fault)) as (reader, _):
        head = await head_of(reader)
    assert head.startswith("http/1.1 302 found")
    assert "location: http://169.254.169.254/latest/meta-data\r\n" in head


@pytest.mark.parametrize("asked", [ASK, STREAM], ids=["plain", "stream"])
async def test_the_right_answer_comes_under_a_wrong_type(config, asked):
    fault = Fault(body="content_type", first=1, content_type="text/plain")
    status, headers, body = await whole(faulty(config, fault), asked)
    assert (status, headers["content-type"]) == (200, "text/plain")
    assert b'"chat.completion' in body


async def test_a_wait_may_be_a_date(config):
    fault = Fault(status=503, first=1, retry_after_date=90)
    _, headers, _ = await whole(faulty(config, fault))
    ahead = parsedate_to_datetime(headers["retry-after"]) - datetime.now(UTC)
    assert timedelta(seconds=60) < ahead <= timedelta(seconds=91)


async def test_an_empty_account_is_told_apart_from_a_limit(config):
    served = faulty(config, Fault(status=429, first=1, code="insufficient_quota"), Fault(status=429, first=2))
    async with client_of(served) as client:
        codes = []
        for _ in range(2):
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(**ASK)
            codes.append((caught.value.code, caught.value.type))
    assert codes == [("insufficient_quota",) * 2, ("rate_limit_exceeded",) * 2]


def test_a_window_takes_the_calls_of_its_time():
    def taken(fault, seconds, number=1):
        return faults.due([fault], number, since_first=seconds, since_start=seconds + 100) is not None

    window = Fault(after_seconds=10, for_seconds=30)
    assert [taken(window, at) for at in (0, 9.9, 10, 39.9, 40)] == [False, False, True, True, False]
    assert [taken(Fault(for_seconds=30, since="start"), at) for at in (0, -90)] == [False, True]
    assert [taken(Fault(after_seconds=5), at) for at in (4, 5, 10**6)] == [False, True, True]
    some = [taken(Fault(for_seconds=30, share=0.5), 1, number) for number in range(1000)]
    assert 430 < sum(some) < 570  # four standard errors and a bit
    assert not any(taken(Fault(for_seconds=30, share=0.5), 31, number) for number in range(100))


async def test_a_window_opens_and_closes_with_the_clock(config):
    clock = ManualClock()
    served = faulty(config, Fault(status=429, after_seconds=60, for_seconds=30))
    async with running(served, clock=clock) as base_url, aiohttp.ClientSession() as session:
        statuses = []
        for _ in range(5):
            async with session.post(f"{base_url}/chat/completions", json=ASK) as response:
                statuses.append(response.status)
            clock.advance(29)
    assert statuses == [200, 200, 200, 429, 200]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"first": 1, "for_seconds": 3}, "leave out `first`"),
        ({"first": 1, "chunks": 3}, "`chunks` means nothing to a fault with the body `error`"),
        ({"first": 1, "body": "cut", "variant": "nan"}, "`variant` means nothing to a fault with the body `cut`"),
        ({"first": 1, "body": "redirect"}, "needs `location`"),
        ({"first": 1, "body": "content_type"}, "needs `content_type`"),
        ({"first": 1, "body": "gzip_bomb", "size": 10**12}, "<= 10737418240"),
        ({"first": 1, "body": "explode"}, "Invalid enum value 'explode'"),
    ],
)  # fmt: skip
def test_words_that_do_not_fit_together_are_refused(given, reason):
    with pytest.raises(msgspec.ValidationError, match=reason):
        msgspec.convert(given, Fault)


async def test_a_model_takes_its_requests_a_minute_and_says_when_there_are_more(config):
    clock = ManualClock()
    models = {"m": Simulated(skill=1, limits=Limits(requests_per_minute=2, tokens_per_minute=100_000))}
    async with (
        running(replace(config, models=models), clock=clock) as base_url,
        aiohttp.ClientSession() as session,
    ):
        answers = []
        for wait in (0, 0, 15, 30, 0):
            async with session.post(f"{base_url}/chat/completions", json=ASK) as response:
                answers.append((response.status, response.headers, await response.json()))
            clock.advance(wait)
    assert [status for status, _, _ in answers] == [200, 200, 429, 429, 200]
    assert answers[0][1]["x-ratelimit-limit-requests"] == "2"
    assert [headers["x-ratelimit-remaining-requests"] for _, headers, _ in answers[:3]] == ["1", "0", "0"]
    assert answers[0][1]["x-ratelimit-reset-requests"] == "30s"
    assert answers[1][1]["x-ratelimit-reset-requests"] == "1m0s"
    assert answers[2][1]["retry-after"] == "30"
    assert "the limit of requests a minute" in answers[2][2]["error"]["message"]
    assert int(answers[0][1]["x-ratelimit-remaining-tokens"]) < 100_000


async def test_every_vendor_counts_its_limits_in_its_own_headers(config):
    models = {"m": Simulated(skill=1, limits=Limits(tokens_per_minute=60))}
    headers = {"anthropic-version": "2023-06-01"}
    gemini = {"contents": [{"parts": [{"text": "What is six times seven, please?"}]}]}
    asked = {
        "/v1/messages": ASK | {"max_tokens": 99},
        "/openai/v1/chat/completions": ASK,
        "/v1beta/models/m:generateContent": gemini,
    }
    seen = {}
    for path, body in asked.items():
        clock = ManualClock()
        async with (
            running(replace(config, models=models), clock=clock) as base_url,
            aiohttp.ClientSession(headers=headers) as session,
        ):
            for _ in range(2):
                async with session.post(base_url.removesuffix("/v1") + path, json=body) as response:
                    seen.setdefault(path, []).append(
                        (response.status, response.headers, await response.json())
                    )
    assert [[status for status, _, _ in answers] for answers in seen.values()] == [[200, 429]] * 3
    (_, first, _), (_, last, _) = seen["/v1/messages"]
    assert (first["anthropic-ratelimit-tokens-limit"], last["retry-after"].isdigit()) == ("60", True)
    assert datetime.fromisoformat(first["anthropic-ratelimit-tokens-reset"]) > ManualClock().now()
    (_, first, _), (_, last, _) = seen["/openai/v1/chat/completions"]
    assert "x-ratelimit-remaining-tokens" in first
    assert int(last["retry-after-ms"]) <= 1000 * int(last["retry-after"])
    (_, first, _), (_, last, document) = seen["/v1beta/models/m:generateContent"]
    assert "retry-after" not in last
    assert document["error"]["details"][0]["retryDelay"].endswith("s")


async def test_vectors_fail_like_everything_else(config):
    models = {
        "m": Simulated(
            skill=1, latency=Fixed(5), faults=(Fault(first=1),), limits=Limits(requests_per_minute=1)
        )
    }
    async with client_of(replace(config, models=models)) as client:
        with pytest.raises(openai.InternalServerError):
            await client.embeddings.create(model="m", input="one")
        await client.embeddings.create(model="m", input="one")
        with pytest.raises(openai.RateLimitError, match="the limit of requests"):
            await client.embeddings.create(model="m", input="one")
