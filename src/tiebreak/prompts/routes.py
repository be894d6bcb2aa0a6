"""`/api/v1/prompts`."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest.idempotency import IdempotencyKey, once
from tiebreak.infrastructure.rest.pagination import Cursor, Limit, Page, decode, page
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES
from tiebreak.prompts import service
from tiebreak.prompts.schemas import NAME, NewPrompt, PromptContent, PromptDocument, PromptListed

Name = Annotated[str, Path(pattern=NAME, examples=["solve"])]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]

_CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "model": PromptDocument,
        "description": "The prompt in its latest version",
        "links": {
            "get_prompt": {"operationId": "get_prompt", "parameters": {"name": "$response.body#/name"}},
            "get_prompt_version": {
                "operationId": "get_prompt_version",
                "parameters": {"name": "$response.body#/name", "version": "$response.body#/version"},
            },
        },
    }
}


def build_router(*, database: Database) -> APIRouter:
    """The calls on prompts."""
    router = APIRouter(prefix="/api/v1/prompts", tags=["prompts"], responses=PROBLEM_RESPONSES)
    _add_writes(router, database)
    _add_reads(router, database)
    return router


def _add_writes(router: APIRouter, database: Database) -> None:
    @router.post("", status_code=201, operation_id="create_prompt", responses=_CREATED)
    async def create_prompt(request: Request, prompt: NewPrompt, key: IdempotencyKey = None) -> Response:
        """Store a new prompt with its first version."""
        async with database.transaction() as tx:

            async def effect() -> PromptDocument:
                made = await service.create(tx, prompt.name, template=prompt.template, system=prompt.system)
                return PromptDocument.of(made)

            return await once(tx, route="create_prompt", key=key, body=await request.body(), effect=effect)

    @router.post(
        "/{name}/versions", status_code=201, operation_id="create_prompt_version", responses=_CREATED
    )
    async def create_prompt_version(
        request: Request, name: Name, content: PromptContent, key: IdempotencyKey = None
    ) -> Response:
        """Add a version; the same content as the latest version gives that version back."""
        async with database.transaction() as tx:

            async def effect() -> PromptDocument:
                made = await service.add_version(tx, name, template=content.template, system=content.system)
                return PromptDocument.of(made)

            route = f"create_prompt_version {name}"
            return await once(tx, route=route, key=key, body=await request.body(), effect=effect)

    @router.delete("/{name}", status_code=204, operation_id="delete_prompt")
    async def delete_prompt(name: Name) -> None:
        """Remove a prompt with all its versions; runs keep the text they were started with."""
        async with database.transaction() as tx:
            await service.delete(tx, name)


def _add_reads(router: APIRouter, database: Database) -> None:
    @router.get("", operation_id="list_prompts")
    async def list_prompts(limit: Limit = 50, cursor: Cursor = None) -> Page[PromptListed]:
        """Prompts, oldest first."""
        async with database.transaction() as tx:
            rows = await service.list_page(tx, limit, decode(cursor))
        return page(rows, limit, PromptListed.of, lambda row: row.prompt_id)

    @router.get("/{name}", operation_id="get_prompt")
    async def get_prompt(name: Name) -> PromptDocument:
        """A prompt in its latest version."""
        async with database.transaction() as tx:
            return PromptDocument.of(await service.get(tx, name))

    @router.get("/{name}/versions", operation_id="list_prompt_versions")
    async def list_prompt_versions(
        name: Name, limit: Limit = 50, cursor: Cursor = None
    ) -> Page[PromptDocument]:
        """The versions of a prompt, oldest first."""
        async with database.transaction() as tx:
            rows = await service.list_versions(tx, name, limit, decode(cursor))
        return page(rows, limit, PromptDocument.of, lambda row: row.id)

    @router.get("/{name}/versions/{version}", operation_id="get_prompt_version")
    async def get_prompt_version(name: Name, version: Number) -> PromptDocument:
        """One version of a prompt."""
        async with database.transaction() as tx:
            return PromptDocument.of(await service.get(tx, name, version))
