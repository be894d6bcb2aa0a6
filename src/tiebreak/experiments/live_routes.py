"""`/api/v1/tests/{test}/live` and `…/traffic`: tests on live traffic. They are paused, resumed and cancelled like runs."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tiebreak.clock import Clock
from tiebreak.errors import InvalidInput
from tiebreak.experiments import live, service
from tiebreak.experiments.live_schemas import LiveDocument, LiveStep, TrafficChange
from tiebreak.experiments.routes import TestId
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest.idempotency import IdempotencyKey, once
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES

_STARTED: dict[int | str, dict[str, Any]] = {
    201: {
        "model": LiveDocument,
        "description": "The live traffic; gateways have been told",
        "links": {
            name: {"operationId": name, "parameters": {"test_id": "$response.body#/id"}}
            for name in (
                "get_live_test",
                "change_traffic",
                "stop_test",
                "pause_test",
                "resume_test",
                "cancel_test",
            )
        },
    }
}


def build_live_router(*, database: Database, clock: Clock) -> APIRouter:
    """The calls on live traffic."""
    router = APIRouter(prefix="/api/v1/tests", tags=["tests"], responses=PROBLEM_RESPONSES)

    @router.get("/{test_id}/live", operation_id="get_live_test")
    async def get_live_test(test_id: TestId) -> LiveDocument:
        """How a live test splits its units, and how it did in each phase before."""
        async with database.transaction() as tx:
            return LiveDocument.of(await live.get(tx, await service.get(tx, test_id)))

    @router.post("/{test_id}/live", status_code=201, operation_id="start_live_test", responses=_STARTED)
    async def start_live_test(
        request: Request, test_id: TestId, step: LiveStep | None = None, key: IdempotencyKey = None
    ) -> Response:
        """Let a draft take live traffic, as `model: "tests/<slug>"` of the gateway."""
        why = None if step is None else step.why
        async with database.transaction() as tx:

            async def effect() -> LiveDocument:
                draft = await service.get(tx, test_id)
                return LiveDocument.of(await live.start(tx, draft, at=clock.now(), why=why))

            route = f"start_live_test {test_id}"
            return await once(tx, route=route, key=key, body=await request.body(), effect=effect)

    @router.put("/{test_id}/traffic", operation_id="change_traffic")
    async def change_traffic(test_id: TestId, change: TrafficChange) -> LiveDocument:
        """Open a new phase with another share or other weights; no more units change their variant than have to."""
        if change.share is None and change.weights is None:
            raise InvalidInput("nothing to change: give `share`, `weights` or both")
        async with database.transaction() as tx:
            changed = await live.reroute(
                tx,
                await service.get(tx, test_id),
                share=change.share,
                weights=change.weights,
                at=clock.now(),
                why=change.why,
            )
            return LiveDocument.of(changed)

    @router.post("/{test_id}/stop", operation_id="stop_test")
    async def stop_test(test_id: TestId, step: LiveStep | None = None) -> LiveDocument:
        """Complete a live test: nobody is assigned any more; the shipped variant, else the control, answers."""
        why = None if step is None else step.why
        async with database.transaction() as tx:
            experiment = await service.get(tx, test_id)
            return LiveDocument.of(await live.stop(tx, experiment, at=clock.now(), why=why))

    return router
