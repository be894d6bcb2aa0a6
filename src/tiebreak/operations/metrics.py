"""`GET /metrics`: what all processes of this server count, for Prometheus."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES
from tiebreak.infrastructure.telemetry.exposition import CONTENT_TYPE


def build_router(*, scrape: Callable[[], Awaitable[str]]) -> APIRouter:
    """The route of /metrics."""
    router = APIRouter(tags=["operations"], responses=PROBLEM_RESPONSES)

    @router.get(
        "/metrics",
        operation_id="get_metrics",
        summary="The metrics of all processes, in Prometheus' text format",
        response_class=PlainTextResponse,
    )
    async def get_metrics() -> PlainTextResponse:
        return PlainTextResponse(await scrape(), media_type=CONTENT_TYPE)

    return router
