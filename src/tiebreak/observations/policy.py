"""What of a request may be kept, decided before anything is written.

`none` counts only: of unit and session there are the keys, and tags, API keys and texts are gone. `metadata` (the
default) keeps those but no request or response. `full` keeps these too, cut at `MAX_BODY` and without what looks like a
secret. The keys are hashes: whoever has a list of units can tell which of them are there.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec.structs import replace

from tiebreak.observations.model import Event, Exposure, session_key
from tiebreak.providers.redaction import MASK, redact

MAX_TEXT: Final = 200  # characters of a unit, a session, a model, a tag
MAX_TAGS: Final = 16
MAX_BODY: Final = 256 << 10  # characters of a request or a response
CUT_MARK: Final = "…"

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
# Each alternative has a bounded length or a beginning that cannot lie inside another match of it, so that no text
# takes more than linear time.
_SECRETS: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{0,20000}(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
    r"|(?<![\w-])eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}"
    r"|\bAIza[\w-]{35}"
    r"|\bxox[abprs]-[\w-]{10,}"
)
_PERSONS: Final = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
    r"|(?<![\w+])\+?\d[\d ().-]{7,18}\d(?!\w)"
)


class BodyPolicy(StrEnum):
    """How much of a request is kept."""

    NONE = "none"
    METADATA = "metadata"
    FULL = "full"


def kept(event: Event, policy: BodyPolicy, *, hide_persons: bool = False) -> Event:
    """The event as it may be written: bounded, storable, and no more of it than the policy allows.

    `hide_persons` also masks what looks like an e-mail address or a phone number in request and response.
    """
    if policy is BodyPolicy.NONE:
        return replace(
            event,
            exposure=None if event.exposure is None else replace(event.exposure, unit=None),
            model=_short(event.model),
            served=_short(event.served),
            api_key=None,
            session=None,
            session_key=_key(event.session),
            tags={},
            request=None,
            response=None,
        )
    full = policy is BodyPolicy.FULL
    return replace(
        event,
        exposure=_bounded(event.exposure),
        model=_short(event.model),
        served=_short(event.served),
        session=_short(event.session),
        session_key=_key(event.session),
        tags=_tags(event.tags) if event.tags else {},
        request=_body(event.request, hide_persons) if full else None,
        response=_body(event.response, hide_persons) if full else None,
    )


def redacted(text: str, *, hide_persons: bool) -> str:
    """The text without what looks like a key, a token or a private key, and, if asked, an address or a phone number."""
    text = _SECRETS.sub(MASK, redact(text, None))
    return _PERSONS.sub(MASK, text) if hide_persons else text


def storable(text: str) -> str:
    """The text with a question mark for what neither UTF-8 nor PostgreSQL can keep."""
    return text if text.isascii() and "\x00" not in text else _UNSTORABLE.sub("?", text)


def _bounded(exposure: Exposure | None) -> Exposure | None:
    if exposure is None or exposure.unit is None:
        return exposure
    unit = _short(exposure.unit)
    return exposure if unit == exposure.unit else replace(exposure, unit=unit)


def _key(session: str | None) -> bytes | None:
    return None if session is None else session_key(session)


def _short(text: str | None) -> str | None:
    return None if text is None else storable(text[:MAX_TEXT])


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {
        storable(key[:MAX_TEXT]): storable(value[:MAX_TEXT]) for key, value in list(tags.items())[:MAX_TAGS]
    }


def _body(text: str | None, hide_persons: bool) -> str | None:
    if text is None:
        return None
    # Cut after masking, so that no half of a secret stays; what comes long before the cut decides nothing behind it.
    clean = redacted(storable(text[: 2 * MAX_BODY]), hide_persons=hide_persons)
    return clean if len(clean) <= MAX_BODY else clean[:MAX_BODY] + CUT_MARK
