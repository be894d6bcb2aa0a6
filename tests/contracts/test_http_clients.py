"""Both clients against a server that says anything: what they send, what they refuse, how each failure is named."""

import asyncio
import gzip
import os
import time

import pytest
from tests.clients import both_clients, get, post, read
from tests.upstream import STREAM_HEAD, hang_up, http, silence, streamed, upstream

from tiebreak.infrastructure.connections.http import (
    ConnectFailed,
    HttpError,
    Stale,
    TimedOut,
    Timeouts,
    TooLarge,
    Truncated,
    Unreadable,
)

pytestmark = both_clients


async def test_a_request_arrives_as_it_was_made(client):
    async with (
        upstream(http(b"fine", 201, x_told="you")) as server,
        client.send(post(server.url + "/a/b")) as response,
    ):
        assert (response.status, response.headers["x-told"]) == (201, "you")
        assert await response.read() == b"fine"
    (asked,) = server.received
    assert (asked.method, asked.path, asked.headers["x-asked"], asked.body) == ("POST", "/a/b", "yes", b"{}")


async def test_connections_are_used_again(client):
    async with upstream(http(b"fine")) as server:
        for _ in range(5):
            await read(client, get(server.url))
        assert server.connections == 1


async def test_cookies_are_not_kept(client):
    async with upstream(http(b"", set_cookie="a=1; Path=/")) as server:
        for _ in range(2):
            await read(client, get(server.url))
    assert "cookie" not in server.received[1].headers


async def test_the_environment_names_no_proxy(client):
    async with upstream(http(b"proxied")) as proxy, upstream(http(b"direct")) as server:
        os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = proxy.url
        try:
            assert await read(client, get(server.url)) == b"direct"
        finally:
            del os.environ["HTTP_PROXY"], os.environ["http_proxy"]
    assert proxy.connections == 0


async def test_redirects_are_answers(client):
    async with (
        upstream(http(b"target")) as target,
        upstream(http(b"", 302, location=target.url)) as server,
        client.send(get(server.url)) as response,
    ):
        assert (response.status, response.headers["location"]) == (302, target.url)
    assert target.connections == 0


async def test_a_body_comes_in_pieces_as_they_arrive(client):
    async with (
        upstream(streamed(b"one", b"two", b"three", gap=0.02)) as server,
        client.send(get(server.url)) as response,
    ):
        assert [piece async for piece in response.chunks()] == [b"one", b"two", b"three"]


async def test_a_body_over_its_limit_is_refused_at_the_limit(client):
    async with upstream(http(b"x" * 300_000)) as server:
        assert len(await read(client, get(server.url, max_bytes=300_000))) == 300_000
        with pytest.raises(TooLarge, match="299,999"):
            await read(client, get(server.url, max_bytes=299_999))


async def test_a_compressed_body_counts_by_what_it_unpacks_to(client):
    bomb = gzip.compress(b"\0" * 50_000_000)
    async with upstream(http(bomb, content_encoding="gzip")) as server:
        with pytest.raises(TooLarge):
            await read(client, get(server.url, max_bytes=1_000_000))


async def test_a_body_that_is_not_packed_as_it_says_is_truncated(client):
    async with upstream(http(b"this is not gzip", content_encoding="gzip")) as server:
        with pytest.raises(HttpError):
            await read(client, get(server.url))


async def test_nobody_there_is_a_failed_connection(client):
    async with upstream(http(b"")) as server:
        url = server.url
    with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1"):
        await read(client, get(url))


async def test_an_unknown_name_is_a_failed_connection(client_type):
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    client = client_type("loopback", lookup=nowhere)
    with pytest.raises(ConnectFailed, match=r"no-such-name\.example"):
        await read(client, get("http://no-such-name.example/"))
    await client.close()


async def test_a_name_without_addresses_is_a_failed_connection(client_type):
    async def empty(host: str, port: int) -> list[str]:
        return []

    client = client_type("loopback", lookup=empty)
    with pytest.raises(HttpError):
        await read(client, get("http://no-address.example/"))
    await client.close()


async def test_a_server_that_speaks_no_tls_is_a_failed_connection(client):
    async with upstream(http(b"")) as server:
        with pytest.raises(HttpError):
            await read(client, get(server.url.replace("http:", "https:"), timeouts=Timeouts(total=3)))


@pytest.mark.parametrize(
    "nonsense", [b"220 smtp.example.org ESMTP\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"HTTP/9.9 abc\r\n\r\n"]
)
async def test_what_is_not_http_is_unreadable(client, nonsense):
    async with upstream(nonsense + b"connection: close\r\n") as server:
        with pytest.raises(Unreadable):
            await read(client, get(server.url, timeouts=Timeouts(total=2)))


async def test_a_connection_closed_before_the_answer_is_truncated(client):
    async with upstream(hang_up) as server:
        with pytest.raises(Truncated) as caught:
            await read(client, post(server.url))
    assert not isinstance(caught.value, Stale)


async def test_a_used_connection_closed_before_the_answer_is_stale(client):
    async with upstream(http(b"fine"), hang_up) as server:
        await read(client, post(server.url))
        with pytest.raises(Stale):
            await read(client, post(server.url))
    assert len(server.received) == 2


async def test_a_used_connection_closed_after_work_is_truncated_not_stale(client):
    async def worked(_, writer):
        await asyncio.sleep(0.8)
        writer.close()

    async with upstream(http(b"fine"), worked) as server:
        await read(client, post(server.url))
        with pytest.raises(Truncated) as caught:
            await read(client, post(server.url))
    assert not isinstance(caught.value, Stale)


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
        STREAM_HEAD + b"5\r\nhello\r\n",
        STREAM_HEAD + b"50\r\nhel",
    ],
)
async def test_an_answer_cut_in_the_middle_is_truncated(client, cut):
    async def answer(_, writer):
        writer.write(cut)
        await writer.drain()
        writer.close()

    async with upstream(answer) as server:
        with pytest.raises(Truncated, match="middle"):
            await read(client, get(server.url))


async def test_silence_ends_at_the_idle_limit(client):
    async with upstream(silence) as server:
        began = time.monotonic()
        with pytest.raises(TimedOut, match=r"no byte within 0\.2 s") as caught:
            await read(client, get(server.url, timeouts=Timeouts(idle=0.2, total=10)))
        assert caught.value.phase == "idle"
        assert 0.2 <= time.monotonic() - began < 1.0


async def test_a_call_ends_at_its_total_limit_even_while_bytes_come(client):
    async with upstream(streamed(*[b"x"] * 100, gap=0.05)) as server:
        began = time.monotonic()
        with pytest.raises(TimedOut) as caught:
            await read(client, get(server.url, timeouts=Timeouts(idle=1, total=0.3)))
        assert caught.value.phase == "total"
        assert 0.3 <= time.monotonic() - began < 1.5


async def test_leaving_early_closes_the_connection(client):
    async with upstream(streamed(*[b"x" * 100] * 100, gap=0.02)) as server:
        async with client.send(get(server.url)) as response:
            async for _ in response.chunks():
                break
        async with asyncio.timeout(5):
            while server.closed == 0:
                await asyncio.sleep(0.01)


async def test_draining_a_finished_body_keeps_the_connection(client):
    async with upstream(streamed(b"x"), http(b"fine")) as server:
        async with client.send(get(server.url)) as response:
            await response.drain(1.0)
        await read(client, get(server.url))
        assert server.connections == 1


async def test_draining_gives_up_in_time(client):
    async def endless(_, writer):
        writer.write(STREAM_HEAD + b"1\r\nx\r\n")
        await silence(_, writer)

    async with upstream(endless) as server:
        began = time.monotonic()
        async with client.send(get(server.url)) as response:
            await response.drain(0.1)
        assert time.monotonic() - began < 0.5


async def test_cancelling_a_call_closes_its_connection(client):
    async with upstream(silence) as server:
        call = asyncio.create_task(read(client, get(server.url)))
        async with asyncio.timeout(5):
            while not server.received:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            while server.closed == 0:
                await asyncio.sleep(0.01)


async def test_no_more_connections_than_the_limit(client_type):
    client = client_type("loopback", limit=2)

    async def slow(_, writer):
        await asyncio.sleep(0.02)
        writer.write(http(b"fine"))

    async with upstream(slow) as server:
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*(read(client, get(server.url)) for _ in range(10)))
        assert answers == [b"fine"] * 10
        assert server.connections == 2
    await client.close()


async def test_a_closed_client_opens_again(client):
    async with upstream(http(b"fine")) as server:
        await read(client, get(server.url))
        await client.close()
        assert await read(client, get(server.url)) == b"fine"
