"""Identical calls at the same time are one call: whoever asks while it is under way waits for the same answer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tiebreak.infrastructure.resilience.failures import own_copy

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class CallStopped(Exception):
    """The shared call was stopped from outside before it had an answer, as at shutdown."""


@dataclass(frozen=True, slots=True)
class Joined(Generic[V]):
    """An answer, and whether this caller's own call fetched it or it came along with another's."""

    value: V
    led: bool


@dataclass(slots=True, eq=False)
class _Flight(Generic[V]):
    task: "asyncio.Task[V]"
    waiting: "set[asyncio.Future[None]]" = field(default_factory=set)


class SingleFlight(Generic[K, V]):
    """Shares calls by key while they are in flight; keeps nothing afterwards. Belongs to one event loop.

    The call is a task of its own, so the caller that began it may leave like any other; when the last one leaves, it
    is cancelled. A failure goes to everybody, to each as an exception of its own. The call must have its own deadline. Beyond
    `most` calls in flight further ones are not shared.
    """

    def __init__(self, *, most: int = 10_000) -> None:
        self._most = most
        self._flights: dict[K, _Flight[V]] = {}
        self._tasks: set[asyncio.Task[V]] = set()

    @property
    def in_flight(self) -> int:
        """How many calls run, those included that were just cancelled and are ending."""
        return len(self._tasks)

    async def do(self, key: K, call: Callable[[], Awaitable[V]]) -> Joined[V]:
        """The answer of `call`, or of the equal one already in flight.

        The key must hold everything that makes two callers different: tenant, credential and the whole request.

        Raises:
            CallStopped: the call was cancelled by somebody other than its callers.
        """
        flight = self._flights.get(key)
        led = flight is None
        if flight is None:
            if len(self._flights) >= self._most:
                return Joined(await call(), led=True)
            flight = self._begin(key, call)
        await self._wait(key, flight)
        if flight.task.cancelled():
            raise CallStopped("the call that several callers shared was stopped before it had an answer")
        error = flight.task.exception()
        if error is not None:
            raise own_copy(error)
        return Joined(flight.task.result(), led)

    async def close(self) -> None:
        """Cancel what is in flight and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, key: K, call: Callable[[], Awaitable[V]]) -> _Flight[V]:
        task = asyncio.ensure_future(_awaited(call))
        flight = self._flights[key] = _Flight(task)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._landed(key, flight, done))
        return flight

    async def _wait(self, key: K, flight: _Flight[V]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        flight.waiting.add(turn)
        try:
            await turn
        finally:
            flight.waiting.discard(turn)
            if not flight.waiting and not flight.task.done():
                self._forget(key, flight)  # whoever comes now begins anew
                flight.task.cancel()

    def _landed(self, key: K, flight: _Flight[V], task: "asyncio.Task[V]") -> None:
        self._tasks.discard(task)
        self._forget(key, flight)
        if not task.cancelled():
            task.exception()  # everybody may have left: then nobody else asks for it
        for turn in flight.waiting:
            if not turn.done():
                turn.set_result(None)

    def _forget(self, key: K, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _awaited(call: Callable[[], Awaitable[V]]) -> V:
    return await call()
