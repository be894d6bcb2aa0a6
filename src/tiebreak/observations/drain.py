"""From the spools of this data folder into PostgreSQL: live workers' and dead ones', in batches, each record once.

A folder is drained by whoever holds its `drain.lock`. While the database is away the spools grow; the drain says so once
and goes on when it is back.
"""

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.postgres import AWAY, passes
from tiebreak.infrastructure.connections.private_postgres.locks import FileLock
from tiebreak.observations import landing, partitions
from tiebreak.observations.landing import Offset, Stretch
from tiebreak.observations.model import Record, decode, last_id
from tiebreak.observations.records import MARK, Tail
from tiebreak.observations.rows import Rows, rows_of
from tiebreak.observations.segments import (
    DRAIN_LOCK,
    Segment,
    folders,
    owner_lives,
    read,
    segment_path,
    segments,
)

CONNECT_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 60.0
# A value that PostgreSQL, the driver or the calendar does not take, in one record or another.
_WRONG: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, OverflowError, ValueError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DrainConfig:
    """`batch` counts records; a smaller one goes after `pause_seconds`."""

    batch: int = 4000
    pause_seconds: float = 0.25
    away_seconds: float = 0.5
    retention_days: int = 30


@dataclass(frozen=True, slots=True)
class Lag:
    """What waits in the spools, and for how long at most."""

    bytes: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class _Source:
    """The folder of one worker, while it is ours."""

    worker: UUID
    folder: Path
    lock: FileLock
    clear_at: float  # when nothing was left, on the monotonic clock
    offset: Offset | None = None  # None: ask the database
    waiting: int = 0


@dataclass(slots=True)
class _Batch:
    """What was read of a folder, and where that ends."""

    end: Offset
    records: list[Record] = field(default_factory=list)
    taken: int = 0
    unreadable: int = 0
    torn: int = 0
    torn_bytes: int = 0
    full: bool = False


class Drain:
    """Counts since it began: `landed` events that were new, `torn` tails, `lost` records nobody could read or keep.

    `away` says that the last look met no database; `lag` what waits.
    """

    def __init__(self, *, dsn: str, root: Path, clock: Clock, config: DrainConfig | None = None) -> None:
        self._dsn = dsn
        self._root = root
        self._clock = clock
        self._config = config or DrainConfig()
        self._connection: asyncpg.Connection | None = None
        self._sources: dict[UUID, _Source] = {}
        self._days: set[date] = set()
        self.away = False
        self._stopping = asyncio.Event()
        self.lag = Lag()
        self.landed = self.torn = self.lost = 0

    def stop(self) -> None:
        """`run()` takes over what is there, once, and returns."""
        self._stopping.set()

    async def run(self) -> None:
        """Drain until `stop()` or until cancelled."""
        try:
            while True:
                last = self._stopping.is_set()
                pause = await self._pass()
                if last:
                    return
                if pause > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._stopping.wait()
        finally:
            await self._close()

    async def _pass(self) -> float:
        """Look at every folder; the answer is how long to wait for the next look."""
        try:
            more = await self.once()
        except AWAY as exc:
            if not passes(exc):
                raise
            self._lost(exc)
            self._measure()
            return self._config.away_seconds
        if self.away:
            self.away = False
            log.info("the spools are drained again", bytes=self.lag.bytes)
        return 0.0 if more else self._config.pause_seconds

    async def once(self) -> bool:
        """Take one batch of every folder; whether there is more at once.

        Raises:
            Exception: one of `AWAY`, when the database does not answer; nothing is lost, and nothing counted twice.
        """
        self._find_folders()
        more = False
        for source in list(self._sources.values()):
            more |= await self._take(source)
        self._measure()
        return more

    def _find_folders(self) -> None:
        for worker, folder in folders(self._root):
            if worker not in self._sources:
                with suppress(FileNotFoundError):  # drained and removed by somebody else
                    lock = FileLock(folder / DRAIN_LOCK)
                    if lock.try_exclusive():
                        self._sources[worker] = _Source(worker, folder, lock, self._clock.monotonic())
                    else:
                        lock.close()

    async def _take(self, source: _Source) -> bool:
        connection = await self._connected()
        if source.offset is None:
            source.offset = await landing.offset_of(connection, source.worker)
        # Asked in this order: what a dead worker wrote is all there, what a live one writes may come later.
        alive = owner_lives(source.folder)
        found = segments(source.folder)
        batch = await asyncio.to_thread(
            _read, found, source.offset, self._config.batch, alive=alive, folder=source.folder
        )
        if batch.end != source.offset:
            if not await self._land(connection, batch, Stretch(source.worker, source.offset, batch.end)):
                source.offset = None  # somebody else took it
                return True
            source.offset = batch.end
            self._count(source, batch)
        if not batch.full:
            source.clear_at = self._clock.monotonic()
        for segment in found:
            if segment.number < batch.end.segment:
                segment.path.unlink(missing_ok=True)
        if not alive and not batch.full:
            await self._bury(connection, source)
        return batch.full

    async def _land(self, connection: asyncpg.Connection, batch: _Batch, stretch: Stretch) -> bool:
        try:
            rows = await asyncio.to_thread(rows_of, batch.records, *self._span())
            await self._ensure(connection, rows.days)
            new = await landing.land(connection, rows, stretch)
        except _WRONG as exc:
            log.error("a batch holds a value that cannot be kept", reason=str(exc).split("\n", 1)[0])
            self._days.clear()
            await self._salvage(connection, batch.records)
            rows = Rows()
            new = await landing.land(connection, rows, stretch)
        if new is None:
            return False
        self.landed += new
        self._strange(rows)
        return True

    async def _salvage(self, connection: asyncpg.Connection, records: Sequence[Record]) -> None:
        """Land by halves, so that one wrong record costs no other; replays count nothing twice."""
        try:
            rows = rows_of(records, *self._span())
            await self._ensure(connection, rows.days)
            self.landed += await landing.land(connection, rows) or 0
            self._strange(rows)
        except _WRONG as exc:
            if len(records) > 1:
                half = len(records) // 2
                await self._salvage(connection, records[:half])
                await self._salvage(connection, records[half:])
            else:
                self.lost += 1
                log.error(
                    "a record cannot be kept", id=records[0].id.hex(), reason=str(exc).split("\n", 1)[0]
                )

    def _span(self) -> tuple[bytes, bytes]:
        """The ids that have a place: from the beginning of the retention until tomorrow, for clocks that differ."""
        now = self._clock.now()
        begin = partitions.day_bounds((now - timedelta(days=self._config.retention_days)).date())[0]
        return begin.bytes, last_id(now + timedelta(days=1)).bytes

    async def _ensure(self, connection: asyncpg.Connection, days: set[date]) -> None:
        if days - self._days:
            await partitions.ensure_days(connection, days)
            self._days = (self._days | days) if len(self._days) < 1000 else set(days)

    def _strange(self, rows: Rows) -> None:
        if rows.strange:
            self.lost += rows.strange
            log.error(
                "records outside of the time that is kept were left out",
                records=rows.strange,
                retention_days=self._config.retention_days,
            )

    def _count(self, source: _Source, batch: _Batch) -> None:
        self.torn += batch.torn
        self.lost += batch.unreadable
        if batch.torn:
            log.warning("a torn tail was cut", worker=str(source.worker), bytes=batch.torn_bytes)
        if batch.unreadable:
            log.error("records that this version cannot read were left out", records=batch.unreadable)

    async def _bury(self, connection: asyncpg.Connection, source: _Source) -> None:
        """A dead worker's folder is empty: nothing of it is needed any more."""
        shutil.rmtree(source.folder, ignore_errors=True)
        source.lock.close()
        del self._sources[source.worker]
        await landing.forget_offset(connection, source.worker)
        log.info("the spool of a worker that ended is drained", worker=str(source.worker))

    def _measure(self) -> None:
        now = self._clock.monotonic()
        waiting, seconds = 0, 0.0
        for source in self._sources.values():
            offset = source.offset or Offset()
            left = sum(_left(segment, offset) for segment in segments(source.folder))
            waiting += left
            if left:
                seconds = max(seconds, now - source.clear_at)
        self.lag = Lag(waiting, seconds)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            connection = await asyncpg.connect(
                self._dsn, timeout=CONNECT_SECONDS, command_timeout=STATEMENT_SECONDS
            )
            try:
                await landing.prepare(connection)
            except BaseException:  # also a cancellation
                connection.terminate()
                raise
            self._connection = connection
        return self._connection

    def _lost(self, error: BaseException) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        for source in self._sources.values():
            source.offset = None  # a commit may have gone through without its answer
        if not self.away:
            reason = str(error).split("\n", 1)[0] or type(error).__name__
            log.warning("the spools cannot be drained for now and grow meanwhile", reason=reason)
        self.away = True

    async def _close(self) -> None:
        for source in self._sources.values():
            source.lock.close()
        self._sources.clear()
        if self._connection is not None:
            try:
                await self._connection.close(timeout=CONNECT_SECONDS)
            except AWAY:  # the server went first
                self._connection.terminate()
            self._connection = None


def _left(segment: Segment, offset: Offset) -> int:
    """The bytes of a segment that have not landed."""
    if segment.number < offset.segment:
        return 0
    begin = offset.position if segment.number == offset.segment else 0
    return max(0, segment.size - max(begin, len(MARK)))


def _read(found: Sequence[Segment], begin: Offset, most: int, *, alive: bool, folder: Path) -> _Batch:
    """Up to `most` records from `begin` on; behind a segment that nobody writes any more, at the next one."""
    batch = _Batch(begin)
    for segment in found:
        if segment.number < begin.segment:
            continue
        ended = not alive or segment is not found[-1]
        position = begin.position if segment.number == begin.segment else 0
        try:
            position, tail = _read_segment(segment.path, position, most, batch)
        except FileNotFoundError:  # somebody else drained it: the offset in the database will say so
            return batch
        batch.full = batch.taken >= most
        batch.end = Offset(segment.number, position)
        if batch.full or not ended:
            break
        if (
            tail is not Tail.CLEAN
            and (size := segment_path(folder, segment.number).stat().st_size) > position
        ):
            batch.torn += 1
            batch.torn_bytes += size - position
        batch.end = Offset(segment.number + 1, 0)
    return batch


def _read_segment(path: Path, position: int, most: int, batch: _Batch) -> tuple[int, Tail]:
    while True:
        chunk = read(path, position, most - batch.taken)
        position = chunk.end
        if not chunk.payloads:
            return position, chunk.tail
        batch.taken += len(chunk.payloads)
        for payload in chunk.payloads:
            try:
                batch.records.append(decode(payload))
            except msgspec.DecodeError:
                batch.unreadable += 1
