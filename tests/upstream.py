"""A vendor for tests that can answer anything, byte for byte: a raw asyncio server on a free loopback port."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

# The key that clients of this vendor carry, easily found wherever it must not appear.
SECRET = "sk-sentinel-0123456789"


@dataclass
class Received:
    """One request as it came; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader = field(repr=False)

    def json(self):
        return json.loads(self.body)

    async def client_left(self) -> None:
        """Wait until the client closes its side."""
        with suppress(ConnectionError):
            await self.reader.read(1)


Wire = asyncio.StreamWriter
Answer = bytes | Callable[[Received, Wire], Awaitable[None]]


@dataclass
class Upstream:
    """Answers with `script`, one entry a request, the last one for ever; `received` and `connections` say what came.

    An entry is the bytes to send, or a coroutine function that writes them itself. A connection stays open after an
    answer with a content-length or a complete chunked body, and closes otherwise or when the answer says so.
    """

    script: list[Answer]
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    url: str = ""
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: Wire) -> None:
        self.connections += 1
        try:
            while (request := await _read(reader)) is not None:
                answer = self.script[min(len(self.received), len(self.script) - 1)]
                self.received.append(request)
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(request, writer)
                await writer.drain()
                if writer.is_closing() or (isinstance(answer, bytes) and b"connection: close" in answer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed += 1
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = await reader.readline()
        if not line:
            return None
        head += line
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, path, _ = first.split(" ")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body, reader)


@asynccontextmanager
async def upstream(
    *script: Answer, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Upstream]:
    """The server while the block runs; host "::" means every address of this machine."""
    made = Upstream(list(script))
    tasks: set[asyncio.Task] = set()

    async def connected(reader: asyncio.StreamReader, writer: Wire) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await made.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            tasks.discard(task)

    if host == "::" and socket.has_dualstack_ipv6():
        both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        server = await asyncio.start_server(connected, sock=both, limit=1 << 20, ssl=tls)
    else:
        host = "0.0.0.0" if host == "::" else host
        server = await asyncio.start_server(connected, host, 0, limit=1 << 20, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    made.url = f"http://127.0.0.1:{made.port}"
    try:
        yield made
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def http(body: bytes | str | dict, status: int = 200, **headers: str) -> bytes:
    """A whole answer with its length; underscores in header names become dashes."""
    kind = "application/json"
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    named = {"content-type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


def completion(text: str = "four", **changes) -> dict:
    """What a vendor answers when all is well."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "small-2026",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    } | changes


def chunk(piece: str | None = None, finish: str | None = None, **changes) -> bytes:
    """One event of a stream."""
    delta = {} if piece is None else {"content": piece}
    body = {"model": "small-2026", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(body | changes).encode() + b"\n\n"


USAGE_CHUNK = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def streamed(*pieces: bytes, gap: float = 0.0, ending: bool = True) -> Answer:
    """An answer in HTTP chunks, `gap` seconds between them; without `ending` the connection is cut after the last."""

    async def answer(_: Received, writer: Wire) -> None:
        writer.write(STREAM_HEAD)
        for piece in pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            await asyncio.sleep(gap)
        if ending:
            writer.write(b"0\r\n\r\n")
        else:
            writer.close()

    return answer


async def silence(request: Received, writer: Wire) -> None:
    """Take the request and never answer, until the client leaves."""
    await request.client_left()
    writer.close()


async def hang_up(_: Received, writer: Wire) -> None:
    """Take the request and close."""
    writer.close()
