"""From the spool to the database: each record once, whoever wrote it, whoever drains, and whatever goes away meanwhile."""

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.observations.counted import assert_counted
from tests.observations.made import event, on_request

from tiebreak.clock import SystemClock
from tiebreak.ids import new_id
from tiebreak.observations import segments
from tiebreak.observations.drain import Drain, DrainConfig
from tiebreak.observations.model import Feedback, encode
from tiebreak.observations.records import MARK, frame
from tiebreak.observations.spool import Spool, SpoolConfig

CLOCK = SystemClock()
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
async def connection(dsn):
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


def spooled(root, worker=None, **config) -> Spool:
    """A spool whose `run()` is not needed: nothing is synced, everything is in the file."""
    return Spool.open(root, worker or new_id(), SpoolConfig(**{"min_free_bytes": 0, **config}), CLOCK)


@asynccontextmanager
async def draining(dsn, root, **config):
    drain = Drain(
        dsn=dsn,
        root=root,
        clock=CLOCK,
        config=DrainConfig(**{"pause_seconds": 0.02, "away_seconds": 0.05, **config}),
    )
    task = asyncio.create_task(drain.run())
    try:
        yield drain
    finally:
        drain.stop()
        await asyncio.wait_for(task, 20)


async def until(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def now(number: int, **more):
    return event(number, at=NOW, **more)


async def test_what_a_live_worker_appends_is_soon_in_the_database(dsn, tmp_path, connection):
    spool = spooled(tmp_path)
    async with draining(dsn, tmp_path) as drain:
        records = [now(n, unit=f"u{n % 7}") for n in range(300)]
        for record in records[:200]:
            spool.append(encode(record))
        await until(lambda: drain.landed == 200)
        for record in records[200:]:
            spool.append(encode(record))
        await until(lambda: drain.landed == 300)
        await until(lambda: drain.lag.bytes == 0 and drain.lag.seconds == 0)
    await assert_counted(connection, records)
    spool.close()


async def test_feedback_takes_the_same_way(dsn, tmp_path, connection):
    spool = spooled(tmp_path)
    spool.append_many([encode(on_request(9, 1)), encode(event(1))])
    async with draining(dsn, tmp_path, retention_days=10_000) as drain:
        await until(lambda: drain.landed == 1)
    await assert_counted(connection, [event(1), on_request(9, 1)])
    spool.close()


async def test_full_segments_are_removed_when_they_have_landed(dsn, tmp_path, connection):
    spool = spooled(tmp_path, segment_bytes=2000)
    records = [now(n) for n in range(100)]
    for record in records:
        spool.append(encode(record))
    assert len(segments.segments(spool.folder)) > 5
    async with draining(dsn, tmp_path, batch=7) as drain:
        await until(lambda: drain.landed == 100)
        await until(lambda: len(segments.segments(spool.folder)) <= 1)
    await assert_counted(connection, records)
    spool.close()


async def test_the_folder_of_a_dead_worker_is_drained_and_removed(dsn, tmp_path, connection):
    spool = spooled(tmp_path)
    for n in range(20):
        spool.append(encode(now(n)))
    spool.close()
    assert segments.orphans(tmp_path) != []
    async with draining(dsn, tmp_path) as drain:
        await until(lambda: drain.landed == 20)
        await until(lambda: not spool.folder.exists())
    assert await connection.fetchval("select count(*) from spool_offsets") == 0
    await assert_counted(connection, [now(n) for n in range(20)])


async def test_a_torn_tail_is_cut_and_counted_and_what_follows_in_other_segments_is_read(
    dsn, tmp_path, connection
):
    spool = spooled(tmp_path)
    for n in range(3):
        spool.append(encode(now(n)))
    first = segments.segments(spool.folder)[0]
    os.truncate(first.path, first.size - 5)
    segments.segment_path(spool.folder, 2).write_bytes(MARK + frame(encode(now(7))))
    spool.close()
    async with draining(dsn, tmp_path) as drain:
        await until(lambda: drain.landed == 3)
        await until(lambda: not spool.folder.exists())
    assert drain.torn == 1
    await assert_counted(connection, [now(0), now(1), now(7)])


async def test_a_half_written_record_of_a_live_worker_is_waited_for(dsn, tmp_path, connection):
    spool = spooled(tmp_path)
    spool.append(encode(now(0)))
    path = segments.segments(spool.folder)[0].path
    record = frame(encode(now(1)))
    async with draining(dsn, tmp_path) as drain:
        with path.open("ab") as file:
            file.write(record[:30])
        await until(lambda: drain.landed == 1)
        await asyncio.sleep(0.1)
        assert drain.torn == 0
        with path.open("ab") as file:
            file.write(record[30:])
        await until(lambda: drain.landed == 2)
    spool.close()


async def test_two_drains_at_once_land_everything_once(dsn, tmp_path, connection):
    spools = [spooled(tmp_path, segment_bytes=5000) for _ in range(3)]
    records = [now(n, unit=f"u{n % 11}", variant=n % 2) for n in range(600)]
    async with draining(dsn, tmp_path, batch=20) as one, draining(dsn, tmp_path, batch=20) as two:
        for n, record in enumerate(records):
            spools[n % 3].append(encode(record))
            if n % 50 == 0:
                await asyncio.sleep(0.01)
        for spool in spools[:2]:
            spool.close()
        await until(lambda: one.landed + two.landed == 600)
    await assert_counted(connection, records)
    spools[2].close()


async def test_a_batch_whose_commit_was_not_heard_of_lands_once(dsn, tmp_path, connection):
    """The connection is cut again and again, at any moment of a transaction."""
    spool = spooled(tmp_path)
    records = [now(n, unit=f"u{n % 5}") for n in range(2000)]
    async with draining(dsn, tmp_path, batch=25) as drain:
        for n, record in enumerate(records):
            spool.append(encode(record))
            if n % 100 == 99:
                await asyncio.sleep(0.03)
                await connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
                )
        await until(lambda: drain.lag.bytes == 0 and spool.stored_bytes > 0, 60)
    assert await connection.fetchval("select count(*) from events") == 2000
    await assert_counted(connection, records)
    spool.close()


async def test_a_drain_that_was_killed_is_continued_by_the_next(dsn, tmp_path, connection):
    spool = spooled(tmp_path)
    records = [now(n) for n in range(500)]
    for record in records:
        spool.append(encode(record))
    for _ in range(4):
        drain = Drain(dsn=dsn, root=tmp_path, clock=CLOCK, config=DrainConfig(batch=30))
        task = asyncio.create_task(drain.run())
        await asyncio.sleep(0.1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    async with draining(dsn, tmp_path) as drain:
        await until(lambda: drain.lag.bytes == 0 and drain._connection is not None)
    await assert_counted(connection, records)
    spool.close()


async def test_one_record_that_cannot_be_kept_costs_no_other(dsn, tmp_path, connection):
    spool = spooled(tmp_path)
    records = [now(n) for n in range(30)]
    for record in records:
        spool.append(encode(record))
    spool.append(encode(now(40, latency_us=1 << 62, unit="a")))
    spool.append(encode(now(41, status=10**6)))
    spool.append(encode(Feedback(new_id().bytes, 1 << 62, "helpful", "user", "request", bytes(16))))
    spool.append(b"\xc1 no message of ours")
    with capture_logs() as logs:
        async with draining(dsn, tmp_path) as drain:
            await until(lambda: drain.landed == 31)
            await until(lambda: drain.lost == 3)
    assert [line["event"] for line in logs].count("a record cannot be kept") == 2
    assert "records that this version cannot read were left out" in [line["event"] for line in logs]
    await assert_counted(connection, [*records, now(40, latency_us=1 << 62, unit="a")])
    spool.close()


async def test_records_too_old_to_be_kept_are_counted_as_lost(dsn, tmp_path, connection):
    spool = spooled(tmp_path)
    spool.append(encode(event(1, at=NOW - timedelta(days=60))))
    spool.append(encode(event(1, at=NOW + timedelta(days=60))))
    spool.append(encode(now(1)))
    async with draining(dsn, tmp_path) as drain:
        await until(lambda: drain.landed == 1)
    assert drain.lost == 2
    spool.close()


async def test_events_of_several_days_find_their_partitions(dsn, tmp_path, connection):
    spool = spooled(tmp_path)
    records = [event(n, at=NOW - timedelta(days=n)) for n in range(4)]
    for record in records:
        spool.append(encode(record))
    async with draining(dsn, tmp_path) as drain:
        await until(lambda: drain.landed == 4)
    await assert_counted(connection, records)
    partitions = await connection.fetchval(
        "select count(*) from pg_inherits where inhparent = 'events'::regclass"
    )
    assert partitions >= 4
    spool.close()


async def test_folders_of_other_names_are_left_alone(dsn, tmp_path):
    (tmp_path / f"{UUID(int=9)}.new").mkdir()
    (tmp_path / "notes").mkdir()
    async with draining(dsn, tmp_path):
        await asyncio.sleep(0.1)
    assert {path.name for path in tmp_path.iterdir()} == {f"{UUID(int=9)}.new", "notes"}
