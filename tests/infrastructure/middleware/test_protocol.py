"""What stands before a body is bounded: counted in bytes and lines, and in time. Real uvicorn, raw sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from tiebreak.infrastructure.middleware import protocol


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Impatient(protocol.BoundedHttpProtocol):
    head_seconds = 0.2


@asynccontextmanager
async def serving(http: type[asyncio.Protocol] = protocol.BoundedHttpProtocol) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        answer, http=http, ws="none", lifespan="off", log_config=None, log_level="critical"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield port
    finally:
        server.should_exit = True
        async with asyncio.timeout(10):
            await task


async def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send the parts, then read until the server closes or has been quiet for a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()

    async def read() -> None:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(1 + pause * len(parts)):
                while chunk := await reader.read(65536):
                    received.extend(chunk)

    # Read while writing: a server that refuses and closes may reset what it has not read.
    reading = asyncio.create_task(read())
    with suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
    await reading
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return bytes(received)


GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def test_ordinary_requests_are_served_on_one_connection():
    async with serving() as port:
        received = await talk(port, GET + b"\r\n", b"GET /two HTTP/1.1\r\n", b"Host: x\r\n\r\n", pause=0.05)
    assert received.count(b"HTTP/1.1 200") == 2


async def test_a_large_body_does_not_count_as_head():
    body = b"x" * (4 * protocol.MAX_HEAD_BYTES)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving() as port:
        assert (await talk(port, head + body)).endswith(str(len(body)).encode())


async def test_a_head_over_the_limit_is_431():
    async with serving() as port:
        received = await talk(port, GET, *[b"X-A: " + b"a" * 8192 + b"\r\n"] * 10, pause=0.01)
    assert received.startswith(b"HTTP/1.1 431")


async def test_a_header_that_never_ends_is_431():
    async with serving() as port:
        received = await talk(port, GET + b"X-A: ", *[b"a" * 16384] * 6, pause=0.01)
    assert received.startswith(b"HTTP/1.1 431")


async def test_a_request_line_that_never_ends_is_431():
    async with serving() as port:
        received = await talk(port, b"GET /", *[b"a" * 16384] * 6, pause=0.01)
    assert received.startswith(b"HTTP/1.1 431")


async def test_ten_thousand_headers_are_431():
    async with serving() as port:
        received = await talk(port, GET + b"A: b\r\n" * 10_000 + b"\r\n")
    assert received.startswith(b"HTTP/1.1 431")
    assert b"200" not in received


async def test_what_is_no_http_is_400():
    async with serving() as port:
        assert (await talk(port, b"\x16\x03\x01hello\r\n\r\n")).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("parts", [(), (GET,)])
async def test_a_head_that_does_not_come_is_408(parts):
    async with serving(Impatient) as port:
        assert (await talk(port, *parts)).startswith(b"HTTP/1.1 408")


async def test_a_second_head_that_does_not_come_is_408():
    async with serving(Impatient) as port:
        received = await talk(port, GET + b"\r\n", GET, pause=0.1)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in received
