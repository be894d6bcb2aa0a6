"""What the whole pipeline costs beside the bare client: CPU per call, in alternating rounds on the same upstream.

The bare call sends a body that is ready and reads the bytes; the pipeline's call goes from a neutral request to a neutral
answer: scope, retries, breaker, limit, adapter both ways, and what is told of it. CPU is this process's.
"""

import gc
import os
import random
import time
from statistics import median
from uuid import uuid4

import uvloop

from benchmarks.providers import Call, Round, growth, measure, vendor
from benchmarks.report import Check, write
from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.providers.account import Account, ExternalServiceConfig
from tiebreak.providers.dialects import adapter_of
from tiebreak.providers.model import ChatRequest, Message
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.sharing import Scope

IN_FLIGHT = (1, 32, 256)
ROUNDS = 7
SECONDS = 0.8
MOST_ADDED_US = 40.0
MEMORY_REQUESTS = 100_000
MOST_MEMORY_KIB = 1024
ASK = ChatRequest("small", (Message("user", "y" * 740),), {"temperature": 0.7})


def bare(client: Http1Client, account: Account) -> Call:
    """The same call without anything around it."""
    request = adapter_of(account.dialect).encode(account, ASK)

    async def call() -> int:
        async with client.send(request) as response:
            return len(await response.read())

    return call


def whole(pipeline: Pipeline, account: Account, scope: Scope, length: int) -> Call:
    """A call through the pipeline."""

    async def call() -> int:
        response = await pipeline.complete(account, ASK, scope)
        return length if response.usage is not None else 0

    return call


async def compare(account: Account, length: int) -> tuple[dict[int, dict[str, list[Round]]], int]:
    """Rounds by concurrency and kind, and what the pipeline keeps of 100,000 calls in KiB."""
    client = Http1Client("loopback")
    pipeline = Pipeline(client, SystemClock(), random.Random(1))
    calls = {
        "bare": bare(client, account),
        "pipeline": whole(pipeline, account, Scope.own("bench"), length),
    }
    found: dict[int, dict[str, list[Round]]] = {}
    for in_flight in IN_FLIGHT:
        found[in_flight] = {name: [] for name in calls}
        for call in calls.values():
            await measure(call, in_flight, 0.3)
        for _ in range(ROUNDS):
            for name, call in calls.items():
                found[in_flight][name].append(await measure(call, in_flight, SECONDS))
    gc.collect()
    grown = await growth(calls["pipeline"], MEMORY_REQUESTS)
    await pipeline.close()
    await client.close()
    return found, grown


def main() -> int:
    from benchmarks.providers import LENGTH

    began = time.time()
    with vendor() as url:
        account = Account(
            uuid4(),
            "openai_compatible",
            url.removesuffix("/chat/completions"),
            1024,
            "sk-0123456789",
            ExternalServiceConfig("bench"),
        )
        found, grown = uvloop.run(compare(account, LENGTH))
    checks, figures = [], {}
    for in_flight, rounds in found.items():
        pairs = zip(rounds["pipeline"], rounds["bare"], strict=True)
        added = median(mine.cpu_us - theirs.cpu_us for mine, theirs in pairs)
        name = f"CPU added by the pipeline at {in_flight}"
        checks.append(Check(name, added, "us", f"<= {MOST_ADDED_US:g}", added <= MOST_ADDED_US))
        figures[str(in_flight)] = {
            kind: {
                "cpu_us": [round(each.cpu_us, 1) for each in every],
                "requests_per_second": [round(each.rate) for each in every],
            }
            for kind, every in rounds.items()
        }
    name = f"memory per {MEMORY_REQUESTS:,} calls"
    checks.append(Check(name, grown, "KiB", f"< {MOST_MEMORY_KIB:,}", grown < MOST_MEMORY_KIB))
    load = os.getloadavg()[0]
    write("pipeline", {"load_average": load, "seconds": time.time() - began, "rounds": figures}, checks)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
