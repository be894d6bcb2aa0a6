"""A worker's way to the database, which may be away for a while."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import asyncpg
import structlog

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.postgres import AWAY, Database, passes
from tiebreak.runs.leases import BY_INDEX

Answer = TypeVar("Answer")

MOST_KEPT: Final = 3  # one to claim, one to commit, one to renew
FIRST_WAIT: Final = 0.05  # seconds
LONGEST_WAIT: Final = 1.0

log = structlog.get_logger(__name__)


class Link:
    """Raw connections from the pool; while the database is away, it waits, and says so once.

    It keeps a few of them between questions: giving one back and taking it again costs a round trip each time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._kept: list[asyncpg.pool.PoolConnectionProxy] = []
        self._away = False

    async def once(self, question: Callable[[asyncpg.Connection], Awaitable[Answer]]) -> Answer:
        """Ask; whatever goes wrong is the caller's, and costs the connection."""
        pool = await self._database.pool()
        connection = await self._take(pool)
        whole = False
        try:
            answer = await question(connection)
            whole = True
        finally:
            if whole and len(self._kept) < MOST_KEPT:
                self._kept.append(connection)
            else:
                await pool.release(connection, timeout=self._database.config.pool_timeout)
        return answer

    async def _take(self, pool: asyncpg.Pool) -> asyncpg.pool.PoolConnectionProxy:
        while self._kept:
            connection = self._kept.pop()
            if not connection.is_closed():
                return connection
            await pool.release(connection)
        connection = await pool.acquire(timeout=self._database.config.pool_timeout)
        try:
            await connection.execute(BY_INDEX)  # the pool takes it back with the connection
        except BaseException:  # also a cancellation: the pool would miss it
            await pool.release(connection)
            raise
        return connection

    async def close(self) -> None:
        """Give the kept connections back; the pool cannot be closed before."""
        while self._kept:
            connection = self._kept.pop()
            with suppress(*AWAY):  # one that broke is dropped by the pool
                await (await self._database.pool()).release(
                    connection, timeout=self._database.config.pool_timeout
                )

    async def ask(self, question: Callable[[asyncpg.Connection], Awaitable[Answer]]) -> Answer:
        """Ask until the database answers; the caller bounds the time by cancelling."""
        wait = FIRST_WAIT
        while True:
            try:
                answer = await self.once(question)
            except AWAY as exc:
                if not passes(exc):
                    raise
                self.lost(exc)
                await self._clock.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
            else:
                self.found()
                return answer

    def lost(self, error: BaseException) -> None:
        """The database did not answer: one line in the log when that is new."""
        if not self._away:
            log.warning("database away", reason=str(error).split("\n", 1)[0] or type(error).__name__)
        self._away = True

    def found(self) -> None:
        """The database answered: one line in the log when that is new."""
        if self._away:
            log.info("database back")
        self._away = False
