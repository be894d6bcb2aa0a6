"""A server in a process of its own that sends each of its clients a long stream, as fast as they take it.

`python -m tests.flood [CERTIFICATE]` prints its port, then, for every line it is told, how many bytes it has sent.
"""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.upstream import STREAM_HEAD

SIZE = 64 * 1024 * 1024  # bytes a reader gets, if it reads
_PIECE = 0x4000


@dataclass
class Flood:
    """The server's process."""

    process: subprocess.Popen[str]
    port: int

    def sent(self) -> int:
        """Bytes that it has written so far."""
        print(file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


@contextmanager
def flood(certificate: str | None = None) -> Iterator[Flood]:
    """The server while the block runs; with the file of a certificate it speaks TLS."""
    command = [sys.executable, "-m", "tests.flood", *([certificate] if certificate else [])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    ) as process:
        try:
            yield Flood(process, int(process.stdout.readline()))
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


class _Flooding(asyncio.Protocol):
    """Writes until the transport says stop."""

    sent = 0

    def __init__(self) -> None:
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.task: asyncio.Task | None = None

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=1)  # with 0 asyncio's TLS never says go on

    def data_received(self, data):
        if (self.task is None or self.task.done()) and data.endswith(b"\r\n\r\n"):
            self.task = asyncio.create_task(self.stream())

    def pause_writing(self):
        self.flowing.clear()

    def resume_writing(self):
        self.flowing.set()

    def connection_lost(self, exc):
        if self.task is not None:
            self.task.cancel()

    async def stream(self) -> None:
        self.transport.write(STREAM_HEAD)
        for _ in range(SIZE // _PIECE):
            await self.flowing.wait()
            self.transport.write(b"%x\r\n" % _PIECE + b"x" * _PIECE + b"\r\n")
            _Flooding.sent += _PIECE
            await asyncio.sleep(0)
        self.transport.write(b"0\r\n\r\n")


async def _serve(certificate: str | None) -> None:
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Flooding, "127.0.0.1", 0, ssl=tls, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(_Flooding.sent, flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(*(sys.argv[1:] or [None])))
