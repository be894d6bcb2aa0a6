"""`Idempotency-Key` on creating calls (draft-ietf-httpapi-idempotency-key-header-07).

The answer is stored in the transaction of the effect, so that after any crash either both exist or neither. What is
shown only once is left out of it.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import JSONResponse

from tiebreak.errors import Conflict, InvalidInput
from tiebreak.infrastructure.rest.tables import idempotency_keys

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Repeat a creating call with the same key and body and the first answer comes back",
    ),
]


async def once(
    tx: AsyncConnection,
    *,
    route: str,
    key: str | None,
    body: bytes,
    effect: Callable[[], Awaitable[BaseModel]],
    status: int = 201,
    shown_once: Collection[str] = (),
) -> JSONResponse:
    """Run `effect` and answer with its result; with a key, at most once per (route, key).

    The fields named in `shown_once` are never stored: a repeated call gets null for them.

    Raises:
        Conflict: a call with this key is still running.
        InvalidInput: the key was used with another body.
    """
    if key is None:
        return JSONResponse((await effect()).model_dump(mode="json"), status_code=status)
    digest = hashlib.sha256(body).hexdigest()
    lock = int.from_bytes(hashlib.sha256(f"{route}\0{key}".encode()).digest()[:8], signed=True)
    if not await tx.scalar(select(func.pg_try_advisory_xact_lock(lock))):
        raise Conflict(
            f"a call with Idempotency-Key {key!r} is still running; try again shortly", retry_after=1.0
        )
    stored = (
        await tx.execute(
            select(idempotency_keys).where(idempotency_keys.c.route == route, idempotency_keys.c.key == key)
        )
    ).one_or_none()
    if stored is not None:
        if stored.body_hash != digest:
            raise InvalidInput(f"Idempotency-Key {key!r} was used with another body; take a new key")
        return JSONResponse(
            stored.answer, status_code=stored.status, headers={"Idempotency-Replayed": "true"}
        )
    answer = (await effect()).model_dump(mode="json")
    kept = answer | dict.fromkeys(shown_once)
    await tx.execute(
        insert(idempotency_keys).values(route=route, key=key, body_hash=digest, status=status, answer=kept)
    )
    return JSONResponse(answer, status_code=status)
