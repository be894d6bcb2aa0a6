"""Headers as they go over the wire; what would break out of its line never does."""

import re
from collections.abc import Mapping
from typing import Final

_NAMES: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BREAKS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# The client writes these itself; a second opinion about where a message ends is how requests are smuggled.
_OURS: Final = frozenset({"content-length", "transfer-encoding", "host"})


def header_lines(headers: Mapping[str, str]) -> str:
    """The headers, each on its line.

    Raises:
        ValueError: naming the header, never its value, which may be a key.
    """
    if not headers:
        return ""
    if (
        not _NAMES.fullmatch("".join(headers))
        or _BREAKS.search("".join(headers.values()))
        or "" in headers
        or not _OURS.isdisjoint(map(str.lower, headers))
    ):
        raise ValueError(_complaint(headers))
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def _complaint(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if not _NAMES.fullmatch(name):
            return f"{name!r} is not the name of a header; use letters, digits and dashes"
        if _BREAKS.search(value):
            return f"the value of the header {name!r} has a line break or another control character in it; remove it"
    return "host, content-length and transfer-encoding are the client's to write; leave them out"
