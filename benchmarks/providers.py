"""What one call to a vendor costs: our client against aiohttp, httpx2 and pyreqwest, on the same upstream process.

Rounds alternate, so that whatever else the machine does falls on all of them. CPU is this process's, all threads
included; every request has the same five headers and the same body of 0.8 KB, and every answer is read whole.
"""

import asyncio
import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import uvloop
from pyreqwest.client import ClientBuilder

from benchmarks.report import Check, write
from benchmarks.upstream import ANSWER
from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.connections.http import HttpClient, HttpRequest, Timeouts
from tiebreak.infrastructure.connections.http1_client import Http1Client

HEADERS = {
    "authorization": "Bearer sk-0123456789",
    "content-type": "application/json",
    "accept": "application/json",
    "user-agent": "tiebreak",
    "x-request-id": "0123456789abcdef",
}
BODY = b'{"model":"small","messages":[{"role":"user","content":"' + b"y" * 740 + b'"}]}'
IN_FLIGHT = (1, 32, 256, 1000)
ROUNDS = 5
SECONDS = 0.8
HTTPX_MOST = 256  # beyond, it needs seconds for one request
MEMORY_REQUESTS = 100_000
MOST_MEMORY_KIB = 1024

Call = Callable[[], Awaitable[int]]
LENGTH = len(ANSWER.partition(b"\r\n\r\n")[2])


@dataclass(frozen=True)
class Round:
    """One client at one concurrency for some seconds."""

    requests: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu / self.requests * 1e6


@contextmanager
def vendor() -> Iterator[str]:
    """The upstream process; its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.upstream"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1/chat/completions"
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


def through(client: HttpClient, url: str) -> Call:
    """A call over one of the product's clients."""

    async def call() -> int:
        async with client.send(HttpRequest("POST", url, HEADERS, BODY, Timeouts(10, 60, 60))) as response:
            return len(await response.read())

    return call


@asynccontextmanager
async def calls(url: str) -> AsyncIterator[dict[str, Call]]:
    """Every client, open."""
    ours, aiohttp = Http1Client("loopback"), AiohttpClient("loopback")
    limits = httpx2.Limits(max_connections=1024, max_keepalive_connections=1024)
    async with (
        httpx2.AsyncClient(limits=limits, timeout=60, trust_env=False) as httpx,
        ClientBuilder().max_connections(1024).build() as pyreqwest,
    ):

        async def by_httpx() -> int:
            return len((await httpx.post(url, headers=HEADERS, content=BODY)).content)

        async def by_pyreqwest() -> int:
            response = await pyreqwest.post(url).headers(HEADERS).body_bytes(BODY).build().send()
            return len(await response.bytes())

        yield {
            "ours": through(ours, url),
            "aiohttp": through(aiohttp, url),
            "pyreqwest": by_pyreqwest,
            "httpx2": by_httpx,
        }
    await ours.close()
    await aiohttp.close()


async def measure(call: Call, in_flight: int, seconds: float) -> Round:
    """As many requests as fit, so many at a time."""
    done = 0
    ends = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            if await call() != LENGTH:
                raise RuntimeError("the answer is not the vendor's")
            done += 1

    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as callers:
        for _ in range(in_flight):
            callers.create_task(caller())
    return Round(done, time.perf_counter() - began, time.process_time() - cpu)


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


async def growth(call: Call, requests: int, in_flight: int = 32) -> int:
    """KiB by which this process grew over so many requests, after as many to warm up."""

    async def batch() -> None:
        left = requests

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await call()

        async with asyncio.TaskGroup() as callers:
            for _ in range(in_flight):
                callers.create_task(caller())
        gc.collect()

    await batch()
    before = resident_kib()
    await batch()
    return resident_kib() - before


async def compare(url: str) -> dict[str, dict[int, list[Round]]]:
    """Every client at every concurrency, in alternating rounds."""
    async with calls(url) as every:
        found: dict[str, dict[int, list[Round]]] = {name: {} for name in every}
        for in_flight in IN_FLIGHT:
            chosen = {
                name: call for name, call in every.items() if name != "httpx2" or in_flight <= HTTPX_MOST
            }
            for name, call in chosen.items():
                await measure(call, in_flight, 0.3)
                found[name][in_flight] = []
            for _ in range(ROUNDS):
                for name, call in chosen.items():
                    found[name][in_flight].append(await measure(call, in_flight, SECONDS))
        return found


async def memory(url: str) -> int:
    """What our client keeps of 100,000 requests."""
    client = Http1Client("loopback")
    grown = await growth(through(client, url), MEMORY_REQUESTS)
    await client.close()
    return grown


def judge(found: dict[str, dict[int, list[Round]]], grown: int) -> list[Check]:
    """The targets: half of aiohttp's CPU, pyreqwest's throughput from 32 on, no growth."""
    checks = []
    for in_flight in IN_FLIGHT:
        ours = found["ours"][in_flight]
        cpu = ratio(ours, found["aiohttp"][in_flight], lambda each: each.cpu_us)
        checks.append(Check(f"CPU against aiohttp at {in_flight}", cpu, "times", "<= 0.5", cpu <= 0.5))
        if in_flight >= 32:
            rate = ratio(ours, found["pyreqwest"][in_flight], lambda each: each.rate)
            name = f"throughput against pyreqwest at {in_flight}"
            checks.append(Check(name, rate, "times", ">= 1", rate >= 1))
    name = f"memory per {MEMORY_REQUESTS:,} requests"
    checks.append(Check(name, grown, "KiB", f"< {MOST_MEMORY_KIB:,}", grown < MOST_MEMORY_KIB))
    return checks


def ratio(one: list[Round], other: list[Round], figure: Callable[[Round], float]) -> float:
    """The median over the rounds of one client's figure against that of the other beside it."""
    return median(figure(mine) / figure(theirs) for mine, theirs in zip(one, other, strict=True))


def summary(rounds: list[Round]) -> dict[str, Any]:
    return {
        "requests_per_second": [round(each.rate) for each in rounds],
        "cpu_us": [round(each.cpu_us, 1) for each in rounds],
    }


def main() -> int:
    with vendor() as url:
        found = uvloop.run(compare(url))
        grown = uvloop.run(memory(url))
    for name, by_flight in found.items():
        for in_flight, rounds in by_flight.items():
            rate, cpu = median(each.rate for each in rounds), median(each.cpu_us for each in rounds)
            print(f"{name:>10} {in_flight:>5} in flight: {rate:>8,.0f} requests/s {cpu:>8.1f} us of CPU each")
    figures = {
        "load_average": os.getloadavg()[0],
        "memory_growth_kib": grown,
        "clients": {
            name: {str(in_flight): summary(rounds) for in_flight, rounds in by_flight.items()}
            for name, by_flight in found.items()
        },
    }
    write("providers", figures, judge(found, grown))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
