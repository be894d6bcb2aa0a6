"""`/api/v1/analytics`."""

from fastapi import APIRouter

from tiebreak.analytics import service
from tiebreak.analytics.schemas import ResultsDocument
from tiebreak.clock import Clock
from tiebreak.experiments.routes import TestId
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES


def build_router(*, database: Database, clock: Clock) -> APIRouter:
    """The calls on results."""
    router = APIRouter(prefix="/api/v1/analytics", tags=["analytics"], responses=PROBLEM_RESPONSES)

    @router.get("/tests/{test_id}/results", operation_id="get_results")
    async def get_results(test_id: TestId) -> ResultsDocument:
        """Means, paired comparisons and the verdict of the test's latest run."""
        async with database.transaction() as tx:
            found = await service.results(tx, test_id, at=clock.now())
        return ResultsDocument.of(found)

    return router
