"""`tiebreak worker`: one more background worker on the same database, until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import uvloop

from tiebreak.app import Parts, open_parts
from tiebreak.ids import ProcessIdentity
from tiebreak.infrastructure.telemetry import instruments, logs, pulse
from tiebreak.infrastructure.telemetry.metrics import Metrics
from tiebreak.observations.drain import Drain
from tiebreak.observations.spool import SPOOL
from tiebreak.observations.upkeep import Upkeep
from tiebreak.runs.worker import Worker
from tiebreak.settings import Settings
from tiebreak.supervisor.control import Ready, Report, line
from tiebreak.supervisor.tether import leave_with_parent

LANDING_GRACE = 3.0  # seconds for the batch that is on its way to the database


def configure(parser: argparse.ArgumentParser) -> None:
    """Only what the supervisor passes."""
    parser.add_argument("--tether", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--control", type=int, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Work until told to stop."""
    if options.tether is not None:
        leave_with_parent(options.tether)
    logs.configure()
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(_work(Settings.read(), options.control))
    return 0


async def _work(settings: Settings, control: int | None) -> None:
    this = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if this is not None:
            loop.add_signal_handler(number, this.cancel)
    async with AsyncExitStack() as opened:
        parts = await opened.enter_async_context(
            open_parts(settings, Metrics(instruments.ALL), ProcessIdentity("background"))
        )
        if control is not None:
            await opened.enter_async_context(_reporting(control, parts))
        await opened.enter_async_context(_landing(parts))
        await worker_of(parts).run()


@contextlib.asynccontextmanager
async def _landing(parts: Parts) -> AsyncIterator[None]:
    """Bring what this machine's request workers record into the database, and keep it in order there."""
    dsn = parts.database.config.dsn
    drain = Drain(dsn=dsn, root=parts.home / SPOOL, clock=parts.clock)
    upkeep = Upkeep(dsn=dsn, clock=parts.clock)
    lag = parts.metrics.number(instruments.SPOOL_LAG)
    torn = parts.metrics.number(instruments.SPOOL_TORN)

    def read() -> None:
        lag.set(drain.lag.seconds)
        torn.set(drain.torn)

    parts.metrics.read_before(read)
    working = [asyncio.create_task(drain.run()), asyncio.create_task(upkeep.run())]
    try:
        yield
    finally:
        drain.stop()
        upkeep.stop()
        _, late = await asyncio.wait(working, timeout=LANDING_GRACE)
        for task in late:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


@contextlib.asynccontextmanager
async def _reporting(control: int, parts: Parts) -> AsyncIterator[None]:
    """Tell the supervisor what this worker counts, to the very end."""

    def report() -> None:
        supervisor.say(Report(parts.metrics.snapshot()))

    async with line(control) as supervisor:
        beating = asyncio.create_task(pulse.beat(parts.metrics, parts.process.name, report))
        supervisor.say(Ready())
        try:
            yield
        finally:
            beating.cancel()
            report()


def worker_of(parts: Parts) -> Worker:
    """A worker on what a process holds open."""
    return Worker(
        database=parts.database,
        pipeline=parts.pipeline,
        keyring=parts.keyring,
        clock=parts.clock,
        lease_seconds=parts.settings.lease_seconds,
    )
