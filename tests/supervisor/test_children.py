"""A child process that is started again, given up, or ended."""

import asyncio
import socket
import sys

import pytest
from tests.serving import until

from tiebreak.supervisor.children import Child, restart_delay


def test_restarts_wait_longer_and_longer_up_to_a_bound():
    delays = [restart_delay(failures) for failures in range(12)]
    assert delays[:4] == [0.0, 0.1, 0.2, 0.4]
    assert delays == sorted(delays)
    assert max(delays) == 5.0


async def hang_up(_: Child, end: socket.socket) -> None:
    end.close()


def child(code: str) -> Child:
    return Child("child", [sys.executable, "-c", code], [], attend=hang_up)


async def test_a_child_that_does_not_listen_is_killed_after_its_grace(tmp_path):
    mark = tmp_path / "deaf"
    deaf = child(
        f"import pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(mark)!r}).touch()\ntime.sleep(600)"
    )
    running = deaf.start()
    await asyncio.to_thread(until, mark.exists, "the child is deaf")
    async with asyncio.timeout(30):
        await deaf.stop(0.3)
    assert running.done()


@pytest.mark.parametrize(("code", "result"), [(2, 2), (3, 3), (1, 3)])
async def test_a_child_that_never_works_is_given_up_with_a_code(code, result):
    broken = child(f"raise SystemExit({code})")
    async with asyncio.timeout(60):
        assert await broken.start() == result


async def test_a_child_that_worked_once_is_never_given_up(tmp_path):
    log = tmp_path / "starts"
    broken = child(f"open({str(log)!r}, 'a').write('x')\nraise SystemExit(3)")
    broken.proven = True
    running = broken.start()
    await asyncio.to_thread(until, lambda: log.exists() and log.stat().st_size > 2, "started again")
    assert not running.done()
    async with asyncio.timeout(30):
        await broken.stop(5)
    assert await running == 0


async def test_stopping_what_never_started_is_no_error():
    await child("pass").stop(1)


async def test_what_a_dying_child_said_last_is_heard(tmp_path):
    """The number of its end is the last word of its command line."""
    heard = bytearray()

    async def attend(_: Child, end: socket.socket) -> None:
        end.setblocking(False)
        while part := await asyncio.get_running_loop().sock_recv(end, 100):
            heard.extend(part)
        end.close()

    code = "import os, sys; os.write(int(sys.argv[-1]), b'farewell'); sys.exit(3)"
    talking = Child("child", [sys.executable, "-c", code], [], attend=attend)
    async with asyncio.timeout(60):
        assert await talking.start() == 3
    assert heard == b"farewell"


async def test_every_restart_is_counted(tmp_path):
    restarts = []
    dying = Child(
        "child", [sys.executable, "-c", "pass"], [], attend=hang_up, on_restart=lambda: restarts.append(1)
    )
    dying.proven = True
    running = dying.start()
    await asyncio.to_thread(until, lambda: len(restarts) >= 2, "two restarts")
    await dying.stop(5)
    assert await running == 0
