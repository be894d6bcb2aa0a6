"""What a process says of itself: how late its event loop is, its memory, CPU and descriptors; and where it hangs.

The dump of a loop that hangs is written by a thread of the interpreter's own (faulthandler), so that code which holds
the interpreter's lock, such as a regular expression, cannot keep it from speaking.
"""

import asyncio
import faulthandler
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import Metrics

BEAT = 0.125  # seconds
REPORT_EVERY = 2  # beats: a killed process takes at most 250 ms of counting with it
HANGS_AFTER = 1.5  # seconds without a beat until the stacks are written

_PAGE = os.sysconf("SC_PAGE_SIZE")


async def beat(metrics: Metrics, process: str, report: Callable[[], None] = lambda: None) -> None:
    """Measure until cancelled; every quarter of a second the process's readings are fresh and `report` is called.

    One per process: the interpreter has one such alarm.
    """
    lag = metrics.histogram(instruments.LOOP_LAG, process)
    read = Readings(metrics, process)
    beats = 0
    try:
        while True:
            faulthandler.dump_traceback_later(HANGS_AFTER)
            due = time.monotonic() + BEAT
            await asyncio.sleep(BEAT)
            lag.observe(max(0.0, time.monotonic() - due))
            beats += 1
            if beats % REPORT_EVERY == 0:
                read.refresh()
                report()
    finally:
        faulthandler.cancel_dump_traceback_later()


class Readings:
    """Memory, CPU time and open descriptors of this process, as series."""

    def __init__(self, metrics: Metrics, process: str) -> None:
        self._resident = metrics.number(instruments.PROCESS_RSS, process)
        self._cpu = metrics.number(instruments.PROCESS_CPU, process)
        self._descriptors = metrics.number(instruments.PROCESS_FDS, process)

    def refresh(self) -> None:
        """Read them now; about 50 µs."""
        usage = resource.getrusage(resource.RUSAGE_SELF)  # the kernel's total, hence `set` on a counter
        self._cpu.set(usage.ru_utime + usage.ru_stime)
        self._resident.set(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE)
        # Without the one that lists. `iterdir` would make a Path of each.
        self._descriptors.set(len(os.listdir("/proc/self/fd")) - 1)  # noqa: PTH208
