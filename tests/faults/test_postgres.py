"""PostgreSQL's rows of the fault table: restart, crash, cut connections, migrators."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from tests.guardians import postmaster_pid, wait_until_gone

from tiebreak import migrations
from tiebreak.errors import Unavailable
from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig
from tiebreak.infrastructure.connections.private_postgres import PrivatePostgres

WRITERS = 8
BACK_SECONDS = 30.0


@pytest.fixture
def durable() -> Iterator[PrivatePostgres]:
    """A server of its own with fsync on, as the product runs it."""
    home = Path(tempfile.mkdtemp(prefix="tb-"))
    with PrivatePostgres.open(home) as server:
        yield server
    wait_until_gone(home)
    shutil.rmtree(home)


@pytest.fixture
async def served(durable: PrivatePostgres) -> AsyncIterator[Database]:
    database = Database(PostgresConfig(dsn=durable.dsn))
    async with database.transaction() as tx:
        await tx.execute(text("create table acked (writer int, number int, primary key (writer, number))"))
    yield database
    await database.close()


@dataclass
class Load:
    """Writers that count what was acknowledged, and what they were told instead."""

    database: Database
    rows_each: int
    acked: set[tuple[int, int]] = field(default_factory=set)
    refusals: list[Unavailable] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, writer: int) -> None:
        """Write rows, a few a transaction; a refused transaction is tried again with the same rows."""
        batch = 5
        number = 0
        while not self.stopped.is_set() and number < self.rows_each:
            rows = [{"w": writer, "n": number + i} for i in range(batch)]
            try:
                async with self.database.transaction() as tx:
                    await tx.execute(text("insert into acked values (:w, :n) on conflict do nothing"), rows)
            except Unavailable as refusal:
                self.refusals.append(refusal)
                await asyncio.sleep(0.02)
                continue
            self.acked.update((row["w"], row["n"]) for row in rows)
            number += batch

    async def reached(self, count: int) -> None:
        """Wait until so many rows are acknowledged."""
        async with asyncio.timeout(120):
            while len(self.acked) < count:
                await asyncio.sleep(0.005)

    async def stored(self) -> set[tuple[int, int]]:
        """What the server has of it, read when the load has ended."""
        async with self.database.transaction() as tx:
            rows = await tx.execute(text("select writer, number from acked"))
            return {(row.writer, row.number) for row in rows}


async def fault_under_load(load: Load, home: Path, number: signal.Signals, at: list[int]) -> None:
    """Send the postmaster a signal each time so many rows are acknowledged; the load goes on to its end."""
    async with asyncio.TaskGroup() as writers:
        for writer in range(WRITERS):
            writers.create_task(load.write(writer))
        for count in at:
            await load.reached(count)
            os.kill(await asyncio.to_thread(postmaster_pid, home), number)
            # It is back when more is acknowledged than could have been on its way.
            await load.reached(len(load.acked) + 2 * WRITERS * 5)


@pytest.mark.parametrize(
    ("rows", "at"),
    [
        pytest.param(1_600, [400], id="quick"),
        pytest.param(12_000, [2_000, 5_000, 8_000], id="full", marks=pytest.mark.faults),
    ],
)
async def test_d1_a_restart_under_load_is_unavailable_with_retry_after_and_loses_nothing(
    durable: PrivatePostgres, served: Database, rows: int, at: list[int]
):
    load = Load(served, rows // WRITERS)
    await fault_under_load(load, durable.home, signal.SIGINT, at)
    assert len(load.acked) == rows
    assert await load.stored() == load.acked
    assert load.refusals, "the fault was not felt"
    assert all(refusal.retry_after for refusal in load.refusals)


@pytest.mark.parametrize(
    ("rows", "at"),
    [
        pytest.param(1_600, [400], id="quick"),
        pytest.param(20_000, [3_000, 10_000, 15_000], id="full", marks=pytest.mark.faults),
    ],
)
async def test_d2_kill_9_of_the_postmaster_loses_no_acknowledged_row(
    durable: PrivatePostgres, served: Database, rows: int, at: list[int]
):
    load = Load(served, rows // WRITERS)
    await fault_under_load(load, durable.home, signal.SIGKILL, at)
    assert len(load.acked) == rows
    assert load.acked <= await load.stored()
    assert load.refusals, "the fault was not felt"


@pytest.mark.parametrize(
    "rounds", [pytest.param(1, id="quick"), pytest.param(50, id="full", marks=pytest.mark.faults)]
)
async def test_d3_with_every_backend_terminated_the_first_use_works(
    database: Database, dsn: str, rounds: int
):
    pool = await database.pool()
    for _ in range(rounds):
        await asyncio.gather(*(_hold(database) for _ in range(8)))
        await asyncio.gather(*(pool.fetchval("select pg_sleep(0.05)") for _ in range(8)))
        assert await _terminate_others(dsn) >= 8
        await asyncio.gather(*(_hold(database) for _ in range(8)))
        assert await asyncio.gather(*(pool.fetchval("select 1") for _ in range(8))) == [1] * 8


async def _hold(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(text("select pg_sleep(0.05)"))


async def _terminate_others(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "select pid, pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
            "and backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
        ended = [row["pid"] for row in rows]
        async with asyncio.timeout(10):
            while await connection.fetchval(
                "select count(*) from pg_stat_activity where pid = any($1)", ended
            ):
                await asyncio.sleep(0.01)
        # A backend leaves the list before its socket closes; until then its client cannot know.
        await asyncio.sleep(0.1)
        return len(ended)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "migrators", [pytest.param(2, id="quick"), pytest.param(16, id="full", marks=pytest.mark.faults)]
)
async def test_d9_migrators_at_once_while_serving_disturb_nobody(
    dsn: str, database: Database, migrators: int
):
    async with database.transaction() as tx:
        await tx.execute(text("drop schema public cascade"))
        await tx.execute(text("create schema public"))
        await tx.execute(text("create table served (n int)"))
    serving = asyncio.create_task(_serve(database, done := asyncio.Event()))
    async with asyncio.timeout(120):
        await asyncio.gather(*(asyncio.to_thread(migrations.upgrade, dsn) for _ in range(migrators)))
    done.set()
    assert await serving > 0
    assert await asyncio.to_thread(migrations.current, dsn) == migrations.head()


async def _serve(database: Database, done: asyncio.Event) -> int:
    served = 0
    while not done.is_set():
        async with database.transaction() as tx:
            await tx.execute(text("insert into served values (1)"))
        served += 1
    return served
