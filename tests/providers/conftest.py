"""What the tests of providers share: the real client, a keyring, and the management API over a real database."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from tests.accounts import account_at

from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.infrastructure.rest import problems
from tiebreak.providers.routes import build_router
from tiebreak.providers.secrets import Keyring


@pytest.fixture
async def client() -> AsyncIterator[Http1Client]:
    opened = Http1Client("loopback")
    yield opened
    await opened.close()


@pytest.fixture
def make_account():
    """An account at a URL, with changes."""

    return account_at


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.open(tmp_path, None)


@pytest.fixture
async def api(database, client, keyring) -> AsyncIterator[httpx2.AsyncClient]:
    """The providers' part of the management API."""
    app = FastAPI()
    problems.install(app)
    app.include_router(
        build_router(
            database=database, http=client, keyring=keyring, outbound="loopback", clock=SystemClock()
        )
    )
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as opened:
        yield opened
