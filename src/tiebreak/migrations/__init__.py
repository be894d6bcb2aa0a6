"""The schema's history, inside the package so that the wheel carries it, and the calls that move a database along it.

All calls block and open a connection of their own; from an event loop use `asyncio.to_thread`. Alembic is imported
when first needed.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tiebreak.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

T = TypeVar("T")
# Any number that no other advisory lock of ours has: "tieb" as bytes.
LOCK_KEY = 0x74696562
WAIT_FOR_MIGRATOR = "60s"
# Longer than this no migration waits for a table, since everybody else then waits behind it.
WAIT_FOR_TABLE = "2s"
CONNECT_SECONDS = 10.0


def head() -> str:
    """The newest revision in this package."""
    from alembic.script import ScriptDirectory

    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise Misconfigured("this installation of Tiebreak carries no migrations; install it again")
    return revision


def current(dsn: str) -> str | None:
    """The revision a database stands at, or None when it has never been migrated.

    Raises:
        Unavailable: the server does not answer.
    """
    return _with_connection(dsn, _revision)


def upgrade(dsn: str) -> None:
    """Bring a database to `head()`. Any number of callers may do so at once: one works, the others see it done.

    Everything happens in one transaction, so a failure leaves the old schema.

    Raises:
        Unavailable: the server does not answer, or a table was in use for longer than `WAIT_FOR_TABLE`.
        Misconfigured: the database was migrated by a newer Tiebreak.
    """
    _with_connection(dsn, _upgrade)


def require_head(dsn: str) -> None:
    """Refuse a database whose schema is not this installation's.

    Raises:
        Misconfigured: it is older (the message names the command) or newer.
        Unavailable: the server does not answer.
    """
    found, wanted = current(dsn), head()
    if found == wanted:
        return
    _refuse_newer(found)
    raise Misconfigured(
        f"the database's schema is at revision {found or 'none'} and this Tiebreak needs {wanted}; "
        "run `tiebreak db migrate`"
    )


def _refuse_newer(found: str | None) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise Misconfigured(
            f"the database's schema is at revision {found}, which this Tiebreak does not know; "
            "a newer one migrated it: install that version"
        )


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: "Connection") -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: "Connection") -> None:
    from alembic import command
    from sqlalchemy import text

    connection.execute(text(f"set local lock_timeout = '{WAIT_FOR_MIGRATOR}'"))
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    connection.execute(text(f"set local lock_timeout = '{WAIT_FOR_TABLE}'"))
    _refuse_newer(_revision(connection))
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _with_connection(dsn: str, action: "Callable[[Connection], T]") -> T:
    return asyncio.run(_connected(dsn, action))


async def _connected(dsn: str, action: "Callable[[Connection], T]") -> T:
    import asyncpg
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    from tiebreak.infrastructure.connections.postgres import engine_url

    arguments: dict[str, Any] = {"timeout": CONNECT_SECONDS}
    engine = create_async_engine(engine_url(dsn), poolclass=NullPool, connect_args=arguments)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(action)
    except (OSError, asyncpg.PostgresError, DBAPIError) as exc:
        reason = str(exc).splitlines()[0]
        raise Unavailable(
            f"the database could not be read or migrated ({reason}); nothing was changed: try again",
            retry_after=2.0,
        ) from exc
    finally:
        await engine.dispose()
