"""SQL over API keys. The names of the queries say what they are for; nothing here commits."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.auth.model import Key, Principal
from tiebreak.auth.snapshot import KeySnapshot, StoredKey
from tiebreak.auth.tables import api_keys

CHANNEL: Final = "tiebreak_auth"  # NOTIFY after a key was made, changed or revoked; polling is the guarantee

# Every key that may still be used, one that has expired included: it is refused with that reason.
_USABLE: Final = (
    "select id, prefix, secret_hash, name, scopes, expires_at from api_keys where revoked_at is null"
)
_KEYED: Final = "select exists (select from api_keys)"
# Changes with every key that may be used, and with the first of all; a use does not change it.
_FINGERPRINT: Final = """
select exists (select from api_keys) || coalesce(
    md5(string_agg(row(id, prefix, secret_hash, name, scopes, expires_at)::text, '' order by id)), '')
from api_keys where revoked_at is null
"""

# To the minute is enough, and a busy key is then written once a minute. A row that another process writes right now
# is left to it, so that two writers never wait for each other.
_NOTE_USES: Final = """
update api_keys k set last_used_at = used.at
from unnest($1::uuid[], $2::timestamptz[]) as used (id, at)
where k.id = used.id and k.id in (
    select o.id from api_keys o
    join unnest($1::uuid[], $2::timestamptz[]) as u (id, at) on u.id = o.id
    where o.last_used_at is null or o.last_used_at <= u.at - interval '1 minute'
    for update of o skip locked
)
"""


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        prefix=row.prefix,
        name=row.name,
        scopes=frozenset(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )


async def insert_key(tx: AsyncConnection, key: Key, digest: bytes) -> bool:
    """Store a new key; False when the prefix is taken, decided by the index, so also between two at once."""
    made = await tx.execute(
        insert(api_keys)
        .values(
            id=key.id,
            prefix=key.prefix,
            secret_hash=digest,
            name=key.name,
            scopes=sorted(key.scopes),
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
        .on_conflict_do_nothing(index_elements=["prefix"])
    )
    return made.rowcount == 1


async def find(tx: AsyncConnection, prefix: str, *, lock: bool = False) -> Key | None:
    """A key by prefix; with `lock`, nobody else changes it before this transaction ends."""
    found = select(api_keys).where(api_keys.c.prefix == prefix)
    row = (await tx.execute(found.with_for_update() if lock else found)).one_or_none()
    return None if row is None else _key(row)


async def digest_of(tx: AsyncConnection, prefix: str) -> bytes | None:
    """What is kept of the secret of a key, revoked or not."""
    digest: bytes | None = await tx.scalar(select(api_keys.c.secret_hash).where(api_keys.c.prefix == prefix))
    return digest


async def list_keys(tx: AsyncConnection, limit: int, after: UUID | None) -> list[Key]:
    """One more than `limit` keys by age."""
    found = select(api_keys).order_by(api_keys.c.id).limit(limit + 1)
    if after is not None:
        found = found.where(api_keys.c.id > after)
    return [_key(row) for row in await tx.execute(found)]


async def count_usable(tx: AsyncConnection) -> int:
    """How many keys are not revoked."""
    return int(await tx.scalar(select(func.count()).where(api_keys.c.revoked_at.is_(None))) or 0)


async def any_key(tx: AsyncConnection) -> bool:
    """Whether a key was ever made."""
    return bool(await tx.scalar(select(select(api_keys.c.id).exists())))


async def update_key(tx: AsyncConnection, changed: Key) -> None:
    """Write what may change of a key; the row is locked by whoever decided the change."""
    await tx.execute(
        update(api_keys)
        .where(api_keys.c.id == changed.id)
        .values(name=changed.name, expires_at=changed.expires_at, revoked_at=changed.revoked_at)
    )


async def notify(tx: AsyncConnection) -> None:
    """Tell every process that keys changed, once this transaction commits."""
    await tx.execute(select(func.pg_notify(CHANNEL, "")))


async def fingerprint(connection: asyncpg.Connection) -> str:
    """What tells whether `load` would give something else than before."""
    return str(await connection.fetchval(_FINGERPRINT))


async def load(connection: asyncpg.Connection) -> KeySnapshot:
    """All keys that may still be used; `keyed` is read last, so that it is never behind them."""
    rows = await connection.fetch(_USABLE)
    keys = {
        row["prefix"]: StoredKey(
            Principal(row["id"], row["name"], frozenset(row["scopes"])), row["secret_hash"], row["expires_at"]
        )
        for row in rows
    }
    return KeySnapshot(keys, keyed=bool(await connection.fetchval(_KEYED)))


async def note_uses(connection: asyncpg.Connection, uses: Mapping[UUID, datetime]) -> None:
    """Write when keys were used last."""
    await connection.execute(_NOTE_USES, list(uses), list(uses.values()))
