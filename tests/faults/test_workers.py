"""Request workers while they are killed, stopped and replaced under load (rows P1, P3, P4 and P5)."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.load import load
from tests.serving import Serving, alive, serving, until

from tiebreak.infrastructure.telemetry.pulse import HANGS_AFTER

CONNECTIONS = 16


@pytest.fixture
def server(tmp_path: Path, dsn: str) -> Iterator[Serving]:
    with serving(tmp_path, dsn, "--workers", "2") as running:
        until(lambda: len(running.children()) == 3, "two request workers and the background")
        until(lambda: resident(running) == 3, "all of them report")
        yield running


def metric(server: Serving, name: str) -> dict[str, float]:
    """The series of one metric by their labels, as `GET /metrics` says now."""
    lines = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", server.text("/metrics"), re.MULTILINE)
    return {labels: float(value) for labels, value in lines}


def resident(server: Serving) -> int:
    """How many children report."""
    return len(metric(server, "tiebreak_process_resident_bytes")) - 1


async def test_kill_9_of_one_of_two_workers_costs_only_what_it_had_in_flight(server: Serving) -> None:
    """P1. Connections made later are served by the other one; after 300 ms nothing fails any more."""
    victim = server.children()["requests-1"]
    async with load(server.url, "/health", CONNECTIONS) as seen:
        await asyncio.sleep(1)
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        await asyncio.to_thread(
            until, lambda: server.children().get("requests-1", victim) != victim, "a new process"
        )
        await asyncio.to_thread(until, lambda: resident(server) == 3, "it reports")
        print(f"respawned and reporting after {time.monotonic() - killed:.2f} s")
        await asyncio.sleep(0.5)
    assert not seen.unreachable
    assert len(seen.failed()) <= CONNECTIONS
    assert [fate for fate in seen.failed() if fate.began > killed + 0.3] == []
    assert seen.answered(200) + len(seen.failed()) == len(seen.fates)
    assert metric(server, "tiebreak_process_restarts_total")['process="requests-1"'] == 1


@pytest.mark.faults
async def test_the_sum_over_workers_is_what_the_client_counted_and_never_goes_back(server: Serving) -> None:
    """Four kills; each takes at most what its worker counted in the quarter of a second since its last report."""
    series = 'surface="management",status="4xx"'
    path, before, rates = "/api/v1/nothing", 0.0, []
    async with load(server.url, path, CONNECTIONS) as seen:
        for turn in range(4):
            began, counted = time.monotonic(), len(seen.fates)
            await asyncio.sleep(0.7)
            rates.append((len(seen.fates) - counted) / (time.monotonic() - began))
            victim = f"requests-{turn % 2}"
            pid = server.children()[victim]
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(
                until, lambda v=victim, p=pid: server.children().get(v, p) != p, "a new process"
            )
            now = (await asyncio.to_thread(metric, server, "tiebreak_requests_total"))[series]
            assert now >= before
            before = now
            await asyncio.to_thread(until, lambda: resident(server) == 3, "it reports")
    answered = seen.answered(404)
    until(lambda: metric(server, "tiebreak_requests_total")[series] >= before, "a report")
    time.sleep(1)  # four reports are due
    total = metric(server, "tiebreak_requests_total")[series]
    # Failed ones may have been counted and not arrived; killed ones may have been answered and not reported.
    assert total <= answered + len(seen.failed())
    assert total >= answered - 4 * max(rates) * 0.5


async def test_without_a_kill_the_sum_is_exact_through_a_rolling_restart(server: Serving) -> None:
    """SIGHUP replaces both workers: no request fails, and what the old ones counted stays."""
    before = server.children()
    async with load(server.url, "/api/v1/nothing", CONNECTIONS) as seen:
        await asyncio.sleep(0.5)
        server.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(
            until,
            lambda: all(
                server.children().get(name, pid) != pid and not alive(pid) for name, pid in before.items()
            ),
            "three new processes",
        )
        await asyncio.sleep(0.5)
    assert seen.failed() == []
    assert not seen.unreachable
    assert {fate.status for fate in seen.fates} == {404}
    series = 'surface="management",status="4xx"'
    until(lambda: metric(server, "tiebreak_requests_total")[series] >= len(seen.fates), "the last report")
    assert metric(server, "tiebreak_requests_total")[series] == len(seen.fates)
    assert server.process.poll() is None


async def test_sigterm_under_load_answers_what_was_asked(server: Serving) -> None:
    """P3. Every request on a connection that was served before is answered; then the port is closed."""
    children = server.children()
    async with load(server.url, "/health", CONNECTIONS) as seen:
        await asyncio.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait, 30) == 0
        assert seen.unreachable
    assert [fate for fate in seen.failed() if not fate.fresh] == []
    assert not any(alive(pid) for pid in children.values())


@pytest.mark.faults
async def test_a_frozen_worker_is_told_of_not_killed_and_its_queue_is_served(
    tmp_path: Path, dsn: str
) -> None:
    """P4 and P5. SIGSTOP for 6 s: said within moments, requests go to the other, and afterwards it is the same process."""
    said = tmp_path / "said"
    with said.open("w") as errors, serving(tmp_path, dsn, "--workers", "2", stderr=errors) as server:
        until(lambda: resident(server) == 3, "all report")
        frozen = server.children()["requests-0"]
        os.kill(frozen, signal.SIGSTOP)
        stopped = time.monotonic()
        await asyncio.to_thread(
            until, lambda: "request worker 0 has been silent" in said.read_text(), "it is told of"
        )
        async with load(server.url, "/health", CONNECTIONS) as seen:
            await asyncio.sleep(max(0.0, stopped + 6 - time.monotonic()))
        os.kill(frozen, signal.SIGCONT)
        assert seen.failed() == []
        assert seen.answered(200) == len(seen.fates) > 0
        await asyncio.to_thread(
            until, lambda: "request worker 0 runs again" in said.read_text(), "it is back"
        )
        assert server.children()["requests-0"] == frozen
        assert metric(server, "tiebreak_process_stalls_total")['process="requests-0"'] == 1


BLOCKED = """
import asyncio, re, sys
from tiebreak.infrastructure.telemetry import instruments, pulse
from tiebreak.infrastructure.telemetry.metrics import Metrics

def catastrophic():
    re.fullmatch("(a+)+b", "a" * {length})

async def main():
    metrics = Metrics(instruments.ALL)
    beating = asyncio.create_task(pulse.beat(metrics, "requests-0"))
    await asyncio.sleep(0.5)
    catastrophic()
    await asyncio.sleep(0.5)
    lag = metrics.histogram(instruments.LOOP_LAG, "requests-0")
    print(lag.total)
    beating.cancel()

asyncio.run(main())
"""


@pytest.mark.faults
async def test_a_loop_that_a_regular_expression_blocks_says_where_it_hangs() -> None:
    """P5. The expression holds the interpreter's lock for seconds; the stack is written all the same."""
    for length in range(24, 40):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", BLOCKED.format(length=length)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            printed, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        if float(printed) > 2 * HANGS_AFTER:
            break
    assert "catastrophic" in said.decode()
    assert "Timeout" in said.decode()
