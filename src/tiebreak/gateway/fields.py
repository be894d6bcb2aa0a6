"""What the gateway must know of a body before it goes on, and how to change some of it and nothing else. Pure.

Everything unknown passes through: a changed body keeps every other value's bytes as the caller wrote them.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tiebreak.errors import InvalidInput

MOST_MODEL: Final = 300  # characters


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None
    session_id: str | None = None


class _Body(msgspec.Struct):
    model: str
    stream: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: msgspec.Raw = msgspec.Raw()
    stream_options: msgspec.Raw = msgspec.Raw()


class _Untyped(msgspec.Struct):
    """Only what must be right; the rest is the vendor's to judge."""

    model: str
    stream: bool | None = None


_bodies = msgspec.json.Decoder(_Body)
_untyped = msgspec.json.Decoder(_Untyped)
_metadata = msgspec.json.Decoder(_Metadata)
_options = msgspec.json.Decoder(_StreamOptions)
_tops = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()

_ABSENT: Final = (b"", b"null")
_FAULTS: Final = (ValueError, RecursionError)  # msgspec's errors and bad UTF-8 are ValueErrors


class Fields(msgspec.Struct, frozen=True):
    """A request's body as it came, and the few fields that decide its way.

    `caller` is the body's own word for the end user; `session` for the conversation; `includes_usage` says that a chat's
    stream was asked to end with its usage.
    """

    body: bytes
    model: str
    stream: bool
    caller: str | None
    session: str | None
    includes_usage: bool

    def top(self) -> dict[str, msgspec.Raw]:
        """The top level, every value as its bytes."""
        return _tops.decode(self.body)

    def rewritten(self, changes: Mapping[str, Any]) -> bytes:
        """The body with these fields set, or removed where the value is `msgspec.UNSET`; other values keep their bytes."""
        top: dict[str, Any] = self.top()
        for name, value in changes.items():
            if value is msgspec.UNSET:
                top.pop(name, None)
            else:
                top[name] = value
        return _encoder.encode(top)

    def options_with_usage(self) -> Any:
        """The stream's options with its usage asked for; what is no object stays as it is, for the vendor to judge."""
        options = self.top().get("stream_options", msgspec.Raw())
        if bytes(options) in _ABSENT:
            return {"include_usage": True}
        known = _quietly(_tops, options)
        return options if known is None else {**known, "include_usage": True}


def read_fields(body: bytes) -> Fields:
    """The fields of a body.

    Raises:
        InvalidInput: it is no JSON object, or `model` or `stream` is not what it must be.
    """
    try:
        found = _bodies.decode(body)
    except _FAULTS:
        found = _typed_otherwise(body)
    if any(character < " " or character == "\x7f" for character in found.model):
        raise InvalidInput(f"`model` is {found.model[:40]!r}; a name has no control characters")
    if not found.model or len(found.model) > MOST_MODEL:
        raise InvalidInput(
            f"`model` has {len(found.model)} characters; name a test as `tests/<slug>` or a model as "
            "`<provider>/<model>`"
        )
    metadata = _quietly(_metadata, found.metadata) or _Metadata()
    options = _quietly(_options, found.stream_options) or _StreamOptions()
    return Fields(
        body=body,
        model=found.model,
        stream=bool(found.stream),
        caller=found.user or found.safety_identifier or metadata.user_id,
        session=metadata.session_id,
        includes_usage=bool(options.include_usage),
    )


def _typed_otherwise(body: bytes) -> _Body:
    """A field that only hints may have any type: then it does not hint."""
    if body.startswith(b"\xef\xbb\xbf"):
        raise InvalidInput("the body begins with a byte-order mark; send JSON as UTF-8 without one")
    try:
        found = _untyped.decode(body)
    except _FAULTS as exc:
        raise InvalidInput(f"the body is not what this path takes: {_told(exc)}") from None
    return _Body(model=found.model, stream=found.stream)


def _told(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str(error)
    return "it is no valid UTF-8" if isinstance(error, UnicodeDecodeError) else text[:1].lower() + text[1:]


def _quietly(decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw) -> Any:
    if bytes(raw) in _ABSENT:
        return None
    try:
        return decoder.decode(raw)
    except _FAULTS:
        return None
