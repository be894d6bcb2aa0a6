"""`tiebreak worker`: one more background worker on the same database, until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import contextlib
import signal

import uvloop

from tiebreak.app import Parts, open_parts
from tiebreak.infrastructure.telemetry import logs
from tiebreak.runs.worker import Worker
from tiebreak.settings import Settings
from tiebreak.supervisor import leave_with_parent


def configure(parser: argparse.ArgumentParser) -> None:
    """Only what the supervisor passes."""
    parser.add_argument("--tether", type=int, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Work until told to stop."""
    if options.tether is not None:
        leave_with_parent(options.tether)
    logs.configure()
    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(_work(Settings.read()))
    return 0


async def _work(settings: Settings) -> None:
    this = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if this is not None:
            loop.add_signal_handler(number, this.cancel)
    async with open_parts(settings) as parts:
        await worker_of(parts).run()


def worker_of(parts: Parts) -> Worker:
    """A worker on what a process holds open."""
    return Worker(
        database=parts.database,
        pipeline=parts.pipeline,
        keyring=parts.keyring,
        clock=parts.clock,
        lease_seconds=parts.settings.lease_seconds,
    )
