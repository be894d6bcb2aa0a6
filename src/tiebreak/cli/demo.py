"""`tiebreak demo`: two simulated models, a small dataset, a real run, a verdict."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import uvloop

from tiebreak.cli import run as running
from tiebreak.cli.connection import Connection, connect, running_server
from tiebreak.cli.entry import FINISHED, INFRASTRUCTURE
from tiebreak.cli.files import definition_of
from tiebreak.errors import NotFound, Unavailable
from tiebreak.infrastructure.telemetry import logs
from tiebreak.mockprovider import demo
from tiebreak.mockprovider import server as vendor
from tiebreak.mockprovider.config import MockConfig
from tiebreak.settings import Settings

PROVIDER = "demo"
READY_WITHIN = 90.0  # seconds; the first start makes a database
GRACE = 20.0  # seconds the server may take to leave
NOTICE = "Simulated: both models are this machine's mock provider. Everything else is real: HTTP, database, statistics."


def configure(parser: argparse.ArgumentParser) -> None:
    """Whether to stay."""
    parser.add_argument(
        "--serve", action="store_true", help="start the server first and keep it until Ctrl-C"
    )


def run(options: argparse.Namespace) -> int:
    """From nothing to a verdict."""
    logs.configure("warning")
    settings = Settings.read()
    return uvloop.run(_serving(options, settings) if options.serve else _once(options, settings))


def definition_path() -> Path:
    """The demo's test, as a file in the package."""
    return Path(str(files("tiebreak.cli") / "demo.yaml"))


async def _once(options: argparse.Namespace, settings: Settings) -> int:
    config = demo.config()
    async with vendor.running(config) as base_url, connect(settings, options.url) as api:
        return await _show(options, settings, api, config, base_url)


async def _serving(options: argparse.Namespace, settings: Settings) -> int:
    """The server and the simulated vendor stay until Ctrl-C, so that what the demo printed can be opened."""
    config = demo.config()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with vendor.running(config) as base_url, _server(settings, stop) as ended:
        if stop.is_set() or ended.done():
            return FINISHED if stop.is_set() else INFRASTRUCTURE
        async with connect(settings, options.url) as api:
            showing = asyncio.create_task(_show(options, settings, api, config, base_url))
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({showing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not showing.done():
                showing.cancel()
                await asyncio.wait({showing})
                return FINISHED
            code = showing.result()
        if code == FINISHED:
            sys.stdout.flush()  # into a pipe, too: this is the moment somebody reads it
            print("The server keeps running; Ctrl-C stops it.", file=sys.stderr)
            await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        return code


@contextlib.asynccontextmanager
async def _server(settings: Settings, stop: asyncio.Event) -> AsyncIterator[asyncio.Task[object]]:
    """`tiebreak serve` beside us, ready; or the one that runs on the data folder already."""
    if await asyncio.to_thread(running_server, settings) is not None:
        forever = asyncio.create_task(asyncio.Event().wait())
        yield forever
        forever.cancel()
        return
    # Its own session: on Ctrl-C we leave first and then end it, in that order. The tether ends it if we are killed.
    theirs, ours = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tiebreak", "serve", "--tether", str(theirs)),
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[theirs],
    )
    os.close(theirs)
    ended = asyncio.create_task(process.wait())
    try:
        await _ready(settings, stop, ended)
        yield ended
    finally:
        if process.returncode is None:
            process.terminate()
        _, late = await asyncio.wait({ended}, timeout=GRACE)
        if late:
            process.kill()
            await ended
        os.close(ours)


async def _ready(settings: Settings, stop: asyncio.Event, ended: asyncio.Task[int]) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN):
            while not (stop.is_set() or ended.done()):
                if await asyncio.to_thread(running_server, settings) is not None:
                    return
                await asyncio.sleep(0.1)
    except TimeoutError as exc:
        raise Unavailable(
            f"the server is not ready after {READY_WITHIN:g} s; `tiebreak serve` says more"
        ) from exc


async def _show(
    options: argparse.Namespace, settings: Settings, api: Connection, config: MockConfig, base_url: str
) -> int:
    if not options.json:
        print(NOTICE)
    await _enter_provider(api, config, base_url)
    chosen = argparse.Namespace(
        file=definition_path(),
        dataset=demo.questions_path(),
        limit=None,
        concurrency=None,
        max_cost=None,
        resume=False,
        json=options.json,
    )
    definition = definition_of(chosen.file)
    code = await running.whole(chosen, definition, api)
    if code == FINISHED and api.url is None and not options.json:
        print(f"`tiebreak serve` keeps it at http://{settings.host}:{settings.port}/api/v1/tests")
    return code


async def _enter_provider(api: Connection, config: MockConfig, base_url: str) -> None:
    """The simulated vendor as an account, with the prices its models claim."""
    try:
        await api.send("PATCH", f"/providers/{PROVIDER}", {"base_url": base_url})
    except NotFound:
        await api.send("POST", "/providers", {"name": PROVIDER, "base_url": base_url})
    for name, model in config.models.items():
        if model.price is None:
            continue
        price = {"input_price": model.price.input, "output_price": model.price.output}
        await api.send("PUT", f"/providers/{PROVIDER}/models/{name}", price)
