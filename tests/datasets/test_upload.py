"""An upload on its way to disk."""

import asyncio

import pytest
from fastapi import FastAPI
from starlette.types import Message

from tiebreak.datasets.columns import ColumnMapping
from tiebreak.datasets.routes import build_router
from tiebreak.datasets.upload import CSV, JSONL, PARQUET, media_type, received
from tiebreak.errors import PayloadTooLarge, UnsupportedMedia
from tiebreak.infrastructure.rest import problems


async def chunks(*parts):
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("header", "media"),
    [
        ("text/csv", CSV),
        ("Text/CSV; charset=UTF-8", CSV),
        ('application/x-ndjson;charset="utf-8"', JSONL),
        ("application/vnd.apache.parquet", PARQUET),
    ],
)
def test_the_type_of_a_body_is_one_of_three(header, media):
    assert media_type(header) == media


@pytest.mark.parametrize("header", [None, "", "text/plain", "application/json", "text/csv; charset=utf-16"])
def test_another_type_of_body_is_refused(header):
    with pytest.raises(UnsupportedMedia):
        media_type(header)


async def test_an_upload_can_be_read_more_than_once_and_is_gone_afterwards():
    async with received(chunks(b"q\na", b"b\n", b"c\n"), CSV) as upload:
        for _ in range(2):
            assert [item.inputs for item in upload.items(ColumnMapping())] == [{"q": "ab"}, {"q": "c"}]
        folder = upload.path.parent
    assert not folder.exists()


async def test_an_upload_over_the_limit_is_stopped_and_leaves_nothing():
    with pytest.raises(PayloadTooLarge, match="over 1 MB, which is the limit; split the file"):
        async with received(chunks(b"q\n", *[b"a\n" * 100_000] * 6), CSV, limit=2**20):
            pytest.fail("the upload was taken")


async def test_a_long_line_that_ends_in_time_is_taken():
    parts = [b"q\n", *[b"x" * 2**20] * 9, b"\n", *[b"y" * 2**20] * 9]
    async with received(chunks(*parts), CSV) as upload:
        assert upload.path.stat().st_size == 18 * 2**20 + 3


async def test_a_client_that_goes_away_leaves_no_dataset(database):
    app = FastAPI()
    problems.install(app)
    app.include_router(build_router(database=database))
    incoming: list[Message] = [
        {"type": "http.request", "body": b"q\na\n", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/datasets",
        "query_string": b"name=lost",
        "headers": [(b"content-type", b"text/csv")],
    }
    async with asyncio.timeout(10):
        await app(scope, receive, send)
    assert sent[0]["status"] == 422
    assert b"the upload ended before its body did; send it again" in sent[1]["body"]
    async with database.transaction() as tx:
        assert (await tx.exec_driver_sql("select count(*) from datasets")).scalar_one() == 0
