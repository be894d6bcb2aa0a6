"""How many at once: a limit with a fair, bounded queue, resizable while in use."""

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self


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
