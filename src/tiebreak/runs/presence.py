"""A worker's own session: by its advisory lock the others know that it lives, and on it the worker hears of work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from tiebreak.runs import budget
from tiebreak.runs.leases import CHANNEL

LOCK_CLASS: Final = 0x7B7EA4  # any number; "tiebreak" to nobody else in this database
CONNECT_TIMEOUT: Final = 5.0  # seconds, as is the next
ANSWER_TIMEOUT: Final = 10.0

# Shared, so that every worker can hold it; PostgreSQL gives it back when the session ends, however it ends.
BE_SEEN = "select pg_advisory_lock_shared($1, 0)"

# The workers alive, and how many of them stand before this one.
COMPANY = """
select count(*)::int as workers, (count(*) filter (where pid < pg_backend_pid()))::int as rank
from pg_locks
where locktype = 'advisory' and classid = $1 and objid = 0 and objsubid = 2 and granted
  and database = (select oid from pg_database where datname = current_database())
"""

# What there is to do; the oldest run first.
RUNNING = """
select id, dataset_version_id, concurrency, max_cost_nano, cost_nano, max_requests, calls, max_seconds,
    active_ms + (extract(epoch from now() - resumed_at) * 1000)::bigint as active_ms, done >= total as complete
from runs
where state = 'running'
order by created_at, id
limit 100
"""


@dataclass(frozen=True, slots=True)
class RunningRun:
    """A run in the state running, as the beat saw it. Money in nano-dollars."""

    id: UUID
    dataset_version_id: UUID
    concurrency: int
    max_cost_nano: int | None
    cost_nano: int
    max_requests: int | None
    calls: int
    max_seconds: int | None
    active_ms: int
    complete: bool

    @property
    def overdue(self) -> bool:
        """Whether it should have stopped: complete, or over a limit that was lowered or that time has reached."""
        return self.complete or (
            budget.reached(
                max_cost_nano=self.max_cost_nano,
                cost_nano=self.cost_nano,
                max_requests=self.max_requests,
                calls=self.calls,
                max_seconds=self.max_seconds,
                active_ms=self.active_ms,
            )
            is not None
        )


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker sees when it looks around: the runs to work on, and its place among the workers."""

    runs: tuple[RunningRun, ...]
    workers: int
    rank: int


class Presence:
    """The session; opened on the first beat and again after it broke."""

    def __init__(self, dsn: str, wake: Callable[[], None]) -> None:
        self._dsn = dsn
        self._wake = wake
        self._connection: asyncpg.Connection | None = None

    async def _session(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            connection = await asyncpg.connect(
                self._dsn, timeout=CONNECT_TIMEOUT, command_timeout=ANSWER_TIMEOUT
            )
            self._connection = connection
            await connection.execute(BE_SEEN, LOCK_CLASS)
            await connection.add_listener(CHANNEL, lambda *_: self._wake())
        return self._connection

    async def beat(self) -> Beat:
        """Look around; raises as the driver does when the database is away."""
        try:
            session = await self._session()
            company = await session.fetchrow(COMPANY, LOCK_CLASS)
            rows = await session.fetch(RUNNING)
        except BaseException:  # also a cancellation
            self._drop()  # half a session would hold no lock and hear nothing
            raise
        return Beat(tuple(RunningRun(*row) for row in rows), company["workers"], company["rank"])

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Leave the company of workers."""
        try:
            if self._connection is not None and not self._connection.is_closed():
                await self._connection.close(timeout=ANSWER_TIMEOUT)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._drop()  # the server went first
        self._connection = None
