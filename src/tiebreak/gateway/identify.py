"""Who a request is of, and what it asks of the gateway itself: from its headers and its body. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from tiebreak.errors import InvalidInput
from tiebreak.gateway.fields import Fields

PREFIX: Final = b"x-tiebreak-"
MOST_TAGS: Final = 16

Log = Literal["none", "metadata", "full"]
Source = Literal["header", "body", "session", "request"]
C = TypeVar("C", bound=str)


@dataclass(frozen=True, slots=True)
class Asked:
    """What `x-tiebreak-*` headers say. `log` is the caller's wish, which may only be for less than the test records."""

    unit: str | None = None
    session: str | None = None
    variant: str | None = None
    exclude: bool = False
    cache: Literal["on", "off", "refresh"] = "on"
    log: Log | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unit:
    """What is assigned, and where it was said."""

    text: str
    source: Source


NOTHING_ASKED: Final = Asked()


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Asked:
    """The gateway's own request headers.

    Raises:
        InvalidInput: one of them cannot be understood.
    """
    said = {name[len(PREFIX) :].decode(): value for name, value in headers if name.startswith(PREFIX)}
    if not said:
        return NOTHING_ASKED
    text = {name: _text(name, value) for name, value in said.items()}
    logs: tuple[Log, ...] = ("none", "metadata", "full")
    log = _choice("log", text["log"], logs) if "log" in text else None
    return Asked(
        unit=text.get("unit") or None,
        session=text.get("session") or None,
        variant=text.get("variant") or None,
        exclude=_flag("exclude", text.get("exclude", "false")),
        cache=_choice("cache", text.get("cache", "on"), ("on", "off", "refresh")),
        log=log,
        tags=_tags(text.get("tags", "")),
    )


def unit_of(asked: Asked, fields: Fields, request_id: str) -> Unit:
    """What is assigned: the first of the header, the body's end user, the session, the request itself."""
    if asked.unit is not None:
        return Unit(asked.unit, "header")
    if fields.caller:
        return Unit(fields.caller, "body")
    session = asked.session or fields.session
    # A session and a user may have the same id and are not the same.
    return Unit(f"session:{session}", "session") if session else Unit(request_id, "request")


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        raise InvalidInput(f"the header x-tiebreak-{name} is no UTF-8; send it as such") from None


def _flag(name: str, value: str) -> bool:
    return _choice(name, value.lower(), ("true", "1", "false", "0")) in ("true", "1")


def _choice(name: str, value: str, choices: tuple[C, ...]) -> C:
    for choice in choices:
        if value == choice:
            return choice
    raise InvalidInput(f"x-tiebreak-{name} is {value[:40]!r}; it may be {', '.join(choices)}")


def _tags(value: str) -> dict[str, str]:
    """`key=value` pairs with commas between."""
    pairs = [pair.strip() for pair in value.split(",") if pair.strip()]
    if len(pairs) > MOST_TAGS:
        raise InvalidInput(f"x-tiebreak-tags has {len(pairs)} tags; at most {MOST_TAGS} are kept")
    tags = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise InvalidInput(f"x-tiebreak-tags: {pair[:40]!r} is not `key=value`")
        tags[key.strip()] = text.strip()
    return tags
