"""Unauthenticated means this machine only; with keys, whoever has one, but never another site's page.

A page in the user's browser can reach loopback: by a plain form, by a name that resolves to 127.0.0.1 (DNS
rebinding), through a proxy somebody put in front. Each clause of `refusal` closes one of these ways; each has a test.
Where every call needs a key, a foreign name or a proxy gains nothing, so only the clauses on other sites' pages stay.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tiebreak.errors import InvalidInput, PayloadTooLarge, Refused, TiebreakError, UnsupportedMedia
from tiebreak.infrastructure.rest import problems

JSON_TYPE = "application/json"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
HTTP_PORT = 80  # clients leave this one out of the Host header
DEADLINE = "the body stopped coming for {seconds:g} s; send it again"


@dataclass(frozen=True, slots=True)
class BodyRules:
    """What bodies may be. `raw` maps a path to the media types it takes beside nothing else; sizes in bytes."""

    json_limit: int = 10 * 2**20
    raw: Mapping[str, frozenset[str]] = field(default_factory=dict)
    raw_limit: int = 2**30
    idle_seconds: float = 30.0

    def limit(self, path: str) -> int:
        """How many bytes a body for this path may have."""
        return self.raw_limit if path in self.raw else self.json_limit

    def types(self, path: str) -> frozenset[str]:
        """The media types a body for this path may have."""
        return self.raw.get(path, frozenset({JSON_TYPE}))


Headers = Sequence[tuple[bytes, bytes]]


class Gate(Protocol):
    """Who may do what; the floor knows no keys, so `app.py` hands it in. It asks nobody and takes microseconds."""

    @property
    def locked(self) -> bool:
        """Whether calls need a key; if not, they must come from this machine."""
        ...

    def admit(self, scope: Scope) -> TiebreakError | None:
        """Why this call may not pass, or None."""
        ...


def unusable(path: str, query: bytes) -> InvalidInput | None:
    """Why no route can use this address, or None: the database keeps no NUL character."""
    if "\x00" in path or b"\x00" in query or b"%00" in query:
        return InvalidInput("the address holds a NUL character (%00); remove it")
    return None


def refusal(headers: Headers, port: int) -> Refused | None:
    """Why a request with these headers is not from this machine's own user, or None."""
    own_hosts = {f"{name}:{port}" for name in LOOPBACK_NAMES}
    if port == HTTP_PORT:
        own_hosts |= set(LOOPBACK_NAMES)
    hosts = values(headers, b"host")
    if len(hosts) != 1 or hosts[0].lower() not in own_hosts:
        return Refused(
            f"Host {', '.join(hosts)!r} is not this server: without keys it answers only to "
            f"localhost:{port}, 127.0.0.1:{port} and [::1]:{port}"
        )
    if error := cross_site(headers, own_hosts, schemes=("http",)):
        return error
    for name, _ in headers:
        if name == b"forwarded" or name.startswith(b"x-forwarded-"):
            return Refused(
                f"the header {name.decode('latin-1')!r} says that a proxy stands in front; without keys this "
                "server takes direct calls from this machine only"
            )
    return None


def foreign_page(headers: Headers) -> Refused | None:
    """Why a request that needs a key is from another site's page, or None. Its own name is what Host says."""
    hosts = values(headers, b"host")
    if len(hosts) != 1:
        return Refused(f"Host {', '.join(hosts)!r} is not one name; send one")
    # A proxy that ends TLS passes the Host on; the page's own address then begins with https.
    return cross_site(headers, {hosts[0].lower()}, schemes=("http", "https"))


def cross_site(headers: Headers, own_hosts: Collection[str], *, schemes: Collection[str]) -> Refused | None:
    """Why a browser says that another site's page sends this, or None."""
    for origin in values(headers, b"origin"):
        scheme, _, host = origin.lower().partition("://")
        if scheme not in schemes or host not in own_hosts:
            return Refused(f"Origin {origin!r} is not this server: other sites' pages may not call it")
    for site in values(headers, b"sec-fetch-site"):
        if site.lower() not in ("same-origin", "none"):
            return Refused(f"Sec-Fetch-Site is {site!r}: other sites' pages may not call this server")
    return None


def wrong_body(headers: Headers, path: str, rules: BodyRules) -> TiebreakError | None:
    """Why a body announced by these headers is not taken, or None."""
    lengths = values(headers, b"content-length")
    chunked = bool(values(headers, b"transfer-encoding"))
    types = values(headers, b"content-type")
    if any(not length.isascii() or not length.isdigit() for length in lengths) or len(set(lengths)) > 1:
        return InvalidInput(f"Content-Length {', '.join(lengths)!r} is not one number")
    announced = int(lengths[0]) if lengths else 0
    allowed = rules.types(path)
    if announced or chunked or types:
        kind = types[0].partition(";")[0].strip().lower() if len(types) == 1 else ", ".join(types)
        if kind not in allowed:
            return UnsupportedMedia(
                f"a body of type {kind or 'unknown'!r} is not taken here; send {' or '.join(sorted(allowed))}"
            )
    if announced > rules.limit(path):
        return too_large(rules.limit(path))
    return None


def too_large(limit: int) -> PayloadTooLarge:
    """The error for a body over `limit` bytes."""
    return PayloadTooLarge(f"the body is over the limit of {limit:,} bytes for this path; send less at once")


def values(headers: Headers, name: bytes) -> list[str]:
    """Every value of one header; ASGI gives names in lower case."""
    return [value.decode("latin-1").strip() for key, value in headers if key == name]


Render = Callable[[TiebreakError, str], ASGIApp]


def _problem(error: TiebreakError, path: str) -> ASGIApp:  # noqa: ARG001  (the shape of `Render`)
    return problems.render(error)


class Guard:
    """Pure ASGI: refuses what is neither from this machine nor has a key, and bounds what passes.

    `render` makes the answer to what is refused, given its path: a problem document, unless its caller speaks otherwise.
    """

    def __init__(
        self,
        app: ASGIApp,
        port: int,
        bodies: BodyRules | None = None,
        *,
        stopping: asyncio.Event | None = None,
        gate: Gate | None = None,
        render: Render | None = None,
    ) -> None:
        self.app = app
        self.render = render or _problem
        self.gate = gate
        self.port = port
        self.bodies = bodies or BodyRules()
        self.stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with a problem."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "no WebSockets here"})
            return
        path = scope["path"]
        error = (
            self._unwelcome(scope)
            or unusable(path, scope["query_string"])
            or wrong_body(scope["headers"], path, self.bodies)
        )
        if error is not None:
            await self.render(error, path)(scope, receive, send)
            return
        await _Bounded(self, receive, send).serve(scope)

    def _unwelcome(self, scope: Scope) -> TiebreakError | None:
        if self.gate is None:
            return refusal(scope["headers"], self.port)
        from_elsewhere = (
            foreign_page(scope["headers"]) if self.gate.locked else refusal(scope["headers"], self.port)
        )
        return from_elsewhere or self.gate.admit(scope)


class _Stopped(Exception):
    """Ends the application's reading; the guard has the answer."""


class _Bounded:
    """One request whose body is counted as it comes, chunked ones too; a stream ends when the server stops."""

    def __init__(self, guard: Guard, receive: Receive, send: Send) -> None:
        self._app = guard.app
        self._rules = guard.bodies
        self._stopping = guard.stopping
        self._receive = receive
        self._send = send
        self._limit = 0
        self._seen = 0
        self._complete = False
        self._started = False
        self._finished = False
        self._answer: Response | None = None

    async def serve(self, scope: Scope) -> None:
        self._limit = self._rules.limit(scope["path"])
        try:
            await self._app(scope, self._counted, self._unless_stopped)
        except Exception:  # whatever the application makes of `_Stopped`, the answer is ours
            if self._answer is None:
                raise
        if self._answer is not None and not self._started:
            await self._answer(scope, self._receive, self._send)
        elif self._stopping is not None and self._stopping.is_set() and self._started and not self._finished:
            # A stream that we told to end: its client gets a whole answer, not a broken connection.
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _counted(self) -> Message:
        if self._complete:
            return await self._left_or_stopping()
        try:
            async with asyncio.timeout(self._rules.idle_seconds):
                message = await self._receive()
        except TimeoutError:
            detail = DEADLINE.format(seconds=self._rules.idle_seconds)
            self._stop(problems.problem(code="timeout", title="Request timeout", status=408, detail=detail))
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._seen > self._limit:
                self._stop(problems.render(too_large(self._limit)))
        return message

    async def _left_or_stopping(self) -> Message:
        """Only streams wait here, for their client to leave; a server that stops asks them to end as well."""
        if self._stopping is None:
            return await self._receive()
        left = asyncio.ensure_future(self._receive())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({left, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return left.result() if left.done() else {"type": "http.disconnect"}
        finally:
            left.cancel()
            stopping.cancel()

    def _stop(self, answer: Response) -> None:
        self._answer = answer
        raise _Stopped

    async def _unless_stopped(self, message: Message) -> None:
        # FastAPI turns any error while reading into a 400 of its own; that one is dropped.
        if self._answer is None:
            self._started = True
            self._finished = message["type"] == "http.response.body" and not message.get("more_body", False)
            await self._send(message)
