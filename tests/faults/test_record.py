"""The record's rows of the fault table: PostgreSQL restarted, killed and away, workers killed, no room on the disk."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.guardians import postmaster_pid, wait_until_gone
from tests.observations.spool_writer import made

from tiebreak import migrations
from tiebreak.clock import SystemClock
from tiebreak.ids import new_id
from tiebreak.infrastructure.connections.private_postgres import PrivatePostgres
from tiebreak.observations.drain import Drain, DrainConfig
from tiebreak.observations.model import encode
from tiebreak.observations.spool import Spool, SpoolConfig

WRITER = Path(__file__).parents[1] / "observations" / "spool_writer.py"
CLOCK = SystemClock()


@pytest.fixture
def durable() -> Iterator[PrivatePostgres]:
    """A server of its own with fsync on, as the product runs it."""
    home = Path(tempfile.mkdtemp(prefix="tb-"))
    with PrivatePostgres.open(home) as server:
        migrations.upgrade(server.dsn)
        yield server
    wait_until_gone(home)
    shutil.rmtree(home)


@asynccontextmanager
async def draining(dsn: str, root: Path):
    drain = Drain(dsn=dsn, root=root, clock=CLOCK, config=DrainConfig(pause_seconds=0.05, away_seconds=0.1))
    task = asyncio.create_task(drain.run())
    try:
        yield drain
    finally:
        drain.stop()
        await asyncio.wait_for(task, 30)


async def until(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def stored_ids(dsn: str) -> list[bytes]:
    connection = await asyncpg.connect(dsn)
    try:
        assert await connection.fetchval("select coalesce(sum(requests), 0) from unit_sums") == (
            await connection.fetchval("select count(*) from events")
        )
        return [row["id"].bytes for row in await connection.fetch("select id from events")]
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("number", "faults", "events"),
    [
        pytest.param(signal.SIGINT, 1, 2_000, id="d1-restart-quick"),
        pytest.param(signal.SIGKILL, 1, 2_000, id="d2-kill-quick"),
        pytest.param(signal.SIGINT, 4, 20_000, id="d1-restart-full", marks=pytest.mark.faults),
        pytest.param(signal.SIGKILL, 4, 20_000, id="d2-kill-full", marks=pytest.mark.faults),
    ],
)
async def test_d1_d2_no_event_is_lost_or_counted_twice_when_postgresql_ends_under_load(
    durable: PrivatePostgres, tmp_path: Path, number: signal.Signals, faults: int, events: int
):
    spool = Spool.open(tmp_path, new_id(), SpoolConfig(min_free_bytes=0), CLOCK)
    keeping = asyncio.create_task(spool.run())
    appended = set()
    async with draining(durable.dsn, tmp_path) as drain:
        for _ in range(faults):
            os.kill(postmaster_pid(durable.home), number)
            for n in range(events // faults):
                event = made(UUID(int=1), n)
                assert spool.append(encode(event)), "serving does not wait for the database"
                appended.add(event.id)
                if n % 20 == 0:
                    await asyncio.sleep(0.005)
            done = len(appended)
            await until(lambda done=done: drain.landed >= done or (drain.lag.bytes == 0 and not drain.away))
    found = await stored_ids(durable.dsn)
    assert len(found) == len(set(found)) == events
    assert set(found) == appended
    assert spool.dropped == 0
    spool.close()
    await keeping


@pytest.mark.parametrize(
    "seconds", [pytest.param(2, id="quick"), pytest.param(60, id="full", marks=pytest.mark.faults)]
)
async def test_d1_with_postgresql_away_for_long_everything_is_there_afterwards(tmp_path: Path, seconds: int):
    home = Path(tempfile.mkdtemp(prefix="tb-"))
    server = PrivatePostgres.open(home)
    await asyncio.to_thread(migrations.upgrade, server.dsn)
    spool = Spool.open(tmp_path, new_id(), SpoolConfig(min_free_bytes=0), CLOCK)
    appended = set()
    with capture_logs() as logs:
        async with draining(server.dsn, tmp_path) as drain:
            dsn = server.dsn
            server.close()
            await asyncio.to_thread(wait_until_gone, home)
            for n in range(seconds * 100):
                event = made(UUID(int=1), n)
                assert spool.append(encode(event))
                appended.add(event.id)
                await asyncio.sleep(0.01)
            assert drain.lag.bytes > 0
            assert drain.lag.seconds > seconds / 2
            server = await asyncio.to_thread(PrivatePostgres.open, home)
            assert server.dsn == dsn
            await until(lambda: drain.landed == len(appended))
            await until(lambda: drain.lag.bytes == 0)
    assert set(await stored_ids(server.dsn)) == appended
    said = [line["event"] for line in logs]
    assert said.count("the spools cannot be drained for now and grow meanwhile") == 1
    assert said.count("the spools are drained again") == 1
    spool.close()
    server.close()
    await asyncio.to_thread(wait_until_gone, home)
    shutil.rmtree(home)


@pytest.mark.parametrize(
    "kills", [pytest.param(2, id="quick"), pytest.param(20, id="full", marks=pytest.mark.faults)]
)
async def test_p1_events_of_workers_that_were_killed_are_all_in_the_database_once(
    dsn: str, tmp_path: Path, kills: int
):
    said = b""
    async with draining(dsn, tmp_path) as drain:
        for _ in range(kills):
            writer = subprocess.Popen(
                [sys.executable, str(WRITER), str(tmp_path), str(new_id()), "0.005"], stdout=subprocess.PIPE
            )
            assert writer.stdout is not None
            with writer.stdout:
                for _ in range(1000):
                    said += await asyncio.wait_for(asyncio.to_thread(writer.stdout.readline), 20)
                writer.kill()
                said += writer.stdout.read()
                writer.wait(timeout=10)
        await until(lambda: not list(tmp_path.iterdir()))
        assert drain.torn == 0
    taken = [bytes.fromhex(line) for line in said.decode().splitlines()]
    found = await stored_ids(dsn)
    assert len(found) == len(set(found))
    assert set(taken) <= set(found)
    assert len(found) - len(taken) <= kills, "at most one per kill was written and not yet said"


FULL_DISK = """
import asyncio, os, sys
from pathlib import Path
from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.private_postgres.locks import FileLock
from tiebreak.observations.segments import read, segments
from tiebreak.observations.spool import Spool, SpoolConfig

async def main():
    folder = Path(sys.argv[1]) / "worker"
    folder.mkdir()
    ballast = Path(sys.argv[1]) / "ballast"
    ballast.write_bytes(bytes(12 << 20))
    spool = Spool(folder, FileLock(folder / "owner.lock"), SpoolConfig(min_free_bytes=0), SystemClock())
    keeping = asyncio.create_task(spool.run())
    payload, tries = b"x" * 1000, 0
    while not spool.dropped:
        tries += 1
        spool.append(payload)
        if tries % 100 == 0:
            await asyncio.sleep(0)
    lost = 0
    for _ in range(200):  # goes on being asked, and counts
        tries += 1
        lost += not spool.append(payload)
        await asyncio.sleep(0.001)
    assert lost, "the fault was not felt"
    assert not keeping.done()
    ballast.unlink()
    async with asyncio.timeout(5):
        while True:
            tries += 1
            if spool.append(payload):
                break
            await asyncio.sleep(0.02)
    found = 0
    for segment in segments(folder):
        position = 0
        while (chunk := read(segment.path, position, 1000)).payloads:
            assert set(chunk.payloads) == {payload}
            found, position = found + len(chunk.payloads), chunk.end
        assert chunk.tail == "clean", chunk.tail
    assert (found, spool.appended, spool.appended + spool.dropped) == (found, found, tries)
    spool.close()
    await keeping
    print("recovered", found, spool.dropped)

asyncio.run(main())
"""


def test_d7_on_a_full_disk_events_are_dropped_and_counted_and_room_is_used_at_once(tmp_path: Path):
    """A real full file system: 16 MiB in a mount namespace of the test's own."""
    command = 'mount -t tmpfs -o size=16m none "$1" && exec "$2" -c "$3" "$1"'
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", command, "sh"]
    allowed = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if allowed.returncode:
        pytest.skip(f"no mounts in a namespace here: {allowed.stderr.decode().strip()}")
    done = subprocess.run(
        [*unshare, str(tmp_path), sys.executable, FULL_DISK],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "recovered" in done.stdout
