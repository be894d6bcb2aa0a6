"""/health is quick and tells which server it is, whatever the database does."""

import asyncio
import time

import httpx2
from fastapi import FastAPI

from tiebreak import __version__
from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig
from tiebreak.operations import health


async def ask(database: Database) -> dict:
    app = FastAPI()
    app.include_router(health.build_router(database=database, instance="this-one"))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client:
        response = await client.get("/health")
    assert response.status_code == 200
    return response.json()


async def test_a_well_server_says_so(database):
    assert await ask(database) == {
        "status": "ok",
        "version": __version__,
        "instance": "this-one",
        "database": "ok",
    }


async def test_without_a_database_it_is_degraded_and_still_answers(tmp_path):
    database = Database(PostgresConfig(f"postgresql://nobody@/none?host={tmp_path}"))
    document = await ask(database)
    assert (document["status"], document["database"]) == ("degraded", "away")
    await database.close()


async def test_a_database_that_hangs_costs_a_second_not_the_answer():
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Database(PostgresConfig(f"postgresql://me@127.0.0.1:{port}/x"))
    began = time.monotonic()
    document = await ask(database)
    assert document["database"] == "away"
    assert time.monotonic() - began < 5 * health.ANSWER_WITHIN
    server.close()
    await database.close()
    async with asyncio.timeout(10):
        await ended.wait()
