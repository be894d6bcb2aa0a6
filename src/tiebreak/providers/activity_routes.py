"""`/api/v1/providers/{name}/health` and `/usage`."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES
from tiebreak.providers import activity_service, service
from tiebreak.providers.activity_schemas import HealthDocument, UsageDocument
from tiebreak.providers.schemas import NAME

Name = Annotated[str, Path(pattern=NAME, examples=["openai"])]
Days = Annotated[int, Query(ge=1, le=90, description="How many, today among them", examples=[7])]


def build_activity_router(*, database: Database, clock: Clock) -> APIRouter:
    """What is known of providers in use."""
    router = APIRouter(prefix="/api/v1/providers", tags=["providers"], responses=PROBLEM_RESPONSES)

    @router.get("/{name}/health", operation_id="get_provider_health")
    async def get_provider_health(name: Name) -> HealthDocument:
        """Whether a provider answers: its breakers, and the calls, latency and failures of the last hour."""
        async with database.transaction() as tx:
            provider = await service.by_name(tx, name)
            return HealthDocument.of(provider, await activity_service.health(tx, provider, clock.now()))

    @router.get("/{name}/usage", operation_id="get_provider_usage")
    async def get_provider_usage(name: Name, days: Days = 30) -> UsageDocument:
        """What a provider was used for by day and model: calls, tokens, and what they cost at the prices of their time."""
        as_of = clock.now()
        async with database.transaction() as tx:
            provider = await service.by_name(tx, name)
            return UsageDocument.of(provider, await activity_service.usage(tx, provider, days, as_of), as_of)

    return router
