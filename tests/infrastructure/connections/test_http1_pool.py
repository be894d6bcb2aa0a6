"""Who gets which connection, without a network: places are counted, turns are in order, leavers give theirs back."""

import asyncio

import pytest

from tiebreak.infrastructure.connections.http1_pool import Pool


class Line:
    """A connection as the pool knows it; an aborted one is forgotten at once."""

    def __init__(self, pool: Pool, key: str) -> None:
        self.pool = pool
        self.key = key
        self.lost = False

    def abort(self) -> None:
        self.lost = True
        self.pool.forget(self)


async def opened(pool: Pool, key: str = "a") -> Line:
    """A connection, new or not."""
    async with asyncio.timeout(2):
        return await pool.place(key) or Line(pool, key)


async def waiting(pool: Pool, key: str = "a") -> asyncio.Task:
    task = asyncio.create_task(opened(pool, key))
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_the_connection_used_last_is_used_next():
    pool = Pool(limit=9, per_origin=9)
    first, second = await opened(pool), await opened(pool)
    pool.release(first)
    pool.release(second)
    assert [pool.idle("a"), pool.idle("a"), pool.idle("a")] == [second, first, None]


async def test_connections_are_not_shared_between_keys():
    pool = Pool(limit=9, per_origin=9)
    pool.release(await opened(pool, "a"))
    assert pool.idle("b") is None


async def test_a_closed_connection_is_not_lent():
    pool = Pool(limit=9, per_origin=9)
    line = await opened(pool)
    pool.release(line)
    line.lost = True
    assert pool.idle("a") is None


async def test_who_waits_gets_what_becomes_free_in_order():
    pool = Pool(limit=1, per_origin=9)
    line = await opened(pool)
    first, second = await waiting(pool), await waiting(pool)
    pool.release(line)
    assert await first is line
    assert not second.done()
    pool.release(line)
    assert await second is line


async def test_a_closed_connection_makes_place_for_a_new_one():
    pool = Pool(limit=1, per_origin=9)
    line = await opened(pool)
    next_one = await waiting(pool)
    line.abort()
    assert await next_one is not line


async def test_one_origin_does_not_take_more_than_its_share():
    pool = Pool(limit=9, per_origin=1)
    line = await opened(pool, "a")
    stuck = await waiting(pool, "a")
    assert (await opened(pool, "b")).key == "b"
    pool.release(line)
    assert await stuck is line


async def test_an_unused_connection_is_closed_for_another_origin():
    pool = Pool(limit=1, per_origin=9)
    old = await opened(pool, "a")
    pool.release(old)
    assert (await opened(pool, "b")).key == "b"
    assert old.lost


async def test_a_freed_connection_makes_place_for_another_origin_that_waits():
    pool = Pool(limit=1, per_origin=9)
    line = await opened(pool, "a")
    other = await waiting(pool, "b")
    pool.release(line)
    assert line.lost
    assert (await other).key == "b"


async def test_who_leaves_the_queue_holds_nobody_up():
    pool = Pool(limit=1, per_origin=9)
    line = await opened(pool)
    leaver, stayer = await waiting(pool), await waiting(pool)
    leaver.cancel()
    await asyncio.sleep(0)
    pool.release(line)
    assert await stayer is line


@pytest.mark.parametrize("closed", [True, False])
async def test_who_leaves_with_a_turn_in_hand_passes_it_on(closed):
    pool = Pool(limit=1, per_origin=9)
    line = await opened(pool)
    leaver, stayer = await waiting(pool), await waiting(pool)
    if closed:
        line.abort()  # the turn is the right to open a new one
    else:
        pool.release(line)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert (await stayer is line) is not closed


async def test_a_turn_goes_past_those_who_are_being_cancelled():
    pool = Pool(limit=1, per_origin=9)
    line = await opened(pool)
    leaver = await waiting(pool)
    leaver.cancel()
    line.abort()  # before the leaver runs again
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert (await opened(pool)).key == "a"


async def test_a_connection_that_closes_on_its_way_is_not_used():
    pool = Pool(limit=1, per_origin=9)
    line = await opened(pool)
    next_one = await waiting(pool)
    pool.release(line)
    line.abort()
    assert await next_one is not line


async def test_a_pool_that_is_not_used_remembers_nothing():
    pool = Pool(limit=9, per_origin=1)
    lines = [await opened(pool, str(number)) for number in range(9)]
    late = await waiting(pool, "0")
    late.cancel()
    await asyncio.sleep(0)
    for line in lines:
        line.abort()
    assert (pool._origins, dict(pool._wanted), pool._open, pool._waiting) == ({}, {}, 0, 0)


async def test_random_use_never_exceeds_the_limits_and_everybody_is_served():
    pool = Pool(limit=5, per_origin=3)
    held: dict[str, int] = {}

    async def use(number: int) -> None:
        key = "abc"[number % 3]
        line = await opened(pool, key)
        held[key] = held.get(key, 0) + 1
        assert held[key] <= 3
        assert sum(held.values()) <= 5
        await asyncio.sleep(0.001 * (number % 4))
        held[key] -= 1
        if number % 7 == 0:
            line.abort()
        else:
            pool.release(line)

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        for number in range(300):
            task = tasks.create_task(use(number))
            if number % 11 == 0:
                asyncio.get_running_loop().call_later(0.002, task.cancel)
