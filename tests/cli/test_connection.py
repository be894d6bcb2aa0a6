"""Finding the API, and what is made of answers that are none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from tiebreak.app import open_parts
from tiebreak.cli.connection import Connection, connect, error_of, running_server
from tiebreak.cli.run import working
from tiebreak.errors import (
    Conflict,
    Fault,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    Refused,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from tiebreak.ids import ProcessIdentity
from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import Metrics
from tiebreak.settings import Settings
from tiebreak.supervisor.announcement import Announcement


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that says the same to everybody."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthenticated),
        (403, Refused),
        (404, NotFound),
        (409, Conflict),
        (413, PayloadTooLarge),
        (415, UnsupportedMedia),
        (422, InvalidInput),
        (418, InvalidInput),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_a_problem_becomes_our_error_again(status, kind):
    error = error_of(
        status, {"detail": "why", "errors": [{"pointer": "/a", "detail": "no", "line": 2, "column": 3}]}
    )
    assert type(error) is kind
    assert error.detail == "why"
    assert error.faults == (Fault("/a", "no", 2, 3),)


@pytest.mark.parametrize("document", [None, [], "text", {}])
def test_an_error_without_a_problem_still_has_words(document):
    assert error_of(500, document).detail == "the server answered 500"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n<html>\n</html>",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nsorry",
    ],
)
async def test_what_is_no_tiebreak_is_named(answer, tmp_path):
    async with answering(answer) as url, connect(Settings(home=tmp_path), url) as api:
        assert api.url == url
        with pytest.raises(Unavailable, match="is it a Tiebreak"):
            await api.get("/tests")


async def test_an_answer_that_breaks_off_is_named(tmp_path):
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"
    async with answering(broken) as url, connect(Settings(home=tmp_path), url) as api:
        with pytest.raises(Unavailable, match="does not answer"):
            await api.get("/tests")


async def test_a_server_that_died_or_is_another_is_not_used(tmp_path):
    settings = Settings(home=tmp_path)
    assert await asyncio.to_thread(running_server, settings) is None
    async with answering(b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"instance": "other"}') as url:
        Announcement(url, 1, "ours").write(tmp_path)
        assert await asyncio.to_thread(running_server, settings) is None
        Announcement(url, 1, "other").write(tmp_path)
        assert await asyncio.to_thread(running_server, settings) == url
    assert await asyncio.to_thread(running_server, settings) is None


async def test_a_file_that_cannot_be_read_is_named(tmp_path):
    async with httpx2.AsyncClient(base_url="http://127.0.0.1:1") as client:
        with pytest.raises((InvalidInput, Unavailable)):
            await Connection(client, "http://127.0.0.1:1").upload(
                "/datasets", tmp_path / "none.csv", "text/csv"
            )


async def test_an_error_while_a_worker_runs_comes_out_as_itself(tmp_path: Path, dsn: str):
    settings = Settings(home=tmp_path, database_url=dsn)
    opened = open_parts(settings, Metrics(instruments.ALL), ProcessIdentity("command"))
    async with opened as parts, httpx2.AsyncClient() as client:
        with pytest.raises(NotFound, match="gone"):
            async with asyncio.timeout(30), working(Connection(client, None, parts)):
                raise NotFound("gone")


async def test_a_secret_that_cannot_be_read_is_named_at_start_and_stops_nothing(tmp_path: Path, dsn: str):
    first, second = (Settings(home=tmp_path / name, database_url=dsn) for name in ("one", "two"))
    async with connect(first, None) as api:
        for name, key in (("with", "k"), ("without", None)):
            account = {"name": name, "base_url": "http://127.0.0.1:9/v1", "api_key": key}
            await api.send("POST", "/providers", account)
    with capture_logs() as said:
        async with connect(second, None) as api:
            assert (await api.get("/providers/with"))["has_secret"] is True
    (warning,) = [event for event in said if event["log_level"] == "warning"]
    assert warning["providers"] == ["with"]
    assert "TIEBREAK_SECRET_KEY" in warning["remedy"]
