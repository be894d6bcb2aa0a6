"""Use cases of API keys. The edge commits."""

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.auth import store
from tiebreak.auth.keys import KeyText, fresh
from tiebreak.auth.model import Key, KeyScope
from tiebreak.errors import Conflict, Fault, InvalidInput, Misconfigured, NotFound
from tiebreak.ids import new_id

MOST_KEYS: Final = 10_000  # each process holds all of them in memory
SEEDED_NAME: Final = "admin key file"


@dataclass(frozen=True, slots=True)
class Changes:
    """What to change of a key; with `forget_expiry` it never expires again."""

    name: str | None = None
    expires_at: datetime | None = None
    forget_expiry: bool = False


async def create(
    tx: AsyncConnection, *, name: str, scopes: Iterable[KeyScope], expires_at: datetime | None, now: datetime
) -> tuple[Key, KeyText]:
    """Make a key. Its secret is in the second value and nowhere else.

    Raises:
        InvalidInput: it would have expired already.
        Conflict: there are too many keys.
    """
    _require_future(expires_at, now)
    if await store.count_usable(tx) >= MOST_KEYS:
        raise Conflict(f"there are {MOST_KEYS:,} keys, which is the most; revoke some that nobody uses")
    while True:
        text = fresh(secrets.token_bytes)
        key = Key(new_id(), text.prefix, name, frozenset(scopes), now, expires_at, None, None)
        if await store.insert_key(tx, key, text.digest):  # two of 2^40 prefixes may be the same
            await store.notify(tx)
            return key, text


def _require_future(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        message = f"{expires_at:%Y-%m-%d %H:%M:%S} UTC has passed; choose a later time, or null for no end"
        raise InvalidInput(message, faults=[Fault("/expires_at", message)])


async def by_prefix(tx: AsyncConnection, prefix: str, *, lock: bool = False) -> Key:
    """The key with this prefix, revoked or not.

    Raises:
        NotFound: there is none.
    """
    key = await store.find(tx, prefix, lock=lock)
    if key is None:
        raise NotFound(f"no key {prefix!r}; `tiebreak key list` shows what there is")
    return key


async def list_page(tx: AsyncConnection, limit: int, after: UUID | None) -> list[Key]:
    """One more than `limit` keys by age, revoked ones included."""
    return await store.list_keys(tx, limit, after)


async def change(tx: AsyncConnection, prefix: str, changes: Changes, now: datetime) -> Key:
    """Give a key another name or end. Scopes never change: whoever has the key would not know.

    Raises:
        NotFound: there is none.
        Conflict: it is revoked.
        InvalidInput: the new end has passed.
    """
    _require_future(changes.expires_at, now)
    key = await by_prefix(tx, prefix, lock=True)
    if key.revoked_at is not None:
        raise Conflict(f"the key {prefix!r} is revoked, which is for good; make a new one")
    changed = replace(
        key,
        name=key.name if changes.name is None else changes.name,
        expires_at=None if changes.forget_expiry else changes.expires_at or key.expires_at,
    )
    await store.update_key(tx, changed)
    await store.notify(tx)
    return changed


async def revoke(tx: AsyncConnection, prefix: str, now: datetime) -> None:
    """End a key for good; again changes nothing.

    Raises:
        NotFound: there is none.
    """
    key = await by_prefix(tx, prefix, lock=True)
    if key.revoked_at is None:
        await store.update_key(tx, replace(key, revoked_at=now))
        await store.notify(tx)


async def seed(tx: AsyncConnection, text: KeyText, now: datetime) -> bool:
    """Store an admin key that was given, unless it is there; False when it is there and was revoked since.

    Raises:
        Misconfigured: its prefix belongs to a key with another secret.
    """
    key = Key(new_id(), text.prefix, SEEDED_NAME, frozenset({"admin"}), now, None, None, None)
    if await store.insert_key(tx, key, text.digest):
        await store.notify(tx)
        return True
    digest = await store.digest_of(tx, text.prefix)
    if digest is None or not hmac.compare_digest(digest, text.digest):
        raise Misconfigured(
            f"the admin key file holds a key with the prefix {text.prefix!r} of another key; remove the file, and a "
            "fresh key is written there"
        )
    return (await by_prefix(tx, text.prefix)).revoked_at is None


async def keyed(tx: AsyncConnection) -> bool:
    """Whether a key was ever made: from then on nothing is answered without one, also when all are revoked."""
    return await store.any_key(tx)
