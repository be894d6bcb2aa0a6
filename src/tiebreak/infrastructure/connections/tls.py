"""The client's side of TLS: certificates verified, 1.2 at least, nothing written for debuggers."""

import ssl

from tiebreak.infrastructure.connections.http import ConnectFailed, Route


def client_context(route: Route | None) -> ssl.SSLContext:
    """What an https connection is made with; reads the files of the route, or the system's authorities.

    Raises:
        ConnectFailed: a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # so that a write never has to wait for a read
    context.set_alpn_protocols(["http/1.1"])
    route = route or Route()
    try:
        if route.ca_bundle is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=route.ca_bundle)
    except OSError as exc:
        raise ConnectFailed(
            f"CA bundle {route.ca_bundle}: {exc.strerror or exc}; give a PEM file of certificates"
        ) from exc
    if route.client_certificate is not None:
        try:
            context.load_cert_chain(route.client_certificate, route.client_key, password=_no_password)
        except (OSError, ValueError) as exc:
            what = getattr(exc, "strerror", None) or exc
            raise ConnectFailed(
                f"client certificate {route.client_certificate}: {what}; give a PEM certificate and its key "
                "without a password"
            ) from exc
    return context


def _no_password() -> str:
    """OpenSSL would ask on the terminal otherwise."""
    raise ValueError("its key has a password")
