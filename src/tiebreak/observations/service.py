"""Looking at what was served."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.errors import NotFound
from tiebreak.experiments import service as experiments
from tiebreak.observations import store
from tiebreak.observations.model import session_key
from tiebreak.observations.store import RequestFilter


async def list_page(
    tx: AsyncConnection, limit: int, before: UUID | None, *, test: str | None, session: str | None
) -> Sequence[Row[Any]]:
    """One more than `limit` requests, newest first: of a test (id or slug), of a session, or all.

    Raises:
        NotFound: there is no such test.
    """
    wanted = RequestFilter(
        None if test is None else (await experiments.get(tx, test)).id,
        None if session is None else UUID(bytes=session_key(session)),
    )
    return await store.list_newest(tx, limit, before, wanted)


async def get(tx: AsyncConnection, request_id: UUID) -> tuple[Row[Any], Sequence[Row[Any]]]:
    """One request with its texts, and the feedback on it.

    Raises:
        NotFound: it is not there (yet), or its day was dropped.
    """
    found = await store.find(tx, request_id)
    if found is None:
        raise NotFound(
            f"no request {request_id}; it appears within seconds of its answer, and goes after the retention"
        )
    return found, await store.feedback_on(tx, request_id)
