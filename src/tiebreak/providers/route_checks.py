"""Whether a way to a vendor can be taken: its proxy's URL, and its files, which are read once to see."""

import stat
from pathlib import Path
from typing import Final

from tiebreak.errors import Fault, InvalidInput
from tiebreak.infrastructure.connections.addresses import Outbound, host_refusal
from tiebreak.infrastructure.connections.http import ConnectFailed, Route
from tiebreak.infrastructure.connections.proxy import proxy_of
from tiebreak.infrastructure.connections.tls import client_context

MOST_BYTES: Final = 16 * 1024 * 1024  # of a PEM file; the largest bundles have half a megabyte


def check_proxy(url: str, outbound: Outbound) -> None:
    """Pass a proxy's URL that may be connected to, as far as its text tells.

    Raises:
        InvalidInput: without the URL, which may hold a password.
    """
    try:
        proxy = proxy_of(url)
    except ConnectFailed as exc:
        raise _refused("proxy", str(exc)) from exc
    if (no := host_refusal(proxy.host, outbound)) is not None:
        raise _refused("proxy", f"the proxy {proxy.host}:{proxy.port}: {no}")


def check_files(route: Route) -> None:
    """Pass when every file of the route can be used. Reads them, so call it in a thread.

    Raises:
        InvalidInput: names the file, the reason and the field.
    """
    if route.client_key is not None and route.client_certificate is None:
        raise _refused("client_key", "client_key goes with a client_certificate; give both, or neither")
    for field in ("ca_bundle", "client_certificate", "client_key"):
        if (path := getattr(route, field)) is not None:
            _check_path(field, path)
    if route.ca_bundle is not None:
        _try("ca_bundle", Route(ca_bundle=route.ca_bundle))
    if route.client_certificate is not None:
        _try(
            "client_certificate",
            Route(client_certificate=route.client_certificate, client_key=route.client_key),
        )


def _check_path(field: str, path: str) -> None:
    """A plain file of a size that can be read: a device or a pipe would never end."""
    if not Path(path).is_absolute():
        raise _refused(
            field, f"{field} {path!r} is no absolute path; write it from the root of the machine that calls"
        )
    try:
        found = Path(path).stat()
    except OSError as exc:
        raise _refused(
            field, f"{field} {path}: {exc.strerror or exc}; it has to be on the machine that calls"
        ) from exc
    if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
        raise _refused(
            field, f"{field} {path} is no PEM file: not a plain file of at most {MOST_BYTES:,} bytes"
        )


def _try(field: str, route: Route) -> None:
    try:
        client_context(route)
    except ConnectFailed as exc:
        raise _refused(field, str(exc)) from exc


def _refused(field: str, message: str) -> InvalidInput:
    return InvalidInput(message, faults=[Fault(f"/{field}", message)])
