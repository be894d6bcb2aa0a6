"""What the tests of providers share: the real client, a keyring, and the management API over a real database."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from tests.upstream import SECRET

from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.rest import problems
from tiebreak.providers.model import Account
from tiebreak.providers.routes import build_router
from tiebreak.providers.secrets import Keyring


@pytest.fixture
async def client() -> AsyncIterator[AiohttpClient]:
    opened = AiohttpClient("loopback")
    yield opened
    await opened.close()


@pytest.fixture
def make_account():
    """An account at a URL, with changes."""

    def make(url: str, **changes) -> Account:
        plain = Account(
            provider_id=uuid4(),
            name="acme",
            dialect="openai_compatible",
            base_url=url,
            concurrency=4,
            timeout_seconds=5.0,
            max_retries=2,
            secret=SECRET,
        )
        return replace(plain, **changes)

    return make


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
