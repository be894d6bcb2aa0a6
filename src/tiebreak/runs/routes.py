"""`/api/v1/runs`, and the steps of a test's lifecycle, which act on its run or on its live traffic."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from tiebreak.clock import Clock
from tiebreak.errors import InvalidInput
from tiebreak.experiments import live
from tiebreak.experiments import service as experiments
from tiebreak.experiments.model import Step
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest.idempotency import IdempotencyKey, once
from tiebreak.infrastructure.rest.pagination import Cursor, Limit, Page, decode, page
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES
from tiebreak.runs import service
from tiebreak.runs.events import ProgressStreams
from tiebreak.runs.model import RunState, TaskKey
from tiebreak.runs.schemas import (
    LifecycleDocument,
    RunCreate,
    RunDocument,
    RunLimits,
    TaskDocument,
    TestReference,
)
from tiebreak.runs.store import RunFilter

TestId = Annotated[
    str,
    Path(pattern=r"^[A-Za-z0-9-]{1,80}$", description="Id or slug of the test", examples=["small-or-large"]),
]
Hash = Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$")]

_ON_RUN = ("get_run", "change_run", "pause_run", "resume_run", "cancel_run", "list_run_tasks")
_CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "model": RunDocument,
        "description": "The run; workers have been told",
        "links": {
            name: {"operationId": name, "parameters": {"run_id": "$response.body#/id"}} for name in _ON_RUN
        },
    }
}
_STARTED: dict[int | str, dict[str, Any]] = {
    201: {
        "model": LifecycleDocument,
        "description": "The test and its run; workers have been told",
        "links": {
            **{
                name: {"operationId": name, "parameters": {"run_id": "$response.body#/run/id"}}
                for name in _ON_RUN
            },
            **{
                name: {"operationId": name, "parameters": {"test_id": "$response.body#/id"}}
                for name in ("pause_test", "resume_test", "cancel_test")
            },
        },
    }
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`progress` events with the run as data, then `end`",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def build_router(*, database: Database, clock: Clock) -> APIRouter:
    """The calls on runs."""
    router = APIRouter(prefix="/api/v1/runs", tags=["runs"], responses=PROBLEM_RESPONSES)
    _add_reads(router, database)
    _add_events(router, database, clock)
    _add_writes(router, database, clock)
    return router


def build_lifecycle_router(*, database: Database, clock: Clock) -> APIRouter:
    """The steps of a test's lifecycle."""
    router = APIRouter(prefix="/api/v1/tests", tags=["tests"], responses=PROBLEM_RESPONSES)
    _add_start(router, database, clock)
    _add_steps(router, database, clock)
    return router


def _add_reads(router: APIRouter, database: Database) -> None:
    @router.get("", operation_id="list_runs")
    async def list_runs(
        *,
        test: Annotated[TestReference | None, Query()] = None,
        definition: Hash = None,
        dataset: Hash = None,
        state: RunState | None = None,
        unfinished: Annotated[bool, Query(description="Only running and paused ones")] = False,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> Page[RunDocument]:
        """Runs, oldest first: of a test, of a `definition_hash`, of a dataset's `content_hash`."""
        after = decode(cursor)
        async with database.transaction() as tx:
            test_id = None if test is None else (await experiments.get(tx, test)).id
            wanted = RunFilter(test_id, definition, dataset, state, unfinished)
            found = await service.list_page(tx, limit, after, wanted)
        return page(found, limit, RunDocument.of, lambda run: run.id)

    @router.get("/{run_id}", operation_id="get_run")
    async def get_run(run_id: UUID) -> RunDocument:
        """Where a run stands."""
        async with database.transaction() as tx:
            return RunDocument.of(await service.get(tx, run_id))

    @router.get("/{run_id}/tasks", operation_id="list_run_tasks")
    async def list_run_tasks(
        run_id: UUID,
        state: Literal["queued", "leased", "done"] | None = None,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> Page[TaskDocument]:
        """The tasks of a run with their answers and scores, in the order of the dataset."""
        after = decode(cursor)
        async with database.transaction() as tx:
            run = await service.get(tx, run_id)
            last = None if after is None else _key(after)
            found = await service.tasks_page(tx, run, limit, last, state)
        keys = [variant.key for variant in run.plan.variants]
        return page(found, limit, lambda task: TaskDocument.of(task, keys), lambda task: _cursor(task.key))


def _cursor(key: TaskKey) -> UUID:
    """A task's key in the shape that cursors have."""
    return UUID(int=key.position << 32 | key.variant << 16 | key.repeat)


def _key(cursor: UUID) -> TaskKey:
    number = cursor.int
    return TaskKey(number >> 32 & 0x7FFFFFFF, number >> 16 & 0x7FFF, number & 0x7FFF)


def _add_events(router: APIRouter, database: Database, clock: Clock) -> None:
    streams = ProgressStreams(database, clock)

    @router.get(
        "/{run_id}/events",
        operation_id="follow_run",
        response_class=StreamingResponse,
        responses=_EVENTS,
    )
    async def follow_run(run_id: UUID) -> Response:
        """Progress as server-sent events, until the run ends."""
        streams.require_room()
        async with database.transaction() as tx:
            await service.get(tx, run_id)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(streams.follow(run_id), media_type="text/event-stream", headers=headers)


def _add_writes(router: APIRouter, database: Database, clock: Clock) -> None:
    @router.post("", status_code=201, operation_id="create_run", responses=_CREATED)
    async def create_run(request: Request, wanted: RunCreate, key: IdempotencyKey = None) -> Response:
        """Start a test: a draft becomes running, and its tasks are laid out."""
        async with database.transaction() as tx:

            async def effect() -> RunDocument:
                experiment = await experiments.get(tx, wanted.test)
                run = await service.start(
                    tx, experiment, concurrency=wanted.concurrency, budget=wanted.budget, at=clock.now()
                )
                return RunDocument.of(run)

            return await once(tx, route="create_run", key=key, body=await request.body(), effect=effect)

    @router.patch("/{run_id}", operation_id="change_run")
    async def change_run(run_id: UUID, limits: RunLimits) -> RunDocument:
        """Change the concurrency or the budget of a run that has not ended."""
        async with database.transaction() as tx:
            return RunDocument.of(
                await service.change_limits(tx, run_id, concurrency=limits.concurrency, budget=limits.budget)
            )

    @router.post("/{run_id}/pause", operation_id="pause_run")
    async def pause_run(run_id: UUID) -> RunDocument:
        """Hand out no more tasks; calls in flight still land."""
        async with database.transaction() as tx:
            return RunDocument.of(await service.pause(tx, run_id, at=clock.now()))

    @router.post("/{run_id}/resume", operation_id="resume_run")
    async def resume_run(run_id: UUID, limits: RunLimits | None = None) -> RunDocument:
        """Go on with a paused run, perhaps with other limits."""
        limits = limits or RunLimits()
        async with database.transaction() as tx:
            run = await service.resume(
                tx, run_id, concurrency=limits.concurrency, budget=limits.budget, at=clock.now()
            )
            return RunDocument.of(run)

    @router.post("/{run_id}/cancel", operation_id="cancel_run")
    async def cancel_run(run_id: UUID) -> RunDocument:
        """End a run early; what it recorded stays."""
        async with database.transaction() as tx:
            return RunDocument.of(await service.cancel(tx, run_id, at=clock.now()))


def _add_start(router: APIRouter, database: Database, clock: Clock) -> None:
    @router.post("/{test_id}/start", status_code=201, operation_id="start_test", responses=_STARTED)
    async def start_test(
        request: Request, test_id: TestId, limits: RunLimits | None = None, key: IdempotencyKey = None
    ) -> Response:
        """Start a draft; the same as creating a run of it."""
        wanted = limits or RunLimits()
        async with database.transaction() as tx:

            async def effect() -> LifecycleDocument:
                experiment = await experiments.get(tx, test_id)
                run = await service.start(
                    tx, experiment, concurrency=wanted.concurrency, budget=wanted.budget, at=clock.now()
                )
                return LifecycleDocument.of(experiment, run)

            route = f"start_test {test_id}"
            return await once(tx, route=route, key=key, body=await request.body(), effect=effect)


def _add_steps(router: APIRouter, database: Database, clock: Clock) -> None:
    @router.post("/{test_id}/pause", operation_id="pause_test")
    async def pause_test(test_id: TestId) -> LifecycleDocument:
        """Hand out no more tasks of the test's run, or assign no more live units; calls in flight still land."""
        async with database.transaction() as tx:
            experiment = await experiments.get(tx, test_id)
            if experiment.live:
                return LifecycleDocument.of_live(await live.pause(tx, experiment, at=clock.now()))
            run = await service.of_test(tx, experiment, Step.PAUSE)
            return LifecycleDocument.of(experiment, await service.pause(tx, run.id, at=clock.now()))

    @router.post("/{test_id}/resume", operation_id="resume_test")
    async def resume_test(test_id: TestId, limits: RunLimits | None = None) -> LifecycleDocument:
        """Go on with a paused test, perhaps with other limits."""
        limits = limits or RunLimits()
        async with database.transaction() as tx:
            experiment = await experiments.get(tx, test_id)
            if experiment.live:
                _require_no_limits(limits)
                return LifecycleDocument.of_live(await live.resume(tx, experiment, at=clock.now()))
            paused = await service.of_test(tx, experiment, Step.RESUME)
            run = await service.resume(
                tx, paused.id, concurrency=limits.concurrency, budget=limits.budget, at=clock.now()
            )
            return LifecycleDocument.of(experiment, run)

    @router.post("/{test_id}/cancel", operation_id="cancel_test")
    async def cancel_test(test_id: TestId) -> LifecycleDocument:
        """End a test early; what it recorded stays."""
        async with database.transaction() as tx:
            experiment = await experiments.get(tx, test_id)
            if experiment.live:
                return LifecycleDocument.of_live(await live.cancel(tx, experiment, at=clock.now()))
            run = await service.of_test(tx, experiment, Step.CANCEL)
            return LifecycleDocument.of(experiment, await service.cancel(tx, run.id, at=clock.now()))


def _require_no_limits(limits: RunLimits) -> None:
    if limits.concurrency is not None or limits.budget is not None:
        raise InvalidInput(
            "a test on live traffic has neither concurrency nor budget; resume it without limits"
        )
