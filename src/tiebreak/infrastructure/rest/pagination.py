"""Keyset pages: `?limit&cursor` → `{"data": […], "next_cursor": …}`.

A cursor is the sort key of the last row shown, so a page costs the same however deep it is and rows that arrive
meanwhile shift nothing.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from tiebreak.errors import Fault, InvalidInput

Row = TypeVar("Row")
Shown = TypeVar("Shown", bound=BaseModel)

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before")]


class Page(BaseModel, Generic[Row]):
    """One page; `next_cursor` is null on the last one."""

    data: list[Row]
    next_cursor: str | None = Field(default=None)


def encode(key: UUID) -> str:
    """The cursor that continues after the row with this id (ids are UUIDv7: they sort by creation)."""
    return base64.urlsafe_b64encode(key.bytes).decode().rstrip("=")


def decode(cursor: str | None) -> UUID | None:
    """The id in a cursor.

    Raises:
        InvalidInput: not one of ours.
    """
    if cursor is None:
        return None
    try:
        return UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as exc:
        message = f"{cursor!r} is not a cursor; pass the `next_cursor` of the page before, or none"
        raise InvalidInput(message, faults=[Fault("/cursor", message)]) from exc


def page(
    rows: Sequence[Row], limit: int, show: Callable[[Row], Shown], key: Callable[[Row], UUID]
) -> Page[Shown]:
    """Turn `limit + 1` fetched rows into a page; the extra row only says that there is more."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(data=[show(row) for row in shown], next_cursor=encode(key(shown[-1])) if more else None)
