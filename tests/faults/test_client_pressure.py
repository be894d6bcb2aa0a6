"""Rows P6 and U8 on the client's side: who does not read slows the vendor down, and who leaves frees it at once."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.clients import both_clients, get, read
from tests.upstream import STREAM_HEAD, Received, Wire, http, silence, upstream

from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.connections.http import Timeouts
from tiebreak.infrastructure.connections.http1_client import Http1Client

PIECE = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
STREAM = 64 * 1024 * 1024  # bytes a reader would get, if it read


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


@dataclass
class Flood:
    """A server that sends each of its clients a long stream, as fast as they take it; `sent` counts bytes."""

    port: int = 0
    sent: int = 0


class Flooding(asyncio.Protocol):
    """Writes until the transport says stop, so that this side keeps nothing of what is not taken."""

    def __init__(self, flood: Flood) -> None:
        self.flood = flood
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.task: asyncio.Task | None = None

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=0)

    def data_received(self, data):
        if (self.task is None or self.task.done()) and data.endswith(b"\r\n\r\n"):
            self.task = asyncio.create_task(self.stream())

    def pause_writing(self):
        self.flowing.clear()

    def resume_writing(self):
        self.flowing.set()

    def connection_lost(self, exc):
        if self.task is not None:
            self.task.cancel()

    async def stream(self) -> None:
        self.transport.write(STREAM_HEAD)
        for _ in range(STREAM // 0x4000):
            await self.flowing.wait()
            self.transport.write(PIECE)
            self.flood.sent += 0x4000
            await asyncio.sleep(0)
        self.transport.write(b"0\r\n\r\n")


@asynccontextmanager
async def flood() -> AsyncIterator[Flood]:
    made = Flood()
    server = await asyncio.get_running_loop().create_server(lambda: Flooding(made), "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


async def still(made: Flood) -> int:
    """How much was sent when nothing was sent any more for half a second."""
    async with asyncio.timeout(60):
        while True:
            before = made.sent
            await asyncio.sleep(0.5)
            if made.sent == before:
                return before


# What a stalled reader may hold in our memory, kernel buffers apart. aiohttp reads up to 256 KiB at once.
ALLOWED_KIB = {Http1Client: 64, AiohttpClient: 1024}


@both_clients
@pytest.mark.parametrize("readers", [20, pytest.param(500, marks=pytest.mark.faults)])
async def test_p6_readers_that_stall_stop_the_vendor(client_type, readers):
    client = client_type("loopback")
    limits = Timeouts(connect=30, idle=60, total=120)
    async with flood() as made:
        url = f"http://127.0.0.1:{made.port}/"
        async with client.send(get(url, timeouts=limits, max_bytes=STREAM)) as response:
            async for _ in response.chunks():  # what warms up does so before
                pass
        made.sent = 0
        before = resident_kib()
        async with AsyncExitStack() as stalled:
            for _ in range(readers):
                await stalled.enter_async_context(client.send(get(url, timeouts=limits)))
            sent = await still(made)
            grown = resident_kib() - before
            assert sent < readers * STREAM / 4
            # The server's own side of each connection lives in this process, too: a task and a transport.
            assert grown <= readers * (ALLOWED_KIB[client_type] + 16) + 4096
    await client.close()


async def test_p6_a_reader_that_goes_on_gets_all_of_it():
    client = Http1Client("loopback")
    async with flood() as made:
        url = f"http://127.0.0.1:{made.port}/"
        async with client.send(get(url, max_bytes=STREAM)) as response:
            await still(made)
            size = 0
            async for piece in response.chunks():
                assert len(piece) <= 64 * 1024
                size += len(piece)
    assert size == STREAM
    await client.close()


async def test_p6_silence_that_the_reader_asked_for_is_not_the_vendor_s():
    client = Http1Client("loopback")
    async with flood() as made:
        url = f"http://127.0.0.1:{made.port}/"
        quick = Timeouts(idle=0.3, total=30)
        async with client.send(get(url, timeouts=quick, max_bytes=STREAM)) as response:
            await still(made)
            assert sum([len(piece) async for piece in response.chunks()]) == STREAM
    await client.close()


async def streaming(request: Received, writer: Wire) -> None:
    writer.write(STREAM_HEAD + b"1\r\nx\r\n")
    await silence(request, writer)


@both_clients
@pytest.mark.parametrize("answer", [silence, streaming], ids=["before the head", "in the stream"])
@pytest.mark.parametrize("at_once", [1, pytest.param(200, marks=pytest.mark.faults)])
async def test_u8_leaving_closes_the_vendor_s_side_within_200_ms(client_type, answer, at_once):
    client = client_type("loopback")
    async with upstream(answer) as server:
        calls = [asyncio.create_task(read(client, get(server.url))) for _ in range(at_once)]
        async with asyncio.timeout(20):
            while len(server.received) < at_once:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            began = time.monotonic()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            while server.closed < at_once:
                await asyncio.sleep(0.005)
        took = time.monotonic() - began
        server.script[:] = [http(b"fine")]
        assert await read(client, get(server.url)) == b"fine"
    await client.close()
    assert took < 2.0 if at_once == 1 else took < 0.2
