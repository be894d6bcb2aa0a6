"""One keep-alive connection: bytes in through httptools, one call at a time, one timer for every limit.

The timer is not set anew for each byte or call: when it rings, it looks at what is due and rings again then.
"""

import asyncio
import time
from collections.abc import Hashable, Iterable
from typing import Final, Literal, Protocol, cast

import httptools

from tiebreak.infrastructure.connections.http import (
    MOST_HEAD,
    STALE_WITHIN,
    HttpError,
    Stale,
    TimedOut,
    Timeouts,
    Truncated,
    Unreadable,
)

# Bytes read at once, and kept for a caller who does not read on before the sender is slowed down.
READ_SIZE: Final = 32 * 1024
KEPT_UNREAD: Final = 8 * 1024
# Larger bodies are not copied behind their heads.
_COPIED_BODY: Final = 64 * 1024
_NO_BODY: Final = frozenset({204, 304})


class Exchange(Protocol):
    """The call whose answer is arriving; the connection fills it in."""

    began: float
    timeouts: Timeouts
    status: int
    raw_headers: dict[bytes, bytes]
    headed: bool
    complete: bool
    error: HttpError | None
    pieces: list[bytes]
    unread: int
    most_unread: int

    def wake(self) -> None:
        """Something of the above has changed."""
        ...


class Owner(Protocol):
    """Who the connection belongs to."""

    keepalive: float
    # Shared by all connections: bytes stay in it only while one is parsing them.
    buffer: memoryview

    def freed(self, connection: "Connection") -> None:
        """It can be used again."""
        ...

    def gone(self, connection: "Connection") -> None:
        """It is closed."""
        ...


class Transport(Protocol):
    """What is used of asyncio's transports, and what ours for TLS can do, too."""

    def write(self, data: bytes) -> None:
        """Send it when possible."""
        ...

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Send one after the other."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        ...

    def get_write_buffer_size(self) -> int:
        """Bytes that the network has not taken yet."""
        ...

    def pause_reading(self) -> None:
        """Take nothing from the network."""
        ...

    def resume_reading(self) -> None:
        """Take again."""
        ...


class Connection(asyncio.BufferedProtocol):
    """Owned by a client; `call` is the exchange under way."""

    __slots__ = (
        "_coding",
        "_failure",
        "_framing",
        "_head_size",
        "_last",
        "_owner",
        "_parser",
        "_paused",
        "_rings",
        "_timer",
        "_touched",
        "_transport",
        "_until_close",
        "_used",
        "_view",
        "call",
        "closed",
        "key",
        "lost",
    )

    def __init__(self, owner: Owner, key: Hashable) -> None:
        self.key = key
        self.call: Exchange | None = None
        self.lost = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._view = owner.buffer
        self._parser = httptools.HttpResponseParser(self)
        self._transport: Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings = self._last = 0.0
        self._used = self._paused = self._touched = self._until_close = False
        self._failure: HttpError | None = None
        self._coding = b""
        self._head_size = self._framing = 0

    @property
    def open(self) -> bool:
        """Whether it was ever connected, TLS included."""
        return self._transport is not None

    def start(self, call: Exchange, head: bytes, body: bytes | None) -> None:
        """Send a request; `call` hears of the answer."""
        transport = cast("Transport", self._transport)
        self.call = call
        self._last = now = time.monotonic()
        self._touched = False
        self._head_size = self._framing = 0
        if body is None:
            transport.write(head)
        elif len(body) <= _COPIED_BODY:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        due = self._due(call)[0]
        if self._timer is None or due < self._rings:
            self._ring_at(due, now)

    def resume(self) -> None:
        """The caller has read what there was."""
        if self._paused and not self.lost:
            self._paused = False
            self._last = now = time.monotonic()
            cast("Transport", self._transport).resume_reading()
            # While paused the timer looked at the other limits only.
            if self.call is not None and (due := self._due(self.call)[0]) < self._rings:
                self._ring_at(due, now)

    def fail(self, error: HttpError) -> None:
        """End the exchange under way, and the connection with it."""
        call, self.call = self.call, None
        self.abort()
        if call is not None and not call.complete:
            call.error = error
            call.wake()

    def abort(self) -> None:
        """Close at once; nothing more is read or written."""
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport | Transport) -> None:
        """Called by the loop, as the next four are."""
        self._transport = cast("Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self.lost = True
        call = self.call
        if call is not None:
            if self._until_close and call.headed and exc is None:
                self.call = None
                call.complete = True
                call.wake()
            else:
                self.fail(self._cut(call))
        self.abort()
        if not self.closed.done():
            self.closed.set_result(None)
        self._owner.gone(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  (asyncio's signature)
        """Where the next bytes go."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Parse them."""
        call = self.call
        if call is None or self.lost:
            self.abort()  # nobody asked
            return
        self._last = time.monotonic()
        self._touched = True
        unread = call.unread
        try:
            self._parser.feed_data(self._view[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # Quoting the parser would quote what came, which may repeat our key.
            if not call.complete:
                self.fail(self._failure or Unreadable("the answer is not HTTP"))
                return
            self.abort()  # the answer is whole, but something follows that nobody asked for
        if call.complete:
            self._finished()
        elif call.unread == unread:
            # The parser keeps what is unfinished of a header or a trailer.
            self._framing += nbytes
            if self._framing > MOST_HEAD + READ_SIZE:
                self.fail(_long_head())
                return
        else:
            self._framing = 0
            if call.unread > call.most_unread and not self._paused:
                self._paused = True
                cast("Transport", self._transport).pause_reading()
        call.wake()

    def eof_received(self) -> bool:
        """Close our side, too."""
        self.lost = True
        return False

    def on_message_begin(self) -> None:
        """Called by the parser, as the next four are."""
        if self.call is None or self.call.complete:
            raise ValueError("an answer nobody asked for")
        self.call.raw_headers = {}
        self._coding = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody reads."""
        self._head_size += len(name) + len(value) + 4
        if self._head_size > MOST_HEAD:
            self._failure = _long_head()
            raise self._failure
        call = cast("Exchange", self.call)
        if call.headed:
            return
        name = name.lower()
        if name == b"transfer-encoding":
            self._coding = value.lower().rstrip()  # of several the last tells where the body ends
        call.raw_headers.setdefault(name, value)

    def on_headers_complete(self) -> None:
        """The status is known; an interim one (1xx) means that another follows."""
        call = cast("Exchange", self.call)
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise ValueError("a status nobody asked for")
            return
        headers = call.raw_headers
        self._until_close = (
            b"content-length" not in headers
            and not self._coding.endswith(b"chunked")
            and status not in _NO_BODY
        )
        call.status = status
        call.headed = True

    def on_body(self, body: bytes) -> None:
        """A piece."""
        call = cast("Exchange", self.call)
        call.pieces.append(body)
        call.unread += len(body)

    def on_message_complete(self) -> None:
        """The end of an answer, or of an interim one."""
        call = cast("Exchange", self.call)
        if call.headed:
            call.complete = True
            if not self._parser.should_keep_alive():
                self.lost = True

    def _finished(self) -> None:
        transport = cast("Transport", self._transport)
        self.call = None
        if self.lost or transport.is_closing() or transport.get_write_buffer_size():
            self.abort()
            return
        if self._paused:
            self._paused = False
            transport.resume_reading()
        self._used = True
        self._owner.freed(self)

    def _cut(self, call: Exchange) -> HttpError:
        if self._touched:
            where = "in the middle" if call.headed else "in the middle of its head"
            return Truncated(f"the answer broke off {where}")
        if self._used and self._last + STALE_WITHIN > time.monotonic():
            return Stale("a kept-alive connection was closed before an answer came")
        return Truncated("the connection closed before an answer came")

    def _due(self, call: Exchange) -> tuple[float, Literal["head", "idle", "total"], float]:
        """What ends the call next: when, which limit, and its seconds."""
        limits = call.timeouts
        when, phase, seconds = call.began + limits.total, "total", limits.total
        # Silence that we asked for is not the peer's.
        if not self._paused and self._last + limits.idle < when:
            when, phase, seconds = self._last + limits.idle, "idle", limits.idle
        if not call.headed and limits.head is not None and call.began + limits.head < when:
            when, phase, seconds = call.began + limits.head, "head", limits.head
        return when, cast("Literal['head', 'idle', 'total']", phase), seconds

    def watch_idle(self) -> None:
        """Nobody uses it now: it closes unless somebody does in time."""
        self._last = now = time.monotonic()
        due = now + self._owner.keepalive
        if self._timer is None or due < self._rings:
            self._ring_at(due, now)

    def _ring_at(self, when: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = when
        self._timer = asyncio.get_running_loop().call_later(max(0.0, when - now), self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self.lost:
            return
        now = time.monotonic()
        if self.call is None:
            when = self._last + self._owner.keepalive
            if now >= when:
                self.abort()
                return
        else:
            when, phase, seconds = self._due(self.call)
            if now >= when:
                self.fail(TimedOut(phase, seconds))
                return
        self._ring_at(when, now)


def _long_head() -> HttpError:
    return Unreadable(f"the head of the answer is over {MOST_HEAD:,} bytes")
