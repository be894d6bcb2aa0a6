"""The text of a key: `tb_`, eight characters by which it is found, `_`, and 256 random bits that are kept as a hash only.

SHA-256 without salt or stretching is enough for these: there is no dictionary of 256-bit random values, and a slow hash
would cost every request of the gateway.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PREFIX_BYTES: Final = 5
SECRET_BYTES: Final = 32
PREFIX: Final = r"^[a-z2-7]{8}$"
# No key in the database has this one: it belongs to the key that a server makes for its own machine.
OWNER_PREFIX: Final = "thishost"

_TEXT: Final = re.compile(r"tb_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True, repr=False)
class KeyText:
    """A whole key, secret included."""

    prefix: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyText(tb_{self.prefix}_…)"

    @property
    def text(self) -> str:
        """What a client sends. Shown to whoever made the key, once."""
        return f"tb_{self.prefix}_{self.secret}"

    @property
    def digest(self) -> bytes:
        """What is kept of the secret."""
        return digest_of(self.secret)


def fresh(chance: Callable[[int], bytes]) -> KeyText:
    """A new key; `chance` gives so many random bytes."""
    prefix = OWNER_PREFIX
    while prefix == OWNER_PREFIX:
        prefix = base64.b32encode(chance(PREFIX_BYTES)).decode().lower()
    return KeyText(prefix, base64.urlsafe_b64encode(chance(SECRET_BYTES)).decode().rstrip("="))


def owner(chance: Callable[[int], bytes]) -> KeyText:
    """A new key for the owner of this machine."""
    return KeyText(OWNER_PREFIX, fresh(chance).secret)


def parts(text: str) -> tuple[str, str] | None:
    """Prefix and secret of a key's text, or None when it is no key; nothing is said of what was wrong with it."""
    found = _TEXT.fullmatch(text)
    return None if found is None else (found[1], found[2])


def parse(text: str) -> KeyText | None:
    """The key that the text is, or None."""
    found = parts(text)
    return None if found is None else KeyText(*found)


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()
