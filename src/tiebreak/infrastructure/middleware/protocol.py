"""uvicorn's HTTP protocol with a bound on what stands before a body: neither llhttp nor uvicorn has one.

Without it one connection can send a header line for ever, or nothing at all, and hold memory and a socket.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100


class _HeadTooLarge(Exception):
    """Stops the parser; the answer has been sent."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 431 to a request line and headers over 64 KiB or 100 lines, 408 when they take over 10 s."""

    head_seconds = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._head_deadline: asyncio.TimerHandle | None = None
        self._retiring = False

    def retire(self) -> None:
        """Say `connection: close` with the next answer that begins, and close then; until one does, stay open.

        An answer that has begun without those words is followed by one more, or by the end of the server's patience.
        """
        self._retiring = True
        if self.cycle is not None and not self.cycle.response_started:  # type: ignore[redundant-expr]  # None at first
            self.cycle.keep_alive = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        # Looked at after parsing, so that a head that ended inside `data` and the body behind it do not count.
        if not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, b"Request Header Fields Too Large")
        elif self._head_deadline is None:
            self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._refuse(431, b"Request Header Fields Too Large")
            raise _HeadTooLarge

    def on_headers_complete(self) -> None:
        self._head_done()
        super().on_headers_complete()
        if self._retiring:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        # The parser also reports our own stop as a broken request; that one is answered already.
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _await_head(self) -> None:
        self._head_deadline = self.loop.call_later(self.head_seconds, self._refuse, 408, b"Request Timeout")

    def _head_done(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _refuse(self, status: int, phrase: bytes) -> None:
        self._head_done()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, phrase)
        )
        self.transport.close()
