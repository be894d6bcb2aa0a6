"""What every test may ask for: a real PostgreSQL, a fresh database on it, and no way out of this machine."""

import asyncio
import ipaddress
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from tests.guardians import wait_until_gone

from tiebreak import migrations
from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig
from tiebreak.infrastructure.connections.private_postgres import PrivatePostgres


class OutsideNetwork(RuntimeError):
    """A test tried to reach another machine."""


def _stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("socket.connect", "socket.sendto"):
        return
    address = arguments[1]
    if not isinstance(address, tuple) or address[0] == "localhost":
        return
    if not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
        raise OutsideNetwork(f"{event} to {address[0]}: tests stay on this machine")


sys.addaudithook(_stay_here)


@dataclass(frozen=True)
class DatabaseServer:
    """A server for the whole session and the migrated database that each test gets a copy of."""

    dsn: str
    template: str

    def of(self, database: str) -> str:
        """The URL of another database on this server."""
        return urlunsplit(urlsplit(self.dsn)._replace(path=f"/{database}"))

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of a fresh, migrated database, which is dropped when the block ends well."""
        name = f"tiebreak_test_{secrets.token_hex(6)}"
        _run(lambda: _execute(self.dsn, f"create database {name} template {self.template}"))
        yield self.of(name)
        _run(lambda: _execute(self.dsn, f"drop database {name} with (force)"))


def _run(step: Callable[[], Coroutine[Any, Any, None]]) -> None:
    # In a thread of its own, because a test's event loop may exist in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(step())).result(timeout=60)


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement, timeout=30)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def database_server() -> Iterator[DatabaseServer]:
    """The server of `TEST_DATABASE_URL`, else a private one in a temporary folder, through the product's launcher."""
    given = os.environ.get("TEST_DATABASE_URL")
    home = Path(tempfile.mkdtemp(prefix="tb-"))
    server = None if given else PrivatePostgres.open(home, fsync=False)
    template = f"tiebreak_template_{secrets.token_hex(4)}"
    try:
        made = DatabaseServer(server.dsn if server else str(given), template)
        _run(lambda: _execute(made.dsn, f"create database {template}"))
        migrations.upgrade(made.of(template))
        yield made
        _run(lambda: _execute(made.dsn, f"drop database {template} with (force)"))
    finally:
        if server is not None:
            server.close()
            wait_until_gone(home)
        shutil.rmtree(home)


@pytest.fixture
def dsn(database_server: DatabaseServer) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    with database_server.fresh() as url:
        yield url


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """A `Database` on a fresh, migrated database."""
    opened = Database(PostgresConfig(dsn=dsn, pool_size=10, max_overflow=5, raw_pool_size=8))
    yield opened
    await opened.close()


@pytest.fixture
def data_home() -> Iterator[Path]:
    """A data folder whose private server every way of running it can enter; pytest's own folders are root's alone."""
    top = Path(tempfile.mkdtemp(prefix="tb-"))
    top.chmod(0o711)
    yield top / "home"
    wait_until_gone(top / "home")
    with suppress(FileNotFoundError):  # the last process takes its own files along in this moment
        shutil.rmtree(top)
    shutil.rmtree(top, ignore_errors=True)
