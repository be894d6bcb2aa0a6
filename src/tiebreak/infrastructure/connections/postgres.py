"""Access to PostgreSQL: SQLAlchemy Core for management, raw asyncpg for the hot path (the lease table).

The edge commits: a route, a command or a worker opens one `transaction()` and hands it down; stores and services
never commit.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tiebreak.errors import Unavailable

# Shut down by its administrator, crashed, starting up, and every connection taken; class 08 is a connection lost.
_AWAY_STATES = frozenset({"57P01", "57P02", "57P03", "53300"})

# What passes by itself: lost or refused connections, a server that starts, stops or is out of room, a deadlock, a table
# that somebody else held for longer than we wait.
AWAY: Final = (
    Unavailable,
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what giving a connection back raises when it broke in that moment
)


def passes(error: BaseException) -> bool:
    """Whether asking again can help; a value that the driver cannot encode (a ValueError too) stays wrong."""
    return isinstance(error, AWAY) and not isinstance(error, ValueError)


def is_away(sqlstate: str | None) -> bool:
    """Whether an error says that the server is away for now, and not that the statement is wrong."""
    return sqlstate is not None and (sqlstate in _AWAY_STATES or sqlstate.startswith("08"))


def _away(cause: BaseException) -> Unavailable:
    reason = (str(cause) or type(cause).__name__).splitlines()[0]
    return Unavailable(
        f"the database does not answer ({reason}); it is tried again on the next request", retry_after=1.0
    )


@dataclass(frozen=True)
class PostgresConfig:
    """`dsn` is a libpq URL (`postgresql://…`, a Unix socket as `?host=/dir`); times in seconds."""

    dsn: str
    pool_size: int = 20
    max_overflow: int = 30
    pool_timeout: float = 2.0
    pool_recycle: float = 3600.0
    connect_timeout: float = 5.0
    statement_timeout: float = 30.0
    raw_pool_size: int = 10
    close_timeout: float = 10.0


def engine_url(dsn: str) -> str:
    """A libpq URL as SQLAlchemy wants it: with the driver in its scheme."""
    return f"postgresql+asyncpg://{dsn.partition('://')[2]}"


class Database:
    """Both ways into one database. Nothing connects before it is used; `close()` waits for what is checked out."""

    def __init__(self, config: PostgresConfig) -> None:
        self.config = config
        self._engine: AsyncEngine | None = None
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    @property
    def engine(self) -> AsyncEngine:
        """The SQLAlchemy engine, made on first use."""
        if self._engine is None:
            config = self.config
            self._engine = create_async_engine(
                engine_url(config.dsn),
                pool_size=config.pool_size,
                max_overflow=config.max_overflow,
                pool_timeout=config.pool_timeout,
                pool_recycle=config.pool_recycle,
                pool_pre_ping=True,
                pool_use_lifo=True,
                connect_args={"timeout": config.connect_timeout, "command_timeout": config.statement_timeout},
            )
        return self._engine

    async def pool(self) -> asyncpg.Pool:
        """The raw asyncpg pool, opened on first use.

        Raises:
            Unavailable: the server does not accept connections.
        """
        async with self._opening:
            if self._pool is None:
                try:
                    self._pool = await asyncpg.create_pool(
                        self.config.dsn,
                        min_size=1,
                        max_size=self.config.raw_pool_size,
                        timeout=self.config.connect_timeout,
                        command_timeout=self.config.statement_timeout,
                    )
                except (OSError, asyncpg.PostgresError, TimeoutError) as exc:
                    raise _away(exc) from exc
            return self._pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: commits when the block ends, rolls back when it raises.

        Raises:
            Unavailable: the server is away or every connection is in use for longer than `pool_timeout`.
        """
        async with AsyncExitStack() as stack:
            try:
                try:
                    connection = await stack.enter_async_context(self.engine.begin())
                except OSError as exc:  # only here: a caller's own file error must stay what it is
                    raise _away(exc) from exc
                yield connection
                await stack.aclose()
            except (PoolTimeout, ConnectionError, TimeoutError) as exc:
                raise _away(exc) from exc
            except DBAPIError as exc:
                if exc.connection_invalidated or is_away(getattr(exc.orig, "sqlstate", None)):
                    raise _away(exc.orig or exc) from exc
                raise

    async def close(self) -> None:
        """Give every connection back to the server; what is still in use after `close_timeout` is cut off."""
        if self._pool is not None:
            try:
                async with asyncio.timeout(self.config.close_timeout):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()
            self._pool = None
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None
