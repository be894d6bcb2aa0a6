"""Keeps a process's snapshot current: by NOTIFY within milliseconds, by polling in any case, and from the last file while
the database is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from tiebreak.clock import Clock
from tiebreak.errors import Unavailable
from tiebreak.experiments import store as experiments
from tiebreak.gateway import material
from tiebreak.gateway.material import Material
from tiebreak.gateway.snapshot import Snapshot, build
from tiebreak.infrastructure.connections.postgres import AWAY, Database, passes
from tiebreak.providers import store as providers
from tiebreak.providers.secrets import Keyring

CHANNELS: Final = (experiments.CHANNEL, providers.CHANNEL)
POLL: Final = 5.0  # seconds, as are the next
CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 10.0
FIRST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0

log = structlog.get_logger(__name__)


class Following:
    """The present snapshot, current while `running`."""

    def __init__(self, database: Database, keyring: Keyring, home: Path, clock: Clock) -> None:
        self.snapshot = Snapshot()
        self._database = database
        self._keyring = keyring
        self._home = home
        self._clock = clock
        self._material: Material | None = None
        self._changed = asyncio.Event()
        self._listening: asyncpg.Connection | None = None
        self._away = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Begin with what the database says, or with the file if it is away, and follow until the block ends."""
        try:
            await self._refresh()
        except AWAY as exc:
            if not passes(exc):
                raise
            await self._from_file(exc)
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            self._drop()

    async def _from_file(self, error: BaseException) -> None:
        kept = await asyncio.to_thread(material.load, self._home)
        self._lost(error)
        if kept is None:
            log.error("there is no snapshot to serve from; the gateway knows no provider and no test yet")
        else:
            await self._take(kept)

    async def _follow(self) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                await self._listen()
                await self._refresh()
            except AWAY as exc:
                if not passes(exc):
                    raise
                self._drop()
                self._lost(exc)
                await self._clock.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
                continue
            self._found()
            wait = FIRST_WAIT
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._changed.wait()

    async def _listen(self) -> None:
        if self._listening is not None and not self._listening.is_closed():
            return
        self._listening = await asyncpg.connect(
            self._database.config.dsn, timeout=CONNECT_TIMEOUT, command_timeout=CONNECT_TIMEOUT
        )
        # A lost session hears nothing more: it is replaced at once and not at the next poll.
        self._listening.add_termination_listener(lambda _: self._changed.set())
        for channel in CHANNELS:
            await self._listening.add_listener(channel, lambda *_: self._changed.set())

    async def _refresh(self) -> None:
        """Read everything again. The event is cleared before, so that a change meanwhile is not missed."""
        self._changed.clear()
        async with asyncio.timeout(READ_TIMEOUT), self._database.transaction() as tx:
            read = await material.read(tx)
        if read != self._material:
            await self._take(read)
            try:
                await asyncio.to_thread(material.save, read, self._home)
            except OSError as exc:
                log.warning("the gateway's snapshot could not be kept for a restart", reason=str(exc))

    async def _take(self, read: Material) -> None:
        self.snapshot = await asyncio.to_thread(build, read, self._keyring)
        self._material = read
        for name, why in self.snapshot.broken.items():
            log.warning("cannot be served", what=name, reason=why)

    def _lost(self, error: BaseException) -> None:
        if not self._away:
            reason = error.detail if isinstance(error, Unavailable) else str(error) or type(error).__name__
            log.warning("database away; the last known tests and providers are served", reason=reason)
        self._away = True

    def _found(self) -> None:
        if self._away:
            log.info("database back; tests and providers are current")
        self._away = False

    def _drop(self) -> None:
        if self._listening is not None:
            self._listening.terminate()
            self._listening = None
