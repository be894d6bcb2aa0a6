"""Several items in one call: those that arrive while another call of their kind is under way go together."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tiebreak.clock import Clock
from tiebreak.infrastructure.resilience.concurrency import QueueFull
from tiebreak.infrastructure.resilience.failures import own_copy
from tiebreak.infrastructure.resilience.single_flight import CallStopped

K = TypeVar("K", bound=Hashable)
I = TypeVar("I")  # noqa: E741 - item
R = TypeVar("R")


class WrongBatch(Exception):
    """A batch came back with another number of results than it has items, so none can be told to be whose."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How many items go in one call, and how many milliseconds an item waits for others."""

    max_batch_size: int = 10
    batch_timeout_ms: float = 100.0


@dataclass(frozen=True, slots=True)
class Batched(Generic[R]):
    """A result, how many items went with it in the same call, and whether this one was the first of them."""

    value: R
    size: int
    led: bool


@dataclass(slots=True, eq=False)
class _Member(Generic[I, R]):
    item: I
    turn: "asyncio.Future[Batched[R]]"
    batch: "_Batch[I, R] | None" = None  # None while it is gathered


@dataclass(slots=True, eq=False)
class _Batch(Generic[I, R]):
    """One call under way."""

    members: list[_Member[I, R]]
    task: "asyncio.Task[None]"


@dataclass(slots=True, eq=False)
class _Kind(Generic[I, R]):
    """What waits and what runs under one key."""

    limits: BatchLimits
    gathering: list[_Member[I, R]] = field(default_factory=list)
    calls: int = 0
    soon: bool = False  # goes at the end of this turn of the loop
    timer: "asyncio.Task[None] | None" = None


class Batcher(Generic[K, I, R]):
    """Merges concurrent items with equal keys into calls. Belongs to one event loop.

    An item goes at once when nothing of its key is under way, together with those that come in the same turn of the loop.
    Otherwise it waits until the batch is full, until nothing of its key is under way any more, or until the first of the
    batch has waited `batch_timeout_ms`, whichever is first. `send` gets the key and the items and returns as many results in
    the same order; an exception among them is that item's failure alone. It must have its own deadline.
    """

    def __init__(
        self,
        send: Callable[[K, Sequence[I]], Awaitable[Sequence[R | Exception]]],
        clock: Clock,
        *,
        limits: BatchLimits | None = None,
        max_waiting: int = 10_000,
    ) -> None:
        self._send = send
        self._clock = clock
        self._limits = limits or BatchLimits()
        self._max_waiting = max_waiting
        self._kinds: dict[K, _Kind[I, R]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting = 0  # items without a result

    async def submit(self, key: K, item: I, limits: BatchLimits | None = None) -> Batched[R]:
        """The item's own result.

        The key must hold everything that may not be mixed in one call: tenant, credential, model, parameters. While something
        waits or runs under it, the limits count that it began with.

        Raises:
            QueueFull: too many items wait already.
            WrongBatch: the call's results cannot be told apart.
            CallStopped: the call was cancelled by somebody other than its callers.
        """
        if self.waiting >= self._max_waiting:
            raise QueueFull(f"{self.waiting} items wait for a result already; send fewer at once")
        member: _Member[I, R] = _Member(item, asyncio.get_running_loop().create_future())
        self.waiting += 1
        try:
            self._gather(key, member, limits or self._limits)
            return await member.turn
        except asyncio.CancelledError:
            self._leave(key, member)
            raise
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        """Cancel what is under way and wait for its end; those who wait get CallStopped."""
        for kind in self._kinds.values():
            self._stop_timer(kind)
            gathered, kind.gathering = kind.gathering, []
            for member in gathered:
                _fail(member, _stopped())
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _gather(self, key: K, member: _Member[I, R], limits: BatchLimits) -> None:
        kind = self._kinds.setdefault(key, _Kind(limits))
        kind.gathering.append(member)
        if len(kind.gathering) >= kind.limits.max_batch_size:
            self._go(key, kind)
        elif kind.calls == 0:
            if not kind.soon:
                kind.soon = True
                asyncio.get_running_loop().call_soon(self._go_now, key, kind)
        elif kind.timer is None:
            kind.timer = self._started(self._go_later(key, kind))

    def _go_now(self, key: K, kind: _Kind[I, R]) -> None:
        kind.soon = False
        if kind.gathering:
            self._go(key, kind)
        else:
            self._forget_unused(key, kind)

    async def _go_later(self, key: K, kind: _Kind[I, R]) -> None:
        await self._clock.sleep(kind.limits.batch_timeout_ms / 1000.0)
        kind.timer = None
        self._go(key, kind)

    def _go(self, key: K, kind: _Kind[I, R]) -> None:
        """Send what is gathered."""
        members, kind.gathering = kind.gathering, []
        self._stop_timer(kind)
        kind.calls += 1
        task = self._started(self._call(key, members))
        batch = _Batch(members, task)
        for member in members:
            member.batch = batch
        task.add_done_callback(lambda _: self._ended(key, kind, batch))

    async def _call(self, key: K, members: Sequence[_Member[I, R]]) -> None:
        try:
            results = await self._send(key, [member.item for member in members])
        except Exception as exc:  # noqa: BLE001 - whatever the call raises is the members' to handle
            for member in members:
                _fail(member, own_copy(exc))
            return
        if len(results) != len(members):
            for member in members:
                _fail(
                    member, WrongBatch(f"{len(members)} items were sent and {len(results)} results came back")
                )
            return
        for member, result in zip(members, results, strict=True):
            if isinstance(result, Exception):
                _fail(member, result)
            elif not member.turn.done():
                member.turn.set_result(Batched(result, len(members), led=member is members[0]))

    def _ended(self, key: K, kind: _Kind[I, R], batch: _Batch[I, R]) -> None:
        for member in batch.members:
            _fail(member, _stopped())  # only those without a result: the call was cancelled
        kind.calls -= 1
        if kind.calls == 0 and kind.gathering:
            self._go(key, kind)
        else:
            self._forget_unused(key, kind)

    def _leave(self, key: K, member: _Member[I, R]) -> None:
        """A caller has gone: its item goes with it while it is gathered, and the last one of a call takes that along."""
        if member.batch is not None:
            if all(other.turn.done() for other in member.batch.members):
                member.batch.task.cancel()
            return
        kind = self._kinds.get(key)
        if kind is not None and member in kind.gathering:
            kind.gathering.remove(member)
            if not kind.gathering:
                self._stop_timer(kind)
                self._forget_unused(key, kind)

    def _stop_timer(self, kind: _Kind[I, R]) -> None:
        if kind.timer is not None:
            kind.timer.cancel()
            kind.timer = None

    def _forget_unused(self, key: K, kind: _Kind[I, R]) -> None:
        if kind.calls == 0 and not kind.gathering and not kind.soon:
            self._kinds.pop(key, None)

    def _started(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _fail(member: _Member[I, R], error: Exception) -> None:
    if not member.turn.done():
        member.turn.set_exception(error)


def _stopped() -> CallStopped:
    return CallStopped("the call that several items shared was stopped before it had an answer")
