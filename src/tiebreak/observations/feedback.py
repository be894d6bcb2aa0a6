"""Feedback as applications send it: read, checked as a whole, and made into records of the spool."""

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from tiebreak.errors import Fault, InvalidInput
from tiebreak.ids import new_id
from tiebreak.observations.model import (
    EPOCH,
    LARGEST_VALUE,
    MICRO,
    Feedback,
    encode,
    session_key,
    unit_key,
)
from tiebreak.observations.policy import storable

MOST_ITEMS: Final = 1000
MAX_FEEDBACK_TEXT: Final = 2000  # characters of a text value or a comment
AHEAD: Final = timedelta(minutes=5)  # that a sender's clock may be
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


class FeedbackItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One item: about a request, about a unit of a test, or about a session.

    `value` is yes or no, a number, or a word. `at` is when it was given; the last one counts.
    """

    metric: str
    value: bool | int | float | str
    request_id: UUID | None = None
    test: str | None = None
    unit: str | None = None
    session: str | None = None
    comment: str | None = None
    source: str = "user"
    at: datetime | None = None


def read_feedback(body: bytes) -> list[FeedbackItem]:
    """The items of a body: one object, or an array of at most `MOST_ITEMS`.

    Raises:
        InvalidInput: no JSON, or items that are not as described; each one is named.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"the body is not JSON ({exc}); send one object or an array of them") from exc
    given = found if isinstance(found, list) else [found]
    if not 0 < len(given) <= MOST_ITEMS:
        raise InvalidInput(f"{len(given)} items; send 1 to {MOST_ITEMS} at a time")
    items, faults = [], []
    for place, item in enumerate(given):
        try:
            items.append(msgspec.convert(item, FeedbackItem))
        except msgspec.ValidationError as exc:
            faults.append(_fault(place, str(exc)))
    if faults:
        raise InvalidInput(
            f"{len(faults)} of {len(given)} items cannot be used; none was taken", faults=faults
        )
    return items


def accept_feedback(
    items: Sequence[FeedbackItem], *, find_test: Callable[[str], UUID | None], now: datetime
) -> list[bytes]:
    """The payloads for `Spool.append_many`; `find_test` knows tests by id or slug.

    Raises:
        InvalidInput: a target, a value or a time cannot be used; each one is named, and none was taken.
    """
    faults: list[Fault] = []
    payloads = []
    for place, item in enumerate(items):
        if (wrong := _wrong(item, now)) is not None:
            faults.append(_fault(place, wrong))
            continue
        test = None if item.test is None else find_test(item.test)
        if item.test is not None and test is None:
            faults.append(_fault(place, f"no test {item.test!r}; give the id or the slug of one"))
            continue
        payloads.append(encode(_feedback(item, test, now)))
    if faults:
        raise InvalidInput(
            f"{len(faults)} of {len(items)} items cannot be used; none was taken", faults=faults
        )
    return payloads


def _fault(place: int, message: str) -> Fault:
    where = re.search(r" - at `\$\.(\w+)`$", message)
    if where is None:
        return Fault(f"/{place}", message)
    return Fault(f"/{place}/{where[1]}", message[: where.start()])


def _wrong(item: FeedbackItem, now: datetime) -> str | None:
    """Why an item cannot be used, or None."""
    targets = (
        item.request_id is not None,
        item.unit is not None or item.test is not None,
        item.session is not None,
    )
    if sum(targets) != 1 or (item.unit is None) != (item.test is None):
        return "say what it is about: `request_id`, or `unit` with `test`, or `session`"
    for name, text in (("metric", item.metric), ("source", item.source)):
        if not _NAME.fullmatch(text):
            return f"{text[:80]!r} is no {name}: a letter, then at most 63 letters, digits, dots, - or _"
    if isinstance(item.value, int | float) and not (
        math.isfinite(item.value) and abs(item.value) <= LARGEST_VALUE
    ):
        return f"the value {item.value} is beyond ±{LARGEST_VALUE:.0f}; send it in a larger unit"
    for said in (item.value, item.comment):
        if isinstance(said, str) and len(said) > MAX_FEEDBACK_TEXT:
            return f"a text of {len(said)} characters; at most {MAX_FEEDBACK_TEXT} are kept"
    if item.at is not None:
        if item.at.tzinfo is None:
            return f"`at` is {item.at.isoformat()} without a time zone; add Z or an offset"
        if not EPOCH <= item.at <= now + AHEAD:
            return f"`at` is {item.at.isoformat()}, which is in the future or before 1970; check the sender's clock"
    return None


def _feedback(item: FeedbackItem, test: UUID | None, now: datetime) -> Feedback:
    at = item.at or now
    more: dict[str, Any]
    if item.request_id is not None:
        more = {"kind": "request", "target": item.request_id.bytes}
    elif test is not None and item.unit is not None:
        more = {"kind": "unit", "target": unit_key(test.bytes, item.unit), "test_id": test.bytes}
    else:
        more = {"kind": "session", "target": session_key(item.session or "")}
    if isinstance(item.value, str):
        more["text"] = storable(item.value)
    else:
        more["micro"] = round(item.value * MICRO)
    return Feedback(
        id=new_id().bytes,
        at_us=(at - EPOCH) // timedelta(microseconds=1),
        metric=item.metric,
        source=item.source,
        comment=None if item.comment is None else storable(item.comment),
        **more,
    )
