"""From a name to a connected socket: addresses asked anew each time, judged one by one, IPv6 and IPv4 raced."""

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Final

from tiebreak.infrastructure.connections.addresses import Outbound, refusal
from tiebreak.infrastructure.connections.http import AddressRefused, ConnectFailed

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]

# Seconds that one address is tried alone before the next is tried beside it (RFC 8305's recommendation).
HEAD_START: Final = 0.25
MOST_ADDRESSES: Final = 16


async def system_lookup(host: str, port: int) -> list[str]:
    """The addresses of a name, from the system's resolver, in its order."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [str(sockaddr[0]) for *_, sockaddr in found]


def family_of(address: str) -> socket.AddressFamily:
    """The family of an IP address in text."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def checked_socket(address: str, outbound: Outbound) -> socket.socket:
    """A socket for that very address: the last look before it is connected to, literals included.

    Raises:
        AddressRefused: the setting does not allow the address.
    """
    no = refusal(address, outbound)
    if no is not None:
        raise AddressRefused(no)
    return socket.socket(family_of(address), socket.SOCK_STREAM)


async def allowed_addresses(host: str, port: int, outbound: Outbound, lookup: Lookup) -> list[str]:
    """Where a name leads now, without what may not be connected to.

    Raises:
        AddressRefused: nothing is left.
        OSError: the name does not resolve.
    """
    found = list(dict.fromkeys(await lookup(host, port)))
    if not found:
        raise OSError("the name has no address")
    refusals = [refusal(address, outbound) for address in found]
    allowed = [address for address, no in zip(found, refusals, strict=True) if no is None]
    if not allowed:
        raise AddressRefused(f"{host} resolves to an address that is refused: {refusals[0]}")
    return allowed


def interleaved(addresses: Sequence[str]) -> list[str]:
    """The addresses with the families in turn, in their order otherwise, the first staying first."""
    first = [address for address in addresses if family_of(address) == family_of(addresses[0])]
    other = [address for address in addresses if family_of(address) != family_of(addresses[0])]
    mixed = chain.from_iterable(zip_longest(first, other))
    return [address for address in mixed if address is not None][:MOST_ADDRESSES]


def is_address(host: str) -> bool:
    """Whether the host is an IP address in plain writing, so that there is nothing to look up."""
    with suppress(OSError):
        socket.inet_pton(family_of(host), host)
        return True
    return False


async def dial(host: str, port: int, outbound: Outbound, lookup: Lookup) -> socket.socket:
    """A socket connected to the host, small writes sent at once. The caller bounds the time.

    Raises:
        AddressRefused: no address of it may be connected to.
        ConnectFailed: with the last reason.
    """
    try:
        if is_address(host) or ":" in host:
            return await _connected(host, port, outbound)
        addresses = await allowed_addresses(host, port, outbound, lookup)
        if len(addresses) == 1:
            return await _connected(addresses[0], port, outbound)
        return await _raced(interleaved(addresses), port, outbound)
    except (OSError, UnicodeError) as exc:
        raise ConnectFailed(f"{host}:{port}: {reason(exc)}") from exc


def reason(exc: Exception) -> str:
    """What went wrong, in the system's words."""
    if isinstance(exc, OSError) and exc.errno and not isinstance(exc, ssl.SSLError | socket.gaierror):
        return os.strerror(exc.errno)  # loops put their own words over it
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


async def _connected(address: str, port: int, outbound: Outbound) -> socket.socket:
    sock = checked_socket(address, outbound)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:  # also a cancellation: the socket has no other owner yet
        sock.close()
        raise
    return sock


async def _raced(addresses: Sequence[str], port: int, outbound: Outbound) -> socket.socket:
    """The first that connects; each has a head start over the next, which a failure ends."""
    waiting = deque(addresses)
    trying: set[asyncio.Task[socket.socket]] = set()
    failure = OSError("no address")
    try:
        while waiting or trying:
            if waiting:
                trying.add(asyncio.ensure_future(_connected(waiting.popleft(), port, outbound)))
            done, trying = await asyncio.wait(
                trying, timeout=HEAD_START if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            won = [task for task in done if task.exception() is None]
            if won:
                trying.update(won[1:])
                return won[0].result()
            for task in done:
                if isinstance(lost := task.exception(), OSError):
                    failure = lost
        raise failure
    finally:
        # Nothing is waited for here: a cancellation meanwhile would lose the socket that won.
        for task in trying:
            task.add_done_callback(_close_unwanted)
            task.cancel()


def _close_unwanted(task: asyncio.Task[socket.socket]) -> None:
    """An attempt that lost; it may have connected all the same."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
