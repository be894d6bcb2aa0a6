"""A limit holds, is fair, survives cancellation and resizing, and refuses an endless queue."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak.infrastructure.resilience.concurrency import ConcurrencyLimit, QueueFull


class Holder:
    """A task that takes a slot and keeps it until told."""

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self.has = asyncio.Event()
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._run(limit))

    async def _run(self, limit: ConcurrencyLimit) -> None:
        async with limit:
            self.has.set()
            await self.leave.wait()

    async def gone(self) -> None:
        self.leave.set()
        await self.task


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def holding(holders: list[Holder]) -> list[bool]:
    return [holder.has.is_set() for holder in holders]


async def test_slots_are_given_in_order_and_never_more_than_the_limit():
    limit = ConcurrencyLimit(2)
    holders = [Holder(limit) for _ in range(4)]
    await settle()
    assert (holding(holders), limit.held, limit.waiting) == ([True, True, False, False], 2, 2)
    await holders[1].gone()
    await settle()
    assert holding(holders) == [True, True, True, False]
    for holder in holders:
        await holder.gone()
    assert limit.idle


async def test_who_comes_late_does_not_pass_those_who_wait():
    limit = ConcurrencyLimit(1)
    first, second = Holder(limit), Holder(limit)
    await settle()
    first.leave.set()
    late = Holder(limit)
    await settle()
    assert holding([second, late]) == [True, False]
    await second.gone()
    await late.gone()


async def test_a_waiter_that_gives_up_leaves_the_queue():
    limit = ConcurrencyLimit(1)
    holder, waiter = Holder(limit), Holder(limit)
    await settle()
    waiter.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter.task
    assert (limit.held, limit.waiting) == (1, 0)
    await holder.gone()
    assert limit.idle


async def test_a_waiter_passed_over_while_it_gives_up_costs_no_slot():
    limit = ConcurrencyLimit(1)
    holder, waiter, next_one = Holder(limit), Holder(limit), Holder(limit)
    await settle()
    waiter.task.cancel()
    limit.resize(2)  # before the cancelled task has run
    with pytest.raises(asyncio.CancelledError):
        await waiter.task
    await settle()
    assert holding([holder, next_one]) == [True, True]
    await holder.gone()
    await next_one.gone()
    assert limit.idle


async def test_a_slot_handed_to_a_cancelled_waiter_goes_to_the_next():
    limit = ConcurrencyLimit(1)
    holder, unlucky, lucky = Holder(limit), Holder(limit), Holder(limit)
    await settle()
    limit.resize(2)  # hands a slot over
    unlucky.task.cancel()  # before its task has run with it
    with pytest.raises(asyncio.CancelledError):
        await unlucky.task
    await settle()
    assert holding([holder, lucky]) == [True, True]
    await holder.gone()
    await lucky.gone()
    assert limit.idle


async def test_a_larger_limit_admits_waiters_at_once_and_a_smaller_one_as_holders_leave():
    limit = ConcurrencyLimit(1)
    holders = [Holder(limit) for _ in range(4)]
    await settle()
    limit.resize(3)
    await settle()
    assert holding(holders) == [True, True, True, False]
    limit.resize(1)
    await holders[0].gone()
    await holders[1].gone()
    await settle()
    assert not holders[3].has.is_set()
    await holders[2].gone()
    await settle()
    assert holders[3].has.is_set()
    await holders[3].gone()


async def test_too_long_a_queue_is_refused_with_the_numbers():
    limit = ConcurrencyLimit(1, max_waiting=1)
    holder, waiter = Holder(limit), Holder(limit)
    await settle()
    with pytest.raises(QueueFull, match="1 calls wait for one of 1 slots"):
        await limit.__aenter__()
    await holder.gone()
    await waiter.gone()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["come", "leave", "cancel", "grow", "shrink"]), max_size=60), st.randoms())
def test_whatever_happens_no_slot_is_lost_or_made(steps, rng):
    async def live() -> None:
        limit = ConcurrencyLimit(2)
        holders: list[Holder] = []
        allowed = 2
        for step in steps:
            if step == "come":
                holders.append(Holder(limit))
            elif step == "grow":
                limit.resize(limit.limit + 1)
            elif step == "shrink":
                limit.resize(max(1, limit.limit - 1))
            elif holders:
                holder = holders.pop(rng.randrange(len(holders)))
                if step == "leave":
                    holder.leave.set()
                else:
                    holder.task.cancel()
            if rng.random() < 0.7:
                await settle()
            allowed = max(allowed, limit.limit)
            assert 0 <= limit.held <= allowed
        for holder in holders:
            holder.leave.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*(holder.task for holder in holders))
            await settle()
            while not limit.idle:
                await asyncio.sleep(0)

    asyncio.run(live())
