"""`/api/v1/requests`: what was served."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest.pagination import Cursor, Limit, Page, decode, page
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES
from tiebreak.infrastructure.rest.text import Text
from tiebreak.observations import service
from tiebreak.observations.schemas import FeedbackDocument, RequestDetail, RequestDocument

TestName = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9-]{1,80}$", description="Id or slug of the test")]
SessionName = Annotated[Text | None, Query(max_length=200)]


def build_router(*, database: Database) -> APIRouter:
    """The calls on requests."""
    router = APIRouter(prefix="/api/v1/requests", tags=["requests"], responses=PROBLEM_RESPONSES)

    @router.get("", operation_id="list_requests")
    async def list_requests(
        test: TestName = None, session: SessionName = None, limit: Limit = 20, cursor: Cursor = None
    ) -> Page[RequestDocument]:
        """Live requests, newest first: of a test, of a session, or all."""
        before = decode(cursor)
        async with database.transaction() as tx:
            found = await service.list_page(tx, limit, before, test=test, session=session)
        return page(found, limit, RequestDocument.of, lambda row: row.id)

    @router.get("/{request_id}", operation_id="get_request")
    async def get_request(request_id: UUID) -> RequestDetail:
        """One request, with its texts where they are kept, and the feedback on it."""
        async with database.transaction() as tx:
            found, said = await service.get(tx, request_id)
        return RequestDetail.with_feedback(found, [FeedbackDocument.of(row) for row in said])

    return router
