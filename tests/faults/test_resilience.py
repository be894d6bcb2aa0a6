"""Rows U1, U3 and U12 without sockets: an outage and its end on virtual time, and a thousand callers of one call."""

import asyncio
import math
import random
from collections.abc import AsyncGenerator
from typing import Literal

import pytest
from tests.accounts import account_at
from tests.infrastructure.resilience.virtual_time import LoopClock, run

from tiebreak.infrastructure.connections.http import ConnectFailed
from tiebreak.infrastructure.resilience.breaker import BreakerConfig, BreakerState
from tiebreak.infrastructure.resilience.retry import Backoff
from tiebreak.infrastructure.resilience.shared_stream import SharedStreams
from tiebreak.infrastructure.resilience.single_flight import SingleFlight
from tiebreak.providers.gate import Endpoint, Gate
from tiebreak.providers.model import Failure, ProviderError
from tiebreak.providers.retries import Retries

Failing = Literal["500", "503", "refusing", "hanging"]

DOWN, BACK, END = 40.0, 70.0, 130.0
TIMEOUT = 10.0
CEILING = 200


def failure_of(failing: Failing) -> ProviderError:
    """What the pipeline would make of it."""
    if failing == "refusing":
        error = ProviderError(Failure.CONNECTION, "refused")
        error.__cause__ = ConnectFailed("nobody listens")
        return error
    if failing == "hanging":
        return ProviderError(Failure.TIMEOUT, "late")
    return ProviderError(Failure.SERVER_ERROR, "down", http_status=int(failing))


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
            if self.failing != "refusing":
                await asyncio.sleep(TIMEOUT if self.failing == "hanging" else 0.05)
            raise failure_of(self.failing)
        await asyncio.sleep(self.latency)
        self.answered.append(LoopClock().monotonic())


class Client:
    """The pipeline's own gate and retries, without a wire."""

    def __init__(self, vendor: Vendor, seed: int, patience: float) -> None:
        self.rng = random.Random(seed)
        self.vendor = vendor
        self.patience = patience
        self.account = account_at("http://vendor.example", concurrency=CEILING, max_retries=2)
        self.gate = Gate(LoopClock(), self.rng, BreakerConfig())
        self.asked: list[float] = []
        self.opened_at: float | None = None
        self.closed_at: float | None = None

    async def request(self) -> bool:
        self.asked.append(LoopClock().monotonic())
        retries = Retries(
            2,
            budget=self.gate.lane(self.account).budget,
            backoff=Backoff(),
            rng=self.rng,
            clock=LoopClock(),
            patience=self.patience,
        )
        while True:
            try:
                async with self.gate.attempt(self.account, Endpoint.CHAT, "m"):
                    await self.vendor.call()
            except ProviderError as error:
                try:
                    await retries.wait(error)
                except ProviderError:
                    return False
            else:
                return True

    @property
    def limit(self) -> int:
        return self.gate.lane(self.account).limit.limit

    async def watch(self) -> None:
        """Note when the breaker first opened and when it last closed."""
        while True:
            await asyncio.sleep(0.05)
            states, now = [c.breaker.state for c in self.gate.circuits()], LoopClock().monotonic()
            state = states[0] if states else BreakerState.CLOSED
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


def outage(failing: Failing, seed: int, rate: float, latency: float, patience: float = 0.0) -> Client:
    async def live() -> Client:
        client = Client(Vendor(failing, latency), seed, patience)
        if not patience:
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
    client = outage(failing, seed, rate=100.0, latency=0.5, patience=math.inf)
    came_back(client, 100.0)
    seconds = [between(client.vendor.called, at, at + 1) for at in range(int(BACK), int(END))]
    assert max(seconds) <= 1.2 * CEILING / 0.5
    assert between(client.vendor.called, DOWN + TIMEOUT + 2, BACK) <= 20  # probes


@pytest.mark.parametrize("latency", [0.5, 1.9])
def test_after_an_outage_of_503s_there_is_room_for_what_was_normal(latency):
    client = outage("503", seed=3, rate=100.0, latency=latency)
    assert client.limit == CEILING
    answered = client.vendor.answered
    assert between(answered, BACK + 40, BACK + 60) >= 0.9 * 100 * 20


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
