"""`/api/v1/keys`."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from tiebreak.auth import service
from tiebreak.auth.keys import PREFIX
from tiebreak.auth.schemas import KeyCreate, KeyDocument, KeyPatch, NewKeyDocument
from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest.idempotency import IdempotencyKey, once
from tiebreak.infrastructure.rest.pagination import Cursor, Limit, Page, decode, page
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES

Prefix = Annotated[str, Path(pattern=PREFIX, examples=["q7x2mznp"])]

_CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "model": NewKeyDocument,
        "description": "The key, with its secret this once",
        "links": {
            operation: {"operationId": operation, "parameters": {"prefix": "$response.body#/prefix"}}
            for operation in ("get_key", "change_key", "revoke_key")
        },
    }
}


def build_router(*, database: Database, clock: Clock) -> APIRouter:
    """The calls on keys."""
    router = APIRouter(prefix="/api/v1/keys", tags=["keys"], responses=PROBLEM_RESPONSES)
    _add_writes(router, database, clock)
    _add_reads(router, database)
    return router


def _add_writes(router: APIRouter, database: Database, clock: Clock) -> None:
    @router.post("", status_code=201, operation_id="create_key", responses=_CREATED)
    async def create_key(request: Request, new: KeyCreate, key: IdempotencyKey = None) -> Response:
        """Make a key. Its text is shown this once; once a first key exists, every call but /health needs one."""
        async with database.transaction() as tx:

            async def effect() -> NewKeyDocument:
                made, text = await service.create(
                    tx, name=new.name, scopes=new.scopes, expires_at=new.expires_at, now=clock.now()
                )
                return NewKeyDocument.made(made, text)

            answer = await once(
                tx,
                route="create_key",
                key=key,
                body=await request.body(),
                effect=effect,
                shown_once=("key",),
            )
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @router.patch("/{prefix}", operation_id="change_key")
    async def change_key(prefix: Prefix, patch: KeyPatch) -> KeyDocument:
        """Give a key another name or end. What it may do stays: for that, make another."""
        async with database.transaction() as tx:
            return KeyDocument.of(await service.change(tx, prefix, patch.described(), clock.now()))

    @router.delete("/{prefix}", status_code=204, operation_id="revoke_key")
    async def revoke_key(prefix: Prefix) -> None:
        """Revoke a key, for good: within a second no server takes it. It stays in the list."""
        async with database.transaction() as tx:
            await service.revoke(tx, prefix, clock.now())


def _add_reads(router: APIRouter, database: Database) -> None:
    @router.get("", operation_id="list_keys")
    async def list_keys(limit: Limit = 50, cursor: Cursor = None) -> Page[KeyDocument]:
        """Keys, oldest first, revoked ones too; never their secrets."""
        async with database.transaction() as tx:
            rows = await service.list_page(tx, limit, decode(cursor))
        return page(rows, limit, KeyDocument.of, lambda row: row.id)

    @router.get("/{prefix}", operation_id="get_key")
    async def get_key(prefix: Prefix) -> KeyDocument:
        """A key, without its secret."""
        async with database.transaction() as tx:
            return KeyDocument.of(await service.by_prefix(tx, prefix))
