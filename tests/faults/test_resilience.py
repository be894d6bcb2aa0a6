"""Rows U1, U3 and U12 without sockets: an outage and its end on virtual time, and a thousand callers of one call."""

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import Literal

import pytest
from tests.infrastructure.resilience.virtual_time import LoopClock, run

from tiebreak.infrastructure.resilience.breaker import (
    Breaker,
    BreakerConfig,
    BreakerState,
    CircuitOpen,
    Outcome,
)
from tiebreak.infrastructure.resilience.budget import RetryBudget
from tiebreak.infrastructure.resilience.concurrency import AdaptiveLimit
from tiebreak.infrastructure.resilience.retry import Backoff
from tiebreak.infrastructure.resilience.shared_stream import SharedStreams
from tiebreak.infrastructure.resilience.single_flight import SingleFlight

Failing = Literal["500", "503", "refusing", "hanging"]

DOWN, BACK, END = 40.0, 70.0, 130.0
TIMEOUT = 10.0
CEILING = 200


class VendorFailed(Exception):
    def __init__(self, outcome: Outcome, *, overloaded: bool = False, timed_out: bool = False) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.overloaded = overloaded
        self.timed_out = timed_out


class Vendor:
    """Answers after `latency`, but not from DOWN to BACK; remembers when it was called and when it answered."""

    def __init__(self, failing: Failing, latency: float) -> None:
        self.failing = failing
        self.latency = latency
        self.called: list[float] = []
        self.answered: list[float] = []

    async def call(self) -> None:
        now = LoopClock().monotonic()
        self.called.append(now)
        if DOWN <= now < BACK:
            if self.failing == "refusing":
                raise VendorFailed(Outcome.CONNECT_FAILURE)
            await asyncio.sleep(TIMEOUT if self.failing == "hanging" else 0.05)
            raise VendorFailed(
                Outcome.FAILURE, overloaded=self.failing == "503", timed_out=self.failing == "hanging"
            )
        await asyncio.sleep(self.latency)
        self.answered.append(LoopClock().monotonic())


class Client:
    """The parts in the order of the pipeline: retry with budget, and for each attempt breaker, limit, vendor."""

    def __init__(self, vendor: Vendor, seed: int, attempts: int) -> None:
        self.rng = random.Random(seed)
        self.vendor = vendor
        self.attempts = attempts
        self.backoff = Backoff()
        self.budget = RetryBudget()
        self.breaker = Breaker(BreakerConfig(), LoopClock(), self.rng)
        self.limit = AdaptiveLimit(CEILING, LoopClock())
        self.asked: list[float] = []
        self.opened_at: float | None = None
        self.closed_at: float | None = None

    async def request(self) -> bool:
        self.asked.append(LoopClock().monotonic())
        for attempt in range(self.attempts):
            try:
                await self.attempt()
            except CircuitOpen as refusal:
                minimum: float | None = refusal.retry_after
            except VendorFailed as failure:
                minimum = None
                if not self.budget.take(after_timeout=failure.timed_out) and self.attempts <= 3:
                    return False
            else:
                return True
            await asyncio.sleep(self.backoff.delay(attempt, self.rng, minimum))
        return False

    async def attempt(self) -> None:
        with self.breaker.acquire() as permit:
            async with self.limit.slot() as slot:
                permit.confirm()
                try:
                    await self.vendor.call()
                except VendorFailed as failure:
                    permit.record(failure.outcome)
                    if failure.overloaded and not permit.probe:
                        slot.pushed_back()
                    raise
                permit.record(Outcome.SUCCESS)
                slot.succeeded()
                self.budget.succeeded()

    async def watch(self) -> None:
        """Note when the breaker first opened and when it last closed."""
        while True:
            await asyncio.sleep(0.05)
            state, now = self.breaker.snapshot().state, LoopClock().monotonic()
            if state is BreakerState.OPEN:
                self.opened_at = self.opened_at or now
                self.closed_at = None
            elif state is BreakerState.CLOSED and self.opened_at and self.closed_at is None:
                self.closed_at = now


def between(moments: list[float], start: float, end: float) -> int:
    return sum(start <= moment < end for moment in moments)


async def arrivals(client: Client, rate: float) -> None:
    """Independent requests, `rate` a second."""
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(client.watch())
        while LoopClock().monotonic() < END:
            await asyncio.sleep(client.rng.expovariate(rate))
            tasks.create_task(client.request())
        watching.cancel()


async def clients(client: Client, count: int, think: float) -> None:
    """`count` users who each ask, wait for the answer however long it takes, think, and ask again."""

    async def user() -> None:
        await asyncio.sleep(client.rng.uniform(0, think))
        while LoopClock().monotonic() < END:
            await client.request()
            await asyncio.sleep(client.rng.expovariate(1 / think))

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(client.watch())
        async with asyncio.TaskGroup() as users:
            for _ in range(count):
                users.create_task(user())
        watching.cancel()


def outage(failing: Failing, seed: int, rate: float, latency: float, attempts: int = 3) -> Client:
    async def live() -> Client:
        client = Client(Vendor(failing, latency), seed, attempts)
        if attempts <= 3:
            await arrivals(client, rate)
        else:
            await clients(client, round(rate * 20), think=20.0)
        return client

    return run(live())


def came_back(client: Client, rate: float) -> None:
    """The first second after the vendor's return, counted from its first call, and the end of the minute after it."""
    called, answered = client.vendor.called, client.vendor.answered
    normal = between(called, DOWN - 20, DOWN) / 20
    assert normal == pytest.approx(rate, rel=0.1)
    first = min(moment for moment in called if moment >= BACK)
    assert between(called, BACK, BACK + 1) <= 0.1 * normal
    assert 0 < between(called, first, first + 1) <= 0.1 * normal
    assert client.closed_at is not None
    assert client.closed_at < BACK + 60
    assert between(answered, client.closed_at + 1, END) >= 0.9 * normal * (END - client.closed_at - 1)


@pytest.mark.parametrize("failing", ["500", "503", "refusing", "hanging"])
@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.faults, id=f"full {seed}") for seed in range(2, 8))]
)
def test_u1_an_outage_costs_hardly_a_call_and_ends_within_a_minute(failing, seed):
    client = outage(failing, seed, rate=100.0, latency=0.5)
    assert between(client.vendor.called, DOWN, BACK) <= 1.1 * between(client.asked, DOWN, BACK)
    until_known = TIMEOUT if failing == "hanging" else 0.05
    assert DOWN < client.opened_at < DOWN + until_known + 2.0
    came_back(client, 100.0)


@pytest.mark.parametrize("failing", ["500", "503", "refusing", "hanging"])
@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.faults, id=f"full {seed}") for seed in range(2, 5))]
)
def test_u3_two_thousand_who_waited_do_not_return_together(failing, seed):
    client = outage(failing, seed, rate=100.0, latency=0.5, attempts=10_000)
    came_back(client, 100.0)
    seconds = [between(client.vendor.called, at, at + 1) for at in range(int(BACK), int(END))]
    assert max(seconds) <= 1.2 * CEILING / 0.5
    assert between(client.vendor.called, DOWN + TIMEOUT + 2, BACK) <= 20  # probes


def test_an_outage_of_503s_leaves_room_for_what_is_normal():
    client = outage("503", seed=3, rate=100.0, latency=0.5)
    assert client.limit.limit >= 0.5 * CEILING


async def test_u12_a_thousand_callers_whose_leader_leaves_cost_one_call():
    flights: SingleFlight[str, str] = SingleFlight()
    begun = 0
    go = asyncio.Event()

    async def call() -> str:
        nonlocal begun
        begun += 1
        await go.wait()
        return "answer"

    callers = [asyncio.create_task(flights.do("key", call)) for _ in range(1000)]
    await asyncio.sleep(0.01)
    callers[0].cancel()
    await asyncio.wait([callers[0]])
    go.set()
    answers = await asyncio.gather(*callers[1:])
    assert begun == 1
    assert len(answers) == 999
    assert {(joined.value, joined.led) for joined in answers} == {("answer", False)}


async def test_u12_a_thousand_readers_whose_leader_leaves_see_one_whole_stream():
    streams: SharedStreams[str, bytes] = SharedStreams(weigh=len)
    begun = 0
    go = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        nonlocal begun
        begun += 1
        for number in range(20):
            yield b"%d" % number
            if number == 7:
                await go.wait()

    async def read() -> list[bytes]:
        async with streams.join("key", source) as frames:
            return [frame async for frame in frames]

    readers = [asyncio.create_task(read()) for _ in range(1000)]
    await asyncio.sleep(0.05)
    readers[0].cancel()
    await asyncio.wait([readers[0]])
    go.set()
    seen = await asyncio.gather(*readers[1:])
    assert begun == 1
    assert all(frames == [b"%d" % number for number in range(20)] for frames in seen)
