"""How many at once: a limit with a fair, bounded queue, resizable while in use; and one that finds its own size."""

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from tiebreak.clock import Clock

DECREASE: Final = 0.7
NEARLY_FULL: Final = 0.9


class QueueFull(Exception):
    """More are waiting than the limit allows; the text says how many."""


class ConcurrencyLimit:
    """At most `limit` holders at once; the others wait in order, at most `max_waiting` of them.

    Used as `async with limit:`. A wait ends because each holder's work has its own deadline. Belongs to one event
    loop.
    """

    def __init__(self, limit: int, *, max_waiting: int = 100_000) -> None:
        self.limit = limit
        self.held = 0
        self._max_waiting = max_waiting
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait, those included that have just given up."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Nobody holds a slot and nobody waits for one."""
        return self.held == 0 and not self._waiting

    def resize(self, limit: int) -> None:
        """Change the limit; a smaller one takes effect as holders leave."""
        self.limit = limit
        self._wake()

    async def __aenter__(self) -> Self:
        """Take a slot, waiting for it in order.

        Raises:
            QueueFull: too many wait already.
        """
        if self.held < self.limit and not self._waiting:
            self.held += 1
            return self
        if len(self._waiting) >= self._max_waiting:
            raise QueueFull(f"{len(self._waiting)} calls wait for one of {self.limit} slots already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # `_wake` may have passed over it already
                    self._waiting.remove(turn)
            else:
                self._leave()  # the slot was handed to us as we were cancelled
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self.held -= 1
        self._wake()

    def _wake(self) -> None:
        """Hand free slots to those who wait, first come first served; a slot is held from here on."""
        while self._waiting and self.held < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.held += 1
                turn.set_result(None)


class AdaptiveLimit:
    """A limit that shrinks when the vendor pushes back and grows while it is used and all goes well (AIMD).

    Used as `async with limit.slot() as slot:`, with `slot.pushed_back()` for a 429, 503 or 529 or a wait for a
    connection, and `slot.succeeded()` for a success. How long a call takes is no signal: it follows the length of the answer.
    Starts at its ceiling, the account's concurrency. Belongs to one event loop.
    """

    def __init__(
        self,
        ceiling: int,
        clock: Clock,
        *,
        floor: int = 1,
        window_seconds: float = 1.0,
        max_waiting: int = 100_000,
    ) -> None:
        self._slots = ConcurrencyLimit(ceiling, max_waiting=max_waiting)
        self._clock = clock
        self._ceiling = ceiling
        self._floor = floor
        self._window_seconds = window_seconds
        self._exact = float(ceiling)
        self._cut_at = -window_seconds + clock.monotonic()
        self._before = self._exact  # the limit before the cuts since `_answered`
        self._answered = True  # a call that began after the last cut has succeeded

    @property
    def ceiling(self) -> int:
        """The most it may grow to."""
        return self._ceiling

    @property
    def limit(self) -> int:
        """How many may hold a slot now."""
        return self._slots.limit

    @property
    def held(self) -> int:
        """How many do."""
        return self._slots.held

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return self._slots.waiting

    @property
    def idle(self) -> bool:
        """Nobody holds a slot and nobody waits for one."""
        return self._slots.idle

    def slot(self) -> "Slot":
        """A slot to be taken with `async with`, once. Raises QueueFull there when too many wait already."""
        return Slot(self)

    def resize(self, ceiling: int) -> None:
        """Follow a change of the account's concurrency; a limit that stood at the old ceiling goes to the new one."""
        old, self._ceiling = self._ceiling, ceiling
        self._before, exact = (
            float(ceiling) if limit >= old else min(limit, ceiling) for limit in (self._before, self._exact)
        )
        self._set(exact)

    def _set(self, exact: float) -> None:
        self._exact = exact
        if int(exact) != self._slots.limit:
            self._slots.resize(int(exact))

    async def take(self) -> float:
        """See `Slot`. When the slot was taken, on the clock."""
        await self._slots.__aenter__()
        return self._clock.monotonic()

    async def leave(self) -> None:
        """See `Slot`."""
        await self._slots.__aexit__(None, None, None)

    def pushed_back(self, taken_at: float) -> None:
        """Shrink, at most once per window, and not for a call that began before the last time: it was sent under the old
        limit and says nothing about the new one."""
        now = self._clock.monotonic()
        if taken_at < self._cut_at or now - self._cut_at < self._window_seconds:
            return
        self._cut_at = now
        if self._answered:
            self._before = self._exact
            self._answered = False
        floor = min(self._floor, self._ceiling)
        self._set(max(float(floor), self._exact * DECREASE))

    def restore(self) -> None:
        """The vendor was away and is back: take back the cuts after which no call succeeded. An outage says nothing
        about how much the vendor can do; whoever calls this keeps the load from returning at once."""
        if not self._answered:
            self._answered = True
            self._set(min(float(self._ceiling), self._before))

    def succeeded(self, taken_at: float) -> None:
        """Grow by one per full round of successes, while nearly all slots are used."""
        self._answered = self._answered or taken_at >= self._cut_at
        if self._exact < self._ceiling and self.held >= NEARLY_FULL * self.limit:
            self._set(min(float(self._ceiling), self._exact + 1.0 / self._exact))


class Slot:
    """One call's place under an `AdaptiveLimit`. Its two signals are given while it is held."""

    __slots__ = ("_limit", "_taken_at")

    def __init__(self, limit: AdaptiveLimit) -> None:
        self._limit = limit
        self._taken_at = 0.0

    async def __aenter__(self) -> Self:
        self._taken_at = await self._limit.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._limit.leave()

    def pushed_back(self) -> None:
        """The vendor said it has too much to do, or the call waited for a connection."""
        self._limit.pushed_back(self._taken_at)

    def succeeded(self) -> None:
        """The call succeeded."""
        self._limit.succeeded(self._taken_at)
