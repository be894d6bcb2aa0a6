"""A vendor that costs as little as can be: one process, one fixed answer of 1.5 KB, nothing looked at.

`python -m benchmarks.upstream` prints its port and serves until its standard input closes.
"""

import asyncio
import sys
from typing import cast

import uvloop

_BODY = b'{"id":"chatcmpl-1","choices":[{"index":0,"message":{"role":"assistant","content":"' + b"x" * 1400
_BODY += b'"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)


class Vendor(asyncio.Protocol):
    """Answers once for each request whose head and announced body have come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._came = b""

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._came.find(b"\r\n\r\n")) >= 0:
            head = self._came[:end].lower()
            at = head.find(b"content-length:")
            length = 0 if at < 0 else int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._came) < end + 4 + length:
                return
            self._came = self._came[end + 4 + length :]
            self._transport.write(ANSWER)


async def serve() -> None:
    """Until the parent closes our standard input, by leaving at the latest."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Vendor, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
