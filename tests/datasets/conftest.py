"""The dataset calls over a fresh database, as a client sees them."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from tiebreak.datasets.routes import build_router
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest import problems


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    """Speaks to an application with the dataset calls only."""
    app = FastAPI()
    problems.install(app)
    app.include_router(build_router(database=database))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened
