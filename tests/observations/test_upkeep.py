"""Partitions ahead, retention and the nightly recount, by one process of many."""

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.clocks import ManualClock
from tests.observations.counted import assert_counted, take
from tests.observations.made import NOON, OTHER_TEST, TEST, event, on_request

from tiebreak.observations.upkeep import BE_THE_ONE, Upkeep, UpkeepConfig

CLOCK = ManualClock(NOON)


@pytest.fixture
async def connection(dsn):
    opened = await asyncpg.connect(dsn)
    for name, test in (("checkout", TEST), ("other", OTHER_TEST)):
        await opened.execute(
            "insert into tests (id, slug, name, state, definition, definition_hash, revision) "
            "values ($1, $2, $2, 'running', '{}', '', 1)",
            UUID(bytes=test),
            name,
        )
    yield opened
    await opened.close()


async def partitions(connection, parent="events") -> list[str]:
    rows = await connection.fetch(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid "
        "where i.inhparent = $1::regclass order by 1",
        parent,
    )
    return [row["relname"] for row in rows]


async def test_the_days_to_come_have_their_partitions(dsn, connection):
    assert await Upkeep(dsn=dsn, clock=CLOCK).once()
    assert await partitions(connection) == ["events_20260718", "events_20260719", "events_20260720"]
    assert len(await partitions(connection, "event_bodies")) == 3
    assert await Upkeep(dsn=dsn, clock=CLOCK).once()


async def test_days_beyond_the_retention_are_dropped_and_their_sums_stay(dsn, connection):
    old, new = event(1, at=NOON - timedelta(days=40), request="text"), event(2)
    await take(connection, old, new, on_request(3, 2))
    await Upkeep(dsn=dsn, clock=CLOCK).once()
    assert [row["id"].bytes for row in await connection.fetch("select id from events")] == [new.id]
    assert await connection.fetchval("select count(*) from event_bodies") == 0
    assert "events_20260608" not in await partitions(connection)
    await assert_counted(connection, [old, new, on_request(3, 2)])


async def test_every_test_is_recounted_once_a_day_and_drift_is_said_aloud(dsn, connection):
    await take(connection, event(1), event(2, test=OTHER_TEST))
    await Upkeep(dsn=dsn, clock=CLOCK).once()
    assert await connection.fetchval("select count(*) from refolds where outcome = 'equal'") == 2
    await connection.execute("update unit_sums set requests = 9 where test_id = $1", UUID(bytes=TEST))
    later = ManualClock(NOON)
    await Upkeep(dsn=dsn, clock=later).once()
    assert await connection.fetchval("select count(*) from refolds") == 2
    await connection.execute("update refolds set at = $1", NOON - timedelta(hours=25))
    with capture_logs() as logs:
        await Upkeep(dsn=dsn, clock=later).once()
    said = [line for line in logs if line["log_level"] == "error"]
    assert [line["test"] for line in said] == [str(UUID(bytes=TEST))]
    await assert_counted(connection, [event(1), event(2, test=OTHER_TEST)])


async def test_the_sums_of_a_deleted_test_go(dsn, connection):
    await take(connection, event(1), event(2, test=OTHER_TEST))
    await connection.execute("delete from tests where id = $1", UUID(bytes=OTHER_TEST))
    await Upkeep(dsn=dsn, clock=CLOCK).once()
    assert {row["test_id"].bytes for row in await connection.fetch("select test_id from unit_sums")} == {TEST}


async def test_one_of_many_does_it(dsn, connection):
    assert await connection.fetchval(BE_THE_ONE)
    assert not await Upkeep(dsn=dsn, clock=CLOCK).once()


async def test_it_runs_until_it_is_stopped_and_waits_for_a_database_that_is_away(dsn, connection, tmp_path):
    upkeep = Upkeep(
        dsn=f"postgresql://nobody@/nothing?host={tmp_path}",
        clock=CLOCK,
        config=UpkeepConfig(look_seconds=0.01),
    )
    with capture_logs() as logs:
        task = asyncio.create_task(upkeep.run())
        await asyncio.sleep(0.2)
        upkeep.stop()
        await asyncio.wait_for(task, 10)
    assert [line["event"] for line in logs] == ["upkeep of the record waits"]
