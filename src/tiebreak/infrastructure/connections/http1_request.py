"""A request as HTTP/1.1 bytes: where it goes, and what is written."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from yarl import URL

from tiebreak.infrastructure.connections.http import AddressRefused, HttpRequest
from tiebreak.infrastructure.connections.http_headers import header_lines

# Sent unless the request has its own; vendors' front doors turn callers without a name away.
_DEFAULTS: Final = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "tiebreak"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads. `origin` tells connections that may be shared from those that may not; `start` is all of a
    request's head that depends on the URL alone, without its method."""

    tls: bool
    host: str
    port: int
    origin: str
    start: str


@lru_cache(maxsize=1024)
def target_of(url: str) -> Target:
    """The parts of a URL.

    Raises:
        AddressRefused: it is not plainly http or https to a host.
    """
    try:
        parts = URL(url)
        host, port = parts.raw_host, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme not in ("http", "https") or parts.raw_user is not None:
        raise AddressRefused("the URL does not name its host plainly")
    origin = f"{parts.scheme}://{host}:{port}"
    start = f"{parts.raw_path_qs} HTTP/1.1\r\nhost: {parts.host_port_subcomponent}\r\n"
    return Target(parts.scheme == "https", host, port, origin, start)


def encode(request: HttpRequest, target: Target) -> bytes:
    """The head of the request, up to its body.

    Raises:
        ValueError: a header cannot be written.
    """
    lines = header_lines(request.headers)
    named = {name.lower() for name in request.headers}
    missing = "".join([f"{name}: {value}\r\n" for name, value in _DEFAULTS.items() if name not in named])
    length = ""
    if request.body is not None or request.method == "POST":
        length = f"content-length: {len(request.body or b'')}\r\n"
    return f"{request.method} {target.start}{lines}{missing}{length}\r\n".encode("utf-8", "surrogateescape")
