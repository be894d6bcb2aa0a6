"""Both clients against every way of framing an answer, well-formed or not, and against what must not go out."""

import asyncio
import gzip
import time
import zlib

import pytest
from tests.clients import both_clients, get, post, read
from tests.upstream import STREAM_HEAD, Received, Wire, http, silence, streamed, upstream

from tiebreak.infrastructure.connections.http import (
    HttpError,
    TimedOut,
    Timeouts,
    TooLarge,
    Truncated,
    Unreadable,
)

pytestmark = both_clients

FINE = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def sending(*pieces: bytes, close: bool = False, gap: float = 0.005):
    """An answer in these writes."""

    async def answer(_: Received, writer: Wire) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(gap)
        if close:
            writer.close()

    return answer


FRAMED = {
    "length": FINE,
    "chunked": CHUNKED + b"4\r\nfine\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"2;ext=1\r\nfi\r\n2\r\nne\r\n0\r\nx-trailer: 1\r\nx-other: 2\r\n\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + FINE,
    "early hints": b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + FINE,
    "no phrase": b"HTTP/1.1 200 \r\nContent-Length:4\r\nX-Empty:\r\n\r\nfine",
}


@pytest.mark.parametrize("answer", FRAMED.values(), ids=FRAMED)
@pytest.mark.parametrize("step", [0, 1])
async def test_framed_answers_are_read_and_the_connection_kept(client, answer, step):
    pieces = [answer[at : at + step] for at in range(0, len(answer), step)] if step else [answer]
    async with upstream(sending(*pieces, gap=0)) as server:
        for _ in range(2):
            async with client.send(get(server.url)) as response:
                assert response.status == 200
                assert await response.read() == b"fine"
        assert server.connections == 1


async def test_a_body_without_a_length_ends_with_the_connection(client):
    answer = sending(b"HTTP/1.1 200 OK\r\n\r\nfi", b"ne", close=True)
    async with upstream(answer) as server:
        assert await read(client, get(server.url)) == b"fine"
        assert await read(client, get(server.url)) == b"fine"
        assert server.connections == 2


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nconnection: close\r\n"])
async def test_a_connection_that_is_not_to_be_kept_is_not(client, head):
    async with upstream(head + b"content-length: 4\r\n\r\nfine") as server:
        for _ in range(2):
            assert await read(client, get(server.url)) == b"fine"
        assert server.connections == 2


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_are_whole_at_once(client, status):
    async with upstream(f"HTTP/1.1 {status} Said\r\n\r\n".encode(), FINE) as server:
        async with client.send(get(server.url)) as response:
            assert (response.status, await response.read()) == (status, b"")
        assert await read(client, get(server.url)) == b"fine"


async def test_what_follows_an_answer_is_never_taken_for_the_next(client):
    async with upstream(FINE + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong", FINE) as server:
        for _ in range(3):
            assert await read(client, get(server.url)) == b"fine"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nfine!",
        b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\nfine\r\n",
        CHUNKED + b"4\r\nfine!!\r\n",
        CHUNKED + b"ffffffffffffffffff\r\nfine",
        b"HTTP/1.1 200 OK\r\nbad header\x00: 1\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
    ],
)
async def test_answers_that_contradict_themselves_are_failures(client, answer):
    async with upstream(sending(answer, close=True)) as server:
        with pytest.raises((Unreadable, Truncated)):
            await read(client, get(server.url, timeouts=Timeouts(total=3)))


async def test_a_hundred_and_fifty_headers_and_a_long_one_are_read(client):
    more = {f"x-{number}": "v" * 100 for number in range(150)}
    async with (
        upstream(http(b"fine", long="l" * 30_000, **more)) as server,
        client.send(get(server.url)) as response,
    ):
        assert response.headers["x-149"] == "v" * 100
        assert len(response.headers["long"]) == 30_000
        assert await response.read() == b"fine"


async def test_a_head_without_end_is_refused(client):
    async def endless(request: Received, writer: Wire) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not request.reader.at_eof():
            writer.write(b"x-more: " + b"m" * 8000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)

    async with upstream(endless) as server:
        with pytest.raises(HttpError):
            await read(client, get(server.url, timeouts=Timeouts(total=10)))


async def test_the_first_of_a_repeated_header_counts_and_bytes_beyond_ascii_survive(client):
    answer = "HTTP/1.1 200 OK\r\nx-a: one\r\nX-A: two\r\nx-b: ünï\r\ncontent-length: 0\r\n\r\n".encode()
    async with upstream(answer) as server, client.send(get(server.url)) as response:
        assert (response.headers["x-a"], response.headers["x-b"]) == ("one", "ünï")


RAW_DEFLATE = zlib.compressobj(wbits=-15)
PACKED = {
    "gzip": gzip.compress(b"fine" * 10_000),
    "deflate": zlib.compress(b"fine" * 10_000),
    "raw deflate": RAW_DEFLATE.compress(b"fine" * 10_000) + RAW_DEFLATE.flush(),
}


@pytest.mark.parametrize("packing", PACKED)
async def test_packed_bodies_are_unpacked(client, packing):
    async with upstream(http(PACKED[packing], content_encoding=packing.split()[-1])) as server:
        assert await read(client, get(server.url)) == b"fine" * 10_000
        with pytest.raises(TooLarge, match="39,999"):
            await read(client, get(server.url, max_bytes=39_999))


async def test_a_body_is_asked_for_as_it_is_unless_the_caller_says_otherwise(client):
    async with upstream(FINE) as server:
        await read(client, get(server.url))
        await read(client, get(server.url, {"Accept-Encoding": "gzip"}))
    assert [asked.headers["accept-encoding"] for asked in server.received] == ["identity", "gzip"]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-key": "a\r\nx-smuggled: 1"},
        {"x-key": "a\nb"},
        {"x-key": "a\rb"},
        {"x-key": "a\0b"},
        {"x\r\ny": "a"},
        {"x y": "a"},
        {"x:": "a"},
        {"": "a"},
        {"Content-Length": "5"},
        {"transfer-encoding": "chunked"},
    ],
)
async def test_nothing_is_sent_with_a_header_that_breaks_out_of_its_line(client, headers):
    async with upstream(FINE) as server:
        with pytest.raises(ValueError, match=r"header|leave them out"):
            await read(client, get(server.url, headers))
        assert server.connections == 0


async def test_a_large_body_is_sent_whole(client):
    body = bytes(range(256)) * 12_000
    async with upstream(FINE) as server:
        assert await read(client, post(server.url, body)) == b"fine"
    assert server.received[0].body == body


async def test_a_head_that_is_late_ends_at_its_limit(client):
    async with upstream(silence) as server:
        began = time.monotonic()
        with pytest.raises(TimedOut) as caught:
            await read(client, get(server.url, timeouts=Timeouts(head=0.2, idle=5, total=5)))
        assert caught.value.phase == "head"
        assert 0.2 <= time.monotonic() - began < 2.0


async def test_once_the_head_is_there_its_limit_is_over(client):
    async with upstream(streamed(*[b"x"] * 8, gap=0.05)) as server:
        assert await read(client, get(server.url, timeouts=Timeouts(head=0.2))) == b"x" * 8


async def left(server) -> float:
    """Seconds until the server sees its client leave."""
    began = time.monotonic()
    async with asyncio.timeout(5):
        while server.closed == 0:
            await asyncio.sleep(0.005)
    return time.monotonic() - began


async def test_who_waits_for_a_slow_stream_and_is_cancelled_frees_the_vendor_at_once(client):
    async def endless(request: Received, writer: Wire) -> None:
        writer.write(STREAM_HEAD + b"1\r\nx\r\n")
        await silence(request, writer)

    async def follow() -> None:
        async with client.send(get(server.url)) as response:
            async for _ in response.chunks():
                begun.set()

    begun = asyncio.Event()
    async with upstream(endless) as server:
        call = asyncio.create_task(follow())
        await asyncio.wait_for(begun.wait(), 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await left(server) < 2.0


async def test_a_name_is_looked_up_for_every_new_connection(client_type):
    asked = []

    async def lookup(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    client = client_type("loopback", lookup=lookup)
    async with upstream(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n") as server:
        await read(client, get(f"http://vendor.example:{server.port}/"))
        await client.close()
        await read(client, get(f"http://vendor.example:{server.port}/"))
    await client.close()
    assert asked == ["vendor.example", "vendor.example"]
    assert server.received[0].headers["host"] == f"vendor.example:{server.port}"


async def test_an_address_that_does_not_answer_is_passed_over(client_type):
    async def lookup(host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.1"]  # the server listens on the second only

    client = client_type("loopback", lookup=lookup)
    async with upstream(FINE) as server:
        assert await read(client, get(f"http://vendor.example:{server.port}/")) == b"fine"
    await client.close()


async def test_an_unused_connection_closes_in_time(client_type):
    client = client_type("loopback", keepalive=0.2)
    async with upstream(FINE) as server:
        await read(client, get(server.url))
        assert server.closed == 0
        assert await left(server) < 4.0
        assert await read(client, get(server.url)) == b"fine"
    await client.close()
