"""What a JSON value must not hold, because PostgreSQL or UTF-8 cannot keep it."""

import math
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, JsonValue

MAX_DEPTH = 50
MAX_INTEGER = 2**63
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def unstorable(text: str) -> str | None:
    """Why this text cannot be kept (a NUL character, half a surrogate pair), or None."""
    found = _UNSTORABLE.search(text)
    if found is None:
        return None
    what = (
        "a NUL character"
        if found.group() == "\x00"
        else f"half a surrogate pair (U+{ord(found.group()):04X})"
    )
    return f"holds {what} at character {found.start() + 1}; remove it"


def storable(text: str) -> str:
    """The text itself.

    Raises:
        ValueError: see `unstorable`.
    """
    if reason := unstorable(text):
        raise ValueError(f"the text {reason}")
    return text


Text = Annotated[str, AfterValidator(storable)]


def _children(value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict):
        yield from ((f"key {key!r}", child) for key, child in value.items())
    elif isinstance(value, list):
        yield from ((f"place {place}", child) for place, child in enumerate(value))


def _reason(value: JsonValue) -> str | None:
    if isinstance(value, str):
        return unstorable(value)
    if isinstance(value, dict):
        return next((reason for key in value if (reason := unstorable(key))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, which JSON does not have"
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "is a whole number beyond 64 bits; write it as text"
    return None


def storable_json(value: JsonValue) -> JsonValue:
    """The value itself, when every text and number in it can be kept and it is nested at most 50 deep.

    Raises:
        ValueError: names what and where.
    """
    open_values: list[tuple[str, int, JsonValue]] = [("the value", 0, value)]
    while open_values:
        place, depth, inner = open_values.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if reason := _reason(inner):
            raise ValueError(f"{place} {reason}")
        open_values.extend((name, depth + 1, child) for name, child in _children(inner))
    return value


def pointer(*parts: str | int) -> str:
    """An RFC 6901 JSON pointer: `pointer("a/b", 0)` is "/a~1b/0"."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
