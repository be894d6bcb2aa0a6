"""SQL over runs and their tasks for management; the workers' part is in leases.py. Nothing here commits.

Whoever changes a run locks its row first and the test's row after it, as the workers do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Row, Select, bindparam, case, cast, func, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.datasets.tables import dataset_items, dataset_versions
from tiebreak.experiments.tables import tests
from tiebreak.runs.leases import CHANNEL
from tiebreak.runs.model import Plan, Run, RunState, TaskKey, Transcript
from tiebreak.runs.tables import run_tasks, runs

OPEN = (RunState.RUNNING, RunState.PAUSED)

# Time running is counted by the database, like the leases.
_ACTIVE_MS = case(
    (
        runs.c.state == RunState.RUNNING,
        runs.c.active_ms
        + cast(func.extract("epoch", func.now() - runs.c.resumed_at) * 1000, runs.c.active_ms.type),
    ),
    else_=runs.c.active_ms,
)
_RUN = select(
    *(column for column in runs.c if column.name != "active_ms"),
    _ACTIVE_MS.label("active_ms"),
    func.now().label("as_of"),
)
_PLAIN = tuple(field.name for field in fields(Run) if field.name not in ("state", "plan"))

# The rows lie in the order in which they are claimed.
LAY_OUT_ALL = """
insert into run_tasks (run_id, position, variant, repeat)
select :run_id, i.position, v, r
from dataset_items i, generate_series(0, :variants - 1) v, generate_series(0, :repeats - 1) r
where i.version_id = :version_id
order by i.position, r, v
"""

LAY_OUT_SAMPLE = """
insert into run_tasks (run_id, position, variant, repeat)
select :run_id, p, v, r
from unnest(:positions) p, generate_series(0, :variants - 1) v, generate_series(0, :repeats - 1) r
order by p, r, v
"""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; None means all."""

    test_id: UUID | None = None
    definition_hash: str | None = None
    content_hash: str | None = None
    state: RunState | None = None
    unfinished: bool = False


def _run(row: Row[*tuple[Any, ...]]) -> Run:
    plain = {name: getattr(row, name) for name in _PLAIN}
    return Run(**plain, state=RunState(row.state), plan=Plan.model_validate(row.plan))


async def insert_run(
    tx: AsyncConnection,
    run_id: UUID,
    *,
    test_id: UUID,
    dataset_version_id: UUID,
    plan: Plan,
    concurrency: int,
    max_cost_nano: int | None,
    max_requests: int | None,
    max_seconds: int | None,
    total: int,
) -> None:
    """A new run, running from now on."""
    now = func.now()
    await tx.execute(
        insert(runs).values(
            id=run_id,
            test_id=test_id,
            dataset_version_id=dataset_version_id,
            state=RunState.RUNNING,
            plan=plan.model_dump(mode="json", by_alias=True),
            concurrency=concurrency,
            max_cost_nano=max_cost_nano,
            max_requests=max_requests,
            max_seconds=max_seconds,
            total=total,
            started_at=now,
            resumed_at=now,
            mark_at=now,
            mark_done=0,
        )
    )


async def lay_out(
    tx: AsyncConnection,
    run_id: UUID,
    *,
    version_id: UUID,
    positions: Sequence[int] | None,
    variants: int,
    repeats: int,
) -> None:
    """One open task per (item, variant, repeat), of these positions or of all items of the version."""
    values: dict[str, Any] = {"run_id": run_id, "variants": variants, "repeats": repeats}
    if positions is None:
        await tx.execute(text(LAY_OUT_ALL), {**values, "version_id": version_id})
    else:
        sample = text(LAY_OUT_SAMPLE).bindparams(bindparam("positions", type_=ARRAY(Integer)))
        await tx.execute(sample, {**values, "positions": list(positions)})


async def find(tx: AsyncConnection, run_id: UUID, *, lock: bool = False) -> Run | None:
    """One run; with `lock`, nobody else changes it until the transaction ends."""
    found = _RUN.where(runs.c.id == run_id)
    row = (await tx.execute(found.with_for_update(key_share=True) if lock else found)).one_or_none()
    return None if row is None else _run(row)


def _filtered(found: Select[Any], wanted: RunFilter) -> Select[Any]:
    if wanted.test_id is not None:
        found = found.where(runs.c.test_id == wanted.test_id)
    if wanted.definition_hash is not None:
        found = found.join(tests, tests.c.id == runs.c.test_id).where(
            tests.c.definition_hash == wanted.definition_hash
        )
    if wanted.content_hash is not None:
        found = found.join(dataset_versions, dataset_versions.c.id == runs.c.dataset_version_id).where(
            dataset_versions.c.content_hash == wanted.content_hash
        )
    if wanted.state is not None:
        found = found.where(runs.c.state == wanted.state)
    if wanted.unfinished:
        found = found.where(runs.c.state.in_(OPEN))
    return found


async def list_by_age(
    tx: AsyncConnection, limit: int, after: UUID | None, wanted: RunFilter
) -> Sequence[Run]:
    """One more than `limit` runs, oldest first."""
    found = _filtered(_RUN, wanted).order_by(runs.c.id).limit(limit + 1)
    if after is not None:
        found = found.where(runs.c.id > after)
    return [_run(row) for row in await tx.execute(found)]


async def find_latest(tx: AsyncConnection, wanted: RunFilter) -> Run | None:
    """The newest of these runs."""
    found = _filtered(_RUN, wanted).order_by(runs.c.id.desc()).limit(1)
    row = (await tx.execute(found)).one_or_none()
    return None if row is None else _run(row)


async def update_state(tx: AsyncConnection, run_id: UUID, state: RunState, reason: str | None) -> None:
    """Write a move and what follows from it for the times; workers hear of it when the transaction commits."""
    values: dict[str, Any] = {"state": state, "reason": reason, "active_ms": _ACTIVE_MS}
    if state is RunState.RUNNING:
        values |= {
            "resumed_at": func.now(),
            "mark_at": func.now(),
            "mark_done": runs.c.done,
            "earlier_at": None,
            "earlier_done": None,
        }
    elif state not in OPEN:
        values["ended_at"] = func.now()
    await tx.execute(update(runs).where(runs.c.id == run_id).values(**values))
    await notify(tx, run_id)


async def update_limits(
    tx: AsyncConnection,
    run_id: UUID,
    *,
    concurrency: int,
    max_cost_nano: int | None,
    max_requests: int | None,
    max_seconds: int | None,
) -> None:
    """Write other limits."""
    await tx.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(
            concurrency=concurrency,
            max_cost_nano=max_cost_nano,
            max_requests=max_requests,
            max_seconds=max_seconds,
        )
    )
    await notify(tx, run_id)


async def notify(tx: AsyncConnection, run_id: UUID) -> None:
    """Wake the workers when the transaction commits."""
    await tx.execute(select(func.pg_notify(CHANNEL, str(run_id))))


async def list_tasks(
    tx: AsyncConnection, run: Run, limit: int, after: TaskKey | None, state: str | None
) -> Sequence[Transcript]:
    """One more than `limit` tasks, in the order of the primary key."""
    key = (run_tasks.c.position, run_tasks.c.variant, run_tasks.c.repeat)
    found = (
        select(
            run_tasks,
            dataset_items.c.item_id,
            dataset_items.c.inputs,
            dataset_items.c.expected,
        )
        .join(
            dataset_items,
            (dataset_items.c.version_id == run.dataset_version_id)
            & (dataset_items.c.position == run_tasks.c.position),
        )
        .where(run_tasks.c.run_id == run.id)
        .order_by(*key)
        .limit(limit + 1)
    )
    if after is not None:
        found = found.where(tuple_(*key) > tuple_(*after))
    if state is not None:
        found = found.where(run_tasks.c.state == state)
    return [_transcript(row) for row in await tx.execute(found)]


_SHOWN = tuple(field.name for field in fields(Transcript) if field.name != "key")


def _transcript(row: Row[*tuple[Any, ...]]) -> Transcript:
    shown = {name: getattr(row, name) for name in _SHOWN}
    return Transcript(TaskKey(row.position, row.variant, row.repeat), **shown)
