"""Items merge into few calls; nobody waits too long, alone not at all, and each gets its own result."""

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.infrastructure.resilience.virtual_time import LoopClock, run

from tiebreak.infrastructure.resilience.batching import Batched, Batcher, BatchLimits, WrongBatch
from tiebreak.infrastructure.resilience.concurrency import QueueFull
from tiebreak.infrastructure.resilience.single_flight import CallStopped

LATENCY = 0.2


class Upstream:
    """Answers each item with itself in capitals after `LATENCY`; remembers what came when."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str, list[str]]] = []
        self.cancelled = 0

    async def send(self, key: str, items: Sequence[str]) -> Sequence[str | Exception]:
        self.calls.append((round(LoopClock().monotonic(), 6), key, list(items)))
        try:
            await asyncio.sleep(LATENCY)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if "broken" in items:
            raise ConnectionError("gone")
        if "short" in items:
            return []
        return [ValueError(item) if item == "bad" else f"{key}:{item.upper()}" for item in items]


def batcher(upstream: Upstream, size: int = 10, timeout_ms: float = 100, max_waiting: int = 1000):
    return Batcher(upstream.send, LoopClock(), limits=BatchLimits(size, timeout_ms), max_waiting=max_waiting)


async def submit_at(batches, moment: float, item: str, key: str = "k") -> tuple[float, Batched[str]]:
    """When the result came, and the result."""
    await asyncio.sleep(moment - LoopClock().monotonic())
    result = await batches.submit(key, item)
    return round(LoopClock().monotonic(), 6), result


def test_a_lone_caller_does_not_wait():
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream)
        for moment in (1.0, 2.0, 2.5):
            assert await submit_at(batches, moment, "a") == (moment + LATENCY, Batched("k:A", 1, led=True))
        await batches.submit("k", "b")  # as soon as the one before is answered
        await batches.submit("k", "c")
        assert LoopClock().monotonic() == pytest.approx(2.7 + 2 * LATENCY)
        await asyncio.sleep(0)
        assert (batches.waiting, len(batches._kinds), len(batches._tasks)) == (0, 0, 0)

    run(live())


def test_what_comes_in_the_same_moment_goes_in_one_call():
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream)
        results = await asyncio.gather(*(submit_at(batches, 1.0, item) for item in "abcd"))
        assert [(at, result.value, result.size) for at, result in results] == [
            (1.2, f"k:{item.upper()}", 4) for item in "abcd"
        ]
        assert sorted(result.led for _, result in results) == [False, False, False, True]
        assert [(at, key, sorted(items)) for at, key, items in upstream.calls] == [(1.0, "k", [*"abcd"])]

    run(live())


@pytest.mark.parametrize(("count", "sizes"), [(10, [10]), (25, [10, 10, 5])])
def test_more_than_a_batch_in_the_same_moment_goes_in_several_calls_at_once(count, sizes):
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream)
        await asyncio.gather(*(submit_at(batches, 1.0, str(number)) for number in range(count)))
        assert [(at, len(items)) for at, _, items in upstream.calls] == [(1.0, size) for size in sizes]

    run(live())


def test_behind_a_running_call_a_batch_goes_when_it_is_full_or_its_first_has_waited_long_enough():
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream, size=3)
        moments = {"a": 1.0, "b": 1.01, "c": 1.02, "d": 1.03, "e": 1.05, "f": 1.149}
        await asyncio.gather(*(submit_at(batches, moment, item) for item, moment in moments.items()))
        assert upstream.calls == [
            (1.0, "k", ["a"]),
            (1.03, "k", ["b", "c", "d"]),
            (1.15, "k", ["e", "f"]),
        ]
        assert not batches._tasks

    run(live())


def test_when_nothing_runs_any_more_those_who_wait_go_at_once():
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream)
        await asyncio.gather(submit_at(batches, 1.0, "a"), submit_at(batches, 1.15, "b"))
        assert upstream.calls == [(1.0, "k", ["a"]), (1.2, "k", ["b"])]

    run(live())


def test_keys_are_never_mixed():
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream)
        work = [submit_at(batches, 1.0, item, key) for item in "ab" for key in ("one", "two")]
        results = await asyncio.gather(*work)
        assert [result.value for _, result in results] == ["one:A", "two:A", "one:B", "two:B"]
        assert sorted((key, sorted(items)) for _, key, items in upstream.calls) == [
            ("one", ["a", "b"]),
            ("two", ["a", "b"]),
        ]

    run(live())


def test_a_size_of_one_means_no_batches():
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream, size=1)
        await asyncio.gather(*(submit_at(batches, 1.0, item) for item in "abc"))
        assert sorted(items for _, _, items in upstream.calls) == [["a"], ["b"], ["c"]]

    run(live())


def test_an_item_that_fails_alone_fails_alone():
    async def live() -> None:
        batches = batcher(Upstream())
        results = await asyncio.gather(
            *(batches.submit("k", item) for item in ("a", "bad", "c")), return_exceptions=True
        )
        assert [results[0], results[2]] == [Batched("k:A", 3, led=True), Batched("k:C", 3, led=False)]
        assert isinstance(results[1], ValueError)

    run(live())


@pytest.mark.parametrize(
    ("item", "error", "text"),
    [
        pytest.param("broken", ConnectionError, "gone", id="failure"),
        pytest.param("short", WrongBatch, "3 items were sent and 0 results came back", id="wrong count"),
    ],
)
def test_a_call_that_fails_fails_for_each_member_in_its_own_exception(item, error, text):
    async def live() -> None:
        batches = batcher(Upstream())
        results = await asyncio.gather(
            *(batches.submit("k", each) for each in ("a", item, "c")), return_exceptions=True
        )
        assert [(type(result), str(result)) for result in results] == [(error, text)] * 3
        assert len({id(result) for result in results}) == 3
        assert (await batches.submit("k", "again")).value == "k:AGAIN"

    run(live())


def test_a_member_that_leaves_while_it_is_gathered_is_not_sent():
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream)
        first = asyncio.create_task(submit_at(batches, 1.0, "a"))
        gathered = [asyncio.create_task(submit_at(batches, 1.01, item)) for item in "bc"]
        await asyncio.sleep(1.05)
        gathered[0].cancel()
        await asyncio.gather(first, *gathered, return_exceptions=True)
        assert [items for _, _, items in upstream.calls] == [["a"], ["c"]]
        alone = asyncio.create_task(batches.submit("k", "d"))
        await asyncio.sleep(0)
        alone.cancel()  # before the end of the turn in which it would have gone
        only = asyncio.create_task(submit_at(batches, 5.0, "e"))
        waiting = asyncio.create_task(submit_at(batches, 5.01, "f"))
        await asyncio.sleep(5.05 - LoopClock().monotonic())
        waiting.cancel()  # the only one gathered: its timer goes too
        await only
        assert [items for _, _, items in upstream.calls[2:]] == [["e"]]
        assert (batches.waiting, len(batches._kinds), len(batches._tasks)) == (0, 0, 0)

    run(live())


def test_a_member_that_leaves_a_running_call_leaves_the_rest_and_the_last_one_ends_it():
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream)
        members = [asyncio.create_task(batches.submit("k", item)) for item in "abc"]
        await asyncio.sleep(0.1)
        members[0].cancel()
        assert [result.value for result in await asyncio.gather(*members[1:])] == ["k:B", "k:C"]
        members = [asyncio.create_task(batches.submit("k", item)) for item in "abc"]
        await asyncio.sleep(0.1)
        for number, member in enumerate(members):
            assert upstream.cancelled == 0
            member.cancel()
            await asyncio.wait([member])
            await asyncio.sleep(0.001 * number)
        assert upstream.cancelled == 1
        assert (batches.waiting, len(batches._kinds), len(batches._tasks)) == (0, 0, 0)

    run(live())


def test_too_many_items_are_refused():
    async def live() -> None:
        batches = batcher(Upstream(), max_waiting=2)
        taken = [asyncio.create_task(batches.submit("k", item)) for item in "ab"]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="2 items wait for a result already"):
            await batches.submit("k", "c")
        await asyncio.gather(*taken)
        await batches.submit("k", "c")

    run(live())


def test_closing_stops_everything_and_tells_those_who_wait():
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream)
        members = [
            asyncio.create_task(submit_at(batches, moment, item))
            for item, moment in {"a": 1.0, "b": 1.05, "c": 1.06}.items()
        ]
        await asyncio.sleep(1.1)
        members[2].cancel()
        await batches.close()
        results = await asyncio.gather(*members, return_exceptions=True)
        assert [type(result) for result in results] == [CallStopped, CallStopped, asyncio.CancelledError]
        assert (upstream.cancelled, len(upstream.calls)) == (1, 1)
        assert (batches.waiting, len(batches._kinds), len(batches._tasks)) == (0, 0, 0)

    run(live())


def test_a_member_that_leaves_as_everything_is_closed_is_only_cancelled():
    async def live() -> None:
        upstream = Upstream()
        batches = batcher(upstream)
        first = asyncio.create_task(batches.submit("k", "a"))
        await asyncio.sleep(0.05)
        gathered = asyncio.create_task(batches.submit("k", "b"))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(batches.close())
        await asyncio.sleep(0)
        gathered.cancel()
        await asyncio.gather(first, gathered, closing, return_exceptions=True)
        assert gathered.cancelled()
        assert (batches.waiting, len(batches._kinds), len(batches._tasks)) == (0, 0, 0)

    run(live())


@pytest.mark.parametrize("rate", [10.0, 133.0, 600.0])
def test_under_load_nobody_waits_longer_than_the_timeout_and_calls_are_few(rate):
    async def live() -> tuple[list[float], Upstream]:
        rng, upstream = random.Random(3), Upstream()
        batches = batcher(upstream)
        moment, arrivals = 0.0, []
        while moment < 10:
            moment += rng.expovariate(rate)
            arrivals.append(moment)
        ends = await asyncio.gather(*(submit_at(batches, at, str(at)) for at in arrivals))
        assert [result.value for _, result in ends] == [
            f"k:{at}".upper().replace("K", "k") for at in arrivals
        ]
        return [end - at - LATENCY for (end, _), at in zip(ends, arrivals, strict=True)], upstream

    waits, upstream = run(live())
    assert max(waits) <= 0.1 + 1e-5
    assert max(len(items) for _, _, items in upstream.calls) <= 10
    if rate > 100:
        assert len(upstream.calls) <= 0.15 * len(waits)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["x", "y", "bad", "broken", "short"]),
            st.integers(0, 500),  # when it comes, in ms
            st.integers(1, 600),  # when it loses patience, in ms
        ),
        max_size=40,
    )
)
def test_in_any_order_each_gets_its_own_and_nothing_is_left(steps):
    async def one(batches, key, item, comes, patience) -> None:
        await asyncio.sleep(comes / 1000)
        try:
            async with asyncio.timeout(patience / 1000):
                result = await batches.submit(key, item)
        except TimeoutError:
            assert patience <= 100 + 1000 * LATENCY + 1
        except (ConnectionError, WrongBatch, ValueError):
            return
        else:
            assert result.value == f"{key}:{item.upper()}"

    async def live() -> None:
        batches = batcher(Upstream(), size=4)
        await asyncio.gather(*(one(batches, *step) for step in steps))
        await asyncio.sleep(1)
        assert (batches.waiting, len(batches._kinds), len(batches._tasks)) == (0, 0, 0)

    run(live())
