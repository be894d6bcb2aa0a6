"""Readers that do not read, in a fresh process, so that what it grows by is what they hold.

`python -m tests.stalled CLIENT LOOP READERS URL [BUNDLE]` reads one answer whole, enters so many calls and says
"held"; told a line, it prints the KiB it has grown by since then and leaves.
"""

import asyncio
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import uvloop
from tests.clients import get
from tests.flood import SIZE

from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.connections.http import Route, Timeouts
from tiebreak.infrastructure.connections.http1_client import Http1Client

CLIENTS = {kind.__name__: kind for kind in (AiohttpClient, Http1Client)}
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@contextmanager
def stalled(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The process while the block runs, every call entered."""
    command = [sys.executable, "-m", "tests.stalled", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


async def _hold(kind: str, readers: int, url: str, bundle: str | None) -> None:
    client = CLIENTS[kind]("loopback")
    route = None if bundle is None else Route(ca_bundle=bundle)
    call = get(url, timeouts=Timeouts(connect=60, idle=90, total=180), max_bytes=SIZE, route=route)
    async with client.send(call) as response:
        async for _ in response.chunks():  # what warms up does so before
            pass
    before = _resident_kib()
    async with AsyncExitStack() as calls:
        for _ in range(readers):
            await calls.enter_async_context(client.send(call))
        print("held", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        print(_resident_kib() - before, flush=True)
    await client.close()


if __name__ == "__main__":
    kind, loop, readers, url, *bundle = sys.argv[1:]
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(_hold(kind, int(readers), url, bundle[0] if bundle else None))
