"""SQL over events for management. Nothing here commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.observations.tables import event_bodies, events, feedback


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests a page shows; None shows all."""

    test_id: UUID | None = None
    session_key: UUID | None = None


async def list_newest(
    tx: AsyncConnection, limit: int, before: UUID | None, wanted: RequestFilter
) -> Sequence[Row[Any]]:
    """One more than `limit` events, newest first; along an index whatever the filter."""
    found = select(events).order_by(events.c.id.desc()).limit(limit + 1)
    if before is not None:
        found = found.where(events.c.id < before)
    if wanted.test_id is not None:
        found = found.where(events.c.test_id == wanted.test_id)
    if wanted.session_key is not None:
        found = found.where(events.c.session_key == wanted.session_key)
    return (await tx.execute(found)).all()


async def find(tx: AsyncConnection, request_id: UUID) -> Row[Any] | None:
    """One event with its texts; looked up in one partition."""
    found = (
        select(events, event_bodies.c.request, event_bodies.c.response)
        .select_from(events.outerjoin(event_bodies, events.c.id == event_bodies.c.id))
        .where(events.c.id == request_id)
    )
    return (await tx.execute(found)).one_or_none()


async def feedback_on(tx: AsyncConnection, request_id: UUID) -> Sequence[Row[Any]]:
    """What was said of a request itself: the last word of each source on each metric."""
    found = (
        select(feedback)
        .where(feedback.c.target == request_id, feedback.c.kind == "request")
        .order_by(feedback.c.metric, feedback.c.source)
        .limit(1000)
    )
    return (await tx.execute(found)).all()
