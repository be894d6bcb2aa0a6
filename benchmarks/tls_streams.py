"""A thousand streams over TLS, one frame of 200 bytes a second each, for a minute: is any lost, and how late are they?

The vendor is a process of its own. Lateness is the moment a frame is read minus the moment it was due, by the one
monotonic clock of the machine, so it counts the vendor's own lateness, too.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles

import uvloop
from tests.certificates import authority

from benchmarks.report import Check, write
from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.connections.http import HttpClient, HttpRequest, Route, Timeouts
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.providers.adapters.events import EventReader

STREAMS = 1000
FRAMES = 60
MOST_LATE_MS = 250

CLIENTS: dict[str, Callable[[], HttpClient]] = {
    "ours": lambda: Http1Client("loopback"),
    "aiohttp": lambda: AiohttpClient("loopback"),
}
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@dataclass(frozen=True)
class Found:
    """What became of the frames of one minute."""

    lost: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    cpu_us_per_frame: float
    grown_kib_per_stream: float


@contextmanager
def vendor(certificate: str) -> Iterator[str]:
    """The upstream process; its URL."""
    command = [sys.executable, "-m", "benchmarks.tls_upstream", certificate, str(FRAMES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield f"https://localhost:{int(process.stdout.readline())}/"
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


async def follow(client: HttpClient, request: HttpRequest, late: list[float]) -> int:
    """Read one stream to its end; how many frames are missing."""
    reader, numbers = EventReader(), []
    async with client.send(request) as response:
        async for piece in response.chunks():
            now = time.monotonic()
            for event in reader.feed(piece):
                told = json.loads(event)
                numbers.append(told["n"])
                late.append(now - told["due"])
    return FRAMES - len(numbers) if numbers == list(range(len(numbers))) else FRAMES


async def minute(client: HttpClient, url: str, bundle: str) -> Found:
    """Every stream at once."""
    limits = Timeouts(connect=30, idle=30, total=FRAMES + 60)
    request = HttpRequest("GET", url, {}, timeouts=limits, route=Route(ca_bundle=bundle))
    late: list[float] = []
    before, cpu, most = resident_kib(), time.process_time(), 0
    async with asyncio.TaskGroup() as streams:
        tasks = [streams.create_task(follow(client, request, late)) for _ in range(STREAMS)]
        await asyncio.sleep(FRAMES / 2)
        most = resident_kib()
    spent = time.process_time() - cpu
    await client.close()
    cuts = quantiles(late, n=100)
    return Found(
        lost=sum(task.result() for task in tasks),
        p50_ms=round(cuts[49] * 1000, 2),
        p99_ms=round(cuts[98] * 1000, 2),
        most_ms=round(max(late) * 1000, 2),
        cpu_us_per_frame=round(spent / len(late) * 1e6, 1),
        grown_kib_per_stream=round((most - before) / STREAMS, 1),
    )


async def measured(client: str, url: str, bundle: str) -> Found:
    return await minute(CLIENTS[client](), url, bundle)


def alone(client: str, loop: str, url: str, bundle: str) -> Found:
    """In a fresh process, so that memory is what this one took."""
    command = [sys.executable, "-m", "benchmarks.tls_streams", client, loop, url, bundle]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=FRAMES + 120)
    return Found(**json.loads(done.stdout))


def main() -> int:
    if len(sys.argv) > 1:
        client, loop, url, bundle = sys.argv[1:]
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            print(json.dumps(asdict(runner.run(measured(client, url, bundle)))))
        return 0
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as folder:
        signed = authority(Path(folder))
        certificate, bundle = signed.issue("localhost"), signed.bundle
        with vendor(certificate) as url:
            for client in CLIENTS:
                for loop in LOOPS:
                    found[f"{client} on {loop}"] = each = alone(client, loop, url, bundle)
                    print(f"{client:>8} on {loop:<8} {each}", flush=True)
    checks = []
    for loop in LOOPS:
        ours = found[f"ours on {loop}"]
        checks.append(Check(f"frames lost on {loop}", ours.lost, "frames", "0", ours.lost == 0))
        late = Check(
            f"p99 lateness on {loop}", ours.p99_ms, "ms", f"< {MOST_LATE_MS}", ours.p99_ms < MOST_LATE_MS
        )
        checks.append(late)
    figures = {
        "load_average": os.getloadavg()[0],
        "streams": STREAMS,
        "frames_each": FRAMES,
        "clients": {name: asdict(each) for name, each in found.items()},
    }
    write("tls_streams", figures, checks)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
