"""Both clients over TLS and through a proxy, with certificates made for the test."""

import asyncio
import os
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from tests.certificates import Authority, authority
from tests.clients import both_clients, get, post, read
from tests.contracts.test_http_clients_wire import FRAMED, sending
from tests.upstream import hang_up, http, silence, streamed, upstream

from tiebreak.infrastructure.connections.http import (
    AddressRefused,
    ConnectFailed,
    HttpError,
    Route,
    Stale,
    TimedOut,
    Timeouts,
    TooLarge,
    Truncated,
)

pytestmark = both_clients


@pytest.fixture(scope="module")
def signed(tmp_path_factory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusting(signed) -> Route:
    return Route(ca_bundle=signed.bundle)


def local(server, path: str = "/") -> str:
    return f"https://localhost:{server.port}{path}"


async def test_a_call_over_tls_arrives_and_its_connection_is_kept(client, signed, trusting):
    async with upstream(http(b"fine"), tls=signed.server()) as server:
        for _ in range(3):
            assert await read(client, post(local(server), b"x" * 200_000, route=trusting)) == b"fine"
        assert server.connections == 1
    assert server.received[2].body == b"x" * 200_000


async def test_a_stream_over_tls_comes_in_pieces(client, signed, trusting):
    async with (
        upstream(streamed(b"one", b"two", b"three", gap=0.02), tls=signed.server()) as server,
        client.send(get(local(server), route=trusting)) as response,
    ):
        assert [piece async for piece in response.chunks()] == [b"one", b"two", b"three"]


@pytest.mark.parametrize("answer", FRAMED.values(), ids=FRAMED)
async def test_framed_answers_are_read_over_tls_byte_by_byte_and_the_connection_kept(
    client, signed, trusting, answer
):
    pieces = [answer[at : at + 1] for at in range(len(answer))]
    async with upstream(sending(*pieces, gap=0), tls=signed.server()) as server:
        for _ in range(2):
            assert await read(client, get(local(server), route=trusting)) == b"fine"
        assert server.connections == 1


async def test_a_head_over_tls_that_is_late_ends_at_its_limit(client, signed, trusting):
    async with upstream(silence, tls=signed.server()) as server:
        with pytest.raises(TimedOut) as caught:
            await read(client, get(local(server), route=trusting, timeouts=Timeouts(head=0.3)))
    assert caught.value.phase == "head"


async def test_a_body_over_its_limit_is_refused_over_tls(client, signed, trusting):
    async with upstream(http(b"x" * 300_000), tls=signed.server()) as server:
        with pytest.raises(TooLarge, match="299,999"):
            await read(client, get(local(server), route=trusting, max_bytes=299_999))


async def test_a_large_answer_over_tls_is_whole(client, signed, trusting):
    body = bytes(range(256)) * 16_000
    async with upstream(http(body), tls=signed.server()) as server:
        assert await read(client, get(local(server), route=trusting)) == body


async def test_a_certificate_that_nobody_vouches_for_is_a_failed_connection(client, signed):
    async with upstream(http(b"secret"), tls=signed.server()) as server:
        with pytest.raises(ConnectFailed, match="certificate verify failed"):
            await read(client, get(local(server), timeouts=Timeouts(total=5)))
    assert server.received == []


async def test_a_certificate_for_another_name_is_a_failed_connection(client, signed, trusting):
    async with upstream(http(b"secret"), tls=signed.server("other.example")) as server:
        with pytest.raises(ConnectFailed, match="certificate verify failed"):
            await read(client, get(local(server), route=trusting))
    assert server.received == []


async def test_trust_is_not_shared_between_routes(client, signed, trusting):
    async with upstream(http(b"fine"), tls=signed.server()) as server:
        assert await read(client, get(local(server), route=trusting)) == b"fine"
        with pytest.raises(ConnectFailed):
            await read(client, get(local(server)))


async def test_a_client_certificate_is_shown_where_the_route_has_one(client, signed):
    shown = Route(ca_bundle=signed.bundle, client_certificate=signed.issue("tiebreak"))
    async with upstream(http(b"fine"), tls=signed.server(ask_for_certificate=True)) as server:
        assert await read(client, get(local(server), route=shown)) == b"fine"
        with pytest.raises(HttpError):
            await read(client, get(local(server), route=Route(ca_bundle=signed.bundle)))


@pytest.mark.parametrize("broken", ["missing", "nonsense"])
async def test_a_file_that_cannot_be_used_is_named(client, signed, tmp_path, broken):
    path = tmp_path / f"{broken}.pem"
    if broken == "nonsense":
        path.write_text("this is no certificate")
    for route in (
        Route(ca_bundle=str(path)),
        Route(ca_bundle=signed.bundle, client_certificate=str(path)),
    ):
        with pytest.raises(ConnectFailed, match=f"{broken}.pem"):
            await read(client, get("https://localhost:8/", route=route))


async def test_tls_that_stalls_ends_at_the_connect_limit(client, trusting):
    async with upstream(silence) as server:
        with pytest.raises(TimedOut) as caught:
            await read(client, get(local(server), route=trusting, timeouts=Timeouts(connect=0.2)))
    assert caught.value.phase == "connect"


async def test_silence_over_tls_ends_at_the_idle_limit(client, signed, trusting):
    async with upstream(silence, tls=signed.server()) as server:
        with pytest.raises(TimedOut) as caught:
            await read(client, get(local(server), route=trusting, timeouts=Timeouts(idle=0.2)))
    assert caught.value.phase == "idle"


async def test_connections_over_tls_that_close_are_named_as_others_are(client, signed, trusting):
    async with upstream(hang_up, http(b"fine"), hang_up, tls=signed.server()) as server:
        with pytest.raises(Truncated) as caught:
            await read(client, post(local(server), route=trusting))
        assert not isinstance(caught.value, Stale)
        await read(client, post(local(server), route=trusting))
        with pytest.raises(Stale):
            await read(client, post(local(server), route=trusting))


async def test_cancelling_a_call_over_tls_closes_its_connection(client, signed, trusting):
    async with upstream(silence, tls=signed.server()) as server:
        call = asyncio.create_task(read(client, get(local(server), route=trusting)))
        async with asyncio.timeout(5):
            while not server.received:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            while server.closed == 0:
                await asyncio.sleep(0.01)


async def test_the_environment_writes_no_keys_down(client, signed, trusting, tmp_path):
    os.environ["SSLKEYLOGFILE"] = str(tmp_path / "keys")
    try:
        async with upstream(http(b"fine"), tls=signed.server()) as server:
            assert await read(client, get(local(server), route=trusting)) == b"fine"
    finally:
        del os.environ["SSLKEYLOGFILE"]
    assert not (tmp_path / "keys").exists()


@dataclass
class Tunnels:
    """A proxy: connects where it is asked to, or answers with `refusal`."""

    refusal: bytes | None = None
    asked: list[bytes] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        if self.refusal is not None:
            writer.write(self.refusal)
            writer.close()
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(carry(reader, there_writer), carry(there_reader, writer))
        finally:
            there_writer.close()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxy(refusal: bytes | None = None) -> AsyncIterator[Tunnels]:
    made = Tunnels(refusal)
    tasks: set[asyncio.Task] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        try:
            await made.serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_call_goes_through_the_proxy_of_its_route(client, signed):
    async with upstream(http(b"fine"), tls=signed.server()) as server, proxy() as through:
        route = Route(proxy=f"http://me:p%40ss@127.0.0.1:{through.port}", ca_bundle=signed.bundle)
        for _ in range(2):
            assert await read(client, get(local(server), route=route)) == b"fine"
        await client.close()
    (asked,) = through.asked
    assert asked.startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\n".encode())
    assert b64encode(b"me:p@ss") in asked
    assert "proxy-authorization" not in server.received[0].headers


async def test_a_proxy_that_declines_is_a_failed_connection(client, signed):
    async with proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n") as through:
        route = Route(proxy=f"http://127.0.0.1:{through.port}", ca_bundle=signed.bundle)
        with pytest.raises(ConnectFailed, match="407"):
            await read(client, get("https://localhost:8/", route=route))


@pytest.mark.parametrize(
    "answer", [b"", b"220 smtp.example ESMTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"x" * 20_000]
)
async def test_what_is_no_proxy_is_a_failed_call(client, signed, answer):
    async with proxy(answer) as through:
        route = Route(proxy=f"http://127.0.0.1:{through.port}", ca_bundle=signed.bundle)
        with pytest.raises(HttpError):
            await read(client, get("https://localhost:8/", route=route, timeouts=Timeouts(total=3)))


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "2852039166"])
async def test_a_proxy_is_not_asked_for_an_address_that_is_refused(client, host):
    async with proxy() as through:
        route = Route(proxy=f"http://127.0.0.1:{through.port}")
        with pytest.raises(AddressRefused):
            await read(client, get(f"https://{host}/", route=route))
    assert through.asked == []


async def test_a_proxy_at_an_address_that_is_refused_is_not_asked(client_type):
    public = client_type("public")
    async with proxy() as through:
        route = Route(proxy=f"http://127.0.0.1:{through.port}")
        with pytest.raises((AddressRefused, ConnectFailed)):
            await read(public, get("https://vendor.example/", route=route))
        await public.close()
    assert through.asked == []


def test_the_system_s_authorities_are_trusted_by_default(client_type):
    assert client_type("public")._tls(None).verify_mode is ssl.CERT_REQUIRED
