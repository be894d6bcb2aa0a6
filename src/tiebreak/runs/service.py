"""Use cases of runs. Functions take an open transaction; the caller commits."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.errors import Conflict, IllegalTransition, NotFound
from tiebreak.experiments import service as experiments
from tiebreak.experiments.definition import Budget
from tiebreak.experiments.model import ON_REQUEST, Experiment, Step
from tiebreak.ids import new_id
from tiebreak.providers.account import NANO
from tiebreak.runs import budget as budgets
from tiebreak.runs import planning, store
from tiebreak.runs.model import Run, RunState, TaskKey, Transcript
from tiebreak.runs.store import RunFilter


async def start(
    tx: AsyncConnection,
    experiment: Experiment,
    *,
    concurrency: int | None = None,
    budget: Budget | None = None,
    at: datetime,
) -> Run:
    """Start a draft: freeze its plan, lay out its tasks, and let the workers know.

    `concurrency` and the fields that `budget` sets go before those of the definition.

    Raises:
        IllegalTransition: not a draft.
        InvalidInput: something the definition refers to is missing or does not fit, or a money budget meets a model
            without a price.
    """
    running = experiment.start(at)
    definition = experiment.definition
    limits = budgets.merged(definition.budget, budget)
    layout = await planning.resolve(tx, definition, at)
    planning.require_prices(layout.plan, limits.max_cost)
    run_id = new_id()
    await experiments.save(tx, experiment, running)
    await store.insert_run(
        tx,
        run_id,
        test_id=experiment.id,
        dataset_version_id=layout.dataset.id,
        plan=layout.plan,
        concurrency=concurrency or definition.concurrency,
        max_cost_nano=budgets.nano(limits.max_cost),
        max_requests=limits.max_requests,
        max_seconds=limits.max_seconds,
        total=layout.total,
    )
    await store.lay_out(
        tx,
        run_id,
        version_id=layout.dataset.id,
        positions=layout.positions,
        variants=len(layout.plan.variants),
        repeats=definition.repeats,
    )
    await store.notify(tx, run_id)
    return await get(tx, run_id)


async def get(tx: AsyncConnection, run_id: UUID) -> Run:
    """A run.

    Raises:
        NotFound: nothing has this id.
    """
    return _found(await store.find(tx, run_id), run_id)


async def of_test(tx: AsyncConnection, experiment: Experiment, step: Step) -> Run:
    """The run on which a step of the test's lifecycle acts.

    Raises:
        IllegalTransition: the test does not allow the step, or was never started.
    """
    experiment.require(step)
    run = await latest_for_test(tx, experiment.id)
    if run is None:
        raise IllegalTransition(f"test {experiment.slug!r} has no run; start it first")
    return run


async def pause(tx: AsyncConnection, run_id: UUID, *, at: datetime, reason: str = ON_REQUEST) -> Run:
    """Hand out no more tasks; calls in flight still land.

    Raises:
        NotFound, IllegalTransition: no such run, or it is not running.
    """
    return await _move(tx, run_id, lambda test: test.pause(at, reason))


async def cancel(tx: AsyncConnection, run_id: UUID, *, at: datetime, reason: str = ON_REQUEST) -> Run:
    """End a run early; what it recorded stays.

    Raises:
        NotFound, IllegalTransition: no such run, or it has ended.
    """
    return await _move(tx, run_id, lambda test: test.cancel(at, reason))


async def resume(
    tx: AsyncConnection,
    run_id: UUID,
    *,
    concurrency: int | None = None,
    budget: Budget | None = None,
    at: datetime,
) -> Run:
    """Go on with a paused run, perhaps with other limits.

    Raises:
        NotFound, IllegalTransition: no such run, or it is not paused.
        Conflict: its budget is used up and not raised.
    """
    run = await change_limits(tx, run_id, concurrency=concurrency, budget=budget)
    limit = budgets.reached(
        max_cost_nano=run.max_cost_nano,
        cost_nano=run.cost_nano,
        max_requests=run.max_requests,
        calls=run.calls,
        max_seconds=run.max_seconds,
        active_ms=run.active_ms,
    )
    if run.state is RunState.PAUSED and limit is not None:
        raise Conflict(budgets.REASONS[limit])
    return await _move(tx, run_id, lambda test: test.resume(at))


async def change_limits(
    tx: AsyncConnection, run_id: UUID, *, concurrency: int | None = None, budget: Budget | None = None
) -> Run:
    """Give an open run another concurrency, or the limits that `budget` sets (null takes a limit away).

    Raises:
        NotFound, IllegalTransition: no such run, or it has ended.
        InvalidInput: a money budget meets a model without a price.
    """
    run = _found(await store.find(tx, run_id, lock=True), run_id)
    if concurrency is None and budget is None:
        return run
    if run.state not in store.OPEN:
        raise IllegalTransition(f"run {run_id} is {run.state}; its limits cannot be changed any more")
    limits = budgets.merged(budget_of(run), budget)
    planning.require_prices(run.plan, limits.max_cost)
    await store.update_limits(
        tx,
        run_id,
        concurrency=concurrency or run.concurrency,
        max_cost_nano=budgets.nano(limits.max_cost),
        max_requests=limits.max_requests,
        max_seconds=limits.max_seconds,
    )
    return await get(tx, run_id)


def budget_of(run: Run) -> Budget:
    """The limits of a run in the words of the definition."""
    return Budget(
        max_cost=None if run.max_cost_nano is None else run.max_cost_nano / NANO,
        max_requests=run.max_requests,
        max_seconds=run.max_seconds,
    )


async def list_page(tx: AsyncConnection, limit: int, after: UUID | None, wanted: RunFilter) -> Sequence[Run]:
    """Up to `limit + 1` runs, oldest first, those after the given id."""
    return await store.list_by_age(tx, limit, after, wanted)


async def latest_for_test(tx: AsyncConnection, test_id: UUID) -> Run | None:
    """The newest run of a test."""
    return await store.find_latest(tx, RunFilter(test_id=test_id))


async def find_resumable(tx: AsyncConnection, definition_hash: str, content_hash: str) -> Run | None:
    """The newest unfinished run that compares the same things on the same items."""
    wanted = RunFilter(definition_hash=definition_hash, content_hash=content_hash, unfinished=True)
    return await store.find_latest(tx, wanted)


async def tasks_page(
    tx: AsyncConnection, run: Run, limit: int, after: TaskKey | None, state: str | None = None
) -> Sequence[Transcript]:
    """Up to `limit + 1` tasks of a run with their answers, in the order of the dataset."""
    return await store.list_tasks(tx, run, limit, after, state)


async def _move(tx: AsyncConnection, run_id: UUID, step: Callable[[Experiment], Experiment]) -> Run:
    """Take one step of the lifecycle with a run and its test: the run's row is locked first, as the workers do."""
    run = _found(await store.find(tx, run_id, lock=True), run_id)
    before = await experiments.get(tx, str(run.test_id))
    after = step(before)
    await experiments.save(tx, before, after)
    await store.update_state(tx, run_id, RunState(after.state), after.reason)
    return await get(tx, run_id)


def _found(run: Run | None, run_id: UUID) -> Run:
    if run is None:
        raise NotFound(f"no run {run_id}; GET /api/v1/runs lists what there is")
    return run
