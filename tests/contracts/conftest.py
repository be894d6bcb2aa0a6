"""The whole application on a real socket in this process, so that its coverage counts and it stays on this machine."""

import asyncio
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import uvicorn
import uvloop
from tests.clients import ClientType
from tests.conftest import DatabaseServer

from tiebreak.app import create_app
from tiebreak.auth.keys import owner
from tiebreak.infrastructure.connections.http import HttpClient
from tiebreak.infrastructure.middleware.protocol import BoundedHttpProtocol
from tiebreak.infrastructure.middleware.server import Server
from tiebreak.settings import Settings


@dataclass(frozen=True)
class Running:
    """An application that answers; `app` is the FastAPI object behind it, `headers` let every call in."""

    url: str
    app: Any
    headers: dict[str, str]


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement, timeout=30)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def running(database_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The application without a background worker: what is started here calls no vendor."""
    name = f"tiebreak_contract_{secrets.token_hex(6)}"
    asyncio.run(_execute(database_server.dsn, f"create database {name} template {database_server.template}"))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    settings = Settings(home=tmp_path_factory.mktemp("home"), database_url=database_server.of(name))
    # Keys come to exist while it is called, and then every call needs one.
    key = owner(secrets.token_bytes)
    app = create_app(settings, port=port, owner=key)
    server = Server(
        uvicorn.Config(
            app, http=BoundedHttpProtocol, ws="none", lifespan="off", log_config=None, log_level="critical"
        )
    )

    async def serve() -> None:
        async with app.router.lifespan_context(app):
            await server.serve(sockets=[listener])

    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as exc:  # noqa: BLE001 -- told to the waiting fixture
            failures.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.05)
        if failures:
            raise failures[0]
        yield Running(f"http://127.0.0.1:{port}", app, {"Authorization": f"Bearer {key.text}"})
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
    asyncio.run(_execute(database_server.dsn, f"drop database {name} with (force)"))
    assert not thread.is_alive()


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Any]:
    """What is promised of the HTTP clients holds on asyncio's own loop and on uvloop."""
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if item.path.stem.startswith("test_http_clients") else {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def client(client_type: ClientType) -> AsyncIterator[HttpClient]:
    """One of the two that may speak to this machine."""
    opened = client_type("loopback")
    yield opened
    await opened.close()
