"""All keys that count, in memory: a request is judged without a question to the database."""

import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from tiebreak.auth.keys import KeyText, digest_of, parts
from tiebreak.auth.model import OWNER, Principal, Refusal

MAKE_ONE: Final = "`tiebreak key create` on the server's machine makes one"

MISSING: Final = Refusal(
    "missing",
    "this server needs an API key: send it as `Authorization: Bearer tb_…` or `x-api-key: tb_…` (commands take it from "
    f"TIEBREAK_API_KEY); {MAKE_ONE}",
)
MALFORMED: Final = Refusal(
    "malformed",
    "what came as API key is none: send one, which reads tb_, 8 characters, _, 43 characters, as "
    "`Authorization: Bearer tb_…` or as `x-api-key: tb_…`",
)
# One refusal for a prefix that nobody has, a wrong secret and a revoked key: whoever guesses learns nothing.
UNKNOWN: Final = Refusal(
    "unknown", f"the API key is not one of this server's, or it has been revoked; {MAKE_ONE}"
)


class StoredKey(msgspec.Struct, frozen=True):
    """What is needed to recognise a key and its holder."""

    principal: Principal
    digest: bytes
    expires_at: datetime | None = None


# Compared with when nobody has the prefix, so that the way is the same as with a wrong secret; fits no secret.
_NOBODY: Final = StoredKey(Principal(None, "nobody", frozenset()), secrets.token_bytes(32))


class KeySnapshot(msgspec.Struct, frozen=True):
    """The keys that are not revoked, by prefix. `keyed` says whether any key was ever made: then nothing passes without."""

    keys: dict[str, StoredKey]
    keyed: bool

    def check(self, text: str, now: datetime) -> Principal | Refusal:
        """Who sends this: the value of a header, with or without `Bearer` before the key."""
        found = parts(text if text.startswith("tb_") else _credential(text))
        if found is None:
            return MALFORMED
        prefix, secret = found
        stored = self.keys.get(prefix, _NOBODY)
        if not hmac.compare_digest(digest_of(secret), stored.digest):
            return UNKNOWN
        if stored.expires_at is not None and stored.expires_at <= now:
            return Refusal(
                "expired",
                f"the API key {stored.principal.name!r} has expired at {stored.expires_at:%Y-%m-%d %H:%M} UTC; {MAKE_ONE}",
            )
        return stored.principal

    def with_owner(self, key: KeyText) -> "KeySnapshot":
        """The same, and the key of this machine's owner, which is in no database."""
        return KeySnapshot({**self.keys, key.prefix: StoredKey(OWNER, key.digest)}, self.keyed)

    def encode(self) -> bytes:
        """As MessagePack, for a file. It holds hashes and no secret."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, encoded: bytes) -> "KeySnapshot":
        """What `encode` gave.

        Raises:
            msgspec.DecodeError: it is something else.
        """
        return msgspec.msgpack.decode(encoded, type=cls)


NO_KEYS: Final = KeySnapshot({}, keyed=False)


def presented(headers: Iterable[tuple[bytes, bytes]]) -> str | Refusal:
    """The one key that a request brings; the same key in both headers counts as one."""
    found: str | None = None
    for name, value in headers:
        if name == b"authorization":
            key = _credential(value.decode("latin-1").strip())
        elif name == b"x-api-key":
            key = value.decode("latin-1").strip()
        else:
            continue
        if found is not None and found != key:
            return MALFORMED
        found = key
    return MISSING if found is None else found


def _credential(text: str) -> str:
    """What stands behind `Bearer`; nothing when the text begins otherwise."""
    scheme, _, credential = text.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""
