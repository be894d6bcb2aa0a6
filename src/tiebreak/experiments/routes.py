"""`/api/v1/tests`. Starting, pausing and the like act on runs and live there; live traffic is in `live_routes`."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import ErrorDetails
from starlette.responses import Response

from tiebreak.errors import Fault, InvalidInput
from tiebreak.experiments import live, service
from tiebreak.experiments.definition import Definition, schema
from tiebreak.experiments.model import ExperimentState
from tiebreak.experiments.schemas import ExperimentDocument, ExperimentListed
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.documents.explanations import explain
from tiebreak.infrastructure.rest.idempotency import IdempotencyKey, once
from tiebreak.infrastructure.rest.pagination import Cursor, Limit, Page, decode, page
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES

TestId = Annotated[
    str,
    Path(pattern=r"^[A-Za-z0-9-]{1,80}$", description="Id or slug of the test", examples=["small-or-large"]),
]

_LINKS = {
    name: {"operationId": name, "parameters": {"test_id": "$response.body#/id"}}
    for name in ("get_test", "replace_test", "delete_test")
}
_CREATED: dict[int | str, dict[str, Any]] = {
    201: {"model": ExperimentDocument, "description": "The draft", "links": _LINKS}
}


class _ExplainedRoute(APIRoute):
    """Says what is wrong with a definition as `tiebreak run` says it of a file."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def explained(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as exc:
                raise _explained(exc) or exc from exc

        return explained


def _explained(exc: RequestValidationError) -> InvalidInput | None:
    """What the errors say of the definition; None when they are about the request around it."""
    errors: Sequence[ErrorDetails] = exc.errors()
    for error in errors:
        missing_body = error["type"] == "missing" and len(error["loc"]) == 1
        if error["loc"][0] != "body" or error["type"] == "json_invalid" or missing_body:
            return None
    faults = [Fault(found.pointer, found.message) for found in explain(errors, schema(), root=1)]
    return InvalidInput("; ".join(str(fault) for fault in faults[:5]), faults=faults)


def build_router(*, database: Database) -> APIRouter:
    """The calls on tests."""
    router = APIRouter(
        prefix="/api/v1/tests", tags=["tests"], responses=PROBLEM_RESPONSES, route_class=_ExplainedRoute
    )
    _add_writes(router, database)
    _add_reads(router, database)
    return router


def _add_writes(router: APIRouter, database: Database) -> None:
    @router.post("", status_code=201, operation_id="create_test", responses=_CREATED)
    async def create_test(request: Request, definition: Definition, key: IdempotencyKey = None) -> Response:
        """Make a draft of a test. What it refers to is looked up when it starts."""
        async with database.transaction() as tx:

            async def effect() -> ExperimentDocument:
                return ExperimentDocument.of(await service.create(tx, definition))

            return await once(tx, route="create_test", key=key, body=await request.body(), effect=effect)

    @router.put("/{test_id}", operation_id="replace_test")
    async def replace_test(test_id: TestId, definition: Definition) -> ExperimentDocument:
        """Give a draft another definition."""
        async with database.transaction() as tx:
            experiment = await service.get(tx, test_id)
            return ExperimentDocument.of(await service.replace(tx, experiment, definition))

    @router.delete("/{test_id}", status_code=204, operation_id="delete_test")
    async def delete_test(test_id: TestId) -> None:
        """Remove a test and what it recorded; one that runs or is paused is cancelled first."""
        async with database.transaction() as tx:
            await service.delete(tx, await service.get(tx, test_id))


def _add_reads(router: APIRouter, database: Database) -> None:
    @router.get("", operation_id="list_tests")
    async def list_tests(
        limit: Limit = 50,
        cursor: Cursor = None,
        state: Annotated[ExperimentState | None, Query(description="Only tests in this state")] = None,
    ) -> Page[ExperimentListed]:
        """Tests, oldest first."""
        async with database.transaction() as tx:
            rows = await service.list_page(tx, limit, decode(cursor), state)
        return page(rows, limit, ExperimentListed.of, lambda row: row.id)

    @router.get("/{test_id}", operation_id="get_test")
    async def get_test(test_id: TestId) -> ExperimentDocument:
        """A test with its definition and, when it takes live traffic, its present phase."""
        async with database.transaction() as tx:
            experiment = await service.get(tx, test_id)
            return ExperimentDocument.of(experiment, await live.find(tx, experiment))
