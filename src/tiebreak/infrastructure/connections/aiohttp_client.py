"""aiohttp behind our protocol: no cookies, no redirects, no proxy from the environment, addresses judged on the socket."""

import asyncio
import io
import math
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from tiebreak.infrastructure.connections.addresses import Outbound, host_refusal
from tiebreak.infrastructure.connections.dialing import (
    Lookup,
    allowed_addresses,
    checked_socket,
    family_of,
    system_lookup,
)
from tiebreak.infrastructure.connections.http import (
    MOST_HEAD,
    STALE_WITHIN,
    AddressRefused,
    ConnectFailed,
    HttpError,
    HttpRequest,
    HttpResponse,
    Route,
    Stale,
    TimedOut,
    TooLarge,
    Truncated,
    Unreadable,
)
from tiebreak.infrastructure.connections.http_headers import header_lines
from tiebreak.infrastructure.connections.tls import client_context

_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError)  # TimeoutError is an OSError
_MOST_HEADERS: Final = 1000
_MOST_CONTEXTS: Final = 64
_LARGE_BODY: Final = 1024 * 1024


class _Resolver(AbstractResolver):
    """Names to addresses, keeping only those that may be connected to."""

    def __init__(self, outbound: Outbound, lookup: Lookup) -> None:
        self._outbound = outbound
        self._lookup = lookup

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  (aiohttp's signature)
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=family_of(address),
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await allowed_addresses(host, port, self._outbound, self._lookup)
        ]

    async def close(self) -> None:
        """Nothing is held."""


class _Answer:
    """aiohttp's response behind our protocol: capped, with our errors."""

    def __init__(self, response: aiohttp.ClientResponse, request: HttpRequest, waited: float) -> None:
        self.waited = waited
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._request = request

    async def read(self) -> bytes:
        parts = [chunk async for chunk in self.chunks()]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        content, limit, size = self._response.content, self._request.max_bytes, 0
        while True:
            try:
                chunk = await content.readany()
            except _FAILURES as exc:
                error = _translate(exc, self._request, queued=False)
                raise error from _showable(error, exc)
            if not chunk:
                return
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"the answer is over {limit:,} bytes")
            yield chunk

    async def drain(self, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                async for _ in self.chunks():
                    pass
        except (HttpError, TimeoutError):
            return


def _data(body: bytes | None) -> bytes | io.BytesIO | None:
    """aiohttp wants to send large bodies bit by bit."""
    return io.BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body


def _translate(exc: Exception, request: HttpRequest, *, queued: bool) -> HttpError:
    """One of aiohttp's errors as one of ours."""
    timeouts = request.timeouts
    match exc:
        case aiohttp.ConnectionTimeoutError() if queued:
            return TimedOut("pool", timeouts.connect)
        case aiohttp.ConnectionTimeoutError():
            return TimedOut("connect", timeouts.connect)
        case aiohttp.SocketTimeoutError():
            return TimedOut("idle", timeouts.idle)
        case TimeoutError():
            return TimedOut("total", timeouts.total)
        case aiohttp.ClientConnectorError():
            return ConnectFailed(f"{exc.host}:{exc.port}: {exc.os_error.strerror or exc.os_error}")
        case aiohttp.ClientHttpProxyError():
            return ConnectFailed(f"the proxy answered {exc.status} when asked for a connection")
        case aiohttp.InvalidURL():
            return AddressRefused(f"{request.url} does not name its host plainly")
        case aiohttp.ClientPayloadError():
            return Truncated("the answer broke off in the middle")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return Unreadable("the answer is not HTTP")
        case _:
            return Truncated("the connection closed before an answer came")


def _showable(error: HttpError, cause: Exception) -> Exception | None:
    """The cause, where it tells of the way to the server only; others quote what came, which may repeat our key."""
    return cause if isinstance(error, ConnectFailed | TimedOut) else None


@dataclass(slots=True)
class _Trip:
    """What tracing notes of one attempt."""

    reused: bool = False
    queued_at: float | None = None  # since when it waits for a connection to become free
    waited: float = 0.0


async def _note_reuse(
    _: aiohttp.ClientSession, context: Any, __: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.reused = True


async def _note_queued(
    _: aiohttp.ClientSession, context: Any, __: aiohttp.TraceConnectionQueuedStartParams
) -> None:
    context.trace_request_ctx.queued_at = time.monotonic()


async def _note_unqueued(
    _: aiohttp.ClientSession, context: Any, __: aiohttp.TraceConnectionQueuedEndParams
) -> None:
    trip = context.trace_request_ctx
    trip.waited, trip.queued_at = time.monotonic() - trip.queued_at, None


class AiohttpClient:
    """aiohttp: no cookies, no redirects, no proxy from the environment, TLS verified, connections bounded.

    `outbound` says which addresses may be connected to; `limit` is the number of connections at once. Opens nothing
    before the first `send`.
    """

    def __init__(
        self,
        outbound: Outbound,
        *,
        limit: int = 2048,
        keepalive: float = 30.0,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._outbound = outbound
        self._limit = limit
        self._keepalive = keepalive
        self._lookup = lookup
        self._session: aiohttp.ClientSession | None = None
        self._contexts: OrderedDict[Route | None, ssl.SSLContext] = OrderedDict()

    def _open_socket(self, info: Any) -> socket.socket:
        """The connect hook."""
        return checked_socket(str(info[4][0]), self._outbound)

    def _tls(self, route: Route | None) -> ssl.SSLContext:
        context = self._contexts.pop(route, None) or client_context(route)
        self._contexts[route] = context
        if len(self._contexts) > _MOST_CONTEXTS:
            self._contexts.popitem(last=False)
        return context

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_reuseconn.append(_note_reuse)
            tracing.on_connection_queued_start.append(_note_queued)
            tracing.on_connection_queued_end.append(_note_unqueued)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._limit,
                    keepalive_timeout=self._keepalive,
                    resolver=_Resolver(self._outbound, self._lookup),
                    socket_factory=self._open_socket,
                    timeout_ceil_threshold=math.inf,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"accept-encoding": "identity"},
                trust_env=False,
                # One whole answer in one piece is the usual case.
                read_bufsize=256 * 1024,
                max_line_size=MOST_HEAD,
                max_field_size=MOST_HEAD,
                max_headers=_MOST_HEADERS,
                trace_configs=[tracing],
            )
        return self._session

    async def _attempt(self, request: HttpRequest, trip: _Trip) -> aiohttp.ClientResponse:
        timeouts, route = request.timeouts, request.route
        more: dict[str, Any] = {}
        if request.url.startswith("https:"):
            more["ssl"] = self._tls(route)
        if route is not None and route.proxy is not None:
            self._judge_behind_proxy(request.url)
            more["proxy"] = route.proxy
        return await self._opened().request(
            request.method,
            request.url,
            headers=request.headers,
            data=_data(request.body),
            allow_redirects=False,
            trace_request_ctx=trip,
            timeout=aiohttp.ClientTimeout(
                total=timeouts.total,
                connect=timeouts.connect,
                sock_connect=timeouts.connect,
                sock_read=timeouts.idle,
                # aiohttp rounds longer limits up to whole seconds otherwise.
                ceil_threshold=math.inf,
            ),
            **more,
        )

    def _judge_behind_proxy(self, url: str) -> None:
        """The proxy resolves the name, so only what the text tells can be refused here."""
        no = host_refusal(URL(url).host or "", self._outbound)
        if no is not None:
            raise AddressRefused(no)

    async def _headed(self, request: HttpRequest, trip: _Trip) -> aiohttp.ClientResponse:
        head = request.timeouts.head
        if head is None:
            return await self._attempt(request, trip)
        limit = asyncio.timeout(head)
        try:
            async with limit:
                return await self._attempt(request, trip)
        except TimeoutError:
            if limit.expired():
                raise TimedOut("head", head) from None
            raise

    @asynccontextmanager
    async def send(self, request: HttpRequest) -> AsyncIterator[HttpResponse]:
        """See `HttpClient.send`."""
        header_lines(request.headers)
        trip, clock = _Trip(), asyncio.get_running_loop()
        began = clock.time()
        try:
            response = await self._headed(request, trip)
        except _FAILURES as exc:
            error = _translate(exc, request, queued=trip.queued_at is not None)
            if type(error) is Truncated and trip.reused and clock.time() - began < STALE_WITHIN:
                error = Stale("a kept-alive connection was closed before an answer came")
            raise error from _showable(error, exc)
        try:
            yield _Answer(response, request, trip.waited)
        finally:
            # Closes the connection unless the body was read to its end.
            response.release()

    async def close(self) -> None:
        """Close the connections; `send` would open new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None
