"""`GET /health`: quick, and bounded in time whatever the database does."""

import asyncio
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import text

from tiebreak import __version__
from tiebreak.errors import Unavailable
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES

ANSWER_WITHIN = 1.0  # seconds


class Health(BaseModel):
    """How the server is. `degraded` still answers what it can; the status code says only that it answers."""

    status: Literal["ok", "degraded"]
    version: str = Field(examples=["0.1.0"])
    instance: str = Field(description="New at every start", examples=["0198c5f0-7d1e-7c3a-9f5e-2f4be3a4a001"])
    database: Literal["ok", "away"]


def build_router(*, database: Database, instance: str) -> APIRouter:
    """The route of /health."""
    router = APIRouter(tags=["operations"], responses=PROBLEM_RESPONSES)

    @router.get("/health", operation_id="get_health", summary="Is this server well, and which one is it?")
    async def get_health() -> Health:
        answers = await answers_within(database, ANSWER_WITHIN)
        return Health(
            status="ok" if answers else "degraded",
            version=__version__,
            instance=instance,
            database="ok" if answers else "away",
        )

    return router


async def answers_within(database: Database, seconds: float) -> bool:
    """Whether the database runs a query within so many seconds."""
    try:
        async with asyncio.timeout(seconds), database.transaction() as tx:
            await tx.execute(text("select 1"))
    except (Unavailable, TimeoutError):
        return False
    return True
