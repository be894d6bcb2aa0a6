"""Our server: more and fewer sockets while it runs, and a departure that cuts nobody off."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import uvicorn
from starlette.types import Receive, Scope, Send

from tiebreak.infrastructure.middleware.protocol import BoundedHttpProtocol
from tiebreak.infrastructure.middleware.server import Server

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE = 20.0


class Application:
    """Answers when it may, and tells when it was asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        await self.may.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def running(app: Application) -> AsyncIterator[Server]:
    config = uvicorn.Config(
        app, http=BoundedHttpProtocol, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=5
    )
    started = asyncio.Event()
    server = Server(config, on_started=started.set, linger=3.0)
    serving = asyncio.create_task(server.serve(sockets=[]))
    async with asyncio.timeout(PATIENCE):
        await started.wait()
    try:
        yield server
    finally:
        server.should_exit = True
        async with asyncio.timeout(PATIENCE):
            await serving


@contextlib.asynccontextmanager
async def connected(
    listener: socket.socket,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"ok"
    return head.decode()


async def test_it_accepts_from_the_sockets_it_is_given_and_leaves_the_others_their_queue():
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        async with running(Application()) as server:
            await server.listen_on({0: one, 1: two})
            async with connected(two) as (kept, keeping):
                keeping.write(ASK)
                await answer(kept)
                await server.listen_on({0: one})
                async with connected(two):
                    keeping.write(ASK)
                    await answer(kept)  # what was accepted stays
                    two.settimeout(PATIENCE)
                    accepted, _ = await asyncio.to_thread(two.accept)  # what was not waits for others
                    accepted.close()
            await server.listen_on({0: one, 1: two})
            for listener in (one, two):
                async with connected(listener) as (reader, writer):
                    writer.write(ASK)
                    await answer(reader)


async def test_an_idle_connection_may_still_ask_while_it_leaves_and_is_told_that_it_ends():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with running(Application()) as server:
            await server.listen_on({0: listener})
            async with connected(listener) as (reader, writer):
                writer.write(ASK)
                assert "connection: close" not in await answer(reader)
                server.should_exit = True
                await asyncio.sleep(0.2)  # it has noticed: it looks ten times a second
                writer.write(ASK)
                assert "connection: close" in await answer(reader)
                async with asyncio.timeout(PATIENCE):
                    assert await reader.read() == b""


async def test_a_request_that_is_being_answered_is_finished_and_told_that_the_connection_ends():
    app = Application()
    app.may.clear()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with running(app) as server:
            await server.listen_on({0: listener})
            async with connected(listener) as (reader, writer):
                writer.write(ASK)
                await app.asked.wait()
                server.should_exit = True
                await asyncio.sleep(0.3)
                app.may.set()
                assert "connection: close" in await answer(reader)
