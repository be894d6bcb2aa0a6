"""Identical streams at the same time are one stream: followers replay what came, then follow."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from tiebreak.infrastructure.resilience.failures import own_copy
from tiebreak.infrastructure.resilience.single_flight import CallStopped

K = TypeVar("K", bound=Hashable)
F = TypeVar("F")

MOST_KEPT: Final = 65_536
AHEAD: Final = 16_384


class FellBehind(Exception):
    """This reader was so much slower than another one of the same stream that its next frames are gone."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """In the unit of `weigh`, bytes for instance; an empty frame counts as 1.

    A stream keeps at most `most_kept` of what its fastest reader has read, for followers and slower readers, and is read
    at most `ahead` beyond that reader; one frame may come on top.
    """

    most_kept: int = MOST_KEPT
    ahead: int = AHEAD


class _Stream(Generic[F]):
    """The frames of one upstream call, and how far each reader is. All positions count frames from the first."""

    def __init__(
        self, source: Callable[[], AsyncGenerator[F, None]], weigh: Callable[[F], int], limits: StreamLimits
    ) -> None:
        self._source = source
        self._weigh: Callable[[F], int] = lambda frame: max(1, weigh(frame))
        self._limits = limits
        self._frames: deque[F] = deque()
        self._first = 0  # the position of the oldest frame kept
        self._kept = 0
        self._came = 0
        self._fastest = 0  # how many frames, and how much, the fastest reader has read
        self._fastest_weight = 0
        self._demand = asyncio.Event()
        self.ended = False
        self.error: BaseException | None = None
        self.readers: set[Subscription[F]] = set()

    @property
    def replayable(self) -> bool:
        """Every frame since the first is still there."""
        return self._first == 0

    async def pump(self) -> None:
        """Read the source to its end, never far ahead of the fastest reader."""
        async with aclosing(self._source()) as frames:
            async for frame in frames:
                self._append(frame)
                while self._came - self._fastest_weight >= self._limits.ahead:
                    self._demand.clear()
                    await self._demand.wait()

    def end(self, error: BaseException | None) -> None:
        """No frame comes any more, because of `error` if there is one."""
        self.ended = True
        self.error = error
        self._wake()

    def frame(self, position: int) -> F | None:
        """The frame there; None when it has not come.

        Raises:
            FellBehind: it is gone.
        """
        if position < self._first:
            raise FellBehind(
                f"frame {position + 1} of a shared stream is gone: another reader is more than "
                f"{self._limits.most_kept} ahead; read faster or ask without sharing"
            )
        index = position - self._first
        return self._frames[index] if index < len(self._frames) else None

    def has_read(self, reader: "Subscription[F]", frame: F) -> None:
        """One more frame is read by this reader."""
        reader.position += 1
        reader.weight += self._weigh(frame)
        if reader.position > self._fastest:
            self._fastest, self._fastest_weight = reader.position, reader.weight
            self._drop()
            self._demand.set()

    def leave(self, reader: "Subscription[F]") -> None:
        """One reader less."""
        self.readers.discard(reader)
        self._fastest = max((other.position for other in self.readers), default=self._fastest)
        self._fastest_weight = max((other.weight for other in self.readers), default=self._fastest_weight)

    def _append(self, frame: F) -> None:
        weight = self._weigh(frame)
        self._frames.append(frame)
        self._kept += weight
        self._came += weight
        self._drop()
        self._wake()

    def _drop(self) -> None:
        """Forget the oldest frames beyond the limit, but none that the fastest reader still needs. At the end all that is
        left stays for the slower ones."""
        while not self.ended and self._kept > self._limits.most_kept and self._first < self._fastest:
            self._kept -= self._weigh(self._frames.popleft())
            self._first += 1

    def _wake(self) -> None:
        for reader in self.readers:
            reader.news.set()


class Subscription(Generic[F]):
    """One reader's view of a stream: `async with streams.join(...) as frames: async for frame in frames:`.

    `led` says whether this reader's own call began the stream. Raises what the stream fails with, and FellBehind.
    """

    def __init__(self, stream: _Stream[F], leave: "Callable[[Subscription[F]], None]", *, led: bool) -> None:
        self._stream = stream
        self._leave = leave
        self.led = led
        self.position = 0
        self.weight = 0
        self.news = asyncio.Event()
        stream.readers.add(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> F:
        while True:
            frame = self._stream.frame(self.position)
            if frame is not None:
                self._stream.has_read(self, frame)
                return frame
            if self._stream.ended:
                if self._stream.error is not None:
                    raise own_copy(self._stream.error)
                raise StopAsyncIteration
            self.news.clear()
            await self.news.wait()


class SharedStreams(Generic[K, F]):
    """Shares streams by key while they run; keeps nothing afterwards. Belongs to one event loop.

    Any reader may leave, the first one too; when the last one leaves, the source is cancelled and closed. The source is read
    as fast as the fastest reader reads, so one slow reader alone slows it down, and beside a fast one it fails instead of slowing
    that one. A caller that comes when the first frames are gone already begins a stream of its own, and so does one that comes
    when `most` keys are being shared. The source must have its own deadline. No frame may be None.
    """

    def __init__(
        self,
        *,
        weigh: Callable[[F], int],
        limits: StreamLimits | None = None,
        most: int = 10_000,
    ) -> None:
        self._weigh = weigh
        self._limits = limits or StreamLimits()
        self._most = most
        self._streams: dict[K, _Stream[F]] = {}
        self._pumps: dict[_Stream[F], asyncio.Task[None]] = {}

    @property
    def in_flight(self) -> int:
        """How many sources are being read, those included that were just cancelled and are ending."""
        return len(self._pumps)

    def join(self, key: K, source: Callable[[], AsyncGenerator[F, None]]) -> Subscription[F]:
        """A view of the stream under this key, from its first frame; `source` begins it if there is none.

        The key must hold everything that makes two callers different: tenant, credential and the whole request.
        """
        running = self._streams.get(key)
        if running is not None and running.replayable:
            return Subscription(running, partial(self._left, key, running), led=False)
        stream = _Stream(source, self._weigh, self._limits)
        if running is not None or len(self._streams) < self._most:
            self._streams[key] = stream
        pump = self._pumps[stream] = asyncio.ensure_future(stream.pump())
        pump.add_done_callback(partial(self._ended, key, stream))
        return Subscription(stream, partial(self._left, key, stream), led=True)

    async def close(self) -> None:
        """Cancel what is being read and wait for its end."""
        pumps = list(self._pumps.values())
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    def _left(self, key: K, stream: _Stream[F], reader: Subscription[F]) -> None:
        stream.leave(reader)
        pump = self._pumps.get(stream)
        if pump is not None and not stream.readers:
            self._forget(key, stream)  # whoever comes now begins anew
            pump.cancel()

    def _ended(self, key: K, stream: _Stream[F], pump: "asyncio.Task[None]") -> None:
        del self._pumps[stream]
        self._forget(key, stream)
        if pump.cancelled():
            stream.end(CallStopped("the stream that several callers shared was stopped before its end"))
        else:
            stream.end(pump.exception())

    def _forget(self, key: K, stream: _Stream[F]) -> None:
        if self._streams.get(key) is stream:
            del self._streams[key]
