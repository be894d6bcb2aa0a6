"""Rows U1 and U3 over the wire: a vendor that fails for a quarter of a minute under load, and comes back."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest
from tests.accounts import account_at
from tests.upstream import Received, Wire, completion, http, upstream

from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.providers.model import ChatRequest, Message, ProviderError
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.sharing import Scope

ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {})
GOOD = http(completion())
DOWN, BACK, END = 5.0, 20.0, 75.0  # seconds from the start
RATE = 100.0


class Vendor:
    """Answers after 50 ms, but not from DOWN to BACK; notes when it was called."""

    def __init__(self, failing: str) -> None:
        self.failing = failing
        self.began = time.monotonic()
        self.called: list[float] = []

    async def answer(self, _: Received, writer: Wire) -> None:
        now = time.monotonic() - self.began
        self.called.append(now)
        if not DOWN <= now < BACK:
            await asyncio.sleep(0.05)
            writer.write(GOOD)
        elif self.failing == "hanging up":
            writer.close()
        else:
            writer.write(http("down", int(self.failing)))


def between(moments: list[float], start: float, end: float) -> int:
    return sum(start <= moment < end for moment in moments)


async def arrivals(vendor: Vendor, rng: random.Random) -> AsyncIterator[float]:
    """Poisson, on the wall clock."""
    due = 0.0
    while due < END:
        due += rng.expovariate(RATE)
        await asyncio.sleep(max(0.0, vendor.began + due - time.monotonic()))
        yield due


@pytest.mark.faults
@pytest.mark.parametrize(
    ("client_type", "failing"),
    [(AiohttpClient, "500"), (Http1Client, "500"), (Http1Client, "503"), (Http1Client, "hanging up")],
    ids=["aiohttp 500", "ours 500", "ours 503", "ours hanging up"],
)
async def test_u1_u3_an_outage_costs_hardly_a_call_and_ends_within_a_minute_without_a_stampede(
    client_type, failing, record_property
):
    rng, client = random.Random(5), client_type("loopback")
    pipeline = Pipeline(client, SystemClock(), rng)
    vendor = Vendor(failing)
    asked: list[float] = []
    answered: list[float] = []

    async def request(due: float) -> None:
        asked.append(due)
        try:
            await pipeline.complete(shop, ASK, Scope.own("traffic"))
        except ProviderError:
            return
        answered.append(due)

    async with upstream(vendor.answer) as server:
        shop = account_at(server.url, concurrency=100, max_retries=3, timeout_seconds=10)
        async with asyncio.timeout(5 * END), asyncio.TaskGroup() as tasks:
            async for due in arrivals(vendor, rng):
                tasks.create_task(request(due))
    await client.close()

    during = between(vendor.called, DOWN, BACK) / between(asked, DOWN, BACK)
    first = min(moment for moment in vendor.called if moment >= BACK)
    returning = between(vendor.called, first, first + 1) / RATE
    record_property("calls per request during the outage", round(during, 3))
    record_property("first second's share of normal load", round(returning, 3))
    assert during <= 1.1
    assert returning <= 0.10
    assert between(answered, 1.0, DOWN - 0.5) == between(asked, 1.0, DOWN - 0.5)
    assert between(answered, END - 10, END) >= 0.99 * between(
        asked, END - 10, END
    )  # within 60 s of the return
