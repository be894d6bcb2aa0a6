"""The snapshot of a process follows the database, and outlives it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.auth.conftest import NOW
from tests.conftest import DatabaseServer

from tiebreak.auth import files, service
from tiebreak.auth.keys import KeyText
from tiebreak.auth.model import OWNER, Principal, Refusal
from tiebreak.auth.snapshot import UNKNOWN
from tiebreak.auth.watch import POLL, KeyWatch
from tiebreak.clock import SystemClock
from tiebreak.errors import Unavailable


async def until(condition: Callable[[], bool], patience: float = 20.0) -> None:
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(watch: KeyWatch) -> AsyncIterator[KeyWatch]:
    async with watch.running():
        yield watch


async def cut(server: DatabaseServer, dsn: str) -> int:
    """End every other session of the database; gives how many there were."""
    connection = await asyncpg.connect(server.dsn)
    try:
        return await connection.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1",
            dsn.partition("?")[0].rpartition("/")[2],
        )
    finally:
        await connection.close()


async def test_a_new_key_counts_and_a_revoked_one_is_refused_before_the_next_poll(dsn, database, make_key):
    """Well within the second that is promised, so it is the notification and not the poll."""
    async with watching(KeyWatch(dsn, SystemClock())) as watch:
        assert watch.snapshot.keyed is False
        _, key = await make_key()
        await until(lambda: isinstance(watch.check(key.text), Principal), POLL / 2)
        async with database.transaction() as tx:
            await service.revoke(tx, key.prefix, NOW)
        await until(lambda: watch.check(key.text) is UNKNOWN, POLL / 2)
        assert watch.snapshot.keyed is True


async def test_a_change_that_nobody_announced_is_seen_at_the_next_poll(dsn, database, make_key):
    made, key = await make_key()
    async with watching(KeyWatch(dsn, SystemClock())) as watch:
        assert isinstance(watch.check(key.text), Principal)
        connection = await asyncpg.connect(dsn)
        await connection.execute("update api_keys set revoked_at = now() where id = $1", made.id)
        await connection.close()
        await until(lambda: watch.check(key.text) is UNKNOWN)


async def test_a_lost_session_is_replaced_at_once_and_hears_again(database_server, dsn, make_key):
    _, key = await make_key()
    async with watching(KeyWatch(dsn, SystemClock())) as watch:
        assert await cut(database_server, dsn) >= 1
        _, second = await make_key()
        await until(lambda: isinstance(watch.check(second.text), Principal), POLL / 2)
        assert isinstance(watch.check(key.text), Principal)


async def test_while_the_database_is_away_the_last_snapshot_counts_and_is_said_once(
    database_server, dsn, database, make_key
):
    _, key = await make_key()
    name = dsn.partition("?")[0].rpartition("/")[2]
    admin = await asyncpg.connect(database_server.dsn)
    try:
        with capture_logs() as said:
            async with watching(KeyWatch(dsn, SystemClock())) as watch:
                await admin.execute(f"alter database {name} allow_connections false")
                await cut(database_server, dsn)
                await until(lambda: any("away" in event["event"] for event in said))
                await asyncio.sleep(0.5)  # several attempts
                assert isinstance(watch.check(key.text), Principal)
                await admin.execute(f"alter database {name} allow_connections true")
                await until(lambda: any("back" in event["event"] for event in said))
                _, second = await make_key()
                await until(lambda: isinstance(watch.check(second.text), Principal), POLL / 2)
        assert [event["log_level"] for event in said] == ["warning", "info"]
    finally:
        await admin.execute(f"alter database {name} allow_connections true")
        await admin.close()


async def test_without_a_database_it_starts_from_the_file_and_not_without_one(tmp_path, make_key, dsn):
    made, key = await make_key("gateway")
    nowhere = f"postgresql://nobody@/none?host={tmp_path}"
    with pytest.raises(Unavailable, match="cannot be read"):
        async with watching(KeyWatch(nowhere, SystemClock(), home=tmp_path)):
            pass
    async with watching(KeyWatch(dsn, SystemClock(), home=tmp_path)):
        pass
    file = tmp_path / files.SNAPSHOT_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert key.text.rpartition("_")[2].encode() not in file.read_bytes()
    async with watching(KeyWatch(nowhere, SystemClock(), home=tmp_path)) as away:
        assert away.snapshot.keyed
        assert away.check(key.text) == Principal(made.id, "ci", frozenset({"gateway"}))
        assert away.check(key.text[:-1] + ("a" if key.text[-1] != "a" else "b")) is UNKNOWN
    file.write_bytes(b"torn")
    with pytest.raises(Unavailable, match="cannot be read"):
        async with watching(KeyWatch(nowhere, SystemClock(), home=tmp_path)):
            pass


async def test_a_name_or_an_end_that_changes_is_seen(dsn, database, make_key):
    _, key = await make_key(name="old")
    async with watching(KeyWatch(dsn, SystemClock())) as watch:
        async with database.transaction() as tx:
            await service.change(tx, key.prefix, service.Changes(name="new"), NOW)
        await until(lambda: watch.check(key.text).name == "new", POLL / 2)
        soon = SystemClock().now() + timedelta(seconds=0.2)
        async with database.transaction() as tx:
            await service.change(tx, key.prefix, service.Changes(expires_at=soon), NOW)
        await until(lambda: isinstance(watch.check(key.text), Refusal), POLL / 2)


async def test_a_watch_that_breaks_says_so_at_once(dsn, database_server, make_key):
    """With a clock that fails where the database is waited for."""

    class Broken(SystemClock):
        async def sleep(self, seconds: float) -> None:
            raise LookupError("no time")

    name = dsn.partition("?")[0].rpartition("/")[2]
    admin = await asyncpg.connect(database_server.dsn)
    try:
        with capture_logs() as said:
            async with watching(KeyWatch(dsn, Broken())):
                await admin.execute(f"alter database {name} allow_connections false")
                await cut(database_server, dsn)
                await until(lambda: any("restart the server" in event["event"] for event in said))
    finally:
        await admin.execute(f"alter database {name} allow_connections true")
        await admin.close()


async def test_the_owner_of_the_machine_is_known_through_every_change(dsn, make_key):
    owner = KeyText("thishost", "s" * 43)
    async with watching(KeyWatch(dsn, SystemClock(), owner=owner)) as watch:
        assert watch.check(owner.text) == OWNER
        _, key = await make_key()
        await until(lambda: isinstance(watch.check(key.text), Principal))
        assert watch.check(owner.text) == OWNER


async def test_uses_are_written_when_it_looks_again_and_when_it_leaves(dsn, database, make_key):
    _, key = await make_key()
    _, other = await make_key()

    async def used(key: KeyText):
        async with database.transaction() as tx:
            return (await service.by_prefix(tx, key.prefix)).last_used_at

    async with watching(KeyWatch(dsn, SystemClock())) as watch:
        watch.check(key.text)
        watch.check(f"tb_{other.prefix}_{key.secret}")
        await make_key()  # makes it look
        async with asyncio.timeout(20):
            while await used(key) is None:
                await asyncio.sleep(0.01)
        assert await used(other) is None
        watch.check(other.text)
    assert await used(other) is not None
