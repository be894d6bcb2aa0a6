"""A definition to start from, and the test calls over a fresh database, as a client sees them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tiebreak.experiments.definition import Definition
from tiebreak.experiments.routes import build_router
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest import problems


@pytest.fixture
def document() -> dict[str, Any]:
    """A definition as a client sends it; each test gets its own."""
    return {
        "name": "Small or large?",
        "variants": [
            {"key": "large", "model": "local/large", "template": "{{ question }}"},
            {"key": "small", "model": "local/small", "template": "{{ question }}"},
        ],
        "metrics": [{"name": "correct", "role": "primary", "check": {"kind": "numeric", "line": "A:"}}],
    }


@pytest.fixture
def definition(document: dict[str, Any]) -> Definition:
    """The same, read."""
    return Definition.model_validate(document)


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    """Speaks to an application with the test calls only."""
    app = FastAPI()
    problems.install(app)
    app.include_router(build_router(database=database))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened
