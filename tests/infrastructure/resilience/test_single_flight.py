"""Equal calls at the same time are one call, whoever leaves and whatever fails."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak.infrastructure.resilience.single_flight import CallStopped, Joined, SingleFlight


class Upstream:
    """Answers when told; counts what began, ended and was cancelled."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.cancelled = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def answer(self, key: str) -> str:
        self.begun[key] += 1
        number = self.begun[key]
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return f"{key}{number}"


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


def ask(flights: SingleFlight[str, str], upstream: Upstream, key: str = "a") -> "asyncio.Task[Joined[str]]":
    return asyncio.create_task(flights.do(key, lambda: upstream.answer(key)))


async def test_equal_keys_share_one_call_and_each_knows_whether_it_led():
    flights, upstream = SingleFlight(), Upstream()
    asked = [ask(flights, upstream) for _ in range(5)]
    other = ask(flights, upstream, "b")
    await settle()
    assert (upstream.begun, flights.in_flight) == ({"a": 1, "b": 1}, 2)
    upstream.go.set()
    answers = await asyncio.gather(*asked)
    assert answers == [Joined("a1", led=True)] + [Joined("a1", led=False)] * 4
    assert await other == Joined("b1", led=True)
    assert flights.in_flight == 0


async def test_nothing_is_kept_after_the_answer():
    flights, upstream = SingleFlight(), Upstream()
    upstream.go.set()
    assert (await ask(flights, upstream)).value == "a1"
    assert (await ask(flights, upstream)) == Joined("a2", led=True)
    assert not flights._flights


async def test_when_the_last_one_leaves_the_call_is_cancelled_and_the_next_one_begins_anew():
    flights, upstream = SingleFlight(), Upstream()
    asked = [ask(flights, upstream) for _ in range(3)]
    await settle()
    for task in asked:
        assert upstream.cancelled == 0
        task.cancel()
        await asyncio.wait([task])
    late = ask(flights, upstream)  # while the cancelled call is still ending
    await settle()
    assert upstream.cancelled == 1
    upstream.go.set()
    assert await late == Joined("a2", led=True)
    assert flights.in_flight == 0


async def test_one_that_leaves_just_as_the_answer_comes_takes_nothing_from_the_others():
    flights, upstream = SingleFlight(), Upstream()
    asked = [ask(flights, upstream) for _ in range(3)]
    await settle()
    upstream.go.set()
    await asyncio.sleep(0)  # the call has ended, and nobody has been told
    asked[0].cancel()
    assert [joined.value for joined in await asyncio.gather(*asked[1:])] == ["a1", "a1"]
    assert asked[0].cancelled()


async def test_a_failure_reaches_everybody_in_an_exception_of_their_own():
    flights, upstream = SingleFlight(), Upstream()
    upstream.error = ConnectionError("gone")
    upstream.go.set()
    failures = await asyncio.gather(*(ask(flights, upstream) for _ in range(50)), return_exceptions=True)
    assert upstream.begun == {"a": 1}
    assert {(type(failure), str(failure)) for failure in failures} == {(ConnectionError, "gone")}
    assert len({id(failure) for failure in failures}) == 50


async def test_a_failure_nobody_waits_for_any_more_is_not_reported_as_forgotten():
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    flights: SingleFlight[str, str] = SingleFlight()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionError("while closing") from None
        return ""

    task = asyncio.create_task(flights.do("a", stubborn))
    await settle()
    task.cancel()
    await asyncio.wait([task])
    await settle()
    assert (flights.in_flight, reported) == (0, [])


async def test_closing_stops_the_calls_and_tells_those_who_wait():
    flights, upstream = SingleFlight(), Upstream()
    asked = [ask(flights, upstream) for _ in range(3)]
    await settle()
    await flights.close()
    assert (upstream.cancelled, flights.in_flight) == (1, 0)
    for task in asked:
        with pytest.raises(CallStopped, match="stopped before it had an answer"):
            await task


async def test_beyond_the_bound_calls_are_not_shared():
    flights, upstream = SingleFlight(most=1), Upstream()
    asked = [ask(flights, upstream, key) for key in "abb"]
    await settle()
    assert upstream.begun == {"a": 1, "b": 2}
    upstream.go.set()
    assert all(joined.led for joined in await asyncio.gather(*asked))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["ask", "leave", "answer"]), st.sampled_from("ab"), st.integers(0, 9)),
        max_size=40,
    )
)
def test_in_any_order_nobody_gets_anothers_answer_and_no_call_is_left(steps):
    async def live() -> None:
        flights: SingleFlight[str, str] = SingleFlight()
        running: Counter[str] = Counter()
        most: Counter[str] = Counter()
        gates = {key: asyncio.Event() for key in "ab"}

        async def answer(key: str) -> str:
            running[key] += 1
            most[key] = max(most[key], running[key])
            try:
                await gates[key].wait()
            finally:
                running[key] -= 1
            return key

        waiting: list[tuple[str, asyncio.Task[Joined[str]]]] = []
        left = []
        for kind, key, which in steps:
            if kind == "ask":
                waiting.append((key, asyncio.create_task(flights.do(key, lambda key=key: answer(key)))))
            elif kind == "leave" and waiting:
                _, task = waiting.pop(which % len(waiting))
                task.cancel()
                left.append(task)
            elif kind == "answer":
                gates[key].set()
                await settle()
                gates[key] = asyncio.Event()
            for _ in range(which % 4):
                await asyncio.sleep(0)
        await settle()
        for gate in gates.values():
            gate.set()
        async with asyncio.timeout(5):
            for key, task in waiting:
                assert (await task).value == key
            await asyncio.gather(*left, return_exceptions=True)
            await settle()
        assert flights.in_flight == 0
        assert not flights._flights
        assert +running == Counter()
        assert all(count <= 2 for count in most.values())  # two only while a cancelled one ends

    asyncio.run(live())
