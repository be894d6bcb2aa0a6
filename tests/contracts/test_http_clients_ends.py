"""Both clients where an exchange ends badly or early: servers that close at once, callers that leave at any moment."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from socket import SHUT_RDWR, create_server

import pytest
from tests.certificates import Authority, authority
from tests.clients import both_clients, get, post, read
from tests.upstream import STREAM_HEAD, Received, Wire, http, silence, upstream

from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.connections.http import HttpError, Route, Stale, TimedOut, Timeouts, Truncated
from tiebreak.infrastructure.connections.http1_client import Http1Client

pytestmark = both_clients

SIZE = 300_000
FINE = http(b"fine")


@pytest.fixture(scope="module")
def signed(tmp_path_factory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def blunt(tls: ssl.SSLContext, head: bytes, *, farewell: bool) -> Iterator[str]:
    """A TLS server that writes its answer and closes in the same breath, as one with threads does."""
    listening = create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listening.accept()
                plain.settimeout(10)
                with suppress(OSError), tls.wrap_socket(plain, server_side=True) as sock:
                    sock.recv(65536)
                    sock.sendall(head + b"x" * SIZE)
                    if farewell:
                        sock.settimeout(0)
                        with suppress(ssl.SSLError):
                            sock.unwrap()
                    sock.shutdown(SHUT_RDWR)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://localhost:{listening.getsockname()[1]}/"
    finally:
        listening.shutdown(SHUT_RDWR)
        thread.join(15)
        listening.close()
        assert not thread.is_alive()


LENGTH = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % SIZE
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


async def slowly(client, request) -> bytes:
    """The body, read by somebody who has other things to do."""
    async with client.send(request) as response:
        pieces = []
        async for piece in response.chunks():
            pieces.append(piece)
            await asyncio.sleep(0.02)
    return b"".join(pieces)


@pytest.mark.parametrize("reading", [read, slowly])
@pytest.mark.parametrize(
    ("head", "farewell"),
    [(LENGTH, True), (LENGTH, False), (UNTIL_CLOSE, True)],
    ids=["length", "cut", "close"],
)
async def test_an_answer_over_tls_is_whole_although_the_server_closes_behind_it(
    client, signed, reading, head, farewell
):
    with blunt(signed.server(), head, farewell=farewell) as url:
        for _ in range(5):
            body = await reading(client, get(url, route=Route(ca_bundle=signed.bundle)))
            assert len(body) == SIZE


async def test_a_body_that_ends_with_the_connection_needs_the_farewell_of_tls(client, client_type, signed):
    """RFC 9112, 8: without it, somebody between may have cut the answer short."""
    with blunt(signed.server(), UNTIL_CLOSE, farewell=False) as url:
        request = get(url, route=Route(ca_bundle=signed.bundle))
        if client_type is AiohttpClient:  # does not look
            assert len(await read(client, request)) == SIZE
        else:
            with pytest.raises(Truncated):
                await read(client, request)


async def test_a_chunked_body_is_chunked_however_many_headers_say_how_it_is_coded(client):
    async def answer(_: Received, writer: Wire) -> None:
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"10\r\nfine")
        await writer.drain()
        writer.close()

    async with upstream(answer) as server:
        with pytest.raises(Truncated):
            await read(client, get(server.url))


async def test_an_offer_to_upgrade_is_no_upgrade(client):
    offer = http(b"fine", upgrade="h2,h2c", connection="Upgrade, Keep-Alive")
    async with upstream(offer) as server:
        for _ in range(2):
            assert await read(client, get(server.url)) == b"fine"


async def test_a_304_that_tells_a_length_has_no_body_all_the_same(client):
    async with upstream(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 400\r\n\r\n", FINE) as server:
        assert await read(client, get(server.url, timeouts=Timeouts(total=3))) == b""
        assert await read(client, get(server.url)) == b"fine"


async def test_silence_after_a_pause_of_the_reader_ends_at_the_idle_limit(client):
    """The limit starts anew when the reader goes on."""

    async def flood_then_silence(request: Received, writer: Wire) -> None:
        writer.write(STREAM_HEAD)
        for _ in range(64):
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await silence(request, writer)

    limits = Timeouts(idle=0.5, total=30)
    async with upstream(flood_then_silence) as server:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimedOut) as caught:
            async with client.send(get(server.url, timeouts=limits)) as response:
                await asyncio.sleep(1.2)
                async for _ in response.chunks():
                    pass
    assert caught.value.phase == "idle"
    assert asyncio.get_running_loop().time() - began < 10


@asynccontextmanager
async def bare(*, answer: bytes) -> AsyncIterator[tuple[str, list[Wire]]]:
    """A server that reads no more than a request's head, says `answer` and resets; its URL, and who came."""
    came: list[Wire] = []
    tasks: list[asyncio.Task] = []

    async def serve(reader: asyncio.StreamReader, writer: Wire) -> None:
        tasks.append(asyncio.current_task())
        came.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await asyncio.sleep(0.2)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", came
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def test_an_answer_before_the_body_is_sent_counts_and_its_connection_is_not_kept(client):
    async with bare(answer=http(b"too large", 413)) as (url, came):
        for _ in range(2):
            async with client.send(post(url, b"x" * 8_000_000, timeouts=Timeouts(total=5))) as response:
                assert (response.status, await response.read()) == (413, b"too large")
        assert len(came) == 2


async def test_a_server_that_closes_while_the_body_is_sent_is_truncated_and_not_stale(client):
    async with bare(answer=b"") as (url, _):
        with pytest.raises(Truncated) as caught:
            await read(client, post(url, b"x" * 8_000_000, timeouts=Timeouts(total=5)))
    assert not isinstance(caught.value, Stale)


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
async def test_a_call_cancelled_at_any_moment_gives_its_place_back(client_type, signed, over_tls):
    """One place in all: one that is lost would keep everybody after it waiting."""

    async def lookup(host: str, port: int) -> list[str]:
        await asyncio.sleep(0)
        return ["127.0.0.2", "127.0.0.1"]  # the first refuses

    client = client_type("loopback", limit=1, lookup=lookup)
    async with upstream(FINE, tls=signed.server() if over_tls else None) as server:
        url = f"{'https' if over_tls else 'http'}://localhost:{server.port}/"
        request = get(url, route=Route(ca_bundle=signed.bundle), timeouts=Timeouts(connect=5, total=5))
        for steps in range(60):
            call = asyncio.create_task(read(client, request))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
            if steps % 2:
                assert await read(client, request) == b"fine"
        await asyncio.gather(*(read(client, request) for _ in range(5)))
    await client.close()
    if client_type is Http1Client:
        assert (client._pool._open, client._pool._origins, client._connections) == (0, {}, set())


async def test_garbage_on_an_unused_connection_is_not_the_next_answer(client, client_type, request):
    if client_type is AiohttpClient:
        reason = "aiohttp takes what came between two calls for the answer to the second"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    async def late_garbage(_: Received, writer: Wire) -> None:
        writer.write(FINE)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(http(b"wrong"))

    async with upstream(late_garbage) as server:
        for _ in range(3):
            assert await read(client, get(server.url)) == b"fine"
            await asyncio.sleep(0.15)


async def test_closing_the_client_ends_the_calls_under_way(client):
    async with upstream(silence) as server:
        call = asyncio.create_task(read(client, get(server.url)))
        async with asyncio.timeout(5):
            while not server.received:
                await asyncio.sleep(0.01)
            await client.close()
            with pytest.raises(HttpError):
                await call
