"""How a process feels itself: lag, memory, and the stack of a loop that hangs."""

import asyncio
import subprocess
import sys
import time

from tiebreak.infrastructure.telemetry import instruments, pulse
from tiebreak.infrastructure.telemetry.metrics import Metrics


async def test_it_reports_again_and_again_with_fresh_readings():
    metrics, reported = Metrics(instruments.ALL), asyncio.Event()
    beating = asyncio.create_task(pulse.beat(metrics, "requests-0", reported.set))
    async with asyncio.timeout(30):
        for _ in range(2):
            reported.clear()
            await reported.wait()
    assert metrics.number(instruments.PROCESS_RSS, "requests-0").value > 10 * 2**20
    assert metrics.number(instruments.PROCESS_CPU, "requests-0").value > 0
    assert metrics.number(instruments.PROCESS_FDS, "requests-0").value >= 3
    assert sum(metrics.histogram(instruments.LOOP_LAG, "requests-0").counts) >= 2 * pulse.REPORT_EVERY
    beating.cancel()
    await asyncio.wait({beating})


async def test_a_blocked_loop_is_seen_as_lag():
    metrics = Metrics(instruments.ALL)
    beating = asyncio.create_task(pulse.beat(metrics, "requests-0"))
    await asyncio.sleep(0)
    time.sleep(0.6)
    lag = metrics.histogram(instruments.LOOP_LAG, "requests-0")
    async with asyncio.timeout(30):
        while not any(lag.counts):
            await asyncio.sleep(0.01)
    assert lag.total >= 0.6 - pulse.BEAT - 0.01
    beating.cancel()
    await asyncio.wait({beating})


HANGS = """
import asyncio, time
from tiebreak.infrastructure.telemetry import instruments, pulse
from tiebreak.infrastructure.telemetry.metrics import Metrics

def hanging():
    time.sleep(pulse.HANGS_AFTER + 1)

async def main():
    beating = asyncio.create_task(pulse.beat(Metrics(instruments.ALL), "requests-0"))
    await asyncio.sleep(0.3)
    hanging()
    beating.cancel()
    await asyncio.wait({beating})
    await asyncio.sleep(pulse.HANGS_AFTER + 1)

asyncio.run(main())
"""


def test_a_loop_that_hangs_writes_its_stack_once_and_a_stopped_one_never():
    hung = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=True
    )
    assert hung.stderr.count("Timeout") == 1
    assert "in hanging" in hung.stderr
