"""Start and stop: on loopback only, because whoever reaches the mock can have anything said."""

import asyncio
import ipaddress
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import uvloop

from tiebreak.clock import Clock, SystemClock
from tiebreak.errors import Refused, Unavailable
from tiebreak.mockprovider import demo
from tiebreak.mockprovider.calls import CallLog
from tiebreak.mockprovider.config import MockConfig, MockOptions, load
from tiebreak.mockprovider.vendor import Vendor
from tiebreak.mockprovider.wire import Connection

CLOSING_SECONDS = 5.0
_BACKLOG = 1024


def run(options: MockOptions) -> int:
    """The command: serve until Ctrl-C or SIGTERM, then 0. Says where on one line of standard output.

    Without a models file and recorded answers it serves the demo's two models.

    InvalidInput for files that cannot be used, Refused for an address other than loopback, Unavailable for a port
    that is taken.
    """
    packaged = options.models is None and options.recorded is None
    config = load(replace(options, models=demo.models_path()) if packaged else options)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signalled(config, options.host, options.port))
    return 0


async def serve(config: MockConfig, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until cancelled; `on_ready` receives the base URL."""
    async with running(config, host=host, port=port) as base_url:
        on_ready(base_url)
        await asyncio.Event().wait()


@asynccontextmanager
async def running(
    config: MockConfig, *, host: str = "127.0.0.1", port: int = 0, clock: Clock | None = None
) -> AsyncIterator[str]:
    """A mock vendor in this event loop while the context is open; gives its base URL, `http://HOST:PORT/v1`, or https."""
    _check_loopback(host)
    connections: set[Connection] = set()
    loop = asyncio.get_running_loop()
    clock = clock or SystemClock()
    with CallLog(config.log) as log:
        vendor = Vendor(config, log, clock)
        try:
            server = await loop.create_server(
                lambda: Connection(vendor.serve, connections, clock),
                host,
                port,
                backlog=_BACKLOG,
                ssl=config.tls,
            )
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {host} port {port}: {error.strerror}; choose another port, or 0 for a free one"
            ) from error
        try:
            name, chosen = server.sockets[0].getsockname()[:2]
            scheme, address = "https" if config.tls else "http", f"[{name}]" if ":" in name else name
            yield f"{scheme}://{address}:{chosen}/v1"
        finally:
            server.close()
            await _close(connections)
            await server.wait_closed()


async def _close(connections: set[Connection]) -> None:
    ending = list(connections)
    tasks = [connection.task for connection in ending if connection.task is not None]
    for connection in ending:
        connection.abort()
    async with asyncio.timeout(CLOSING_SECONDS):
        for connection in ending:
            await connection.closed.wait()
        if tasks:
            await asyncio.wait(tasks)


def _check_loopback(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise Refused(
            f"the mock provider does not listen on {host!r}: it answers whoever reaches it, so it stays on this "
            "machine; use 127.0.0.1, ::1 or localhost"
        )


async def _until_signalled(config: MockConfig, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(config, host=host, port=port) as base_url:
        sys.stdout.write(f"mock provider on {base_url}\n")
        sys.stdout.flush()
        await stop.wait()
