"""Which connections there are, and who gets the next one: bounded in all and per origin, first come first served."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final, Generic, Protocol, TypeVar

from tiebreak.infrastructure.connections.http import ConnectFailed

MOST_WAITING: Final = 10_000


class Pooled(Protocol):
    """What the pool knows of a connection."""

    @property
    def key(self) -> Hashable:
        """Connections with equal keys are interchangeable."""
        ...

    @property
    def lost(self) -> bool:
        """Whether it is closed."""
        ...

    def abort(self) -> None:
        """Close it at once; `Pool.forget` follows."""
        ...


C = TypeVar("C", bound=Pooled)


class _Origin(Generic[C]):
    """The connections with one key. `open` counts those being opened, too."""

    __slots__ = ("idle", "open", "waiting")

    def __init__(self) -> None:
        self.open = 0
        self.idle: list[C] = []
        self.waiting: deque[asyncio.Future[C | None]] = deque()


class Pool(Generic[C]):
    """Counts places and lends connections, the one used last first, so that those not needed grow old and close."""

    def __init__(self, *, limit: int, per_origin: int) -> None:
        self._limit = limit
        self._per_origin = per_origin
        self._open = 0
        self._waiting = 0
        self._origins: dict[Hashable, _Origin[C]] = {}
        # Origins somebody waits for, the longest without a turn first.
        self._wanted: OrderedDict[Hashable, _Origin[C]] = OrderedDict()

    def idle(self, key: Hashable) -> C | None:
        """A connection that can be used now."""
        origin = self._origins.get(key)
        if origin is not None:
            while origin.idle:
                connection = origin.idle.pop()
                if not connection.lost:
                    return connection
        return None

    async def place(self, key: Hashable) -> C | None:
        """Wait for a turn: a connection that became free, or None for the right to open one, which `give_up` or
        `forget` ends.

        Raises:
            ConnectFailed: too many wait already.
        """
        while True:
            if (connection := self.idle(key)) is not None:
                return connection
            origin = self._origins.setdefault(key, _Origin[C]())
            if self._room(origin) and not origin.waiting:
                self._take(origin)
                return None
            granted = await self._turn(key, origin)
            if granted is None or not granted.lost:
                return granted

    def release(self, connection: C) -> None:
        """A connection that can be used again."""
        key = connection.key
        origin = self._origins[key]
        if self._hand(key, origin, connection):
            return
        origin.idle.append(connection)
        if self._wanted and self._open >= self._limit:
            connection.abort()  # others wait for its place

    def forget(self, connection: C) -> None:
        """A connection that is closed."""
        origin = self._origins[connection.key]
        if connection in origin.idle:
            origin.idle.remove(connection)
        self.give_up(connection.key)

    def give_up(self, key: Hashable) -> None:
        """A place that is not used any more."""
        origin = self._origins[key]
        self._open -= 1
        origin.open -= 1
        self._grant()
        self._settle(key, origin)

    def _room(self, origin: _Origin[C]) -> bool:
        return self._open < self._limit and origin.open < self._per_origin

    def _take(self, origin: _Origin[C]) -> None:
        self._open += 1
        origin.open += 1

    async def _turn(self, key: Hashable, origin: _Origin[C]) -> C | None:
        if self._waiting >= MOST_WAITING:
            self._settle(key, origin)
            raise ConnectFailed(
                f"{MOST_WAITING:,} calls wait for a connection already; lower the concurrency"
            )
        turn: asyncio.Future[C | None] = asyncio.get_running_loop().create_future()
        origin.waiting.append(turn)
        self._wanted.setdefault(key, origin)
        self._waiting += 1
        if origin.open < self._per_origin:
            self._evict()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._return(key, turn.result())
            elif turn in origin.waiting:
                origin.waiting.remove(turn)
                self._settle(key, origin)
            raise
        finally:
            self._waiting -= 1

    def _return(self, key: Hashable, granted: C | None) -> None:
        """Somebody left with a turn in hand."""
        if granted is None:
            self.give_up(key)
        elif not granted.lost:
            self.release(granted)

    def _hand(self, key: Hashable, origin: _Origin[C], connection: C | None) -> bool:
        """Give the next who waits a turn; False when nobody does any more."""
        handed = False
        while origin.waiting and not handed:
            turn = origin.waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                handed = True
        self._settle(key, origin)
        return handed

    def _settle(self, key: Hashable, origin: _Origin[C]) -> None:
        """Forget what nobody waits for or uses."""
        if not origin.waiting:
            self._wanted.pop(key, None)
            if origin.open == 0:
                self._origins.pop(key, None)

    def _evict(self) -> None:
        """Close a connection that nobody uses, of whichever origin, for one that is wanted."""
        for origin in self._origins.values():
            if origin.idle:
                origin.idle.pop(0).abort()
                return

    def _grant(self) -> None:
        """Give free places to those who wait, one origin after another."""
        for key in list(self._wanted):
            if self._open >= self._limit:
                return
            origin = self._wanted[key]
            if origin.open < self._per_origin:
                self._take(origin)
                self._wanted.move_to_end(key)
                if not self._hand(key, origin, None):
                    self._open -= 1
                    origin.open -= 1
                    self._settle(key, origin)
