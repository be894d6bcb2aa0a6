"""What the record needs from time to time: partitions ahead, old days dropped, tests recounted. One process does it."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.postgres import AWAY, passes
from tiebreak.observations import partitions
from tiebreak.observations.model import first_id
from tiebreak.observations.refold import refold

CONNECT_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 3600.0  # a recount reads every event of a test

# Held by the session: whoever has it does the work, and loses it however it ends.
BE_THE_ONE: Final = "select pg_try_advisory_lock(7595436203)"

# Feedback that the recount of a test with all its events still needs stays.
DROP_FEEDBACK: Final = """
delete from feedback f
where f.id < $1 and not exists (
    select from observed_tests o where o.test_id = f.counted_test and o.first_event >= $1
)
"""
DROP_OFFSETS: Final = "delete from spool_offsets where moved_at < $1"
DROP_REFOLDS: Final = "delete from refolds where at < $1"
FORGET_DELETED: Final = tuple(
    "delete from @table t where not exists (select from tests where id = t.test_id)".replace("@table", table)
    for table in ("unit_sums", "unit_scores", "arm_moments", "refolds", "observed_tests")
)
DUE: Final = """
select o.test_id from observed_tests o
where not exists (select from refolds r where r.test_id = o.test_id and r.at > $1)
order by o.test_id
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UpkeepConfig:
    """Every test is recounted once in `refold_hours`."""

    retention_days: int = 30
    look_seconds: float = 600.0
    refold_hours: float = 24.0


class Upkeep:
    """Runs in any number of processes; one of them works."""

    def __init__(self, *, dsn: str, clock: Clock, config: UpkeepConfig | None = None) -> None:
        self._dsn = dsn
        self._clock = clock
        self._config = config or UpkeepConfig()
        self._stopping = asyncio.Event()
        self._away = False

    def stop(self) -> None:
        """`run()` returns after what it is doing."""
        self._stopping.set()

    async def run(self) -> None:
        """Look now and every `look_seconds`, until `stop()` or until cancelled."""
        while not self._stopping.is_set():
            try:
                await self.once()
            except AWAY as exc:
                if not passes(exc):
                    raise
                self._lost(exc)
            else:
                self._away = False
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.look_seconds):
                    await self._stopping.wait()

    def _lost(self, error: BaseException) -> None:
        if not self._away:
            log.warning(
                "upkeep of the record waits", reason=str(error).split("\n", 1)[0] or type(error).__name__
            )
        self._away = True

    async def once(self) -> bool:
        """Do what is due; False when another process is at it.

        Raises:
            Exception: one of `AWAY`, when the database does not answer or a table was in use too long.
        """
        connection = await asyncpg.connect(
            self._dsn, timeout=CONNECT_SECONDS, command_timeout=STATEMENT_SECONDS
        )
        try:
            if not await connection.fetchval(BE_THE_ONE):
                return False
            await self._tend(connection)
        finally:
            connection.terminate()  # nothing is open on it, and it may be broken
        return True

    async def _tend(self, connection: asyncpg.Connection) -> None:
        now = self._clock.now()
        days = {(now + timedelta(days=ahead)).date() for ahead in range(partitions.AHEAD + 1)}
        await partitions.ensure_days(connection, days)
        await self._drop_old(connection, now)
        for row in await connection.fetch(DUE, now - timedelta(hours=self._config.refold_hours)):
            if self._stopping.is_set():
                return
            found = await refold(connection, row["test_id"])
            if found.differences:
                log.error(
                    "the sums of a test did not agree with its events and were put right",
                    test=str(row["test_id"]),
                    differences=len(found.differences),
                )

    async def _drop_old(self, connection: asyncpg.Connection, now: datetime) -> None:
        oldest = now - timedelta(days=self._config.retention_days)
        if dropped := await partitions.drop_before(connection, oldest.date()):
            log.info("days beyond the retention were dropped", partitions=dropped)
        await connection.execute(DROP_FEEDBACK, first_id(oldest))
        await connection.execute(DROP_OFFSETS, oldest)
        await connection.execute(DROP_REFOLDS, oldest)
        for statement in FORGET_DELETED:
            await connection.execute(statement)
