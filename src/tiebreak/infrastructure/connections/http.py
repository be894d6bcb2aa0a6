"""Everything outbound goes through one `send()`; aiohttp stands behind it.

The check against private addresses is made on the address that is connected to, not on the name, so that a name
that resolves differently the second time gains nothing.
"""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError

from tiebreak.infrastructure.connections.addresses import Outbound, check_url, refusal

__all__ = [
    "AddressRefused",
    "AiohttpClient",
    "ConnectFailed",
    "HttpClient",
    "HttpError",
    "HttpRequest",
    "HttpResponse",
    "Outbound",
    "Stale",
    "TimedOut",
    "Timeouts",
    "TooLarge",
    "Truncated",
    "Unreadable",
    "check_url",
]

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]

# Seconds. A connection that was closed while idle fails at once; later the peer may have been at work.
STALE_WITHIN: Final = 0.5
_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError)  # TimeoutError is an OSError


class HttpError(Exception):
    """A call that came to no complete answer. The text never holds headers or bodies, so it may be shown."""


class AddressRefused(HttpError):
    """The address behind the URL is not allowed; nothing was sent."""


class ConnectFailed(HttpError):
    """No connection: the name does not resolve, nobody listens, or TLS does not verify."""


class TimedOut(HttpError):
    """A limit passed: of connecting, of silence between two bytes, or of the whole call."""

    def __init__(self, phase: Literal["connect", "idle", "total"], seconds: float) -> None:
        what = {"connect": "no connection", "idle": "no byte", "total": "no complete answer"}[phase]
        super().__init__(f"{what} within {seconds:g} s")
        self.phase = phase


class Truncated(HttpError):
    """The connection closed before the answer was complete."""


class Stale(Truncated):
    """As `Truncated`, before any byte of an answer and on a connection that was used before: most likely the peer
    had closed it as idle and the request was never looked at, so it may be sent again at once."""


class TooLarge(HttpError):
    """The answer is over its limit."""


class Unreadable(HttpError):
    """What came is not HTTP."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect (waiting for a free connection included), between two bytes, and for the whole call."""

    connect: float = 2.0
    idle: float = 60.0
    total: float = 60.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One call. `max_bytes` bounds the decoded body of the answer."""

    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None
    timeouts: Timeouts = Timeouts()
    max_bytes: int = 16 * 1024 * 1024

    def __repr__(self) -> str:
        # Headers hold the key.
        return f"HttpRequest({self.method} {self.url})"


class HttpResponse(Protocol):
    """An answer whose body is still arriving. Header names are looked up in lower case."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; look names up in lower case."""
        ...

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            HttpError: it is over the limit, late, or cut.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, with the same limits and errors as `read`."""
        ...

    async def drain(self, within: float) -> None:
        """Wait that many seconds at most for the end of a body that is of no more interest, so that its connection
        can be used again; never raises on the vendor's account."""
        ...


class HttpClient(Protocol):
    """The one way out."""

    def send(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Send, and hold the answer while the block runs; leaving it gives the connection back.

        Raises:
            HttpError: one of this module's, on entry or while the body is read.
        """
        ...

    async def close(self) -> None:
        """Give every connection back."""
        ...


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
        found = await self._lookup(host, port)
        if not found:
            raise OSError("the name has no address")
        refusals = [refusal(address, self._outbound) for address in found]
        allowed = [address for address, no in zip(found, refusals, strict=True) if no is None]
        if not allowed:
            raise AddressRefused(f"{host} resolves to an address that is refused: {refusals[0]}")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in allowed
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def system_lookup(host: str, port: int) -> list[str]:
    """The addresses of a name, from the system's resolver, in its order."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [str(sockaddr[0]) for *_, sockaddr in found]


class _Answer:
    """aiohttp's response behind our protocol: capped, with our errors."""

    def __init__(self, response: aiohttp.ClientResponse, request: HttpRequest) -> None:
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
                error = _translate(exc, self._request)
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


def _translate(exc: Exception, request: HttpRequest) -> HttpError:
    """One of aiohttp's errors as one of ours."""
    timeouts = request.timeouts
    match exc:
        case aiohttp.ConnectionTimeoutError():
            return TimedOut("connect", timeouts.connect)
        case aiohttp.SocketTimeoutError():
            return TimedOut("idle", timeouts.idle)
        case TimeoutError():
            return TimedOut("total", timeouts.total)
        case aiohttp.ClientConnectorError():
            return ConnectFailed(f"{exc.host}:{exc.port}: {exc.os_error.strerror or exc.os_error}")
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


async def _note_reuse(
    _: aiohttp.ClientSession, context: Any, __: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.reused = True


class AiohttpClient:
    """The real client: no cookies, no redirects, no proxy from the environment, TLS verified, connections bounded.

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

    def _open_socket(self, info: Any) -> socket.socket:
        """The connect hook: the last look at the very address, literals included."""
        family, kind, proto, _, sockaddr = info
        no = refusal(str(sockaddr[0]), self._outbound)
        if no is not None:
            raise AddressRefused(no)
        return socket.socket(family, kind, proto)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_reuseconn.append(_note_reuse)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._limit,
                    keepalive_timeout=self._keepalive,
                    resolver=_Resolver(self._outbound, self._lookup),
                    socket_factory=self._open_socket,
                    timeout_ceil_threshold=math.inf,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                # One whole answer in one piece is the usual case.
                read_bufsize=256 * 1024,
                trace_configs=[tracing],
            )
        return self._session

    async def _attempt(self, request: HttpRequest, trip: _Trip) -> aiohttp.ClientResponse:
        timeouts = request.timeouts
        return await self._opened().request(
            request.method,
            request.url,
            headers=request.headers,
            data=request.body,
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
        )

    @asynccontextmanager
    async def send(self, request: HttpRequest) -> AsyncIterator[HttpResponse]:
        """See `HttpClient.send`."""
        trip, clock = _Trip(), asyncio.get_running_loop()
        began = clock.time()
        try:
            response = await self._attempt(request, trip)
        except _FAILURES as exc:
            error = _translate(exc, request)
            if type(error) is Truncated and trip.reused and clock.time() - began < STALE_WITHIN:
                error = Stale("a kept-alive connection was closed before an answer came")
            raise error from _showable(error, exc)
        try:
            yield _Answer(response, request)
        finally:
            # Closes the connection unless the body was read to its end.
            response.release()

    async def close(self) -> None:
        """Close the connections; `send` would open new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None
