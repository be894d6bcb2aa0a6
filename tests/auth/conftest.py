"""What the tests of keys share: keys made over a real database, and the whole application with and without a key."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI

from tiebreak.app import create_app
from tiebreak.auth import service
from tiebreak.auth.keys import KeyText
from tiebreak.auth.model import Key
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)

Make = Callable[..., Coroutine[Any, Any, tuple[Key, KeyText]]]


@pytest.fixture
def make_key(database: Database) -> Make:
    """Make and commit a key."""

    async def make(
        *scopes, name="ci", expires_at: datetime | None = None, now: datetime = NOW
    ) -> tuple[Key, KeyText]:
        async with database.transaction() as tx:
            return await service.create(
                tx, name=name, scopes=scopes or ("admin",), expires_at=expires_at, now=now
            )

    return make


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application in this process."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
async def api(dsn: str, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """The whole application on loopback, as it is before the first key."""
    async with client_of(create_app(Settings(home=tmp_path, database_url=dsn), port=80)) as client:
        yield client


def bearer(key: KeyText | str) -> dict[str, str]:
    """The header that brings a key."""
    return {"Authorization": f"Bearer {key if isinstance(key, str) else key.text}"}


async def every_row(dsn: str) -> str:
    """Everything that the database holds, as text: one row a line."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        return "\n".join(
            [
                row["whole"]
                for table in tables
                for row in await connection.fetch(f"select t::text as whole from {table['tablename']} t")
            ]
        )
    finally:
        await connection.close()
