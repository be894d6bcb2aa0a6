"""Keeps a process's snapshot of the keys current: by NOTIFY within milliseconds, and by polling in any case.

While the database is away the last snapshot counts, at the start the one in the file.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from tiebreak.auth import files, store
from tiebreak.auth.keys import KeyText
from tiebreak.auth.model import Principal, Refusal
from tiebreak.auth.snapshot import NO_KEYS, KeySnapshot
from tiebreak.clock import Clock
from tiebreak.errors import Unavailable

POLL: Final = 5.0  # seconds
CONNECT_TIMEOUT: Final = 5.0  # seconds, as are the next
ANSWER_TIMEOUT: Final = 5.0
FIRST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0
# The statements are fixed, so whatever the server says against them passes or is its administrator's to mend.
AWAY: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

log = structlog.get_logger(__name__)


class KeyWatch:
    """The present snapshot and what was seen of its keys, current while `running`.

    `owner` is the key of this machine's owner; `home` the data folder in which the keys are kept for a start without
    the database.
    """

    def __init__(
        self, dsn: str, clock: Clock, *, owner: KeyText | None = None, home: Path | None = None
    ) -> None:
        self._dsn = dsn
        self._clock = clock
        self._owner = owner
        self._home = home
        self._connection: asyncpg.Connection | None = None
        self._changed = asyncio.Event()
        self._uses: dict[UUID, datetime] = {}  # of keys that were recognised, so no more than there are
        self._away = False
        self._mark: str | None = None
        self.snapshot = self._with_owner(NO_KEYS)

    def check(self, text: str) -> Principal | Refusal:
        """Who sends this key; remembers that it was used."""
        now = self._clock.now()
        found = self.snapshot.check(text, now)
        if isinstance(found, Principal) and found.key_id is not None:
            self._uses[found.key_id] = now
        return found

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the keys, from the file if the database is away, and keep them current until the block ends.

        Raises:
            Unavailable: the database does not answer at the start, and there is no file.
        """
        try:
            await self._refresh()
        except AWAY as exc:
            await self._from_file(exc)
        following = asyncio.create_task(self.run())
        following.add_done_callback(_say_if_broken)
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self.close()

    async def run(self) -> None:
        """Stay current until cancelled, from a database that may be away at first: `running` without its first load."""
        wait = FIRST_WAIT
        while True:
            try:
                await self._refresh()
            except AWAY as exc:
                self._lost(exc)
                await self._clock.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
                continue
            if self._away:
                log.info("database back; API keys are current")
            self._away, wait = False, FIRST_WAIT
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._changed.wait()

    async def close(self) -> None:
        """Write the last uses, if the database takes them, and leave."""
        try:
            if self._connection is not None and not self._connection.is_closed():
                await self._flush(self._connection)
                await self._connection.close(timeout=ANSWER_TIMEOUT)
        except AWAY:
            self._drop()  # the server went first
        self._connection = None

    async def _refresh(self) -> None:
        """Load everything again. The event is cleared before, so that a change meanwhile is not missed."""
        try:
            session = await self._session()
            self._changed.clear()
            # Thousands of keys take milliseconds to load, which nobody should wait for at every poll.
            if (mark := await store.fingerprint(session)) != self._mark:
                await self._take(await store.load(session))
                self._mark = mark
            await self._flush(session)
        except BaseException:  # also a cancellation: half an answer would spoil the session
            self._drop()
            raise

    async def _take(self, loaded: KeySnapshot) -> None:
        self.snapshot = self._with_owner(loaded)
        if self._home is not None:
            try:
                await asyncio.to_thread(files.save_snapshot, loaded, self._home)
            except OSError as exc:
                log.warning(
                    "the API keys could not be kept for a start without the database", reason=str(exc)
                )

    async def _from_file(self, error: BaseException) -> None:
        kept = None if self._home is None else await asyncio.to_thread(files.load_snapshot, self._home)
        if kept is None:
            raise Unavailable(
                f"the API keys cannot be read: the database does not answer ({_reason(error)}); try again",
                retry_after=LONGEST_WAIT,
            ) from error
        self.snapshot = self._with_owner(kept)
        self._lost(error)

    def _lost(self, error: BaseException) -> None:
        if not self._away:
            log.warning("database away; the last known API keys count", reason=_reason(error))
        self._away = True

    async def _flush(self, session: asyncpg.Connection) -> None:
        uses, self._uses = self._uses, {}
        try:
            if uses:
                await store.note_uses(session, uses)
        except BaseException:  # also a cancellation: what was not written is kept for the next time
            self._uses = uses | self._uses
            raise

    async def _session(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn, timeout=CONNECT_TIMEOUT, command_timeout=ANSWER_TIMEOUT
            )
            # A lost session hears nothing more: it is replaced at once and not at the next poll.
            self._connection.add_termination_listener(lambda _: self._changed.set())
            await self._connection.add_listener(store.CHANNEL, lambda *_: self._changed.set())
        return self._connection

    def _with_owner(self, snapshot: KeySnapshot) -> KeySnapshot:
        return snapshot if self._owner is None else snapshot.with_owner(self._owner)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _say_if_broken(following: asyncio.Task[None]) -> None:
    if not following.cancelled() and (error := following.exception()) is not None:
        log.error("API keys are not kept current any more; restart the server", exc_info=error)


def _reason(error: BaseException) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__
