"""What goes through this process's providers: counted in memory, written to the database every two seconds.

A count whose commit was acknowledged by a connection that broke is written again; nothing else is counted twice.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from tiebreak.clock import Clock
from tiebreak.ids import new_id
from tiebreak.infrastructure.connections.postgres import AWAY, Database, passes
from tiebreak.providers import activity_store as store
from tiebreak.providers.account import Account
from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.model import Failure, Origin, Usage
from tiebreak.providers.tally import MOST_KEYS, Pending, Tally

FLUSH_SECONDS: Final = 2.0
RENEW_SECONDS: Final = 10.0  # how often circuits in which nothing happens are shown to be alive
SWEEP_SECONDS: Final = 60.0
PATIENCE: Final = 5.0  # seconds one flush may take
MINUTE: Final = timedelta(minutes=1)

log = structlog.get_logger(__name__)


class Activity:
    """One per process; belongs to one event loop. Counting waits for nothing; `run` writes until it is cancelled, and
    `close` writes the rest."""

    def __init__(self, database: Database, clock: Clock, *, most_keys: int = MOST_KEYS) -> None:
        self._database = database
        self._clock = clock
        self._process = new_id()
        self._most = most_keys
        self._fresh: dict[tuple[UUID, str], Tally] = {}  # of the present minute
        self._pending = Pending(most_keys)
        self._circuits: Callable[[], Sequence[CircuitState]] = tuple
        self._told: list[CircuitState] = []
        self._told_at = self._swept_at = clock.monotonic()
        self._writing = asyncio.Lock()
        self._away = False
        self._begin_minute()

    def watch(self, circuits: Callable[[], Sequence[CircuitState]]) -> None:
        """Where to ask how this process stands to its providers."""
        self._circuits = circuits

    def attempted(
        self,
        account: Account,
        model: str,
        failure: Failure | None,
        seconds: float,
        usage: Usage | None,
        *,
        retry: bool,
    ) -> None:
        """An attempt on the wire has ended; `usage` is what it is billed for, `seconds` how long it took."""
        self._tally(account, model).attempted(failure, seconds, usage, retry=retry)

    def shared(self, account: Account, model: str, origin: Origin) -> None:
        """A request was answered without a call of its own."""
        tally = self._tally(account, model)
        if origin is Origin.CACHE:
            tally.cached += 1
        else:
            tally.joined += 1

    def refused(self, account: Account, model: str) -> None:
        """The breaker or a full queue kept an attempt from the wire."""
        self._tally(account, model).refused += 1

    def _tally(self, account: Account, model: str) -> Tally:
        if self._clock.monotonic() >= self._minute_ends:
            self._gather()
        key = (account.provider_id, model)
        tally = self._fresh.get(key)
        if tally is None:
            if len(self._fresh) >= self._most:
                self._gather()
            tally = self._fresh[key] = Tally()
        return tally

    def _gather(self) -> None:
        """Put away what was counted since the last time, under the minute in which that began."""
        for (provider_id, model), tally in self._fresh.items():
            self._pending.add(provider_id, self._minute, model, tally)
        self._fresh = {}
        self._begin_minute()

    def _begin_minute(self) -> None:
        now = self._clock.now()
        self._minute = now.replace(second=0, microsecond=0)
        self._minute_ends = self._clock.monotonic() + (self._minute + MINUTE - now).total_seconds()

    async def run(self) -> None:
        """Write every two seconds, until cancelled."""
        while True:
            await self._clock.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> bool:
        """Write what there is to write. False when the database is away: then everything is kept for the next time."""
        async with self._writing:
            self._gather()
            batch, self._pending = self._pending, Pending(self._most)
            written = False
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._write(batch, list(self._circuits()))
                written = True
            except AWAY as exc:
                if not passes(exc):
                    raise
                self._lost(exc)
            except asyncpg.PostgresError as exc:
                # The same rows would be refused every time, and nothing after them would ever be written.
                log.error("what went through providers cannot be stored and is not counted", reason=str(exc))
                written = True
            finally:
                if not written:
                    batch.absorb(self._pending)
                    self._pending = batch
            if written:
                self._found(batch.lost)
            return written

    async def _write(self, batch: Pending, circuits: list[CircuitState]) -> None:
        now = self._clock.monotonic()
        tell = circuits != self._told or (bool(circuits) and now - self._told_at >= RENEW_SECONDS)
        sweep = now - self._swept_at >= SWEEP_SECONDS
        if not (batch or tell or sweep):
            return
        pool = await self._database.pool()
        async with (
            pool.acquire(timeout=self._database.config.pool_timeout) as connection,
            connection.transaction(),
        ):
            if batch.hours:
                await store.add_hours(connection, batch.hours)
            if batch.minutes:
                await store.add_minutes(connection, batch.minutes)
            if tell:
                await store.replace_circuits(connection, self._process, circuits)
            if sweep:
                await store.forget(connection, self._clock.now())
        if tell:
            self._told, self._told_at = circuits, now
        if sweep:
            self._swept_at = now

    def _lost(self, error: BaseException) -> None:
        if not self._away:
            log.warning(
                "the database does not take what went through providers; it is kept and tried again",
                reason=str(error).split("\n", 1)[0] or type(error).__name__,
            )
        self._away = True

    def _found(self, lost: int) -> None:
        if self._away:
            log.info("what went through providers is stored again", requests_not_counted=lost)
        self._away = False

    async def close(self) -> None:
        """Write the rest, and that this process has no circuits any more. Does not cancel `run`: whoever started it does."""
        self._circuits = tuple
        await self.flush()
