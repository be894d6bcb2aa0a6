"""A vendor that streams over TLS on schedule: every frame says when it was due.

`python -m benchmarks.tls_upstream CERTIFICATE FRAMES` prints its port and serves until its standard input closes.
"""

import asyncio
import random
import ssl
import sys
import time
from typing import cast

import uvloop

FRAME = 200  # bytes of a frame, its line ends included
GAP = 1.0  # seconds
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def frame(number: int, due: float) -> bytes:
    """One event of 200 bytes, in a chunk of its own."""
    start = f'data: {{"n": {number}, "due": {due:.6f}, "text": "'.encode()
    return b"%x\r\n" % FRAME + start + b"x" * (FRAME - len(start) - 4) + b'"}\n\n\r\n'


class Streams(asyncio.Protocol):
    """One stream for each request, beginning somewhere within the next gap."""

    frames = 0
    rng = random.Random(7)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n") and self._timer is None:
            self._transport.write(HEAD)
            self._next(0, time.monotonic() + GAP * (1 + self.rng.random()))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        if self._timer is not None:
            self._timer.cancel()

    def _next(self, number: int, due: float) -> None:
        delay = max(0.0, due - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._send, number, due)

    def _send(self, number: int, due: float) -> None:
        self._transport.write(frame(number, due))
        if number + 1 < self.frames:
            self._next(number + 1, due + GAP)
        else:
            self._transport.write(b"0\r\n\r\n")


async def serve(certificate: str) -> None:
    """Until the parent closes our standard input, by leaving at the latest."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Streams, "127.0.0.1", 0, backlog=4096, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    Streams.frames = int(sys.argv[2])
    uvloop.run(serve(sys.argv[1]))
