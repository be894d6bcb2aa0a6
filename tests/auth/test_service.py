"""Use cases of keys over a real database."""

import asyncio
import random
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy import select, text
from tests.auth.conftest import NOW

from tiebreak.auth import service, store
from tiebreak.auth.keys import KeyText, fresh
from tiebreak.auth.model import Principal, Refusal
from tiebreak.auth.service import Changes
from tiebreak.auth.snapshot import UNKNOWN
from tiebreak.auth.tables import api_keys
from tiebreak.errors import Conflict, InvalidInput, Misconfigured, NotFound


async def snapshot_of(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        return await store.load(connection)
    finally:
        await connection.close()


async def test_a_key_is_stored_as_a_hash_and_known_again(dsn, database, make_key):
    made, key = await make_key("gateway", "feedback", name="shop")
    assert (made.prefix, made.name, made.scopes) == (key.prefix, "shop", {"gateway", "feedback"})
    async with database.transaction() as tx:
        row = (await tx.execute(select(api_keys))).one()
        assert await service.by_prefix(tx, key.prefix) == made
    assert row.secret_hash == key.digest
    assert key.secret not in repr(row)
    snapshot = await snapshot_of(dsn)
    assert snapshot.keyed
    assert snapshot.check(key.text, NOW) == Principal(made.id, "shop", frozenset({"gateway", "feedback"}))


async def test_without_keys_nothing_is_keyed(dsn, database):
    assert (await snapshot_of(dsn)).keyed is False
    async with database.transaction() as tx:
        assert await service.keyed(tx) is False


async def test_a_revoked_key_is_unknown_and_the_server_stays_locked(dsn, database, make_key):
    _, key = await make_key()
    async with database.transaction() as tx:
        await service.revoke(tx, key.prefix, NOW)
    async with database.transaction() as tx:
        await service.revoke(tx, key.prefix, NOW + timedelta(days=1))
        assert (await service.by_prefix(tx, key.prefix)).revoked_at == NOW
        assert await service.keyed(tx) is True
    snapshot = await snapshot_of(dsn)
    assert snapshot.check(key.text, NOW) is UNKNOWN
    assert (snapshot.keyed, snapshot.keys) == (True, {})


async def test_a_key_gets_another_name_and_end_and_keeps_the_rest(dsn, database, make_key):
    made, key = await make_key("manage", expires_at=NOW + timedelta(days=1))
    later = NOW + timedelta(days=9)
    async with database.transaction() as tx:
        assert (await service.change(tx, key.prefix, Changes(name="new"), NOW)).expires_at == made.expires_at
        changed = await service.change(tx, key.prefix, Changes(expires_at=later), NOW)
        assert (changed.name, changed.expires_at, changed.scopes) == ("new", later, made.scopes)
        assert await service.by_prefix(tx, key.prefix) == changed
        forever = await service.change(tx, key.prefix, Changes(forget_expiry=True), NOW)
        assert (forever.name, forever.expires_at) == ("new", None)
    assert isinstance((await snapshot_of(dsn)).check(key.text, NOW + timedelta(days=999)), Principal)


async def test_an_expired_key_is_refused_as_such_and_may_be_given_more_time(dsn, database, make_key):
    end = NOW + timedelta(hours=1)
    _, key = await make_key(expires_at=end)
    refused = (await snapshot_of(dsn)).check(key.text, end)
    assert isinstance(refused, Refusal)
    assert refused.reason == "expired"
    async with database.transaction() as tx:
        await service.change(tx, key.prefix, Changes(expires_at=end + timedelta(days=1)), end)
    assert isinstance((await snapshot_of(dsn)).check(key.text, end), Principal)


async def test_an_end_that_has_passed_is_refused(database, make_key):
    with pytest.raises(InvalidInput, match="has passed") as refused:
        await make_key(expires_at=NOW)
    assert refused.value.faults[0].pointer == "/expires_at"
    _, key = await make_key()
    async with database.transaction() as tx:
        with pytest.raises(InvalidInput, match="has passed"):
            await service.change(tx, key.prefix, Changes(expires_at=NOW), NOW)


async def test_a_revoked_key_does_not_change(database, make_key):
    _, key = await make_key()
    async with database.transaction() as tx:
        await service.revoke(tx, key.prefix, NOW)
        with pytest.raises(Conflict, match="for good"):
            await service.change(tx, key.prefix, Changes(forget_expiry=True), NOW)


async def test_a_key_that_nobody_made_is_not_found(database):
    async with database.transaction() as tx:
        for call in (
            service.by_prefix(tx, "aaaaaaaa"),
            service.revoke(tx, "aaaaaaaa", NOW),
            service.change(tx, "aaaaaaaa", Changes(name="x"), NOW),
        ):
            with pytest.raises(NotFound, match="tiebreak key list"):
                await call


async def test_there_is_a_most_number_of_keys(database, make_key):
    async with database.transaction() as tx:
        await tx.execute(
            text(
                "insert into api_keys (id, prefix, secret_hash, name, scopes) "
                "select gen_random_uuid(), 'p' || n, sha256('x'), 'many', '{gateway}' from generate_series(1, :n) n"
            ),
            {"n": service.MOST_KEYS},
        )
    with pytest.raises(Conflict, match="10,000"):
        await make_key()
    async with database.transaction() as tx:
        await service.revoke(tx, "p1", NOW)
    await make_key()


async def test_a_given_admin_key_is_stored_once_however_many_start(dsn, database):
    key = fresh(random.Random(5).randbytes)

    async def start() -> bool:
        async with database.transaction() as tx:
            return await service.seed(tx, key, NOW)

    assert await asyncio.gather(*(start() for _ in range(5))) == [True] * 5
    async with database.transaction() as tx:
        (stored,) = await service.list_page(tx, 10, None)
    assert (stored.prefix, stored.scopes) == (key.prefix, {"admin"})
    assert isinstance((await snapshot_of(dsn)).check(key.text, NOW), Principal)


async def test_a_given_admin_key_that_was_revoked_stays_revoked(dsn, database):
    key = fresh(random.Random(5).randbytes)
    async with database.transaction() as tx:
        await service.seed(tx, key, NOW)
        await service.revoke(tx, key.prefix, NOW)
    async with database.transaction() as tx:
        assert await service.seed(tx, key, NOW) is False
    assert (await snapshot_of(dsn)).check(key.text, NOW) is UNKNOWN


async def test_a_given_admin_key_with_the_prefix_of_another_is_refused(database, make_key):
    _, key = await make_key("gateway")
    async with database.transaction() as tx:
        with pytest.raises(Misconfigured, match="another key") as refused:
            await service.seed(tx, KeyText(key.prefix, "s" * 43), NOW)
    assert "sss" not in refused.value.detail


async def test_uses_are_written_to_the_minute(dsn, database, make_key):
    made, key = await make_key()
    connection = await asyncpg.connect(dsn)

    async def used(seconds: int):
        await store.note_uses(connection, {made.id: NOW + timedelta(seconds=seconds)})
        async with database.transaction() as tx:
            return (await service.by_prefix(tx, key.prefix)).last_used_at - NOW

    try:
        assert [(await used(after)).seconds for after in (5, 30, 64, 65, 10)] == [5, 5, 5, 65, 65]
    finally:
        await connection.close()


async def test_a_writer_of_uses_waits_for_nobody(dsn, database, make_key):
    made, key = await make_key()
    other, _ = await make_key()
    connection = await asyncpg.connect(dsn)
    try:
        async with database.transaction() as tx:
            await service.by_prefix(tx, key.prefix, lock=True)
            async with asyncio.timeout(10):
                await store.note_uses(connection, {made.id: NOW, other.id: NOW})
        rows = dict(await connection.fetch("select id, last_used_at from api_keys"))
        assert rows == {made.id: None, other.id: NOW}
    finally:
        await connection.close()
