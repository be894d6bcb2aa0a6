"""TLS between a socket's transport and one connection of our client, on Python's own `ssl`.

The event loops' TLS transports are not used: when the server closes while their reader pauses, they drop what has
come and is not read yet (both asyncio's and uvloop's do), and they hold some 300 KiB for each reader that pauses.
Here nothing is read from the socket before what came is taken, so neither can happen.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from typing import Final, Protocol, cast

# Encrypted bytes taken at once. OpenSSL's buffers grow to what they ever held, and every reader that pauses has one.
_READ_AT_ONCE: Final = 8 * 1024
# Bytes encrypted at once.
_WRITTEN_AT_ONCE: Final = 256 * 1024


class Connection(Protocol):
    """Who the bytes are for: the callbacks that it would get from a socket's transport."""

    def connection_made(self, transport: "TlsTransport") -> None:
        """TLS stands."""
        ...

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where bytes go, encrypted ones before they are others."""
        ...

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        ...

    def eof_received(self) -> bool:
        """The server has closed."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes; without an exception only if the server said that it was at its end."""
        ...


async def start_tls(
    sock: socket.socket, connection: Connection, context: ssl.SSLContext, server: str
) -> None:
    """Shake hands over a connected socket, which is the connection's from then on. The caller bounds the time.

    Raises:
        OSError: as `ssl.SSLError` when the certificate does not verify for `server`.
        ValueError: `server` is no name that a certificate can have.
    """
    transport = TlsTransport(connection, context, server)
    try:
        await asyncio.get_running_loop().create_connection(lambda: transport, sock=sock)
        await transport.shaken
    except BaseException:  # also a cancellation: nobody else knows of the transport yet
        transport.abort()
        raise


class TlsTransport(asyncio.BufferedProtocol):
    """To the socket's transport a protocol, to the connection a transport."""

    __slots__ = (
        "_connection",
        "_ended",
        "_incoming",
        "_outgoing",
        "_paused",
        "_raw",
        "_raw_paused",
        "_tls",
        "shaken",
    )

    def __init__(self, connection: Connection, context: ssl.SSLContext, server: str) -> None:
        self.shaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server)
        self._raw: asyncio.Transport | None = None
        self._ended = self._paused = self._raw_paused = False

    def write(self, data: bytes) -> None:
        """Send it encrypted."""
        if self.is_closing():
            return
        view = memoryview(data)
        for at in range(0, len(view), _WRITTEN_AT_ONCE):
            self._tls.write(view[at : at + _WRITTEN_AT_ONCE])
            self._flush()

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Send one after the other."""
        for part in parts:
            self.write(part)

    def abort(self) -> None:
        """Close at once."""
        if self._raw is not None:
            self._raw.abort()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._raw is None or self._raw.is_closing()

    def get_write_buffer_size(self) -> int:
        """Encrypted bytes that the network has not taken yet."""
        return 0 if self._raw is None else self._raw.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Deliver nothing, and take nothing from the network."""
        self._paused = True
        if not self._raw_paused and not self.is_closing():
            self._raw_paused = True
            cast("asyncio.Transport", self._raw).pause_reading()

    def resume_reading(self) -> None:
        """Deliver what waits, soon, and then what comes."""
        if self._paused:
            self._paused = False
            asyncio.get_running_loop().call_soon(self._go_on)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop, as the next four are."""
        self._raw = cast("asyncio.Transport", transport)
        self._shake()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where encrypted bytes go until they are copied."""
        return self._connection.get_buffer(sizehint)[:_READ_AT_ONCE]

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt them."""
        self._incoming.write(self._connection.get_buffer(-1)[:nbytes])
        if self.shaken.done():
            self._deliver()
        else:
            self._shake()

    def eof_received(self) -> bool:
        """Close our side, too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes. Without TLS's own farewell somebody else may have cut it short."""
        if self.shaken.done():
            cut = None if self._ended else ConnectionResetError("closed without a farewell")
            self._connection.connection_lost(exc or cut)
        else:
            self.shaken.set_exception(exc or ConnectionResetError("closed in the handshake"))

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as exc:
            self._flush()  # says why
            self.shaken.set_exception(exc)
            self.abort()
            return
        self._flush()
        self._connection.connection_made(self)
        self.shaken.set_result(None)
        self._deliver()

    def _deliver(self) -> None:
        connection = self._connection
        try:
            while self._wanted():
                view = connection.get_buffer(-1)
                size = self._tls.read(len(view), cast("bytearray", view))
                if not size:
                    self._ended = True
                    connection.eof_received()
                    self.abort()
                    return
                connection.buffer_updated(cast("int", size))
        except ssl.SSLWantReadError:
            self._flush()  # TLS may have something to say of its own
        except ssl.SSLError:
            self.abort()

    def _go_on(self) -> None:
        self._deliver()
        if self._raw_paused and self._wanted():
            self._raw_paused = False
            cast("asyncio.Transport", self._raw).resume_reading()

    def _wanted(self) -> bool:
        return not self._paused and not self.is_closing()

    def _flush(self) -> None:
        if self._outgoing.pending and not self.is_closing():
            cast("asyncio.Transport", self._raw).write(self._outgoing.read())
