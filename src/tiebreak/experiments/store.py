"""SQL over tests, their live plans and phases. Nothing here commits."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, case, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.experiments.buckets import Range
from tiebreak.experiments.definition import Definition
from tiebreak.experiments.live_test import LiveTest
from tiebreak.experiments.model import ACTIVE, Experiment, ExperimentState
from tiebreak.experiments.phases import Phase, PhaseKind
from tiebreak.experiments.plans import LivePlan
from tiebreak.experiments.tables import live_plans, test_phases, tests

CHANNEL: Final = "tiebreak_tests"  # NOTIFY with the id after a live test changed; polling is the guarantee


def _experiment(row: Row[*tuple[Any, ...]]) -> Experiment:
    return Experiment(
        id=row.id,
        slug=row.slug,
        name=row.name,
        state=ExperimentState(row.state),
        reason=row.reason,
        definition=Definition.model_validate(row.definition),
        definition_hash=row.definition_hash,
        revision=row.revision,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        live=row.live,
    )


async def taken_slugs(tx: AsyncConnection, base: str) -> set[str]:
    """The slugs that begin like this one; an underscore or percent sign is never part of a slug."""
    found = select(tests.c.slug).where(or_(tests.c.slug == base, tests.c.slug.like(f"{base}-%")))
    return set(await tx.scalars(found))


async def insert_draft(
    tx: AsyncConnection, test_id: UUID, slug: str, definition: Definition, digest: str
) -> Experiment | None:
    """The new draft, or None when somebody took the slug since; decided by the index."""
    made = (
        upsert(tests)
        .values(
            id=test_id,
            slug=slug,
            name=definition.name,
            state=ExperimentState.DRAFT,
            definition=definition.model_dump(mode="json"),
            definition_hash=digest,
            revision=1,
        )
        .on_conflict_do_nothing(index_elements=["slug"])
        .returning(tests)
    )
    row = (await tx.execute(made)).one_or_none()
    return None if row is None else _experiment(row)


async def find_by_id(tx: AsyncConnection, test_id: UUID) -> Experiment | None:
    """One test."""
    row = (await tx.execute(select(tests).where(tests.c.id == test_id))).one_or_none()
    return None if row is None else _experiment(row)


async def find_by_slug(tx: AsyncConnection, slug: str) -> Experiment | None:
    """One test."""
    row = (await tx.execute(select(tests).where(tests.c.slug == slug))).one_or_none()
    return None if row is None else _experiment(row)


async def update_draft(
    tx: AsyncConnection, experiment: Experiment, definition: Definition, digest: str
) -> Experiment | None:
    """The edited draft, or None when it changed since it was read."""
    edited = (
        update(tests)
        .where(tests.c.id == experiment.id, tests.c.revision == experiment.revision)
        .values(
            name=definition.name,
            definition=definition.model_dump(mode="json"),
            definition_hash=digest,
            revision=experiment.revision + 1,
        )
        .returning(tests)
    )
    row = (await tx.execute(edited)).one_or_none()
    return None if row is None else _experiment(row)


async def update_state(tx: AsyncConnection, before: Experiment, after: Experiment) -> bool:
    """Write what a move changes; False when the test changed since `before` was read."""
    moved = (
        update(tests)
        .where(tests.c.id == before.id, tests.c.revision == before.revision)
        .values(
            state=after.state,
            reason=after.reason,
            revision=after.revision,
            started_at=after.started_at,
            ended_at=after.ended_at,
            live=after.live,
        )
    )
    return (await tx.execute(moved)).rowcount == 1


async def list_by_age(
    tx: AsyncConnection, limit: int, after: UUID | None, state: ExperimentState | None
) -> Sequence[Experiment]:
    """One more than `limit` tests, oldest first, of one state or of all."""
    found = select(tests).order_by(tests.c.id).limit(limit + 1)
    if after is not None:
        found = found.where(tests.c.id > after)
    if state is not None:
        found = found.where(tests.c.state == state)
    return [_experiment(row) for row in await tx.execute(found)]


async def delete_revision(tx: AsyncConnection, experiment: Experiment) -> bool:
    """Remove a test with its runs; False when it changed since it was read."""
    gone = delete(tests).where(tests.c.id == experiment.id, tests.c.revision == experiment.revision)
    return (await tx.execute(gone)).rowcount == 1


async def notify(tx: AsyncConnection, test_id: UUID) -> None:
    """Tell the gateways, when this commits."""
    await tx.execute(select(func.pg_notify(CHANNEL, str(test_id))))


async def insert_plan(tx: AsyncConnection, test_id: UUID, plan: LivePlan) -> None:
    """What a live test was resolved to."""
    await tx.execute(insert(live_plans).values(test_id=test_id, plan=plan.model_dump(mode="json")))


async def insert_phase(tx: AsyncConnection, test_id: UUID, phase: Phase) -> None:
    """One more phase of a test."""
    await tx.execute(insert(test_phases).values(test_id=test_id, **asdict(phase)))


async def end_phase(tx: AsyncConnection, test_id: UUID, at: datetime) -> None:
    """End the phase that is open."""
    still_open = (test_phases.c.test_id == test_id) & test_phases.c.ended_at.is_(None)
    await tx.execute(update(test_phases).where(still_open).values(ended_at=at))


def _phase(row: Row[*tuple[Any, ...]]) -> Phase:
    return Phase(
        number=row.number,
        kind=PhaseKind(row.kind),
        share=row.share,
        holdout=row.holdout,
        ranges=tuple(Range(*one) for one in row.ranges),
        weights=row.weights,
        config_version=row.config_version,
        who=row.who,
        why=row.why,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


async def list_phases(tx: AsyncConnection, test_id: UUID) -> Sequence[Phase]:
    """Every phase of a test, in their order."""
    found = select(test_phases).where(test_phases.c.test_id == test_id).order_by(test_phases.c.number)
    return [_phase(row) for row in await tx.execute(found)]


_LIVE = select(tests.c.id, tests.c.slug, tests.c.state, tests.c.revision, live_plans.c.plan).join(live_plans)


async def find_live(tx: AsyncConnection, test_id: UUID) -> LiveTest | None:
    """A live test with its plan and phases."""
    row = (await tx.execute(_LIVE.where(tests.c.id == test_id))).one_or_none()
    return None if row is None else _live_test(row, await list_phases(tx, test_id))


async def list_live(tx: AsyncConnection, limit: int) -> Sequence[LiveTest]:
    """Up to `limit` live tests: those that run or are paused first, then the newest."""
    active = case((tests.c.state.in_(ACTIVE), 0), else_=1)
    rows = (await tx.execute(_LIVE.order_by(active, tests.c.id.desc()).limit(limit))).all()
    found = (
        select(test_phases)
        .where(test_phases.c.test_id.in_([row.id for row in rows]))
        .order_by(test_phases.c.test_id, test_phases.c.number)
    )
    past: dict[UUID, list[Phase]] = {row.id: [] for row in rows}
    for phase in await tx.execute(found):
        past[phase.test_id].append(_phase(phase))
    return [_live_test(row, past[row.id]) for row in rows]


def _live_test(row: Row[*tuple[Any, ...]], phases: Sequence[Phase]) -> LiveTest:
    return LiveTest(
        id=row.id,
        slug=row.slug,
        state=ExperimentState(row.state),
        revision=row.revision,
        plan=LivePlan.model_validate(row.plan),
        phases=tuple(phases),
    )
