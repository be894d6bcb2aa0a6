"""The pipeline against a real server: retries, minimum waits, slots, and what is counted."""

import asyncio
import random

import pytest
from tests.clocks import ManualClock
from tests.upstream import completion, hang_up, http, upstream

from tiebreak.clock import SystemClock
from tiebreak.providers.model import ChatRequest, Failure, Message, ProviderError
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.sharing import Scope

ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {})
GOOD = http(completion())
OWN = Scope.own("a run")


async def test_an_answer_at_once_counts_one_call(client, make_account):
    async with upstream(GOOD) as vendor:
        response = await Pipeline(client, ManualClock(), random.Random(1)).complete(
            make_account(vendor.url), ASK, OWN
        )
    assert (response.text, response.calls) == ("four", 1)


async def test_a_retried_failure_ends_in_the_answer_and_counts_every_call(client, make_account):
    clock = ManualClock()
    async with upstream(http("no", 500), http("{"), GOOD) as vendor:
        response = await Pipeline(client, clock, random.Random(1)).complete(
            make_account(vendor.url), ASK, OWN
        )
    assert (response.text, response.calls) == ("four", 3)
    assert len(clock.sleeps) == 2


async def test_a_connection_closed_while_idle_costs_a_call_but_no_retry(client, make_account):
    clock = ManualClock()
    async with upstream(GOOD, hang_up, GOOD) as vendor:
        pipeline = Pipeline(client, clock, random.Random(1))
        shop = make_account(vendor.url, max_retries=0)
        await pipeline.complete(shop, ASK, OWN)
        response = await pipeline.complete(shop, ASK, OWN)
    assert (response.text, response.calls, clock.sleeps) == ("four", 2, [])


async def test_a_connection_closed_twice_is_a_failure(client, make_account):
    async with upstream(GOOD, hang_up) as vendor:
        pipeline = Pipeline(client, ManualClock(), random.Random(1))
        shop = make_account(vendor.url, max_retries=0)
        await pipeline.complete(shop, ASK, OWN)
        with pytest.raises(ProviderError) as caught:
            await pipeline.complete(shop, ASK, OWN)
    assert (caught.value.failure, caught.value.calls, len(vendor.received)) == (Failure.CONNECTION, 2, 3)


async def test_the_last_failure_is_raised_with_all_calls_counted(client, make_account):
    async with upstream(http("no", 503)) as vendor:
        with pytest.raises(ProviderError) as caught:
            await Pipeline(client, ManualClock(), random.Random(1)).complete(
                make_account(vendor.url), ASK, OWN
            )
    assert (caught.value.failure, caught.value.calls, len(vendor.received)) == (Failure.SERVER_ERROR, 3, 3)


@pytest.mark.parametrize("status", [400, 401, 402, 404, 422])
async def test_what_waiting_cannot_mend_is_not_sent_again(client, make_account, status):
    clock = ManualClock()
    async with upstream(http("no", status)) as vendor:
        with pytest.raises(ProviderError) as caught:
            await Pipeline(client, clock, random.Random(1)).complete(make_account(vendor.url), ASK, OWN)
    assert (caught.value.calls, len(vendor.received), clock.sleeps) == (1, 1, [])


async def test_retry_after_is_a_minimum_wait(client, make_account):
    clock = ManualClock()
    async with upstream(http("slow down", 429, retry_after="7"), GOOD) as vendor:
        await Pipeline(client, clock, random.Random(3)).complete(make_account(vendor.url), ASK, OWN)
    assert 7 <= clock.sleeps[0] <= 10.5


async def test_no_more_calls_at_once_than_the_provider_allows_and_none_while_a_retry_sleeps(
    client, make_account
):
    now, most = 0, 0

    async def slow(_, writer):
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.02)
        now -= 1
        writer.write(GOOD)

    async with upstream(slow) as vendor:
        shop = make_account(vendor.url, concurrency=3)
        pipeline = Pipeline(client, SystemClock(), random.Random(1))
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            for _ in range(12):
                tasks.create_task(pipeline.complete(shop, ASK, OWN))
    assert (most, len(vendor.received)) == (3, 12)


async def test_a_sleeping_retry_leaves_its_slot_to_others(client, make_account):
    sleeping = asyncio.Event()

    class Patient(ManualClock):
        async def sleep(self, seconds: float) -> None:
            sleeping.set()
            await asyncio.Event().wait()

    async with upstream(http("no", 500), GOOD) as vendor:
        shop = make_account(vendor.url, concurrency=1)
        pipeline = Pipeline(client, Patient(), random.Random(1))
        first = asyncio.create_task(pipeline.complete(shop, ASK, OWN))
        async with asyncio.timeout(5):
            await sleeping.wait()
            assert (await pipeline.complete(shop, ASK, OWN)).text == "four"
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_changed_concurrency_counts_from_the_next_call(client, make_account):
    async with upstream(GOOD) as vendor:
        pipeline = Pipeline(client, ManualClock(), random.Random(1))
        shop = make_account(vendor.url, concurrency=1)
        await pipeline.complete(shop, ASK, OWN)
        bigger = make_account(vendor.url, provider_id=shop.provider_id, concurrency=9)
        await pipeline.complete(bigger, ASK, OWN)
        assert [circuit.slots for circuit in pipeline.circuits()] == [9]
