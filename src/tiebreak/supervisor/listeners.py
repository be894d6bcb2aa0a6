"""The listening sockets: one a worker, all on one port, held by the supervisor.

The kernel spreads new connections over them (SO_REUSEPORT), evenly however fast they come. Because the supervisor holds
them too, the connections that wait for a worker which died are not lost: another worker accepts them (adr/0015).
"""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tiebreak.errors import Conflict, InvalidInput, Misconfigured

BACKLOG = 1024
HOSTS = ("127.0.0.1", "::1")


def address_of(host: str) -> str:
    """The address to listen on.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return "127.0.0.1" if host == "localhost" else str(ipaddress.ip_address(host))
    except ValueError as exc:
        raise InvalidInput(
            f"--host {host!r} is no IP address; write 127.0.0.1 for this machine only, 0.0.0.0 for all networks, or "
            "one address of this machine"
        ) from exc


def exposed(address: str) -> bool:
    """Whether other machines may reach a server that listens there."""
    return address not in HOSTS


@contextmanager
def listen(address: str, port: int, count: int = 1) -> Iterator[list[socket.socket]]:
    """So many listening sockets on one port, closed at the end.

    Raises:
        Conflict: the port is taken.
        Misconfigured: this machine does not let us listen there.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with ExitStack() as opened:
        try:
            # Sockets that share a port would share it with another server of the same user as well; this one does not.
            with _bound(family, address, port, shared=False):
                pass
            first = opened.enter_context(_bound(family, address, port, shared=True))
            port = first.getsockname()[1]
            others = [
                opened.enter_context(_bound(family, address, port, shared=True)) for _ in range(count - 1)
            ]
            for listener in (first, *others):
                listener.listen(BACKLOG)
        except OSError as exc:
            if exc.errno == 98:  # EADDRINUSE
                raise Conflict(
                    f"port {port} of {address} is taken; choose another with --port, or 0 for a free one"
                ) from exc
            raise Misconfigured(f"cannot listen on {address} port {port}: {exc.strerror}") from exc
        yield [first, *others]


def _bound(family: socket.AddressFamily, address: str, port: int, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def url_of(listener: socket.socket) -> str:
    """The address a person on this machine can open."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- read, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
