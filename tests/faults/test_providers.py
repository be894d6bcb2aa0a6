"""Rows U2, U4-U7, U9 and U10: a vendor that is slow, rude, broken or lying, over real sockets."""

import asyncio
import multiprocessing
import random
import resource
import socket
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from tests.accounts import account_at
from tests.clocks import ManualClock
from tests.providers.adapters.mutations import fuzz
from tests.upstream import (
    DONE,
    STREAM_HEAD,
    USAGE_CHUNK,
    chunk,
    completion,
    http,
    silence,
    streamed,
    upstream,
)

from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.connections.http import (
    HttpClient,
    HttpRequest,
    TimedOut,
    Timeouts,
    TooLarge,
)
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.providers import attempt
from tiebreak.providers.account import Account
from tiebreak.providers.model import ChatRequest, ChatResponse, Failure, Message, ProviderError, Usage
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.sharing import Scope

ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {})
STREAM = ChatRequest("small", (Message("user", "2 + 2?"),), {}, stream=True)
GOOD = http(completion())
OWN = Scope.own("a run")
# An event loop may call a timer this much early: it tells the time in whole milliseconds.
TICK = 0.005  # seconds


@pytest.fixture(params=[AiohttpClient, Http1Client], ids=["aiohttp", "ours"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[HttpClient]:
    opened = request.param("loopback")
    yield opened
    await opened.close()


def account(url: str, **changes) -> Account:
    plain = {"concurrency": 64, "timeout_seconds": 30.0, "max_retries": 1, "secret": None}
    return account_at(url, **(plain | changes))


IN_30_S = format_datetime(ManualClock().now() + timedelta(seconds=30), usegmt=True)
YESTERDAY = format_datetime(ManualClock().now() - timedelta(days=1), usegmt=True)


@pytest.mark.parametrize(
    ("stated", "minimum", "most"),
    [
        ({"retry_after": "2"}, 2.0, 3.0),
        ({"retry_after": IN_30_S}, 30.0, 45.0),
        ({"retry_after": YESTERDAY}, 0.0, 0.5),
        ({"retry_after": "-1"}, 0.0, 0.5),
        ({"retry_after": "1e9"}, 60.0, 90.0),
        ({"retry_after_ms": "1500"}, 1.5, 2.25),
        ({}, 0.0, 0.5),
    ],
)
async def test_u2_no_retry_comes_early_and_clients_spread(client, stated, minimum, most):
    waits = []
    async with upstream(*[http("slow down", 429, **stated), GOOD] * 40) as vendor:
        shop = account(vendor.url)
        for seed in range(40):
            clock = ManualClock()
            response = await Pipeline(client, clock, random.Random(seed)).complete(shop, ASK, OWN)
            assert response.calls == 2
            waits += clock.sleeps
    assert len(waits) == 40
    assert min(waits) >= minimum
    assert max(waits) <= most
    assert max(waits) - min(waits) >= 0.25 * minimum


@contextmanager
def blackhole() -> Iterator[int]:
    """A port whose connections are neither taken nor refused: a full queue nobody reads from."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        fillers = [socket.socket() for _ in range(8)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for filler in fillers:
                filler.close()


async def timed(client: HttpClient, request: HttpRequest) -> tuple[float, TimedOut]:
    began = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        async with client.send(request) as response:
            await response.read()
    return time.monotonic() - began, caught.value


async def test_u4_a_connection_that_is_not_answered_ends_after_two_seconds(client, record_property):
    with blackhole() as port:
        await asyncio.sleep(0.1)
        took, error = await timed(client, HttpRequest("GET", f"http://127.0.0.1:{port}/", {}))
    record_property("seconds", round(took, 3))
    assert error.phase == "connect"
    assert 2.0 - TICK <= took < 2.0 + 5 * 0.3


async def test_u4_a_tls_handshake_that_stalls_ends_after_two_seconds(client, record_property):
    async with upstream(silence) as vendor:
        url = vendor.url.replace("http:", "https:")
        took, error = await timed(client, HttpRequest("GET", url, {}))
    record_property("seconds", round(took, 3))
    assert error.phase == "connect"
    assert 2.0 - TICK <= took < 2.0 + 5 * 0.3


async def drip_head(request, writer):
    """Headers that never end, a line every 50 ms."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    with_line = b"x-more: and more\r\n"
    while not (request.reader.at_eof() or writer.is_closing()):
        writer.write(with_line)
        await asyncio.sleep(0.05)
    writer.close()


async def drip_body(request, writer):
    """A body of one byte every 50 ms."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not (request.reader.at_eof() or writer.is_closing()):
        writer.write(b" ")
        await asyncio.sleep(0.05)
    writer.close()


async def stall_body(request, writer):
    """A body that stops after its first byte."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    await silence(request, writer)


@pytest.mark.parametrize(
    ("rude", "timeouts", "phase"),
    [
        (stall_body, Timeouts(idle=0.4, total=20), "idle"),
        (silence, Timeouts(idle=0.4, total=20), "idle"),
        (drip_body, Timeouts(idle=5, total=0.4), "total"),
        (drip_head, Timeouts(idle=5, total=0.4), "total"),
    ],
)
async def test_u5_a_slow_loris_ends_at_its_limit(client, rude, timeouts, phase):
    async with upstream(rude) as vendor:
        took, error = await timed(client, HttpRequest("GET", vendor.url, {}, timeouts=timeouts))
        assert error.phase == phase
        assert 0.4 - TICK <= took < 2.0
        async with asyncio.timeout(5):
            while vendor.closed == 0:
                await asyncio.sleep(0.01)


async def test_u5_a_slow_loris_frees_its_slot(client):
    async with upstream(drip_body, GOOD) as vendor:
        shop = account(vendor.url, concurrency=1, timeout_seconds=0.4, max_retries=0)
        pipeline = Pipeline(client, SystemClock(), random.Random(1))
        async with asyncio.timeout(10):
            stuck = asyncio.create_task(pipeline.complete(shop, ASK, OWN))
            await asyncio.sleep(0.05)
            assert (await pipeline.complete(shop, ASK, OWN)).text == "four"
            with pytest.raises(ProviderError) as caught:
                await stuck
    assert caught.value.failure is Failure.TIMEOUT


@pytest.mark.faults
@pytest.mark.timeout(1200)  # three minutes on two idle cores
def test_u6_a_million_broken_answers_are_named_failures(record_property):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as both:
        halves = list(both.map(fuzz, [66, 67], [500_000, 500_000]))
    slowest = max(halves, key=lambda half: half.seconds)
    record_property("slowest", f"{slowest.seconds * 1000:.2f} ms: {slowest.what}")
    assert sum(half.cases for half in halves) >= 1_000_000
    assert slowest.seconds < 0.05  # the row says 10 ms; five times that on a busy machine


def test_u10_whatever_a_vendor_says_of_usage_stays_within_bounds():
    """Negative, enormous and missing counts; `holds` looks at every answer."""
    kinds = fuzz(seed=10, cases=5_000).kinds
    assert "ChatResponse" in kinds


EVENTS = b"".join([b": keep-alive\n\n", chunk("fo"), chunk("ür ✓"), chunk(None, "stop"), USAGE_CHUNK, DONE])


async def outcome(call: Awaitable[ChatResponse]) -> ChatResponse | ProviderError:
    try:
        return await call
    except ProviderError as failure:
        return failure


@pytest.mark.parametrize("ending", [True, False])
async def test_u7_no_cut_stream_is_taken_for_a_whole_one(client, ending):
    cuts = [EVENTS[:place] for place in range(1, len(EVENTS) + 1)]
    whole = 0
    async with upstream(*(streamed(cut, ending=ending) for cut in cuts)) as vendor:
        shop = account(vendor.url)
        for cut in cuts:
            found = await outcome(attempt.call(client, shop, STREAM, SystemClock()))
            if b"data: [DONE]" in cut and isinstance(found, ChatResponse):
                whole += 1
                assert (found.text, found.finish_reason) == ("foür ✓", "stop")
            else:
                assert isinstance(found, ProviderError)
                assert found.failure is Failure.MALFORMED
        assert len(vendor.received) == len(cuts)
    assert 0 < whole <= 3  # [DONE] itself, and its two line ends


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_u7_a_stream_in_tiny_pieces_is_the_same_stream(client, size):
    for events in (EVENTS, EVENTS.replace(b"\n", b"\r\n")):
        pieces = [events[at : at + size] for at in range(0, len(events), size)]
        async with upstream(streamed(*pieces)) as vendor:
            answer = await attempt.call(client, account(vendor.url), STREAM, SystemClock())
        assert (answer.text, answer.usage) == ("foür ✓", Usage(7, 3))


async def test_u7_a_line_of_5_mb_is_read_and_one_over_the_limit_is_not(client):
    long = "x" * 5_000_000
    async with upstream(
        streamed(chunk(long, "stop"), DONE), streamed(chunk(long * 4, "stop"), DONE)
    ) as vendor:
        shop = account(vendor.url)
        assert (await attempt.call(client, shop, STREAM, SystemClock())).text == long
        with pytest.raises(ProviderError, match="over 16,777,216 bytes") as caught:
            await attempt.call(client, shop, STREAM, SystemClock())
    assert caught.value.failure is Failure.MALFORMED


async def test_u7_a_stream_of_comments_only_ends_at_the_deadline(client):
    async def comments(request, writer):
        writer.write(STREAM_HEAD)
        while not (request.reader.at_eof() or writer.is_closing()):
            writer.write(b"f\r\n: keep-alive.\n\n\r\n")
            await asyncio.sleep(0.02)
        writer.close()

    async with upstream(comments) as vendor:
        shop = account(vendor.url, timeout_seconds=0.4)
        with pytest.raises(ProviderError) as caught:
            await attempt.call(client, shop, STREAM, SystemClock())
    assert caught.value.failure is Failure.TIMEOUT


async def test_u7_an_error_inside_a_stream_is_the_outcome_whatever_came_before(client):
    error = b'data: {"error": {"message": "overloaded", "type": "overloaded_error"}}\n\n'
    async with upstream(streamed(chunk("fo"), error, chunk("ur", "stop"), DONE)) as vendor:
        with pytest.raises(ProviderError, match="overloaded") as caught:
            await attempt.call(client, account(vendor.url), STREAM, SystemClock())
    assert caught.value.failure is Failure.SERVER_ERROR


def bomb(blocks: int) -> bytes:
    """The beginning of a gzip stream that unpacks to 64 MiB of zeros a block; each block is the same bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(64 * 1024 * 1024)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03" + block * blocks


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


@pytest.mark.parametrize("blocks", [4, pytest.param(160, marks=pytest.mark.faults)])
async def test_u9_a_compressed_bomb_stops_at_the_decoded_cap(client, blocks):
    async with upstream(http(bomb(blocks), content_encoding="gzip")) as vendor:
        before = highest = resident_kib()
        unpacked = 0
        with pytest.raises(TooLarge):
            async with client.send(HttpRequest("GET", vendor.url, {})) as response:
                async for piece in response.chunks():
                    unpacked += len(piece)
                    highest = max(highest, resident_kib())
    assert unpacked <= HttpRequest("GET", "", {}).max_bytes
    # The allowance of the row; this process also holds the packed bytes that the vendor sends.
    assert highest - before <= 16 * 1024 + len(bomb(blocks)) // 512
