"""Which addresses we may connect to: pure rules, asked once when a URL is stored and again for every socket.

Three settings, each allowing more than the one before: `public`, `loopback` (also this machine), `private` (also the
local networks). Link-local addresses, where clouds keep their credentials, and addresses that name no single host
are refused under all of them.
"""

import ipaddress
import re
import socket
from typing import Final, Literal

from yarl import URL

from tiebreak.errors import Fault, InvalidInput

Outbound = Literal["public", "loopback", "private"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SETTING: Final = "TIEBREAK_OUTBOUND"

_ALLOWED: Final[dict[str, frozenset[str]]] = {
    "public": frozenset({"public"}),
    "loopback": frozenset({"public", "loopback"}),
    "private": frozenset({"public", "loopback", "private"}),
}
# Instance metadata that lives outside the link-local range: AWS over IPv6, Alibaba.
_METADATA: Final = frozenset({ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200")})
_THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# What inet_aton reads as IPv4: one to four parts, each decimal, octal or hexadecimal.
_NUMERIC_HOST: Final = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?")


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, Teredo, NAT64), which is where it would arrive."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def kind(address: Address) -> Literal["public", "loopback", "private", "never"]:
    """The least permissive group an address belongs to; `never` is allowed by no setting."""
    if isinstance(address, ipaddress.IPv6Address) and (inner := _inside(address)) is not None:
        return kind(inner)
    if (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in _METADATA
        or (address.version == 4 and (address in _THIS_NETWORK or address.is_reserved))
    ):
        return "never"
    if address.is_loopback:
        return "loopback"
    return "public" if address.is_global else "private"


def refusal(host: str, outbound: Outbound) -> str | None:
    """Why a connection to this IP address (as text, a zone after `%` is ignored) is not allowed; None when it is."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return f"{host!r} is not an IP address"
    group = kind(address)
    if group in _ALLOWED[outbound]:
        return None
    if group == "never":
        return f"{host} is a link-local, metadata or unroutable address, which no setting allows"
    what = "this machine" if group == "loopback" else "a private network"
    return f"{host} is on {what}; {SETTING}={group} allows it, and it is {outbound!r} now"


def _numeric(host: str) -> str:
    """Where the resolver would go for a number-like host that is no plain address (`2130706433`, `0x7f.1`)."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return "nowhere"


def _complaint(url: str, outbound: Outbound) -> str | None:
    """What is wrong with a base URL, or None."""
    if re.search(r"[\s\\\x00-\x20\x7f]", url):
        return "has a space, a backslash or a control character in it"
    try:
        parts = URL(url)
        port = parts.port
    except ValueError as exc:
        return f"is not a URL ({exc})"
    if parts.scheme not in ("http", "https") or not parts.host:
        return "must begin with http:// or https:// and name a host"
    if "@" in re.split(r"[/?#]", url.partition("//")[2], maxsplit=1)[0]:
        return "carries a user name; give the key as the provider's secret instead"
    if "#" in url or "?" in url:
        return "has a query or a fragment; calls add their own path, so leave both out"
    if port == 0:
        return "has port 0"
    return host_refusal(parts.host, outbound)


def host_refusal(host: str, outbound: Outbound) -> str | None:
    """Why this host of a URL is not allowed, as far as its text tells; None when it may be.

    Judges IP addresses, number-like hosts and `localhost`; what a name resolves to is judged on the socket.
    """
    if ":" in host or re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", host):
        return refusal(host, outbound)
    if _NUMERIC_HOST.fullmatch(host):
        return f"writes its address as {host!r}; write {_numeric(host)} if you mean that"
    if host.rstrip(".").lower().rsplit(".", 1)[-1] == "localhost":
        return refusal("127.0.0.1", outbound)
    return None


def check_url(url: str, outbound: Outbound) -> str:
    """A base URL without its trailing slash, if we may call it as far as its text tells.

    A host name is not resolved here: what it resolves to is checked on every connection.

    Raises:
        InvalidInput: with the URL, the reason and, where a setting decides, the setting.
    """
    complaint = _complaint(url, outbound)
    if complaint is not None:
        shown = re.sub(r"//[^/]*@", "//…@", url[:200])  # what stands there may be a password
        message = f"base_url {shown!r}: {complaint}"
        raise InvalidInput(message, faults=[Fault("/base_url", message)])
    return url.rstrip("/")


def same_origin(one: str, other: str) -> bool:
    """Whether two base URLs lead to the same scheme, host and port."""
    first, second = URL(one), URL(other)
    return (first.scheme, first.host, first.port) == (second.scheme, second.host, second.port)
