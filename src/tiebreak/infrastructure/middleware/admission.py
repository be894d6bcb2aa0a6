"""How much a process takes on at once: requests, bytes and streams in flight, each with a bound.

A process that takes on more than it can hold answers nobody. What is refused is refused at once, in the words of the
caller's dialect; the admitted never wait here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Bound = Literal["requests", "bytes", "streams"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most in flight in one process."""

    requests: int = 4096
    bytes: int = 256 * 2**20  # request bodies and whatever else a request says that it holds
    streams: int = 2048
    retry_after: float = 1.0  # seconds, told to the refused


class Full(Exception):
    """A bound is reached. `retry_after` is in seconds."""

    def __init__(self, bound: Bound, limit: int, retry_after: float) -> None:
        super().__init__(
            f"{limit:,} {bound} are in flight, the most for one process; try again in {retry_after:g} s"
        )
        self.bound: Bound = bound
        self.retry_after = retry_after


class Admission:
    """What is in flight in this process. `refused` hears which bound refused, once for each refusal."""

    def __init__(self, bounds: Bounds, refused: Callable[[Bound], None] = lambda _: None) -> None:
        self.bounds = bounds
        self.requests = 0
        self.bytes = 0
        self.streams = 0
        self._refused = refused

    def enter(self, size: int = 0) -> "Held":
        """Take on one request of so many bytes; whoever enters closes what it gets.

        Raises:
            Full: the bound on requests or bytes is reached; nothing is held.
        """
        if self.requests >= self.bounds.requests:
            raise self.full("requests", self.bounds.requests)
        held = Held(self)
        self.requests += 1
        try:
            held.grow(size)
        except Full:
            held.close()
            raise
        return held

    def full(self, bound: Bound, limit: int) -> Full:
        """The refusal, told to `refused`."""
        self._refused(bound)
        return Full(bound, limit, self.bounds.retry_after)


class Held:
    """One request's share of what is in flight; a context manager that gives it back."""

    __slots__ = ("_admission", "_bytes", "_open", "_stream")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._bytes = 0
        self._stream = False
        self._open = True

    def grow(self, size: int) -> None:
        """Hold so many bytes more; fewer, when negative. Who has left holds nothing.

        Raises:
            Full: the bound on bytes is reached; what was held before is held on.
        """
        admission = self._admission
        if not self._open:
            return
        if size > 0 and admission.bytes + size > admission.bounds.bytes:
            raise admission.full("bytes", admission.bounds.bytes)
        self._bytes += size
        admission.bytes += size

    def stream(self) -> None:
        """Count as a stream from now on.

        Raises:
            Full: the bound on streams is reached.
        """
        admission = self._admission
        if self._stream or not self._open:
            return
        if admission.streams >= admission.bounds.streams:
            raise admission.full("streams", admission.bounds.streams)
        self._stream = True
        admission.streams += 1

    def close(self) -> None:
        """Give everything back; once is enough, twice does no harm."""
        if self._open:
            self._open = False
            self._admission.requests -= 1
            self._admission.bytes -= self._bytes
            self._admission.streams -= self._stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Admitted:
    """Pure ASGI: an application behind an admission, its request bodies counted as they come.

    `refuse` makes the answer to what is not taken on. A body that reaches the bound on its way is answered by
    `refuse` too, unless the application has begun to answer; then its reading fails with `Full`.
    """

    def __init__(self, app: ASGIApp, admission: Admission, refuse: Callable[[Scope, Full], ASGIApp]) -> None:
        self.app = app
        self.admission = admission
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def counted() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                held.grow(len(message.get("body", b"")))
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            with self.admission.enter() as held:
                await self.app(scope, counted, noted)
        except Full as full:
            if started:
                raise
            await self.refuse(scope, full)(scope, receive, send)
