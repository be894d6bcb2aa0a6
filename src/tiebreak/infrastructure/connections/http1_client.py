"""Our own HTTP/1.1 client: httptools, Python's TLS, and nothing between."""

import asyncio
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal

from tiebreak.infrastructure.connections.addresses import Outbound, host_refusal
from tiebreak.infrastructure.connections.dialing import Lookup, dial, reason, system_lookup
from tiebreak.infrastructure.connections.http import (
    AddressRefused,
    ConnectFailed,
    HttpRequest,
    HttpResponse,
    Route,
    TimedOut,
    Truncated,
)
from tiebreak.infrastructure.connections.http1_call import Call
from tiebreak.infrastructure.connections.http1_connection import READ_SIZE, Connection
from tiebreak.infrastructure.connections.http1_pool import Pool
from tiebreak.infrastructure.connections.http1_request import Target
from tiebreak.infrastructure.connections.http1_tls import start_tls
from tiebreak.infrastructure.connections.proxy import Proxy, proxy_of, tunnelled
from tiebreak.infrastructure.connections.tls import client_context

_MOST_CONTEXTS: Final = 64
_CLOSING_SECONDS: Final = 5.0


class Http1Client:
    """HTTP/1.1 with kept-alive connections: no cookies, no redirects, nothing from the environment, TLS verified.

    `outbound` says which addresses may be connected to; `limit` is the number of connections at once, `per_origin`
    of those to one scheme, host, port and route; `keepalive` the seconds after which an unused one closes. A name is
    looked up for every new connection. Opens nothing before the first `send`; belongs to the loop that sends.
    """

    def __init__(
        self,
        outbound: Outbound,
        *,
        limit: int = 2048,
        per_origin: int = 1024,
        keepalive: float = 60.0,
        lookup: Lookup = system_lookup,
    ) -> None:
        self.keepalive = keepalive
        self.buffer = memoryview(bytearray(READ_SIZE))
        self._outbound = outbound
        self._lookup = lookup
        self._pool: Pool[Connection] = Pool(limit=limit, per_origin=per_origin)
        self._connections: set[Connection] = set()
        self._contexts: OrderedDict[Route | None, ssl.SSLContext] = OrderedDict()

    def send(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """See `HttpClient.send`."""
        return Call(self, request)

    async def close(self) -> None:
        """Close the connections, those in use too; `send` would open new ones."""
        closing = list(self._connections)
        for connection in closing:
            connection.fail(Truncated("the client was closed"))
        if closing:
            await asyncio.wait([connection.closed for connection in closing], timeout=_CLOSING_SECONDS)

    def idle(self, target: Target, request: HttpRequest) -> Connection | None:
        """An open connection that nobody uses."""
        return self._pool.idle(_key(target, request.route))

    async def opened(self, target: Target, request: HttpRequest, began: float) -> tuple[Connection, float]:
        """A connection that becomes free, or a new one, within the request's limits; and the wait for a place."""
        phase, seconds = _nearest(request)
        key, waiting = _key(target, request.route), True
        try:
            async with asyncio.timeout(began + seconds - time.monotonic()):
                connection = await self._pool.place(key)
                waiting, waited = False, time.monotonic() - began
                return connection or await self._connect(key, target, request.route), waited
        except TimeoutError:
            raise TimedOut("pool" if waiting else phase, seconds) from None

    def freed(self, connection: Connection) -> None:
        """Called by a connection whose answer is whole."""
        connection.watch_idle()
        self._pool.release(connection)

    def gone(self, connection: Connection) -> None:
        """Called by a connection that is closed."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._pool.forget(connection)

    async def _connect(self, key: Hashable, target: Target, route: Route | None) -> Connection:
        """Open a connection in a place of the pool, or give the place up."""
        connection = Connection(self, key)
        try:
            await self._open(connection, target, route)
        except BaseException:  # also a cancellation: its place in the pool must not stay taken
            connection.abort()
            self._pool.give_up(key)
            raise
        self._connections.add(connection)
        return connection

    async def _open(self, connection: Connection, target: Target, route: Route | None) -> None:
        tls = self._tls(route) if target.tls else None
        proxy = None if route is None or route.proxy is None else proxy_of(route.proxy)
        if proxy is None:
            sock = await dial(target.host, target.port, self._outbound, self._lookup)
        else:
            # The proxy resolves the name, so only what the text tells can be refused here.
            if (no := host_refusal(target.host, self._outbound)) is not None:
                raise AddressRefused(no)
            sock = await self._dial_proxy(proxy, target)
        try:
            if tls is None:
                await asyncio.get_running_loop().create_connection(lambda: connection, sock=sock)
            else:
                await start_tls(sock, connection, tls, target.host.rstrip("."))
        except (OSError, ValueError) as exc:
            raise ConnectFailed(f"{target.host}:{target.port}: {reason(exc)}") from exc
        finally:
            if not connection.open:
                sock.close()
        if connection.lost:
            raise ConnectFailed(f"{target.host}:{target.port}: closed at once")

    async def _dial_proxy(self, proxy: Proxy, target: Target) -> socket.socket:
        sock = await dial(proxy.host, proxy.port, self._outbound, self._lookup)
        try:
            await tunnelled(sock, proxy, target.host, target.port)
        except BaseException:  # also a cancellation: the socket has no other owner yet
            sock.close()
            raise
        return sock

    def _tls(self, route: Route | None) -> ssl.SSLContext:
        context = self._contexts.pop(route, None) or client_context(route)
        self._contexts[route] = context
        if len(self._contexts) > _MOST_CONTEXTS:
            self._contexts.popitem(last=False)
        return context


def _key(target: Target, route: Route | None) -> Hashable:
    return target.origin if route is None else (target.origin, route)


def _nearest(request: HttpRequest) -> tuple[Literal["connect", "head", "total"], float]:
    """Which limit ends the wait for a connection, and its seconds."""
    limits = request.timeouts
    if limits.head is not None and limits.head < min(limits.connect, limits.total):
        return "head", limits.head
    return ("connect", limits.connect) if limits.connect <= limits.total else ("total", limits.total)
