"""A tunnel through an HTTP proxy, asked for with CONNECT."""

import asyncio
import re
import socket
from base64 import b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from yarl import URL

from tiebreak.infrastructure.connections.http import ConnectFailed

_MOST_ANSWER: Final = 16 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where it listens, and what it wants to see."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)


@lru_cache(maxsize=64)
def proxy_of(url: str) -> Proxy:
    """The parts of a proxy's URL.

    Raises:
        ConnectFailed: it is not one that can be used; the text leaves the URL out, which may hold a password.
    """
    try:
        parts = URL(url)
        host, port = parts.raw_host, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme != "http":
        raise ConnectFailed("the proxy's URL cannot be used; write http://[user:password@]host:port")
    if parts.user is None:
        return Proxy(host, port)
    credentials = f"{parts.user}:{parts.password or ''}".encode()
    return Proxy(host, port, f"Basic {b64encode(credentials).decode()}")


async def tunnelled(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Turn a connection to the proxy into one to the host. The caller bounds the time.

    Raises:
        ConnectFailed: the proxy declines, or answers with something else.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    told = f"proxy-authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    loop = asyncio.get_running_loop()
    answer = b""
    try:
        await loop.sock_sendall(sock, f"CONNECT {where} HTTP/1.1\r\nhost: {where}\r\n{told}\r\n".encode())
        while b"\r\n\r\n" not in answer and len(answer) <= _MOST_ANSWER:
            piece = await loop.sock_recv(sock, _MOST_ANSWER)
            if not piece:
                break
            answer += piece
    except OSError as exc:
        raise ConnectFailed(f"proxy {proxy.host}:{proxy.port}: {exc.strerror or exc}") from exc
    status = _STATUS.match(answer)
    if status is None or not answer.partition(b"\r\n\r\n")[1]:
        raise ConnectFailed(f"proxy {proxy.host}:{proxy.port} does not answer as a proxy does")
    if not status[1].startswith(b"2"):
        raise ConnectFailed(f"the proxy answered {status[1].decode()} when asked for a connection")
    if not answer.endswith(b"\r\n\r\n"):
        # The host speaks second, so whoever speaks now is not the host.
        raise ConnectFailed(f"proxy {proxy.host}:{proxy.port} says more than it was asked")
