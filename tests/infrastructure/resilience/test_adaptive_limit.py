"""A limit that shrinks on push-back, grows while it is used, and stays fair and whole."""

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.clocks import ManualClock
from tests.infrastructure.resilience.virtual_time import LoopClock, run

from tiebreak.infrastructure.resilience.concurrency import AdaptiveLimit, QueueFull, Slot


async def taken(limit: AdaptiveLimit, count: int) -> list[Slot]:
    return [await limit.slot().__aenter__() for _ in range(count)]


async def left(slots: list[Slot]) -> None:
    for slot in slots:
        await slot.__aexit__(None, None, None)


async def push_back(limit: AdaptiveLimit, clock: ManualClock, times: int = 1) -> None:
    for _ in range(times):
        clock.advance(1.0)
        async with limit.slot() as slot:
            slot.pushed_back()


async def test_it_starts_at_the_ceiling_and_shrinks_by_three_tenths_to_the_floor():
    clock = ManualClock()
    limit = AdaptiveLimit(100, clock, floor=5)
    assert (limit.limit, limit.ceiling) == (100, 100)
    seen = []
    for _ in range(12):
        await push_back(limit, clock)
        seen.append(limit.limit)
    assert seen[:4] == [70, 49, 34, 24]
    assert seen[-1] == 5


async def test_many_signals_of_one_window_count_once():
    clock = ManualClock()
    limit = AdaptiveLimit(10, clock)
    for slot in await taken(limit, 10):
        slot.pushed_back()
        clock.advance(0.05)
    assert limit.limit == 7


async def test_a_call_sent_under_the_old_limit_says_nothing_about_the_new_one():
    clock = ManualClock()
    limit = AdaptiveLimit(10, clock)
    old = await taken(limit, 3)
    clock.advance(5.0)
    (new,) = await taken(limit, 1)
    new.pushed_back()
    clock.advance(5.0)
    for slot in old:
        slot.pushed_back()
    assert limit.limit == 7


async def test_it_grows_by_about_one_per_round_while_it_is_used_and_not_beyond_the_ceiling():
    clock = ManualClock()
    limit = AdaptiveLimit(20, clock)
    await push_back(limit, clock, 3)
    assert limit.limit == 6
    seen = []
    for _ in range(30):
        slots = await taken(limit, limit.limit)
        for slot in slots:
            slot.succeeded()
        await left(slots)
        seen.append(limit.limit)
    assert all(later - earlier in {0, 1, 2} for earlier, later in pairwise(seen))
    assert 12 <= seen[7] <= 15
    assert seen[-1] == 20


async def test_it_does_not_grow_while_slots_are_free_nor_for_how_fast_calls_are():
    clock = ManualClock()
    limit = AdaptiveLimit(20, clock)
    await push_back(limit, clock)
    assert limit.limit == 14
    slots = await taken(limit, 12)  # 86 %
    for _ in range(100):
        slots[0].succeeded()
    assert limit.limit == 14
    slots += await taken(limit, 1)  # 93 %
    for _ in range(20):
        slots[0].succeeded()
    assert limit.limit == 15
    await left(slots)


@pytest.mark.parametrize(
    ("pushes", "ceiling", "limit"), [(0, 40, 40), (1, 40, 14), (1, 10, 10), (3, 30, 6), (0, 3, 3)]
)
async def test_it_follows_a_new_ceiling(pushes, ceiling, limit):
    clock = ManualClock()
    adaptive = AdaptiveLimit(20, clock, floor=5)
    await push_back(adaptive, clock, pushes)
    adaptive.resize(ceiling)
    assert (adaptive.limit, adaptive.ceiling) == (limit, ceiling)
    await push_back(adaptive, clock, 20)
    assert adaptive.limit == min(5, ceiling)


async def test_too_long_a_queue_is_refused_and_the_numbers_are_there():
    limit = AdaptiveLimit(1, ManualClock(), max_waiting=1)
    assert limit.idle
    (slot,) = await taken(limit, 1)
    waiter = asyncio.create_task(limit.slot().__aenter__())
    await asyncio.sleep(0)
    assert (limit.held, limit.waiting, limit.idle) == (1, 1, False)
    with pytest.raises(QueueFull, match="1 calls wait for one of 1 slots"):
        await limit.slot().__aenter__()
    await left([slot])
    await left([await waiter])
    assert limit.idle


def test_it_finds_what_a_vendor_allows():
    """A vendor that takes 20 at once and answers 429 to the rest: it is kept busy, with few refusals."""

    async def live() -> tuple[int, int, list[int]]:
        clock, limit = LoopClock(), AdaptiveLimit(100, LoopClock())
        busy = answered = refused = 0
        limits: list[int] = []

        async def caller() -> None:
            nonlocal busy, answered, refused
            while clock.monotonic() < 120:
                async with limit.slot() as slot:
                    if busy >= 20:
                        refused += clock.monotonic() > 10  # four cuts later
                        await clock.sleep(0.02)
                        slot.pushed_back()
                        continue
                    busy += 1
                    await clock.sleep(0.5)
                    busy -= 1
                    answered += 1
                    slot.succeeded()
                    limits.append(limit.limit)

        await asyncio.gather(*(caller() for _ in range(150)))
        return answered, refused, limits[len(limits) // 2 :]

    answered, refused, limits = run(live())
    assert answered >= 0.85 * 120 * 20 / 0.5
    assert refused <= 0.1 * answered
    assert min(limits) >= 12
    assert max(limits) <= 30


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["come", "leave", "cancel", "push", "succeed", "wait", "resize"]), max_size=60),
    st.integers(0, 2**32),
)
def test_whatever_happens_the_limit_stays_within_bounds_and_no_slot_is_lost(steps, seed):
    async def hold(limit: AdaptiveLimit, slots: dict[asyncio.Event, Slot], leave: asyncio.Event) -> None:
        async with limit.slot() as slot:
            slots[leave] = slot
            try:
                await leave.wait()
            finally:
                del slots[leave]

    async def live() -> None:
        rng, clock, slots = random.Random(seed), ManualClock(), {}
        limit = AdaptiveLimit(4, clock, floor=2)
        tasks: list[tuple[asyncio.Event, asyncio.Task[None]]] = []
        for step in steps:
            if step == "come":
                leave = asyncio.Event()
                tasks.append((leave, asyncio.create_task(hold(limit, slots, leave))))
            elif step == "wait":
                clock.advance(0.7)
            elif step == "resize":
                limit.resize(rng.randint(1, 8))
            elif step in {"push", "succeed"} and slots:
                slot = rng.choice(list(slots.values()))
                slot.pushed_back() if step == "push" else slot.succeeded()
            elif step in {"leave", "cancel"} and tasks:
                leave, task = tasks.pop(rng.randrange(len(tasks)))
                leave.set() if step == "leave" else task.cancel()
            for _ in range(rng.randint(0, 4)):
                await asyncio.sleep(0)
            assert min(2, limit.ceiling) <= limit.limit <= limit.ceiling
            assert limit.held <= 8
        for leave, _ in tasks:
            leave.set()
        async with asyncio.timeout(5):
            while not limit.idle:
                await asyncio.sleep(0)

    asyncio.run(live())
