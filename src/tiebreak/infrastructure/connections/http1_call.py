"""One call over our own client: it is what `send` returns and, once entered, the answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Protocol, Self

from tiebreak.infrastructure.connections.content_coding import decoder_for
from tiebreak.infrastructure.connections.http import HttpError, HttpRequest, TooLarge
from tiebreak.infrastructure.connections.http1_connection import KEPT_UNREAD, Connection
from tiebreak.infrastructure.connections.http1_request import Target, encode, target_of


class Connections(Protocol):
    """Where a call gets its connection."""

    def idle(self, target: Target, request: HttpRequest) -> Connection | None:
        """One that is open already."""
        ...

    async def opened(self, target: Target, request: HttpRequest, began: float) -> tuple[Connection, float]:
        """One that becomes free, or a new one; and how many seconds none of either was to be had."""
        ...


class Call:
    """Enter it once. The answer stays readable after its last byte came, when the connection already serves others;
    leaving before closes the connection."""

    __slots__ = (
        "_connection",
        "_connections",
        "_headers",
        "_request",
        "_waiter",
        "began",
        "complete",
        "error",
        "headed",
        "most_unread",
        "pieces",
        "raw_headers",
        "status",
        "timeouts",
        "unread",
        "waited",
    )

    def __init__(self, connections: Connections, request: HttpRequest) -> None:
        self.began = self.waited = 0.0
        self.timeouts = request.timeouts
        self.status = 0
        self.raw_headers: dict[bytes, bytes] = {}
        self.headed = self.complete = False
        self.error: HttpError | None = None
        self.pieces: list[bytes] = []
        self.unread = 0
        self.most_unread = KEPT_UNREAD
        self._connections = connections
        self._request = request
        self._connection: Connection | None = None
        self._headers: dict[str, str] | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        request = self._request
        target = target_of(request.url)
        head = encode(request, target)
        self.began = time.monotonic()
        connection = self._connections.idle(target, request)
        if connection is None:
            connection, self.waited = await self._connections.opened(target, request, self.began)
        self._connection = connection
        connection.start(self, head, request.body)
        try:
            while not self.headed and self.error is None:
                await self._change()
        except asyncio.CancelledError:
            connection.abort()
            raise
        if self.error is not None:
            raise self.error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection = self._connection
        if connection is not None and connection.call is self:
            connection.call = None
            connection.abort()

    @property
    def headers(self) -> Mapping[str, str]:
        """See `HttpResponse.headers`."""
        if self._headers is None:
            self._headers = {
                name.decode("latin-1"): value.strip().decode("utf-8", "surrogateescape")
                for name, value in self.raw_headers.items()
            }
        return self._headers

    async def read(self) -> bytes:
        """See `HttpResponse.read`."""
        if b"content-encoding" in self.raw_headers:
            return b"".join([piece async for piece in self.chunks()])
        limit = self._request.max_bytes
        self.most_unread = limit
        while not self.complete and self.error is None and self.unread <= limit:
            self._go_on()
            await self._change()
        if self.unread > limit:
            raise TooLarge(f"the answer is over {limit:,} bytes")
        if self.error is not None:
            raise self.error
        pieces = self.pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `HttpResponse.chunks`."""
        decoder = decoder_for(self.headers.get("content-encoding", ""))
        limit, size = self._request.max_bytes, 0
        while raw := await self._piece():
            for piece in (raw,) if decoder is None else decoder.feed(raw):
                size += len(piece)
                if size > limit:
                    raise TooLarge(f"the answer is over {limit:,} bytes")
                yield piece
        if decoder is not None:
            decoder.finish()

    async def drain(self, within: float) -> None:
        """See `HttpResponse.drain`."""
        if self.complete:
            return
        try:
            async with asyncio.timeout(within):
                while await self._piece():
                    pass
        except (HttpError, TimeoutError):
            return

    def wake(self) -> None:
        """Called by the connection: there is news."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def _change(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _piece(self) -> bytes:
        """What has come since; empty at the end."""
        while not self.pieces:
            if self.error is not None:
                raise self.error
            if self.complete:
                return b""
            await self._change()
        pieces = self.pieces
        self.pieces = []
        self.unread = 0
        self._go_on()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _go_on(self) -> None:
        connection = self._connection
        if connection is not None and connection.call is self:
            connection.resume()
