"""SQL over tests. Nothing here commits."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.experiments.definition import Definition
from tiebreak.experiments.model import Experiment, ExperimentState
from tiebreak.experiments.tables import tests


def _experiment(row: Row[Any]) -> Experiment:
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
        insert(tests)
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
