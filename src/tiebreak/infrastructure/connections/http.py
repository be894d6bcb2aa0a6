"""The one way out: what a call is, what an answer is, and how each failure is named.

Two clients stand behind `HttpClient` under one contract suite: `aiohttp_client` and our own `http1_client`. The check
against private addresses is made on the address that is connected to, not on the name, so that a name that resolves
differently the second time gains nothing.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from tiebreak.infrastructure.connections.addresses import Outbound, check_url

__all__ = [
    "AddressRefused",
    "ConnectFailed",
    "HttpClient",
    "HttpError",
    "HttpRequest",
    "HttpResponse",
    "Outbound",
    "Route",
    "Stale",
    "TimedOut",
    "Timeouts",
    "TooLarge",
    "Truncated",
    "Unreadable",
    "check_url",
]

# Seconds. A connection that was closed while idle fails at once; later the peer may have been at work.
STALE_WITHIN: Final = 0.5
# Bytes of an answer's head, interim answers and trailers included.
MOST_HEAD: Final = 64 * 1024

_PHASES: Final = {
    "pool": "no free connection",
    "connect": "no connection",
    "head": "no status and headers",
    "idle": "no byte",
    "total": "no complete answer",
}


class HttpError(Exception):
    """A call that came to no complete answer. The text never holds headers or bodies, so it may be shown."""


class AddressRefused(HttpError):
    """The address behind the URL is not allowed; nothing was sent."""


class ConnectFailed(HttpError):
    """No connection: the name does not resolve, nobody listens, TLS does not verify, or the proxy declines."""


class TimedOut(HttpError):
    """A limit passed: of waiting for one of our own connections to become free, of connecting, of the answer's head, of
    silence between two bytes, or of the whole call."""

    def __init__(self, phase: Literal["pool", "connect", "head", "idle", "total"], seconds: float) -> None:
        super().__init__(f"{_PHASES[phase]} within {seconds:g} s")
        self.phase = phase


class Truncated(HttpError):
    """The connection closed before the answer was complete."""


class Stale(Truncated):
    """As `Truncated`, before any byte of an answer and on a connection that was used before: most likely the peer
    had closed it as idle and the request was never looked at, so it may be sent again at once."""


class TooLarge(HttpError):
    """The answer is over its limit."""


class Unreadable(HttpError):
    """What came is not HTTP, or is packed in a way that was not asked for."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect (waiting for a free connection, the proxy and TLS included), between two bytes, and for the
    whole call; `head`, if given, from the call's beginning until the answer's status and headers are there."""

    connect: float = 2.0
    idle: float = 60.0
    total: float = 60.0
    head: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """How a provider is reached, where that is not directly and with the system's certificates. Nothing of this is
    ever read from the environment.

    `proxy` is `http://[user:password@]host:port`; an https URL goes through it as a tunnel (CONNECT), and its address
    is judged as every other is. The others are paths of PEM files: whom to trust instead of the system's
    authorities, and the client's own certificate, with its key if that is in a file of its own. They are read once.
    """

    proxy: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One call. `max_bytes` bounds the decoded body of the answer.

    The client adds the host and the length, and asks for a body that is not packed unless `accept-encoding` is given.
    """

    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None
    timeouts: Timeouts = Timeouts()
    max_bytes: int = 16 * 1024 * 1024
    route: Route | None = None

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
        """The headers; look names up in lower case. Of a repeated one, the first."""
        ...

    @property
    def waited(self) -> float:
        """Seconds that the call waited for a connection, because as many as may be were in use."""
        ...

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            HttpError: it is over the limit, late, or cut.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, with the same limits and errors as `read`. Who does not read on slows the sender
        down: little is kept in memory, and silence is not counted meanwhile."""
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
            ValueError: a header's name or value cannot be written on one line, or is the client's to write; nothing
                was sent.
        """
        ...

    async def close(self) -> None:
        """Give every connection back."""
        ...
