"""`tiebreak worker`: one more background worker on the same database, until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial

import structlog
import uvloop

from tiebreak.app import Parts, open_parts
from tiebreak.errors import Unavailable
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

OPEN_AGAIN = 1.0  # seconds between two tries of a database that is away
LANDING_GRACE = 3.0  # seconds for the batch that is on its way to the database

log = structlog.get_logger(__name__)


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
    metrics, process = Metrics(instruments.ALL), ProcessIdentity("background")
    async with AsyncExitStack() as opened:
        if control is not None:
            await opened.enter_async_context(_reporting(control, metrics, process))
        opening = partial(open_parts, settings, metrics, process)
        parts = await (
            opened.enter_async_context(opening()) if control is None else _opened_at_last(opened, opening)
        )
        await opened.enter_async_context(_landing(parts))
        await worker_of(parts).run()


async def _opened_at_last(
    opened: AsyncExitStack, opening: Callable[[], AbstractAsyncContextManager[Parts]]
) -> Parts:
    """The parts, waited for: beside request workers that serve without a database there is nothing to do until it is back."""
    said = False
    while True:
        try:
            return await opened.enter_async_context(opening())
        except Unavailable as exc:
            if not said:
                log.warning("the background worker waits for the database", reason=exc.detail)
            said = True
            await asyncio.sleep(OPEN_AGAIN)


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
async def _reporting(control: int, metrics: Metrics, process: ProcessIdentity) -> AsyncIterator[None]:
    """Tell the supervisor what this worker counts, to the very end."""

    def report() -> None:
        supervisor.say(Report(metrics.snapshot()))

    async with line(control) as supervisor:
        beating = asyncio.create_task(pulse.beat(metrics, process.name, report))
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
