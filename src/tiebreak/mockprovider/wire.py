"""HTTP/1.1, the server's side: one connection after another read by httptools, answers written as bytes.

Raw asyncio and no framework, because the mock stands beside what it measures on the same cores, and because a
vendor's faults (half an answer, none at all) are what frameworks prevent.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import cast

import httptools
from msgspec import Struct

from tiebreak.clock import Clock
from tiebreak.mockprovider.conversation import FINGERPRINT, Refusal
from tiebreak.mockprovider.dialects.customs import error_document

MAX_REQUEST = 10 * 1024 * 1024 + 64 * 1024  # bytes, head and body together
MAX_WAITING = 16  # pipelined requests of one connection
REQUEST_SECONDS = 60.0  # from a request's first byte to its last
READING_SECONDS = 3600.0  # that a client may leave what was sent unread

JSON = "application/json"
HTML = "text/html; charset=utf-8"
EVENTS = "text/event-stream; charset=utf-8"

_STATUS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_LABEL = f"server: {FINGERPRINT}\r\nx-mock-provider: {FINGERPRINT}\r\n"


class Request(Struct, frozen=True):
    """A complete request; header names in lower case, `arrived` in monotonic seconds."""

    method: str
    target: str
    headers: Mapping[bytes, bytes]
    body: bytes
    keep_alive: bool
    arrived: float


class Exchange:
    """The answer to one request: `respond` once, or `begin`, `send` and `end`, or `drop`.

    A vendor's faults need more: `write` sends bytes as they are, `finish` ends a body whose length the head told, and
    `close` and `reset` end the connection in the middle of whatever is being said.
    """

    def __init__(
        self, transport: asyncio.Transport, *, keep_alive: bool, writable: asyncio.Event | None = None
    ) -> None:
        self._transport = transport
        self._keep_alive = keep_alive
        self._writable = writable

    def respond(
        self, status: int, body: bytes, *, kind: str = JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer."""
        self._transport.write(self._head(status, kind, headers, len(body)) + body)
        self.finish()

    def begin(
        self,
        status: int,
        kind: str,
        *,
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        """Send the head of an answer in chunks, or in bytes to be written where the length is told."""
        self._transport.write(self._head(status, kind, headers, length))

    def send(self, data: bytes) -> None:
        """Send a piece as a chunk."""
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has read most of what was sent."""
        if self._writable is not None and not self._writable.is_set():
            async with asyncio.timeout(READING_SECONDS):
                await self._writable.wait()

    def end(self) -> None:
        """Send the end of a chunked answer."""
        self._transport.write(b"0\r\n\r\n")
        self.finish()

    def finish(self) -> None:
        """The answer is over; so is the connection, unless it is kept."""
        if not self._keep_alive:
            self._transport.close()

    def close(self) -> None:
        """End the connection after what was sent."""
        self._transport.close()

    def drop(self) -> None:
        """End the connection without another byte."""
        self._transport.abort()

    def reset(self) -> None:
        """End the connection with a reset instead of an orderly end."""
        linger_for_no_time = struct.pack("ii", 1, 0)
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger_for_no_time
        )
        self._transport.abort()

    def _head(self, status: int, kind: str, headers: Mapping[str, str] | None, length: int | None) -> bytes:
        begins = _beginning(status, kind, self._keep_alive)
        if headers:
            begins += "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode("latin-1")
        if length is None:
            return begins + b"transfer-encoding: chunked\r\n\r\n"
        return b"%bcontent-length: %d\r\n\r\n" % (begins, length)


@lru_cache(maxsize=256)
def _beginning(status: int, kind: str, keep_alive: bool) -> bytes:
    """The part of a head that answers have in common."""
    connection = "" if keep_alive else "connection: close\r\n"
    line = _STATUS.get(status, f"{status} ")
    return f"HTTP/1.1 {line}\r\n{_LABEL}content-type: {kind}\r\n{connection}".encode("latin-1")


Serve = Callable[[Request, Exchange], Awaitable[None]]


class Connection(asyncio.Protocol):
    """Reads requests and has them served one at a time, in order; a client that leaves cancels its request."""

    def __init__(
        self,
        serve: Serve,
        connections: "set[Connection]",
        clock: Clock,
        *,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self.task: asyncio.Task[None] | None = None
        self.closed = asyncio.Event()
        self._serve = serve
        self._connections = connections
        self._clock = clock
        self._request_seconds = request_seconds
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._deadline: asyncio.TimerHandle | None = None
        self._received = 0
        self._writable = asyncio.Event()
        self._writable.set()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection in until it is lost."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        """Nobody is there to be answered."""
        self._connections.discard(self)
        self.closed.set()
        self._waiting.clear()
        self._whole()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        """The client reads slower than the answer is written."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Parse; a request that stays incomplete for long ends the connection."""
        self._received += len(data)
        if self._received > MAX_REQUEST:
            self._refuse(413, f"the request is over {MAX_REQUEST} bytes")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # the request is answered as if it had not asked for another protocol
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is not a request of HTTP/1.1: {error}")
            return
        if self._received and self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(
                self._request_seconds, self._transport.abort
            )

    def on_message_begin(self) -> None:
        """Called by the parser, as the next four are."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        """Called once or more."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for each header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Let a careful client go on."""
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Called for each piece."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Have the request served, after those before it."""
        self._whole()
        method, target = self._parser.get_method().decode("latin-1"), self._target.decode("latin-1")
        keep_alive = self._parser.should_keep_alive()
        body, arrived = b"".join(self._body), self._clock.monotonic()
        self._waiting.append(Request(method, target, self._headers, body, keep_alive, arrived))
        if len(self._waiting) > MAX_WAITING:
            self._transport.abort()
        elif self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._serve_waiting())

    def _whole(self) -> None:
        self._received = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def _serve_waiting(self) -> None:
        try:
            while self._waiting:
                request = self._waiting.popleft()
                exchange = Exchange(self._transport, keep_alive=request.keep_alive, writable=self._writable)
                await self._serve(request, exchange)
        except Exception as error:  # noqa: BLE001  whatever it was: said once, and the client sees an end
            context = {"message": "mock provider: serving a request failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            self._transport.abort()
        finally:
            self.task = None

    def _refuse(self, status: int, message: str) -> None:
        if self.task is None:
            exchange = Exchange(self._transport, keep_alive=False)
            exchange.respond(status, error_document(Refusal(status, message)))
        else:
            self._transport.abort()
