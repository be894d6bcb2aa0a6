"""What a vendor sent, made fit to be shown: without keys, without control characters, short."""

import re
from typing import Final
from urllib.parse import quote

MASK: Final = "[redacted]"

# A vendor that refuses a key likes to repeat it, whole or in part, in its message.
_KEY_LIKE: Final = re.compile(r"\b(?:sk|pk|rk|gsk|xai|key)-[\w*.-]{6,}|(?<=[Bb]earer )[\w.~+/=*-]+")


def redact(text: str, secret: str | None) -> str:
    """The text without the secret, as it is or escaped for JSON or a URL, and without what looks like a key."""
    if secret:
        for form in (secret, secret.replace("/", "\\/"), quote(secret, safe="")):
            text = text.replace(form, MASK)
    return _KEY_LIKE.sub(MASK, text)


def printable(text: str) -> str:
    """Control characters and lone surrogates become spaces: terminals, logs and PostgreSQL take the rest as it is."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def excerpt(raw: bytes | str, secret: str | None, limit: int) -> str:
    """The beginning of an answer as one printable line of at most `limit` characters.

    The secret is removed before anything is cut off, so that no half of it stays.
    """
    margin = 3 * len(secret or "")  # a secret in its longest form
    window = 4 * limit + margin
    text = raw[: 4 * window].decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    whole = len(text) <= window
    text = redact(text[:window], secret)
    if not whole:
        text = text[: len(text) - margin]  # where a secret may have been cut
    text = " ".join(printable(text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
