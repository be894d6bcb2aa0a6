"""`/api/v1/datasets`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AfterValidator, Field
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from tiebreak.datasets import service
from tiebreak.datasets.columns import ColumnMapping
from tiebreak.datasets.schemas import NAME, DatasetDocument, ItemDocument
from tiebreak.datasets.survey import survey
from tiebreak.datasets.upload import MEDIA_TYPES, Upload, media_type, received
from tiebreak.errors import InvalidInput, Unavailable
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest.idempotency import IdempotencyKey, once
from tiebreak.infrastructure.rest.pagination import Cursor, Limit, Page, decode, page
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES
from tiebreak.infrastructure.rest.text import storable

UPLOADS_AT_ONCE = 2  # each may need a gigabyte of disk and a core
UPLOAD_WAIT = 30.0  # seconds for a turn

Name = Annotated[str, Path(pattern=NAME, examples=["gsm8k"])]
Number = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="The latest when none is given")]
Column = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)] | None

_CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "model": DatasetDocument,
        "description": "The version with this content: a new one, or the one there was",
        "links": {
            name: {"operationId": name, "parameters": {"name": "$response.body#/name"}}
            for name in ("get_dataset", "list_dataset_versions", "list_dataset_items", "delete_dataset")
        },
    }
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file itself: at most 1 GB, 10 MB a line, a million items",
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES},
    }
}


def mapping(
    identifier: Annotated[Column, Query(alias="id", description="The column with the ids")] = None,
    expected: Annotated[Column, Query(description="The column with the right answers")] = None,
    category: Annotated[Column, Query(description="The column with the categories")] = None,
    difficulty: Annotated[Column, Query(description="The column with the difficulties")] = None,
) -> ColumnMapping:
    """The columns named in the query."""
    return ColumnMapping(id=identifier, expected=expected, category=category, difficulty=difficulty)


def build_router(*, database: Database) -> APIRouter:
    """The calls on datasets."""
    router = APIRouter(prefix="/api/v1/datasets", tags=["datasets"], responses=PROBLEM_RESPONSES)
    _add_writes(router, database)
    _add_reads(router, database)
    return router


@asynccontextmanager
async def _turn(turns: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(UPLOAD_WAIT):
            await turns.acquire()
    except TimeoutError as exc:
        raise Unavailable("other uploads take longer than usual; try again later", retry_after=30.0) from exc
    try:
        yield
    finally:
        turns.release()


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as exc:
        raise InvalidInput("the upload ended before its body did; send it again") from exc


def _add_writes(router: APIRouter, database: Database) -> None:
    turns = asyncio.Semaphore(UPLOADS_AT_ONCE)

    @router.post("", status_code=201, operation_id="upload_dataset", responses=_CREATED, openapi_extra=_BODY)
    async def upload_dataset(
        request: Request,
        name: Annotated[str, Query(pattern=NAME, examples=["gsm8k"])],
        columns: Annotated[ColumnMapping, Depends(mapping)],
        key: IdempotencyKey = None,
    ) -> Response:
        """Store a file of items as a version of a dataset: CSV, JSON Lines or (extra `analytics`) Parquet.

        The columns `id`, `expected` (or `answer`), `category` and `difficulty` are what their names say, unless
        the query names others; every other column is an input, a variable of prompts.
        """
        media = media_type(request.headers.get("content-type"))
        async with _turn(turns), received(_chunks(request), media) as upload:
            return await _store(database, upload, name, columns, key)

    @router.delete("/{name}", status_code=204, operation_id="delete_dataset")
    async def delete_dataset(name: Name) -> None:
        """Remove a dataset with all its versions, unless a run uses one."""
        async with database.transaction() as tx:
            await service.delete(tx, name)


async def _store(
    database: Database, upload: Upload, name: str, columns: ColumnMapping, key: str | None
) -> Response:
    read = partial(upload.items, columns)
    surveyed = await asyncio.to_thread(survey, read, upload.unit)
    async with database.transaction() as tx:

        async def effect() -> DatasetDocument:
            return DatasetDocument.of(await service.upload(tx, name, surveyed, read))

        body = repr((name, columns)).encode() + upload.digest
        return await once(tx, route="upload_dataset", key=key, body=body, effect=effect)


def _add_reads(router: APIRouter, database: Database) -> None:
    @router.get("", operation_id="list_datasets")
    async def list_datasets(limit: Limit = 50, cursor: Cursor = None) -> Page[DatasetDocument]:
        """Datasets, oldest first, each in its latest version."""
        async with database.transaction() as tx:
            rows = await service.list_page(tx, limit, decode(cursor))
        return page(rows, limit, DatasetDocument.of, lambda row: row.dataset_id)

    @router.get("/{name}", operation_id="get_dataset")
    async def get_dataset(name: Name) -> DatasetDocument:
        """A dataset in its latest version."""
        async with database.transaction() as tx:
            return DatasetDocument.of(await service.get(tx, name))

    @router.get("/{name}/versions", operation_id="list_dataset_versions")
    async def list_dataset_versions(
        name: Name, limit: Limit = 50, cursor: Cursor = None
    ) -> Page[DatasetDocument]:
        """The versions of a dataset, oldest first."""
        async with database.transaction() as tx:
            rows = await service.list_versions(tx, name, limit, decode(cursor))
        return page(rows, limit, DatasetDocument.of, lambda row: row.id)

    @router.get("/{name}/items", operation_id="list_dataset_items")
    async def list_dataset_items(
        name: Name, version: Number = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Page[ItemDocument]:
        """The items of a version in their order."""
        after = decode(cursor)
        # Any cursor of ours is a UUID; here it holds a position, which another list's cursor is beyond.
        position = None if after is None else min(after.int, 2**31 - 1)
        async with database.transaction() as tx:
            dataset = await service.get(tx, name, version)
            rows = await service.list_items(tx, dataset.id, limit, position)
        return page(rows, limit, ItemDocument.of, lambda row: UUID(int=row.position))
