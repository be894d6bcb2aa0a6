"""The spool's promises: what was taken is there after any kill, and what is not taken is counted."""

import asyncio
import os
import select
import stat
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from tiebreak.clock import SystemClock
from tiebreak.errors import Unavailable
from tiebreak.ids import new_id
from tiebreak.observations import segments
from tiebreak.observations.model import decode
from tiebreak.observations.spool import KEPT_OF, OnFull, Spool, SpoolConfig

WRITER = Path(__file__).with_name("spool_writer.py")
ROOMY = {"min_free_bytes": 0}


def read_all(folder: Path) -> list[bytes]:
    """Every record of a folder, in order."""
    found = []
    for segment in segments.segments(folder):
        position = 0
        while (chunk := segments.read(segment.path, position, 1000)).payloads:
            found += chunk.payloads
            position = chunk.end
    return found


async def until(condition, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(root: Path, **config):
    spool = Spool.open(root, new_id(), SpoolConfig(**{**ROOMY, **config}), SystemClock())
    keeping = asyncio.create_task(spool.run())
    try:
        yield spool
    finally:
        spool.close()
        await asyncio.wait_for(keeping, 5)


async def test_what_is_appended_is_in_the_file_at_once(tmp_path):
    async with running(tmp_path) as spool:
        assert spool.append(b"one")
        assert read_all(spool.folder) == [b"one"]
        assert spool.append_many([b"two", b"three"])
        assert read_all(spool.folder) == [b"one", b"two", b"three"]
        assert (spool.appended, spool.dropped) == (3, 0)
        assert stat.S_IMODE(segments.segments(spool.folder)[0].path.stat().st_mode) == 0o600


async def test_what_is_appended_is_synced_soon(tmp_path):
    async with running(tmp_path) as spool:
        spool.append(b"one")
        assert spool.synced_bytes < spool.written_bytes
        await until(lambda: spool.synced_bytes == spool.written_bytes)


async def test_a_megabyte_is_synced_without_waiting_for_the_time(tmp_path):
    async with running(tmp_path, sync_seconds=60) as spool:
        spool.append(b"x" * 1000)
        await asyncio.sleep(0.1)
        assert spool.synced_bytes == 0
        spool.append(b"x" * (1 << 20))
        await until(lambda: spool.synced_bytes == spool.written_bytes)


async def test_a_segment_ends_when_it_is_full_or_old(tmp_path):
    async with running(tmp_path, segment_bytes=100, segment_seconds=0.1) as spool:
        for _ in range(3):
            spool.append(b"x" * 100)
        assert len(segments.segments(spool.folder)) == 3
        spool.append(b"small")
        await asyncio.sleep(0.3)
        spool.append(b"next")
        assert len(segments.segments(spool.folder)) == 5
        await until(lambda: spool.synced_bytes == spool.written_bytes)


async def test_a_full_spool_drops_and_counts_and_takes_again_when_it_was_drained(tmp_path):
    async with running(tmp_path, max_bytes=10_000, segment_bytes=1000) as spool:
        taken = sum(spool.append(b"%08d" % number * 20) for number in range(200))
        assert 40 < taken < 60
        assert (spool.appended, spool.dropped) == (taken, 200 - taken)
        assert len(read_all(spool.folder)) == taken
        assert spool.full
        spool.require_room()  # the policy is to drop: calls go on
        for segment in segments.segments(spool.folder)[:-1]:
            segment.path.unlink()
        await until(lambda: not spool.full)
        assert spool.append(b"again")
        assert read_all(spool.folder)[-1] == b"again"


async def test_past_the_soft_limit_a_sample_is_kept_and_feedback_whole(tmp_path):
    async with running(tmp_path, max_bytes=800_000) as spool:
        while spool.append(b"x" * 100):
            pass
        before, dropped = spool.appended, spool.dropped
        taken = sum(spool.append(b"%07d" % number) for number in range(4000))
        assert taken == pytest.approx(4000 / KEPT_OF, rel=0.3)
        assert spool.dropped - dropped == 4000 - taken
        assert spool.append_many([b"feedback"] * 10)
        assert spool.appended == before + taken + 10


async def test_a_full_spool_refuses_calls_where_that_is_the_policy_and_keeps_those_under_way(tmp_path):
    async with running(tmp_path, max_bytes=8000, on_full=OnFull.REFUSE) as spool:
        spool.require_room()
        while not spool.full:
            assert spool.append(b"x" * 100)
        with pytest.raises(Unavailable, match=r"full.*bring the database back") as refused:
            spool.require_room()
        assert refused.value.retry_after
        assert spool.append(b"x" * 100), "one that was under way"


async def test_a_disk_with_too_little_left_takes_nothing(tmp_path):
    async with running(tmp_path, min_free_bytes=1 << 60) as spool:
        await until(lambda: spool.full)
        assert not spool.append(b"one")
        assert spool.dropped == 1


async def test_close_lets_go_of_the_folder_and_takes_nothing_more(tmp_path):
    async with running(tmp_path) as spool:
        spool.append(b"one")
    assert not segments.owner_lives(spool.folder)
    assert not spool.append(b"late")
    assert read_all(spool.folder) == [b"one"]
    spool.close()


NO_ROOM = """
import asyncio, resource, sys
from pathlib import Path
from uuid import UUID
from tiebreak.clock import SystemClock
from tiebreak.observations.model import decode
from tiebreak.observations.spool import Spool, SpoolConfig

async def main():
    spool = Spool.open(Path(sys.argv[1]), UUID(int=1), SpoolConfig(min_free_bytes=0), SystemClock())
    keeping = asyncio.create_task(spool.run())
    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    assert spool.append(b"first" * 20)
    limit(250)  # the second record fits by half
    taken = [spool.append(b"x" * 200) for _ in range(50)]
    assert not any(taken) and spool.dropped == 50 and spool.full, taken
    limit(resource.RLIM_INFINITY)
    async with asyncio.timeout(10):
        while not spool.append(b"back" * 20):
            await asyncio.sleep(0.02)
    assert spool.append(b"last" * 20) and not spool.full
    print(spool.appended, spool.dropped)
    spool.close()
    await keeping

asyncio.run(main())
"""


def test_a_kernel_that_takes_only_a_part_costs_that_record_alone_and_room_is_noticed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    appended, dropped = map(int, done.stdout.split()[-2:])
    assert appended == 3
    assert dropped >= 50
    assert read_all(tmp_path / str(UUID(int=1))) == [b"first" * 20, b"back" * 20, b"last" * 20]


@pytest.mark.parametrize(
    "rounds", [pytest.param(3, id="quick"), pytest.param(100, id="full", marks=pytest.mark.faults)]
)
def test_every_record_that_was_taken_is_there_after_kill_9(tmp_path, rounds):
    for _ in range(rounds):
        worker = new_id()
        writer = subprocess.Popen(
            [sys.executable, str(WRITER), str(tmp_path), str(worker), "0"], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        with writer.stdout:
            said = b""
            while said.count(b"\n") < 500:
                assert select.select([writer.stdout], [], [], 20)[0], "the writer says nothing"
                said += os.read(writer.stdout.fileno(), 1 << 16)
            writer.kill()
            said += writer.stdout.read()
            writer.wait(timeout=10)
        taken = [bytes.fromhex(line) for line in said.decode().splitlines()]
        found = {decode(payload).id for payload in read_all(tmp_path / str(worker))}
        assert set(taken) <= found
        assert len(found) - len(taken) <= 1, "at most one was written and not yet said"
